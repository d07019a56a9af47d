"""`AlignmentExplorer`: choose an image, a class and a stage; five linked panels; a click gives a pixel's numbers."""

from collections.abc import Iterable

import ipywidgets
import numpy as np
import traitlets
import xarray as xr

from offseg_viz.classes import IGNORE_INDEX
from offseg_viz.errors import RecordError, UnknownNameError
from offseg_viz.plot import grid
from offseg_viz.plot.maps import plot_panels
from offseg_viz.plot.summary import class_shares, value_range
from offseg_viz.record import class_list
from offseg_viz.widgets.alignment_views import STAGE_CHOICES, AlignmentViews
from offseg_viz.widgets.pixel_map import PixelMap
from offseg_viz.widgets.readout import PixelNumbers, legend_html, pixel_numbers, readout_html, readout_text

PANELS = ("photograph", "label", "prediction", "similarity", "offset")
_STILL_DPI = 72


class AlignmentExplorer(ipywidgets.VBox):
    """Photograph, label, prediction, similarity to one class and feature offset of a record, side by side and linked.

    A click into any panel, or the arrow keys on a focused one, selects a pixel: all panels mark it and a table below
    lists its label, predictions, cosines to the nearest classes before and after the refinement, and its offset.
    The similarity panel keeps one colour scale for all classes and both stages of an image, so that classes and stages
    can be compared by eye. A per-pixel model's record works too and says that it has no offsets.

    Parameters
    ----------
    records : RecordStore or iterable of records
        Read one image at a time.
    image, cls : str, optional
        Where to begin: the first image and its most frequent class.
    stage : {"initial", "aligned", "aligned - initial"}
    pixel : (y, x), optional

    Attributes
    ----------
    image, cls, stage : str
        The choices; they can be set, and the panels follow.
    pixel : (y, x) or None
        The selected position in pixels of the image; after a click, the centre of the grid cell.

    Raises
    ------
    UnknownNameError
        If an image, class or stage is set that is not there; the message lists those that are.
    RecordError
        If there is no record, or `pixel` lies outside of the image.
    """

    image = traitlets.Unicode()
    cls = traitlets.Unicode()
    stage = traitlets.Unicode("aligned")
    pixel = traitlets.Any(None)

    def __init__(
        self,
        records: Iterable[xr.Dataset],
        *,
        image: str | None = None,
        cls: str | None = None,
        stage: str = "aligned",
        pixel: tuple[float, float] | None = None,
    ):
        self._views = AlignmentViews(records)
        self._ready = False
        first = image if image is not None else self._views.ids[0]
        self._check_image(first)
        record = self._views.record(first)
        names = class_list(record).names
        wide = {"style": {"description_width": "initial"}, "layout": ipywidgets.Layout(width="auto", min_width="220px")}
        self._image_picker = ipywidgets.Dropdown(options=self._views.ids, value=first, description="Image", **wide)
        self._cls_picker = ipywidgets.Dropdown(options=names, description="Class", **wide)
        self._stage_picker = ipywidgets.ToggleButtons(
            options=STAGE_CHOICES,
            value="aligned",
            description="Stage",
            style={"description_width": "initial", "button_width": "10.5em"},
        )
        self._panels = {name: PixelMap(over=record, title=name) for name in PANELS}
        self._legend = ipywidgets.HTML()
        self._readout = ipywidgets.HTML(layout=ipywidgets.Layout(min_height="150px", margin="6px 0 0 0"))
        row = ipywidgets.Layout(flex_flow="row wrap", grid_gap="4px 20px", align_items="center")
        columns = ipywidgets.Layout(
            grid_template_columns="repeat(auto-fill, minmax(290px, 1fr))", grid_gap="12px 18px", margin="6px 0"
        )
        super().__init__(
            children=[
                ipywidgets.HBox([self._image_picker, self._cls_picker, self._stage_picker], layout=row),
                ipywidgets.GridBox([*self._panels.values(), self._readout], layout=columns),
                self._legend,
            ]
        )
        self.image = first
        self.cls = cls if cls is not None else _most_frequent(record, self._views.prediction(first, "initial"))
        self.stage = stage
        self.pixel = pixel
        for picker, trait in ((self._image_picker, "image"), (self._cls_picker, "cls"), (self._stage_picker, "stage")):
            traitlets.link((self, trait), (picker, "value"))
        for panel in self._panels.values():
            panel.observe(self._select, names="selected")
        self._ready = True
        self._show_panels()
        self._show_pixel()

    @traitlets.validate("image")
    def _valid_image(self, proposal):
        return self._check_image(proposal.value)

    @traitlets.validate("cls")
    def _valid_cls(self, proposal):
        names = class_list(self._views.record(self.image)).names
        if proposal.value not in names:
            raise UnknownNameError("class", proposal.value, names)
        return proposal.value

    @traitlets.validate("stage")
    def _valid_stage(self, proposal):
        if proposal.value not in STAGE_CHOICES:
            raise UnknownNameError("stage", proposal.value, STAGE_CHOICES)
        return proposal.value

    @traitlets.validate("pixel")
    def _valid_pixel(self, proposal):
        if proposal.value is None:
            return None
        try:
            y, x = map(float, proposal.value)
        except (TypeError, ValueError):
            raise RecordError(f"pixel is {proposal.value!r}, needed (y, x) in pixels of the image, or None") from None
        top, left, bottom, right = self._extent()
        if not (top <= y < bottom and left <= x < right):
            inside = f"{top:g} <= y < {bottom:g} and {left:g} <= x < {right:g}"
            raise RecordError(f"pixel (y, x) = ({y:g}, {x:g}) lies outside of {self.image}; needed {inside}")
        return y, x

    def _check_image(self, name: str) -> str:
        if name not in self._views.ids:
            raise UnknownNameError("image", name, self._views.ids)
        return name

    @traitlets.observe("image")
    def _image_changed(self, change):
        if not self._ready:
            return
        record, chosen, position = self._views.record(self.image), self.cls, self.pixel
        self._ready = False
        names = class_list(record).names
        if tuple(self._cls_picker.options) != names:
            self._cls_picker.options = names
            self.cls = chosen if chosen in names else names[0]
        top, left, bottom, right = self._extent()
        if position is not None and not (position[0] < bottom and position[1] < right):
            self.pixel = None
        self._ready = True
        self._show_panels()
        self._show_pixel()

    @traitlets.observe("cls", "stage")
    def _choice_changed(self, change):
        if self._ready:
            self._show_panels()
            self._show_pixel()

    @traitlets.observe("pixel")
    def _pixel_changed(self, change):
        if self._ready:
            self._show_pixel()

    def _select(self, change):
        if not change.new:
            self.pixel = None
        elif list(change.new) != list(self._cell() or ()):
            record, (row, col) = self._views.record(self.image), change.new
            self.pixel = (float(record["y"][row]), float(record["x"][col]))

    def _extent(self) -> tuple[float, float, float, float]:
        record = self._views.record(self.image)
        return grid.extent(record["logits"].isel(cls=0), record)

    def _cell(self) -> tuple[int, int] | None:
        """Grid cell of the selected pixel."""
        if self.pixel is None:
            return None
        record, (top, left, bottom, right) = self._views.record(self.image), self._extent()
        row = int((self.pixel[0] - top) / (bottom - top) * record.sizes["y"])
        col = int((self.pixel[1] - left) / (right - left) * record.sizes["x"])
        return row, col

    def _numbers(self) -> PixelNumbers | None:
        cell = self._cell()
        return None if cell is None else pixel_numbers(self._views, self.image, cell, self.cls)

    def _show_panels(self) -> None:
        record = self._views.record(self.image)
        for name, view in self._views.panels(self.image, self.stage, self.cls).items():
            self._panels[name].show(view.map, over=record, title=view.title, limits=view.limits, message=view.message)

        names, colors = self._present_classes()
        self._legend.value = legend_html(names, colors)

    def _present_classes(self) -> tuple[list[str], list[str]]:
        """Names and colours of the classes in the label or a prediction of the image, in label order."""
        record = self._views.record(self.image)
        maps = [self._views.prediction(self.image, stage).values for stage in ("initial", "aligned")]
        values = np.unique(np.concatenate(maps + ([record["label"].values] if "label" in record else [])))
        chosen = values[values != IGNORE_INDEX]
        return [str(name) for name in record["cls"].values[chosen]], [str(c) for c in record["color"].values[chosen]]

    def _show_pixel(self) -> None:
        cell = list(self._cell() or ())
        for panel in self._panels.values():
            panel.selected = cell
        self._readout.value = readout_html(self._numbers(), pixel=self.pixel, cls=self.cls)

    @property
    def summary(self) -> str:
        """The state in a few lines of text, rounded: what nbval compares."""
        views, record = self._views, self._views.record(self.image)
        at = "none" if self.pixel is None else f"(y {self.pixel[0]:.0f}, x {self.pixel[1]:.0f})"
        lines = [
            f"AlignmentExplorer: image {self.image} ({views.ids.index(self.image) + 1} of {len(views.ids)}), "
            f"class {self.cls}, stage {self.stage}, pixel {at}"
        ]
        for view in views.panels(self.image, self.stage, self.cls).values():
            if view.map is None:
                if view.message:
                    lines.append(f"  {view.title}: {view.message}")
            elif grid.is_class_map(view.map):
                shares = class_shares(view.map.values, class_list(record), empty_name=grid.empty_name(view.map))
                lines.append(f"  {view.title}: {shares}")
            else:
                lines.append(f"  {view.title}: {value_range(view.map.values)}")
        numbers = self._numbers()
        return "\n".join(lines if numbers is None else [*lines, f"  pixel: {readout_text(numbers, self.cls)}"])

    def __repr__(self) -> str:
        return self.summary if self._ready else type(self).__name__

    def still(self) -> bytes:
        """The panels as they are now, as the bytes of a PNG file."""
        record, views = self._views.record(self.image), self._views.panels(self.image, self.stage, self.cls)
        maps = {view.title: view.map for view in views.values() if view.map is not None}
        if "image" in record:
            maps = {"photograph": record["image"]} | maps
        limits = {view.title: view.limits for view in views.values() if view.limits is not None}
        return plot_panels(maps, over=record, limits=limits, mark=self.pixel).png(dpi=_STILL_DPI)

    def _repr_mimebundle_(self, **kwargs) -> dict:
        """The live widget, a still for where no kernel runs, and the summary."""
        bundle = super()._repr_mimebundle_(**kwargs) or {}
        return bundle | {"image/png": self.still(), "text/plain": self.summary}


def _most_frequent(record: xr.Dataset, predicted: xr.DataArray) -> str:
    """Name of the class with the most pixels in the label; in the prediction where there is no label."""
    values = record["label"].values if "label" in record else predicted.values
    kept = values[values != IGNORE_INDEX]
    return str(record["cls"].values[np.bincount(kept).argmax() if kept.size else 0])
