"""Metrics of shape: how well boundaries are met, and how many small objects are found.

Both are sums by class that add up over images and processes; figures are taken from the sums, as of a confusion matrix.
"""

import numpy as np

from offseg_viz.classes import IGNORE_INDEX
from offseg_viz.errors import DataError
from offseg_viz.metrics import checked_maps, mean_of_present, ratio_or_nan

BOUNDARY_RATIO = 0.02
"""Width of a boundary region over the diagonal of the image."""

SMALL_AREA = 32**2
"""Pixels below which an object is small, as in the evaluation of COCO."""


def boundary_counts(
    label: np.ndarray, prediction: np.ndarray, num_classes: int, *, ratio: float = BOUNDARY_RATIO
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels in the intersection and in the union of the boundary regions of each class, two of (K,) int64.

    The boundary region of a mask is made of its pixels within distance d of its contour: those that d erosions by a
    square of 3 x 3 take away, what lies outside the image counting as outside the mask. d is `ratio` times the image's
    diagonal, rounded, and at least one pixel (Boundary IoU, arXiv 2103.16562, CVPR 2021; there for the mask of one
    object, here for all of a class).

    Pixels labelled 255 are taken out of both masks first and are then outside, like those beyond the edge of the image:
    the border of an ignored area is a contour of both masks, met by every right prediction within d of it.

    Parameters
    ----------
    label, prediction : (H, W) array_like of int
        Class numbers 0 .. K-1; 255 in the label is ignored, whatever is predicted there.
    num_classes : K, at most 255.
    ratio : above 0.

    Raises
    ------
    DataError
        If the maps are not 2-dimensional, of different shapes, or hold other values; or for a ratio not above 0.
    """
    import cv2

    if not 0 < ratio < np.inf:
        raise DataError(f"ratio is {ratio}; needed a share of the image's diagonal above 0, such as {BOUNDARY_RATIO}")
    label, prediction, counted = _checked_maps(label, prediction, num_classes)
    prediction = np.where(counted, prediction, np.uint8(IGNORE_INDEX))
    distance = min(max(round(ratio * float(np.hypot(*label.shape))), 1), max(label.shape))
    square = np.ones((2 * distance + 1, 2 * distance + 1), np.uint8)  # erodes as much as d times 3 x 3
    outside = {"borderType": cv2.BORDER_CONSTANT, "borderValue": IGNORE_INDEX}

    def boundary(classes: np.ndarray) -> np.ndarray:
        # A pixel stays in the eroded mask of its class if there is no other value in the square around it, that is, if
        # least and greatest are the same: this erodes the masks of all classes at once.
        return counted & (cv2.erode(classes, square, **outside) != cv2.dilate(classes, square, **outside))

    labelled, predicted = boundary(label), boundary(prediction)
    both = labelled & predicted & (label == prediction)
    intersection = np.bincount(label[both], minlength=num_classes)
    regions = np.bincount(label[labelled], minlength=num_classes)
    regions += np.bincount(prediction[predicted], minlength=num_classes)
    return intersection, regions - intersection


def boundary_iou(intersection: np.ndarray, union: np.ndarray) -> dict[str, np.ndarray | float]:
    """Boundary IoU of every class and their mean, as fractions from 0 to 1, from sums of `boundary_counts`.

    Returns
    -------
    dict
        `iou` (K,): NaN for a class that is neither labelled nor predicted anywhere. `mean`: over the classes that are
        not NaN; NaN over nothing.
    """
    iou = ratio_or_nan(np.asarray(intersection, dtype=np.float64), union)
    return {"iou": iou, "mean": mean_of_present(iou)}


def small_object_counts(
    label: np.ndarray, prediction: np.ndarray, num_classes: int, *, area: int = SMALL_AREA
) -> tuple[np.ndarray, np.ndarray]:
    """Small objects of each class that were found, and all of them, two of (K,) int64.

    An object is a connected component of the label map, over sides and corners, and small if it has fewer than `area`
    pixels. It is found if at least half of them are predicted as its class. Label maps do not tell instances apart, so
    two that touch are one object, and one that is cut in two by another is two.

    Parameters
    ----------
    label, prediction : (H, W) array_like of int
        Class numbers 0 .. K-1; 255 in the label is ignored and no object.
    num_classes : K, at most 255.
    area : pixels of the label map, at least 1.

    Raises
    ------
    DataError
        If the maps are not 2-dimensional, of different shapes, or hold other values; or for an area below 1.
    """
    import cv2

    if not area >= 1:
        raise DataError(f"area is {area}; needed a number of pixels from 1, such as {SMALL_AREA}")
    label, prediction, counted = _checked_maps(label, prediction, num_classes)
    found, objects = np.zeros((2, num_classes), np.int64)
    for k in np.flatnonzero(np.bincount(label[counted], minlength=num_classes)):
        mask = cv2.inRange(label, int(k), int(k))
        left, top, width, height = cv2.boundingRect(mask)
        box = slice(top, top + height), slice(left, left + width)
        count, components, statistics, _ = cv2.connectedComponentsWithStats(mask[box], connectivity=8)
        sizes = statistics[:, cv2.CC_STAT_AREA]
        hits = np.bincount(components[prediction[box] == k], minlength=count)
        small = sizes < area
        small[0] = False  # what is not of the class
        objects[k] = small.sum()
        found[k] = (2 * hits >= sizes)[small].sum()
    return found, objects


def small_object_recall(found: np.ndarray, objects: np.ndarray) -> dict[str, np.ndarray | float]:
    """Share of the small objects that were found, from sums of `small_object_counts`.

    Returns
    -------
    dict
        `recall` (K,): by class, NaN where a class has none. `total`: of the objects of all classes together, NaN where
        there is none.
    """
    found, objects = np.asarray(found, dtype=np.float64), np.asarray(objects)
    return {"recall": ratio_or_nan(found, objects), "total": float(ratio_or_nan(found.sum(), objects.sum()))}


def _checked_maps(label: np.ndarray, prediction: np.ndarray, num_classes: int) -> tuple[np.ndarray, ...]:
    """Label and prediction as (H, W) uint8 and which of their pixels count."""
    label, prediction, counted = checked_maps(label, prediction, num_classes)
    if label.ndim != 2 or label.size == 0:
        raise DataError(f"the maps are of shape {label.shape}; needed (H, W), one image at a time")
    if not 1 <= num_classes <= IGNORE_INDEX:
        raise DataError(f"num_classes is {num_classes}; needed 1 to {IGNORE_INDEX}, {IGNORE_INDEX} means ignored")
    # What is predicted at an ignored pixel may be anything; the cast may change it, but it counts nowhere.
    return label.astype(np.uint8), prediction.astype(np.uint8), counted
