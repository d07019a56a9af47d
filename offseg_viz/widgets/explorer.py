"""`AlignmentExplorer`: choose an image, a class, a stage and models; linked panels; a click gives a pixel's numbers."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import ipywidgets
import numpy as np
import traitlets
import xarray as xr

from offseg_viz.classes import IGNORE_INDEX
from offseg_viz.errors import RecordError, UnknownNameError
from offseg_viz.export import write_interactive
from offseg_viz.plot import grid, theme
from offseg_viz.plot.figure import below_each_other
from offseg_viz.plot.maps import plot_panels
from offseg_viz.plot.summary import class_shares, value_range
from offseg_viz.record import class_list
from offseg_viz.widgets.alignment_views import STAGE_CHOICES, AlignmentViews, Panel, views_by_model
from offseg_viz.widgets.class_numbers import class_html, class_numbers, class_text
from offseg_viz.widgets.explorer_controls import NO_OTHER, control_rows, explorer_inputs
from offseg_viz.widgets.pixel_map import PixelMap
from offseg_viz.widgets.pixel_place import cell_of, centre_of, checked_position
from offseg_viz.widgets.readout import legend_html, pixel_numbers, readout_html, readout_text
from offseg_viz.widgets.view import View, shown_errors

IMAGE_PANELS = ("photograph", "label")
MODEL_PANELS = ("prediction", "similarity", "offset", "attention")
_STILL_DPI = 72
_SAVED_IMAGES = 4


class AlignmentExplorer(View):
    """Photograph, label, prediction, similarity to one class, feature offset and class attention, linked.

    A click into any panel, or the arrow keys on a focused one, selects a pixel: all panels mark it and a table lists
    its label, predictions, cosines to the nearest classes before and after the refinement, and its offset. A second
    table has the figures of the chosen class in this image. Zoom and pan are common to all panels. The similarity panel
    keeps one colour scale for all classes, both stages and their difference, so that they can be compared by eye. A
    second model can be shown below the first, on the same image. Records without offsets, label or photograph work too
    and say what they lack.

    Parameters
    ----------
    records : RecordStore, iterable of records, or mapping of model names to either
        Read one image at a time. Of several models the images that all of them have are shown.
    image, cls : str, optional
        Where to begin: the first image and its most frequent class.
    stage : {"initial", "aligned", "aligned - initial"}
    model, other : str, optional
        The model that is shown, by default the first, and one to be compared with it.
    pixel : (y, x), optional

    Attributes
    ----------
    image, cls, stage, model, other : str
        The choices; they can be set, and the panels follow. `other` is "" for none.
    pixel : (y, x) or None
        The selected position in pixels of the image; after a click, the centre of the grid cell.
    opacity : float
        Of the maps over the photograph, 0 to 1.
    smooth, contours : bool
        Bilinear enlargement in place of visible cells; lines at a quarter, half and three quarters of a colour scale.

    Raises
    ------
    UnknownNameError
        If an image, class, stage or model is set that is not there; the message lists those that are.
    RecordError
        If there is no record, no image that all models have, or `pixel` lies outside of the image.
    """

    image = traitlets.Unicode()
    cls = traitlets.Unicode()
    stage = traitlets.Unicode("aligned")
    model = traitlets.Unicode()
    other = traitlets.Unicode(NO_OTHER)
    pixel = traitlets.Any(None)
    opacity = traitlets.Float(theme.MAP_OPACITY, min=0, max=1)
    smooth = traitlets.Bool(False)
    contours = traitlets.Bool(False)

    def __init__(
        self,
        records: Iterable[xr.Dataset] | Mapping[str, Iterable[xr.Dataset]],
        *,
        image: str | None = None,
        cls: str | None = None,
        stage: str = "aligned",
        model: str | None = None,
        other: str | None = None,
        pixel: tuple[float, float] | None = None,
    ):
        self._views = views_by_model(records)
        self._ids = _common_images(self._views)
        models = list(self._views)
        first, shown = image if image is not None else self._ids[0], model if model is not None else models[0]
        self._check("image", first, self._ids)
        self._check("model", shown, models)
        record = self._views[shown].record(first)
        self._inputs = explorer_inputs(self._ids, class_list(record).names, models)
        self._panels = {name: PixelMap(over=record, title=name) for name in (*IMAGE_PANELS, *MODEL_PANELS)}
        self._other_panels = {name: PixelMap(title=name) for name in MODEL_PANELS}
        self._legend, self._class_readout, self._readout = (ipywidgets.HTML() for _ in range(3))
        self._grids = [ipywidgets.GridBox(layout={"grid_gap": "12px 18px", "margin": "3px 0"}) for _ in range(3)]
        maps = ipywidgets.VBox([*self._grids, self._legend], layout={"flex": "1 1 420px", "min_width": "0"})
        self._tables = ipywidgets.VBox([self._class_readout, self._readout], layout={"min_width": "0"})
        rows = control_rows(self._inputs, alone=len(models) == 1)
        whole = ipywidgets.HBox([maps, self._tables], layout={"flex_flow": "row wrap", "grid_gap": "18px"})
        super().__init__([*rows, whole])
        self.image, self.model = first, shown
        self.cls = cls if cls is not None else _most_frequent(record, self._shown.prediction(first, "initial"))
        self.stage, self.pixel, self.other = stage, pixel, NO_OTHER if other is None else other
        for trait, part in self._inputs.items():
            traitlets.link((self, trait), (part, "value"))
        maps = [*self._panels.values(), *self._other_panels.values()]
        for panel in maps:
            panel.observe(self._select, names="selected")
            traitlets.dlink((self, "opacity"), (panel, "opacity"))
            traitlets.dlink((self, "smooth"), (panel, "smooth"))
        self._joined = [ipywidgets.jslink((maps[0], "part"), (panel, "part")) for panel in maps[1:]]
        self._ready = True
        self._show()

    @property
    def _shown(self) -> AlignmentViews:
        return self._views[self.model]

    @traitlets.validate("image", "model", "cls", "stage", "other")
    def _valid_name(self, proposal):
        name = proposal.trait.name
        valid = {
            "image": self._ids,
            "model": tuple(self._views),
            "other": (NO_OTHER, *self._views),
            "stage": STAGE_CHOICES,
        }
        choices = valid[name] if name != "cls" else class_list(self._shown.record(self.image)).names
        return self._check("class" if name == "cls" else name.replace("other", "model"), proposal.value, choices)

    @staticmethod
    def _check(what: str, value: str, valid: Iterable[str]) -> str:
        if value not in valid:
            raise UnknownNameError(what, value, tuple(name for name in valid if name))
        return value

    @traitlets.validate("pixel")
    def _valid_pixel(self, proposal):
        return checked_position(proposal.value, self._shown.record(self.image))

    @traitlets.observe("image", "model")
    @shown_errors
    def _record_changed(self, change):
        if not self._ready:
            return
        record, chosen, position = self._shown.record(self.image), self.cls, self.pixel
        self._ready = False
        try:
            names = class_list(record).names
            if tuple(self._inputs["cls"].options) != names:
                self._inputs["cls"].options = names
                self.cls = chosen if chosen in names else names[0]
            if not _cell(record, position):
                self.pixel = None
        finally:
            self._ready = True
        if change.name == "image":
            self._panels["photograph"].part = []
        self._show()

    @traitlets.observe("cls", "stage", "other", "contours")
    @shown_errors
    def _choice_changed(self, change):
        if self._ready:
            self._show()

    @traitlets.observe("pixel")
    @shown_errors
    def _pixel_changed(self, change):
        if self._ready:
            self._show_pixel()

    @shown_errors
    def _select(self, change):
        if not self._ready:
            return
        record = self._record_of(change.owner)
        if not change.new:
            self.pixel = None
        elif list(change.new) != list(_cell(record, self.pixel)):
            self.pixel = centre_of(change.new, record)

    def _record_of(self, panel: PixelMap) -> xr.Dataset:
        views = self._views[self.other] if panel in self._other_panels.values() else self._shown
        return views.record(self.image)

    def _models(self) -> dict[str, tuple[AlignmentViews, dict[str, PixelMap]]]:
        """The models that are shown, with their views and maps."""
        shown = {self.model: (self._shown, self._panels)}
        return (
            shown
            if self.other in (NO_OTHER, self.model)
            else shown | {self.other: (self._views[self.other], self._other_panels)}
        )

    def _panels_of(self, name: str, views: AlignmentViews) -> dict[str, Panel]:
        """The panels of a model; where there are two, titles name it and their similarities share a scale."""
        panels, models = views.panels(self.image, self.stage, self.cls), self._models()
        if len(models) == 1:
            return panels
        reach = max(shown.limits(self.image)[1] for shown, _ in models.values())
        panels["similarity"] = panels["similarity"]._replace(limits=(-reach, reach))
        titled = {key: panels[key]._replace(title=f"{name}: {panels[key].title}") for key in MODEL_PANELS}
        return panels | titled if name == self.model else titled

    def _show(self) -> None:
        """Bring everything in line with the choices."""
        models = self._models()
        for name, (views, maps) in models.items():
            record = views.record(self.image)
            for key, panel in self._panels_of(name, views).items():
                maps[key].show(panel.map, over=record, title=panel.title, limits=panel.limits, message=panel.message)
                ends = maps[key].limits if self.contours else []
                maps[key].levels = [ends[0] + (ends[1] - ends[0]) * at for at in (0.25, 0.5, 0.75)] if ends else []
        numbers = {name: class_numbers(views, self.image, self.cls) for name, (views, _) in models.items()}
        self._class_readout.value = class_html(numbers, cls=self.cls, image=self.image)
        self._arrange(two=len(models) == 2)
        self._legend.value = legend_html(*self._present_classes())
        self._show_pixel()

    def _arrange(self, *, two: bool) -> None:
        """One model in a grid with the image; two in a row each, of narrower maps, so that like stands below like."""
        photograph, label, *own = self._panels.values()
        rows = [(photograph, label), own, self._other_panels.values()] if two else [(photograph, label, *own), (), ()]
        for box, maps in zip(self._grids, rows, strict=True):
            box.layout.grid_template_columns = f"repeat(auto-fill, minmax({150 if two else 220}px, 1fr))"
            box.layout.display = None if maps else "none"
            box.children = tuple(maps)
        self._tables.layout.flex = f"0 1 {350 if two else 300}px"

    def _present_classes(self) -> tuple[list[str], list[str]]:
        """Names and colours of the classes in the label or a prediction of the image, in label order."""
        record = self._shown.record(self.image)
        maps = [self._shown.prediction(self.image, stage).values for stage in ("initial", "aligned")]
        values = np.unique(np.concatenate(maps + ([record["label"].values] if "label" in record else [])))
        chosen = values[values != IGNORE_INDEX]
        return [str(name) for name in record["cls"].values[chosen]], [str(c) for c in record["color"].values[chosen]]

    def _show_pixel(self) -> None:
        for views, maps in self._models().values():
            cell = list(_cell(views.record(self.image), self.pixel))
            for panel in maps.values():
                panel.selected = cell
        self._readout.value = readout_html(self._pixel_numbers(), pixel=self.pixel, cls=self.cls)

    def _pixel_numbers(self):
        cell = _cell(self._shown.record(self.image), self.pixel)
        return pixel_numbers(self._shown, self.image, cell, self.cls) if cell else None

    @property
    def summary(self) -> str:
        at = "none" if self.pixel is None else f"(y {self.pixel[0]:.0f}, x {self.pixel[1]:.0f})"
        models = self._models()
        beside = f", beside it {self.other}" if len(models) == 2 else ""
        lines = [
            f"AlignmentExplorer: image {self.image} ({self._ids.index(self.image) + 1} of {len(self._ids)}), "
            f"class {self.cls}, stage {self.stage}, pixel {at}, model {self.model}{beside}"
        ]
        for name, (views, _) in models.items():
            record = views.record(self.image)
            for panel in self._panels_of(name, views).values():
                if panel.map is None:
                    if panel.message:
                        lines.append(f"  {panel.title}: {panel.message}")
                elif grid.is_class_map(panel.map):
                    shares = class_shares(panel.map.values, class_list(record), empty_name=grid.empty_name(panel.map))
                    lines.append(f"  {panel.title}: {shares}")
                else:
                    lines.append(f"  {panel.title}: {value_range(panel.map.values)}")
            lines.append(f"  {self.cls}, {name}: {class_text(class_numbers(views, self.image, self.cls))}")
        numbers = self._pixel_numbers()
        return "\n".join(lines if numbers is None else [*lines, f"  pixel: {readout_text(numbers, self.cls)}"])

    def still(self) -> bytes:
        """The panels as they are now, those of a second model below, as the bytes of a PNG file."""
        pictures = []
        for name, (views, _) in self._models().items():
            record, panels = views.record(self.image), self._panels_of(name, views)
            maps = {panel.title: panel.map for panel in panels.values() if panel.map is not None}
            if "photograph" in panels and "image" in record:
                maps = {"photograph": record["image"]} | maps
            limits = {panel.title: panel.limits for panel in panels.values() if panel.limits is not None}
            mark = self.pixel if _cell(record, self.pixel) else None
            pictures.append(plot_panels(maps, over=record, limits=limits, mark=mark).png(dpi=_STILL_DPI))
        return below_each_other(pictures)

    def save(
        self,
        path: str | Path,
        *,
        images: Sequence[str] | None = None,
        title: str | None = None,
        notes: str | None = None,
    ) -> Path:
        """Write some images of the shown model as one HTML file that can be explored without a kernel or a network.

        Parameters
        ----------
        path : the file; it is written whole or not at all.
        images : at most 12 ids; by default the image that is shown and the three after it.
        title, notes : text of your own at the top; see `write_interactive`, which also says what it raises.
        """
        first = self._ids.index(self.image)
        chosen = list(images if images is not None else self._ids[first : first + _SAVED_IMAGES])
        for name in chosen:
            self._check("image", name, self._ids)
        records = [self._shown.record(name) for name in chosen]
        title = f"{self.model}: feature and class alignment" if title is None else title
        return write_interactive(records, path, title=title, notes=notes)

    def _release(self) -> None:
        self._views = {}
        for part in (*self._joined, *self._other_panels.values()):  # no parts of this view, or not always
            part.close()


def _common_images(views: Mapping[str, AlignmentViews]) -> tuple[str, ...]:
    """Images of the first model that all others have too."""
    first, *others = (each.ids for each in views.values())
    common = tuple(name for name in first if all(name in ids for ids in others))
    if not common:
        raise RecordError(
            f"found no image that all of {', '.join(views)} have, needed at least one: extract the same samples"
        )
    return common


def _cell(record: xr.Dataset, pixel: tuple[float, float] | None) -> tuple[int, int] | tuple[()]:
    """Row and column of the grid cell that a position lies in; () without one, or where this record ends before it."""
    try:
        return () if checked_position(pixel, record) is None else cell_of(pixel, record)
    except RecordError:  # the images of two models may end at different places
        return ()


def _most_frequent(record: xr.Dataset, predicted: xr.DataArray) -> str:
    """Name of the class with the most pixels in the label; in the prediction where there is no label."""
    values = record["label"].values if "label" in record else predicted.values
    kept = values[values != IGNORE_INDEX]
    return str(record["cls"].values[np.bincount(kept).argmax() if kept.size else 0])
