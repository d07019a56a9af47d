"""Where the pixels of a table lie: on which image, in which cell of its grid; and how far their features moved."""

from collections.abc import Iterable

import numpy as np
import xarray as xr

from offseg_viz.analyze.collection import UNREAD, over_records
from offseg_viz.analyze.offsets import offset_magnitude
from offseg_viz.classes import IGNORE_INDEX
from offseg_viz.errors import RecordError

_NOT_OFFSET = (*UNREAD, "feature", "class_offset", "label")


def image_numbers(table: xr.Dataset) -> np.ndarray:
    """Number of the image of each pixel, (pixel,) int32: its place along `image` of the table.

    Parameters
    ----------
    table : xarray.Dataset
        Made by `sample_pixels` or `project`: coordinates `sample` (pixel) and `image`.

    Raises
    ------
    RecordError
        If two images of the table have one id (windows of one image in a list), or a pixel is of none of them.
    """
    ids, sample = table["image"].values.astype(str), table["sample"].values
    twice = sorted({name for name in ids if (ids == name).sum() > 1})
    if twice:
        raise RecordError(
            f"several records of the table are called {', '.join(twice)}, so its pixels cannot be told apart; take "
            "windows from a store of extract_many(), where each has an id of its own"
        )
    number = {name: k for k, name in enumerate(ids)}
    starts = np.flatnonzero(np.append(True, sample[1:] != sample[:-1]))  # pixels of an image follow each other
    names = sample[starts].astype(str)
    lost = sorted(set(names) - set(number))
    if lost:
        raise RecordError(f"pixels of the table are of {', '.join(lost)}, which is none of its images {list(ids)}")
    lengths = np.diff(np.append(starts, len(sample)))
    return np.repeat(np.array([number[name] for name in names], dtype=np.int32), lengths)


def shown_classes(table: xr.Dataset) -> np.ndarray:
    """Which classes have a pixel of each image in the table, (image, cls) bool."""
    classes, label = table.sizes["cls"], table["label"].values.astype(np.int64)
    kept = label != IGNORE_INDEX
    cells = image_numbers(table)[kept] * classes + label[kept]
    return np.bincount(cells, minlength=table.sizes["image"] * classes).reshape(-1, classes) > 0


def cells_on(record: xr.Dataset, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Number of the grid cell, counted row by row, whose centre is at each place (y, x) in pixels of the window.

    Raises
    ------
    RecordError
        If a place is no centre of a cell: the record has another grid than the one that the places are from.
    """
    found = []
    for dim, places in (("y", y), ("x", x)):
        centres = record[dim].values
        position = np.clip(np.searchsorted(centres, places), 0, len(centres) - 1)
        if not np.array_equal(centres[position], places):
            sizes = {name: record.sizes[name] for name in ("y", "x")}
            raise RecordError(
                f"pixels of the table lie on no cell of {record.attrs.get('sample')} (grid {sizes}); give the records "
                "that the table was made from"
            )
        found.append(position)
    return found[0] * record.sizes["x"] + found[1]


def pixel_offsets(table: xr.Dataset, records: Iterable[xr.Dataset]) -> np.ndarray:
    """Length of the feature offset |dE| (eq. 11) of each pixel, (pixel,) float32, in units of the features.

    From `feature` and `aligned_feature` where the table still has them, as one of `sample_pixels` has, else from the
    records, which are read one at a time. A record of a per-pixel model raises `RecordError`, as in `offset_magnitude`.
    """
    if {"feature", "aligned_feature"} <= set(table):
        moved = table["aligned_feature"].values - table["feature"].values
        return np.sqrt(np.vecdot(moved, moved)).astype(np.float32)
    numbers, ids = image_numbers(table), list(table["image"].values.astype(str))
    y, x = table["y"].values, table["x"].values
    found = np.full(len(numbers), np.nan, dtype=np.float32)
    for name, magnitude in over_records(records, _magnitude, labelled=False, leave_out=_NOT_OFFSET):
        if name in ids:
            own = numbers == ids.index(name)
            found[own] = magnitude.values.ravel()[cells_on(magnitude, y[own], x[own])]
    return found


def _magnitude(record: xr.Dataset) -> xr.DataArray:
    return offset_magnitude(record).assign_attrs(sample=record.attrs["sample"])
