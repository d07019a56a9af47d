"""Scatter of the features within classes against the scatter between classes, inside images and across them.

Fisher's criterion in its trace form (Fukunaga, Introduction to Statistical Pattern Recognition, 1990, chapter 10),
turned over: within divided by between, so that small is good.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from offseg_viz.analyze.bootstrap import percentile_interval, streamed_weights
from offseg_viz.analyze.class_means import label_counts, labelled_blocks, refuse_non_finite
from offseg_viz.analyze.collection import over_records
from offseg_viz.analyze.measure_table import measure_rows
from offseg_viz.extract.store import image_of
from offseg_viz.metrics import mean_of_present, ratio_or_nan
from offseg_viz.record import has_offsets
from offseg_viz.terms import STAGES

DRAWS = 200
"""Of the bootstrap. Each keeps K x C sums at both stages (61 MB in all with 150 classes and 256 channels): so few."""
OVERALL = "all"
QUANTITIES = (
    *("within_image_scatter", "image_mean_scatter", "across_images_scatter"),
    *("within_image_between", "across_images_between", "within_image", "across_images"),
)
OF_SEVERAL_CLASSES = ("within_image_between", "within_image")
"""Quantities to which only images of two or more classes contribute."""


def class_scatter(records: Iterable[xr.Dataset], *, seed: int = 0) -> pd.DataFrame:
    """Scatter within classes against scatter between classes, within and across images, both stages: a measure table.

    With x a feature (E, or E + dE of eq. 12 of arXiv 2508.08811 at the stage `aligned`) of a pixel labelled k, m_ik the
    mean of class k in image i, m_k its mean over the pixels of all images, m_i and m the means of the class means m_ik
    that image i holds, and of all m_k:

    =========================  ========================================================================================
    `within_image_scatter`     mean of |x - m_ik|^2 over the pixels of class k
    `image_mean_scatter`       mean of |m_ik - m_k|^2 over the pixels of class k: how far images differ
    `across_images_scatter`    mean of |x - m_k|^2 over the pixels of class k: exactly the sum of the two above
    `within_image_between`     mean of |m_ik - m_i|^2 over the pixels of class k in images of two or more classes
    `across_images_between`    |m_k - m|^2
    `within_image`             within_image_scatter / within_image_between, both over images of two or more classes
    `across_images`            across_images_scatter / across_images_between
    =========================  ========================================================================================

    The paper's claim is about **across**: one class embedding for all images cannot suit a class that is tight in each
    image but sits elsewhere in the next. Where the claim holds, `across_images` lies well above `within_image` at the
    stage `initial`, by `image_mean_scatter`, and alignment shows as a smaller `across_images` at the stage `aligned`.
    Compare ratios between stages and models, not scatters: these grow with the square of the length of features, which
    the refinement changes too, and the ratios are free of it. Of classes that live in different images the means m_k
    lie apart by what tells those images apart, too: `across_images_between` is no pure difference of classes.

    The group "all" is the mean over classes, each counting alike; its ratios are ratios of those means.

    Parameters
    ----------
    records : labelled records of one model and data set, with or without offsets, read one at a time. A window
        is an image by itself, but windows of one image are drawn and counted together.
    seed : of the bootstrap.

    Returns
    -------
    DataFrame
        Columns `cls`, quantity, stage, value, low, high, images. The interval is a 95 % bootstrap over images, by
        `streamed_weights`, the same 200 draws for both stages; NaN where fewer than two images contribute. A draw holds
        fewer different images than there are and so less of `image_mean_scatter`; the percentiles of the draws are
        scaled so that the mean of the draws is the value. Of a class that fewer than some ten images hold they are
        still too narrow. The value is NaN for a class that no image holds; ratios, and scatter between classes, where
        there is no other class.

    Raises
    ------
    RecordError
        If a record has no label, is of mask classification, is not finite at labelled pixels, or does not fit the
        others.
    """
    weights, exact, drawn, classes = streamed_weights(draws=DRAWS, seed=seed), None, None, ()
    held = {}  # of every image, which classes and any (K + 1) it holds, and which beside another one: 2 (K + 1) bytes
    for name, (classes, image) in over_records(records, _of_record):
        if exact is None:
            channels = image.sums.shape[-1]
            exact = _Totals.empty(len(classes), channels, 1, np.float64)
            drawn = _Totals.empty(len(classes), channels, DRAWS, np.float32)
        exact.add(image, np.ones(1))
        if image_of(name) not in held:  # windows of an image, one after the other, are drawn together
            weight, held[image_of(name)] = next(weights), np.zeros((2, len(classes) + 1), dtype=bool)
        drawn.add(image, weight)
        groups = [*image.present, -1] if len(image.present) else []
        held[image_of(name)][: 2 if len(image.present) > 1 else 1, groups] = True
    value = _quantities(*exact.draw(0))  # (stage, quantity, group)
    low, high = _interval(value, np.stack([_quantities(*drawn.draw(number)) for number in range(DRAWS)]))
    rows = []
    for q, quantity in enumerate(QUANTITIES):
        images = np.sum(list(held.values()), axis=0)[1 if quantity in OF_SEVERAL_CLASSES else 0]
        for s, stage in enumerate(STAGES):
            figures = (value[s, q], low[s, q], high[s, q])
            rows.append(measure_rows("cls", [*classes, OVERALL], quantity, figures, images, stage=stage))
    return pd.concat(rows, ignore_index=True)


class _Image(NamedTuple):
    """What one image contributes, of the classes that it holds."""

    present: np.ndarray  # (p,) class numbers
    figures: np.ndarray  # (stage, 6, p): see `_figures`
    sums: np.ndarray  # (stage, p, C) of features


class _Totals(NamedTuple):
    """Sums over images in each of several draws; those of features are far the largest, and of the type asked for."""

    figures: np.ndarray  # (draw, stage, 6, K)
    sums: np.ndarray  # (K, stage, draw, C)

    @classmethod
    def empty(cls, classes: int, channels: int, draws: int, dtype: type) -> "_Totals":
        figures = np.zeros((draws, len(STAGES), 6, classes))
        sums = np.zeros((classes, len(STAGES), draws, channels), dtype)
        return cls(figures, sums)

    def add(self, image: _Image, weights: np.ndarray) -> None:
        self.figures[..., image.present] += weights[:, None, None, None] * image.figures
        weights = weights.astype(self.sums.dtype)
        for column, k in enumerate(image.present):
            for stage, sums in enumerate(image.sums[:, column].astype(self.sums.dtype)):
                self.sums[k, stage] += np.outer(weights, sums)

    def draw(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Figures (stage, 6, K) and sums (stage, K, C) of one draw."""
        return self.figures[number], self.sums[:, :, number].swapaxes(0, 1).astype(np.float64)


def _of_record(record: xr.Dataset) -> tuple[tuple[str, ...], _Image]:
    counts = label_counts(record)
    present = np.flatnonzero(counts)
    stages = []
    for stage in STAGES if has_offsets(record) else STAGES[:1]:
        sums, squares = np.zeros((len(counts), record.sizes["channel"])), np.zeros(len(counts))
        for one_hot, rows in labelled_blocks(record, stage):
            sums += one_hot @ rows
            squares += one_hot @ np.einsum("nc,nc->n", rows, rows)
        refuse_non_finite(record, sums)
        stages.append((sums[present], squares[present]))
    stages += stages[: len(STAGES) - len(stages)]  # those of a per-pixel record are one
    figures = [_figures(counts[present], *stage) for stage in stages]
    classes = tuple(map(str, record["cls"].values))
    return classes, _Image(present, np.array(figures), np.array([sums for sums, _ in stages]))


def _figures(counts: np.ndarray, sums: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """Pixels, sum of |x|^2, sum of |x - m_ik|^2, by class; the same pixels and sum again, and the sum of |m_ik - m_i|^2
    over them, if the image holds two or more classes: (6, p)."""
    means = sums / counts[:, None]
    within = np.maximum(squares - counts * _squared(means), 0)
    several = len(counts) > 1
    between = counts * _squared(means - means.sum(axis=0) / max(len(counts), 1))
    return np.stack([counts, squares, within, several * counts, several * within, several * between])


def _quantities(figures: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """The values of `QUANTITIES`, (stage, quantity, K + 1), the last that of all classes."""
    stages = []
    for (counts, squares, within, several, several_within, several_between), total in zip(figures, sums):
        held = counts > 0
        means = total / np.where(held, counts, 1)[:, None]  # zero for classes that do not occur
        across = ratio_or_nan(np.maximum(squares - counts * _squared(means), 0), counts)
        within = ratio_or_nan(within, counts)
        several_within = ratio_or_nan(several_within, several)
        between_within = ratio_or_nan(several_between, several)
        between_across = np.where(held, _squared(means - means.sum(axis=0) / max(held.sum(), 1)), np.nan)
        if held.sum() < 2:
            between_across[:] = np.nan
        parts = [within, np.maximum(across - within, 0), across, between_within, between_across, several_within]
        parts = [np.append(part, mean_of_present(part)) for part in parts]
        ratios = [ratio_or_nan(parts[5], parts[3]), ratio_or_nan(parts[2], parts[4])]
        stages.append([*parts[:5], *ratios])
    return np.array(stages)


def _interval(value: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Percentiles of the draws, scaled by what takes their mean to the value: (2, ...)."""
    centre = ratio_or_nan(np.nansum(drawn, axis=0), (~np.isnan(drawn)).sum(axis=0))
    scale = np.divide(value, centre, out=np.ones_like(value), where=centre > 0)
    return np.stack(percentile_interval(drawn)) * scale


def _squared(vectors: np.ndarray) -> np.ndarray:
    return np.einsum("nc,nc->n", vectors, vectors)
