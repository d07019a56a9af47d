"""The attention of EfficientFormerV2 (arXiv 2212.08059, section 3.3): learned biases, local values, talking heads."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HEADS = 8


def conv_norm(
    in_channels: int, out_channels: int, kernel: int = 1, *, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Convolution with bias and BatchNorm: (B, C_in, h, w) to (B, C_out, h/s, w/s)."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))


class AttentionBias(nn.Module):
    """One learned value a head for each displacement (|dy|, |dx|) of key against query, at any size of the map.

    The values belong to the native grid (of 512 x 512 images). For another one the matrix of queries and keys is
    resized bicubically *as a flat picture*, as the release does, not position by position. It is made anew in every
    forward, so that it always follows the values.

    Parameters
    ----------
    grid : side of the native grid of the keys.
    stride : keys per query along each axis.

    Attributes
    ----------
    values : (heads, grid^2), displacements row by row, zero at the start.
    index : (queries, keys), the displacement of each pair; computed, not part of the weights.
    """

    def __init__(self, grid: int, stride: int = 1):
        super().__init__()
        self.values = nn.Parameter(torch.zeros(HEADS, grid * grid))
        keys = torch.arange(grid)
        distance = (keys[::stride, None] - keys).abs()  # (grid / stride, grid), along one axis
        index = distance[:, None, :, None] * grid + distance[None, :, None, :]  # (q_y, q_x, k_y, k_x)
        self.register_buffer("index", index.flatten(2).flatten(0, 1), persistent=False)

    def forward(self, queries: int, keys: int) -> Tensor:
        bias = self.values[:, self.index]  # (heads, native queries, native keys)
        if bias.shape[1:] == (queries, keys):
            return bias
        dtype = torch.promote_types(bias.dtype, torch.float32)
        resized = F.interpolate(bias[None].to(dtype), size=(queries, keys), mode="bicubic", align_corners=False)
        return resized[0].to(bias.dtype)  # (heads, queries, keys)


def split_heads(x: Tensor) -> Tensor:
    """(B, heads d, h, w) to (B, heads, P, d), P = h w."""
    return x.flatten(2).unflatten(1, (HEADS, -1)).transpose(2, 3)


def join_heads(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, heads, P, d) to (B, heads d, h, w), P = h w."""
    return x.transpose(2, 3).flatten(1, 2).unflatten(2, grid)


class Attention(nn.Module):
    """Self-attention between all positions of a map (B, C, h, w), with `stride` 2 between those of half its size.

    The scores are mixed over the heads before and after the softmax (talking heads, arXiv 2003.02436), and a depthwise
    convolution of the values is added to what attention gathers.

    Parameters
    ----------
    channels : C.
    grid : side of the native map, a multiple of `stride`.
    stride : 1 or 2.
    """

    def __init__(self, channels: int, grid: int, stride: int = 1, *, key_width: int = 32):
        super().__init__()
        self.scale = key_width**-0.5
        keys, values = HEADS * key_width, HEADS * 4 * key_width
        self.stride_conv = conv_norm(channels, channels, 3, stride=2, groups=channels) if stride == 2 else nn.Identity()
        self.upsample = nn.Upsample(scale_factor=2, mode="bilinear") if stride == 2 else nn.Identity()
        self.q, self.k, self.v = conv_norm(channels, keys), conv_norm(channels, keys), conv_norm(channels, values)
        self.v_local = conv_norm(values, values, 3, groups=values)
        self.talking_head1 = nn.Conv2d(HEADS, HEADS, 1)
        self.talking_head2 = nn.Conv2d(HEADS, HEADS, 1)
        self.attention_bias = AttentionBias(grid // stride)
        self.proj = nn.Sequential(nn.GELU(), *conv_norm(values, channels))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stride_conv(x)  # (B, C, h/s, w/s)
        value = self.v(x)  # (B, 1024, h/s, w/s)
        query, key = split_heads(self.q(x)), split_heads(self.k(x))  # (B, 8, P, 32)
        scores = (query * self.scale) @ key.transpose(2, 3)  # (B, 8, P, P)
        scores = scores + self.attention_bias(scores.shape[2], scores.shape[3])  # (B, 8, P, P)
        attention = self.talking_head2(self.talking_head1(scores).softmax(3))  # (B, 8, P, P)
        mixed = join_heads(attention @ split_heads(value), x.shape[2:])  # (B, 1024, h/s, w/s)
        return self.proj(self.upsample(mixed + self.v_local(value)))  # (B, C, h, w)


class StridedQuery(nn.Module):
    """Queries (B, C_out, h/2, w/2) of a map (B, C, h, w): every second position plus a depthwise convolution."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.local = nn.Conv2d(in_channels, in_channels, 3, stride=2, padding=1, groups=in_channels)
        self.proj = conv_norm(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(self.local(x) + x[:, :, ::2, ::2])  # (B, C_out, h/2, w/2)


class DownAttention(nn.Module):
    """Attention that halves the map: (B, C, h, w) to (B, C_out, h/2, w/2), queries coarse, keys fine.

    Parameters
    ----------
    in_channels, out_channels : C and C_out.
    grid : side of the native map.
    """

    def __init__(self, in_channels: int, out_channels: int, grid: int, *, key_width: int = 16):
        super().__init__()
        self.scale = key_width**-0.5
        keys, values = HEADS * key_width, HEADS * 4 * key_width
        self.q = StridedQuery(in_channels, keys)
        self.k, self.v = conv_norm(in_channels, keys), conv_norm(in_channels, values)
        self.v_local = conv_norm(values, values, 3, stride=2, groups=values)
        self.attention_bias = AttentionBias(grid, stride=2)
        self.proj = nn.Sequential(nn.GELU(), *conv_norm(values, out_channels))

    def forward(self, x: Tensor) -> Tensor:
        value = self.v(x)  # (B, 512, h, w)
        local = self.v_local(value)  # (B, 512, h/2, w/2)
        query, key = split_heads(self.q(x)), split_heads(self.k(x))  # (B, 8, P/4, 16), (B, 8, P, 16)
        scores = (query * self.scale) @ key.transpose(2, 3)  # (B, 8, P/4, P)
        scores = scores + self.attention_bias(scores.shape[2], scores.shape[3])  # (B, 8, P/4, P)
        mixed = join_heads(scores.softmax(3) @ split_heads(value), local.shape[2:])  # (B, 512, h/2, w/2)
        return self.proj(mixed + local)  # (B, C_out, h/2, w/2)
