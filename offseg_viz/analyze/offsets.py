"""How far offset learning moved the features and the class embeddings of one record."""

import numpy as np
import xarray as xr

from offseg_viz.errors import RecordError, UnknownNameError
from offseg_viz.record import has_offsets

_OFFSETS = {
    "feature": ("feature_offset", "feature", "dE", "E"),
    "class": ("class_offset", "class_embedding", "dW", "W"),
}


def offset_magnitude(record: xr.Dataset, of: str = "feature", *, relative: bool = False) -> xr.DataArray:
    """Euclidean length of the offsets: of dE (eq. 11) a pixel, or of dW (eq. 7) a class.

    Parameters
    ----------
    record : xarray.Dataset
        A record of a model with offset learning.
    of : {"feature", "class"}
        Which offset; ``"feature"`` gives a map (y, x), ``"class"`` one number a class (cls).
    relative : bool
        Divide by the length of what was moved, E or W; NaN where that is zero.

    Raises
    ------
    RecordError
        If the record comes from a per-pixel model, which has no offsets.
    UnknownNameError
        If `of` is another word.
    """
    if of not in _OFFSETS:
        raise UnknownNameError("offset", of, _OFFSETS)
    if not has_offsets(record):
        raise RecordError(
            f"the model {record.attrs.get('model')!r} is per-pixel and has no offsets; needed a record of a model with "
            "offset learning: extract with one whose name ends in '-offset', or that attach_offset_learning() changed"
        )
    offset, moved, symbol, moved_symbol = _OFFSETS[of]
    magnitude, long_name = _length(record[offset]), f"|{symbol}|"
    if relative:
        length = _length(record[moved])
        magnitude, long_name = magnitude / length.where(length > 0), f"|{symbol}| / |{moved_symbol}|"
    return magnitude.rename("offset_magnitude").drop_attrs().assign_attrs(long_name=long_name)


def _length(array: xr.DataArray) -> xr.DataArray:
    return np.sqrt((array**2).sum("channel"))
