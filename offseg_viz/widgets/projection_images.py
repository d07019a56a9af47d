"""The images beside a projection: selected pixels are lit on them, and a region drawn on one selects its pixels."""

from collections.abc import Callable, Iterable

import ipywidgets
import numpy as np
import xarray as xr

from offseg_viz.analyze.table_pixels import cells_on
from offseg_viz.errors import RecordError
from offseg_viz.record import refuse_queries
from offseg_viz.widgets.pixel_map import PixelMap

MOST_IMAGES = 6
_UNREAD = ("feature", "feature_offset", "class_embedding", "class_offset", "logits", "logit_bias", "logit_gain")


class ProjectionImages:
    """A few `PixelMap`s in a grid, `box`, that show images of a table.

    Parameters
    ----------
    table : Dataset
        The pixel table, or its projection.
    records : RecordStore or sequence of records
        Those that the table was made from; only photographs and labels are read.
    numbers : array (pixel,)
        Number of the image of each pixel, along `image` of the table.
    on_region : function
        Called with the numbers of the pixels in a region that was drawn; with none of them for a region taken away.

    Raises
    ------
    RecordError
        If there is no record of an image of the table.
    """

    def __init__(self, table: xr.Dataset, records, numbers: np.ndarray, *, on_region: Callable[[np.ndarray], None]):
        self._records, self._numbers, self._on_region = records, numbers, on_region
        self._y, self._x = table["y"].values, table["x"].values
        self.ids = [str(name) for name in table["image"].values]
        self._place = _places_of(self.ids, records)
        self._quiet = False
        self._maps = [PixelMap() for _ in range(min(MOST_IMAGES, len(self.ids)))]
        self._shown: dict[str, tuple[PixelMap, np.ndarray, np.ndarray]] = {}  # with pixels and cells of the image
        for map in self._maps:
            map.layout.display = "none"
            map.observe(self._drawn, names="region")
        columns = "repeat(auto-fill, minmax(165px, 1fr))"
        self.box = ipywidgets.GridBox(
            layout=ipywidgets.Layout(grid_template_columns=columns, grid_gap="8px 14px", align_content="flex-start")
        )

    def show(self, names: Iterable[str]) -> None:
        """Show these images, in this order; what is shown already is not read again."""
        names = list(names)
        self._renew(None)
        kept = {name: self._shown[name] for name in names if name in self._shown}
        used = [map for map, *_ in kept.values()]
        free = [map for map in self._maps if map not in used]
        for name in names:
            if name not in kept:
                kept[name] = self._read(name, free.pop(0))
        for map in free:
            map.layout.display = "none"
        self._shown = {name: kept[name] for name in names}
        self.box.children = [*(map for map, *_ in self._shown.values()), *free]

    def light(self, selection: np.ndarray) -> None:
        """Light the cells of the selected pixels; with none selected all images are as they are."""
        chosen = np.zeros(len(self._numbers), dtype=bool)
        chosen[selection] = True
        for name, (map, pixels, cells) in self._shown.items():
            lit = np.zeros(map.shape[0] * map.shape[1], dtype=np.uint8)
            own = chosen[pixels]
            lit[cells[own]] = 1
            count = f"{own.sum():,} of {len(pixels):,}" if len(selection) else f"{len(pixels):,} pixels"
            with map.hold_sync():
                map.title, map.lit = f"{name} · {count}", lit.tobytes() if len(selection) else b""

    def draw_regions(self, drawing: bool) -> None:
        """Whether dragging on an image draws round a region."""
        for map in self._maps:
            map.drawing = drawing

    def forget_regions(self) -> None:
        """Take away regions that were drawn; the selection stays."""
        self._renew(None)

    def close(self) -> None:
        """Close the maps, and let go of the records."""
        for map in self._maps:
            map.unobserve(self._drawn, names="region")
            map.close()
        self._records, self._shown, self._maps = (), {}, []

    def _read(self, name: str, map: PixelMap) -> tuple[PixelMap, np.ndarray, np.ndarray]:
        record = self._record(name)
        pixels = np.flatnonzero(self._numbers == self.ids.index(name))
        cells = cells_on(record, self._y[pixels], self._x[pixels])
        with map.hold_sync():
            map.lit, map.part, map.selected = b"", [], []
            if "image" in record:
                map.show(None, over=record, title=name)
            else:
                map.show(record.get("label"), over=record, title=name, message="the record has no photograph")
            map.layout.display = None
        return map, pixels, cells

    def _record(self, name: str) -> xr.Dataset:
        """Photograph, label and grid of an image."""
        place = self._place[name]
        if hasattr(self._records, "load"):
            record = self._records.load(place, leave_out=_UNREAD)
        else:
            record = self._records[place].drop_vars(_UNREAD, errors="ignore")
        refuse_queries(record, "the projection explorer", name=name)
        # a photograph is laid out by the grid of `feature`, of which a single zero will do
        grid = np.broadcast_to(np.float32(0), (record.sizes["y"], record.sizes["x"], 1))
        return record.assign(feature=(("y", "x", "channel"), grid))

    def _drawn(self, change) -> None:
        if self._quiet:
            return
        map, pixels, cells = next(shown for shown in self._shown.values() if shown[0] is change.owner)
        self._renew(map)
        inside = np.frombuffer(change.new, dtype=np.uint8)
        self._on_region(pixels[inside[cells] > 0] if inside.size else pixels[:0])

    def _renew(self, kept: PixelMap | None) -> None:
        """Take away the regions of all maps but one, which changes no selection."""
        self._quiet = True
        for map in self._maps:
            if map is not kept:
                map.region = b""
        self._quiet = False


def _places_of(ids: list[str], records) -> dict[str, str | int]:
    """How each image of the table is asked for among the records: by its id in a store, by its number in a list."""
    known = getattr(records, "ids", None)
    if known is None:
        known = [str(record.attrs["sample"]) for record in records]
    lost = [name for name in ids if name not in set(known)]
    if lost:
        raise RecordError(
            f"found no record of {', '.join(lost[:8])}{' ...' if len(lost) > 8 else ''}; give the records that the "
            f"table was made from ({', '.join(list(known)[:8])} ... are here)"
        )
    if hasattr(records, "load"):
        return {name: name for name in ids}
    return {name: list(known).index(name) for name in ids}
