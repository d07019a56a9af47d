"""MSCAN, the backbone of SegNeXt (arXiv 2209.08575): attention by large depthwise convolutions alone."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from offseg_viz.models.backbones.stochastic_depth import StochasticDepth, growing_rates

SIZES = {
    "t": ((32, 64, 160, 256), (3, 3, 5, 2)),
    "s": ((64, 128, 320, 512), (2, 2, 4, 2)),
    "b": ((64, 128, 320, 512), (3, 3, 12, 3)),
}
"""Widths and depths of the four stages (arXiv 2209.08575, table 2)."""

MLP_RATIOS = (8, 8, 4, 4)
STRIPS = (7, 11, 21)
"""Lengths of the pairs of strip convolutions, which stand for square windows of these sides."""


class MSCAN(nn.Module):
    """Images (B, 3, H, W) to four feature maps (B, C_i, H/s, W/s), s = 4, 8, 16, 32.

    Stochastic depth grows linearly to 0.1. Fresh convolutions are normal with variance 2 / fan out (arXiv 1502.01852).

    Parameters
    ----------
    size : one of `SIZES`.
    """

    def __init__(self, size: str = "t"):
        super().__init__()
        self.channels, depths = SIZES[size]
        rates = iter(growing_rates(0.1, sum(depths)))
        self.stages = nn.ModuleList()
        previous = 3
        for width, depth, ratio in zip(self.channels, depths, MLP_RATIOS, strict=True):
            embed = _stem(width) if previous == 3 else _downsample(previous, width)
            self.stages.append(Stage(embed, [Block(width, ratio, next(rates)) for _ in range(depth)]))
            previous = width
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
                nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> list[Tensor]:
        levels = []
        x = images
        for stage in self.stages:
            x = stage(x)  # (B, C_i, H/s, W/s)
            levels.append(x)
        return levels


def _stem(width: int) -> nn.Sequential:
    """Images to 1/4 of their size by two convolutions, the only place with an activation between stages."""
    return nn.Sequential(
        *_downsample(3, width // 2),  # (B, C/2, H/2, W/2)
        nn.GELU(),
        *_downsample(width // 2, width),  # (B, C, H/4, W/4)
    )


def _downsample(in_channels: int, out_channels: int) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=2, padding=1)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))


class Stage(nn.Module):
    """Reduce the grid, pass the blocks, normalise over channels: (B, C_in, H, W) to (B, C, H/2, W/2) or a quarter."""

    def __init__(self, embed: nn.Module, blocks: list[nn.Module]):
        super().__init__()
        self.embed = embed
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(self.blocks[0].norm1.num_features)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.embed(x))  # (B, C, h, w)
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # (B, C, h, w)


class Block(nn.Module):
    """x + scale1 attn(norm(x)), then x + scale2 mlp(norm(x)): (B, C, h, w) to the same.

    The scales, one number a channel, start at 0.01, so that a fresh block is nearly the identity (arXiv 2103.17239).
    """

    def __init__(self, channels: int, mlp_ratio: int, rate: float):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.attn = Attention(channels)
        self.norm2 = nn.BatchNorm2d(channels)
        self.mlp = MLP(channels, mlp_ratio * channels)
        self.layer_scale_1 = nn.Parameter(torch.full((channels, 1, 1), 0.01))
        self.layer_scale_2 = nn.Parameter(torch.full((channels, 1, 1), 0.01))
        self.drop = StochasticDepth(rate)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop(self.layer_scale_1 * self.attn(self.norm1(x)))  # (B, C, h, w)
        return x + self.drop(self.layer_scale_2 * self.mlp(self.norm2(x)))  # (B, C, h, w)


class Attention(nn.Module):
    """The gate between two 1x1 convolutions, and a shortcut around them: (B, C, h, w) to the same."""

    def __init__(self, channels: int):
        super().__init__()
        self.proj_1 = nn.Conv2d(channels, channels, kernel_size=1)
        self.gate = MultiScaleGate(channels)
        self.proj_2 = nn.Conv2d(channels, channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        gated = self.gate(F.gelu(self.proj_1(x)))  # (B, C, h, w)
        return x + self.proj_2(gated)  # (B, C, h, w)


class MultiScaleGate(nn.Module):
    """Multiply each feature by what its neighbourhoods of four sizes say, equations (1) and (2) of arXiv 2209.08575.

    The neighbourhoods are 5 x 5 and, on top of it, 7 x 7, 11 x 11 and 21 x 21 split in a row and a column; every one
    is summed per channel, and a 1x1 convolution mixes the sum. No sigmoid and no soft-max: the attention may be of
    any size and sign. (B, C, h, w) to the same.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.local = _depthwise(channels, (5, 5))
        self.strips = nn.ModuleList(
            nn.Sequential(_depthwise(channels, (1, length)), _depthwise(channels, (length, 1))) for length in STRIPS
        )
        self.mix = nn.Conv2d(channels, channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        local = self.local(x)  # (B, C, h, w)
        scales = local  # (B, C, h, w)
        for strip in self.strips:
            scales = scales + strip(local)  # (B, C, h, w)
        attention = self.mix(scales)  # (B, C, h, w)  eq. 1
        return attention * x  # (B, C, h, w)  eq. 2


def _depthwise(channels: int, kernel: tuple[int, int]) -> nn.Conv2d:
    padding = (kernel[0] // 2, kernel[1] // 2)
    return nn.Conv2d(channels, channels, kernel, padding=padding, groups=channels)


class MLP(nn.Module):
    """Widen, mix 3 x 3 per channel, GELU, narrow: (B, C, h, w) to the same."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, hidden, kernel_size=1)
        self.dwconv = _depthwise(hidden, (3, 3))
        self.fc2 = nn.Conv2d(hidden, channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.dwconv(self.fc1(x))))  # (B, C, h, w)
