"""The coupled attention of offset learning and its two softmaxes: equations (4), (5) and (9) of arXiv 2508.08811.

For a per-pixel record these show what offset learning would attend to; such a model itself attends to nothing.
"""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from offseg_viz.analyze.align import scores


def coupled_attention(record: xr.Dataset) -> xr.DataArray:
    """A_c = W E^T, eq. (4), dims (cls, y, x): the inner products that both softmaxes share, not scaled.

    The numbers equal the initial scores; here they are read as attention.
    """
    product = scores(record, "initial").rename("coupled_attention")
    return product.drop_attrs().assign_attrs(long_name="coupled attention")


def class_attention(record: xr.Dataset) -> xr.DataArray:
    """A_cls, eq. (5), dims (cls, y, x): where each class looks. Every class sums to one over the positions."""
    weights = _softmax(coupled_attention(record), ("y", "x")).rename("class_attention")
    return weights.drop_attrs().assign_attrs(long_name="class attention")


def position_attention(record: xr.Dataset) -> xr.DataArray:
    """A_pos, eq. (9), dims (y, x, cls): which classes a pixel attends to. Every pixel sums to one over the classes.

    Of mask classification: (y, x, query).
    """
    coupled = coupled_attention(record)
    weights = _softmax(coupled, coupled.dims[:1]).transpose("y", "x", ...).rename("position_attention")
    return weights.drop_attrs().assign_attrs(long_name="position attention")


def _softmax(array: xr.DataArray, dims: Sequence[str]) -> xr.DataArray:
    """Softmax over several dims at once; the largest entry is taken off first, so that nothing overflows."""
    powers = np.exp(array - array.max(dims))
    return powers / powers.sum(dims)
