"""Cosine similarity of features and class embeddings."""

import numpy as np
import xarray as xr

from offseg_viz.errors import RecordError


def cosine_similarity(a: xr.DataArray, b: xr.DataArray) -> xr.DataArray:
    """Cosine of the angle between the vectors of `a` and of `b`, from -1 to 1.

    Parameters
    ----------
    a, b : xarray.DataArray
        Arrays that share the dim `channel`. Any other dim they share is taken entry by entry: two features give one
        cosine a pixel. Dims of only one of them are combined: a feature (y, x, channel) and class embeddings
        (cls, channel) give (cls, y, x). Rename a dim first to combine it with itself.

    Returns
    -------
    xarray.DataArray
        Over the other dims, `cls` first and `y`, `x` last, coordinates kept; NaN where either vector is zero.

    Raises
    ------
    RecordError
        If `channel` is missing or of two sizes, or a shared dim has other coordinates (two different grids or class
        lists are never cut down to what they have in common).
    """
    for array in (a, b):
        if "channel" not in array.dims:
            raise RecordError(f"cosine_similarity needs the dim 'channel' in both arrays, found {array.dims}")
    if a.sizes["channel"] != b.sizes["channel"]:
        sizes = f"{a.sizes['channel']} and {b.sizes['channel']}"
        raise RecordError(f"vectors of {sizes} channels cannot be compared; take both from models of one width")
    try:
        with xr.set_options(arithmetic_join="exact"):
            product = xr.dot(a, b, dim="channel", optimize=True)
            cosine = product / (_length(a) * _length(b))  # 0 / 0 is the NaN of a zero vector
    except ValueError as cause:
        shared = sorted(str(dim) for dim in set(a.dims) & set(b.dims) - {"channel"})
        raise RecordError(
            f"the arrays do not lie on one grid along {shared} ({cause}); needed equal coordinates: "
            "compare arrays of one record, or extract both on the same grid"
        ) from cause
    # Rounding can carry a cosine just past one, where arccos has no value.
    cosine = cosine.clip(-1, 1).transpose("cls", ..., "y", "x", missing_dims="ignore")
    return cosine.rename("cosine_similarity").drop_attrs().assign_attrs(long_name="cosine similarity")


def _length(array: xr.DataArray) -> xr.DataArray:
    return np.sqrt(xr.dot(array, array, dim="channel", optimize=True))
