"""Very many points of a plane, at both stages, as one small picture: what a browser shows without a scatter's cost."""

from typing import NamedTuple

import numpy as np
import xarray as xr

from offseg_viz.plot.points import dot_colors
from offseg_viz.terms import STAGES

_PAPER = np.array([247, 247, 246], dtype=np.float64)
_FILL = 0.92
"""Share of the picture that the points span."""
_DOT = ((0, 0, 1.0), (-1, 0, 0.7), (1, 0, 0.7), (0, -1, 0.7), (0, 1, 0.7))
"""Down, right and weight of the picture's pixels that one point covers."""
_STRENGTH = {"initial": 0.35, "aligned": 1.0}


class Cloud(NamedTuple):
    """A picture (height, width, 3) uint8, and where each pixel lies in it: `places` (stage, y, x, 2) as x and y."""

    picture: np.ndarray
    places: np.ndarray


def pixel_cloud(plane: xr.Dataset, colors: np.ndarray, *, size: tuple[int, int]) -> Cloud:
    """Every pixel of `pixel_plane` as a dot of its colour: pale at the stage `initial`, below those at `aligned`.

    Both axes have one scale, the first runs to the right and the second up. Where dots lie on each other their colours
    are mixed.

    Parameters
    ----------
    plane : Dataset
        As made by `pixel_plane`.
    colors : (y, x, 3) uint8
        Colour of every pixel.
    size : (height, width)
        Of the picture.
    """
    places = plane["place"].values.astype(np.float64)
    height, width = size
    low, high = places.min(axis=(0, 1, 2)), places.max(axis=(0, 1, 2))
    spans = np.maximum(high - low, np.finfo(np.float32).tiny)
    zoom = _FILL * min(width / spans[0], height / spans[1])
    at = (places - (low + high) / 2) * zoom * (1, -1) + (width / 2, height / 2)
    picture = np.broadcast_to(_PAPER, (height, width, 3))
    for stage, where in zip(STAGES, at, strict=True):
        color, cover = dot_colors(where.reshape(-1, 2), colors.reshape(-1, 3), size, dot=_DOT)
        cover = cover[..., None]
        color = _PAPER + _STRENGTH[stage] * (color - _PAPER)
        picture = picture + cover * (color - picture)
    return Cloud(picture.round().astype(np.uint8), at)
