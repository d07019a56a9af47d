"""Colours and sizes of every figure: colour-blind safe maps, quiet axes, class colours taken from the record.

The two colour maps are perceptually ordered. `SEQUENTIAL` is viridis. `DIVERGING` runs from blue over near-white to
orange-brown, in the manner of Crameri's *vik* (Crameri, Shephard and Heron 2020, Nature Communications 11:5444), so
its two arms differ in hue for every common kind of colour vision and its middle is zero.
"""

from contextlib import AbstractContextManager

import matplotlib as mpl
import numpy as np
from matplotlib.colors import Colormap, LinearSegmentedColormap

DIVERGING: Colormap = LinearSegmentedColormap.from_list(
    "blue-orange",
    ["#08234f", "#1c5a96", "#5b9bc8", "#b7d5e8", "#f6f5f2", "#f4d2ae", "#e2985a", "#b8571b", "#5f2206"],
)
SEQUENTIAL: Colormap = mpl.colormaps["viridis"]

INK = "#22262b"
QUIET = "#6b7280"
HAIRLINE = "#d5d9de"
STAGE_COLORS = {"initial": "#9aa5b1", "aligned": "#d9772b", "ideal": "#1c5a96"}
"""One colour a stage in every chart; `ideal` is the least-squares class embedding of eq. (2)."""
RIGHT, WRONG = "#1c5a96", "#e2985a"

DPI = 110
MAP_OPACITY = 0.72
"""How strongly a map covers its photograph, which is drawn in grey beneath it so that hues stay those of the bar."""
GREY_LIFT = 110
"""By how many grey values that photograph is lifted out of the black, so that a dark street does not darken the map."""

_STYLE = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titlepad": 6,
    "axes.labelcolor": QUIET,
    "axes.labelsize": 8.5,
    "axes.edgecolor": HAIRLINE,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "hatch.linewidth": 0.6,
}


def style() -> AbstractContextManager:
    """The package's matplotlib settings as a context; the user's own settings are back afterwards."""
    return mpl.rc_context(_STYLE)


def lookup_table(cmap: Colormap) -> np.ndarray:
    """Colours of `cmap` for the byte values 0 .. 254 as (256, 4) uint8; the row of 255, "no value", is transparent."""
    table = np.zeros((256, 4), dtype=np.uint8)
    table[:255] = (cmap(np.linspace(0, 1, 255)) * 255).round().astype(np.uint8)
    return table


def readable_on(color: str) -> str:
    """Ink or white, whichever reads better on `color` (``#rrggbb``)."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "#ffffff"
