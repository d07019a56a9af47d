"""What each term of the score adds to the margin of the right class, as bars stacked to both sides of zero."""

import numpy as np
import pandas as pd

from offseg_viz.analyze.decomposition import MARGIN, SCORE_TERMS
from offseg_viz.errors import RecordError
from offseg_viz.plot import theme
from offseg_viz.plot.figure import StaticFigure
from offseg_viz.plot.summary import rounded

COLORS = dict(zip(SCORE_TERMS, ("#9aa5b1", "#1c5a96", "#d9772b", "#4aa3a8"), strict=True))
"""Grey for what the scores are without offsets, then class offsets, feature offsets, and both together."""
OVERALL = "all"


def plot_terms(table: pd.DataFrame, *, title: str = "Margin of scores by term") -> StaticFigure:
    """Bars of the four terms, one row a class (or image): what adds to the margin to the right, the rest to the left.

    A dot marks their sum, the mean margin of the aligned scores over the strongest rival, before the LayerNorm, with
    its interval; right of zero, the right class wins on average. Rows are sorted by it, with ``"all"`` on top; those
    without a value are left out and counted in the summary.

    Parameters
    ----------
    table : DataFrame
        As made by `decomposition`.
    title : str
        Heading.

    Raises
    ------
    RecordError
        If the table is no decomposition, or has no row with a value.
    """
    rows, ends, left_out = _chosen(table)
    with theme.style():
        figure = StaticFigure(_summary(title, rows, ends, left_out), figsize=(6.8, 1.1 + 0.27 * len(rows)))
        axes, places = figure.subplots(), np.arange(len(rows))
        reach = {1: np.zeros(len(rows)), -1: np.zeros(len(rows))}
        for term in SCORE_TERMS:
            value = rows[term].to_numpy()
            start = np.where(value < 0, reach[-1], reach[1])
            axes.barh(places, value, left=start, height=0.72, color=COLORS[term], label=term, linewidth=0)
            for side, taken in reach.items():
                taken += np.where(np.sign(value) == side, value, 0)
        axes.axvline(0, color=theme.INK, linewidth=0.9)
        axes.hlines(places, ends["low"], ends["high"], color=theme.INK, linewidth=1.4)
        dots = dict(marker="o", s=26, facecolor="white", edgecolor=theme.INK, linewidth=1.3, zorder=3)
        axes.scatter(rows.sum(axis=1), places, label="margin, their sum", **dots)
        if OVERALL in rows.index and len(rows) > 1:
            axes.axhline(0.5, color=theme.HAIRLINE, linewidth=0.7)
        axes.set_yticks(places, [str(name) for name in rows.index])
        axes.set(ylim=(len(rows) - 0.4, -0.6), xlabel="contribution to the margin of scores over the strongest rival")
        axes.grid(axis="x", color=theme.HAIRLINE, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.spines["left"].set_visible(False)
        axes.set_title(title)
        figure.legend(loc="outside lower center", ncol=5, handlelength=1.1, columnspacing=1.4)
    return figure


def _chosen(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    """Terms of each group to draw, low and high of their sum, and how many groups have no value."""
    needed = {*SCORE_TERMS, MARGIN}
    found = set(table["quantity"]) if {"quantity", "value", "low", "high"} <= set(table.columns) else set()
    if not needed <= found:
        missing = ", ".join(sorted(needed - found))
        raise RecordError(f"the table lacks the quantities {missing}; needed one of decomposition()")
    group = table.columns[0]
    terms = table.pivot_table("value", group, "quantity", sort=False, dropna=False)[list(SCORE_TERMS)]
    rows = terms.dropna()
    if rows.empty:
        raise RecordError(f"no {group} of the table has a value; decomposition() needs labelled pixels and two classes")
    ranked = rows.sum(axis=1).sort_values(ascending=False, kind="stable").index
    rows = rows.loc[sorted(ranked, key=lambda name: name != OVERALL)]
    ends = table[table["quantity"] == MARGIN].set_index(group)[["low", "high"]].loc[rows.index]
    return rows, ends, len(terms) - len(rows)


def _summary(title: str, rows: pd.DataFrame, ends: pd.DataFrame, left_out: int) -> str:
    """The terms of everything together, and of the rows of the largest and the smallest margin."""
    scale, margin = float(rows.abs().to_numpy().max()), rows.sum(axis=1)
    single = margin.drop(OVERALL, errors="ignore")
    shown = [OVERALL] if OVERALL in rows.index else []
    shown += [single.index[0], single.index[-1]][: len(single)]
    told = []
    for name in dict.fromkeys(shown):
        terms = ", ".join(f"{term} {rounded(value, scale)}" for term, value in rows.loc[name].items())
        low, high = ends.loc[name]
        interval = "" if np.isnan(low) else f" [{rounded(low, scale)}, {rounded(high, scale)}]"
        told.append(f"{name} {rounded(margin[name], scale)}{interval} = {terms}")
    text = f"{title}, {len(rows)} row{'s' if len(rows) != 1 else ''}: {'; '.join(told)}"
    return text + (f"; {left_out} without a value" if left_out else "")
