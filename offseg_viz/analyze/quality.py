"""How well each class is segmented before and after alignment, and how well it could be."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
import xarray as xr

from offseg_viz.analyze.align import prediction
from offseg_viz.analyze.collection import over_records
from offseg_viz.analyze.ideal import ideal_prediction
from offseg_viz.classes import IGNORE_INDEX
from offseg_viz.metrics import confusion_matrix, segmentation_metrics
from offseg_viz.terms import STAGES


def class_iou(records: Iterable[xr.Dataset]) -> pd.DataFrame:
    """IoU of every class, a fraction from 0 to 1, with the pixels of all records pooled.

    Counted on the grid of the features, against the label on that grid, so numbers differ a little from an evaluation
    at full resolution. `initial` and `aligned` come from the logits of the two stages, `ideal` from each image's own
    ideal class embeddings (eq. 2 of arXiv 2508.08811).

    Returns
    -------
    pandas.DataFrame
        Index `cls` (names), columns `initial`, `aligned`, `ideal`. A class that is labelled nowhere is NaN in all
        three (also where it was predicted), so that the means of the columns are over the same classes.

    Raises
    ------
    RecordError
        If there is no record, one has no label, or they have different classes.
    """
    confusion = dict.fromkeys((*STAGES, "ideal"), 0)
    for _, (names, matrices) in over_records(records, _confusions, queries=True):
        confusion = {column: confusion[column] + matrices[column] for column in confusion}
    table = pd.DataFrame(
        {column: segmentation_metrics(matrix)["iou"] for column, matrix in confusion.items()},
        index=pd.Index(names, name="cls"),
    )
    table[confusion["initial"].sum(axis=1) == 0] = np.nan
    return table


def _confusions(record: xr.Dataset) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    names, label = record["cls"].values.astype(str), record["label"].values
    predict = {stage: lambda one, stage=stage: prediction(one, stage) for stage in STAGES} | {"ideal": ideal_prediction}
    nothing = (label == IGNORE_INDEX).all()  # adds zeros; there are no ideal embeddings to ask for
    predicted = {column: label if nothing else function(record).values for column, function in predict.items()}
    return names, {column: confusion_matrix(label, values, len(names)) for column, values in predicted.items()}


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
