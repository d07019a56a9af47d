"""`ProjectionScatter`: jupyter-scatter's widget, to which places of both stages cross once, then colour numbers only.

Imported when the first explorer is made: jupyter-scatter takes a second or two.
"""

import gzip
from functools import cache
from pathlib import Path

import jscatter
import numpy as np
import traitlets
from jscatter.widget import JupyterScatter

from offseg_viz.terms import STAGES
from offseg_viz.widgets.projection_points import Coloring, ProjectionPoints

HEIGHT = 430
_SIZES = (3, 8, 6, 15, 12)
"""Diameters on the screen by `ProjectionPoints.kinds`."""

_GROUND = 0.91
"""Light grey, so that a white class can be seen."""


class ProjectionScatter(JupyterScatter):
    """The points of a projection at a stage; setting `stage` moves them there.

    jupyter-scatter itself sends all points for every change of place or colour, and loses changes that come while
    points move. `projection_scatter.js` wraps its view: it holds the places of both stages, moves points by itself, and
    takes the newest of changes that come meanwhile.

    Attributes
    ----------
    stage : {"initial", "aligned"}
    selection : array of uint32
        Numbers of the selected points, class embeddings among them.
    hovering : int or None
        The point under the pointer.
    """

    _esm = Path(__file__).with_name("projection_scatter.js").read_text(encoding="utf-8")

    bundle = traitlets.Bytes().tag(sync=True)
    places = traitlets.Bytes().tag(sync=True)
    kinds = traitlets.Bytes().tag(sync=True)
    codes = traitlets.Bytes().tag(sync=True)
    palette = traitlets.List(traitlets.Unicode()).tag(sync=True)
    stages = traitlets.List(traitlets.Unicode(), list(STAGES)).tag(sync=True)
    stage = traitlets.Unicode("aligned").tag(sync=True)
    name = traitlets.Unicode().tag(sync=True)

    def __init__(self, points: ProjectionPoints, coloring: Coloring, *, stage: str, name: str):
        unused = {f"{name}_histogram_range": [0, 1] for name in ("x", "y", "color", "opacity", "size")}
        self._landmarks = np.flatnonzero(points.kinds)[::-1]  # the first of the selected is drawn on top
        density = min(0.65, 60 / np.sqrt(points.pixels))
        super().__init__(
            data=None, bundle=_packed_bundle(), places=points.places.tobytes(), kinds=points.kinds.tobytes(),
            stage=stage, name=name, codes=coloring.codes.tobytes(), palette=coloring.palette,
            points=np.zeros((0, 4), np.float32), selection=np.zeros(0, np.uint32), color_by="valueA",
            size_by="valueB", size=list(_SIZES), opacity_by="valueB", opacity=[float(density), 1.0, 1.0, 1.0, 1.0],
            opacity_unselected=0.12, size_scale_function="asinh", width="auto", height=HEIGHT,
            background_color=[_GROUND, _GROUND, _GROUND, 1.0], lasso_color=[0.07, 0.08, 0.1, 1.0], lasso_min_delay=10,
            lasso_min_dist=3.0, lasso_on_long_press=True, reticle=False, reticle_color=[0.0, 0.0, 0.0, 0.1],
            x_domain=[-1, 1], y_domain=[-1, 1], x_scale_domain=[-1, 1], y_scale_domain=[-1, 1], x_scale="linear",
            y_scale="linear", color_scale="linear", opacity_scale="linear", size_scale="linear",
            color_domain=[0, 1], opacity_domain=[0, 1], size_domain=[0, 1], connection_color=[0, 0, 0, 0.1],
            connection_color_hover=[0, 0, 0, 0.1], connection_color_selected=[0, 0, 0, 0.1], connection_opacity=0.1,
            connection_size=1, camera_rotation=0.0, toolbar_buttons=["pan_zoom", "lasso", "reset"],
            regl_scatterplot_options={
                "actionKeyMap": {"lasso": "shift", "merge": "meta", "remove": "alt"}, 
                "deselectOnEscape": False, "pointOutlineWidth": 0,
                "pointSizeSelected": 0,
            },
            camera_view=None, **unused,
        )  # fmt: skip

    def select(self, pixels: np.ndarray) -> None:
        """Select pixels by their numbers; none for an empty array. Class embeddings stay in sight."""
        self.selection = np.concatenate([self._landmarks, pixels]).astype(np.uint32) if len(pixels) else pixels

    def paint(self, coloring: Coloring, stage: str) -> None:
        """Show other colours or another stage, in one message."""
        with self.hold_sync():
            self.codes, self.palette, self.stage = coloring.codes.tobytes(), coloring.palette, stage


@cache
def _packed_bundle() -> bytes:
    """The JavaScript of jupyter-scatter, packed to a fifth of its 2 MB."""
    return gzip.compress(Path(jscatter.__file__).with_name("bundle.js").read_bytes(), 6, mtime=0)
