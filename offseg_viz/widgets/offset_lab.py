"""`OffsetLab`: turn the offsets of one image up, down or off, or take another's, and see what becomes of its pixels."""

import math
from collections.abc import Iterable

import ipywidgets
import numpy as np
import traitlets
import xarray as xr

from offseg_viz.analyze.strengths import strength_lines
from offseg_viz.classes import IGNORE_INDEX
from offseg_viz.errors import RecordError, UnknownNameError
from offseg_viz.plot.maps import plot_panels
from offseg_viz.plot.strengths import strength_svg
from offseg_viz.plot.summary import class_shares
from offseg_viz.record import class_list
from offseg_viz.widgets.offset_controls import MOST, NO_LABEL, NO_OFFSETS, OWN, control_rows, offset_inputs, reasons
from offseg_viz.widgets.offset_trials import OffsetTrials, Trial
from offseg_viz.widgets.pixel_map import PixelMap
from offseg_viz.widgets.pixel_place import centre_of, checked_cell
from offseg_viz.widgets.readout import legend_html
from offseg_viz.widgets.trial_readout import classes_html, plain_quality, quality_html, trial_text
from offseg_viz.widgets.view import View, shown_errors

PANELS = ("photograph", "label", "prediction", "change")
_STRENGTHS = ("class_strength", "feature_strength")
_STILL_DPI = 72


class OffsetLab(View):
    """The prediction of one record with ``W + s dW`` and ``E + t dE``, as its sliders for s and t move.

    Beside the photograph and the label: the prediction at the chosen strengths, and which of its cells are mended or
    broken against the prediction without offsets. Below: mIoU and pixel accuracy of this image, with what they gain or
    lose against no offsets and against the model as it is, the classes that change most, and mIoU along both sliders.
    A click into a panel marks the cell in all of them.

    Parameters
    ----------
    record : Dataset
        Of a model with offset learning; with a label for everything but the predictions. The record of a per-pixel
        model is shown, and its controls are greyed.
    donors : RecordStore or iterable of records, optional
        Other images of the same model, whose class offsets can be put in place of the record's own.

    Attributes
    ----------
    class_strength, feature_strength : float
        s and t, from 0 to 2; 1 is the offset as the model has it.
    class_on, feature_on : bool
        Without it the offset counts as 0, and its strength is kept for later; its slider is greyed.
    together : bool
        Keep both strengths equal; when it is set, that of the features follows.
    donor : str or None
        Id of the record whose class offsets are taken; None for the record's own.
    selected : list
        ``[row, col]`` of the marked grid cell, ``[]`` for none.

    Raises
    ------
    RecordError
        If the record is of mask classification, a donor is of another model, or a strength lies outside of 0 to 2.
    UnknownNameError
        If there is no such donor.
    """

    class_strength = traitlets.Float(1.0)
    feature_strength = traitlets.Float(1.0)
    class_on = traitlets.Bool(True)
    feature_on = traitlets.Bool(True)
    together = traitlets.Bool(False)
    donor = traitlets.Unicode(None, allow_none=True)
    selected = traitlets.List(traitlets.Int())

    def __init__(self, record: xr.Dataset, *, donors: Iterable[xr.Dataset] | None = None):
        self._trials = OffsetTrials(record, donors)
        trials = self._trials
        self._inputs = offset_inputs(trials.donors, offsets=trials.has_offsets)
        notes = reasons(offsets=trials.has_offsets, donors=bool(trials.donors), label=trials.has_label)
        self._panels = {name: PixelMap(over=record, title=name) for name in PANELS}
        self._legend, self._numbers, self._classes, self._curve = (ipywidgets.HTML() for _ in range(4))
        columns = ipywidgets.Layout(
            grid_template_columns="repeat(auto-fill, minmax(215px, 1fr))", grid_gap="10px 16px", margin="8px 0 4px 0"
        )
        below = ipywidgets.Layout(
            grid_template_columns="repeat(auto-fill, minmax(300px, 1fr))", grid_gap="12px 24px", margin="8px 0 0 0"
        )
        super().__init__(
            [
                *control_rows(self._inputs, notes),
                ipywidgets.GridBox(list(self._panels.values()), layout=columns),
                self._legend,
                ipywidgets.GridBox([self._numbers, self._classes, self._curve], layout=below),
            ]
        )
        first, *others = self._panels.values()
        self._joined = [ipywidgets.jslink((first, "part"), (panel, "part")) for panel in others]
        self._links = [traitlets.link((self, "selected"), (panel, "selected")) for panel in self._panels.values()]
        linked = {name: part for name, part in self._inputs.items() if name not in ("donor", "reset")}
        self._links += [traitlets.link((self, name), (part, "value")) for name, part in linked.items()]
        self._inputs["donor"].observe(self._donor_picked, names="value")
        self._inputs["reset"].on_click(self._reset_clicked)
        self._show_fixed()
        self._show()
        self._ready = True

    @traitlets.validate(*_STRENGTHS)
    def _valid_strength(self, proposal):
        if not (math.isfinite(proposal.value) and 0 <= proposal.value <= MOST):
            name = proposal.trait.name
            raise RecordError(
                f"{name} is {proposal.value!r}, needed 0 (off) to {MOST:g}; intervene() takes any strength"
            )
        return proposal.value

    @traitlets.validate("donor")
    def _valid_donor(self, proposal):
        if proposal.value is not None and proposal.value not in self._trials.donors:
            raise UnknownNameError("donor", proposal.value, self._trials.donors)
        self._trials.check(proposal.value)
        return proposal.value

    @traitlets.validate("selected")
    def _valid_selected(self, proposal):
        return checked_cell(list(proposal.value), self._trials.record)

    @shown_errors
    def _donor_picked(self, change):
        try:
            self.donor = change.new or None
        finally:  # a donor that does not fit is not the choice
            self._inputs["donor"].value = self.donor or ""

    @traitlets.observe(*_STRENGTHS, "class_on", "feature_on", "together", "donor")
    @shown_errors
    def _changed(self, change):
        if self.together and change.name in (*_STRENGTHS, "together"):
            moved = "feature_strength" if change.name == "feature_strength" else "class_strength"
            other = _STRENGTHS[1 - _STRENGTHS.index(moved)]
            if getattr(self, other) != getattr(self, moved):
                setattr(self, other, getattr(self, moved))  # which comes here again, and shows both
                return
        if change.name == "donor":
            self._inputs["donor"].value = self.donor or ""
        if self._ready:
            self._show()

    def reset(self) -> None:
        """Both offsets as the model has them: strengths of 1, switched on, the record's own class offsets."""
        self._ready = False
        try:
            self.together, self.donor, self.class_on, self.feature_on = False, None, True, True
            self.class_strength = self.feature_strength = 1.0
        finally:
            self._ready = True
        self._show()

    @shown_errors
    def _reset_clicked(self, button):
        self.reset()

    @property
    def strengths(self) -> tuple[float, float]:
        """s and t as they count: 0 for an offset that is switched off."""
        pairs = ((self.class_on, self.class_strength), (self.feature_on, self.feature_strength))
        return tuple(strength if on else 0.0 for on, strength in pairs)

    def _trial(self) -> Trial:
        return self._trials.trial(*self.strengths, self.donor)

    def _show_fixed(self) -> None:
        record = self._trials.record
        for name, variable in (("photograph", "image"), ("label", "label")):
            shown = record.get("label") if name == "label" else None
            message = "" if variable in record else f"the record has no {name}"
            self._panels[name].show(shown, over=record, title=name, message=message)

    def _show(self) -> None:
        trials, trial = self._trials, self._trial()
        for kind, on in (("class", self.class_on), ("feature", self.feature_on)):
            self._inputs[f"{kind}_strength"].disabled = not (on and trials.has_offsets)
        for name, (title, shown) in self._moving(trial).items():
            message = NO_OFFSETS if shown is None else ""
            self._panels[name].show(shown, over=trials.record, title=title, message=message)
        self._legend.value = self._legends(trial)
        if trial.quality is None:
            return
        if not trials.has_offsets:
            self._numbers.value = (
                f'<div class="offseg-quality" style="font-size:12px">{plain_quality(trial.quality)}</div>'
            )
            return
        (class_strength, feature_strength), miou = self.strengths, float(trial.quality.loc["chosen", "miou"])
        at = dict(class_strength=class_strength, feature_strength=feature_strength)
        self._numbers.value = quality_html(trial)
        self._classes.value = classes_html(trial, trials.record)
        self._curve.value = strength_svg(strength_lines(trials.miou(self.donor), **at), **at, miou=miou)

    def _moving(self, trial: Trial) -> dict[str, tuple[str, xr.DataArray | None]]:
        """Title and map of the panels that follow the sliders."""
        if not self._trials.has_offsets:
            return {"prediction": ("prediction", trial.prediction), "change": ("change by the offsets", None)}
        title = "prediction ({:.4g} dW, {:.4g} dE)".format(*self.strengths)
        changed = "mended and broken" if trial.quality is not None else "prediction, where it changed"
        return {"prediction": (title, trial.prediction), "change": (changed, trial.change)}

    def _legends(self, trial: Trial) -> str:
        """Kinds of change, then the classes in the label or the prediction."""
        record, classes = self._trials.record, class_list(self._trials.record)
        maps = [trial.prediction.values] + ([record["label"].values] if "label" in record else [])
        present = np.flatnonzero(np.bincount(np.concatenate(maps).ravel(), minlength=IGNORE_INDEX)[:IGNORE_INDEX])
        legend = legend_html([classes.names[k] for k in present], [classes.colors[k] for k in present])
        if "names" in trial.change.attrs and self._trials.has_offsets:
            legend = legend_html(trial.change.attrs["names"], trial.change.attrs["colors"]) + legend
        return legend

    @property
    def summary(self) -> str:
        record, trials, trial = self._trials.record, self._trials, self._trial()
        lines = [f"OffsetLab: image {record.attrs.get('sample')}"]
        if trials.has_offsets:
            whose = OWN if self.donor is None else f"those of {self.donor}"
            kinds = zip(("class", "feature"), self.strengths, (self.class_on, self.feature_on))
            told = [f"{kind} offsets x {strength:.2f}{'' if on else ' (off)'}" for kind, strength, on in kinds]
            lines[0] += f", {told[0]} ({whose}), {told[1]}"
        else:
            lines.append(f"  {NO_OFFSETS}")
        lines.append(f"  prediction: {class_shares(trial.prediction.values, class_list(record))}")
        if trial.quality is None:
            lines.append(f"  {NO_LABEL}")
            shares = class_shares(trial.change.values, class_list(record), empty_name="unchanged")
            return "\n".join([*lines, f"  changed to: {shares}"] if trials.has_offsets else lines)
        told = trial_text(trial) if trials.has_offsets else [plain_quality(trial.quality)]
        return "\n".join([*lines, *(f"  {line}" for line in told)])

    def still(self) -> bytes:
        record, trial = self._trials.record, self._trial()
        maps = {"photograph": record["image"]} if "image" in record else {}
        maps |= {"label": record["label"]} if "label" in record else {}
        maps |= {title: shown for title, shown in self._moving(trial).values() if shown is not None}
        mark = centre_of(self.selected, record) if self.selected else None
        return plot_panels(maps, over=record, mark=mark).png(dpi=_STILL_DPI)

    def _release(self) -> None:
        for link in self._links:
            link.unlink()
        for joined in self._joined:
            joined.close()
        self._inputs["donor"].unobserve_all()
        self._inputs["reset"].on_click(self._reset_clicked, remove=True)
        self._trials, self._panels, self._inputs, self._links, self._joined = None, {}, {}, [], []
