"""Offset learning as equations (4) to (13) of arXiv 2508.08811 are written: what the benchmarks compare with.

Every equation makes its tensor: the features are seen as (B, P, C), the feature offset is a P x C product with
proj_feat, and the logits are laid out as (B, K, h, w) again. `copied` is the same on features that are first laid out
as (B, P, C) in memory, which is less natural to write, and up to 1.3 times faster on a CPU.
"""

import torch
from torch import Tensor, nn

from offseg_viz.models.offset_learning import OffsetLearning


class PlainOffsetLearning(nn.Module):
    """The parameters of an `OffsetLearning` with its LayerNorm, run equation by equation."""

    def __init__(self, head: OffsetLearning, *, copied: bool = False):
        super().__init__()
        self.copied = copied
        self.class_embedding = head.class_embedding
        self.class_offset_proj, self.feature_offset_proj = head.class_offset_proj, head.feature_offset_proj
        self.norm = head.norm

    def forward(self, feature: Tensor) -> Tensor:
        e = feature.flatten(2).permute(0, 2, 1)  # (B, P, C)
        e = e.contiguous() if self.copied else e  # (B, P, C)
        w = self.class_embedding.expand(len(e), -1, -1)  # (B, K, C)
        coupled = torch.einsum("bkc,bpc->bkp", w, e)  # (B, K, P)  eq. 4
        class_attention = coupled.softmax(dim=2)  # (B, K, P)  eq. 5
        class_offset = self.class_offset_proj(torch.einsum("bkp,bpc->bkc", class_attention, e))  # (B, K, C)  eqs. 6, 7
        aligned_class_embedding = w + class_offset  # (B, K, C)  eq. 8
        position_attention = coupled.softmax(dim=1)  # (B, K, P)  eq. 9
        feature_offset = self.feature_offset_proj(torch.einsum("bkp,bkc->bpc", position_attention, w))  # eqs. 10, 11
        aligned_feature = e + feature_offset  # (B, P, C)  eq. 12
        scores = torch.einsum("bkc,bpc->bkp", aligned_class_embedding, aligned_feature)  # (B, K, P)  eq. 13
        logits = self.norm(scores.permute(0, 2, 1)).permute(0, 2, 1).contiguous()  # (B, K, P)
        return logits.unflatten(2, feature.shape[2:])  # (B, K, h, w)
