"""Convolution, norm, ReLU: the block that decode heads and the nano backbone are made of."""

from typing import Literal

from torch import nn


class ConvBlock(nn.Sequential):
    """``conv`` without bias, ``norm``, ``act`` (ReLU): (B, C_in, H, W) to (B, C_out, H/s, W/s).

    ``norm`` is a BatchNorm, or with ``norm="group"`` a GroupNorm of 32 groups.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        norm: Literal["batch", "group"] = "batch",
    ):
        super().__init__()
        padding = kernel // 2
        conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, groups=groups, bias=False)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        self.add_module("conv", conv)
        self.add_module("norm", nn.BatchNorm2d(out_channels) if norm == "batch" else nn.GroupNorm(32, out_channels))
        self.add_module("act", nn.ReLU(inplace=True))
