"""Offset learning, the one idea of this package: read this file first.

Per-pixel classification compares every feature with one fixed class embedding. Offset learning lets the features and
the class embeddings of an image look at each other once, and moves both before they are compared
(arXiv 2508.08811, equations 4 to 13).
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from offseg_viz.errors import ModelError
from offseg_viz.models.aligned_scores import AlignedScores

POSITIONS_AT_A_TIME = 2**14
"""On a CPU, images of a batch go through in groups of at most so many positions, at least one image at a time: memory
that one group leaves serves the next, which is faster than fresh memory for the whole batch."""


class Refinement(NamedTuple):
    """Everything between a feature map and its logits, in the order of the equations; P = h w."""

    coupled_attention: Tensor  # (B, K, P)  eq. 4, A_c
    class_attention: Tensor  # (B, K, P)  eq. 5, A_cls
    class_offset: Tensor  # (B, K, C)  eq. 7, dW
    aligned_class_embedding: Tensor  # (B, K, C)  eq. 8, W + dW
    position_attention: Tensor  # (B, P, K)  eq. 9, A_pos
    feature_offset: Tensor  # (B, P, C)  eq. 11, dE
    aligned_feature: Tensor  # (B, P, C)  eq. 12, E + dE
    scores: Tensor  # (B, P, K)  eq. 13
    logits: Tensor  # (B, K, h, w)


class OffsetLearning(nn.Module):
    """Classify features (B, C, h, w) into logits (B, K, h, w) with learned offsets on features and class embeddings.

    Follows the released code where it goes beyond the paper: the projections ("MLP" in the paper) are one linear layer
    without bias, the coupled attention is not scaled, the feature offset uses W and not W + dW, and a LayerNorm over
    the K classes follows equation (13). It adds K C + 2 C^2 + 2 K parameters.

    `refinement` is the method, an equation a line, and returns every intermediate. Calling the module gives the same
    logits from a cheaper order of products, which makes no intermediate of P x C (`aligned_scores.py`).

    Parameters
    ----------
    channels : int
        C, channels of the feature map.
    num_classes : int
        K.
    norm : bool
        Whether the LayerNorm over classes follows the scores, as in the released networks. Without it the logits are
        the scores, so that zero projections give the logits of a 1x1 convolution.
    bias : bool
        Without `norm`: a learned constant of every class is added to its score, at first zero.

    Raises
    ------
    ModelError
        If both `norm` and `bias` are asked for; in `forward` and `refinement`, if the input is not (B, C, h, w).
    """

    def __init__(self, channels: int, num_classes: int, *, norm: bool = True, bias: bool = False):
        super().__init__()
        if norm and bias:
            raise ModelError("the LayerNorm over classes has a bias of its own: give bias=True only with norm=False")
        self.class_embedding = nn.Parameter(torch.empty(num_classes, channels))
        self.class_offset_proj = nn.Linear(channels, channels, bias=False)
        self.feature_offset_proj = nn.Linear(channels, channels, bias=False)
        self.norm = nn.LayerNorm(num_classes) if norm else None
        self.bias = nn.Parameter(torch.zeros(num_classes)) if bias else None
        self.aligned_scores = AlignedScores()
        for weight in (self.class_embedding, self.class_offset_proj.weight, self.feature_offset_proj.weight):
            nn.init.trunc_normal_(weight, std=0.02)

    def refinement(self, feature: Tensor) -> Refinement:
        """The method as the paper writes it, for a look inside: all intermediates of a feature map (B, C, h, w)."""
        w = self.class_embedding  # (K, C)
        e = self._positions(feature).transpose(1, 2)  # (B, P, C)
        coupled = w @ e.transpose(1, 2)  # (B, K, P)  eq. 4, A_c
        class_attention = coupled.softmax(dim=2)  # (B, K, P)  eq. 5, over positions
        class_offset = self.class_offset_proj(class_attention @ e)  # (B, K, C)  eqs. 6, 7
        aligned_class_embedding = w + class_offset  # (B, K, C)  eq. 8
        position_attention = coupled.softmax(dim=1).transpose(1, 2)  # (B, P, K)  eq. 9, over classes
        feature_offset = self.feature_offset_proj(position_attention @ w)  # (B, P, C)  eqs. 10, 11
        aligned_feature = e + feature_offset  # (B, P, C)  eq. 12
        scores = aligned_feature @ aligned_class_embedding.transpose(1, 2)  # (B, P, K)  eq. 13
        logits = self._logits(scores).transpose(1, 2).unflatten(2, feature.shape[2:])  # (B, K, h, w)
        return Refinement(
            *(coupled, class_attention, class_offset, aligned_class_embedding),
            *(position_attention, feature_offset, aligned_feature, scores, logits),
        )

    def forward(self, feature: Tensor) -> Tensor:
        e = self._positions(feature)  # (B, C, P)
        pieces = [e]
        if e.device.type == "cpu" and not torch.compiler.is_compiling():
            images = max(1, POSITIONS_AT_A_TIME // max(1, e.shape[2]))
            pieces = e.split(images) if images < e.shape[0] else pieces
        projections = self.class_offset_proj.weight, self.feature_offset_proj.weight
        logits = [
            self._logits(self.aligned_scores(piece, self.class_embedding, *projections).scores) for piece in pieces
        ]
        # Joined as (b, K, P) the logits become contiguous, which resizing them later needs to be fast.
        return torch.cat([piece.transpose(1, 2) for piece in logits]).unflatten(2, feature.shape[2:])  # (B, K, h, w)

    def _positions(self, feature: Tensor) -> Tensor:
        """A feature map (B, C, h, w) as (B, C, P)."""
        if feature.ndim != 4 or feature.shape[1] != self.class_embedding.shape[1]:
            needed = f"(B, {self.class_embedding.shape[1]}, h, w)"
            raise ModelError(f"offset learning needs a feature map {needed}, found {tuple(feature.shape)}")
        return feature.flatten(2)

    def _logits(self, scores: Tensor) -> Tensor:
        """Scores (B, P, K) as logits: the last step, in the released code and absent from eq. (13)."""
        if self.norm is not None:
            return self.norm(scores)
        return scores if self.bias is None else scores + self.bias
