"""How alike the vectors of each class are across the images of a data set: Fig. 3 of arXiv 2508.08811 in numbers."""

from collections.abc import Iterable
from functools import partial

import numpy as np
import pandas as pd
import xarray as xr

from offseg_viz.analyze.bootstrap import GROUPS, bootstrap_interval, mean_of_pairs
from offseg_viz.analyze.collection import over_records
from offseg_viz.analyze.ideal import READABLE_RCOND, image_vectors, reading_of
from offseg_viz.analyze.measure_table import measure_rows
from offseg_viz.classes import IGNORE_INDEX

_STAGES = {
    "ideal": "ideal",
    "class_mean": "initial",
    "aligned_class_mean": "aligned",
    "aligned_class_embedding": "aligned",
}


def embedding_similarity(
    records: Iterable[xr.Dataset], *, of: str = "ideal", rcond: float = READABLE_RCOND
) -> pd.DataFrame:
    """Mean and spread, for every class, of the cosines between its vectors in different images.

    Low means say that no single vector suits all images; low ones of W + dW, that offset learning makes class
    embeddings of the image at hand. With u_i the vector of a class in image i, scaled to length one, and n images that
    hold the class, over all pairs of different images:

    =================  ============================================================================================
    `mean_similarity`  mean of u_i . u_j, which is (|sum_i u_i|^2 - n) / (n (n - 1))
    `spread`           standard deviation of u_i . u_j, from the mean of its square:
                       (||sum_i u_i u_i^T||_F^2 - n) / (n (n - 1)) minus the mean squared
    =================  ============================================================================================

    So one pass with sums serves all pairs. They take a C x C matrix a class, in float64: 79 MB for 150 classes of 256
    channels, however many images there are.

    Parameters
    ----------
    records : iterable of xarray.Dataset
        Labelled records of one model and data set, read one at a time; each is an image, windows too.
    of : {"ideal", "class_mean", "aligned_class_mean", "aligned_class_embedding"}
        Ideal class embeddings (eq. 2), means of the initial or aligned features of the class, or W + dW (eq. 8), which
        without offset learning is the same in every image. In all cases of images whose label holds the class.
    rcond : float
        For the ideal embeddings: singular values of E below this fraction of the largest count as zero.

    Returns
    -------
    pandas.DataFrame
        A measure table by `cls`, every class of the list. `images` is how many hold the class; with fewer than two the
        value is NaN. An image where the vector has length zero, and so no direction, is not counted.

        The interval of the mean is by the bootstrap over images, pairs of an image with itself left out, NaN with
        fewer than three. Beyond 32 images they are drawn in 32 groups (the 1st, 33rd, ... of the class make one), for
        otherwise every vector had to be kept. Even so the spread has none: it would take a C x C matrix a group.

    Raises
    ------
    RecordError
        If there is no record, one has no label, or they do not fit each other; for W + dW also if they are of mask
        classification, whose embeddings are of queries.
    UnknownNameError
        If there is no such `of`.
    """
    reading, sums = reading_of(of), None
    for _, (names, numbers, units) in over_records(records, partial(_units, of=of, rcond=rcond), **reading):
        if sums is None:
            classes, sums = names, _PairSums(len(names), units.shape[1])
        sums.add(numbers, units)
    figures = {"mean_similarity": sums.mean(), "spread": (sums.spread(), np.nan, np.nan)}
    rows = [
        measure_rows("cls", classes, quantity, values, sums.images, stage=_STAGES[of])
        for quantity, values in figures.items()
    ]
    return pd.concat(rows, ignore_index=True)


def _units(record: xr.Dataset, *, of: str, rcond: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Class names, and the numbers (n,) and vectors of length one (n, C) of those with a direction in this image."""
    names = record["cls"].values.astype(str)
    if (record["label"] == IGNORE_INDEX).all():
        return names, np.empty(0, int), np.empty((0, record.sizes["channel"]))
    vectors = image_vectors(record, of=of, rcond=rcond)
    lengths = np.sqrt(np.einsum("kc,kc->k", vectors, vectors))
    numbers = np.flatnonzero(lengths > 0)  # NaN, of a class that does not occur, is not
    return names, numbers, vectors[numbers] / lengths[numbers, None]


class _PairSums:
    """Sums of unit vectors by group of images, and of their products with themselves, for each class."""

    def __init__(self, classes: int, channels: int):
        self.images = np.zeros(classes, int)
        self.sums = np.zeros((classes, GROUPS, channels))
        self.products = np.zeros((classes, channels, channels))

    def add(self, numbers: np.ndarray, units: np.ndarray) -> None:
        """One image: `units` (n, C) of the classes `numbers` (n,)."""
        self.sums[numbers, self.images[numbers] % GROUPS] += units
        for number, unit in zip(numbers, units, strict=True):
            self.products[number] += np.outer(unit, unit)
        self.images[numbers] += 1

    def mean(self) -> np.ndarray:
        """Mean cosine with the ends of its interval, (3, K)."""
        result = np.full((3, len(self.images)), np.nan)
        for number in np.flatnonzero(self.images >= 2):
            members = np.bincount(np.arange(self.images[number]) % GROUPS)  # images a group
            sums = self.sums[number, : len(members)]
            # of unit vectors the squared lengths are as many as there are images
            statistic = partial(mean_of_pairs, gram=sums @ sums.T, squares=members, members=members)
            found = bootstrap_interval(statistic, np.eye(len(members)))  # it takes the weights of the groups as such
            # two images make one pair, which every draw that has a pair repeats: nothing is known of others
            result[:, number] = found if self.images[number] > 2 else (found[0], np.nan, np.nan)
        return result

    def spread(self) -> np.ndarray:
        """Standard deviation of the cosines, (K,)."""
        squares = np.einsum("kab,kab->k", self.products, self.products)
        totals = self.sums.sum(axis=1)
        total = np.einsum("kc,kc->k", totals, totals)
        images = np.where(self.images >= 2, self.images, np.nan)
        pairs = images * (images - 1)
        variance = (squares - images) / pairs - ((total - images) / pairs) ** 2
        return np.sqrt(np.maximum(variance, 0))  # rounding can carry it just below zero
