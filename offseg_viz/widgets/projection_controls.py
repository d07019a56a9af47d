"""The controls and lines of text of the projection explorer, which says what they do."""

from html import escape

import ipywidgets
import numpy as np
import xarray as xr

from offseg_viz.plot.scatter import quality_parts
from offseg_viz.terms import STAGES
from offseg_viz.widgets.projection_points import COLORS, Coloring, ProjectionPoints, scale_ends
from offseg_viz.widgets.readout import legend_html

_HINT = "Shift and drag to lasso, wheel to zoom, drag to move, Escape to clear."
_MARKS = (
    "Small points are pixels. Large ones are class embeddings: W at the initial stage; at the aligned one W + dW of "
    "each image and, larger, their mean."
)
_NARROW = {"style": {"description_width": "initial"}, "layout": {"width": "230px"}}
_COLUMN = {"flex": "1 1 440px", "min_width": "0"}


class Controls:
    """All controls: `stage`, `color`, `cls`, `region`, `image` and `clear`; `top` is the row of the first three.

    What the table cannot be coloured by is left out, and stands beside it with the reason of `reasons`.
    """

    def __init__(self, table: xr.Dataset, points: ProjectionPoints, *, reasons: dict[str, str]):
        self.stage = ipywidgets.ToggleButtons(
            options=STAGES,
            value="aligned",
            description="Stage",
            disabled=points.one_stage,
            style={"description_width": "initial", "button_width": "7em"},
            layout={"width": "max-content", "display": "flex", "align_items": "center"},
        )
        choices = [(words, name) for name, words in COLORS.items() if name not in reasons]
        self.color = ipywidgets.Dropdown(options=choices, description="Colour", **_NARROW)
        present = np.unique(points.cls[: points.pixels])
        names = [points.classes.names[k] for k in present if k < len(points.classes)]
        self.cls = ipywidgets.Dropdown(options=["", *names], description="Select class", **_NARROW)
        self.image = ipywidgets.Dropdown(options=["", *points.images], description="Add image", **_NARROW)
        self.region = ipywidgets.ToggleButton(
            description="Draw a region",
            tooltip="Drag on an image round the pixels to select",
            icon="pencil",
            layout={"width": "auto"},
        )
        self.clear = ipywidgets.Button(description="Clear selection", layout={"width": "auto"})
        notes = ["one stage: a per-pixel model moves no feature"] if points.one_stage else []
        self._notes = ipywidgets.HTML(_line("; ".join([*notes, *reasons.values()]), quiet=True))
        self._point = ipywidgets.HTML(_line(_HINT, quiet=True))
        self._quality = ipywidgets.HTML(_line(" · ".join(method_and_quality(table))))
        self._legend = ipywidgets.HTML(layout={"max_height": "116px", "overflow": "auto"})
        self._count = ipywidgets.HTML(layout={"flex": "1 1 180px", "min_width": "0"})
        self.top = [self.stage, self.color, self.cls, self._notes]

    def left(self, scatter: ipywidgets.DOMWidget) -> ipywidgets.VBox:
        """The scatter with all that stands beneath it."""
        return ipywidgets.VBox([scatter, self._point, self._quality, self._legend], layout=_COLUMN)

    def right(self, images: ipywidgets.DOMWidget) -> ipywidgets.VBox:
        """The images with their controls."""
        first = ipywidgets.HBox([self.region, self.image], layout=row())
        second = ipywidgets.HBox([self._count, self.clear], layout=row(flex_flow="row"))
        return ipywidgets.VBox([first, second, images], layout=_COLUMN)

    def show_legend(self, coloring: Coloring) -> None:
        """Names with their colours, or a scale with its ends; what small and large points are."""
        scale = legend_html(coloring.names, coloring.colors) if coloring.limits is None else _scale_html(coloring)
        self._legend.value = scale + _line(_MARKS, quiet=True)

    def show_count(self, text: str) -> None:
        """What is selected; nothing for an empty text."""
        self._count.value = _line(text or "No pixel selected.", role="status")
        self.clear.disabled = not text

    def show_point(self, text: str | None) -> None:
        """What the point under the pointer is; None for no point."""
        self._point.value = _line(_HINT if text is None else text, quiet=text is None)


def row(**more: str) -> ipywidgets.Layout:
    """A row whose parts wrap."""
    return ipywidgets.Layout(**{"flex_flow": "row wrap", "grid_gap": "4px 16px", "align_items": "center"} | more)


def method_and_quality(table: xr.Dataset) -> list[str]:
    """What the axes are, and the quality figures of the projection."""
    method, share = str(table.attrs.get("method", "projection")).upper(), table.attrs.get("explained_variance")
    if share is not None:
        method += f": across {100 * share[0]:.0f}%, up {100 * share[1]:.0f}% of the variance"
    elif method == "UMAP":
        method += ": neighbourhoods only, distances measure nothing"
    return [method, *quality_parts(table)]


def _line(text: str, *, quiet: bool = False, role: str = "") -> str:
    """A line of text as HTML; nothing for an empty one."""
    color = ";color:var(--jp-content-font-color2, #5b6470)" if quiet else ""
    said = f' role="{role}"' if role else ""
    return text and f'<div{said} style="font-size:12px;line-height:1.45{color}">{escape(text)}</div>'


def _scale_html(coloring: Coloring) -> str:
    """A colour bar with its name and the ends of its scale."""
    low, high = scale_ends(coloring)
    hues = ",".join(coloring.colors[::16])
    bar = f"width:180px;height:8px;border-radius:3px;background:linear-gradient(to right,{hues})"
    spans = f'<span>{escape(coloring.names[0])}</span><span>{low}</span><span style="{bar}"></span><span>{high}</span>'
    style = "display:flex;align-items:center;gap:8px;font-size:12px;font-variant-numeric:tabular-nums"
    return f'<div style="{style}">{spans}</div>'
