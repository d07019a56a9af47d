"""Segmentation metrics from a confusion matrix, as the field reports them: IoU, accuracy and their means."""

import numpy as np

from offseg_viz.classes import IGNORE_INDEX
from offseg_viz.errors import DataError


def confusion_matrix(label: np.ndarray, prediction: np.ndarray, num_classes: int) -> np.ndarray:
    """Pixel counts by class, (K, K) int64: rows are labels, columns are predictions.

    Matrices of several images add up; metrics are taken from the sum, not averaged over images.

    Parameters
    ----------
    label, prediction : array_like of int
        Class numbers, of one shape. Pixels labelled 255 count nowhere, whatever is predicted there.
    num_classes : int
        K.

    Raises
    ------
    DataError
        If the shapes differ (resize the prediction to the label first), or a counted pixel has a label or a
        prediction outside 0 .. K-1.
    """
    label, prediction, counted = checked_maps(label, prediction, num_classes)
    pairs = label[counted].astype(np.int64) * num_classes + prediction[counted].astype(np.int64)
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def checked_maps(
    label: np.ndarray, prediction: np.ndarray, num_classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Label and prediction as arrays, and which of their pixels count, those not labelled 255: bool of their shape.

    Raises
    ------
    DataError
        As `confusion_matrix` does.
    """
    label, prediction = np.asarray(label), np.asarray(prediction)
    if label.shape != prediction.shape:
        raise DataError(f"label of shape {label.shape} but prediction of shape {prediction.shape}; resize one of them")
    counted = label != IGNORE_INDEX
    for name, values in (("label", label), ("prediction", prediction)):
        if not np.issubdtype(values.dtype, np.integer):
            raise DataError(f"{name} has dtype {values.dtype}, needed integer class numbers (arg max of the logits)")
        values = values[counted]
        if values.size and (values.min() < 0 or values.max() >= num_classes):
            found = f"{name} values from {values.min()} to {values.max()}"
            raise DataError(f"found {found}; needed 0 to {num_classes - 1}, or label {IGNORE_INDEX} for ignored")
    return label, prediction, counted


def segmentation_metrics(confusion: np.ndarray) -> dict[str, np.ndarray | float]:
    """IoU and accuracy of every class and their means, as fractions from 0 to 1.

    Parameters
    ----------
    confusion : (K, K) array_like
        Pixel counts, rows are labels, as made by `confusion_matrix`.

    Returns
    -------
    dict
        `iou` (K,): intersection over union; NaN for a class that is neither labelled nor predicted anywhere.
        `accuracy` (K,): share of a class's pixels that were found; NaN for a class that is labelled nowhere.
        `miou`, `macc`: means over the classes that are not NaN. `aacc`: share of all counted pixels that are right.
        A mean over nothing is NaN. These are the conventions of mmsegmentation and of the paper's tables.
    """
    confusion = np.asarray(confusion, dtype=np.float64)
    right = np.diag(confusion)
    labelled, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    iou = ratio_or_nan(right, labelled + predicted - right)
    accuracy = ratio_or_nan(right, labelled)
    return {
        "iou": iou,
        "accuracy": accuracy,
        "miou": mean_of_present(iou),
        "macc": mean_of_present(accuracy),
        "aacc": float(ratio_or_nan(right.sum(), confusion.sum())),
    }


def ratio_or_nan(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """`part` / `whole`, NaN where the whole is zero."""
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) > 0)


def mean_of_present(values: np.ndarray) -> float:
    """Mean of the values that are not NaN; NaN where there is none."""
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else float("nan")
