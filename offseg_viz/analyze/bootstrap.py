"""Confidence intervals over images: how much a figure would differ had other images of the same kind been drawn.

The bootstrap of Efron (Annals of Statistics 7, 1979), percentile intervals. Images are drawn, not pixels: pixels of one
image are much alike, and intervals over them would be far too narrow.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from offseg_viz.errors import RecordError
from offseg_viz.extract.store import image_of
from offseg_viz.metrics import ratio_or_nan

DRAWS = 1000
LEVEL = 0.95


def image_weights(images: int, *, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """How often each image is in each draw with replacement, (draws, images) float64; rows sum to the number of images.

    The same numbers give the same draws, so that differences of figures made with them are paired.
    """
    if images < 1 or draws < 1:
        raise RecordError(f"found {images} images and {draws} draws; needed one or more of each")
    random, weights = np.random.default_rng(seed), np.empty((draws, images))
    for row in weights:
        row[:] = np.bincount(random.integers(0, images, images), minlength=images)
    return weights


def streamed_weights(*, draws: int = DRAWS, seed: int = 0) -> Iterator[np.ndarray]:
    """For one image after the other how often it is in each draw, (draws,) float64; there is no last one.

    Poisson numbers of mean one, so that nobody needs to know how many images follow, and sums over a draw can be made
    as images come in where keeping what each contributes would fill the memory (Hanley and MacGibbon, Computer Methods
    and Programs in Biomedicine 83, 2006). Draws then differ in size, which does not matter to means and ratios.
    """
    random = np.random.default_rng(seed)
    while True:
        yield random.poisson(1, draws).astype(np.float64)


GROUPS = 32
"""Images are drawn in this many groups where a figure needs every image's vector, or each by itself where there are
fewer: the sums of the groups take the place of the vectors."""


def mean_of_pairs(weights: np.ndarray, gram: np.ndarray, squares: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Mean inner product of the vectors of different images, for every draw of groups of images: (draws,).

    |sum_g w_g s_g|^2, with s_g the sum of a group's vectors, is the sum over all pairs; those of an image with itself
    are w_g^2 in each of the group's members. NaN for a draw without a pair.

    Parameters
    ----------
    weights : (draws, groups), how often each group was drawn.
    gram : (groups, groups), inner products of the s_g.
    squares : (groups,), sums of the squared lengths of the vectors.
    members : (groups,), how many images there are.
    """
    twice, count = weights**2, weights @ members
    every = np.einsum("dg,dg->d", weights @ gram, weights)
    return ratio_or_nan(every - twice @ squares, count**2 - twice @ members)


def percentile_interval(drawn: np.ndarray, *, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the interval that holds the share `level` of the draws, those that are NaN left out.

    Parameters
    ----------
    drawn : (draws, ...) a figure in every draw; NaN where it is undefined.

    Returns
    -------
    low, high : arrays without the leading axis, linear between the draws; NaN where every draw is NaN.
    """
    ordered = np.sort(np.asarray(drawn, dtype=np.float64), axis=0)  # NaN comes last
    last = (~np.isnan(ordered)).sum(axis=0) - 1
    ends = []
    for share in ((1 - level) / 2, (1 + level) / 2):
        place = share * np.maximum(last, 0)
        below = np.floor(place).astype(int)
        above = np.minimum(below + 1, np.maximum(last, 0))
        low, high = (np.take_along_axis(ordered, at[None], axis=0)[0] for at in (below, above))
        ends.append(low + (place - below) * (high - low))
    return tuple(ends)


def by_image(names: Sequence[str], *sums: np.ndarray) -> tuple:
    """Ids of the images, and what each contributes (images, ...): the sums of the windows of an image added up.

    Windows of one image are much alike, so images are drawn and not windows. They are told by the ids that
    `over_records` yields with the results.

    Parameters
    ----------
    names : ids of the records.
    sums : arrays (records, ...).
    """
    numbers = {image: number for number, image in enumerate(dict.fromkeys(map(image_of, names)))}
    owner, added = [numbers[image_of(name)] for name in names], []
    for one in sums:
        total = np.zeros((len(numbers), *one.shape[1:]), one.dtype)
        np.add.at(total, owner, one)
        added.append(total)
    return list(numbers), *added


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
        others. A group that one image of several holds gets an interval of no width, which says nothing either: callers
        that count the images of a group put NaN there.
    """
    images = len(sums[0])
    value = np.asarray(statistic(*(one.sum(axis=0, keepdims=True) for one in sums))[0], dtype=np.float64)
    if images < 2:
        return value, np.full(value.shape, np.nan), np.full(value.shape, np.nan)
    weights = image_weights(images, draws=draws, seed=seed)
    drawn = statistic(*((weights @ one.reshape(images, -1)).reshape(-1, *one.shape[1:]) for one in sums))
    return value, *percentile_interval(drawn, level=level)
