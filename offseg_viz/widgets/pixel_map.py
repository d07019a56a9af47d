"""`PixelMap`: one map over its photograph on a small canvas of our own, with a cell to be selected.

One byte a grid cell crosses the wire; colours, enlargement, contours and zoom are done in the browser
(`pixel_map.js`). Nothing is loaded from a network.
"""

from io import BytesIO
from pathlib import Path

import anywidget
import numpy as np
import traitlets
import xarray as xr
from PIL import Image

from offseg_viz.classes import IGNORE_INDEX
from offseg_viz.plot import grid, theme
from offseg_viz.plot.maps import plot_panels
from offseg_viz.plot.summary import summarize
from offseg_viz.record import class_list
from offseg_viz.widgets.pixel_place import centre_of

_CSS = """
.offseg-map { display: flex; flex-direction: column; min-width: 0; font-size: 12px; line-height: 1.35;
  color: var(--jp-content-font-color1, #22262b); }
.offseg-map-title { font-weight: 600; margin-bottom: 3px; overflow: hidden; overflow-wrap: anywhere;
  display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 2; }
.offseg-map-canvas { display: block; width: 100%; border-radius: 3px; cursor: crosshair; }
.offseg-map-canvas[data-drawing="true"] { cursor: cell; }
.offseg-map-canvas:focus { outline: none; }
.offseg-map-canvas:focus-visible { outline: 3px solid var(--jp-brand-color1, #1976d2); outline-offset: 2px; }
.offseg-map-scale { display: flex; align-items: center; gap: 6px; padding-top: 4px; font-size: 11px;
  font-variant-numeric: tabular-nums; }
.offseg-map-bar { flex: 1; height: 7px; border-radius: 3px; }
.offseg-map-readout { min-height: 1.35em; font-size: 11px; font-variant-numeric: tabular-nums;
  color: var(--jp-content-font-color2, #5b6470); }
"""


class PixelMap(anywidget.AnyWidget):
    """A map (y, x) or a bare photograph on a canvas; a click or the arrow keys select a grid cell.

    Wheel (once the canvas has been clicked) or ``+`` and ``-`` zoom, dragging moves a zoomed picture, ``0`` shows all
    of it, Escape clears the selection.

    Parameters
    ----------
    map : DataArray (y, x), optional
        A float map or an integer map of classes, as for `plot_map`, or colours (y, x, rgb) uint8; without it the
        photograph alone is shown.
    over : Dataset
        The record it was made from.
    title : str
        Heading, read aloud too.
    limits : (low, high), optional
        Ends of the colour scale, to compare maps; by default the map's own range.

    Attributes
    ----------
    selected, hovered : list
        ``[row, col]`` of the selected grid cell and of the one under the pointer, ``[]`` for none. Both can be set;
        `hovered` follows the pointer while `hover` is true.
    opacity : float
        Of the map over its photograph, 0 to 1.
    smooth : bool
        Bilinear enlargement in place of visible cells.
    levels : list of float
        Values at which contours are drawn.
    part : list of float
        Top, left, bottom and right of what is shown of the picture, in its pixels; ``[]`` for all of it. Link it
        between maps with `traitlets.link` or `ipywidgets.jslink`, and they zoom together.
    lit : bytes
        One byte a cell, row by row; the other cells are darkened where it is not empty.
    drawing : bool
        While true, dragging draws round a region.
    region : bytes
        One byte a cell, 1 within the region that was drawn; empty for none.
    arrows : list of [x, y, x, y]
        Drawn from the first place to the second, in pixels of the picture.
    """

    # As text: anywidget watches a path for changes, with a reference to every widget that ever was.
    _esm = Path(__file__).with_name("pixel_map.js").read_text(encoding="utf-8")
    _css = _CSS

    image = traitlets.Bytes().tag(sync=True)
    size = traitlets.List(traitlets.Int()).tag(sync=True)
    extent = traitlets.List(traitlets.Float()).tag(sync=True)
    shape = traitlets.List(traitlets.Int()).tag(sync=True)
    cells = traitlets.Bytes().tag(sync=True)
    table = traitlets.Bytes().tag(sync=True)
    limits = traitlets.List(traitlets.Float()).tag(sync=True)
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    empty_name = traitlets.Unicode("ignored").tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)
    message = traitlets.Unicode().tag(sync=True)
    opacity = traitlets.Float(theme.MAP_OPACITY, min=0, max=1).tag(sync=True)
    smooth = traitlets.Bool(False).tag(sync=True)
    selected = traitlets.List(traitlets.Int()).tag(sync=True)
    hover = traitlets.Bool(False).tag(sync=True)
    hovered = traitlets.List(traitlets.Int()).tag(sync=True)
    levels = traitlets.List(traitlets.Float()).tag(sync=True)
    part = traitlets.List(traitlets.Float()).tag(sync=True)
    lit = traitlets.Bytes().tag(sync=True)
    drawing = traitlets.Bool(False).tag(sync=True)
    region = traitlets.Bytes().tag(sync=True, from_json=lambda value, _: bytes(value))  # a memoryview comes in
    arrows = traitlets.List(traitlets.List(traitlets.Float())).tag(sync=True)

    def __init__(
        self,
        map: xr.DataArray | None = None,
        *,
        over: xr.Dataset | None = None,
        title: str = "",
        limits: tuple[float, float] | None = None,
    ):
        super().__init__(title=title)
        self._over, self._panel = None, None
        if over is not None:
            self.show(map, over=over, title=title, limits=limits)

    def show(
        self,
        map: xr.DataArray | None,
        *,
        over: xr.Dataset,
        title: str,
        limits: tuple[float, float] | None = None,
        message: str = "",
    ) -> None:
        """Show another map in place; what did not change does not cross the wire again.

        `message` stands below the picture, for a panel that has nothing to show. A map that does not fit `over` raises
        `RecordError`.
        """
        colored = map is not None and "rgb" in map.dims
        reference = over["feature"].isel(channel=0, drop=True) if map is None else map[..., 0] if colored else map
        if map is not None and not colored:
            grid.check_map(map, over, title or "map")
        self._panel = map if map is not None else over.get("image")
        with self.hold_sync():
            if over is not self._over:
                self._over = over
                self.image = encoded_photograph(over)
            self.size = [round(edge) for edge in grid.picture_size(reference, over)]
            self.extent = list(grid.extent(reference, over))
            self.shape = [over.sizes["y"], over.sizes["x"]]
            self.title, self.message, self.empty_name = title, message, grid.empty_name(reference)
            if map is None or colored:
                self.cells, self.limits, self.names = b"" if map is None else map.values.tobytes(), [], []
            elif grid.is_class_map(map):
                classes = grid.own_classes(map) or class_list(over)
                table = np.zeros((256, 4), dtype=np.uint8)
                table[: len(classes), :3], table[: len(classes), 3] = classes.palette, 255
                self.cells, self.table = map.values.astype(np.uint8).tobytes(), table.tobytes()
                self.limits, self.names = [], list(classes.names)
            else:
                limits = limits if limits is not None else grid.color_limits([map])
                self.cells, self.table = cell_bytes(map, limits), theme.lookup_table(grid.colors_for(limits)).tobytes()
                self.limits, self.names = [float(limits[0]), float(limits[1])], []

    def show_picture(self, picture: np.ndarray, *, title: str, message: str = "") -> None:
        """Show any picture (height, width, 3) uint8 without a grid: nothing can be selected, but `arrows` drawn."""
        self._over, self._panel = None, xr.DataArray(picture, dims=("row", "col", "rgb"))
        with self.hold_sync():
            self.image = encoded(picture, "PNG")
            self.size, self.extent, self.shape = list(picture.shape[:2]), [0, 0, *picture.shape[:2]], [0, 0]
            self.title, self.message, self.cells, self.limits, self.names = title, message, b"", [], []

    @property
    def summary(self) -> str:
        """What is shown, in a line of rounded text."""
        parts = [self.title or "untitled", self.message]
        if self._panel is not None and "rgb" not in self._panel.dims:
            parts.insert(1, summarize(self._panel, grid.own_classes(self._panel) or class_list(self._over)))
        at = f"cell {tuple(self.selected)} selected" if self.selected else ""
        return f"PixelMap: {'; '.join(part for part in (*parts, at) if part)}"

    def still(self) -> bytes | None:
        """The same picture as the bytes of a PNG file; None where there is nothing to draw."""
        if self._panel is None:
            return None
        limits = {self.title: tuple(self.limits)} if self.limits else {}
        mark = centre_of(self.selected, self._over) if self.selected and self._over is not None else None
        return plot_panels({self.title: self._panel}, over=self._over, limits=limits, mark=mark).png()

    def __repr__(self) -> str:
        return self.summary

    def _repr_mimebundle_(self, **kwargs) -> tuple[dict, dict]:
        """The live widget with its `repr`, and a still for where no kernel runs."""
        data, metadata = super()._repr_mimebundle_(**kwargs)
        still = self.still()
        return data if still is None else data | {"image/png": still}, metadata

    def close(self) -> None:
        """Close it and let go of the record."""
        self._over, self._panel = None, None
        super().close()


def cell_bytes(map: xr.DataArray, limits: tuple[float, float]) -> bytes:
    """`map` as one byte a cell: 0 .. 254 from `limits[0]` to `limits[1]`, clipped; 255 where there is no value."""
    low, high = limits
    values = map.values.astype(np.float64)
    steps = np.clip(np.round((np.nan_to_num(values) - low) / (high - low) * 254), 0, 254)
    return np.where(np.isfinite(values), steps, IGNORE_INDEX).astype(np.uint8).tobytes()


def encoded_photograph(record: xr.Dataset) -> bytes:
    """The photograph of a record as the bytes of a JPEG file, empty where the record has none."""
    return encoded(record["image"].values, "JPEG") if "image" in record else b""


def encoded(picture: np.ndarray, format: str) -> bytes:
    """A picture (height, width, 3) uint8 as the bytes of a JPEG or PNG file."""
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, format=format, quality=88)
    return buffer.getvalue()
