"""What `FeatureField` says in words: how much its colours show, and where a pixel lies on their axes."""

import math
from html import escape
from typing import NamedTuple

import xarray as xr

from offseg_viz.analyze.feature_colors import feature_axis_places
from offseg_viz.classes import IGNORE_INDEX
from offseg_viz.plot import theme
from offseg_viz.plot.summary import rounded
from offseg_viz.terms import STAGES


class Field(NamedTuple):
    """One image of the field: its record, the axes, the colours of both stages, and the visible offset, if any."""

    record: xr.Dataset
    basis: xr.Dataset
    colors: dict[str, xr.DataArray]
    moved: xr.DataArray | None


def shares_text(field: Field) -> str:
    """How much of the features, and of their offsets, the colours show: one sentence."""
    whole = 100 * float(field.basis["explained_variance"].sum())
    text = f"Together {whole:.1f} % of the variance of the features of both stages"
    if field.moved is None or math.isnan(field.moved.attrs["share"]):
        return f"{text}."
    return f"{text}, and {100 * field.moved.attrs['share']:.1f} % of the squared length of dE in this image."


def axes_text(basis: xr.Dataset) -> str:
    """The axes with their share of the variance, in a line."""
    return "axes: " + ", ".join(f"{axis} {share}" for axis, share in _axis_shares(basis))


def pixel_text(field: Field, cell: list[int]) -> list[str]:
    """Where the pixel lies on the axes at both stages, a line each, rounded by the size of the scale."""
    scale = float(max(abs(field.basis[end].values).max() for end in ("low", "high")))
    return [
        f"pixel, {stage}: {', '.join(rounded(float(place), scale) for place in _places(field, cell, stage))}"
        for stage in STAGES
    ]


def field_html(field: Field, cell: list[int]) -> str:
    """The axes, how much they show, and the selected pixel (`cell` is ``[]`` for none); every name is escaped."""
    rows = "".join(
        f'<tr><th scope="row" style="text-align:left;font-weight:400;padding:1px 12px 1px 0">{escape(axis)}</th>'
        f'<td style="text-align:right;padding:1px 0">{share}</td></tr>'
        for axis, share in _axis_shares(field.basis)
    )
    hint = "Click into a panel, or focus one with Tab and use the arrow keys; Escape clears."
    pixel = _pixel_html(field, cell) if cell else f'<p style="margin:8px 0 0 0;opacity:.75">{hint}</p>'
    return (
        '<div class="offseg-axes" style="font-size:12px;line-height:1.5;font-variant-numeric:tabular-nums">'
        f"<b>Axes of the colours</b>, with their share of the variance<table>{rows}</table>"
        f"<div>{shares_text(field)}</div>{pixel}</div>"
    )


def _pixel_html(field: Field, cell: list[int]) -> str:
    record, (row, col) = field.record, cell
    label = int(record["label"][row, col]) if "label" in record else IGNORE_INDEX
    name = "" if label == IGNORE_INDEX else f", label {escape(str(record['cls'].values[label]))}"
    lines = []
    for stage in STAGES:
        red, green, blue = field.colors[stage].values[row, col]
        told = ", ".join(f"{place:+.2f}" for place in _places(field, cell, stage))
        chip = f"background:rgb({red},{green},{blue});border:1px solid {theme.QUIET};border-radius:3px"
        lines.append(
            f'<div data-stage="{stage}"><span style="display:inline-block;width:26px;height:14px;'
            f'vertical-align:-2px;margin-right:8px;{chip}"></span>{stage}: {told}</div>'
        )
    if field.moved is not None:
        lines.append(f"<div>dE along them: {float(field.moved[row, col]):.2f}</div>")
    return (
        f'<div role="status" class="offseg-pixel" style="margin-top:8px"><b>row {row}, col {col}{name}</b>'
        f"{''.join(lines)}</div>"
    )


def _axis_shares(basis: xr.Dataset) -> list[tuple[str, str]]:
    shares = basis["explained_variance"].values
    return [(str(axis), f"{100 * share:.1f} %") for axis, share in zip(basis["axis"].values, shares)]


def _places(field: Field, cell: list[int], stage: str) -> list[float]:
    row, col = cell
    return feature_axis_places(field.record.isel(y=[row], x=[col]), field.basis, stage=stage).values.ravel().tolist()
