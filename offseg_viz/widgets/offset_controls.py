"""The controls of `OffsetLab`: sliders, switches, donors and reset, greyed with the reason where they do not apply."""

from collections.abc import Sequence

import ipywidgets

MOST = 2.0
"""Largest strength; 1 is the offset as the model has it."""
OWN = "its own"
NO_OFFSETS = "The record is of a per-pixel model, which has no offsets to change: needed one of offset learning."
NO_DONORS = "No other image to take class offsets from: give donors=, a store or a list of records of the same model."
NO_LABEL = "The record has no label: nothing tells right from wrong, so there are no mIoU and no mended pixels."
_WIDE = {"description_width": "initial"}


def offset_inputs(donors: Sequence[str], *, offsets: bool) -> dict[str, ipywidgets.Widget]:
    """The inputs by the trait that they set, and the button ``reset``; greyed without `offsets`, or without donors."""
    inputs = {
        "class_on": _switch("class offsets", "112px"),
        "class_strength": _slider("dW ×"),
        "feature_on": _switch("feature offsets", "124px"),
        "feature_strength": _slider("dE ×"),
        "together": _switch("move both together", "160px"),
        "donor": ipywidgets.Dropdown(
            options=[(OWN, ""), *((name, name) for name in donors)],  # a value of None would be no choice at all
            description="class offsets of",
            style=_WIDE,
            layout=ipywidgets.Layout(width="auto", min_width="250px", max_width="420px"),
        ),
        "reset": ipywidgets.Button(description="reset", tooltip="Both offsets as the model has them"),
    }
    inputs["reset"].layout.width = "80px"
    for control in inputs.values():
        control.disabled = not offsets
    inputs["donor"].disabled = not (offsets and donors)
    return inputs


def reasons(*, offsets: bool, donors: bool, label: bool) -> list[str]:
    """Why something is greyed or missing, in words."""
    found = [NO_OFFSETS] if not offsets else [] if donors else [NO_DONORS]
    return found if label else [*found, NO_LABEL]


def control_rows(inputs: dict[str, ipywidgets.Widget], notes: list[str]) -> list[ipywidgets.Widget]:
    """The inputs in two rows that wrap, and the notes below them."""
    text = "".join(f"<div>{note}</div>" for note in notes)
    note = ipywidgets.HTML(
        text and f'<div class="offseg-note" style="font-size:12px;line-height:1.5;opacity:.75">{text}</div>'
    )
    note.layout.display = None if text else "none"
    row = ipywidgets.Layout(flex_flow="row wrap", grid_gap="2px 14px", align_items="center")
    pair = ipywidgets.Layout(align_items="center")
    pairs = [
        ipywidgets.HBox([inputs[f"{name}_on"], inputs[f"{name}_strength"]], layout=pair)
        for name in ("class", "feature")
    ]
    return [
        ipywidgets.HBox([*pairs, inputs["together"]], layout=row),
        ipywidgets.HBox([inputs["donor"], inputs["reset"]], layout=row),
        note,
    ]


def _switch(description: str, width: str) -> ipywidgets.Checkbox:
    return ipywidgets.Checkbox(True, description=description, indent=False, layout=ipywidgets.Layout(width=width))


def _slider(description: str) -> ipywidgets.FloatSlider:
    layout = ipywidgets.Layout(width="255px")
    return ipywidgets.FloatSlider(1, min=0, max=MOST, step=0.05, description=description, style=_WIDE, layout=layout)
