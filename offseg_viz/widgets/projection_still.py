"""The still picture of the projection explorer: that of `plot_scatter`, for many pixels a plainer and quicker one."""

from io import BytesIO

import numpy as np
import xarray as xr
from PIL import Image

from offseg_viz.plot.points import plot_points
from offseg_viz.plot.scatter import COLORS as PLOT_COLORS
from offseg_viz.plot.scatter import balanced, plot_scatter
from offseg_viz.terms import STAGES
from offseg_viz.widgets.projection_controls import method_and_quality
from offseg_viz.widgets.projection_points import ProjectionPoints, scale_ends

MOST_SCATTERED = 20_000
"""Pixels up to which `plot_scatter` draws them, and names class embeddings."""

_DPI = 72


def projection_still(table: xr.Dataset, points: ProjectionPoints, color: str, *, summary: str) -> bytes:
    """Both stages side by side, as the bytes of a PNG file; `summary` is the figure's text."""
    if points.pixels <= MOST_SCATTERED and color in PLOT_COLORS:
        return plot_scatter(table, color=color).png(dpi=_DPI)
    pixels, panels, marks = slice(0, points.pixels), {}, {}
    middles = points.kinds == 4
    for stage, places in list(zip(STAGES, points.places))[: 1 if points.one_stage else 2]:
        coloring = points.coloring(color, stage)
        palette = np.array([[int(hue[k : k + 2], 16) for k in (1, 3, 5)] for hue in coloring.palette], dtype=np.uint8)
        panels[stage] = places[pixels], palette[coloring.codes[pixels]]
        marks[stage] = places[middles], [points.classes.colors[k] for k in points.cls[middles]]
    names, note = dict(zip(coloring.names, coloring.colors)), balanced(method_and_quality(table), len(panels) % 2 + 2)
    if coloring.limits is not None:
        low, high = scale_ends(coloring)
        names, note = {}, [*note, f"colour: {coloring.names[0]} from {low} (dark) to {high} (bright)"]
    figure = plot_points(panels, marks, note="\n".join(note), names=names, summary=summary)
    drawn, small = BytesIO(), BytesIO()
    figure.savefig(drawn, format="png", dpi=_DPI)
    # `StaticFigure.png` chooses its colours with more care, and takes half a second for it
    Image.open(drawn).convert("RGB").quantize(256, method=Image.Quantize.FASTOCTREE).save(small, "PNG")
    return small.getvalue()
