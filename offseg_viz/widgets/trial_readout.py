"""The numbers of a trial of `OffsetLab`: as HTML tables with bars, and as lines of text."""

import math
from html import escape

import pandas as pd
import xarray as xr

from offseg_viz.analyze.changes import CHANGES
from offseg_viz.plot import theme
from offseg_viz.widgets.offset_trials import Trial
from offseg_viz.widgets.readout import swatch

MOST_CLASSES = 6
_QUALITY = {"miou": "mIoU", "aacc": "pixel accuracy"}
_CELL = 'style="padding:2px 10px 2px 0;text-align:left;white-space:nowrap"'
_NUMBER = 'style="padding:2px 10px 2px 0;text-align:right;white-space:nowrap"'
_NAME = (
    "padding:2px 8px 2px 0;text-align:left;font-weight:400;white-space:nowrap;max-width:104px;overflow:hidden;"
    "text-overflow:ellipsis"
)
_BLOCK = "font-size:12px;line-height:1.45;font-variant-numeric:tabular-nums"


def quality_html(trial: Trial) -> str:
    """mIoU and pixel accuracy with their changes from both stages, and the cells of each kind of change."""
    head = "".join(f'<th scope="col" {_NUMBER}>{words}</th>' for words in ("now", "to none", "to model"))
    rows = []
    for column, words in _QUALITY.items():
        initial, chosen, aligned = trial.quality[column]
        figures = (_percent(chosen), _points(chosen - initial), _points(chosen - aligned))
        cells = "".join(f'<td {_NUMBER} data-figure="{column}">{figure}</td>' for figure in figures)
        rows.append(f'<tr><th scope="row" {_CELL}>{words}</th>{cells}</tr>')
    total = max(int(trial.counts.sum()), 1)
    kinds = "".join(
        f'<tr><th scope="row" {_CELL}>{swatch(CHANGES[name])} {name.replace("_", ", ")}</th>'
        f'<td {_NUMBER} data-kind="{name}">{count}</td><td {_NUMBER}>{_percent(count / total)}</td></tr>'
        for name, count in trial.counts.items()
    )
    return (
        f'<div class="offseg-quality" role="status" style="{_BLOCK}">'
        f"<table><tr><td></td>{head}</tr>{''.join(rows)}</table>"
        f'<table style="margin-top:8px"><tr><th scope="col" {_CELL}>against none</th>'
        f'<th scope="col" {_NUMBER}>cells</th><th scope="col" {_NUMBER}>share</th></tr>{kinds}</table></div>'
    )


def classes_html(trial: Trial, record: xr.Dataset) -> str:
    """The classes whose IoU changed most, with bars for none and now; every name is escaped."""
    colors = dict(zip(record["cls"].values.astype(str), record["color"].values.astype(str)))
    shown = trial.classes.head(MOST_CLASSES)
    rows = "".join(
        f'<tr><th scope="row" title="{escape(name)}" style="{_NAME}">{swatch(colors[name])} {escape(name)}</th>'
        f"<td {_CELL}>{_bar(row.initial, 'initial')}{_bar(row.chosen, 'aligned')}</td>"
        f"<td {_NUMBER}>{100 * row.initial:.1f} → {100 * row.chosen:.1f}</td>"
        f"<td {_NUMBER}><b>{_points(row.change)}</b></td></tr>"
        for name, row in zip(shown.index, shown.itertuples())
    )
    if not rows:
        rows = f"<tr><td {_CELL}>no class differs from none</td></tr>"
    more = len(trial.classes) - len(shown)
    rest = f'<div style="opacity:.7">and {more} more with a smaller change</div>' if more else ""
    return (
        f'<div class="offseg-classes" style="{_BLOCK}"><b>IoU in percent, without offsets → now</b>'
        f"<table>{rows}</table>{rest}</div>"
    )


def trial_text(trial: Trial) -> list[str]:
    """The numbers in lines, rounded, for the text summary."""
    lines = []
    for column, words in _QUALITY.items():
        initial, chosen, aligned = trial.quality[column]
        changes = f"{_points(chosen - initial)} against none, {_points(chosen - aligned)} against the model"
        lines.append(f"{words} {_percent(chosen)} ({changes})")
    total = max(int(trial.counts.sum()), 1)
    kinds = ", ".join(f"{name.replace('_', ' ')} {_percent(count / total)}" for name, count in trial.counts.items())
    lines.append(f"of the labelled cells {kinds}")
    shown = trial.classes.head(3)
    told = ", ".join(f"{name} {_points(change)}" for name, change in shown["change"].items())
    return [*lines, f"largest changes of IoU: {told or 'none'}"]


def plain_quality(quality: pd.DataFrame) -> str:
    """mIoU and pixel accuracy alone, for a record whose offsets cannot be changed."""
    return ", ".join(f"{words} {_percent(quality.loc['chosen', column])}" for column, words in _QUALITY.items())


def _percent(value: float) -> str:
    return "n/a" if math.isnan(value) else f"{100 * value:.1f} %"


def _points(value: float) -> str:
    """A change of a fraction in percentage points, with its sign."""
    return "n/a" if math.isnan(value) else f"{round(100 * value, 1) + 0.0:+.1f}"


def _bar(value: float, stage: str) -> str:
    color = theme.STAGE_COLORS[stage]
    return (
        '<div style="width:56px;height:6px;margin:2px 0;background:rgba(128,134,142,.16)">'
        f'<div style="width:{56 * value:.1f}px;height:6px;background:{color}"></div></div>'
    )
