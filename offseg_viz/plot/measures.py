"""One quantity of a measure table, as every analysis of many records returns it: dots or lines with their intervals."""

import math
from numbers import Real
from typing import NamedTuple

import numpy as np
import pandas as pd

from offseg_viz.errors import RecordError, UnknownNameError
from offseg_viz.plot import theme
from offseg_viz.plot.figure import StaticFigure
from offseg_viz.plot.summary import literal, rounded

COLUMNS = ("quantity", "stage", "value", "low", "high", "images")
"""What a measure table has behind the column that it groups by."""
OVERALL = "all"
"""The group of everything together, drawn above the others."""
_ORDER = ("initial", "aligned", "ideal")
_WORDS = {"cls": "class"}
_LEGIBLE_ROWS = 40
_MOST_ROWS = 160
"""More rows than this have no room for names: their dots are then a curve from the largest to the smallest."""
_WIDE_RANGE = 50
"""Positive groups that span a larger factor are spread on a logarithmic axis."""


class _Measures(NamedTuple):
    """What is drawn: one table a stage with the columns value, low, high and images, on the same groups."""

    quantity: str
    group: str
    stages: dict[str, pd.DataFrame]
    groups: pd.Index
    numeric: bool
    left_out: int

    @property
    def title(self) -> str:
        return f"{_words(self.quantity)} by {_words(self.group)}"

    @property
    def axis(self) -> str:
        return _words(self.quantity) + (" (degrees)" if "angle" in self.quantity else "")

    @property
    def scale(self) -> float:
        """Size of the values, by which they are rounded."""
        return float(max(table["value"].abs().max() for table in self.stages.values()))


def plot_measures(
    table: pd.DataFrame, *, quantity: str | None = None, title: str | None = None, interactive: bool = False
):
    """One quantity of a measure table with its intervals, a colour a stage.

    Groups that are numbers (a distance, a strength) lie along the horizontal axis, with a line and a band for the
    interval; on a logarithmic axis where they are positive and span more than a factor of 50. Groups that are names
    (classes, images, models) are rows of dots with bars for the interval, sorted by their aligned value where there is
    one, with the group "all" on top; more than 160 rows have no names.

    Parameters
    ----------
    table : DataFrame
        One row a figure: a column that names the group, then ``quantity``, ``stage``, ``value``, ``low``, ``high`` and
        ``images``. Groups without a value (NaN) at any stage are left out and counted in the summary.
    quantity : str, optional
        Which one; may be left out where the table has one only.
    title : str, optional
        Heading; by default the quantity and what it is grouped by.
    interactive : bool
        A plotly figure with hover text in place of a `StaticFigure`.

    Raises
    ------
    UnknownNameError
        If the table has no such quantity.
    RecordError
        If several quantities are there and none was named, it is no measure table, a group occurs twice at one stage,
        or no group has a value.
    """
    measures = _chosen(table, quantity)
    title = measures.title if title is None else title
    if interactive:
        return _interactive(measures, title)
    with theme.style():
        draw = _lines if measures.numeric else _dots
        figure = draw(measures, _summary(measures, title))
        axes = figure.axes[0]
        axes.set_title(title)
        axes.set_axisbelow(True)
        if list(measures.stages) != [""]:
            figure.legend(loc="outside upper right", ncol=len(measures.stages), handlelength=1.2)
    return figure


def _chosen(table: pd.DataFrame, quantity: str | None) -> _Measures:
    missing = [name for name in COLUMNS if name not in table.columns]
    group = str(table.columns[0]) if len(table.columns) else ""
    if missing or group in COLUMNS:
        raise RecordError(
            f"the table has the columns {list(table.columns)}; needed one that names the groups, then {list(COLUMNS)}: "
            "alignment(), class_scatter() and the other analyses of many records make such tables"
        )
    present = list(dict.fromkeys(table["quantity"]))
    if quantity is None and len(present) == 1:
        quantity = present[0]
    if quantity is None and present:
        raise RecordError(
            f"the table has several quantities; say which to draw: quantity={present[0]!r} or another of "
            f"{', '.join(map(str, present[1:]))}"
        )
    if quantity not in present:
        raise UnknownNameError("quantity", quantity, present)
    rows = table[table["quantity"] == quantity]
    rows = rows.assign(stage=rows["stage"].astype(object).where(rows["stage"].notna(), ""))  # so read back from a file
    if rows.duplicated([group, "stage"]).any():
        twice = rows[group][rows.duplicated([group, "stage"])].iloc[0]
        raise RecordError(f"{group} {twice!r} has {quantity!r} twice at one stage; plot the table of one analysis")
    numeric = all(isinstance(value, Real) and not isinstance(value, bool | np.bool_) for value in rows[group])
    valued = rows[rows["value"].notna() & (np.isfinite(rows[group].astype(float)) if numeric else True)]
    if valued.empty:
        raise RecordError(f"no {group} of the table has a value of {quantity!r}")
    found = [stage for stage in _ORDER if stage in set(valued["stage"])]
    found += [stage for stage in dict.fromkeys(valued["stage"]) if stage not in _ORDER]
    main = valued[valued["stage"] == ("aligned" if "aligned" in found else found[0])].set_index(group)["value"]
    groups = pd.Index(dict.fromkeys(valued[group]), dtype=None if numeric else object, name=group)
    if numeric:
        groups = groups.sort_values()
    else:
        ranked = main.reindex(groups).sort_values(ascending=False, kind="stable", na_position="last").index
        groups = pd.Index(sorted(ranked, key=lambda name: name != OVERALL), dtype=object, name=group)
    stages = {stage: valued[valued["stage"] == stage].set_index(group).reindex(groups) for stage in found}
    return _Measures(quantity, group, stages, groups, numeric, rows[group].nunique() - len(groups))


def _dots(measures: _Measures, summary: str) -> StaticFigure:
    count = len(measures.groups)
    step = 0.29 if count <= _LEGIBLE_ROWS else 0.13
    figure = StaticFigure(summary, figsize=(6.4, 0.95 + step * count if count <= _MOST_ROWS else 6))
    axes, rows = figure.subplots(), np.arange(count)
    size = 5 if count <= _LEGIBLE_ROWS else 3
    for number, (stage, table) in enumerate(measures.stages.items()):
        place = rows + (number - (len(measures.stages) - 1) / 2) * 0.22
        color = _color(stage)
        axes.hlines(place, table["low"], table["high"], color=color, linewidth=size / 2.5, alpha=0.6)
        axes.plot(table["value"], place, "o", color=color, markersize=size, markeredgewidth=0, label=stage)
    if count <= _MOST_ROWS:
        axes.set_yticks(rows, list(map(str, measures.groups)), fontsize=8 if count <= _LEGIBLE_ROWS else 6)
    else:
        axes.set_yticks([])
        axes.set_ylabel(f"{count} rows, one for each {_words(measures.group)}")
    if OVERALL in measures.groups and 1 < count <= _MOST_ROWS:
        axes.axhline(0.5, color=theme.HAIRLINE, linewidth=0.7)
    axes.set(ylim=(count - 0.4, -0.6), xlabel=measures.axis)
    axes.grid(axis="x", color=theme.HAIRLINE, linewidth=0.7)
    axes.spines["left"].set_visible(False)
    if axes.get_xlim()[0] < 0 < axes.get_xlim()[1]:
        axes.axvline(0, color=theme.QUIET, linewidth=0.8, zorder=1)
    return figure


def _lines(measures: _Measures, summary: str) -> StaticFigure:
    figure = StaticFigure(summary, figsize=(6.4, 3.6))
    axes, places = figure.subplots(), measures.groups.to_numpy(float)
    for stage, table in measures.stages.items():
        color = _color(stage)
        axes.fill_between(places, table["low"], table["high"], color=color, alpha=0.22, linewidth=0)
        axes.plot(places, table["value"], "o-", color=color, markersize=3.5, linewidth=1.4, label=stage)
    if _spread(places):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.minorticks_off()
    axes.set(xlabel=_words(measures.group), ylabel=measures.axis)
    axes.grid(color=theme.HAIRLINE, linewidth=0.7)
    if axes.get_ylim()[0] < 0 < axes.get_ylim()[1]:
        axes.axhline(0, color=theme.QUIET, linewidth=0.8, zorder=1)
    return figure


def _interactive(measures: _Measures, title: str):
    import plotly.graph_objects as go

    figure, names, group = go.Figure(), [literal(name) for name in measures.groups], literal(_words(measures.group))
    for stage, table in measures.stages.items():
        look = dict(name=stage or measures.quantity, legendgroup=stage)
        hover = [
            f"{group} {name}<br>{stage} {_with_interval(row, measures.scale)}<br>{row.images:.0f} images"
            for name, row in zip(names, table.itertuples())
            if not math.isnan(row.value)
        ]
        table, color = table.dropna(subset="value"), _color(stage)
        ends = table.dropna(subset=["low", "high"])
        marks = dict(text=hover, hovertemplate="%{text}<extra></extra>", **look)
        silent = dict(showlegend=False, hoverinfo="skip", mode="lines", **look)
        if measures.numeric:
            outline = [*_plain(ends["low"]), *_plain(ends["high"])[::-1]]
            around = [*ends.index.tolist(), *ends.index.tolist()[::-1]]
            band = dict(fill="toself", fillcolor=color, opacity=0.22, line=dict(width=0))
            figure.add_scatter(x=around, y=outline, **band, **silent)
            line = dict(mode="lines+markers", line=dict(color=color))
            figure.add_scatter(x=table.index.tolist(), y=_plain(table["value"]), **line, **marks)
        else:
            bars = [end for pair in zip(_plain(ends["low"]), _plain(ends["high"])) for end in (*pair, None)]
            beside = [literal(name) for name in ends.index for _ in range(3)]
            figure.add_scatter(x=bars, y=beside, line=dict(color=color, width=2), opacity=0.6, **silent)
            shown = [literal(name) for name in table.index]
            dots = dict(mode="markers", marker=dict(color=color, size=8))
            figure.add_scatter(x=_plain(table["value"]), y=shown, **dots, **marks)
    figure.update_layout(
        title=literal(title), template="plotly_white", showlegend=list(measures.stages) != [""],
        margin=dict(l=10, r=10, t=60, b=40), font=dict(family="system-ui, sans-serif", size=12, color=theme.INK),
        legend=dict(orientation="h", yanchor="bottom", y=1, xanchor="right", x=1),
    )  # fmt: skip
    if measures.numeric:
        logarithmic = "log" if _spread(measures.groups.to_numpy(float)) else "linear"
        figure.update_layout(height=380, yaxis_title=literal(measures.axis))
        figure.update_xaxes(title=group, type=logarithmic)
    else:
        row = 24 if len(names) <= _LEGIBLE_ROWS else 14
        height = 140 + row * len(names) if len(names) <= _MOST_ROWS else 700
        figure.update_layout(height=height, xaxis_title=literal(measures.axis))
        order = dict(type="category", categoryorder="array", categoryarray=names, range=[len(names) - 0.4, -0.6])
        figure.update_yaxes(automargin=True, showticklabels=len(names) <= _MOST_ROWS, **order)
    return figure


def _summary(measures: _Measures, title: str) -> str:
    """Overall figure and extremes of names, or the two ends of numbers, stage by stage."""
    parts, count = [], len(measures.groups)
    for stage, table in measures.stages.items():
        told = table.dropna(subset="value")
        single = told.drop(index=OVERALL, errors="ignore")
        figures = [f"all {_with_interval(told.loc[OVERALL], measures.scale)}"] if OVERALL in told.index else []
        if measures.numeric:
            chosen = dict.fromkeys((single.index[0], single.index[-1]))
            figures += [f"{_with_interval(single.loc[name], measures.scale)} at {name:g}" for name in chosen]
        elif len(single):
            chosen = {"highest": single["value"].idxmax(), "lowest": single["value"].idxmin()}
            chosen = chosen if len(single) > 1 else {"only": single.index[0]}
            figures += [
                f"{word} {name} {_with_interval(single.loc[name], measures.scale)}" for word, name in chosen.items()
            ]
        parts.append(f"{stage} {', '.join(figures)}".strip())
    text = f"{title}, {count} group{'s' if count != 1 else ''}: {'; '.join(parts)}"
    return text + (f"; {measures.left_out} without a value" if measures.left_out else "")


def _with_interval(row, scale: float) -> str:
    """``0.512 [0.480, 0.530]``; the value alone where there is no interval."""
    value = rounded(row.value, scale)
    return value if math.isnan(row.low) else f"{value} [{rounded(row.low, scale)}, {rounded(row.high, scale)}]"


def _words(name: str) -> str:
    return _WORDS.get(name, name).replace("_", " ")


def _color(stage: str) -> str:
    return theme.STAGE_COLORS.get(stage, theme.INK)


def _spread(places: np.ndarray) -> bool:
    return places.min() > 0 and places.max() > _WIDE_RANGE * places.min()


def _plain(values: pd.Series) -> list[float]:
    """Numbers of four digits as plotly's JSON holds them."""
    return [float(f"{value:.4g}") for value in values]
