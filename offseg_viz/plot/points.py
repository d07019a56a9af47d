"""Very many points as a picture: every cell of it has the mean colour of its points, so that drawing takes no time."""

import numpy as np
from matplotlib.lines import Line2D

from offseg_viz.plot import theme
from offseg_viz.plot.figure import StaticFigure

SIDE = 320
"""Cells of a panel along each axis."""
_MOST_NAMES = 40


def point_picture(places: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """A picture (SIDE, SIDE, 3) uint8 of points in the square from -1 to 1, on white.

    Parameters
    ----------
    places : array (point, 2)
        Across and up; points outside of the square are not drawn.
    colors : array (point, 3) uint8
    """
    where = (np.asarray(places, dtype=np.float64) * (1, -1) + 1) / 2 * SIDE
    within = ((where >= 0) & (where < SIDE)).all(axis=1)
    mean, cover = dot_colors(where[within], colors[within], (SIDE, SIDE))
    return np.where(cover[..., None] > 0, mean, 255).round().astype(np.uint8)


def dot_colors(
    where: np.ndarray, colors: np.ndarray, size: tuple[int, int], *, dot: tuple = ((0, 0, 1.0),)
) -> tuple[np.ndarray, np.ndarray]:
    """Mean colour (height, width, 3) of the dots over each pixel of a picture, and how far they cover it, 0 to 1.

    Parameters
    ----------
    where : array (point, 2)
        Across and down, in pixels of the picture.
    colors : array (point, 3) uint8
    size : (height, width)
    dot : down, right and weight of each of the pixels that one point covers; beyond an edge they move to it.
    """
    height, width = size
    col, row = np.floor(where).astype(int).T
    total, weights = np.zeros((height * width, 3)), np.zeros(height * width)
    for down, right, weight in dot:
        flat = (row + down).clip(0, height - 1) * width + (col + right).clip(0, width - 1)
        weights += weight * np.bincount(flat, minlength=height * width)
        for channel in range(3):
            total[:, channel] += weight * np.bincount(flat, colors[:, channel], height * width)
    mean = total / np.maximum(weights, 1e-9)[:, None]
    return mean.reshape(height, width, 3), np.minimum(weights, 1).reshape(height, width)


def plot_points(
    panels: dict[str, tuple[np.ndarray, np.ndarray]],
    marks: dict[str, tuple[np.ndarray, list[str]]],
    *,
    note: str,
    names: dict[str, str],
    summary: str,
) -> StaticFigure:
    """Panels of very many points side by side, in the square from -1 to 1.

    Parameters
    ----------
    panels : title to places (point, 2) and colours (point, 3) uint8 of the points.
    marks : title to places (mark, 2) and colours (``#rrggbb``) of a few larger points upon them.
    note : text beneath.
    names : names to colours for the legend; left out where there are more than fit.
    summary : the figure's text.
    """
    with theme.style():
        figure = StaticFigure(summary, figsize=(0.4 + 4.6 * len(panels), 5.3))
        grid = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, (title, (places, colors)) in zip(grid, panels.items()):
            axes.imshow(point_picture(places, colors), extent=(-1, 1, -1, 1), interpolation="antialiased")
            where, hues = marks.get(title, (np.zeros((0, 2)), []))
            axes.scatter(*np.reshape(where, (-1, 2)).T, c=hues, s=46, edgecolors=theme.INK, linewidths=0.7)
            axes.set(title=title, xticks=[], yticks=[], xlim=(-1, 1), ylim=(-1, 1))
            axes.spines[:].set_visible(True)
        shown = names if len(names) <= _MOST_NAMES else {}
        handles = [
            Line2D([], [], ls="", marker="o", ms=5, color=hue, label=name, mec=theme.QUIET, mew=0.4)
            for name, hue in shown.items()
        ]
        legend = figure.legend(handles=handles, loc="outside lower left", ncol=4 * len(panels), title=note)
        legend.set(alignment="left")
        legend.get_title().set(fontsize=7.5, color=theme.QUIET)
    return figure
