"""`FeatureField`: the features themselves, seen as colours that mean the same at both stages and in all images."""

from collections.abc import Iterable

import ipywidgets
import traitlets
import xarray as xr

from offseg_viz.analyze.feature_colors import feature_color_basis, feature_colors, visible_offset
from offseg_viz.errors import RecordError, UnknownNameError
from offseg_viz.plot.maps import plot_panels
from offseg_viz.plot.summary import value_range
from offseg_viz.record import has_offsets
from offseg_viz.terms import STAGES
from offseg_viz.widgets.alignment_views import AlignmentViews
from offseg_viz.widgets.feature_readout import Field, axes_text, field_html, pixel_text, shares_text
from offseg_viz.widgets.pixel_map import PixelMap
from offseg_viz.widgets.pixel_place import centre_of, checked_cell
from offseg_viz.widgets.view import View, shown_errors

PANELS = ("photograph", "initial", "aligned", "offset", "flip")
_NO_OFFSETS = "none: the record is of a per-pixel model, both stages are the same"
_STILL_DPI = 72


class FeatureField(View):
    """Features as false colours: photograph, both stages side by side, and how far dE moves each pixel among them.

    The three axes of most variance of all images and both stages become lightness, blue to yellow and green to red (see
    `feature_color_basis`), so a colour means the same in every panel and every image. The last panel shows one stage
    at a time: flip between them, and the eye finds what changes. A click into a panel marks the pixel in all of them.

    Parameters
    ----------
    records : record, RecordStore or iterable of records
        Of one model. All of them are read once for the axes, then one at a time.
    image : str, optional
        Where to begin: the first image.
    stage : {"initial", "aligned"}
        Shown in the last panel.
    basis : Dataset, optional
        A `feature_color_basis`, where it is made already: nothing is read for it.

    Attributes
    ----------
    image, stage : str
        The choices; they can be set, and the panels follow.
    opacity : float
        Of the colours over the photograph, 0 to 1.
    smooth : bool
        Bilinear enlargement in place of visible cells.
    selected : list
        ``[row, col]`` of the marked grid cell, ``[]`` for none.
    basis : Dataset
        The axes, and the ends of their scales.

    Raises
    ------
    UnknownNameError
        If an image or stage is set that is not there.
    RecordError
        If there is no record, one is of mask classification, records do not fit each other or are not finite.
    """

    image = traitlets.Unicode()
    stage = traitlets.Unicode("aligned")
    opacity = traitlets.Float(1.0)
    smooth = traitlets.Bool(False)
    selected = traitlets.List(traitlets.Int())

    def __init__(
        self,
        records: xr.Dataset | Iterable[xr.Dataset],
        *,
        image: str | None = None,
        stage: str = "aligned",
        basis: xr.Dataset | None = None,
    ):
        records = [records] if isinstance(records, xr.Dataset) else records
        records = records if hasattr(records, "__getitem__") else list(records)
        self._views = AlignmentViews(records)
        first = self._check_image(image if image is not None else self._views.ids[0])
        self._views.record(first)  # of queries: refused before all the others are read
        self.basis = basis if basis is not None else feature_color_basis(records)
        self._maps: dict[str, tuple[str, xr.DataArray | None]] = {}
        self._panels = {name: PixelMap(title=name) for name in PANELS}
        self._readout = ipywidgets.HTML()
        self._inputs = self._controls(first)
        columns = ipywidgets.Layout(
            grid_template_columns="repeat(auto-fill, minmax(270px, 1fr))", grid_gap="10px 18px", margin="8px 0 0 0"
        )
        row = ipywidgets.Layout(flex_flow="row wrap", grid_gap="2px 20px", align_items="center")
        super().__init__(
            [
                ipywidgets.HBox(list(self._inputs.values()), layout=row),
                ipywidgets.GridBox([*self._panels.values(), self._readout], layout=columns),
            ]
        )
        self.image, self.stage = first, stage
        start, *others = self._panels.values()
        self._joined = [ipywidgets.jslink((start, "part"), (panel, "part")) for panel in others]
        self._links = [traitlets.link((self, name), (part, "value")) for name, part in self._inputs.items()]
        self._links += [traitlets.link((self, "selected"), (panel, "selected")) for panel in self._panels.values()]
        self._links += [traitlets.link((self, "smooth"), (panel, "smooth")) for panel in self._panels.values()]
        self._links += [traitlets.link((self, "opacity"), (self._panels[name], "opacity")) for name in PANELS[1:]]
        self._show()
        self._ready = True

    def _controls(self, first: str) -> dict[str, ipywidgets.Widget]:
        wide = {"description_width": "initial"}
        return {
            "image": ipywidgets.Dropdown(
                options=self._views.ids,
                value=first,
                description="Image",
                style=wide,
                layout=ipywidgets.Layout(width="auto", min_width="220px"),
            ),
            "stage": ipywidgets.ToggleButtons(
                options=STAGES,
                value="aligned",
                description="Flip to",
                style=wide | {"button_width": "6em"},
                layout=ipywidgets.Layout(width="auto", display="flex", align_items="center"),
            ),
            "opacity": ipywidgets.FloatSlider(
                1, min=0, max=1, step=0.05, description="Opacity", style=wide, layout=ipywidgets.Layout(width="240px")
            ),
            "smooth": ipywidgets.Checkbox(
                False, description="Smooth", indent=False, layout=ipywidgets.Layout(width="90px")
            ),
        }

    def _check_image(self, name: str) -> str:
        if name not in self._views.ids:
            raise UnknownNameError("image", name, self._views.ids)
        return name

    @traitlets.validate("image")
    def _valid_image(self, proposal):
        return self._check_image(proposal.value)

    @traitlets.validate("stage")
    def _valid_stage(self, proposal):
        if proposal.value not in STAGES:
            raise UnknownNameError("stage", proposal.value, STAGES)
        return proposal.value

    @traitlets.validate("opacity")
    def _valid_opacity(self, proposal):
        if not 0 <= proposal.value <= 1:
            raise RecordError(f"opacity is {proposal.value}, needed 0 (the photograph alone) to 1 (the colours alone)")
        return proposal.value

    @traitlets.validate("selected")
    def _valid_selected(self, proposal):
        return checked_cell(list(proposal.value), self._views.record(self.image))

    @traitlets.observe("image")
    @shown_errors
    def _image_changed(self, change):
        if not self._ready:
            return
        record, cell = self._views.record(self.image), self.selected
        if cell and not (cell[0] < record.sizes["y"] and cell[1] < record.sizes["x"]):
            self.selected = []
        self._show()

    @traitlets.observe("stage")
    @shown_errors
    def _stage_changed(self, change):
        if self._ready:
            self._show_flip()

    @traitlets.observe("selected")
    @shown_errors
    def _selected_changed(self, change):
        if self._ready:
            self._show_readout()

    def _show(self) -> None:
        record = self._views.record(self.image)
        self._maps = {
            stage: (f"features, {stage}", feature_colors(record, self.basis, stage=stage)) for stage in STAGES
        }
        moved = visible_offset(record, self.basis) if has_offsets(record) else None
        self._maps["offset"] = ("length of dE along the three axes", moved)
        self._inputs["stage"].disabled = moved is None  # the panel of the offset says why
        no_photograph = "" if "image" in record else "the record has no photograph"
        self._panels["photograph"].show(None, over=record, title="photograph", message=no_photograph)
        for name, (title, shown) in self._maps.items():
            message = "" if shown is not None else _NO_OFFSETS
            limits = self._limits() if name == "offset" else None
            self._panels[name].show(shown, over=record, title=title, limits=limits, message=message)
        self._show_flip()
        self._show_readout()

    def _limits(self) -> tuple[float, float] | None:
        """Ends of the scale of the offset's lengths, which begins at zero."""
        moved = self._maps["offset"][1]
        return None if moved is None else (0.0, float(moved.max()) or 1.0)

    def _show_flip(self) -> None:
        shown = self._maps[self.stage][1]
        self._panels["flip"].show(shown, over=self._views.record(self.image), title=f"flip: {self.stage}")

    def _show_readout(self) -> None:
        self._readout.value = field_html(self._field(), self.selected)

    def _field(self) -> Field:
        colors = {stage: self._maps[stage][1] for stage in STAGES}
        return Field(self._views.record(self.image), self.basis, colors, self._maps["offset"][1])

    @property
    def summary(self) -> str:
        ids = self._views.ids
        at = f"row {self.selected[0]}, col {self.selected[1]}" if self.selected else "none"
        lines = [
            f"FeatureField: image {self.image} ({ids.index(self.image) + 1} of {len(ids)}), stage {self.stage}, "
            f"selected {at}"
        ]
        lines += [f"  {axes_text(self.basis)}", f"  {shares_text(self._field())}"]
        title, moved = self._maps["offset"]
        lines.append(f"  {title}: {_NO_OFFSETS if moved is None else value_range(moved.values)}")
        if self.selected:
            lines += [f"  {line}" for line in pixel_text(self._field(), self.selected)]
        return "\n".join(lines)

    def still(self) -> bytes:
        record = self._views.record(self.image)
        maps = {"photograph": record["image"]} if "image" in record else {}
        maps |= {title: shown for title, shown in self._maps.values() if shown is not None}
        mark = centre_of(self.selected, record) if self.selected else None
        limits = {} if self._limits() is None else {self._maps["offset"][0]: self._limits()}
        return plot_panels(maps, over=record, limits=limits, mark=mark).png(dpi=_STILL_DPI)

    def _release(self) -> None:
        for link in self._links:
            link.unlink()
        for joined in self._joined:
            joined.close()
        self._views, self.basis, self._maps, self._panels, self._inputs = None, None, {}, {}, {}
        self._links, self._joined = [], []
