"""Offset learning, the one idea of this package: read this file first.

Per-pixel classification compares every feature with one fixed class embedding. Offset learning lets the features and
the class embeddings of an image look at each other once, and moves both before they are compared
(arXiv 2508.08811, equations 4 to 13).
"""

import torch
from torch import Tensor, nn

from offseg_viz.errors import ModelError


class OffsetLearning(nn.Module):
    """Classify features (B, C, h, w) into logits (B, K, h, w) with learned offsets on features and class embeddings.

    Follows the released code where it goes beyond the paper: the projections ("MLP" in the paper) are one linear layer
    without bias, the coupled attention is not scaled, the feature offset uses W and not W + dW, and a LayerNorm over
    the K classes follows equation (13). It adds K C + 2 C^2 + 2 K parameters.

    Parameters
    ----------
    channels : int
        C, channels of the feature map.
    num_classes : int
        K.

    Raises
    ------
    ModelError
        In `forward`, if the input is not (B, C, h, w).
    """

    def __init__(self, channels: int, num_classes: int):
        super().__init__()
        self.class_embedding = nn.Parameter(torch.empty(num_classes, channels))
        self.class_offset_proj = nn.Linear(channels, channels, bias=False)
        self.feature_offset_proj = nn.Linear(channels, channels, bias=False)
        self.norm = nn.LayerNorm(num_classes)
        for weight in (self.class_embedding, self.class_offset_proj.weight, self.feature_offset_proj.weight):
            nn.init.trunc_normal_(weight, std=0.02)

    def forward(self, feature: Tensor) -> Tensor:
        if feature.ndim != 4 or feature.shape[1] != self.class_embedding.shape[1]:
            needed = f"(B, {self.class_embedding.shape[1]}, h, w)"
            raise ModelError(f"offset learning needs a feature map {needed}, found {tuple(feature.shape)}")
        w = self.class_embedding  # (K, C)
        e = feature.flatten(2).transpose(1, 2)  # (B, P, C)
        coupled = w @ e.transpose(1, 2)  # (B, K, P)  eq. 4, A_c
        class_attention = coupled.softmax(dim=2)  # (B, K, P)  eq. 5, over positions
        class_offset = self.class_offset_proj(class_attention @ e)  # (B, K, C)  eqs. 6, 7
        position_attention = coupled.softmax(dim=1).transpose(1, 2)  # (B, P, K)  eq. 9, over classes
        feature_offset = self.feature_offset_proj(position_attention @ w)  # (B, P, C)  eqs. 10, 11
        aligned_class_embedding = w + class_offset  # (B, K, C)  eq. 8
        aligned_feature = e + feature_offset  # (B, P, C)  eq. 12
        scores = aligned_feature @ aligned_class_embedding.transpose(1, 2)  # (B, P, K)  eq. 13
        logits = self.norm(scores)  # (B, P, K)  released code, absent from eq. 13
        return logits.transpose(1, 2).unflatten(2, feature.shape[2:])  # (B, K, h, w)
