"""Pixels of two classes in the plane of their scores for them: arrows from the initial to the aligned scores."""

import numpy as np
import xarray as xr
from matplotlib import patheffects
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex, to_rgb
from matplotlib.lines import Line2D

from offseg_viz.errors import RecordError
from offseg_viz.plot import theme
from offseg_viz.plot.figure import StaticFigure
from offseg_viz.plot.summary import rounded
from offseg_viz.plot.terms import COLORS

_HALO = [patheffects.withStroke(linewidth=2.2, foreground="white")]


def plot_plane(plane: xr.Dataset, *, steps: bool = False, title: str | None = None) -> StaticFigure:
    """Arrows of a `class_plane`: a line for every pixel from its initial scores to its aligned ones, where the dot is.

    The diagonal is where the two classes tie: below it the class of the horizontal axis scores higher. Scores are
    before the LayerNorm, which can move the tie. A thick arrow is the mean of its class. Here, unlike in a projection,
    lengths and directions are true, and both axes have one scale.

    Parameters
    ----------
    plane : Dataset
        As made by `class_plane`.
    steps : bool
        Draw the way of the mean, an arrow for each of the terms E dW, dE W and dE dW, in place of one straight arrow.
    title : str, optional
        Heading.

    Raises
    ------
    RecordError
        If the dataset is no `class_plane`.
    """
    if "score" not in plane or plane["score"].dims != ("step", "pixel", "axis"):
        raise RecordError(f"needed score (step, pixel, axis) as class_plane() makes it, found {sorted(plane)}")
    a, b = map(str, plane["axis"].values)
    title = f"Scores of {a} and {b}, initial (line) to aligned (dot)" if title is None else title
    of_class = {
        name: (str(hue), plane["score"].values[:, plane["cls"].values == name].astype(float))
        for name, hue in zip((a, b), plane["color"].values, strict=True)
        if (plane["cls"].values == name).any()
    }
    with theme.style():
        figure = StaticFigure(_summary(plane, title), figsize=(6, 6.3 if steps else 6))
        axes = figure.subplots()
        for hue, moves in of_class.values():
            _arrows(axes, moves[0], moves[-1], hue)
        for name, (hue, moves) in of_class.items():  # on top of all pixels
            beside = dict(xytext=(7, -5), ha="left", va="top") if name == a else dict(xytext=(-7, 5), ha="right")
            _mean_arrows(axes, moves.mean(axis=1), hue, steps)
            axes.annotate(
                f"mean of {name}",
                moves[-1].mean(axis=0),
                textcoords="offset points",
                path_effects=_HALO,
                zorder=7,
                **beside,
            )
        drawn = [moves[[0, -1]] for _, moves in of_class.values()]
        limits = _limits(drawn, [moves.mean(axis=1) for _, moves in of_class.values()])
        axes.plot(limits, limits, color=theme.QUIET, linewidth=0.9, linestyle=(0, (5, 4)), zorder=1)
        note = dict(fontsize=8, color=theme.QUIET, transform=axes.transAxes, path_effects=_HALO)
        axes.text(0.99, 0.01, f"{a} scores higher", ha="right", va="bottom", **note)
        axes.text(0.01, 0.99, f"{b} scores higher", ha="left", va="top", **note)
        axes.set(xlim=limits, ylim=limits, aspect="equal", xlabel=f"score of {a}", ylabel=f"score of {b}")
        axes.grid(color=theme.HAIRLINE, linewidth=0.5)
        axes.set_axisbelow(True)
        axes.set_title(title)
        if steps:
            handles = [Line2D([], [], color=hue, linewidth=2, label=term) for term, hue in list(COLORS.items())[1:]]
            figure.legend(
                handles=handles, loc="outside lower center", ncol=3, title="what moves the mean", title_fontsize=8
            )
    return figure


def _arrows(axes, start: np.ndarray, end: np.ndarray, hue: str) -> None:
    """Thin lines from `start` to `end` (pixel, axis), dark enough to be seen on white, with a dot at the end."""
    dark = to_hex(0.5 * (np.array(to_rgb(hue)) + to_rgb(theme.INK))) if theme.readable_on(hue) == theme.INK else hue
    lines = np.stack([start, end], axis=1)
    axes.add_collection(LineCollection(lines, colors=dark, linewidths=0.7, alpha=0.35, zorder=2))
    axes.scatter(*end.T, s=11, color=hue, edgecolors=dark, linewidths=0.4, alpha=0.9, zorder=3)


def _mean_arrows(axes, places: np.ndarray, hue: str, steps: bool) -> None:
    """The way of a mean (step, axis), a colour a term, or one arrow from its start to its end."""
    colors = list(COLORS.values())[1:] if steps else [theme.INK]
    places = places if steps else places[[0, -1]]
    for start, end, color in zip(places[:-1], places[1:], colors, strict=True):
        look = dict(arrowstyle="-|>", color=color, linewidth=2, mutation_scale=13, shrinkA=0, shrinkB=0)
        axes.annotate("", end, start, arrowprops=look | {"path_effects": _HALO}, zorder=5)
    axes.scatter(*places[0], s=36, color=hue, edgecolors=theme.INK, linewidths=1, zorder=6)


def _limits(*places: list[np.ndarray]) -> tuple[float, float]:
    """Ends of both axes, with some room around all that is drawn."""
    values = np.concatenate([np.ravel(one) for group in places for one in group])
    low, high = float(values.min()), float(values.max())
    room = 0.05 * (high - low or 1)
    return low - room, high + room


def _summary(plane: xr.Dataset, title: str) -> str:
    """Of each class: pixels, share on its own side of the diagonal before and after, and the mean arrow."""
    told, scale = [], float(np.abs(plane["score"].values).max())
    for number, name in enumerate(map(str, plane["axis"].values)):
        moves = plane["score"].isel(step=[0, -1]).values[:, plane["cls"].values == name]
        if not moves.shape[1]:
            told.append(f"{name} 0 pixels")
            continue
        before, after = 100 * (moves[..., number] > moves[..., 1 - number]).mean(axis=1)
        arrow = ", ".join(rounded(float(step), scale) for step in (moves[1] - moves[0]).mean(axis=0))
        told.append(
            f"{name} {moves.shape[1]} pixels, scores higher than the other {before:.1f}% to {after:.1f}%, "
            f"mean arrow ({arrow})"
        )
    return f"{title}: {'; '.join(told)}"
