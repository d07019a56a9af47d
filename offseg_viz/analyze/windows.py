"""Maps of the windows of an image, put together as one map of the image."""

from collections.abc import Callable, Iterable

import numpy as np
import xarray as xr

from offseg_viz.errors import RecordError

SHARED = ("model", "checkpoint", "dataset", "sample", "image_size")
"""Attributes that windows of one image have in common."""


def stitch_windows(records: Iterable[xr.Dataset], function: Callable[[xr.Dataset], xr.DataArray]) -> xr.DataArray:
    """A map of a whole image from the records of its windows, averaged where windows overlap.

    Each window's map is resized bilinearly to the window's pixels (half-pixel centres, as torch does with
    ``align_corners=False``): for `logits` of networks that classify pixels this is what sliding-window evaluation
    compares. Where a network has seen its window padded, pixels beyond the centre of the last cell take that cell's
    value, while the network itself would mix in a cell of the padding, which no record holds.

    A prediction is taken of the stitched map: ``stitch_windows(records, logits).argmax("cls")``.

    Parameters
    ----------
    records : those of one image that cover it, as `extract_windows` makes them or ``store.of_image(id)`` finds them;
        they are taken one after the other.
    function : a record to a floating-point map whose dims end with y and x or hold them, such as `logits`.

    Returns
    -------
    Dims (..., y, x), one value a pixel of the image, y and x 0.5 at the first; float32, or float64 if the maps are. NaN
    spreads to the pixels around it.

    Raises
    ------
    RecordError
        If there is no record, windows leave a gap, are of different images or models, or the maps are integers, without
        y and x, or of queries, which are others in every window.
    """
    first, total, count = None, None, None
    for record in records:
        first = record if first is None else first
        _check_fit(record, first)
        values = _checked(function(record)).transpose(..., "y", "x")
        top, left, height, width = record.attrs["window"]
        if total is None:
            outer, size = values.shape[:-2], tuple(record.attrs["image_size"])
            total = np.zeros((*outer, *size), np.result_type(values.dtype, np.float32))
            count = np.zeros(size, np.uint16)
            like = values
        elif values.shape[:-2] != total.shape[:-2] or values.dims != like.dims:
            raise RecordError(f"a window's map is of {dict(values.sizes)}, the first one's of {dict(like.sizes)}")
        pixels = (slice(top, top + height), slice(left, left + width))
        for index in np.ndindex(*total.shape[:-2]):
            cells = values.values[index].astype(total.dtype)  # (y, x) of one class, say
            total[(*index, *pixels)] += _resized(cells, record.attrs["stride"])[:height, :width]
        count[pixels] += 1
    if first is None:
        raise RecordError("found no record; needed the windows of an image: extract_windows() makes them")
    if not count.all():
        row, column = (int(place[0]) for place in np.nonzero(count == 0))
        raise RecordError(
            f"{(count == 0).mean():.0%} of the image of {first.attrs['sample']} are in no window, from pixel ({row}, "
            f"{column}) on; needed all windows of extract_windows()"
        )
    total /= count
    coords = {name: coord for name, coord in like.coords.items() if not {"y", "x"} & set(coord.dims)}
    coords |= {dim: np.arange(side) + 0.5 for dim, side in zip("yx", total.shape[-2:], strict=True)}
    return xr.DataArray(total, coords, like.dims, name=like.name, attrs=like.attrs)


def _check_fit(record: xr.Dataset, first: xr.Dataset) -> None:
    if "image_size" not in record.attrs:
        raise RecordError(
            f"the record of {record.attrs['sample']} does not say how large its image is; extract it again"
        )
    for name in SHARED:
        if record.attrs[name] != first.attrs[name]:
            found = f"{name} {record.attrs[name]} and {first.attrs[name]}"
            raise RecordError(f"found windows of {found}; needed those of one image and model: store.of_image(id)")


def _checked(values: xr.DataArray) -> xr.DataArray:
    if not isinstance(values, xr.DataArray) or not {"y", "x"} <= set(values.dims):
        found = f"dims {values.dims}" if isinstance(values, xr.DataArray) else type(values).__name__
        raise RecordError(f"the function of a window gave {found}; needed a DataArray with the dims y and x")
    if "query" in values.dims:
        raise RecordError(
            "the function of a window gave a map of queries, which are others in every window; take class_maps in the "
            "place of scores or logits"
        )
    if values.dtype.kind != "f":
        raise RecordError(
            f"the function of a window gave {values.dtype}, which cannot be averaged; stitch floating-point maps, such "
            'as logits, and take the arg max of the result: stitch_windows(records, logits).argmax("cls")'
        )
    return values


def _resized(values: np.ndarray, stride: tuple[float, float]) -> np.ndarray:
    """A map of grid cells at one value a pixel; the last cells may hang over the edge of the window."""
    import cv2

    height, width = (round(cells * step) for cells, step in zip(values.shape, stride, strict=True))
    return cv2.resize(np.ascontiguousarray(values), (width, height), interpolation=cv2.INTER_LINEAR)
