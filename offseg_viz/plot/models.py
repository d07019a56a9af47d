"""Models of different sizes by one figure of their alignment."""

import numpy as np
import pandas as pd

from offseg_viz.errors import RecordError, UnknownNameError
from offseg_viz.plot import theme
from offseg_viz.plot.figure import StaticFigure
from offseg_viz.plot.summary import rounded

STAGES = ("initial", "aligned", "ideal")


def plot_models(table: pd.DataFrame, *, figure: str = "ideal_angle") -> StaticFigure:
    """One figure of every model of an `alignment_report` against its number of parameters, with its intervals.

    A model of unknown size (a store) is left out and counted in the summary.

    Parameters
    ----------
    table : DataFrame
        Made by `alignment_report`.
    figure : str
        Name of the figure without its stage: ``"miou"``, ``"ideal_angle"``, ``"across_images"``, ...; its stages are
        drawn in their colours.

    Raises
    ------
    UnknownNameError
        If the table has no such figure.
    RecordError
        If it has no column `parameters`, or no model has a size and a value.
    """
    if "parameters" not in table:
        raise RecordError(f"needed the columns of alignment_report(), found {list(table.columns)}")
    columns = {stage: f"{figure}_{stage}" for stage in STAGES if f"{figure}_{stage}" in table} or {"": figure}
    if not set(columns.values()) <= set(table.columns):
        ends = tuple(f"_{stage}" for stage in STAGES)
        known = [name for name in table.columns if f"{name}_low" in table.columns]
        known = dict.fromkeys(name.rsplit("_", 1)[0] if name.endswith(ends) else name for name in known)
        raise UnknownNameError("figure", figure, known)
    shown = table[table["parameters"].notna()].sort_values("parameters")
    shown = shown[shown[list(columns.values())].notna().any(axis=1)]
    if shown.empty:
        raise RecordError(f"no model has both a number of parameters and a value of {figure!r}")
    words, millions = figure.replace("_", " "), shown["parameters"].to_numpy(float) / 1e6
    scale = float(np.nanmax(np.abs(shown[list(columns.values())].to_numpy(float))))
    parts = []
    with theme.style():
        drawn = StaticFigure("", figsize=(6.4, 3.9))
        axes = drawn.subplots()
        for stage, column in columns.items():
            values, color = shown[column].to_numpy(float), theme.STAGE_COLORS.get(stage, theme.INK)
            ends = [np.abs(shown[f"{column}_{end}"].to_numpy(float) - values) for end in ("low", "high")]
            axes.errorbar(
                millions,
                values,
                yerr=ends,
                fmt="o",
                color=color,
                ecolor=color,
                elinewidth=1.4,
                markersize=5,
                label=stage,
            )
            told = ", ".join(f"{name} {rounded(value, scale)}" for name, value in zip(shown.index, values))
            parts.append(f"{stage} {told}".strip())
        top = shown[list(columns.values())].max(axis=1)
        for name, place, height in zip(shown.index, millions, top):
            axes.annotate(str(name), (place, height), xytext=(6, 5), textcoords="offset points", fontsize=8)
        axes.set_xscale("log")
        axes.minorticks_off()
        axes.set_xticks(millions, [f"{value:.3g}" for value in millions])
        axes.set(xlabel="parameters, millions", ylabel=words + (" (degrees)" if "angle" in figure else ""))
        axes.margins(x=0.25, y=0.14)
        axes.grid(color=theme.HAIRLINE, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.set_title(f"{words} by size of the model")
        if list(columns) != [""]:
            drawn.legend(loc="outside upper right", ncol=3, handlelength=1.2)
        left_out = len(table) - len(shown)
        drawn.summary = f"{words} by size of {len(shown)} model{'s' if len(shown) != 1 else ''}: {'; '.join(parts)}" + (
            f"; {left_out} left out" if left_out else ""
        )
    return drawn
