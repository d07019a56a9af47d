"""Confidence intervals over images: how much a figure would differ had other images of the same kind been drawn.

The bootstrap of Efron (Annals of Statistics 7, 1979), percentile intervals. Images are drawn, not pixels: pixels of one
image are much alike, and intervals over them would be far too narrow.
"""

from collections.abc import Callable

import numpy as np

from offseg_viz.errors import RecordError

DRAWS = 1000
LEVEL = 0.95


def image_weights(images: int, *, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """How often each image is in each draw with replacement, (draws, images) float64; rows sum to the number of images.

    The same numbers give the same draws, so that differences of figures made with them are paired.
    """
    if images < 1 or draws < 1:
        raise RecordError(f"found {images} images and {draws} draws; needed one or more of each")
    drawn = np.random.default_rng(seed).integers(0, images, (draws, images))
    return np.stack([np.bincount(row, minlength=images) for row in drawn]).astype(np.float64)


def bootstrap_interval(
    statistic: Callable[..., np.ndarray], *sums: np.ndarray, level: float = LEVEL, draws: int = DRAWS, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A figure made of sums over images, with the ends of its interval: value, low, high, each as `statistic` gives it.

    Parameters
    ----------
    statistic : takes the sums over images, each with a leading axis of draws in place of that of images, and gives an
        array whose leading axis is that of draws; NaN where a figure is undefined.
    sums : arrays (images, ...), what each image contributes.
    level : share of the draws within the interval.

    Returns
    -------
    value, low, high : arrays without the leading axis. Where a figure is undefined in some draws (a class that few
        images hold), the interval is over the others. With a single image the interval is NaN: nothing is known of
        others.
    """
    images = len(sums[0])
    value = np.asarray(statistic(*(one.sum(axis=0, keepdims=True) for one in sums))[0], dtype=np.float64)
    low, high = np.full(value.shape, np.nan), np.full(value.shape, np.nan)
    if images < 2:
        return value, low, high
    weights = image_weights(images, draws=draws, seed=seed)
    drawn = statistic(*((weights @ one.reshape(images, -1)).reshape(-1, *one.shape[1:]) for one in sums))
    defined = ~np.isnan(drawn).all(axis=0)
    ends = 50 * (1 - level), 50 * (1 + level)
    low[defined], high[defined] = np.nanpercentile(drawn[..., defined], ends, axis=0)
    return value, low, high
