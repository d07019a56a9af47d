"""Where a map lies on its image, and which colours it takes: decided once, for stills and widgets alike."""

from collections.abc import Iterable

import numpy as np
import xarray as xr
from matplotlib.colors import Colormap

from offseg_viz.classes import IGNORE_INDEX, ClassList
from offseg_viz.errors import RecordError
from offseg_viz.plot import theme
from offseg_viz.record import class_list


def is_photograph(panel: xr.DataArray) -> bool:
    """Whether `panel` is a photograph (row, col, rgb) rather than a map on the grid."""
    return "rgb" in panel.dims and "row" in panel.dims


def is_color_map(panel: xr.DataArray) -> bool:
    """Whether `panel` holds a colour for each grid cell: dims (y, x, rgb), uint8."""
    return "rgb" in panel.dims and "row" not in panel.dims


def is_class_map(panel: xr.DataArray) -> bool:
    """Whether `panel` holds class numbers (an integer map), or true and false, rather than measurements."""
    return "rgb" not in panel.dims and panel.dtype.kind in "iub"


def empty_name(map: xr.DataArray) -> str:
    """What a class map calls its cells of value 255: its attribute `empty_name`, else ``ignored``.

    Ignored cells are hatched; those of another name are left bare.
    """
    return str(map.attrs.get("empty_name", "ignored"))


def own_classes(map: xr.DataArray) -> ClassList | None:
    """Names and colours that an integer map brings itself, as its attributes `names` and `colors` in number order.

    A true/false map has the classes ``no`` and ``yes``. None for a map of the classes of its record.
    """
    if map.dtype.kind == "b":
        return ClassList(("no", "yes"), (theme.HAIRLINE, theme.STAGE_COLORS["aligned"]))
    if not (is_class_map(map) and "names" in map.attrs and "colors" in map.attrs):
        return None
    return ClassList(tuple(map.attrs["names"]), tuple(map.attrs["colors"]))


def check_map(map: xr.DataArray, over: xr.Dataset | None, title: str) -> None:
    """Raise `RecordError` unless `map` has dims (y, x), the grid of `over`, and numbers of its classes or its own.

    A map of colours has the dims (y, x, rgb) and is uint8.
    """
    if is_color_map(map):
        if map.dims != ("y", "x", "rgb") or map.sizes["rgb"] != 3 or map.dtype != np.uint8:
            found = f"dims {map.dims}, sizes {dict(map.sizes)} and dtype {map.dtype}"
            raise RecordError(f"the map of colours {title!r} has {found}, needed ('y', 'x', 'rgb'), 3 colours, uint8")
    elif map.dims != ("y", "x"):
        hint = "; choose one class with .sel(cls=...)" if "cls" in map.dims else ""
        raise RecordError(f"the map {title!r} has dims {map.dims}, needed ('y', 'x'){hint}")
    if over is not None and not all(np.array_equal(map[dim].values, over[dim].values) for dim in ("y", "x")):
        found, needed = dict(map.sizes), {dim: over.sizes[dim] for dim in ("y", "x")}
        raise RecordError(
            f"the map {title!r} lies on another grid ({found}) than the record ({needed}); pass its own record as over="
        )
    own = own_classes(map)
    if own is not None or over is not None and is_class_map(map):
        count = len(own) if own is not None else over.sizes["cls"]
        values = np.unique(map.values)
        wrong = values[((values < 0) | (values >= count)) & (values != IGNORE_INDEX)]
        if wrong.size:
            raise RecordError(
                f"the integer map {title!r} holds {wrong[:8].tolist()}, drawn as classes it needs 0 to "
                f"{count - 1} or {IGNORE_INDEX}; convert counts with .astype(float)"
            )


def map_classes(maps: Iterable[xr.DataArray], over: xr.Dataset | None) -> ClassList:
    """The classes of the record `over`; numbered ones, as many as the maps need, where there is no record."""
    if over is not None:
        return class_list(over)
    largest = max((int(m.where(m != IGNORE_INDEX, 0).max()) for m in maps if is_class_map(m)), default=0)
    return ClassList.numbered(largest + 1)


def extent(map: xr.DataArray, over: xr.Dataset | None) -> tuple[float, float, float, float]:
    """Top, left, bottom and right edge of the grid in pixels, from the centres of its cells.

    A grid of one row or column takes the stride of the record (1 without a record).
    """
    stride = float(np.ravel(over.attrs["stride"])[0]) if over is not None else 1.0
    edges = []
    for dim in ("y", "x"):
        centres = map[dim].values.astype(float)
        step = centres[1] - centres[0] if len(centres) > 1 else stride
        edges.append((float(centres[0] - step / 2), float(centres[-1] + step / 2)))
    (top, bottom), (left, right) = edges
    return top, left, bottom, right


def picture_size(panel: xr.DataArray, over: xr.Dataset | None) -> tuple[float, float]:
    """Height and width in pixels of what is drawn: the photograph where there is one, else the grid."""
    if is_photograph(panel):
        return panel.sizes["row"], panel.sizes["col"]
    if over is not None and "image" in over:
        return over.sizes["row"], over.sizes["col"]
    top, left, bottom, right = extent(panel, over)
    return bottom - top, right - left


def color_limits(maps: Iterable[xr.DataArray]) -> tuple[float, float]:
    """Ends of a colour scale common to `maps`: symmetric about zero where there is a negative value.

    (0, 1) where no value is finite.
    """
    values = np.concatenate([np.ravel(m.values).astype(float) for m in maps])
    values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    if low < 0:
        reach = max(-low, high)
        return -reach, reach
    return (low, high) if high > low else (low, low + 1)


def colors_for(limits: tuple[float, float]) -> Colormap:
    """Diverging colours for a scale that begins below zero, sequential ones for any other."""
    return theme.DIVERGING if limits[0] < 0 else theme.SEQUENTIAL
