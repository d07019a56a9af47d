"""Resampling guided by local similarity: positions move to where the map looks more like itself (FreqFusion).

The paper (arXiv 2408.12879, section 3.3) calls the displacement an offset; here it is the sampling shift, because
offsets are what offset learning adds to features and class embeddings.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from offseg_viz.errors import ModelError

GROUPS = 4
"""Groups of channels that are shifted apart."""

NEIGHBOURS = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0))
"""The eight neighbours row by row, as (dy, dx)."""


def local_similarity(x: Tensor, dilation: int = 2) -> Tensor:
    """Cosine similarity of every position of (B, C, h, w) with its 8 neighbours at a distance: (B, 8, h, w).

    Neighbours row by row; 0 where a neighbour lies outside the map. Similarity is mutual, so the last four are
    computed and the first four are those, seen from the other end.
    """
    height, width = x.shape[2:]
    tiny = max(1e-8, torch.finfo(x.dtype).tiny)  # 1e-8 is the release's; it would be 0 in half precision
    unit = F.normalize(x, dim=1, eps=tiny)  # (B, C, h, w)
    padded = F.pad(unit, (dilation, dilation, 0, dilation))  # (B, C, h + d, w + 2 d)
    forward, backward = [], []
    for dy, dx in NEIGHBOURS[4:]:
        top, left = dilation * dy, dilation * (1 + dx)
        similarity = (unit * padded[:, :, top : top + height, left : left + width]).sum(1)  # (B, h, w)
        forward.append(similarity)
        mirrored = F.pad(similarity, (dilation, dilation, dilation, 0))  # (B, h + d, w + 2 d)
        top, left = dilation * (1 - dy), dilation * (1 - dx)
        backward.insert(0, mirrored[:, top : top + height, left : left + width])  # (B, h, w)
    return torch.stack(backward + forward, dim=1)  # (B, 8, h, w)


class SamplingShift(nn.Module):
    """Where to sample: compressed maps high (B, m, 2h, 2w) and low (B, m, h, w) to shifts (B, 2, 4, 2h, 2w).

    The shift is (x, y) for each of 4 groups of channels, in positions of the *coarse* grid. Both maps propose shifts
    from their local similarity and gates from their content; what the coarse map says counts for 2 x 2 positions.

    Parameters
    ----------
    channels : m, at least 8 and a multiple of m // 8, the number of groups of the two GroupNorms.

    Raises
    ------
    ModelError
        For other m.
    """

    def __init__(self, channels: int):
        super().__init__()
        groups = channels // 8
        if groups == 0 or channels % groups:
            raise ModelError(
                f"the sampling shift needs at least 8 channels, a multiple of m // 8; found m = {channels}"
            )
        fine, coarse = 2 * GROUPS, 2 * GROUPS * 4  # the coarse map has 2 x 2 sub-positions among its channels
        self.norm_high = nn.GroupNorm(groups, channels)
        self.norm_low = nn.GroupNorm(groups, channels)
        self.shift_high = nn.Conv2d(len(NEIGHBOURS), fine, 3, padding=1)
        self.shift_low = nn.Conv2d(len(NEIGHBOURS), coarse, 3, padding=1)
        self.gate_high = nn.Conv2d(channels, fine, 3, padding=1)
        self.gate_low = nn.Conv2d(channels, coarse, 3, padding=1)

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        high = self.norm_high(high)  # (B, m, 2h, 2w)
        low = self.norm_low(low)  # (B, m, h, w)
        shift = F.pixel_shuffle(self.shift_low(local_similarity(low)), 2)  # (B, 8, 2h, 2w)
        shift = shift + self.shift_high(local_similarity(high))  # (B, 8, 2h, 2w)
        gate = F.pixel_shuffle(self.gate_low(low), 2) + self.gate_high(high)  # (B, 8, 2h, 2w)
        return (shift * gate.sigmoid()).unflatten(1, (2, GROUPS))  # (B, 2, 4, 2h, 2w)


def resample(x: Tensor, shift: Tensor) -> Tensor:
    """Read a map (B, C, H, W) bilinearly at displaced positions, each group of channels by its own shift.

    Parameters
    ----------
    x : (B, C, H, W), C a multiple of 4.
    shift : (B, 2, 4, H, W), (x, y) in positions of the grid of half the size: 1 moves by two positions of `x`. Beyond
        the border the border value is read.
    """
    batch, channels, height, width = x.shape
    dtype = torch.promote_types(x.dtype, torch.float32)  # half precision cannot tell positions of a large map apart
    x_centres = (2 * torch.arange(width, dtype=dtype, device=x.device) + 1) / width - 1  # (W,), in [-1, 1]
    y_centres = (2 * torch.arange(height, dtype=dtype, device=x.device) + 1)[:, None] / height - 1  # (H, 1)
    shift = shift.to(dtype)  # (B, 2, 4, H, W)
    grid = (x_centres + shift[:, 0] * (4 / width), y_centres + shift[:, 1] * (4 / height))  # 2 of (B, 4, H, W)
    grid = torch.stack(grid, dim=-1).flatten(0, 1)  # (4B, H, W, 2)
    x = x.unflatten(1, (GROUPS, -1)).flatten(0, 1)  # (4B, C/4, H, W)
    sampled = F.grid_sample(x.to(dtype), grid, mode="bilinear", padding_mode="border", align_corners=False)
    return sampled.to(x.dtype).reshape(batch, channels, height, width)  # (B, C, H, W)
