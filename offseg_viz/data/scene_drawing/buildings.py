"""Houses in perspective: facades of plaster or brick, windows lit at night, doors, roofs, chimneys, a clock tower."""

from dataclasses import dataclass

import numpy as np

from offseg_viz.data.scene_drawing.canvas import Pen
from offseg_viz.data.scene_drawing.classes import Kind
from offseg_viz.data.scene_drawing.furniture import draw_clock_face
from offseg_viz.data.scene_drawing.look import linear
from offseg_viz.data.scene_drawing.masonry import draw_surface, facing
from offseg_viz.data.scene_drawing.stage import Stage


@dataclass(frozen=True)
class House:
    """One house: its facade runs on the ground from `start` to `end` (left to right as seen), `height` metres high."""

    start: tuple[float, float]
    end: tuple[float, float]
    height: float
    number: int
    depth: float = 8.0

    @property
    def length(self) -> float:
        return float(np.hypot(self.end[0] - self.start[0], self.end[1] - self.start[1]))

    @property
    def axis(self) -> tuple[float, float]:
        return (self.end[0] - self.start[0]) / self.length, (self.end[1] - self.start[1]) / self.length


def _lighted(rng: np.random.Generator, stage: Stage) -> tuple[np.ndarray, float]:
    """Colour and glow of one window pane: a reflected sky by day, often a lit room by night."""
    sky = stage.look.sky
    draw, warm = rng.random(), rng.random()
    if draw < 0.12 + 0.5 * sky.night:
        room = linear("#ffcf7a") * (1 - 0.4 * warm) + linear("#ffe9c4") * 0.4 * warm
        return room * 0.5, 0.25 + 1.9 * sky.night
    pane = 0.30 * sky.zenith + 0.12 * sky.horizon
    return pane * (0.5 + 0.7 * warm) + 0.012, 0.55


def draw_house(stage: Stage, house: House, *, clock: bool = False) -> None:
    """Draw one house: side wall, facade, windows, doors, roof and chimney."""
    far = max(house.start, house.end, key=lambda end: end[1])
    near = min(house.start, house.end, key=lambda end: end[1])
    reach = house.depth + 1.0
    if not (stage.view.sees(*far, reach=reach + house.length) or stage.view.sees(*near, reach=reach)):
        return
    rng = stage.rng("house", house.number)
    materials = stage.look.materials
    brick = rng.random() < 0.42
    kind = Kind.BRICK if brick else Kind.BUILDING
    tone = np.exp(rng.normal(0, 0.07))
    color = (materials.brick if brick else materials.plaster[rng.integers(len(materials.plaster))]) * tone
    roof_height = rng.uniform(1.2, 3.2)
    form = ("gable", "slope", "flat", "slope")[rng.integers(4)] if house.length < 14 else "slope"
    roof = materials.roof * np.exp(rng.normal(0, 0.12))
    if stage.look.snow:
        roof = 0.2 * roof + 0.8 * np.array([0.7, 0.73, 0.78])
    light = facing(stage, house.axis)
    _draw_side(stage, house, color * 0.8, roof * 0.85, kind, roof_height if form != "flat" else 0.0)
    pen = stage.pen(*house.start, axis=house.axis)
    length, height = house.length, house.height
    if form == "gable":
        roof_height *= 1.3
        pen.polygon([(0, height), (length, height), (length / 2, height + roof_height)], color * light * 0.95, kind)
    draw_surface(stage, pen, (length, height), color=color * light, kind=kind)
    if form == "gable":
        peak, edge = (length / 2, height + roof_height), 0.35
        low = height - 0.25
        pen.polygon(
            [(-edge, low), (0, low), (peak[0], peak[1] - 0.1), (peak[0], peak[1] + 0.3)], roof * light, Kind.ROOF
        )
        pen.polygon(
            [(length + edge, low), (length, low), (peak[0], peak[1] - 0.1), (peak[0], peak[1] + 0.3)],
            roof * light * 0.8,
            Kind.ROOF,
        )
    elif form == "slope":
        inset = min(rng.uniform(0, 1.0), length / 4)
        top = height + roof_height
        pen.polygon(
            [(-0.25, height), (length + 0.25, height), (length - inset, top), (inset, top)], roof * light, Kind.ROOF
        )
        pen.box((-0.25, height - 0.12), (length + 0.5, 0.24), roof * 0.6, kind=Kind.ROOF)
        for u in np.arange(1.3, length - 1.3, 3.4) if rng.random() < 0.4 else ():
            pane, glow = _lighted(rng, stage)
            pen.box((u, height + 0.35), (0.9, min(roof_height - 0.6, 1.1)), pane, kind=Kind.WINDOW, glow=glow)
    else:
        pen.box((-0.15, height - 0.1), (length + 0.3, 0.35), color * light * 0.75, kind=kind)
    if rng.random() < 0.6 and form != "flat":
        u = rng.uniform(0.15, 0.8) * length
        pen.box(
            (u, height + roof_height * 0.6),
            (0.7, roof_height * 0.4 + 0.9),
            materials.brick * light * 0.8,
            kind=Kind.BRICK,
        )
    _draw_openings(stage, pen, house, (color * light, rng))
    if clock:
        draw_clock_face(stage, pen, (length / 2, height - 0.9), radius=0.85)


def _draw_side(stage: Stage, house: House, color: np.ndarray, roof: np.ndarray, kind: int, roof_height: float) -> None:
    """The wall at the end of the facade that turns away from the street, where the camera can see it."""
    axis = house.axis
    if abs(axis[0]) > 0.92:
        return
    near, away = (house.end, 1.0) if house.end[1] < house.start[1] else (house.start, -1.0)
    inward = (-axis[1] * house.depth, axis[0] * house.depth)
    if away > 0:
        pen = stage.pen(
            near[0] + inward[0], near[1] + inward[1], axis=(-inward[0] / house.depth, -inward[1] / house.depth)
        )
    else:
        pen = stage.pen(*near, axis=(inward[0] / house.depth, inward[1] / house.depth))
    draw_surface(stage, pen, (house.depth, house.height), color=color, kind=kind)
    if roof_height:
        corners = [(0, house.height), (house.depth, house.height), (house.depth / 2, house.height + roof_height)]
        pen.polygon(corners, roof, Kind.ROOF)


def _draw_openings(stage: Stage, pen: Pen, house: House, style: tuple[np.ndarray, np.random.Generator]) -> None:
    color, rng = style
    length, height = house.length, house.height
    pitch = rng.uniform(1.9, 2.7)
    wide, tall = rng.uniform(0.85, 1.25), rng.uniform(1.2, 1.7)
    columns = max(int((length - 0.6) / pitch), 1)
    floors = max(round((height - 0.3) / 3.0), 1)
    storey = height / floors
    margin = (length - columns * pitch) / 2
    frame = linear("#f4f1ea") * color.mean() * 1.6 if rng.random() < 0.6 else color * 0.5
    frame = np.clip(frame, 0.01, 0.85)
    door_column = int(rng.integers(columns))
    shop = rng.random() < 0.3
    shutters = linear(("#3d5a45", "#41566e", "#7a3b32")[rng.integers(3)]) if rng.random() < 0.3 else None
    near = pen.distance < 45
    for floor in range(floors):
        for column in range(columns):
            u = margin + (column + 0.5) * pitch - wide / 2
            v = floor * storey + 0.9
            pane, glow = _lighted(rng, stage)
            if floor == 0 and column == door_column:
                _draw_door(stage, pen, (u + wide / 2, rng.random()), near)
                continue
            if floor == 0 and shop:
                pen.box((u - 0.35, 0.5), (wide + 0.7, 1.9), pane * 1.2, kind=Kind.WINDOW, glow=glow)
                continue
            if near:
                pen.box((u - 0.09, v - 0.14), (wide + 0.18, tall + 0.23), frame, kind=Kind.WINDOW)
            pen.box((u, v), (wide, tall), pane, kind=Kind.WINDOW, glow=glow)
            if near and pen.distance < 28:
                pen.box((u + wide / 2 - 0.035, v), (0.07, tall), frame, kind=Kind.WINDOW)
                pen.box((u, v + tall * 0.62), (wide, 0.07), frame, kind=Kind.WINDOW)
            if shutters is not None and near:
                pen.box((u - 0.5, v), (0.38, tall), shutters, kind=Kind.WINDOW)
                pen.box((u + wide + 0.12, v), (0.38, tall), shutters, kind=Kind.WINDOW)
    if shop and near:
        draw_board(stage, pen, (margin, 2.55), size=(min(length - 2 * margin, 4.5), 0.5))


def _draw_door(stage: Stage, pen: Pen, place: tuple[float, float], near: bool) -> None:
    u, tone = place
    color = linear(("#6b3a1e", "#2f4f3a", "#27406b", "#8a2a2a", "#3a3a3f")[int(tone * 5)])
    if near:
        pen.box((u - 0.66, 0), (1.32, 2.42), np.full(3, 0.45) * trim_value(stage), kind=Kind.DOOR)
    pen.box((u - 0.52, 0), (1.04, 2.25), color, kind=Kind.DOOR)
    if near:
        pen.box((u - 0.38, 0.25), (0.76, 0.8), color * 0.7, kind=Kind.DOOR)
        pen.box((u - 0.38, 1.25), (0.76, 0.75), color * 0.7, kind=Kind.DOOR)
        pen.disc((u + 0.4, 1.1), 0.06, np.array([0.7, 0.55, 0.2]), kind=Kind.DOOR)


def trim_value(stage: Stage) -> float:
    """A light trim that keeps its ratio to the greys of the picture."""
    return float(np.clip(stage.look.materials.pavement.mean() * 2.2, 0.3, 1.4))


def draw_board(stage: Stage, pen: Pen, corner: tuple[float, float], *, size: tuple[float, float]) -> None:
    """A shop's name board: a sign with a row of letters."""
    rng = stage.rng("board", int(abs(pen.origin[0] * 31 + pen.origin[1] * 17)))
    color = linear(("#1f4e8c", "#8c1f2f", "#1f6b4a", "#e8d9b0", "#2b2b30")[rng.integers(5)])
    ink = np.full(3, 0.75) if color.mean() < 0.3 else np.full(3, 0.05)
    glow = 0.9 * stage.look.sky.night
    pen.box(corner, size, color, kind=Kind.SIGN, glow=glow)
    for u in np.arange(0.3, size[0] - 0.3, 0.34):
        if rng.random() < 0.85:
            tall = size[1] * rng.uniform(0.35, 0.6)
            pen.box((corner[0] + u, corner[1] + 0.2 * size[1]), (0.2, tall), ink, kind=Kind.SIGN, glow=glow)


def draw_tower(stage: Stage, x: float, z: float, *, number: int) -> None:
    """A clock tower with a pointed roof."""
    rng = stage.rng("tower", number)
    materials = stage.look.materials
    brick = rng.random() < 0.5
    color = materials.brick if brick else materials.plaster[rng.integers(4)]
    wide, tall = rng.uniform(3.6, 5.0), rng.uniform(11, 16)
    pen = stage.pen(x - wide / 2, z)
    draw_surface(stage, pen, (wide, tall), color=color * 0.92, kind=Kind.BRICK if brick else Kind.BUILDING)
    roof = materials.roof if not stage.look.snow else 0.4 * materials.roof + 0.45
    pen.polygon([(-0.3, tall), (wide + 0.3, tall), (wide / 2, tall + rng.uniform(3, 6))], roof, Kind.ROOF)
    pen.polygon([(wide / 2, tall), (wide + 0.3, tall), (wide / 2, tall + 3)], roof * 0.8, Kind.ROOF)
    for v in np.arange(3.2, tall - 4.2, 2.6):
        pane, glow = _lighted(rng, stage)
        pen.box((wide / 2 - 0.4, v), (0.8, 1.4), pane, kind=Kind.WINDOW, glow=glow)
    pen.polygon(
        [(wide / 2 - 0.7, 0), (wide / 2 + 0.7, 0), (wide / 2 + 0.7, 2.2), (wide / 2, 2.8), (wide / 2 - 0.7, 2.2)],
        linear("#5a3820"),
        Kind.DOOR,
    )
    draw_clock_face(stage, pen, (wide / 2, tall - 2.0), radius=min(1.45, wide * 0.36))
