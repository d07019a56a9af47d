"""Offset learning for mask classification: mask embeddings of queries and the pixel map move towards each other.

In mask classification (MaskFormer, arXiv 2107.06278; Mask2Former, arXiv 2112.01527) the masks of Q queries are products
of mask embeddings with the pixel map, as the scores of K classes are products of class embeddings with the feature.
Here the mask embeddings of one image take the part of the class embeddings in equations 4 to 13 of arXiv 2508.08811:
read `offset_learning` first.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from offseg_viz.errors import ModelError


class MaskRefinement(NamedTuple):
    """What one call of `MaskOffsetLearning` computes, every intermediate explicit; P = h w, row by row."""

    feature: Tensor  # (B, P, C)  E, the pixel map
    class_embedding: Tensor  # (B, Q, C)  W, the mask embeddings of the queries
    coupled_attention: Tensor  # (B, Q, P)  eq. 4, A_c
    class_attention: Tensor  # (B, Q, P)  eq. 5
    class_offset: Tensor  # (B, Q, C)  eqs. 6, 7
    aligned_class_embedding: Tensor  # (B, Q, C)  eq. 8
    position_attention: Tensor  # (B, P, Q)  eq. 9
    feature_offset: Tensor  # (B, P, C)  eqs. 10, 11
    aligned_feature: Tensor  # (B, P, C)  eq. 12
    scores: Tensor  # (B, Q, P)  eq. 13, the mask logits


class MaskOffsetLearning(nn.Module):
    """Mask embeddings (B, Q, C) and a pixel map (B, C, h, w) to mask logits (B, Q, h, w), with offsets on both.

    As `OffsetLearning`, but W comes with the image instead of being a parameter, and no LayerNorm follows. With both
    projections zero the result is the plain product of mask embeddings and pixel map, to the last bit. It adds 2 C^2
    parameters.

    Parameters
    ----------
    channels : int
        C, channels of the mask embeddings and of the pixel map.

    Raises
    ------
    ModelError
        In `forward` and `refinement`, if the inputs are not (B, Q, C) and (B, C, h, w).
    """

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels
        self.class_offset_proj = nn.Linear(channels, channels, bias=False)
        self.feature_offset_proj = nn.Linear(channels, channels, bias=False)
        for weight in (self.class_offset_proj.weight, self.feature_offset_proj.weight):
            nn.init.trunc_normal_(weight, std=0.02)

    def forward(self, mask_embedding: Tensor, feature: Tensor) -> Tensor:
        """Mask logits by way of (A_pos W proj^T) W_adj^T = A_pos (W_adj proj(W)^T)^T: no feature offset is formed.

        This costs P Q^2 multiply-adds in place of the P Q C + P C^2 of equations 10 and 11.
        """
        self._check(mask_embedding, feature)
        w, e = mask_embedding, feature.flatten(2)  # (B, Q, C), (B, C, P)
        coupled = w @ e  # (B, Q, P)  eq. 4
        class_attention = coupled.softmax(dim=2)  # (B, Q, P)  eq. 5, over positions
        class_offset = self.class_offset_proj(class_attention @ e.transpose(1, 2))  # (B, Q, C)  eqs. 6, 7
        aligned = w + class_offset  # (B, Q, C)  eq. 8
        position_attention = coupled.softmax(dim=1)  # (B, Q, P)  eq. 9 transposed, over queries
        by_offset = aligned @ self.feature_offset_proj(w).transpose(1, 2)  # (B, Q, Q)  W_adj proj(W)^T
        scores = torch.einsum("bqc,bchw->bqhw", aligned, feature)  # (B, Q, h, w)  eq. 13, the part of E
        return scores + (by_offset @ position_attention).view_as(scores)  # (B, Q, h, w)  and the part of dE

    def refinement(self, mask_embedding: Tensor, feature: Tensor) -> MaskRefinement:
        """Equations 4 to 13 one by one; its scores (B, Q, P) equal `forward` up to rounding."""
        self._check(mask_embedding, feature)
        w, e = mask_embedding, feature.flatten(2).transpose(1, 2)  # (B, Q, C), (B, P, C)
        coupled = w @ e.transpose(1, 2)  # (B, Q, P)  eq. 4
        class_attention = coupled.softmax(dim=2)  # (B, Q, P)  eq. 5, over positions
        class_offset = self.class_offset_proj(class_attention @ e)  # (B, Q, C)  eqs. 6, 7
        aligned_class_embedding = w + class_offset  # (B, Q, C)  eq. 8
        position_attention = coupled.softmax(dim=1).transpose(1, 2)  # (B, P, Q)  eq. 9, over queries
        feature_offset = self.feature_offset_proj(position_attention @ w)  # (B, P, C)  eqs. 10, 11
        aligned_feature = e + feature_offset  # (B, P, C)  eq. 12
        scores = aligned_class_embedding @ aligned_feature.transpose(1, 2)  # (B, Q, P)  eq. 13
        return MaskRefinement(
            feature=e,
            class_embedding=w,
            coupled_attention=coupled,
            class_attention=class_attention,
            class_offset=class_offset,
            aligned_class_embedding=aligned_class_embedding,
            position_attention=position_attention,
            feature_offset=feature_offset,
            aligned_feature=aligned_feature,
            scores=scores,
        )

    def _check(self, mask_embedding: Tensor, feature: Tensor) -> None:
        c = self.channels
        if (
            (mask_embedding.ndim, feature.ndim) != (3, 4)
            or (mask_embedding.shape[2], feature.shape[1]) != (c, c)
            or mask_embedding.shape[0] != feature.shape[0]
        ):
            found = f"{tuple(mask_embedding.shape)} and {tuple(feature.shape)}"
            raise ModelError(
                f"offset learning needs mask embeddings (B, Q, {c}) and a pixel map (B, {c}, h, w), found {found}"
            )


class AlignedMaskPredictor(nn.Module):
    """Takes the place of the mask predictor of transformers' Mask2Former, with offset learning in its mask product.

    Built on a `Mask2FormerMaskPredictor` (``model.transformer_module.decoder.mask_predictor`` of
    `Mask2FormerForUniversalSegmentation`), whose mask embedding MLP it goes on using under the same parameter names: a
    state dict gains ``offset_learning.*`` and changes in nothing else. The decoder calls it once before and once after
    every layer, always with the original pixel map.

    Parameters
    ----------
    mask_predictor : module with `mask_embedder`, an MLP on (B, Q, C), and `num_heads`.
    offset_learning : of as many channels as the pixel map has (`mask_feature_size` of the configuration).
    """

    def __init__(self, mask_predictor: nn.Module, offset_learning: MaskOffsetLearning):
        super().__init__()
        self.num_heads = mask_predictor.num_heads
        self.mask_embedder = mask_predictor.mask_embedder
        self.offset_learning = offset_learning

    def forward(
        self, outputs: Tensor, pixel_embeddings: Tensor, attention_mask_target_size: tuple[int, int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Queries (Q, B, C) and pixel map (B, C, h, w) to mask logits and the next layer's attention mask.

        The attention mask (B heads, Q, P of the next level) is True where a query must not look: where its resized
        mask probability is below one half. Names of the arguments are those of transformers.
        """
        mask_embedding = self.mask_embedder(outputs.transpose(0, 1))  # (B, Q, C)
        mask_logits = self.offset_learning(mask_embedding, pixel_embeddings)  # (B, Q, h, w)
        resized = F.interpolate(mask_logits, attention_mask_target_size, mode="bilinear", align_corners=False)
        hidden = resized.detach().sigmoid().flatten(2) < 0.5  # (B, Q, h_l w_l)
        hidden = hidden.unsqueeze(1).expand(-1, self.num_heads, -1, -1)  # (B, heads, Q, h_l w_l)
        return mask_logits, hidden.flatten(0, 1)  # (B, Q, h, w), (B heads, Q, h_l w_l)
