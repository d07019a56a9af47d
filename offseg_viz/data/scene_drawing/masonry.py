"""Upright walls in true perspective, with bricks or blocks where they are near enough to be seen."""

import numpy as np

from offseg_viz.data.scene_drawing.camera import clip_near
from offseg_viz.data.scene_drawing.canvas import Pen
from offseg_viz.data.scene_drawing.classes import Kind
from offseg_viz.data.scene_drawing.stage import Stage
from offseg_viz.data.scene_drawing.textures import bond


def draw_surface(stage: Stage, pen: Pen, size: tuple[float, float], *, color: np.ndarray, kind: int) -> None:
    """A rectangle of wall from the pen's foot: brick bond or smooth plaster, with true distances along it."""
    canvas, view = stage.canvas, stage.view
    length, height = size
    world = clip_near(pen.world([(0, 0), (length, 0), (length, height), (0, height)]))
    if len(world) < 3:
        return
    pixels = view.pixels(world)
    if world[:, 2].min() > 42:  # too far for bricks to be seen
        canvas.polygon(pixels, color, kind, distance=float(world[:, 2].mean()))
        return
    box = canvas.box(pixels)
    if box is None:
        return
    mask = canvas.inside(pixels, box)
    # 1 / distance is linear over the picture of a plane: fit it to the corners
    system = np.column_stack([pixels, np.ones(len(pixels))])
    slope = np.linalg.lstsq(system, 1 / world[:, 2], rcond=None)[0]
    columns = np.arange(box[1].start, box[1].stop, dtype=np.float32) + 0.5
    rows = np.arange(box[0].start, box[0].stop, dtype=np.float32)[:, None] + 0.5
    inverse = (slope[0] * columns + slope[1] * rows + slope[2])[mask]
    # a plane seen nearly edge-on fits badly: stay between its nearest and its farthest corner
    distance = (1 / np.clip(inverse, 1 / world[:, 2].max(), 1 / world[:, 2].min())).astype(np.float32)
    camera = stage.camera
    level = np.column_stack([world[:, 0] / world[:, 2], world[:, 1] / world[:, 2]])
    over = np.linalg.lstsq(system, level, rcond=None)[0]
    flat_rows, flat_columns = np.nonzero(mask)
    px, py = flat_columns + (box[1].start + 0.5), flat_rows + (box[0].start + 0.5)
    v = ((over[0, 1] * px + over[1, 1] * py + over[2, 1]) * distance - pen.base).astype(np.float32)
    v = np.clip(v, 0, height)
    if abs(pen.axis[0]) >= abs(pen.axis[1]):
        u = (over[0, 0] * px + over[1, 0] * py + over[2, 0]) * distance - pen.origin[0]
        u = (u / pen.axis[0]).astype(np.float32)
    else:
        u = (distance - pen.origin[1]) / np.float32(pen.axis[1])
    variation = 1 + 0.07 * stage.tiles[0][(v * 11).astype(int) % 256, (u * 11).astype(int) % 256]
    near = np.clip(1.3 - distance / (22 * camera.focal), 0, 1)
    if kind == Kind.BRICK:
        joint, tone = bond(u, v, size=(0.52, 0.19), joint=0.035)
        variation = variation * (1 + near * (0.13 * tone + 0.45 * joint))
    elif kind == Kind.WALL:
        joint, tone = bond(u, v, size=(0.62, 0.27), joint=0.035)
        variation = variation * (1 + near * (0.15 * tone - 0.33 * joint))
    else:
        variation = variation * (1 - 0.10 * np.exp(-v / 0.8))
    canvas.paint[box][mask, :3] = np.asarray(color, np.float32) * variation[:, None]
    canvas.paint[box][mask, 3] = 0
    place = np.empty((len(distance), 2), np.float32)
    place[:, 0], place[:, 1] = kind, distance
    canvas.place[box][mask] = place


def facing(stage: Stage, axis: tuple[float, float]) -> float:
    """How bright a facade along `axis` is, by how it faces the sun."""
    sky = stage.look.sky
    normal = (axis[1], -axis[0])
    toward = normal[0] * np.sin(sky.azimuth) + normal[1] * np.cos(sky.azimuth)
    direct = min(float(sky.sun.mean()) / (float(sky.ambient.mean()) + 1e-6), 2.0) / 2
    return 0.86 + 0.2 * direct * toward


def draw_wall(stage: Stage, start: tuple[float, float], end: tuple[float, float], *, height: float) -> None:
    """A low wall of grey blocks with a coping along the top, on the ground from `start` to `end`."""
    span = float(np.hypot(end[0] - start[0], end[1] - start[1]))
    axis = ((end[0] - start[0]) / span, (end[1] - start[1]) / span)
    pen = stage.pen(*start, axis=axis)
    color = stage.look.materials.wall * facing(stage, axis)
    draw_surface(stage, pen, (span, height), color=color, kind=Kind.WALL)
    cap = 0.3 * color + 0.7 * np.array([0.72, 0.75, 0.8]) if stage.look.snow else color * 1.22
    pen.box((0, height), (span, 0.12), cap, kind=Kind.WALL)
