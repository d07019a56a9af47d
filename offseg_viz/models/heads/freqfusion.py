"""FreqFusion (arXiv 2408.12879): fuse a coarse and a fine map by filters that are predicted from both.

The coarse map is smoothed while it is upsampled (low-pass kernels) and then resampled where it does not agree with its
surroundings; the fine map gets its own detail added once more (high-pass kernels).
"""

from torch import Tensor, cat, nn

from offseg_viz.errors import ModelError
from offseg_viz.models.heads.carafe import carafe
from offseg_viz.models.heads.sampling import GROUPS, SamplingShift, resample

LOW_PASS = 5
"""Side of the low-pass kernels."""

HIGH_PASS = 3
"""Side of the high-pass kernels."""


class FreqFusion(nn.Module):
    """Maps high (B, C_high, 2h, 2w) and low (B, C_low, h, w) to two of the same channels at (2h, 2w).

    As released. N(.), a softmax over the k^2 channels at each position, makes kernels of a map; the Hamming window of
    the release is the constant 1 and left out.

    Parameters
    ----------
    high_channels, low_channels : C_high and C_low; the filters are predicted from m = (C_high + C_low) // 4 channels.

    Raises
    ------
    ModelError
        If C_low is no multiple of 4, the groups of the resampling, or m is below 8 or not a multiple of m // 8.
    """

    def __init__(self, high_channels: int, low_channels: int):
        super().__init__()
        if low_channels % GROUPS:
            raise ModelError(
                f"FreqFusion needs a multiple of {GROUPS} channels in the coarse map, found {low_channels}"
            )
        compressed = (high_channels + low_channels) // 4
        self.compress_high = nn.Conv2d(high_channels, compressed, 1)
        self.compress_low = nn.Conv2d(low_channels, compressed, 1)
        self.low_pass = nn.Conv2d(compressed, LOW_PASS**2, 3, padding=1)
        self.high_pass = nn.Conv2d(compressed, HIGH_PASS**2, 3, padding=1)
        self.sampling_shift = SamplingShift(compressed)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for encoder in (self.low_pass, self.high_pass):
            nn.init.normal_(encoder.weight, std=0.001)  # kernels start as plain means

    def forward(self, high: Tensor, low: Tensor) -> tuple[Tensor, Tensor]:
        if high.shape[2] != 2 * low.shape[2] or high.shape[3] != 2 * low.shape[3]:
            found = f"{tuple(high.shape[2:])} and {tuple(low.shape[2:])}"
            raise ModelError(f"FreqFusion needs a fine map of twice the coarse map's height and width, found {found}")
        h = self.compress_high(high)  # (B, m, 2h, 2w)
        l = self.compress_low(low)  # (B, m, h, w)
        detail = self.high_pass(h)  # (B, 9, 2h, 2w)
        h = 2 * h - carafe(h, detail.softmax(1), HIGH_PASS)  # (B, m, 2h, 2w)
        smooth = self.low_pass(h)  # (B, 25, 2h, 2w)
        smooth = smooth + carafe(self.low_pass(l), smooth.softmax(1), LOW_PASS, 2)  # (B, 25, 2h, 2w)
        both = cat([self.high_pass(l), low], dim=1)  # (B, 9 + C_low, h, w), since both meet the same kernels
        both = carafe(both, smooth.softmax(1), LOW_PASS, 2)  # (B, 9 + C_low, 2h, 2w)
        coarse_detail, low = both.split([HIGH_PASS**2, low.shape[1]], dim=1)  # (B, 9 | C_low, 2h, 2w)
        detail = detail + coarse_detail  # (B, 9, 2h, 2w)
        high = 2 * high - carafe(high, detail.softmax(1), HIGH_PASS)  # (B, C_high, 2h, 2w)
        low = resample(low, self.sampling_shift(h, l))  # (B, C_low, 2h, 2w)
        return high, low
