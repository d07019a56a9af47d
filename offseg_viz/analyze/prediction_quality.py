"""How good predictions of one record are, however they were made: IoU of its classes, mIoU and pixel accuracy."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
import xarray as xr

from offseg_viz.analyze.align import require_grid
from offseg_viz.classes import IGNORE_INDEX
from offseg_viz.errors import RecordError
from offseg_viz.metrics import confusion_matrix, mean_of_present, ratio_or_nan


def prediction_iou(record: xr.Dataset, predictions: Mapping[str, xr.DataArray]) -> pd.DataFrame:
    """IoU of every class in one labelled record, fractions from 0 to 1, a column for each prediction.

    I_k / U_k with I_k the cells labelled and predicted as class k and U_k those labelled or predicted so, of the cells
    that are not ignored, on the grid of the features.

    Parameters
    ----------
    record : xarray.Dataset
        With a label.
    predictions : mapping of a name to class numbers (y, x)
        Such as `prediction` gives them, or `winning_class` of an intervention.

    Returns
    -------
    pandas.DataFrame
        Index `cls`. NaN for a class that is not labelled in this image, also where it is predicted.

    Raises
    ------
    RecordError
        If the record has no label, or a prediction lies on another grid.
    """
    columns = {}
    for name, label, predicted in _pairs(record, predictions):
        confusion = confusion_matrix(label, predicted, record.sizes["cls"])
        labelled, right = confusion.sum(axis=1), confusion.diagonal()
        columns[name] = ratio_or_nan(right, np.where(labelled > 0, labelled + confusion.sum(axis=0) - right, 0))
    return pd.DataFrame(columns, index=pd.Index(record["cls"].values.astype(str), name="cls"))


def prediction_quality(record: xr.Dataset, predictions: Mapping[str, xr.DataArray]) -> pd.DataFrame:
    """mIoU and pixel accuracy of predictions of one labelled record, fractions from 0 to 1, a row for each prediction.

    `miou` is the mean of `prediction_iou` over the classes labelled in this image, the figure that `image_miou` gives
    for it; `aacc` is the share of its labelled cells that are right. NaN where every cell is ignored. Parameters and
    Raises as there.
    """
    iou = prediction_iou(record, predictions)
    means = [mean_of_present(iou[name].to_numpy()) for name in predictions]
    accuracies = []
    for _, label, predicted in _pairs(record, predictions):
        counted = label != IGNORE_INDEX
        accuracies.append(float(ratio_or_nan((label == predicted)[counted].sum(), counted.sum())))
    return pd.DataFrame({"miou": means, "aacc": accuracies}, index=pd.Index(predictions, name="prediction"))


def iou_changes(iou: pd.DataFrame, start: str, end: str) -> pd.DataFrame:
    """The classes whose IoU differs between two columns of a `prediction_iou`, the largest difference first.

    Returns
    -------
    pandas.DataFrame
        Index `cls`, columns `start`, `end` and `change`, the second less the first, fractions; equal differences in the
        order of the classes. Empty where nothing differs.
    """
    change = iou[end] - iou[start]
    found = pd.DataFrame({start: iou[start], end: iou[end], "change": change})[change.notna() & (change != 0)]
    return found.sort_values("change", key=lambda values: -values.abs().round(9), kind="stable")


def _pairs(record: xr.Dataset, predictions: Mapping[str, xr.DataArray]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, label and class numbers of every prediction."""
    if "label" not in record:
        raise RecordError("the record has no label, needed to tell right from wrong; extract a labelled sample")
    label = record["label"].transpose("y", "x").values
    for name, predicted in predictions.items():
        require_grid(predicted, label.shape, f"the prediction {name!r}")
        yield name, label, predicted.values
