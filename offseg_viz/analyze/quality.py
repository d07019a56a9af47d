"""How well each class and each image is segmented before and after alignment, and how well they could be."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
import xarray as xr

from offseg_viz.analyze.align import prediction
from offseg_viz.analyze.bootstrap import bootstrap_interval, by_image
from offseg_viz.analyze.collection import over_records
from offseg_viz.analyze.ideal import ideal_prediction
from offseg_viz.analyze.measure_table import measure_rows
from offseg_viz.classes import IGNORE_INDEX
from offseg_viz.metrics import confusion_matrix, ratio_or_nan
from offseg_viz.terms import STAGES

PREDICTIONS = (*STAGES, "ideal")
OVERALL = "all"
"""The group of all images together."""


def class_iou(records: Iterable[xr.Dataset]) -> pd.DataFrame:
    """IoU of every class, a fraction from 0 to 1, with the pixels of all records pooled.

    Counted on the grid of the features, against the label on that grid, so numbers differ a little from an evaluation
    at full resolution. `initial` and `aligned` come from the logits of the two stages (of mask classification: from
    its class maps), `ideal` from each image's own ideal class embeddings (eq. 2 of arXiv 2508.08811).

    Returns
    -------
    pandas.DataFrame
        Index `cls` (names), columns `initial`, `aligned`, `ideal`. A class that is labelled nowhere is NaN in all
        three (also where it was predicted), so that the means of the columns are over the same classes.

    Raises
    ------
    RecordError
        If there is no record, one has no label or features that are not finite, or they have different classes.
    """
    total = 0
    for _, (names, overlaps) in over_records(records, _overlaps, queries=True):
        total = total + overlaps.astype(np.int64)
    return pd.DataFrame(_iou(total[None])[0].T, index=pd.Index(names, name="cls"), columns=PREDICTIONS)


def image_miou(records: Iterable[xr.Dataset]) -> pd.DataFrame:
    """mIoU of every image by itself and of all together, fractions from 0 to 1: initial, aligned, and the ceiling.

    With I_k the pixels labelled and predicted as class k and U_k those labelled or predicted so, the mIoU of an image
    is the mean of I_k / U_k over the classes that are labelled **in that image**. That of all is not their mean but
    the mIoU of the field: I_k and U_k are summed over images first, and the mean is over the classes labelled anywhere.
    It is the mean of the columns of `class_iou`, which see for where the three predictions come from.

    The stage `ideal` is a ceiling made from the label: what each image's own W* = M (E^T)^+ (eq. 2) reaches on it. The
    paper reports about 95 percent on ADE20K. Least squares does not seek the largest IoU, so it is no strict bound.

    Returns
    -------
    pandas.DataFrame
        A measure table by `image` (ids), quantity `miou`, with the group "all" at the end. Only that has an interval:
        the bootstrap over images that have a labelled pixel, with the same draws at all stages. An image whose every
        pixel is ignored is NaN, with 0 for `images`.

    Raises
    ------
    RecordError
        As `class_iou` does.
    """
    ids, found = [], []
    for name, (_, overlaps) in over_records(records, _overlaps, queries=True):
        ids.append(name)
        found.append(overlaps)
    ids, overlaps = by_image(ids, np.stack(found))
    single = _miou(overlaps)  # (images, stages)
    labelled = ~np.isnan(single[:, 0])
    if labelled.any():
        pooled = bootstrap_interval(_miou, overlaps[labelled])
    else:
        pooled = np.full((3, len(PREDICTIONS)), np.nan)
    rows = []
    for column, stage in enumerate(PREDICTIONS):
        rows.append(measure_rows("image", ids, "miou", (single[:, column],), labelled * 1, stage=stage))
    for column, stage in enumerate(PREDICTIONS):
        ends = [np.array([figure[column]]) for figure in pooled]
        rows.append(measure_rows("image", [OVERALL], "miou", ends, int(labelled.sum()), stage=stage))
    return pd.concat(rows, ignore_index=True)


def _overlaps(record: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Class names, and by class the pixels labelled, and I and U of every prediction: int32 (1 + 2 * stages, K)."""
    names, label = record["cls"].values.astype(str), record["label"].values
    nothing = (label == IGNORE_INDEX).all()  # adds zeros; there are no ideal embeddings to ask for
    rows = []
    for stage in PREDICTIONS:
        predicted = label if nothing else (ideal_prediction(record) if stage == "ideal" else prediction(record, stage))
        confusion = confusion_matrix(label, predicted, len(names))
        both = confusion.diagonal()
        rows += [both, confusion.sum(axis=0) + confusion.sum(axis=1) - both]
    return names, np.stack([confusion.sum(axis=1), *rows]).astype(np.int32)


def _iou(overlaps: np.ndarray) -> np.ndarray:
    """IoU (n, stages, K) of sums (n, 1 + 2 * stages, K) of `_overlaps`; NaN for classes without a labelled pixel."""
    labelled, both, either = overlaps[:, :1], overlaps[:, 1::2], overlaps[:, 2::2]
    return ratio_or_nan(both, np.where(labelled > 0, either, 0))


def _miou(overlaps: np.ndarray) -> np.ndarray:
    """Means (n, stages) of `_iou` over the labelled classes, NaN where there is none."""
    iou = _iou(overlaps)
    return ratio_or_nan(np.nansum(iou, axis=-1), (~np.isnan(iou)).sum(axis=-1))


def predicted_shares(records: Iterable[xr.Dataset]) -> pd.DataFrame:
    """Share of the grid cells of all records that each class is predicted for, from 0 to 1; needs no labels.

    Returns
    -------
    pandas.DataFrame
        Index `cls` (names), columns `initial` and `aligned`, from the logits of the two stages; each sums to one. The
        attribute `changed` is the share of cells whose prediction differs between the stages.

    Raises
    ------
    RecordError
        If there is no record, or they have different classes.
    """
    counts, changed = {stage: 0 for stage in STAGES}, 0
    for _, (names, found, differ) in over_records(records, _predicted_counts, labelled=False, queries=True):
        counts = {stage: counts[stage] + found[stage] for stage in STAGES}
        changed += differ
    total = counts["initial"].sum()
    table = pd.DataFrame({stage: count / total for stage, count in counts.items()}, index=pd.Index(names, name="cls"))
    table.attrs["changed"] = changed / total
    return table


def _predicted_counts(record: xr.Dataset) -> tuple[np.ndarray, dict[str, np.ndarray], int]:
    names = record["cls"].values.astype(str)
    predicted = {stage: prediction(record, stage).values for stage in STAGES}
    counts = {stage: np.bincount(values.ravel(), minlength=len(names)) for stage, values in predicted.items()}
    return names, counts, int((predicted["initial"] != predicted["aligned"]).sum())
