"""EfficientFormerV2 (arXiv 2212.08059), the backbone of OffSeg, as its release uses it for segmentation."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from offseg_viz.errors import UnknownNameError
from offseg_viz.models.backbones.efficientformer_attention import Attention, DownAttention, conv_norm
from offseg_viz.models.backbones.stochastic_depth import StochasticDepth, growing_rates

GRID = 512
"""Side of the images that the learned attention biases belong to."""


class Size(NamedTuple):
    """Widths and depths of the four stages, how many blocks of stages 3 and 4 end in attention, and stochastic depth.

    `narrow` gives for stages 3 and 4 how many blocks from their start have an MLP of ratio 4, and how many after them
    of ratio 3; it is 4 in all others.
    """

    widths: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    attention: int
    narrow: tuple[tuple[int, int], tuple[int, int]]
    drop: float


SIZES = {
    "s1": Size((32, 48, 120, 224), (3, 3, 9, 6), 2, ((2, 4), (2, 2)), 0.0),
    "s2": Size((32, 64, 144, 288), (4, 4, 12, 8), 4, ((2, 6), (2, 4)), 0.02),
    "l": Size((40, 80, 192, 384), (5, 5, 15, 10), 6, ((4, 7), (3, 4)), 0.1),
}
"""The sizes of the paper (table 9) that OffSeg uses for T, B and L."""


class ConvMLP(nn.Module):
    """Widen by 1x1, mix a 3x3 neighbourhood per channel, narrow by 1x1, each normed: (B, C, h, w) to the same."""

    def __init__(self, channels: int, ratio: int):
        super().__init__()
        hidden = ratio * channels
        self.widen = conv_norm(channels, hidden)
        self.mix = conv_norm(hidden, hidden, 3, groups=hidden)
        self.narrow = conv_norm(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.widen(x))  # (B, ratio C, h, w)
        x = F.gelu(self.mix(x))  # (B, ratio C, h, w)
        return self.narrow(x)  # (B, C, h, w)


class Block(nn.Module):
    """Attention (if any) and MLP, each added to the map (B, C, h, w) after a learned scale of each channel."""

    def __init__(self, channels: int, ratio: int, token_mixer: nn.Module | None, drop: float):
        super().__init__()
        self.token_mixer = token_mixer
        if token_mixer is not None:
            self.layer_scale_1 = nn.Parameter(torch.full((channels, 1, 1), 1e-5))
        self.mlp = ConvMLP(channels, ratio)
        self.layer_scale_2 = nn.Parameter(torch.full((channels, 1, 1), 1e-5))
        self.drop_path = StochasticDepth(drop)

    def forward(self, x: Tensor) -> Tensor:
        if self.token_mixer is not None:
            x = x + self.drop_path(self.layer_scale_1 * self.token_mixer(x))  # (B, C, h, w)
        return x + self.drop_path(self.layer_scale_2 * self.mlp(x))  # (B, C, h, w)


class AttentiveTransition(nn.Module):
    """From stage 3 to 4: (B, C, h, w) to (B, C_out, h/2, w/2) by a strided convolution plus attention."""

    def __init__(self, in_channels: int, out_channels: int, grid: int):
        super().__init__()
        self.conv = conv_norm(in_channels, out_channels, 3, stride=2)
        self.attn = DownAttention(in_channels, out_channels, grid)

    def forward(self, x: Tensor) -> Tensor:
        return self.attn(x) + self.conv(x)  # (B, C_out, h/2, w/2)


class EfficientFormerV2(nn.Module):
    """Images (B, 3, H, W) to four feature maps (B, C_i, H/s, W/s), s = 4, 8, 16, 32, without norms at their ends.

    Parameters
    ----------
    size : one of `SIZES`.

    Attributes
    ----------
    channels : C_1 to C_4.
    network : stages at even places, transitions between them.

    Raises
    ------
    UnknownNameError
        For another size.
    """

    def __init__(self, size: str = "s1"):
        super().__init__()
        if size not in SIZES:
            raise UnknownNameError("size of EfficientFormerV2", size, SIZES)
        widths, depths, attention, narrow, drop = SIZES[size]
        self.channels = widths
        self.patch_embed = nn.Sequential(
            *(*conv_norm(3, widths[0] // 2, 3, stride=2), nn.GELU()),
            *(*conv_norm(widths[0] // 2, widths[0], 3, stride=2), nn.GELU()),
        )
        rates = iter(growing_rates(drop, sum(depths)))
        self.network = nn.ModuleList()
        for stage, (channels, depth) in enumerate(zip(widths, depths, strict=True)):
            if stage == 3:
                self.network.append(AttentiveTransition(widths[2], channels, GRID // 16))
            elif stage > 0:
                self.network.append(conv_norm(widths[stage - 1], channels, 3, stride=2))
            start, length = narrow[stage - 2] if stage >= 2 else (0, 0)
            blocks = []
            for i in range(depth):
                mixer = None
                if stage >= 2 and i >= depth - attention:
                    mixer = Attention(channels, GRID // 2 ** (stage + 2), stride=2 if stage == 2 else 1)
                ratio = 3 if start <= i < start + length else 4
                blocks.append(Block(channels, ratio, mixer, next(rates)))
            self.network.append(nn.Sequential(*blocks))

    def forward(self, images: Tensor) -> list[Tensor]:
        x = self.patch_embed(images)  # (B, C_1, H/4, W/4)
        levels = []
        for place, part in enumerate(self.network):
            x = part(x)  # (B, C_i, H/s, W/s)
            if place % 2 == 0:
                levels.append(x)
        return levels
