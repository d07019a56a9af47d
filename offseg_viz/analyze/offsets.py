"""How far, and in which direction, offset learning moved the features and the class embeddings of one record."""

import numpy as np
import xarray as xr

from offseg_viz.analyze.ideal import READABLE_RCOND, ideal_class_embedding
from offseg_viz.analyze.similarity import cosine_similarity
from offseg_viz.errors import RecordError, UnknownNameError
from offseg_viz.metrics import ratio_or_nan
from offseg_viz.record import has_offsets, has_queries

_OFFSETS = {
    "feature": ("feature_offset", "feature", "dE", "E"),
    "class": ("class_offset", "class_embedding", "dW", "W"),
}
_DIRECTIONS = {"feature": ("initial",), "class": ("initial", "ideal", "ideal_turn")}


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
    require_offsets(record)
    offset, moved, symbol, moved_symbol = _OFFSETS[of]
    magnitude, long_name = _length(record[offset]), f"|{symbol}|"
    if relative:
        length = _length(record[moved])
        magnitude, long_name = magnitude / length.where(length > 0), f"|{symbol}| / |{moved_symbol}|"
    return magnitude.rename("offset_magnitude").drop_attrs().assign_attrs(long_name=long_name)


def offset_direction(
    record: xr.Dataset, of: str = "feature", to: str = "initial", *, rcond: float = READABLE_RCOND
) -> xr.DataArray:
    """Cosine of the angle between the offsets and another direction, from -1 to 1.

    Parameters
    ----------
    record : xarray.Dataset
        A record of a model with offset learning; with a label where `to` is about the ideal embeddings.
    of : {"feature", "class"}
        Which offset; ``"feature"`` gives a map (y, x), ``"class"`` one number a class (cls).
    to : {"initial", "ideal", "ideal_turn"}
        ``"initial"``: what was moved, E or W; the offset lengthens it (1), shortens it (-1) or turns it (0).

        ``"ideal"``, of classes only: W* - W, from the class embedding to the ideal one of this image, eq. (2). That
        equation fits scores of 0 and 1, which sets the length of W*; where W is much longer, W* - W is little else
        than -W, and this is little else than minus the cosine to W.

        ``"ideal_turn"``, of classes only: the parts of dW and W* that are perpendicular to W: whether the offset turns
        the class embedding the way that the ideal one lies (1) or away from it (-1), whatever the length of W*.

        Features have no ideal of their own: eq. (2) fits class embeddings to them.
    rcond : float
        For the ideal embeddings: singular values of E below this fraction of the largest count as zero.

    Returns
    -------
    xarray.DataArray
        NaN where either vector is zero, and, of the ideal ones, for classes that do not occur in the label.

    Raises
    ------
    RecordError
        If the record comes from a per-pixel model; for the ideal ones also if it is of mask classification, whose
        embeddings are of queries, has no label, or all of its pixels are ignored.
    UnknownNameError
        If `of` or `to` is another word, or `to` is not for this offset.
    """
    if of not in _OFFSETS:
        raise UnknownNameError("offset", of, _OFFSETS)
    if to not in _DIRECTIONS[of]:
        kind = {"feature": "direction of a feature offset (eq. 2 has an ideal for class embeddings only)"}
        raise UnknownNameError(kind.get(of, "direction of a class offset"), to, _DIRECTIONS[of])
    require_offsets(record)
    offset, moved, symbol, moved_symbol = _OFFSETS[of]
    if to == "initial":
        cosine, name = cosine_similarity(record[offset], record[moved]), f"{symbol} and {moved_symbol}"
    else:
        if has_queries(record):
            raise RecordError("mask classification embeds queries, which have no ideal of eq. (2); use to='initial'")
        values = ideal_cosine(record, ideal_class_embedding(record, rcond=rcond).values, turn=to == "ideal_turn")
        cosine = record[moved].isel(channel=0, drop=True).copy(data=values).drop_attrs()
        name = "dW and W* - W" if to == "ideal" else "dW and W*, both across W"
    return cosine.rename("offset_direction").assign_attrs(long_name=f"cosine of {name}")


def ideal_cosine(record: xr.Dataset, ideal: np.ndarray, *, turn: bool) -> np.ndarray:
    """Cosine of dW and W* - W, or of their parts across W, (K,) float64, for W* (K, C); NaN where undefined."""
    initial, offset = (record[name].values.astype(np.float64) for name in ("class_embedding", "class_offset"))
    one, other = offset, ideal - initial
    if turn:
        squared = np.vecdot(initial, initial)
        one, other = (v - ratio_or_nan(np.vecdot(v, initial), squared)[:, None] * initial for v in (one, other))
    lengths = np.sqrt(np.vecdot(one, one) * np.vecdot(other, other))
    return ratio_or_nan(np.vecdot(one, other), lengths).clip(-1, 1)


def require_offsets(record: xr.Dataset) -> None:
    """Raise `RecordError` for a record without offsets."""
    if not has_offsets(record):
        raise RecordError(
            f"the model {record.attrs.get('model')!r} has no offsets; needed a record of a model with "
            "offset learning: extract with one whose name ends in '-offset', or that attach_offset_learning() changed"
        )


def _length(array: xr.DataArray) -> xr.DataArray:
    return np.sqrt((array**2).sum("channel"))
