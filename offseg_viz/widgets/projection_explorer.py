"""`ProjectionExplorer`: all pixels of a table in the plane, linked with the images that they come from."""

from collections.abc import Iterable

import ipywidgets
import numpy as np
import traitlets
import xarray as xr

from offseg_viz.errors import RecordError, UnknownNameError
from offseg_viz.plot.scatter import quality_parts
from offseg_viz.plot.summary import class_shares
from offseg_viz.terms import STAGES
from offseg_viz.widgets.projection_controls import Controls, row
from offseg_viz.widgets.projection_images import MOST_IMAGES, ProjectionImages
from offseg_viz.widgets.projection_points import COLORS, Coloring, ProjectionPoints
from offseg_viz.widgets.projection_still import projection_still
from offseg_viz.widgets.view import View, shown_errors

_BEGIN_IMAGES = 4


class PixelNumbers(traitlets.TraitType):
    """Sorted numbers of pixels as an array that cannot be written to."""

    default_value = ()

    def validate(self, obj, value):
        found = np.asarray([] if value is None else value)
        if found.ndim != 1 or found.size and found.dtype.kind not in "iu":
            raise RecordError(
                f"selection is {found.dtype} of shape {found.shape}; needed a list of pixel numbers, or [] for none"
            )
        pixels = obj.pixel_count
        if found.size and not (0 <= found.min() and found.max() < pixels):
            raise RecordError(
                f"selection holds {found.min()} to {found.max()}; the table has the pixels 0 to {pixels - 1}"
            )
        numbers = np.unique(found.astype(np.uint32))
        numbers.flags.writeable = False
        return numbers

    def set(self, obj, value):
        new, old = self._validate(obj, value), obj._trait_values.get(self.name)
        obj._trait_values[self.name] = new
        if not np.array_equal(old, new):  # which traitlets would ask with ==
            obj._notify_trait(self.name, old, new)


class ProjectionExplorer(View):
    """A scatter of pixels and class embeddings, moved between the stages; what is selected lights up on its images.

    A lasso in the scatter (shift and drag, or the button at its left) lights its pixels on the images that hold most of
    them. A region drawn on an image selects its pixels in the scatter. Class embeddings are the large points: W at the
    initial stage; at the aligned one the W + dW of every image that shows the class, and larger their mean. Both axes
    have equal units. Beneath stand the projection's quality figures.

    Parameters
    ----------
    table : Dataset
        Made by `project`. Where it still has `feature` and `aligned_feature`, offset magnitudes come from those.
    records : RecordStore or iterable of records
        Those that the pixels were sampled from. Photographs are read when they are shown; the offsets when pixels are
        first coloured by them.
    stage : {"initial", "aligned"}
    color : {"cls", "correct", "offset", "sample", "distortion"}
        Points by the class of their label, whether the prediction of the stage is the label, the length of their
        feature offset |dE|, their image, or their own distortion: the share of their neighbours that the plane loses.

    Attributes
    ----------
    stage, color : str
        The choices; they can be set.
    selection : array of int
        Numbers of the selected pixels along `pixel` of the table, sorted. Setting it selects in the scatter, and shows
        the images that hold most.
    images : tuple of str
        Ids of the images shown, at most six.

    Raises
    ------
    UnknownNameError
        If a stage, colour or image is set that is not there; the message lists those that are.
    RecordError
        If `table` is no projection, has images that are not among the records, or several of one id; if pixels are
        coloured by what the table has not; if a pixel number or number of images is out of range.
    """

    stage = traitlets.Unicode("aligned")
    color = traitlets.Unicode("cls")
    selection = PixelNumbers()
    images = traitlets.Any(())

    def __init__(self, table: xr.Dataset, records: Iterable[xr.Dataset], *, stage: str = "aligned", color: str = "cls"):
        if "pixel_projection" not in table:
            raise RecordError(
                f"needed the variable pixel_projection, found {sorted(table)}; use project(sample_pixels(...))"
            )
        if isinstance(records, xr.Dataset):
            raise RecordError("found one record, needed several: put it in a list, [record]")
        records = records if hasattr(records, "__getitem__") else list(records)
        from offseg_viz.widgets.projection_scatter import ProjectionScatter  # takes a second or two to import

        self._table, self._points = table, ProjectionPoints(table, records)
        self.pixel_count = self._points.pixels
        self._maps = ProjectionImages(table, records, self._points.pixel_image, on_region=self._region_drawn)
        self._from_scatter = self._from_region = False
        self._controls = controls = Controls(table, self._points, reasons=self._points.reasons)
        top, body = ipywidgets.HBox(layout=row()), ipywidgets.HBox(layout=row(align_items="flex-start"))
        super().__init__([top, body])
        self.stage, self.color, self.selection = stage, color, []
        coloring = self._coloring()
        self._scatter = ProjectionScatter(self._points, coloring, stage=stage, name=self._described())
        top.children = controls.top
        body.children = [controls.left(self._scatter), controls.right(self._maps.box)]
        controls.show_legend(coloring)
        self.images = self._points.images[:_BEGIN_IMAGES]
        self._show_selection()
        traitlets.link((self, "stage"), (controls.stage, "value"))
        traitlets.link((self, "color"), (controls.color, "value"))
        self._scatter.observe(self._lassoed, names="selection")
        self._scatter.observe(self._hovered, names="hovering")
        controls.region.observe(self._drawing_changed, names="value")
        controls.image.observe(self._image_added, names="value")
        controls.cls.observe(self._class_chosen, names="value")
        controls.clear.on_click(self._cleared)
        self._ready = True

    @traitlets.validate("stage")
    def _valid_stage(self, proposal):
        if proposal.value not in STAGES:
            raise UnknownNameError("stage", proposal.value, STAGES)
        return proposal.value

    @traitlets.validate("color")
    def _valid_color(self, proposal):
        if proposal.value not in COLORS:
            raise UnknownNameError("scatter colour", proposal.value, COLORS)
        if proposal.value in self._points.reasons:
            reason = self._points.reasons[proposal.value]
            raise RecordError(f"points cannot be coloured by {proposal.value}: {reason}; needed another colour")
        return proposal.value

    @traitlets.validate("images")
    def _valid_images(self, proposal):
        names = (proposal.value,) if isinstance(proposal.value, str) else tuple(map(str, proposal.value))
        for name in names:
            if name not in self._points.images:
                raise UnknownNameError("image", name, self._points.images)
        if len(set(names)) != len(names) or not 0 < len(names) <= MOST_IMAGES:
            raise RecordError(f"images are {names}; needed 1 to {MOST_IMAGES} different ids")
        return names

    @traitlets.observe("stage", "color")
    @shown_errors
    def _choice_changed(self, change):
        if self._ready:
            coloring = self._coloring()
            self._scatter.paint(coloring, self.stage)
            self._controls.show_legend(coloring)

    @traitlets.observe("images")
    @shown_errors
    def _images_changed(self, change):
        self._maps.show(self.images)
        self._maps.light(self.selection)

    @traitlets.observe("selection")
    @shown_errors
    def _selection_changed(self, change):
        if not self._ready:
            return
        if not self._from_region:
            self._maps.forget_regions()
            counts = np.bincount(self._points.pixel_image[self.selection], minlength=len(self._points.images))
            most = np.argsort(-counts, kind="stable")[:MOST_IMAGES]
            chosen = tuple(self._points.images[k] for k in most if counts[k])
            self.images = chosen or self.images
        self._maps.light(self.selection)
        if not self._from_scatter:
            self._scatter.select(self.selection)
        self._show_selection()

    @shown_errors
    def _lassoed(self, change):
        found = np.zeros(0, np.uint32) if change.new is None else np.asarray(change.new)
        self._from_scatter = True
        try:
            self.selection = found[found < self.pixel_count]
        finally:
            self._from_scatter = False

    @shown_errors
    def _region_drawn(self, pixels: np.ndarray) -> None:
        self._from_region = True
        try:
            self.selection = pixels
        finally:
            self._from_region = False

    @shown_errors
    def _class_chosen(self, change):
        if change.new:
            cls = self._points.classes.index(change.new)
            self.selection = np.flatnonzero(self._points.cls[: self.pixel_count] == cls)
            self._controls.cls.value = ""

    @shown_errors
    def _image_added(self, change):
        if change.new:
            others = [name for name in self.images if name != change.new]
            self.images = (change.new, *others[: MOST_IMAGES - 1])
            self._controls.image.value = ""

    @shown_errors
    def _cleared(self, button):
        self.selection = []

    @shown_errors
    def _drawing_changed(self, change):
        self._maps.draw_regions(change.new)

    @shown_errors
    def _hovered(self, change):
        known = change.new is not None and 0 <= change.new < len(self._points.kinds)
        self._controls.show_point(self._points.about(change.new) if known else None)

    def _coloring(self) -> Coloring:
        return self._points.coloring(self.color, self.stage)

    def _described(self) -> str:
        return f"Projection of {self.pixel_count} pixels by {self._table.attrs.get('method', 'an unknown method')}"

    def _show_selection(self) -> None:
        count = len(self.selection)
        self._controls.show_count(f"{count:,} pixels selected: {self._selected_classes()}" if count else "")

    def _selected_classes(self) -> str:
        return class_shares(self._table["label"].values[self.selection], self._points.classes)

    @property
    def summary(self) -> str:
        """The state in a few lines of text, rounded: what nbval compares."""
        method, points = self._table.attrs.get("method", "projection"), self._points
        stage = "one stage (per-pixel model)" if points.one_stage else f"stage {self.stage}"
        lines = [
            f"ProjectionExplorer: {method} of {points.pixels} pixels of {len(points.images)} images with "
            f"{int((points.kinds == 4).sum())} class embeddings, {stage}, coloured by {COLORS[self.color]}",
            "  " + "; ".join(quality_parts(self._table, steady=True)),
            f"  images: {', '.join(self.images)}",
        ]
        if not len(self.selection):
            return "\n".join([*lines, "  selection: none"])
        counts = np.bincount(points.pixel_image[self.selection], minlength=len(points.images))
        most = [k for k in np.argsort(-counts, kind="stable")[:MOST_IMAGES] if counts[k]]
        by_image = ", ".join(f"{points.images[k]} {counts[k]}" for k in most)
        lines.append(f"  selection: {len(self.selection)} pixels of {(counts > 0).sum()} images, most of {by_image}")
        return "\n".join([*lines, f"  selected classes: {self._selected_classes()}"])

    def still(self) -> bytes:
        """Both stages side by side, as the bytes of a PNG file; of more than 20,000 pixels a plainer picture."""
        return projection_still(self._table, self._points, self.color, summary=self.summary)

    def _release(self) -> None:
        self._maps.close()
        self._table = self._points = self._maps = self._controls = None
