"""Street furniture: lamps, poles with signs, traffic lights, clocks, benches, fences."""

import numpy as np

from offseg_viz.data.scene_drawing.canvas import Pen
from offseg_viz.data.scene_drawing.classes import Kind
from offseg_viz.data.scene_drawing.look import linear
from offseg_viz.data.scene_drawing.stage import Stage


def draw_lamp(stage: Stage, x: float, z: float, *, number: int) -> None:
    """A street lamp: a thin pole with an arm or a lantern, glowing from dusk on."""
    style = stage.rng("lamp style").integers(3)
    metal = stage.look.materials.metal
    pen = stage.pen(x, z, mirrored=x > stage.camera.x)
    night = stage.look.sky.night
    light, glow = linear("#ffdc96") * (0.45 + 0.5 * night), 3.4 * night
    if style == 0:
        height = 5.6
        pen.stroke([(0, 0), (0, height), (0.5, height + 0.45), (1.3, height + 0.5)], 0.13, metal, kind=Kind.POLE)
        pen.polygon(
            [(0.95, height + 0.38), (1.75, height + 0.38), (1.65, height + 0.62), (1.05, height + 0.62)],
            light,
            Kind.LAMP,
            glow=glow,
        )
    elif style == 1:
        height = 3.6
        pen.stroke([(0, 0), (0, height)], 0.12, metal, kind=Kind.POLE)
        pen.box((-0.13, 0), (0.26, 0.7), metal, kind=Kind.POLE)
        pen.polygon(
            [(-0.17, height), (0.17, height), (0.27, height + 0.55), (-0.27, height + 0.55)],
            light,
            Kind.LAMP,
            glow=glow,
        )
        pen.polygon([(-0.34, height + 0.55), (0.34, height + 0.55), (0, height + 0.85)], metal, Kind.LAMP)
    else:
        height = 3.9
        pen.stroke([(0, 0), (0, height)], 0.11, metal, kind=Kind.POLE)
        pen.disc((0, height + 0.26), 0.3, light, kind=Kind.LAMP, glow=glow)
    stage.cast(x, z, width=0.16, height=height)
    stage.pools.append((x, z, 4.2 if style else 5.5))


def draw_sign(stage: Stage, x: float, z: float, *, number: int) -> None:
    """A traffic sign on its pole: one of six shapes and colours."""
    rng = stage.rng("sign", number)
    pen = stage.pen(x, z)
    metal = np.full(3, stage.look.materials.road.mean() * 1.7)
    height = rng.uniform(2.0, 2.6)
    pen.stroke([(0, 0), (0, height)], 0.08, metal, kind=Kind.POLE)
    kind, centre = rng.integers(6), (0, height + 0.25)
    red, white, blue = linear("#c8202c"), np.full(3, 0.72), linear("#1f55b5")
    octagon = np.stack(
        [np.cos(np.pi / 8 + np.arange(8) * np.pi / 4), np.sin(np.pi / 8 + np.arange(8) * np.pi / 4)], axis=1
    )
    if kind == 0:
        pen.disc(centre, 0.42, red, kind=Kind.SIGN)
        pen.disc(centre, 0.29, white, kind=Kind.SIGN)
    elif kind == 1:
        v = height - 0.05
        pen.polygon([(-0.48, v), (0.48, v), (0, v + 0.84)], red, Kind.SIGN)
        pen.polygon([(-0.27, v + 0.12), (0.27, v + 0.12), (0, v + 0.58)], white, Kind.SIGN)
    elif kind == 2:
        pen.disc(centre, 0.42, blue, kind=Kind.SIGN)
        pen.polygon(
            [
                (-0.07, height),
                (0.07, height),
                (0.07, height + 0.25),
                (0.2, height + 0.25),
                (0, height + 0.5),
                (-0.2, height + 0.25),
                (-0.07, height + 0.25),
            ],
            white,
            Kind.SIGN,
        )
    elif kind == 3:
        pen.polygon(octagon * 0.45 + centre, red, Kind.SIGN)
        pen.box((-0.26, height + 0.17), (0.52, 0.16), white, kind=Kind.SIGN)
    elif kind == 4:
        pen.box((-0.38, height - 0.15), (0.76, 0.76), blue, kind=Kind.SIGN)
        pen.box((-0.14, height - 0.05), (0.1, 0.54), white, kind=Kind.SIGN)
        pen.ring((0.03, height + 0.35), 0.12, 0.08, color=white, kind=Kind.SIGN)
    else:
        turned = np.array([(0, -0.5), (0.5, 0), (0, 0.5), (-0.5, 0)])
        pen.polygon(turned + centre, white, Kind.SIGN)
        pen.polygon(turned * 0.72 + centre, linear("#f2c230"), Kind.SIGN)
    stage.cast(x, z, width=0.3, height=height)


def draw_traffic_light(stage: Stage, x: float, z: float, *, number: int) -> None:
    """A traffic light with one of its three lights on."""
    rng = stage.rng("traffic light", number)
    pen = stage.pen(x, z)
    dark = np.full(3, 0.025)
    pen.stroke([(0, 0), (0, 2.7)], 0.12, stage.look.materials.metal, kind=Kind.POLE)
    pen.box((-0.27, 2.45), (0.54, 1.35), dark, kind=Kind.TRAFFIC_LIGHT)
    on = int(rng.integers(3))
    for k, color in enumerate(("#27d17c", "#ffb52e", "#ff3b30")):
        shine = 1.6 if k == on else 0.0
        value = linear(color) * (0.9 if k == on else 0.07)
        pen.disc((0, 2.7 + 0.42 * k), 0.16, value, kind=Kind.TRAFFIC_LIGHT, glow=shine)
    stage.cast(x, z, width=0.3, height=3.8)


def draw_clock_face(stage: Stage, pen: Pen, centre: tuple[float, float], *, radius: float) -> None:
    """A clock face with a rim, twelve ticks and two hands, lit from inside at night."""
    rng = stage.rng("clock")
    glow = 1.5 * stage.look.sky.night
    rim, white = np.full(3, 0.03), linear("#f7f2df") * 0.9
    pen.disc(centre, radius, rim, kind=Kind.CLOCK)
    pen.disc(centre, radius * 0.88, white, kind=Kind.CLOCK, glow=glow)
    for angle in np.arange(12) * np.pi / 6:
        tick = np.array([np.sin(angle), np.cos(angle)])
        pen.stroke([tick * radius * 0.7 + centre, tick * radius * 0.82 + centre], radius * 0.07, rim, kind=Kind.CLOCK)
    hour, minute = rng.uniform(0, 2 * np.pi), rng.uniform(0, 2 * np.pi)
    for angle, reach, width in ((hour, 0.45, 0.11), (minute, 0.68, 0.07)):
        tip = np.array([np.sin(angle), np.cos(angle)]) * radius * reach + centre
        pen.stroke([centre, tip], radius * width, rim, kind=Kind.CLOCK)


def draw_clock_post(stage: Stage, x: float, z: float, *, number: int) -> None:
    """A clock on a post, as they stand in squares and parks."""
    pen = stage.pen(x, z)
    metal = stage.look.materials.metal * 0.8
    height = stage.rng("clock post", number).uniform(2.9, 3.6)
    pen.box((-0.16, 0), (0.32, 0.6), metal, kind=Kind.POLE)
    pen.stroke([(0, 0), (0, height)], 0.15, metal, kind=Kind.POLE)
    draw_clock_face(stage, pen, (0, height + 0.45), radius=0.5)
    stage.cast(x, z, width=0.5, height=height)


def draw_bench(stage: Stage, x: float, z: float, *, number: int) -> None:
    """A park bench of slats on iron legs."""
    rng = stage.rng("bench", number)
    pen = stage.pen(x, z, mirrored=bool(rng.integers(2)))
    wood = linear(("#8a5a33", "#6e4a2c", "#2f5d43", "#8d8a80")[stage.rng("bench wood").integers(4)])
    iron = stage.look.materials.metal * 0.6
    for u in (-0.72, 0.66):
        pen.box((u, 0), (0.07, 0.85), iron, kind=Kind.BENCH)
    for v, tall, tone in ((0.62, 0.11, 0.95), (0.77, 0.11, 1.0), (0.47, 0.1, 0.85), (0.34, 0.12, 1.2)):
        pen.box((-0.85, v), (1.7, tall), wood * tone, kind=Kind.BENCH)
    for u in (-0.8, 0.74):
        pen.box((u, 0), (0.06, 0.42), iron, kind=Kind.BENCH)
    stage.cast(x, z, width=1.7, height=0.8)


def draw_fence(stage: Stage, start: tuple[float, float], end: tuple[float, float], *, style: int) -> None:
    """A fence from `start` to `end`: iron bars (0), pickets (1) or horizontal rails (2)."""
    span = float(np.hypot(end[0] - start[0], end[1] - start[1]))
    axis = ((end[0] - start[0]) / span, (end[1] - start[1]) / span)
    pen = stage.pen(*start, axis=axis)
    metal = stage.look.materials.metal
    if style == 0:
        step = 0.16 if span < 14 else 0.3
        for v in (0.15, 0.95):
            pen.stroke([(0, v), (span, v)], 0.05, metal, kind=Kind.FENCE)
        for u in np.arange(0, span, step):
            pen.stroke([(u, 0), (u, 1.08)], 0.03, metal, kind=Kind.FENCE)
    elif style == 1:
        paint = np.full(3, 0.7) if stage.rng("pickets").random() < 0.6 else linear("#7a5233")
        for v in (0.25, 0.75):
            pen.box((0, v), (span, 0.09), paint * 0.8, kind=Kind.FENCE)
        for u in np.arange(0, span, 0.24 if span < 14 else 0.36):
            pen.polygon([(u, 0), (u + 0.15, 0), (u + 0.15, 0.95), (u + 0.075, 1.08), (u, 0.95)], paint, Kind.FENCE)
    else:
        wood = linear("#8a6a48") * 0.8
        for v in (0.3, 0.62, 0.94):
            pen.stroke([(0, v), (span, v)], 0.09, wood, kind=Kind.FENCE)
        for u in np.arange(0, span + 0.1, 1.8):
            pen.stroke([(u, 0), (u, 1.1)], 0.13, wood * 0.8, kind=Kind.FENCE)
