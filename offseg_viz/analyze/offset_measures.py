"""Offsets of many records in numbers: how large they are and where they point, by class, image or kind of pixel."""

from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from offseg_viz.analyze.align import prediction
from offseg_viz.analyze.bootstrap import bootstrap_interval, by_image
from offseg_viz.analyze.class_means import label_counts
from offseg_viz.analyze.collection import over_records
from offseg_viz.analyze.ideal import READABLE_RCOND, ideal_class_embedding
from offseg_viz.analyze.measure_table import measure_rows
from offseg_viz.analyze.offsets import ideal_cosine, require_offsets
from offseg_viz.analyze.places import boundary_distance, cell_side, object_area
from offseg_viz.classes import IGNORE_INDEX
from offseg_viz.errors import RecordError, UnknownNameError
from offseg_viz.metrics import ratio_or_nan

GROUPS = {"cls": "cls", "image": "image", "distance": "distance", "area": "area", "correct": "prediction"}
"""What offsets can be grouped by, and what the column of the table is called."""
DISTANCES = (1, 2, 4, 8, 16)
"""Lower edges of the groups of distance, in grid cells; one cell is the least, so the first are the boundaries."""
AREAS = (16, 64, 256, 1024, 4096, 16384, 65536)
"""Lower edges of the groups of area, in square pixels; powers of 4, so that 32^2, below which COCO calls an object
small, is one of them."""
FEATURE_QUANTITIES = tuple(f"feature_offset_{figure}" for figure in ("magnitude", "relative", "cosine"))
CLASS_QUANTITIES = tuple(
    f"class_offset_{figure}" for figure in ("magnitude", "relative", "cosine", "ideal_cosine", "ideal_turn_cosine")
)


def offset_measures(records: Iterable[xr.Dataset], by: str = "cls") -> pd.DataFrame:
    """Mean size and direction of the offsets (eqs. 7 and 11 of arXiv 2508.08811), by class, image or kind of pixel.

    Every figure is a mean over the labelled pixels of a group, or, of class offsets, over the classes that are labelled
    in an image; over the pixels or classes of all images together. Ignored pixels count nowhere.

    ================================  ==============================================================================
    quantity                          mean of
    ================================  ==============================================================================
    `feature_offset_magnitude`        |dE|
    `feature_offset_relative`         |dE| / |E|, over pixels where E is not zero
    `feature_offset_cosine`           dE.E / (|dE| |E|), over pixels where neither is zero
    `class_offset_magnitude`          |dW|
    `class_offset_relative`           |dW| / |W|, over classes where W is not zero
    `class_offset_cosine`             dW.W / (|dW| |W|), over classes where neither is zero
    `class_offset_ideal_cosine`       cosine of dW and W* - W, as `offset_direction(..., "class", "ideal")`
    `class_offset_ideal_turn_cosine`  the same of their parts across W, as ``"ideal_turn"``
    ================================  ==============================================================================

    Parameters
    ----------
    records : iterable of xarray.Dataset
        Labelled records of one model with offset learning and one data set, read one at a time.
    by : {"cls", "image", "distance", "area", "correct"}
        ``"cls"``: class of the label, and "all" for all pixels, or all labelled classes of all images, together.
        ``"image"``: id of the record. ``"distance"``: that of `boundary_distance`, from 1 to 2, 2 to 4, 4 to 8, 8 to
        16, and 16 or more grid cells; the group is named by its lower edge in pixels. Windows of one class alone are in
        the last. ``"area"``: that of `object_area`, in powers of 4 from 16 pixels to 65536 or more; named by the lower
        edge, the first also has all that is smaller. ``"correct"``: whether the aligned prediction (of the logits) is
        the label, group column `prediction`, "right" or "wrong". The last three have feature offsets only, and take
        records of mask classification too.

    Returns
    -------
    pandas.DataFrame
        A measure table: the group, `quantity`, `stage` (empty), `value`, `low`, `high` (95 % bootstrap interval over
        images; NaN by image), and `images`, how many contribute. NaN where a group is empty.

    Raises
    ------
    RecordError
        If there is no record, one has no label or no offsets, values that are not finite, or another grid cell than
        the first; or they do not fit each other.
    UnknownNameError
        If `by` is another word.
    """
    if by not in GROUPS:
        raise UnknownNameError("group", by, GROUPS)
    of_classes = by in ("cls", "image")
    ids, images = [], []
    for name, found in over_records(records, partial(_image_sums, by=by), queries=not of_classes):
        if images and found.cell != images[0].cell:
            cells = f"cells of {found.cell:g} pixels, the first of {images[0].cell:g}"
            raise RecordError(f"the record of {name} has {cells}; take records of one model")
        ids.append(name)
        images.append(found)
    features = np.stack([image.feature for image in images])
    embeddings = [image.class_embedding for image in images] if of_classes else np.zeros(len(images))
    ids, features, embeddings = by_image(ids, features, np.stack(embeddings))
    names = {
        "cls": images[0].classes,
        "image": ids,
        "distance": [edge * images[0].cell for edge in DISTANCES],
        "area": [float(edge) for edge in AREAS],
        "correct": ["right", "wrong"],
    }[by]
    parts = [(FEATURE_QUANTITIES, features), *([(CLASS_QUANTITIES, embeddings)] if of_classes else [])]
    rows = []
    for quantities, sums in parts:  # (images, 2, groups, quantities): sums, and how many are summed
        if by == "image":
            figures, counts = (ratio_or_nan(sums[:, 0, 0], sums[:, 1, 0]),), (sums[:, 1, 0] > 0).astype(int)
        else:
            if by == "cls":
                sums = np.concatenate([sums, sums.sum(axis=2, keepdims=True)], axis=2)
            figures = bootstrap_interval(ratio_or_nan, sums[:, 0], sums[:, 1])
            counts = (sums[:, 1] > 0).sum(axis=0)
        groups = [*names, "all"] if by == "cls" else names
        for q, quantity in enumerate(quantities):
            rows.append(measure_rows(GROUPS[by], groups, quantity, [f[:, q] for f in figures], counts[:, q]))
    return pd.concat(rows, ignore_index=True)


class _ImageSums(NamedTuple):
    """What one image adds: sums and counts (2, groups, quantities) of its pixels and of its classes."""

    classes: list[str]
    cell: float
    feature: np.ndarray
    class_embedding: np.ndarray | None


def _image_sums(record: xr.Dataset, *, by: str) -> _ImageSums:
    require_offsets(record)
    names, label = record["cls"].values.astype(str).tolist(), record["label"].values.ravel()
    group, count = _pixel_groups(record, by)
    group = np.where(label == IGNORE_INDEX, -1, group)
    feature = _grouped(_measured(record, "feature"), group, count)
    if by not in ("cls", "image"):
        return _ImageSums(names, cell_side(record), feature, None)
    measured, present = _measured(record, "class"), label_counts(record) > 0
    toward = np.full((len(names), 2), np.nan)
    if present.any():  # else every pixel is ignored, and there is no ideal to ask for
        ideal = ideal_class_embedding(record, rcond=READABLE_RCOND).values
        for column, turn in enumerate((False, True)):
            toward[:, column] = ideal_cosine(record, ideal, turn=turn)
    group = np.where(present, np.arange(len(names)) if by == "cls" else 0, -1)
    classes = _grouped(np.concatenate([measured, toward], axis=1), group, count)
    return _ImageSums(names, cell_side(record), feature, classes)


def _pixel_groups(record: xr.Dataset, by: str) -> tuple[np.ndarray, int]:
    """Group of every pixel, flat, and how many groups there are; anything for ignored pixels."""
    if by == "cls":
        return record["label"].values.ravel().astype(int), record.sizes["cls"]
    if by == "image":
        return np.zeros(record["label"].size, int), 1
    if by == "correct":
        return (prediction(record).values != record["label"].values).ravel().astype(int), 2
    if by == "distance":
        values, edges = boundary_distance(record).values / cell_side(record), DISTANCES
    else:
        values, edges = object_area(record).values, AREAS
    # A hair of tolerance: a distance of two cells is in the group from two cells, however it was rounded.
    return np.searchsorted(edges[1:], values.ravel() * (1 + 1e-6), side="right"), len(edges)


def _measured(record: xr.Dataset, of: str) -> np.ndarray:
    """Length, relative length and cosine to what was moved of every offset, (n, 3); NaN where undefined."""
    offset, moved = (
        record[name].values for name in (f"{of}_offset", "feature" if of == "feature" else f"{of}_embedding")
    )
    offset, moved = (values.reshape(-1, record.sizes["channel"]) for values in (offset, moved))
    length, size = (np.sqrt(np.vecdot(values, values).astype(np.float64)) for values in (offset, moved))
    if not (np.isfinite(length).all() and np.isfinite(size).all()):
        raise RecordError(
            f"the record of {record.attrs.get('sample')} has {of} offsets, or what they move, that are not finite; "
            "extract it again, or leave it out"
        )
    cosine = ratio_or_nan(np.vecdot(offset, moved).astype(np.float64), length * size).clip(-1, 1)
    return np.stack([length, ratio_or_nan(length, size), cosine], axis=1)


def _grouped(values: np.ndarray, group: np.ndarray, count: int) -> np.ndarray:
    """Sums of the columns of `values` (n, quantities) by group, and how many are summed, (2, count, quantities).

    NaN is no value; rows of group -1 are left out.
    """
    result = np.zeros((2, count, values.shape[1]))
    for column in range(values.shape[1]):
        kept = (group >= 0) & ~np.isnan(values[:, column])
        result[0, :, column] = np.bincount(group[kept], values[kept, column], count)
        result[1, :, column] = np.bincount(group[kept], minlength=count)
    return result
