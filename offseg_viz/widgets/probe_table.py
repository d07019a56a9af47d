"""The numbers of `PixelProbe` as an HTML table with bars, and as a line of text; every name is escaped."""

import math
from html import escape

import numpy as np

from offseg_viz.plot import theme
from offseg_viz.plot.summary import rounded
from offseg_viz.widgets.probe_views import PixelFacts
from offseg_viz.widgets.readout import signed

TOP_CLASSES = 10

STYLE = f"""<style>
.offseg-probe {{ font-size: 12px; line-height: 1.45; font-variant-numeric: tabular-nums; }}
.offseg-probe table {{ border-collapse: collapse; }}
.offseg-probe th {{ font-weight: 600; text-align: left; white-space: nowrap; }}
.offseg-probe dl {{ display: grid; grid-template-columns: max-content 1fr; gap: 0 12px; margin: 0 0 6px; }}
.offseg-probe dt {{ font-weight: 600; }}
.offseg-probe dd {{ margin: 0; }}
.offseg-probe-rows {{ font-size: 11px; max-height: 270px; overflow: auto; }}
.offseg-probe caption {{ text-align: left; color: var(--jp-content-font-color2, #5b6470); padding: 0 0 2px; }}
.offseg-probe-rows thead th {{ position: sticky; top: 0; background: var(--jp-layout-color0, #fff); z-index: 1; }}
.offseg-probe-rows td, .offseg-probe-rows th {{ padding: 0 7px 0 0; text-align: right; white-space: nowrap; }}
.offseg-probe-rows td:first-child, .offseg-probe-rows th:first-child {{ text-align: left; max-width: 8em;
  overflow: hidden; text-overflow: ellipsis; }}
.offseg-probe-rows tr.on td {{ font-weight: 600; }}
.offseg-probe s {{ display: inline-block; width: 9px; height: 9px; border-radius: 2px; margin-right: 5px;
  outline: 1px solid rgba(128,134,142,.6); text-decoration: none; }}
.offseg-probe u {{ display: block; position: relative; width: 48px; height: 6px; margin: 1px 0;
  background: rgba(128,134,142,.16); text-decoration: none; }}
.offseg-probe u.w {{ width: 24px; }}
.offseg-probe b {{ position: absolute; height: 6px; background: {theme.STAGE_COLORS["aligned"]}; }}
.offseg-probe u:first-child:not(:last-child) b {{ background: {theme.STAGE_COLORS["initial"]}; }}
.offseg-probe u.w b {{ background: {theme.STAGE_COLORS["ideal"]}; }}
</style>"""
"""Sent once: rows of 150 classes stay small without a style of their own on every cell."""

_HINT = (
    "No pixel selected. Click into a map, or focus one with Tab and use the arrow keys; Escape clears. "
    "Tick <i>follow the pointer</i> to probe by moving over a map."
)


def facts_html(facts: PixelFacts | None, *, position: tuple[float, float] | None, cls: str | None) -> str:
    """Place, label, prediction and offset of a pixel; without one, how to select it."""
    if facts is None:
        return f'<div class="offseg-probe" role="status">{_HINT}</div>'
    rows = {
        "pixel": f"y {position[0]:.0f}, x {position[1]:.0f} (row {facts.row}, col {facts.col})",
        "label": facts.label,
        "prediction": f"{facts.initial} → {facts.aligned}" if facts.offset is not None else facts.aligned,
        "offset": "none (per-pixel model)" if facts.offset is None else _length(facts),
    }
    if facts.offset is not None:
        toward = facts.measures["offset_direction"].values[:, facts.names.index(cls)]
        rows["direction"] = (
            f"cosine of dE {signed(facts.offset_direction)} to E; {signed(toward[0])} to W, "
            f"{signed(toward[1])} to W + dW of {cls}"
        )
    items = (f'<dt>{escape(key)}</dt><dd data-fact="{escape(key)}">{escape(value)}</dd>' for key, value in rows.items())
    return f'<div class="offseg-probe" role="status"><dl>{"".join(items)}</dl></div>'


def classes_html(facts: PixelFacts | None, *, cls: str | None, every: bool, reach: float) -> str:
    """A row for each class, by falling aligned cosine: the first ten and those in question, or every one.

    Bars of cosines go from -`reach` to `reach`, those of the attention from 0 to the largest.
    """
    if facts is None:
        return ""
    measures, two = facts.measures, facts.offset is not None
    colors, cosine = measures["color"].values.tolist(), measures["cosine"].values.tolist()
    scores, logits = _column(measures["scores"].values, two), _column(measures["logits"].values, two)
    attention = measures["position_attention"].values.tolist()
    most = max(attention)
    rows = []
    for k, name in shown_classes(facts, cls=cls, every=every):
        before, after = cosine[0][k], cosine[1][k]
        cells = [
            f'<s style="background:{escape(colors[k])}"></s>{escape(name)}',
            _pair(signed(before), signed(after), two),
            (_bar(before / reach) if two else "") + _bar(after / reach),
            scores[k],
            logits[k],
        ]
        if two:
            width = 24 * attention[k] / most
            cells += [_percent(attention[k]), f'<u class="w"><b style="left:0;width:{width:.1f}px"></b></u>']
        on = ' class="on"' if name == cls else ""
        rows.append(f"<tr{on}><td>{'<td>'.join(cells)}")
    heads = ["class", "cosine", "", "score", "logit"] + (["A_pos", ""] if two else [])
    head = "".join(f'<th scope="col">{text}</th>' for text in heads)
    return (
        f'<div class="offseg-probe offseg-probe-rows" tabindex="0" role="region" aria-label="Numbers of the pixel by '
        f'class"><table><caption>{_caption(two, reach)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _caption(two: bool, reach: float) -> str:
    if not two:
        return f"bars to ±{reach:g}; one stage: per-pixel model"
    keys = (f'<s style="background:{theme.STAGE_COLORS[stage]}"></s>{stage}' for stage in ("initial", "aligned"))
    return f"{' → '.join(keys)}, bars to ±{reach:g}; A_pos: position attention"


def shown_classes(facts: PixelFacts, *, cls: str | None, every: bool) -> list[tuple[int, str]]:
    """Number and name of the classes of the table, by falling aligned cosine."""
    names = facts.names
    order = np.argsort(-np.nan_to_num(facts.measures["cosine"].values[1], nan=-2), kind="stable").tolist()
    needed = {cls, facts.label, facts.initial, facts.aligned}
    return [(k, names[k]) for place, k in enumerate(order) if every or place < TOP_CLASSES or names[k] in needed]


def facts_text(facts: PixelFacts, cls: str) -> list[str]:
    """The numbers in a few lines, rounded, for the text summary."""
    names, cosine = facts.names, facts.measures["cosine"].values
    first = ", ".join(
        f"{name} {_pair(*map(signed, cosine[:, k]), facts.offset is not None, arrow='->')}"
        for k, name in shown_classes(facts, cls=None, every=True)[:3]
    )
    lines = [f"label {facts.label}, predicted {facts.initial} -> {facts.aligned}", f"nearest classes: {first}"]
    if facts.offset is None:
        return [*lines, "offset: none (per-pixel model)"]
    toward = facts.measures["offset_direction"].values[:, names.index(cls)]
    attended = int(np.argmax(facts.measures["position_attention"].values))
    share = _percent(facts.measures["position_attention"].values[attended])
    return [
        *lines,
        f"offset: {_length(facts)}; cosine of dE {signed(facts.offset_direction)} to E, {signed(toward[0])} to W, "
        f"{signed(toward[1])} to W + dW of {cls}",
        f"position attention: most to {names[attended]}, {share}",
    ]


def _length(facts: PixelFacts) -> str:
    absolute, relative = (rounded(value, value) for value in (facts.offset, facts.relative_offset))
    return f"|dE| {absolute}, |dE| / |E| {relative}"


def _column(values: np.ndarray, two: bool) -> list[str]:
    """(stage, cls) as text for each class, with the digits that `rounded` gives the largest."""
    largest = float(np.abs(values).max())
    digits = len(rounded(largest, largest).partition(".")[2])
    before, after = ([f"{value:z.{digits}f}" for value in row] for row in values.tolist())
    return [_pair(*pair, two) for pair in zip(before, after)]


def _pair(before: str, after: str, two: bool, arrow: str = "→") -> str:
    return f"{before} {arrow} {after}" if two else after


def _bar(value: float) -> str:
    """A bar of 48 pixels for -1 .. 1 that grows from its middle."""
    length = 0 if math.isnan(value) else 24 * min(1, abs(value))
    return f'<u><b style="left:{24 - length if value < 0 else 24:.1f}px;width:{length:.1f}px"></b></u>'


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%" if share >= 0.0005 else "<0.1%"
