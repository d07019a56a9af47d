"""Sums and means of the features of each class in one labelled image, in float64 a block of pixels at a time."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from offseg_viz.analyze.align import aligned_feature
from offseg_viz.classes import IGNORE_INDEX
from offseg_viz.errors import RecordError, UnknownNameError
from offseg_viz.terms import STAGES

BLOCK = 4096
"""Pixels that are in float64 at a time: large enough for matrix products, 8 MiB with 256 channels."""


def feature_class_mean(record: xr.Dataset, stage: str = "initial") -> xr.DataArray:
    """Mean feature of the labelled pixels of each class, dims (cls, channel), float64, in the unit of the features.

    m_k = sum of E_p over the pixels p labelled k, divided by their number; of E + dE (eq. 12 of arXiv 2508.08811) at
    the stage `aligned`. NaN where the class does not occur, so everywhere if every pixel is ignored. Of mask
    classification: the features are those of the pixel map, the classes still those of the label.

    Parameters
    ----------
    record : xarray.Dataset
        With a label.
    stage : {"initial", "aligned"}
        For a per-pixel record both are the same.

    Raises
    ------
    RecordError
        If the record has no label, or the features of its labelled pixels are not finite: extract it again.
    UnknownNameError
        If `stage` is neither.
    """
    counts, sums = class_sums(record, stage)
    return xr.DataArray(
        mean_of_sums(counts, sums),
        dims=("cls", "channel"),
        coords={"cls": record["cls"], "color": record["color"]},
        name="feature_class_mean",
        attrs={"stage": stage, "long_name": f"{stage} feature class mean"},
    )


def class_sums(record: xr.Dataset, stage: str = "initial") -> tuple[np.ndarray, np.ndarray]:
    """Labelled pixels of each class, (K,) int64, and the sums of their features, (K, C) float64.

    Sums over images add up to those of a data set. Raises as `feature_class_mean` does.
    """
    sums = np.zeros((record.sizes["cls"], record.sizes["channel"]))
    for rows, edges in sorted_blocks(record, stage):
        add_by_class(sums, rows, edges)
    refuse_non_finite(record, sums)
    return label_counts(record), sums


def mean_of_sums(counts: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Sums (K, C) over counts (K,), NaN where the count is zero."""
    mean = sums / np.maximum(counts, 1)[:, None]
    mean[counts == 0] = np.nan
    return mean


def label_counts(record: xr.Dataset) -> np.ndarray:
    """Pixels labelled with each class, (K,) int64."""
    if "label" not in record:
        raise RecordError(f"the record of {_name(record)} has no label, needed for its classes; extract it with one")
    return np.bincount(record["label"].values.ravel(), minlength=IGNORE_INDEX + 1)[: record.sizes["cls"]]


def sorted_blocks(record: xr.Dataset, stage: str = "initial") -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the features of the labelled pixels sorted by class: (n, C) float64 and edges (K + 1,) with n <= `BLOCK`.

    Rows ``edges[k]:edges[k + 1]`` are those of class k. One array serves all blocks: use it before the next is asked
    for. In this order the sum over a class is one over neighbouring rows, several times quicker than any scatter-add.
    """
    if stage not in STAGES:
        raise UnknownNameError("stage", stage, STAGES)
    ends = np.concatenate([[0], label_counts(record).cumsum()])
    label = record["label"].transpose("y", "x").values.ravel()
    order = np.argsort(label, kind="stable")[: ends[-1]]  # 255 comes last, behind every class
    feature = aligned_feature(record) if stage == "aligned" else record["feature"]
    pixels = feature.transpose("y", "x", "channel").values.reshape(label.size, -1)
    buffer = np.empty((min(BLOCK, order.size), pixels.shape[1]))
    for start in range(0, order.size, BLOCK):
        chosen = order[start : start + BLOCK]
        rows = buffer[: chosen.size]
        rows[...] = pixels[chosen]
        yield rows, np.clip(ends - start, 0, chosen.size)


def add_by_class(sums: np.ndarray, rows: np.ndarray, edges: np.ndarray) -> None:
    """Add the rows of each class of a block (see `sorted_blocks`) to `sums` (K, C), **in its place**."""
    for number in np.flatnonzero(np.diff(edges)):
        sums[number] += rows[edges[number] : edges[number + 1]].sum(axis=0)


def refuse_non_finite(record: xr.Dataset, sums: np.ndarray) -> None:
    """Raise if sums over the record's pixels are not finite, which only those of NaN or infinite features are."""
    if not np.isfinite(sums).all():
        raise RecordError(
            f"the features of {_name(record)} are not finite at labelled pixels; needed numbers: look for what the "
            "network overflows at in this image, or leave it out"
        )


def _name(record: xr.Dataset) -> str:
    return str(record.attrs.get("sample"))
