"""What the offsets change: pixels mended and broken between the initial and the aligned prediction, and shapes."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
import xarray as xr

from offseg_viz.analyze.align import prediction, require_grid
from offseg_viz.analyze.bootstrap import bootstrap_interval, by_image
from offseg_viz.analyze.collection import over_records
from offseg_viz.analyze.measure_table import measure_rows
from offseg_viz.analyze.places import cell_side
from offseg_viz.classes import IGNORE_INDEX
from offseg_viz.errors import RecordError, UnknownNameError
from offseg_viz.metrics import ratio_or_nan
from offseg_viz.record import has_offsets
from offseg_viz.shape_metrics import SMALL_AREA, boundary_counts, small_object_counts
from offseg_viz.terms import STAGES

CHANGES = {
    "unchanged_right": "#f4f6f7",
    "unchanged_wrong": "#8b949e",
    "mended": "#0072b2",
    "broken": "#d55e00",
    "changed_wrong": "#f0d442",
}
"""The numbers of a change map in order, and their colours: after Okabe and Ito, told apart by every kind of eye."""
GROUPS = ("cls", "image")


def change_map(
    record: xr.Dataset, *, initial: xr.DataArray | None = None, predicted: xr.DataArray | None = None
) -> xr.DataArray:
    """What became of the prediction of each grid cell between the stages, dims (y, x), uint8.

    The predictions are those of the logits (of class maps, for mask classification). 0 unchanged and right, 1 unchanged
    and wrong, 2 mended (the initial prediction wrong, the aligned one right), 3 broken (right, then wrong), 4 changed
    and wrong both times; 255 ignored. Of a per-pixel record nothing changes.

    Its attributes `names` and `colors` make ``plot_map(change_map(record), over=record)`` draw it as what it is.

    Parameters
    ----------
    record : xarray.Dataset
        With a label.
    initial, predicted : xarray.DataArray, optional
        Class numbers (y, x) in place of the initial and of the aligned prediction, such as ``winning_class`` makes of
        an intervention; what is given is not computed again.

    Raises
    ------
    RecordError
        If the record has no label, gives a logit that is NaN, or a prediction lies on another grid.
    """
    if "label" not in record:
        raise RecordError("the record has no label, needed to tell right from wrong; extract a labelled sample")
    label = record["label"].transpose("y", "x").values
    initial, aligned = _predictions(record, initial, predicted)
    before, after = initial == label, aligned == label
    cases = [label == IGNORE_INDEX, before & after, initial == aligned, after, before]
    kinds = np.select(cases, [IGNORE_INDEX, 0, 1, 2, 3], 4).astype(np.uint8)
    attrs = {
        "long_name": "change of the prediction",
        "names": [name.replace("_", ", ") for name in CHANGES],
        "colors": list(CHANGES.values()),
    }
    return xr.DataArray(kinds, {dim: record[dim] for dim in ("y", "x")}, ("y", "x"), "change", attrs)


def changed_prediction(
    record: xr.Dataset, *, initial: xr.DataArray | None = None, predicted: xr.DataArray | None = None
) -> xr.DataArray:
    """The aligned prediction where it differs from the initial one, 255 elsewhere: dims (y, x), uint8; needs no label.

    Parameters and Raises as in `change_map`, but for the label.
    """
    initial, aligned = _predictions(record, initial, predicted)
    kept = np.where(initial == aligned, np.uint8(IGNORE_INDEX), aligned)
    attrs = {"long_name": "prediction where it changed", "empty_name": "unchanged"}
    return xr.DataArray(kept, {dim: record[dim] for dim in ("y", "x")}, ("y", "x"), "changed_prediction", attrs)


def change_counts(change: xr.DataArray) -> pd.Series:
    """Grid cells of each kind of a `change_map`, index `unchanged_right` to `changed_wrong`; ignored ones uncounted."""
    counts = np.bincount(change.values[change.values != IGNORE_INDEX], minlength=len(CHANGES))
    return pd.Series(counts, index=list(CHANGES), name="cells")


def changes(records: Iterable[xr.Dataset], by: str = "cls") -> pd.DataFrame:
    """Shares of the labelled pixels that the offsets mend, break, and leave as they are, from 0 to 1.

    `unchanged_right`, `unchanged_wrong`, `mended`, `broken` and `changed_wrong` as in `change_map`: pixels of that kind
    over all of the group, with those of all images together; the five sum to one. `net_gain`, mended minus broken, is
    what the pixel accuracy of the group gains from the initial to the aligned stage. Of the logits, on the grid of the
    features. A per-pixel model changes nothing.

    Parameters
    ----------
    records : iterable of xarray.Dataset
        Labelled records of one model and data set, of mask classification too, read one at a time.
    by : {"cls", "image"}
        ``"cls"``: class of the label, and "all" for all pixels. ``"image"``: id of the record.

    Returns
    -------
    pandas.DataFrame
        A measure table: `cls` or `image`, `quantity`, `stage` (empty), `value`, `low`, `high` (95 % bootstrap interval
        over images; NaN by image), and `images`, how many hold the class. NaN for a class that is labelled nowhere, and
        an image in which every pixel is ignored.

    Raises
    ------
    RecordError
        If there is no record, one has no label or logits that are NaN, or they do not fit each other.
    UnknownNameError
        If `by` is another word.
    """
    if by not in GROUPS:
        raise UnknownNameError("group", by, GROUPS)
    ids, counts = [], []
    for name, (names, found) in over_records(records, _change_counts, queries=True):
        ids.append(name)
        counts.append(found)
    ids, counts = by_image(ids, np.stack(counts))  # (images, cls, kinds)
    everything = counts.sum(axis=1, keepdims=True)
    if by == "image":
        groups, figures, images = ids, (_shares(everything[:, 0]),), everything.sum(axis=(1, 2)) > 0
    else:
        groups, counts = [*names, "all"], np.concatenate([counts, everything], axis=1)
        figures, images = bootstrap_interval(_shares, counts), (counts.sum(axis=2) > 0).sum(axis=0)
    quantities = (*CHANGES, "net_gain")
    rows = [
        measure_rows(by, groups, quantity, [figure[:, column] for figure in figures], images.astype(int))
        for column, quantity in enumerate(quantities)
    ]
    return pd.concat(rows, ignore_index=True)


def shape_changes(records: Iterable[xr.Dataset]) -> pd.DataFrame:
    """Boundary IoU and the recall of small objects before and after the refinement, and by how much they change.

    - `boundary_iou`: intersection over union of the boundary regions of label and prediction (arXiv 2103.16562, see
      `boundary_counts`), within 2 % of the grid's diagonal and one cell at least. "all" is the mean over the classes.
    - `small_object_recall`: share of the labelled objects below 32 x 32 pixels of which at least half are predicted as
      their class (see `small_object_counts`). "all" is of the objects of all classes together.
    - `boundary_iou_change`, `small_object_recall_change`: aligned minus initial, with intervals of the differences, as
      both stages see the same images; narrower than those of the stages suggest.

    Both are counted on the grid of the features, which is coarser than the image: an area of 32 x 32 pixels is divided
    by the square of the stride, boundaries are no finer than a cell, and objects that no cell centre hits are not seen.
    From a stride of 32 on no object is small. So these figures compare the stages; those of an evaluation at full
    resolution are others. Of the logits.

    Parameters
    ----------
    records : iterable of xarray.Dataset
        Labelled records of one model and data set, of mask classification too, read one at a time.

    Returns
    -------
    pandas.DataFrame
        A measure table by `cls`, with "all"; stages `initial` and `aligned`, empty for the changes; 95 % bootstrap
        intervals over images; `images` that hold the class, or a small object of it. NaN for a class that is labelled
        nowhere (also where it is predicted, so that the means of both stages are over the same classes), or without
        small objects.

    Raises
    ------
    RecordError
        If there is no record, one has no label or logits that are NaN, or they do not fit each other.
    """
    ids, pixels, regions, objects = [], [], [], []
    for name, (names, labelled, region, small) in over_records(records, _shape_counts, queries=True):
        ids.append(name)
        pixels.append(labelled)
        regions.append(region)
        objects.append(small)
    _, pixels, regions, objects = by_image(ids, *map(np.stack, (pixels, regions, objects)))
    measures = {
        "boundary_iou": (bootstrap_interval(_boundary_iou, regions, pixels), pixels),
        "small_object_recall": (bootstrap_interval(_recall, objects), objects[:, 0, 1]),
    }
    rows = []
    for quantity, (figures, counts) in measures.items():
        images = np.append((counts > 0).sum(axis=0), (counts > 0).any(axis=1).sum())
        for number, stage in enumerate((*STAGES, "")):
            name = quantity if stage else f"{quantity}_change"
            one = [figure[number] for figure in figures]
            rows.append(measure_rows("cls", [*names, "all"], name, one, images, stage=stage))
    return pd.concat(rows, ignore_index=True)


def _predictions(
    record: xr.Dataset, initial: xr.DataArray | None = None, aligned: xr.DataArray | None = None
) -> list[np.ndarray]:
    """Both stages of `prediction`, (y, x) uint8 each, or what is given for them; a per-pixel model's are the same."""
    grid = record["feature"].shape[:2]
    for given in (initial, aligned):
        if given is not None:
            require_grid(given, grid, "a prediction")
    if aligned is None:
        aligned = prediction(record)
        if initial is None and not has_offsets(record):
            initial = aligned
    if initial is None:
        initial = prediction(record, "initial")
    return [initial.values, aligned.values]


def _change_counts(record: xr.Dataset) -> tuple[list[str], np.ndarray]:
    """Class names, and pixels of each class of the label and kind of change, (cls, kinds)."""
    names, label, kinds = record["cls"].values.astype(str).tolist(), record["label"].values, change_map(record).values
    counted = label != IGNORE_INDEX
    pairs = label[counted].astype(int) * len(CHANGES) + kinds[counted]
    return names, np.bincount(pairs, minlength=len(names) * len(CHANGES)).reshape(len(names), -1)


def _shares(counts: np.ndarray) -> np.ndarray:
    """Shares of the five kinds and the net gain, from counts (..., kinds)."""
    shares = ratio_or_nan(counts, np.broadcast_to(counts.sum(axis=-1, keepdims=True), counts.shape))
    kinds = list(CHANGES)
    gain = shares[..., kinds.index("mended")] - shares[..., kinds.index("broken")]
    return np.concatenate([shares, gain[..., None]], axis=-1)


def _shape_counts(record: xr.Dataset) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Class names, labelled pixels (cls), boundary intersection and union, and small objects found and in all.

    The last two are (stage, 2, cls).
    """
    names, label = record["cls"].values.astype(str).tolist(), record["label"].values
    area = max(SMALL_AREA / cell_side(record) ** 2, 1)  # in cells; fewer than one cell is nothing
    predictions = _predictions(record)
    regions = [boundary_counts(label, predicted, len(names)) for predicted in predictions]
    objects = [small_object_counts(label, predicted, len(names), area=area) for predicted in predictions]
    labelled = np.bincount(label[label != IGNORE_INDEX], minlength=len(names))
    return names, labelled, np.array(regions), np.array(objects)


def _boundary_iou(regions: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Of both stages and their difference (..., 3, cls + 1), the last of classes being their mean."""
    iou = ratio_or_nan(regions[..., 0, :], regions[..., 1, :])
    iou[np.broadcast_to(pixels[..., None, :] == 0, iou.shape)] = np.nan
    defined = ~np.isnan(iou)
    mean = ratio_or_nan(np.where(defined, iou, 0).sum(axis=-1, keepdims=True), defined.sum(axis=-1, keepdims=True))
    return _with_change(np.concatenate([iou, mean], axis=-1))


def _recall(objects: np.ndarray) -> np.ndarray:
    """Of both stages and their difference (..., 3, cls + 1), the last of classes being all objects together."""
    counts = np.concatenate([objects, objects.sum(axis=-1, keepdims=True)], axis=-1)
    return _with_change(ratio_or_nan(counts[..., 0, :], counts[..., 1, :]))


def _with_change(stages: np.ndarray) -> np.ndarray:
    """`stages` (..., 2, groups) with aligned minus initial behind them."""
    return np.concatenate([stages, stages[..., 1:, :] - stages[..., :1, :]], axis=-2)
