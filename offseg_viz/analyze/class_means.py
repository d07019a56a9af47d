"""Sums and means of the features of each class in one labelled image, in float64 a block of pixels at a time."""

from collections.abc import Iterator

import numpy as np
import xarray as xr
from scipy.sparse import csc_array

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
    for one_hot, rows in labelled_blocks(record, stage):
        sums += one_hot @ rows
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


def labelled_blocks(
    record: xr.Dataset, stage: str = "initial", *, less: np.ndarray | None = None
) -> Iterator[tuple[csc_array, np.ndarray]]:
    """Yield one-hot labels M (K, n), sparse, and features E (n, C), both float64, of the labelled pixels, n <= `BLOCK`.

    ``M @ E`` are the sums over the pixels of each class. One array serves the features of all blocks: use them before
    the next are asked for. With `less`, (C,) float32, they are features less it, in float32, and n <= 2 `BLOCK`.
    """
    if stage not in STAGES:
        raise UnknownNameError("stage", stage, STAGES)
    count = len(label_counts(record))  # which refuses a record without label
    label = record["label"].transpose("y", "x").values.ravel()
    feature = aligned_feature(record) if stage == "aligned" else record["feature"]
    pixels = feature.transpose("y", "x", "channel").values.reshape(label.size, -1)
    dtype, step = (np.float64, BLOCK) if less is None else (np.float32, 2 * BLOCK)
    buffer = np.empty((min(step, label.size), pixels.shape[1]), dtype)
    for start in range(0, label.size, step):
        classes, part = label[start : start + step], pixels[start : start + step]
        if not (kept := classes < count).all():  # 255 is never a class
            classes, part = classes[kept], part[kept]
        rows = buffer[: len(part)]
        np.subtract(part, 0 if less is None else less, out=rows)
        ends = np.arange(len(part) + 1)  # one entry a column
        yield csc_array((np.ones(len(part), dtype), classes, ends), shape=(count, len(part))), rows


def sums_and_gram(record: xr.Dataset, *, less: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """M E (K, C) and E^T E (C, C) of the labelled pixels in one pass, float64; `less` is that of `labelled_blocks`."""
    channels = record.sizes["channel"]
    sums, gram = np.zeros((record.sizes["cls"], channels)), np.zeros((channels, channels))
    for one_hot, rows in labelled_blocks(record, less=less):
        sums += one_hot @ rows
        gram += rows.T @ rows
    return sums, gram


def refuse_non_finite(record: xr.Dataset, sums: np.ndarray) -> None:
    """Raise if sums over the record's pixels are not finite, which only those of NaN or infinite features are."""
    if not np.isfinite(sums).all():
        raise RecordError(
            f"the features of {_name(record)} are not finite at labelled pixels; needed numbers: look for what the "
            "network overflows at in this image, or leave it out"
        )


def _name(record: xr.Dataset) -> str:
    return str(record.attrs.get("sample"))
