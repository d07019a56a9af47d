"""Where a pixel lies in its label map: how far from another class, and in how large an object.

Both are counted in pixels of the image on the coarser grid of the features, whose cells are taken as squares: details
smaller than a cell are lost, and a cell's side is the stride (the geometric mean of two that differ).
"""

import numpy as np
import xarray as xr

from offseg_viz.classes import IGNORE_INDEX
from offseg_viz.errors import RecordError


def boundary_distance(record: xr.Dataset) -> xr.DataArray:
    """Distance of each grid cell to the nearest one of another labelled class, dims (y, x), in pixels of the image.

    Euclidean, from centre to centre: beside another class it is one stride, the least there is. Ignored cells are NaN
    and no boundary: what lies beneath them is not known, so distances are measured across them. A window is all that
    is seen: what lies beyond its edge counts as no boundary, and where one class alone is labelled every distance is
    inf.

    Raises
    ------
    RecordError
        If the record has no label.
    """
    import cv2

    label, cell = _label(record), cell_side(record)
    ignored = label == IGNORE_INDEX
    present = np.unique(label[~ignored])
    distance = np.full(label.shape, np.inf)
    if present.size > 1:
        for k in present:
            inside = label == k
            free = (inside | ignored).astype(np.uint8)
            distance[inside] = cv2.distanceTransform(free, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[inside]
    distance[ignored] = np.nan
    return _map(record, distance * cell, "boundary_distance", "distance to another class (pixels)")


def object_area(record: xr.Dataset) -> xr.DataArray:
    """Area of the object that each grid cell belongs to, dims (y, x), in square pixels of the image.

    An object is a connected component of the label map, over sides and corners, as for `small_object_counts`: label
    maps do not tell instances apart, so two that touch are one object, and one that is cut in two by another class or
    by ignored cells is two. Ignored cells are NaN.

    Raises
    ------
    RecordError
        If the record has no label.
    """
    import cv2

    label, cell = _label(record), cell_side(record)
    cells = np.full(label.shape, np.nan)
    for k in np.unique(label[label != IGNORE_INDEX]):
        mask = cv2.inRange(label, int(k), int(k))
        _, components, statistics, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        inside = mask > 0
        cells[inside] = statistics[components[inside], cv2.CC_STAT_AREA]
    return _map(record, cells * cell**2, "object_area", "area of the object (square pixels)")


def cell_side(record: xr.Dataset) -> float:
    """Side of a grid cell in pixels: the stride, of two that differ their geometric mean."""
    strides = np.ravel(record.attrs["stride"]).astype(float)
    return float(strides.prod() ** (1 / strides.size))


def _label(record: xr.Dataset) -> np.ndarray:
    if "label" not in record:
        raise RecordError("the record has no label, needed to know boundaries and objects; extract a labelled sample")
    return np.ascontiguousarray(record["label"].transpose("y", "x").values)


def _map(record: xr.Dataset, values: np.ndarray, name: str, long_name: str) -> xr.DataArray:
    coords = {dim: record[dim] for dim in ("y", "x")}
    return xr.DataArray(values, coords, ("y", "x"), name, {"long_name": long_name})
