"""Intersection over union of every class, before and after the refinement, as bars."""

import numpy as np
import pandas as pd

from offseg_viz.errors import RecordError
from offseg_viz.plot import theme
from offseg_viz.plot.figure import StaticFigure
from offseg_viz.plot.summary import literal

COLUMNS = ("initial", "aligned", "ideal")


def plot_classes(table: pd.DataFrame, *, title: str = "IoU of every class", interactive: bool = False):
    """Horizontal bars of a class table: one row a class, one bar each for initial and aligned, a tick for ideal.

    Parameters
    ----------
    table : DataFrame
        Index class names, columns among ``initial``, ``aligned`` and ``ideal``, values between 0 and 1, as made by
        `class_iou`. Classes that are NaN in every column are left out and counted in the summary.
    title : str
        Heading.
    interactive : bool
        A plotly figure with hover text in place of a `StaticFigure`.

    Raises
    ------
    RecordError
        If the table has none of the columns, or no class with a value.
    """
    columns = [name for name in COLUMNS if name in table.columns]
    if not columns:
        raise RecordError(
            f"the table has the columns {list(table.columns)}, needed some of {list(COLUMNS)}; use class_iou()"
        )
    shown = table[columns].dropna(how="all")
    if shown.empty:
        raise RecordError("no class of the table has a value; class_iou() needs records with labels")
    main = "aligned" if "aligned" in columns else columns[0]
    shown = shown.sort_values(main, ascending=False, kind="stable", na_position="last")
    if interactive:
        return _interactive(shown, columns, title)
    bars = [name for name in columns if name != "ideal"] or ["ideal"]
    with theme.style():
        figure = StaticFigure(_summary(title, shown, len(table) - len(shown)), figsize=(6.4, 0.9 + 0.29 * len(shown)))
        axes = figure.subplots()
        rows, thickness = np.arange(len(shown)), 0.8 / len(bars)
        for number, name in enumerate(bars):
            place = rows + (number - (len(bars) - 1) / 2) * thickness
            axes.barh(place, shown[name], height=thickness * 0.92, color=theme.STAGE_COLORS[name], label=name)
        if "ideal" in columns and bars != ["ideal"]:
            axes.scatter(
                shown["ideal"], rows, marker="|", s=110, color=theme.STAGE_COLORS["ideal"], label="ideal", zorder=3
            )
        axes.set_yticks(rows, [str(name) for name in shown.index])
        axes.set(xlim=(0, 1), ylim=(len(shown) - 0.4, -0.6), xlabel="IoU")
        axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}%")
        axes.grid(axis="x", color=theme.HAIRLINE, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.set_title(title)
        handles, labels = axes.get_legend_handles_labels()
        order = [labels.index(name) for name in columns]
        figure.legend([handles[k] for k in order], columns, loc="outside upper right", ncol=3, handlelength=1.2)
    return figure


def _summary(title: str, shown: pd.DataFrame, absent: int) -> str:
    means = ", ".join(f"{name} {100 * shown[name].mean():.1f}" for name in shown.columns)
    text = f"{title}: mean over {len(shown)} classes in percent: {means}"
    if {"initial", "aligned"} <= set(shown.columns):
        gain = (shown["aligned"] - shown["initial"]).dropna()
        if len(gain):
            best, worst = gain.idxmax(), gain.idxmin()
            text += f"; largest change {best} {100 * gain[best]:+.1f}, smallest {worst} {100 * gain[worst]:+.1f}"
    return text + (f"; {absent} classes never occur" if absent else "")


def _interactive(shown: pd.DataFrame, columns: list[str], title: str):
    import plotly.graph_objects as go

    names = [literal(name) for name in shown.index]
    figure = go.Figure()
    for name in columns:
        hover = "%{y}: " + name + " %{x:.1%}<extra></extra>"
        values = [None if np.isnan(value) else round(float(value), 4) for value in shown[name]]
        if name == "ideal" and len(columns) > 1:
            tick = dict(symbol="line-ns", size=11, line=dict(width=2, color=theme.STAGE_COLORS[name]))
            figure.add_scatter(x=values, y=names, mode="markers", name=name, marker=tick, hovertemplate=hover)
        else:
            figure.add_bar(
                x=values,
                y=names,
                name=name,
                orientation="h",
                marker_color=theme.STAGE_COLORS[name],
                hovertemplate=hover,
            )
    figure.update_layout(
        title=literal(title), template="plotly_white", barmode="group", bargap=0.25, height=130 + 24 * len(shown),
        margin=dict(l=10, r=10, t=60, b=40), font=dict(family="system-ui, sans-serif", size=12, color=theme.INK),
        legend=dict(orientation="h", yanchor="bottom", y=1, xanchor="right", x=1, traceorder="normal"),
        xaxis=dict(range=[0, 1], tickformat=".0%", dtick=0.2, title="IoU"),
        yaxis=dict(autorange="reversed", automargin=True),
    )  # fmt: skip
    return figure
