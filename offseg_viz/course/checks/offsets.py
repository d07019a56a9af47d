"""Checks of the notebook about offsets: their relative length, their length by distance, and what all images share."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from offseg_viz.analyze.places import boundary_distance
from offseg_viz.course.verdict import Verdict, compare

EDGES = (4, 8, 16, 32, 64)
"""Lower edges of the groups of distance, in pixels of the image."""


def check_relative_magnitude(answer, record: xr.Dataset) -> Verdict:
    """Asked: the map (y, x) of the length of dE over the length of E.

    Diagnoses lengths that were taken over rows or columns, a length that was not divided, division by the aligned
    feature, squared or summed values in place of a length, a mean of single ratios, one number for the whole image, and
    rounding.
    """
    feature, offset = (record[name].values.astype(np.float64) for name in ("feature", "feature_offset"))
    length, size = (np.linalg.norm(values, axis=-1) for values in (offset, feature))
    truth = length / size
    if not _empty(answer) and np.shape(answer) == ():
        return Verdict(False, "one number for the whole image; needed: one a pixel, so sum over channels alone")
    for axis, places in enumerate(("rows", "columns")):  # an image may be as high as a feature is long
        along, across = (np.linalg.norm(values, axis=axis) for values in (offset, feature))
        with np.errstate(divide="ignore", invalid="ignore"):  # a channel may be zero in a whole row
            values = (along / across, along, across)
        if any(compare(answer, value, praise="") for value in values):
            told = f"the lengths were taken over the {places} of the image, axis {axis}; needed: over its channels"
            return Verdict(False, told)
    with np.errstate(divide="ignore", invalid="ignore"):
        by_channel = np.linalg.norm(offset / feature, axis=-1)
    wrong = {
        "that is the length of dE: divide it by the length of E": length,
        "that is the length of E": size,
        "that is the length of E over that of dE: turn it round": 1 / truth,
        "divided by the length of E + dE; needed: by that of E, what was moved": length
        / np.linalg.norm(feature + offset, axis=-1),
        "these are squared lengths: take the square root": truth**2,
        "these are sums of absolute values; a length is the root of the summed squares": np.abs(offset).sum(-1)
        / np.abs(feature).sum(-1),
        "that is how much longer the feature became; needed: how far it moved": np.linalg.norm(
            feature + offset, axis=-1
        )
        / size,
        "channels were divided before their lengths were taken: take the two lengths first": by_channel,
    }
    praise = "a length means something only beside the length of what was moved"
    return compare(answer, truth, wrong=wrong, praise=praise, what="the map")


def check_by_distance(answer, records: Sequence[xr.Dataset]) -> Verdict:
    """Asked: the mean length of dE in five groups of distance to another class, over the pixels of all images together.

    The groups begin at 4, 8, 16, 32 and 64 pixels; each holds its lower edge and not its upper one. Diagnoses sums,
    counts, means of the images' means, groups that hold their upper edge, medians, relative lengths, six groups, whole
    groups in place of their means, any single image, and rounding.
    """
    distance = [boundary_distance(record).values.ravel() for record in records]
    length = [_length(record["feature_offset"]).ravel() for record in records]
    relative = [each / _length(record["feature"]).ravel() for each, record in zip(length, records, strict=True)]
    d, m, r = (np.concatenate(each) for each in (distance, length, relative))
    truth = _grouped(m, d, np.mean)
    by_image = [_grouped(one, at, np.mean) for one, at in zip(length, distance, strict=True)]
    if isinstance(answer, list | tuple) and any(_is_many(group) for group in answer):
        return Verdict(False, "found whole groups of lengths; needed five numbers: the mean of each group")
    if not _empty(answer) and np.shape(answer) == (len(EDGES) + 1,):
        return Verdict(False, "six groups; needed five: nothing lies nearer than 4 pixels, and the last has no end")
    wrong = {
        "these are sums: divide by the number of pixels in the group": _grouped(m, d, np.sum),
        "these are numbers of pixels; needed: the mean length in the group": _grouped(m, d, np.size),
        "every image counts the same here; needed: every pixel, so pool the pixels first": np.nanmean(by_image, axis=0),
        "a distance of exactly 8 belongs to the group from 8: the lower edge is inside, the upper is not": _grouped(
            m, np.nextafter(d.astype(np.float64), 0), np.mean
        ),
        "these are medians; needed: means": _grouped(m, d, np.median),
        "these are relative lengths; needed: the length of dE itself": _grouped(r, d, np.mean),
        "everything from the edge on was taken; needed: up to the next edge": [m[d >= edge].mean() for edge in EDGES],
        "the groups are in the opposite order: nearest first": truth[::-1],
        **{
            f"that is one image, records[{number}]; needed: the pixels of all of them": means
            for number, means in enumerate(by_image)
        },
    }
    praise = "near another class or far from it, features move equally far"
    return compare(answer, truth, wrong=wrong, praise=praise, what="the row of means")


def check_common_share(answer, records: Sequence[xr.Dataset]) -> Verdict:
    """Asked: the share of the squared length of all class offsets that is the same in every image, a number.

    The squared length of the mean over images, over the mean over images of the squared lengths; of all classes
    together. Diagnoses a mean over classes in place of images, a missing square, the rest in place of the share, a
    mean over everything, a sum in place of a mean, the mean of the classes' shares, pairs of different images alone (as
    in `class_offset_agreement`), and rounding.
    """
    offsets = np.stack([record["class_offset"].values.astype(np.float64) for record in records])  # (image, K, C)
    squared = np.square(offsets).sum(axis=(1, 2)).mean()
    mean, across = offsets.mean(axis=0), offsets.mean(axis=1)
    truth = np.square(mean).sum() / squared
    lengths = np.linalg.norm(offsets, axis=-1)
    by_class = np.square(mean).sum(axis=-1) / np.square(lengths).mean(axis=0)
    if not _empty(answer) and np.shape(answer) == by_class.shape:
        return Verdict(False, "one value a class; needed: one number, of all classes together")
    wrong = {
        "the mean was taken over classes; needed: over images": offsets.shape[1]
        * np.square(across).sum(-1).mean()
        / squared,
        "that is the share which belongs to single images: one minus it": 1 - truth,
        "these are lengths: take their squares, which add up": np.linalg.norm(mean, axis=-1).sum()
        / lengths.mean(axis=0).sum(),
        "the square root of the share: leave the lengths squared": np.sqrt(truth),
        "a sum over images on top; needed: a mean": truth * len(offsets) ** 2,
        "a sum over images below; needed: a mean": truth / len(offsets),
        "the mean was taken over images and classes; needed: over images alone": offsets.shape[1]
        * np.square(offsets.mean(axis=(0, 1))).sum()
        / squared,
        "that is the mean of the classes' shares: add up first, then divide": by_class.mean(),
        "that is class_offset_shared, over pairs of different scenes and class by class: add up all classes first, and "
        "leave no scene out": _of_pairs(by_class.mean(), len(offsets)),
        "that is over pairs of different scenes; needed: the mean over all scenes, squared": _of_pairs(
            truth, len(offsets)
        ),
    }
    praise = "squared lengths add up: what is the same in all images, and what is each image's own"
    return compare(answer, truth, wrong=wrong, praise=praise, what="the share", atol=5e-5)


def _length(vectors: xr.DataArray) -> np.ndarray:
    return np.linalg.norm(vectors.values.astype(np.float64), axis=-1)


def _of_pairs(share: float, images: int) -> float:
    """The share without what every image has in common with itself."""
    return (images * share - 1) / max(images - 1, 1)


def _grouped(values: np.ndarray, distance: np.ndarray, figure) -> np.ndarray:
    """`figure` of the values in each group of distance, NaN where it is empty."""
    group = np.digitize(distance, EDGES) - 1
    return np.array([figure(values[group == n]) if (group == n).any() else np.nan for n in range(len(EDGES))])


def _empty(answer) -> bool:
    return answer is ... or answer is None or callable(answer)


def _is_many(group) -> bool:
    return isinstance(group, np.ndarray | xr.DataArray | list) and np.size(group) > 1
