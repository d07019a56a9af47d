"""The numbers of one pixel: gathered from the views, then written as HTML or as a line of text."""

from html import escape
from typing import NamedTuple

import numpy as np

from offseg_viz.classes import IGNORE_INDEX
from offseg_viz.plot import theme
from offseg_viz.plot.summary import rounded
from offseg_viz.record import has_offsets
from offseg_viz.widgets.alignment_views import AlignmentViews

TOP_CLASSES = 5


class PixelNumbers(NamedTuple):
    """Names and numbers at one grid cell; `cosines` has rows (class, colour, initial, aligned)."""

    row: int
    col: int
    label: str
    initial: str
    aligned: str
    cosines: list[tuple[str, str, float, float]]
    offset: float | None
    relative_offset: float | None


def pixel_numbers(views: AlignmentViews, image: str, cell: tuple[int, int], cls: str) -> PixelNumbers:
    """The numbers at `cell` = (row, col) of an image.

    The classes are those of the highest aligned cosine, and in any case `cls`, the labelled and the predicted ones.
    """
    record, place = views.record(image), dict(y=cell[0], x=cell[1])
    names, colors = [str(name) for name in record["cls"].values], record["color"].values
    initial, aligned = (views.similarity(image, stage).isel(place).values for stage in ("initial", "aligned"))
    before, after = (int(views.prediction(image, stage).isel(place)) for stage in ("initial", "aligned"))
    label = int(record["label"].isel(place)) if "label" in record else None
    order = np.argsort(-np.nan_to_num(aligned, nan=-2), kind="stable")
    needed = {names.index(cls), before, after} | ({label} if label not in (None, IGNORE_INDEX) else set())
    shown = [int(k) for position, k in enumerate(order) if position < TOP_CLASSES or int(k) in needed]
    absolute, relative = (
        (float(views.offset(image, flag).isel(place)) for flag in (False, True))
        if has_offsets(record)
        else (None, None)
    )
    return PixelNumbers(
        *cell,
        label="no label" if label is None else "ignored" if label == IGNORE_INDEX else names[label],
        initial=names[before],
        aligned=names[after],
        cosines=[(names[k], str(colors[k]), float(initial[k]), float(aligned[k])) for k in shown],
        offset=absolute,
        relative_offset=relative,
    )


def readout_text(numbers: PixelNumbers, cls: str) -> str:
    """The numbers in a line, rounded, for the text summary."""
    _, _, before, after = next(row for row in numbers.cosines if row[0] == cls)
    text = (
        f"label {numbers.label}, predicted {numbers.initial} -> {numbers.aligned}; "
        f"cosine to {cls} {signed(before)} -> {signed(after)}"
    )
    return text if numbers.offset is None else f"{text}; offset {_offset(numbers)}"


def _offset(numbers: PixelNumbers) -> str:
    absolute, relative = (rounded(value, value) for value in (numbers.offset, numbers.relative_offset))
    return f"{absolute}, or {relative} of the feature's length"


def readout_html(numbers: PixelNumbers | None, *, pixel: tuple[float, float] | None, cls: str) -> str:
    """The numbers as an HTML table with bars; every name is escaped. Without numbers: how to get some."""
    if numbers is None:
        return (
            '<p class="offseg-readout" style="margin:6px 0">No pixel selected. Click into a panel, or focus one with '
            "Tab and use the arrow keys; Escape clears.</p>"
        )
    facts = {
        "pixel": f"y {pixel[0]:.0f}, x {pixel[1]:.0f} (row {numbers.row}, col {numbers.col})",
        "label": numbers.label,
        "prediction": f"{numbers.initial} → {numbers.aligned}",
        "feature offset": "none (per-pixel model)" if numbers.offset is None else _offset(numbers),
    }
    cell = 'style="padding:1px 14px 1px 0;text-align:left;vertical-align:top"'
    head = "".join(
        f'<tr><th scope="row" {cell}>{escape(key)}</th><td {cell} data-fact="{escape(key)}">{escape(value)}</td></tr>'
        for key, value in facts.items()
    )
    line = 'style="padding:1px 10px 1px 0;text-align:left;white-space:nowrap"'
    rows = "".join(_cosine_row(row, chosen=row[0] == cls, cell=line) for row in numbers.cosines)
    return (
        '<div class="offseg-readout" role="status" style="display:flex;align-items:flex-start;flex-wrap:wrap;'
        'gap:4px 36px;font-size:12px;line-height:1.5;font-variant-numeric:tabular-nums">'
        f"<table>{head}</table>"
        f'<table><tr><th {cell} scope="col">class</th>'
        f'<th {cell} scope="col" colspan="2">cosine, initial → aligned</th></tr>{rows}</table></div>'
    )


def legend_html(names: list[str], colors: list[str]) -> str:
    """Class names with their colours in one line that wraps."""
    chips = (
        f'<span style="white-space:nowrap">{swatch(color)} {escape(name)}</span>' for name, color in zip(names, colors)
    )
    return (
        f'<div style="display:flex;flex-wrap:wrap;gap:2px 14px;font-size:11px;line-height:1.5">{"".join(chips)}</div>'
    )


def swatch(color: str) -> str:
    """A small square of a class colour, as HTML."""
    shape = "display:inline-block;width:9px;height:9px;border-radius:2px;border:1px solid rgba(128,134,142,.6)"
    return f'<span style="{shape};background:{escape(color)}"></span>'


def _cosine_row(row: tuple[str, str, float, float], *, chosen: bool, cell: str) -> str:
    name, color, before, after = row
    weight = "font-weight:600" if chosen else ""
    bars = "".join(_bar(value, theme.STAGE_COLORS[stage]) for stage, value in (("initial", before), ("aligned", after)))
    return (
        f'<tr style="{weight}"><td {cell}>{swatch(color)} {escape(name)}</td>'
        f"<td {cell}>{signed(before)} → {signed(after)}</td><td {cell}>{bars}</td></tr>"
    )


def _bar(value: float, color: str) -> str:
    """A bar of 80 pixels for -1 .. 1 that grows from its middle."""
    length = 0 if np.isnan(value) else 40 * min(1, abs(value))
    start = 40 - length if value < 0 else 40
    return (
        '<div style="position:relative;width:80px;height:6px;margin:2px 0;background:rgba(128,134,142,.16)">'
        f"<div "
        f'style="position:absolute;left:{start:.1f}px;width:{length:.1f}px;height:6px;background:{color}"></div></div>'
    )


def signed(value: float) -> str:
    """Two digits with a sign, for cosines; ``n/a`` for NaN."""
    return "n/a" if np.isnan(value) else f"{round(value, 2) + 0.0:+.2f}"
