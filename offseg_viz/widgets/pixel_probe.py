"""`PixelProbe`: one pixel against all others and against every class, at the pace of the mouse."""

import ipywidgets
import traitlets
import xarray as xr

from offseg_viz.errors import UnknownNameError
from offseg_viz.plot.maps import plot_panels
from offseg_viz.plot.summary import rounded, value_range
from offseg_viz.record import has_offsets
from offseg_viz.widgets.alignment_views import Panel
from offseg_viz.widgets.pixel_map import PixelMap, cell_bytes
from offseg_viz.widgets.pixel_place import cell_of, centre_of, checked_position
from offseg_viz.widgets.probe_table import STYLE, TOP_CLASSES, classes_html, facts_html, facts_text
from offseg_viz.widgets.probe_views import COLOR_CHOICES, ProbeViews
from offseg_viz.widgets.view import View, shown_errors

MAPS = ("initial", "aligned", "difference", "class")
_OWN = "that of the pixel"
_STILL_DPI = 72


class PixelProbe(View):
    """One pixel of a record: how like it all other pixels are, its numbers for every class, and where its offset leads.

    A click into any map, the arrow keys on a focused one, or with `follow` the pointer alone choose the pixel. Four
    maps show the cosine of its feature E to those of all pixels, the same of E + dE, the change between them, and the
    cosine of all pixels to its class embedding W + dW. The first two share the scale from -1 to 1; the others keep one
    scale for all pixels of the record. A projection (one PCA of both stages) shows all pixels at both stages, and an
    arrow from where the pixel was to where its offset took it. A table lists its numbers by class.

    Parameters
    ----------
    record : Dataset
        A record of a per-pixel network, with or without offset learning.
    pixel : (y, x), optional
        Where to begin, in pixels of the image.
    follow : bool
        Follow the pointer. A click holds the pixel and ends following.

    Attributes
    ----------
    pixel : (y, x) or None
        The chosen position in pixels of the image; after a click, the centre of the grid cell.
    cls : str or None
        The class of the fourth map; None for the one that the pixel is predicted as, with offsets.
    follow : bool
    colored_by : {"label", "prediction"}
        What colours the photograph and the projection; the prediction is the aligned one.

    Raises
    ------
    RecordError
        If the record is of mask classification, or `pixel` lies outside of the image.
    UnknownNameError
        If `cls` or `colored_by` is set to what there is not; the message lists the valid ones.
    """

    pixel = traitlets.Any(None)
    cls = traitlets.Unicode(None, allow_none=True)
    follow = traitlets.Bool(False)
    colored_by = traitlets.Unicode("label")

    def __init__(self, record: xr.Dataset, *, pixel: tuple[float, float] | None = None, follow: bool = False):
        self._views = ProbeViews(record)
        self._cell: tuple[int, int] | None = None  # of the grid, in which `pixel` lies
        self._pointed = None  # the map under the pointer while following: it shows the pointer and no ring
        self._marking = False
        names, labelled = self._views.names, "label" in record
        self._maps = {name: PixelMap(over=record) for name in (*MAPS, "photograph")}
        self._links = [
            ipywidgets.jslink((self._maps["photograph"], "part"), (self._maps[name], "part")) for name in MAPS
        ]
        self._projection = PixelMap()
        wide = {"style": {"description_width": "initial"}}
        self._cls_picker = ipywidgets.Dropdown(
            options=[(_OWN, ""), *((name, name) for name in names)], description="Class", **wide
        )
        self._color_picker = ipywidgets.Dropdown(
            options=COLOR_CHOICES,
            value="label" if labelled else "prediction",
            description="Colours",
            disabled=not labelled,
            style={"description_width": "initial"},
            layout=ipywidgets.Layout(width="190px"),
        )
        self._follow_box = ipywidgets.Checkbox(description="follow the pointer (a click holds)", indent=False, **wide)
        why = "" if labelled else "the record has no label"
        few = len(names) <= TOP_CLASSES
        self._every_box = ipywidgets.Checkbox(
            description=f"all {len(names)} classes are shown" if few else f"show all {len(names)} classes",
            value=few,
            disabled=few,
            indent=False,
            **wide,
        )
        self._numbers = ipywidgets.HTML()
        style = ipywidgets.HTML(STYLE)
        style.layout.display = "none"
        row = ipywidgets.Layout(flex_flow="row wrap", grid_gap="4px 20px", align_items="center")
        columns = ipywidgets.Layout(
            grid_template_columns="repeat(auto-fill, minmax(225px, 1fr))", grid_gap="10px 18px", margin="6px 0"
        )
        numbers = ipywidgets.VBox(
            [self._numbers, self._every_box], layout=ipywidgets.Layout(grid_area="auto / span 2", min_width="0")
        )
        parts = [*(self._maps[name] for name in (*MAPS, "photograph")), self._projection]
        maps = ipywidgets.GridBox([*parts, numbers], layout=columns)
        maps.add_class("offseg-probe-maps")
        super().__init__(
            [
                ipywidgets.HBox(
                    [self._cls_picker, self._color_picker, ipywidgets.HTML(why), self._follow_box], layout=row
                ),
                maps,
                style,
            ]
        )
        self.colored_by = self._color_picker.value
        self.pixel, self.follow = pixel, follow
        own_or_name = (
            lambda cls: cls or "",
            lambda value: value or None,
        )  # a value of None would show no choice at all
        traitlets.link((self, "cls"), (self._cls_picker, "value"), transform=own_or_name)
        traitlets.link((self, "colored_by"), (self._color_picker, "value"))
        traitlets.link((self, "follow"), (self._follow_box, "value"))
        self._every_box.observe(self._every_changed, names="value")
        for panel in self._maps.values():
            panel.observe(self._select, names="selected")
            panel.observe(self._hover, names="hovered")
        self._ready = True
        self._show_colors()
        self._show_pixel()
        self._follow_changed()

    @traitlets.validate("pixel")
    def _valid_pixel(self, proposal):
        return checked_position(proposal.value, self._views.record)

    @traitlets.validate("cls")
    def _valid_cls(self, proposal):
        if proposal.value is not None and proposal.value not in self._views.names:
            raise UnknownNameError("class", proposal.value, self._views.names)
        return proposal.value

    @traitlets.validate("colored_by")
    def _valid_colored_by(self, proposal):
        valid = COLOR_CHOICES if "label" in self._views.record else ("prediction",)
        if proposal.value not in valid:
            raise UnknownNameError("colouring", proposal.value, valid)
        return proposal.value

    @traitlets.observe("pixel", "cls")
    @shown_errors
    def _pixel_changed(self, change):
        if self._ready:
            self._show_pixel()

    @traitlets.observe("colored_by")
    @shown_errors
    def _colors_changed(self, change):
        if self._ready:
            self._show_colors()

    @traitlets.observe("follow")
    @shown_errors
    def _follow_changed(self, change=None):
        if self._ready:
            self._pointed = None
            for panel in self._maps.values():
                panel.hover = self.follow
            self._mark()

    @shown_errors
    def _every_changed(self, change):
        self._show_numbers()

    @shown_errors
    def _select(self, change):
        if not self._marking:
            self.follow = False
            self.pixel = centre_of(change.new, self._views.record) if change.new else None
            self._mark()

    @shown_errors
    def _hover(self, change):
        if self.follow and change.new:
            self._pointed = change.owner
            self.pixel = centre_of(change.new, self._views.record)
            self._mark()
        elif change.owner is self._pointed:
            self._pointed = None
            self._mark()

    @property
    def _shown_cls(self) -> str | None:
        """The class of the fourth map."""
        return self.cls if self.cls is not None or self._cell is None else self._views.own_class(self._cell)

    def _show_pixel(self) -> None:
        """The maps first: they are what the eye waits for."""
        self._cell = None if self.pixel is None else cell_of(self.pixel, self._views.record)
        for name, view in self._views.maps(self._cell, self._shown_cls).items():
            panel = self._maps[name]
            with panel.hold_sync():  # one message a map
                if view.map is not None and panel.cells and list(view.limits) == panel.limits:
                    panel.cells, panel.title = cell_bytes(view.map, view.limits), view.title  # nothing else changes
                else:
                    self._show_map(panel, view)
                self._mark_one(panel)
        self._mark()
        self._show_numbers()

    def _show_map(self, panel: PixelMap, view: Panel) -> None:
        panel.show(view.map, over=self._views.record, title=view.title, limits=view.limits, message=view.message)

    def _mark(self) -> None:
        """The ring in every map, and the arrow in the projection."""
        for panel in self._maps.values():
            self._mark_one(panel)
        arrows = []
        if self._cell is not None:
            arrows = [self._cloud.places[:, *self._cell].round(1).ravel().tolist()]
        self._projection.arrows = arrows

    def _mark_one(self, panel: PixelMap) -> None:
        self._marking = True
        try:
            panel.selected = [] if panel is self._pointed else list(self._cell or ())
        finally:
            self._marking = False

    def _show_numbers(self) -> None:
        cls, facts = self._shown_cls, None if self._cell is None else self._views.facts(self._cell)
        reach, every = self._views.reach.classes, self._every_box.value
        table = classes_html(facts, cls=cls, every=every, reach=reach)
        self._numbers.value = facts_html(facts, position=self.pixel, cls=cls) + table

    def _show_colors(self) -> None:
        record, photograph = self._views.record, self._maps["photograph"]
        message = "" if "image" in record else "the record has no photograph"
        predicted = "prediction, aligned" if has_offsets(record) else "prediction"
        title = "label" if self.colored_by == "label" else predicted
        photograph.show(self._views.classes(self.colored_by), over=record, title=title, message=message)
        self._cloud = self._views.cloud(self.colored_by)
        self._projection.show_picture(
            self._cloud.picture,
            title=f"PCA {100 * self._views.explained:.0f}%: "
            + ("E pale, E + dE full" if has_offsets(record) else "E, one stage only"),
        )
        self._mark()

    @property
    def summary(self) -> str:
        """The state in a few lines of text, rounded: what nbval compares."""
        record, cls = self._views.record, self._shown_cls
        at = "none" if self.pixel is None else f"(y {self.pixel[0]:.0f}, x {self.pixel[1]:.0f})"
        chosen = "that of the pixel" if self.cls is None else self.cls
        lines = [f"PixelProbe: {record.attrs['sample']}, pixel {at}, class {chosen}, coloured by {self.colored_by}"]
        for view in self._views.maps(self._cell, cls).values():
            lines.append(f"  {view.title}: {_range(view)}")
        if self._cell is not None:
            lines += [f"  {line}" for line in facts_text(self._views.facts(self._cell), cls)]
        return "\n".join([*lines, f"  projection: PCA, {rounded(self._views.explained, 1)} of the variance"])

    def still(self) -> bytes:
        """The maps as they are now, as the bytes of a PNG file."""
        record, views = self._views.record, self._views.maps(self._cell, self._shown_cls)
        maps = {"photograph": record["image"]} if "image" in record else {}
        maps[self._maps["photograph"].title] = self._views.classes(self.colored_by)
        maps |= {view.title: view.map for view in views.values() if view.map is not None}
        limits = {view.title: view.limits for view in views.values() if view.map is not None}
        return plot_panels(maps, over=record, limits=limits, mark=self.pixel).png(dpi=_STILL_DPI)

    def _release(self) -> None:
        for link in self._links:
            link.close()
        for panel in self._maps.values():
            panel.unobserve_all()  # a panel that lives on must not hold the probe
        self._views = self._cloud = self._pointed = None
        self._maps, self._links = {}, []


def _range(panel: Panel) -> str:
    return panel.message or "no pixel" if panel.map is None else value_range(panel.map.values)
