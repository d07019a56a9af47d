"""One scene from its seed: choose layout, look and camera, paint, light, expose."""

from collections.abc import Callable

import cv2
import numpy as np

from offseg_viz.data.sample import Sample
from offseg_viz.data.scene_drawing import parks, streets
from offseg_viz.data.scene_drawing.camera import View
from offseg_viz.data.scene_drawing.canvas import Canvas
from offseg_viz.data.scene_drawing.classes import SCENE_CLASSES
from offseg_viz.data.scene_drawing.look import draw_camera, draw_look
from offseg_viz.data.scene_drawing.photograph import expose, light
from offseg_viz.data.scene_drawing.stage import Stage, stream
from offseg_viz.errors import DataError

DATASET = "scenes"
SMALLEST = 64
"""Fewest pixels a side of a scene."""

LAYOUTS: dict[str, tuple[float, Callable[[Stage], None]]] = {
    "street": (0.34, streets.street),
    "across": (0.22, streets.across),
    "park": (0.24, parks.park),
    "promenade": (0.1, parks.promenade),
    "square": (0.1, parks.square),
}
"""Share of the scenes and drawing function of every layout."""

_SUPERSAMPLING = 2


def scene(seed: int, *, size: tuple[int, int] = (192, 256)) -> Sample:
    """Draw one scene.

    The same seed gives the same bytes on one machine, and the same scene at every size: the vertical field of view is
    fixed, so a wider picture only sees more to the left and right.

    Parameters
    ----------
    seed : int
        Not negative.
    size : tuple of int
        Height and width in pixels, at least 64 each.

    Returns
    -------
    Sample
        `image` (H, W, 3) uint8, antialiased; `label` (H, W) uint8 with the values of `SCENE_CLASSES`, never
        antialiased, no pixel ignored; id ``scene-000123``.

    Raises
    ------
    DataError
        If a side is shorter than 64 pixels or the seed is negative.
    """
    check_size(size)
    if seed < 0:
        raise DataError(f"scene seed {seed} is negative; seeds count from 0")
    height, width = int(size[0]), int(size[1])
    weights = [weight for weight, _ in LAYOUTS.values()]
    name = list(LAYOUTS)[stream(seed, "layout").choice(len(LAYOUTS), p=weights)]
    look = draw_look(stream(seed, "light"), stream(seed, "surface"), stream(seed, "lens"))
    view = View(draw_camera(name, stream(seed, "camera")), height * _SUPERSAMPLING, width * _SUPERSAMPLING)
    stage = Stage(int(seed), view, Canvas(view.height, view.width), look)
    LAYOUTS[name][1](stage)
    radiance = cv2.resize(light(stage), (width, height), interpolation=cv2.INTER_AREA)
    label = np.ascontiguousarray(stage.canvas.label[::_SUPERSAMPLING, ::_SUPERSAMPLING])
    return Sample(scene_id(seed), expose(stage, radiance), label, SCENE_CLASSES, DATASET)


def scene_id(seed: int) -> str:
    """The id of a seed's scene: ``scene-000123``."""
    return f"scene-{seed:06d}"


def check_size(size: tuple[int, int]) -> None:
    """Raise `DataError` unless `size` is (height, width) of at least 64 pixels each."""
    if len(size) != 2 or min(size) < SMALLEST:
        raise DataError(f"scene size {tuple(size)}: needed (height, width) of at least {SMALLEST} pixels each")
