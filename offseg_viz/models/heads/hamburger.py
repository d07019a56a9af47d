"""The decode head of SegNeXt (arXiv 2209.08575): three levels, squeezed, seen as a whole by Hamburger, classified."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from offseg_viz.models.conv_block import ConvBlock
from offseg_viz.models.heads.nmf import NMF


class HamburgerHead(nn.Module):
    """Four backbone levels to logits (B, K, h, w) on the grid of the second level, 1/8 of the input.

    The finest level is not used. The others are resized to the second one's grid, concatenated, squeezed to C channels
    and pass a `Hamburger` and one more conv block.

    Parameters
    ----------
    in_channels : channels of the levels, finest first.
    channels : C of the squeezed map.
    classifier : module (B, C, h, w) -> (B, K, h, w), `PerPixelClassifier` or `OffsetLearning`.
    """

    def __init__(self, in_channels: Sequence[int], channels: int, classifier: nn.Module):
        super().__init__()
        self.squeeze = ConvBlock(sum(in_channels[1:]), channels, norm="group")
        self.hamburger = Hamburger(channels)
        self.align = ConvBlock(channels, channels, norm="group")
        self.classifier = classifier

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        finest, *coarser = levels[1:]
        resized = [_resize(level, finest.shape[2:]) for level in coarser]  # each (B, C_i, h, w)
        squeezed = self.squeeze(torch.cat([finest, *resized], dim=1))  # (B, C, h, w)
        feature = self.align(self.hamburger(squeezed))  # (B, C, h, w)
        return self.classifier(feature)  # (B, K, h, w)


def _resize(level: Tensor, grid: tuple[int, int]) -> Tensor:
    return F.interpolate(level, size=grid, mode="bilinear", align_corners=False)


class Hamburger(nn.Module):
    """Low-rank global context between two 1x1 convolutions, added to the input (arXiv 2109.04553, equation 10).

    (B, C, h, w) to the same. The ReLU in front of the factorisation makes its input non-negative.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.lower = nn.Conv2d(channels, channels, kernel_size=1)
        self.nmf = NMF(channels)
        self.upper = nn.Conv2d(channels, channels, kernel_size=1, bias=False)
        self.norm = nn.GroupNorm(32, channels)
        for conv in (self.lower, self.upper):
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.lower.bias)

    def forward(self, x: Tensor) -> Tensor:
        context = self.nmf(F.relu(self.lower(x)))  # (B, C, h, w)
        return F.relu(x + self.norm(self.upper(context)))  # (B, C, h, w)
