"""Whether the offset of a class is the same in every image or each image's own."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
import xarray as xr

from offseg_viz.analyze.bootstrap import GROUPS, bootstrap_interval, mean_of_pairs
from offseg_viz.analyze.collection import UNREAD, over_records
from offseg_viz.analyze.measure_table import measure_rows
from offseg_viz.analyze.offsets import require_offsets
from offseg_viz.errors import RecordError
from offseg_viz.metrics import ratio_or_nan


def class_offset_agreement(records: Iterable[xr.Dataset]) -> pd.DataFrame:
    """Whether the offset of a class is the same in every image or each image's own; two figures a class.

    With d_i the class offset dW (eq. 7 of arXiv 2508.08811) of one class in image i, n images, and pairs of different
    images:

    - `class_offset_agreement`: mean over the pairs of the cosine of d_i and d_j, from -1 to 1, over the images where
      the offset is not zero.
    - `class_offset_shared`: mean over the pairs of d_i.d_j, over the mean of d_i.d_i: how much of the offsets is common
      to all images. 1 where all are the same, about 0 (and now and then below) where they have nothing in common, when
      |mean d|^2 / mean |d|^2 = (1 + (n - 1) shared) / n would still give 1 / n.

    An offset is made for every class in every image, whether the class is there or not. These two are over all images;
    `class_offset_agreement_labelled` and `class_offset_shared_labelled` over those in which the class is labelled.

    Both come from sums of vectors over images, |sum d|^2 being the sum over all pairs, so memory does not grow with the
    number of images.

    Parameters
    ----------
    records : iterable of xarray.Dataset
        Records of one model with offset learning, read one at a time; each is an image, windows too. Those without a
        label count as ones in which no class is labelled.

    Returns
    -------
    pandas.DataFrame
        A measure table by `cls`, with `stage` empty; NaN for fewer than two images. "all" is the mean over the classes
        that have a value; its `images` are those that at least one class counts.

        `low` and `high` are by the bootstrap over images, pairs of an image with itself left out; NaN with fewer than
        three images, whose pairs are one. More than 32 images are drawn in 32 groups (the 1st, 33rd, ... make one), for
        otherwise every offset had to be kept.

    Raises
    ------
    RecordError
        If there is no record, one has no offsets or such that are not finite, or they do not fit each other.
    """
    sums, unread = None, (*UNREAD, "feature", "feature_offset")
    for _, (names, offset, labelled) in over_records(records, _class_offsets, labelled=False, leave_out=unread):
        if sums is None:
            quantities = [f"{figure}{which}" for figure in ("agreement", "shared") for which in ("", "_labelled")]
            sums = {quantity: _PairSums(*offset.shape) for quantity in quantities}
        length = np.sqrt(np.square(offset).sum(axis=1))
        unit = np.nan_to_num(offset * ratio_or_nan(1.0, length[:, None]))
        for which, counted in {"": np.ones_like(labelled), "_labelled": labelled}.items():
            sums[f"agreement{which}"].add(unit, counted & (length > 0))
            sums[f"shared{which}"].add(offset, counted)
    rows = [
        measure_rows("cls", [*names, "all"], f"class_offset_{quantity}", *one.figures())
        for quantity, one in sums.items()
    ]
    return pd.concat(rows, ignore_index=True)


class _PairSums:
    """Sums over groups of images, for each class: of vectors, of their squared lengths, and of how many there are."""

    def __init__(self, classes: int, channels: int):
        self.vectors = np.zeros((classes, GROUPS, channels))
        self.squares, self.members = np.zeros((2, classes, GROUPS))
        self.images = self.not_empty = 0

    def add(self, vectors: np.ndarray, counted: np.ndarray) -> None:
        """One image: `vectors` (K, C), of which those of the classes `counted` (K,) are taken."""
        group = self.images % GROUPS
        self.vectors[counted, group] += vectors[counted]
        self.squares[counted, group] += np.square(vectors[counted]).sum(axis=1)
        self.members[:, group] += counted
        self.images += 1
        self.not_empty += bool(counted.any())

    def figures(self) -> tuple[np.ndarray, np.ndarray]:
        """Value, low and high (3, K + 1), the last of classes being their mean, and the images that each counts."""
        # The statistic is no function of sums over images, so it takes the weights themselves: those of an identity.
        value, low, high = bootstrap_interval(self._mean_of_pairs, np.eye(min(self.images, GROUPS)))
        images = np.append(self.members.sum(axis=1), self.not_empty).astype(int)
        return np.stack([value, *np.where(images < 3, np.nan, (low, high))]), images

    def _mean_of_pairs(self, weights: np.ndarray) -> np.ndarray:
        """Mean product over pairs of different images over the mean square, (draws, K + 1), for the groups' weights."""
        groups = weights.shape[1]
        squares, members, vectors = self.squares[:, :groups], self.members[:, :groups], self.vectors[:, :groups]
        classes = zip(vectors @ vectors.swapaxes(1, 2), squares, members)  # the first (K, groups, groups)
        product = np.stack([mean_of_pairs(weights, *one) for one in classes], axis=1)
        found = ratio_or_nan(product, ratio_or_nan(weights @ squares.T, weights @ members.T))
        defined = ~np.isnan(found)
        mean = ratio_or_nan(np.where(defined, found, 0).sum(axis=1), defined.sum(axis=1))
        return np.concatenate([found, mean[:, None]], axis=1)


def _class_offsets(record: xr.Dataset) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Class names, dW (cls, channel) float64, and which classes are labelled."""
    if "class_offset" not in record:
        require_offsets(record)
    names, offset = record["cls"].values.astype(str).tolist(), record["class_offset"].values.astype(np.float64)
    if not np.isfinite(offset).all():
        raise RecordError(
            f"the record of {record.attrs.get('sample')} has class offsets that are not finite; leave it out"
        )
    labels = record["label"].values if "label" in record else np.array([], int)
    return names, offset, np.isin(np.arange(len(names)), labels)
