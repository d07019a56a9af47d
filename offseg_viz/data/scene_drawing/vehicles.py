"""Cars, buses and bicycles, seen from the side or along the street with their length in perspective."""

import numpy as np

from offseg_viz.data.scene_drawing.canvas import Pen
from offseg_viz.data.scene_drawing.classes import Kind
from offseg_viz.data.scene_drawing.look import linear
from offseg_viz.data.scene_drawing.people import draw_rider
from offseg_viz.data.scene_drawing.stage import Stage

_PAINTS = ("#b3202a", "#1d4f91", "#e9e6df", "#2a2c30", "#8f959b", "#c9a227", "#2f6b4f", "#d8dadd", "#5b2a4a", "#d9632a")
_CAR = np.array(
    [(0, 0.32), (0.02, 0.78), (0.75, 0.92), (1.35, 1.42), (2.85, 1.44), (3.55, 0.95), (4.15, 0.86), (4.2, 0.32)]
)
_VAN = np.array([(0, 0.32), (0.0, 0.9), (0.55, 1.05), (1.0, 1.75), (3.9, 1.8), (4.15, 1.0), (4.2, 0.32)])
_CAR_PANES = (
    [(1.0, 0.94), (1.45, 1.34), (2.0, 1.36), (2.0, 0.95)],
    [(2.1, 0.95), (2.1, 1.36), (2.75, 1.36), (3.3, 0.96)],
)
_VAN_PANES = (
    [(0.85, 1.1), (1.15, 1.62), (2.0, 1.65), (2.0, 1.1)],
    [(2.15, 1.1), (2.15, 1.65), (3.2, 1.65), (3.2, 1.1)],
)


def _glass(stage: Stage) -> np.ndarray:
    sky = stage.look.sky
    return 0.18 * sky.zenith + 0.1 * sky.horizon + 0.01


def draw_car(stage: Stage, x: float, z: float, *, number: int, heading: tuple[float, float] = (1.0, 0.0)) -> None:
    """A car whose length runs along `heading`; its nearest lower corner stands at (x, z).

    Along (1, 0) it shows its side, along (0, 1) its end and the side that looks to the middle of the picture.
    """
    rng = stage.rng("car", number)
    paint = linear(_PAINTS[rng.integers(len(_PAINTS))]) * 0.9
    profile, panes = (_VAN, _VAN_PANES) if rng.random() < 0.25 else (_CAR, _CAR_PANES)
    coming = bool(rng.integers(2))
    if abs(heading[0]) > 0.7:
        pen = stage.pen(x, z, axis=heading)
        if coming:
            profile, panes = profile * (-1, 1) + (4.2, 0), [np.array(pane) * (-1, 1) + (4.2, 0) for pane in panes]
        _draw_side(stage, pen, (profile, panes), paint)
        stage.cast(x + 2.1 * heading[0], z + 0.4, width=4.0, height=1.2)
        return
    wide = 1.75
    left = x - stage.camera.x > 0
    side = stage.pen(x - wide / 2 if left else x + wide / 2, z, axis=heading)
    other = stage.pen(x + wide / 2 if left else x - wide / 2, z, axis=heading)
    shape = (profile, panes)
    _draw_hull(stage, side, other, (profile, paint))
    _draw_side(stage, side, shape, paint * 0.88)
    _draw_end(stage, stage.pen(x, z), (profile[:, 1].max(), wide), (paint, coming))
    stage.cast(x, z + 1.0, width=wide * 1.3, height=1.3)


def _draw_hull(stage: Stage, side: Pen, other: Pen, form: tuple[np.ndarray, np.ndarray]) -> None:
    """Bonnet, screens and top between the two sides of a body."""
    profile, paint = form
    one, two = side.world(profile), other.world(profile)
    if min(one[:, 2].min(), two[:, 2].min()) < 0.6:
        return
    a, b = stage.view.pixels(one), stage.view.pixels(two)
    for k in range(len(profile) - 2, -1, -1):
        quad = np.array([a[k], a[k + 1], b[k + 1], b[k]])
        rise = profile[k + 1, 1] - profile[k, 1]
        screen = profile[k, 1] > 0.85 and abs(rise) > 0.3
        color = _glass(stage) * 1.3 if screen else paint * (1.15 if abs(rise) < 0.2 else 0.9)
        distance = float(one[k : k + 2, 2].mean())
        stage.canvas.polygon(quad, color, Kind.CAR, distance=distance, glow=0.4 if screen else 0)


def _draw_side(stage: Stage, pen: Pen, shape: tuple[np.ndarray, list], paint: np.ndarray) -> None:
    profile, panes = shape
    pen.polygon(profile, paint, Kind.CAR)
    length, low = 4.2, np.full(3, 0.02)
    pen.polygon([(0.05, 0.3), (length - 0.05, 0.3), (length - 0.05, 0.5), (0.05, 0.5)], paint * 0.55, Kind.CAR)
    for pane in panes:
        pen.polygon(pane, _glass(stage), Kind.CAR, glow=0.4)
    for u in (0.82, 3.35):
        pen.disc((u, 0.33), 0.37, low * 0.6, kind=Kind.CAR)
        pen.disc((u, 0.33), 0.2, np.full(3, 0.28), kind=Kind.CAR)
    night = stage.look.sky.night
    ends = (
        ((0.0, "#ff4030"), (length - 0.22, "#fff1cf"))
        if profile[1, 0] > 0.01
        else ((0.0, "#fff1cf"), (length - 0.22, "#ff4030"))
    )
    for u, color in ends:
        pen.box((u, 0.62), (0.22, 0.14), linear(color) * 0.8, kind=Kind.CAR, glow=1.4 * night)


def _draw_end(stage: Stage, pen: Pen, size: tuple[float, float], style: tuple[np.ndarray, bool]) -> None:
    tall, wide = size
    paint, coming = style
    half, night = wide / 2, stage.look.sky.night
    pen.polygon(
        [(-half, 0.32), (half, 0.32), (half, 0.85), (half * 0.92, 0.95), (-half * 0.92, 0.95), (-half, 0.85)],
        paint,
        Kind.CAR,
    )
    if tall > 1.6:
        pen.polygon(
            [(-half * 0.95, 0.9), (half * 0.95, 0.9), (half * 0.85, tall), (-half * 0.85, tall)], paint, Kind.CAR
        )
        pen.polygon(
            [(-half * 0.8, 1.02), (half * 0.8, 1.02), (half * 0.72, 1.6), (-half * 0.72, 1.6)],
            _glass(stage),
            Kind.CAR,
            glow=0.4,
        )
    pen.box((-half, 0.3), (wide, 0.16), paint * 0.4, kind=Kind.CAR)
    pen.box((-0.26, 0.46), (0.52, 0.14), np.full(3, 0.6), kind=Kind.CAR)
    light = linear("#fff1cf") if coming else linear("#ff2f25")
    for u in (-half * 0.92, half * 0.92 - 0.3):
        pen.box(
            (u, 0.62),
            (0.3, 0.17),
            light * (0.75 if coming else 0.5),
            kind=Kind.CAR,
            glow=(3.0 if coming else 1.8) * night,
        )
        pen.box((u + 0.02, 0), (0.24, 0.32), np.full(3, 0.012), kind=Kind.CAR)


def draw_bus(stage: Stage, x: float, z: float, *, number: int, heading: tuple[float, float] = (1.0, 0.0)) -> None:
    """A bus, eleven metres along `heading`, with its nearest lower corner at (x, z)."""
    rng = stage.rng("bus", number)
    paint = linear(("#c4262e", "#f0b429", "#1f6fb2", "#3d8b4f", "#e07b28")[rng.integers(5)]) * 0.9
    long, tall, wide = 9.5, 2.95, 2.4
    glow = 0.4 + 1.4 * stage.look.sky.night
    pane = _glass(stage) if stage.look.sky.night < 0.4 else linear("#ffe2a6") * 0.4
    along = abs(heading[0]) <= 0.7
    left = x - stage.camera.x > 0
    side = stage.pen((x - wide / 2 if left else x + wide / 2) if along else x, z, axis=heading)
    side.polygon(
        [(0, 0.35), (long, 0.35), (long, tall - 0.1), (long - 0.1, tall), (0.1, tall), (0, tall - 0.1)],
        paint * 0.9,
        Kind.BUS,
    )
    side.box((0, 0.35), (long, 0.4), paint * 0.5, kind=Kind.BUS)
    side.box((0, 1.15), (long, 0.12), np.full(3, 0.6), kind=Kind.BUS)
    for u in np.arange(0.35, long - 1.2, 1.45):
        side.box((u, 1.4), (1.25, 1.05), pane, kind=Kind.BUS, glow=glow)
    for u in (1.9, 7.4):
        side.disc((u, 0.45), 0.48, np.full(3, 0.012), kind=Kind.BUS)
        side.disc((u, 0.45), 0.24, np.full(3, 0.25), kind=Kind.BUS)
    if along:
        end = stage.pen(x, z)
        half = wide / 2
        end.box((-half, 0.35), (wide, tall - 0.35), paint, kind=Kind.BUS)
        end.box((-half + 0.15, 1.25), (wide - 0.3, 1.1), pane, kind=Kind.BUS, glow=glow)
        end.box((-half + 0.5, 2.5), (wide - 1.0, 0.3), linear("#ffb52e") * 0.5, kind=Kind.BUS, glow=glow)
        for u in (-half + 0.1, half - 0.45):
            end.box((u, 0.65), (0.35, 0.2), linear("#ff3b2f") * 0.6, kind=Kind.BUS, glow=1.8 * stage.look.sky.night)
            end.box((u, 0), (0.3, 0.36), np.full(3, 0.012), kind=Kind.BUS)
    stage.cast(x + 4.7 * heading[0], z + 1.5, width=wide * 1.3 if along else long, height=tall)


def draw_bicycle(stage: Stage, x: float, z: float, *, number: int, rider: bool = False) -> None:
    """A bicycle seen from the side, with or without a rider."""
    rng = stage.rng("bicycle", number)
    pen = stage.pen(x, z, mirrored=bool(rng.integers(2)))
    paint = linear(_PAINTS[rng.integers(len(_PAINTS))])
    tyre = np.full(3, 0.015)
    for u in (0.0, 1.02):
        pen.ring((u, 0.34), 0.33, 0.055, color=tyre, kind=Kind.BICYCLE)
        if pen.distance < 12:
            for angle in np.arange(4) * np.pi / 4:
                reach = np.array([np.cos(angle), np.sin(angle)]) * 0.3
                pen.stroke([reach + (u, 0.34), (u, 0.34) - reach], 0.012, tyre + 0.1, kind=Kind.BICYCLE)
    for line in (
        [(0, 0.34), (0.3, 0.8), (0.82, 0.82), (0.45, 0.32), (0, 0.34)],
        [(0.45, 0.32), (0.27, 0.95)],
        [(1.02, 0.34), (0.82, 0.82), (0.78, 1.02), (0.93, 1.06)],
    ):
        pen.stroke(line, 0.055, paint, kind=Kind.BICYCLE)
    pen.stroke([(0.15, 0.97), (0.4, 0.97)], 0.08, tyre, kind=Kind.BICYCLE)
    if rider:
        draw_rider(stage, pen, number=number)
    stage.cast(x + 0.5, z, width=1.2, height=1.8 if rider else 0.9)
