"""A map over its photograph, alone or in a row of panels.

A map has the dims (y, x), whose coordinates are the centres of the grid cells in pixels of the image; it is drawn where
they say. Cells are drawn as what they are, without smoothing. Integer maps (label, prediction) take the class colours
of the record and get a legend of the classes present; maps with negative values take the diverging colours centred on
zero; others the sequential ones. Ignored cells and NaN are hatched; cells of a class map whose attribute `empty_name`
gives 255 another meaning are left bare. An integer map of something else, such as `change_map`, brings what its numbers
mean in its attributes `names` and `colors`; a true/false map says no and yes. A map of colours (y, x, rgb) uint8 is
drawn as it is, without its photograph.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, Normalize, to_rgb
from matplotlib.patches import Patch

from offseg_viz.classes import IGNORE_INDEX, ClassList
from offseg_viz.errors import RecordError
from offseg_viz.plot import grid, theme
from offseg_viz.plot.figure import StaticFigure
from offseg_viz.plot.summary import summarize

_STRIPES = 8
_LONGEST_LEGEND = 36


def plot_map(
    map: xr.DataArray,
    *,
    over: xr.Dataset | None = None,
    title: str | None = None,
    limits: tuple[float, float] | None = None,
) -> StaticFigure:
    """One map over the photograph of its record, with a colour bar or a class legend.

    Parameters
    ----------
    map : DataArray (y, x)
        A float map, an integer map of class numbers with 255 for ignored, or colours (y, x, rgb) uint8.
    over : Dataset, optional
        The record the map was made from: gives photograph, class names and class colours. Without it the map stands
        alone and classes are numbered.
    title : str, optional
        Heading; the map's name where it is left out.
    limits : (low, high), optional
        Ends of the colour scale, to compare figures; by default the map's own range, symmetric where it is signed.

    Raises
    ------
    RecordError
        If the dims are not (y, x), or `over` has another grid.
    """
    title = title if title is not None else str(map.name or "map").replace("_", " ")
    grid.check_map(map, over, title)
    own = grid.own_classes(map)
    classes = own or grid.map_classes([map], over)
    with theme.style():
        height, width = grid.picture_size(map, over)
        inches = 4.6
        figure = StaticFigure(
            f"{title}: {_panel_summary(map, classes)}", figsize=(inches + 1.3, inches * height / width + 0.5)
        )
        axes = figure.subplots()
        mappable = _draw(axes, map, over, limits, classes)
        axes.set_title(title)
        if grid.is_color_map(map):
            return figure
        if mappable is None:
            figure.legend(handles=_legend([map], classes), loc="outside right upper", title=None if own else "classes")
        else:
            _color_bar(figure, mappable, [axes])
    return figure


def plot_panels(
    panels: Mapping[str, xr.DataArray],
    *,
    over: xr.Dataset | None = None,
    shared: Iterable[str] = (),
    limits: Mapping[str, tuple[float, float]] | None = None,
    mark: tuple[float, float] | None = None,
) -> StaticFigure:
    """Several maps of one record side by side, at most three in a row.

    Parameters
    ----------
    panels : mapping of title to DataArray
        Maps (y, x) as for `plot_map`, or a photograph with the dims (row, col, rgb).
    over : Dataset, optional
        The record of all of them.
    shared : titles
        Float panels that lie on one colour scale, such as a similarity before and after the refinement.
    limits : mapping of title to (low, high), optional
        Ends of the colour scale of single panels; other float panels take their own range.
    mark : (y, x), optional
        A position in pixels of the image to be marked in every panel.

    Raises
    ------
    RecordError
        If there is no panel, a map does not fit, or `shared` or `limits` names a panel that is not there.
    """
    shared = tuple(shared)
    if not panels:
        raise RecordError("plot_panels needs at least one panel, found none; give a mapping of title to map")
    for title, panel in panels.items():
        if not grid.is_photograph(panel):
            grid.check_map(panel, over, title)
    limits = dict(limits or {})
    wrong = [title for title in (*shared, *limits) if title not in panels]
    if wrong:
        raise RecordError(f"shared or limits names {wrong}, which are no panels; the panels are {list(panels)}")
    if shared:
        limits |= dict.fromkeys(shared, grid.color_limits([panels[title] for title in shared]))
    own = {title: grid.own_classes(panel) for title, panel in panels.items()}
    class_maps = [panel for title, panel in panels.items() if grid.is_class_map(panel) and not own[title]]
    record_classes = grid.map_classes(class_maps, over)
    classes = {title: own[title] or record_classes for title in panels}
    columns = min(3, len(panels)) if len(panels) != 4 else 2
    rows = -(-len(panels) // columns)
    legend = _legend(class_maps, record_classes)
    for title in filter(own.get, panels):
        legend += _legend([panels[title]], own[title])
    legend = list({patch.get_label(): patch for patch in legend}.values())
    lines = [f"{title}: {_panel_summary(panel, classes[title])}" for title, panel in panels.items()]
    with theme.style():
        height, width = grid.picture_size(next(iter(panels.values())), over)
        inches = 3.4 if columns > 1 else 4.6
        per_row = 3 * columns
        size = (columns * (inches + 0.4), rows * (inches * height / width + 0.5) + 0.25 * -(-len(legend) // per_row))
        figure = StaticFigure("\n".join(lines), figsize=size)
        places = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in places[len(panels) :]:
            axes.set_axis_off()
        for axes, (title, panel) in zip(places, panels.items()):
            if grid.is_photograph(panel):
                _show_photograph(axes, panel.values)
            else:
                mappable = _draw(axes, panel, over, limits.get(title), classes[title])
                if mappable is not None:
                    _color_bar(figure, mappable, [axes])
            axes.set_title(title)
            if mark is not None:
                _ring(axes, mark)
        if legend:
            figure.legend(handles=legend, loc="outside lower left", ncol=per_row, columnspacing=1.2, handlelength=1.1)
    return figure


def _panel_summary(panel: xr.DataArray, classes: ClassList) -> str:
    if grid.is_photograph(panel):
        return f"photograph, {panel.sizes['row']} x {panel.sizes['col']} pixels"
    if grid.is_color_map(panel):
        red, green, blue = panel.values.mean(axis=(0, 1)) / 255
        size = f"{panel.sizes['y']} x {panel.sizes['x']}"
        return f"colours, {size} cells, on average red {red:.2f}, green {green:.2f}, blue {blue:.2f}"
    return summarize(panel, classes)


def _draw(axes: Axes, map: xr.DataArray, over, limits, classes: ClassList):
    """Draw `map` on `axes`; returns what the colour bar is made from, None for a map of classes or of colours."""
    top, left, bottom, right = grid.extent(map, over)
    place = dict(extent=(left, right, bottom, top), interpolation="nearest", aspect="equal")
    opacity = 1.0
    if over is not None and "image" in over and not grid.is_color_map(map):  # colours are to be compared: not mixed
        _show_photograph(axes, over["image"].values, grey=True)
        opacity = theme.MAP_OPACITY
    values = map.values
    if grid.is_color_map(map):
        missing, mappable = np.zeros(values.shape[:2], bool), None
        axes.imshow(values, **place)
    elif grid.is_class_map(map):
        missing, mappable = values == IGNORE_INDEX, None
        shown = np.ma.masked_array(values, missing)
        colors = ListedColormap([to_rgb(color) for color in classes.colors])
        axes.imshow(shown, cmap=colors, vmin=-0.5, vmax=len(classes) - 0.5, alpha=opacity, **place)
    else:
        missing = ~np.isfinite(values)
        limits = limits if limits is not None else grid.color_limits([map])
        shown = np.ma.masked_array(values.astype(float), missing)
        mappable = axes.imshow(shown, cmap=grid.colors_for(limits), norm=Normalize(*limits), alpha=opacity, **place)
    if missing.any() and grid.empty_name(map) == "ignored":
        axes.imshow(_hatched(missing), **place)
    if over is not None and "image" in over:
        axes.set(xlim=(0, over.sizes["col"]), ylim=(over.sizes["row"], 0))
    _bare(axes)
    return mappable


def _show_photograph(axes: Axes, image: np.ndarray, *, grey: bool = False) -> None:
    height, width = image.shape[:2]
    place = dict(extent=(0, width, height, 0), interpolation="antialiased", aspect="equal")
    if grey:
        axes.imshow(image @ np.array([0.299, 0.587, 0.114]), cmap="gray", vmin=-theme.GREY_LIFT, vmax=255, **place)
    else:
        axes.imshow(image, **place)
    _bare(axes)


def _bare(axes: Axes) -> None:
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _hatched(missing: np.ndarray) -> np.ndarray:
    """Grey diagonal stripes as RGBA where `missing`, transparent elsewhere."""
    cells = missing.repeat(_STRIPES, axis=0).repeat(_STRIPES, axis=1)
    row, col = np.indices(cells.shape)
    stripe = (row + col) % _STRIPES < 2
    rgba = np.zeros((*cells.shape, 4))
    rgba[cells] = (0.9, 0.9, 0.9, 0.45)
    rgba[cells & stripe] = (0.45, 0.47, 0.5, 0.9)
    return rgba


def _ring(axes: Axes, position: tuple[float, float]) -> None:
    y, x = position
    for color, width in (("white", 2.6), (theme.INK, 1.1)):
        axes.plot(
            [x], [y], marker="o", markersize=9, markerfacecolor="none", markeredgecolor=color, markeredgewidth=width
        )


def _color_bar(figure, mappable, axes: list[Axes]) -> None:
    bar = figure.colorbar(mappable, ax=axes, shrink=0.82, aspect=26, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.locator_params(nbins=5)


def _legend(maps: list[xr.DataArray], classes: ClassList) -> list[Patch]:
    """A patch for each class that occurs in `maps`, the most frequent first, and one for ignored cells.

    Of very many classes only the first have a patch, and how many more there are is said.
    """
    if not maps:
        return []
    values = np.concatenate([m.values[m.values != IGNORE_INDEX] for m in maps])
    counts = np.bincount(values, minlength=len(classes))
    present = sorted(np.flatnonzero(counts), key=lambda k: (-counts[k], k))
    handles = [
        Patch(facecolor=classes.colors[k], edgecolor=theme.HAIRLINE, label=classes.names[k])
        for k in present[:_LONGEST_LEGEND]
    ]
    if len(present) > _LONGEST_LEGEND:
        handles.append(Patch(facecolor="none", edgecolor="none", label=f"and {len(present) - _LONGEST_LEGEND} more"))
    if any((m.values == IGNORE_INDEX).any() and grid.empty_name(m) == "ignored" for m in maps):
        handles.append(Patch(facecolor="#e9e9e9", edgecolor=theme.QUIET, hatch="////", label="ignored"))
    return handles
