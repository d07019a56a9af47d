"""OffSeg written straight from its formulas, windows unfolded: what the benchmarks compare with.

Every CARAFE holds all windows of its output at once, k^2 times the output; the similarity of neighbours does the same
with 9 of them, and maps that meet the same kernels meet them one after the other.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor
from torch.nn import functional as F

from offseg_viz.models.heads import sampling
from offseg_viz.models.heads.freqfusion import HIGH_PASS, LOW_PASS, FreqFusion


def unfolded_carafe(x: Tensor, kernel: Tensor, size: int, scale: int = 1) -> Tensor:
    """`offseg_viz.models.heads.carafe.carafe` with all windows at once: (B, C, h, w) to (B, C, scale h, scale w)."""
    batch, channels, height, width = x.shape
    grid = (scale * height, scale * width)
    groups = kernel.shape[1] // size**2
    windows = F.unfold(x, size, padding=size // 2).unflatten(2, (height, width))  # (B, C k^2, h, w)
    windows = F.interpolate(windows, size=grid, mode="nearest")  # (B, C k^2, H, W)
    windows = windows.view(batch, groups, channels // groups, size**2, *grid)  # (B, G, C/G, k^2, H, W)
    kernel = kernel.view(batch, groups, 1, size**2, *grid)  # (B, G, 1, k^2, H, W)
    return (windows * kernel).sum(dim=3).view(batch, channels, *grid)  # (B, C, H, W)


def unfolded_similarity(x: Tensor, dilation: int = 2) -> Tensor:
    """`offseg_viz.models.heads.sampling.local_similarity` with all neighbours at once: (B, C, h, w) to (B, 8, h, w)."""
    windows = F.unfold(x, 3, dilation=dilation, padding=dilation)  # (B, 9 C, h w)
    windows = windows.unflatten(1, (x.shape[1], 9)).unflatten(3, x.shape[2:])  # (B, C, 9, h, w)
    similarity = F.cosine_similarity(windows, x[:, :, None], dim=1)  # (B, 9, h, w), the fifth with itself
    return similarity[:, [0, 1, 2, 3, 5, 6, 7, 8]]  # (B, 8, h, w)


def plain_freqfusion(fusion: FreqFusion, high: Tensor, low: Tensor) -> tuple[Tensor, Tensor]:
    """`FreqFusion.forward`, one formula a line."""
    h = fusion.compress_high(high)  # (B, m, 2h, 2w)
    l = fusion.compress_low(low)  # (B, m, h, w)
    a = fusion.high_pass(h)  # (B, 9, 2h, 2w)
    h = h + (h - unfolded_carafe(h, a.softmax(1), HIGH_PASS))  # (B, m, 2h, 2w)
    b = fusion.low_pass(h)  # (B, 25, 2h, 2w)
    c = unfolded_carafe(fusion.low_pass(l), b.softmax(1), LOW_PASS, 2)  # (B, 25, 2h, 2w)
    kernel = (b + c).softmax(1)  # (B, 25, 2h, 2w)
    d = unfolded_carafe(fusion.high_pass(l), kernel, LOW_PASS, 2)  # (B, 9, 2h, 2w)
    low = unfolded_carafe(low, kernel, LOW_PASS, 2)  # (B, C_low, 2h, 2w)
    high = high + (high - unfolded_carafe(high, (a + d).softmax(1), HIGH_PASS))  # (B, C_high, 2h, 2w)
    return high, sampling.resample(low, fusion.sampling_shift(h, l))


@contextmanager
def naive_freqfusion() -> Iterator[None]:
    """Within this context every `FreqFusion`, of any model, runs as it is written here."""
    fast = FreqFusion.forward, sampling.local_similarity
    FreqFusion.forward, sampling.local_similarity = plain_freqfusion, unfolded_similarity
    try:
        yield
    finally:
        FreqFusion.forward, sampling.local_similarity = fast
