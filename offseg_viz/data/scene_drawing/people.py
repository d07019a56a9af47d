"""People, dogs and birds."""

import numpy as np

from offseg_viz.data.scene_drawing.canvas import Pen
from offseg_viz.data.scene_drawing.classes import Kind
from offseg_viz.data.scene_drawing.look import hsv, linear
from offseg_viz.data.scene_drawing.stage import Stage

_SKINS = ("#f1c9a5", "#dba47a", "#b07a4f", "#7d5233", "#4f3424")
_HAIRS = ("#241a14", "#4a2f1b", "#8a5a2b", "#c9a45c", "#8b8680", "#6b2a1a")


def _clothes(rng: np.random.Generator) -> np.ndarray:
    return hsv(rng.random(), rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.9))


def draw_person(stage: Stage, x: float, z: float, *, number: int, sitting: bool = False) -> None:
    """A person walking or standing, in a skirt, coat or trousers, with an umbrella in the rain; or `sitting`."""
    rng = stage.rng("person", number)
    scale = rng.uniform(0.62, 0.72) if rng.random() < 0.15 else rng.uniform(0.92, 1.1)
    pen = stage.pen(x, z, scale=scale, mirrored=bool(rng.integers(2)))
    skin, hair = linear(_SKINS[rng.integers(5)]), linear(_HAIRS[rng.integers(6)])
    top, low = _clothes(rng), _clothes(rng) * 0.6
    stride, swing = rng.uniform(0.02, 0.26), rng.uniform(0.0, 0.2)
    coat = stage.look.season == "winter" or rng.random() < 0.25
    kind = Kind.PERSON
    if sitting:
        pen.stroke([(-0.08, 0.5), (0.36, 0.5), (0.36, 0.03)], 0.17, low, kind=kind)
        hips = 0.42
    else:
        pen.stroke([(-0.04, 0.85), (-stride, 0.42), (-stride * 1.25, 0.04)], 0.16, low * 0.8, kind=kind)
        pen.stroke([(0.04, 0.85), (stride * 0.9, 0.44), (stride, 0.04)], 0.17, low, kind=kind)
        pen.stroke([(stride, 0.03), (stride + 0.13, 0.03)], 0.08, np.full(3, 0.03), kind=kind)
        pen.stroke([(-stride * 1.25, 0.03), (-stride * 1.25 + 0.12, 0.03)], 0.08, np.full(3, 0.03), kind=kind)
        hips = 0.82
    skirt = rng.random() < 0.3 and not sitting
    shoulders = hips + 0.6
    if skirt or (coat and not sitting):
        hem = hips - (0.35 if skirt else 0.22)
        pen.polygon([(-0.27, hem), (0.27, hem), (0.16, hips + 0.2), (-0.16, hips + 0.2)], top * 0.85, kind)
    pen.polygon(
        [
            (-0.16, hips - 0.02),
            (0.16, hips - 0.02),
            (0.22, shoulders - 0.05),
            (0.12, shoulders + 0.03),
            (-0.12, shoulders + 0.03),
            (-0.22, shoulders - 0.05),
        ],
        top,
        kind,
    )
    pen.stroke(
        [(-0.19, shoulders - 0.06), (-0.24 - swing * 0.4, hips + 0.25), (-0.2 - swing, hips + 0.02)],
        0.1,
        top * 0.75,
        kind=kind,
    )
    umbrella = stage.look.weather in ("rain", "snow") and rng.random() < 0.7 and not sitting
    hand = (0.26, shoulders - 0.1) if umbrella else (0.2 + swing, hips + 0.02)
    pen.stroke([(0.19, shoulders - 0.06), (0.27 + swing * 0.4, hips + 0.26), hand], 0.1, top * 0.9, kind=kind)
    pen.disc(hand, 0.05, skin, kind=kind)
    if rng.random() < 0.3 and not umbrella:
        pen.box((hand[0] - 0.12, hand[1] - 0.38), (0.26, 0.32), _clothes(rng), kind=kind)
    _draw_head(pen, shoulders, (skin, hair), long=bool(rng.random() < 0.45))
    if umbrella:
        cloth = _clothes(rng)
        pen.stroke([hand, (0.26, shoulders + 0.72)], 0.03, np.full(3, 0.03), kind=kind)
        arc = [(0.26 + 0.62 * np.cos(t), shoulders + 0.5 + 0.34 * np.sin(t)) for t in np.linspace(0, np.pi, 9)]
        pen.polygon(arc, cloth, kind)
    stage.cast(x, z, width=0.45 * scale, height=(1.3 if sitting else 1.75) * scale)


def _draw_head(pen: Pen, shoulders: float, colors: tuple[np.ndarray, np.ndarray], *, long: bool) -> None:
    skin, hair = colors
    if long:
        pen.disc((-0.02, shoulders + 0.13), (0.15, 0.22), hair, kind=Kind.PERSON)
    pen.box((-0.05, shoulders), (0.1, 0.1), skin * 0.8, kind=Kind.PERSON)
    pen.disc((-0.01, shoulders + 0.21), (0.125, 0.15), hair, kind=Kind.PERSON)
    pen.disc((0.025, shoulders + 0.18), (0.1, 0.125), skin, kind=Kind.PERSON)


def draw_rider(stage: Stage, pen: Pen, *, number: int) -> None:
    """Somebody on the bicycle that `pen` draws."""
    rng = stage.rng("rider", number)
    skin, helmet, top, low = linear(_SKINS[rng.integers(5)]), _clothes(rng), _clothes(rng), _clothes(rng) * 0.6
    kind = Kind.PERSON
    pen.stroke([(0.27, 1.0), (0.62, 0.72), (0.47, 0.3)], 0.15, low, kind=kind)
    pen.polygon([(0.16, 0.95), (0.4, 0.98), (0.74, 1.46), (0.5, 1.6)], top, kind)
    pen.stroke([(0.62, 1.48), (0.78, 1.2), (0.92, 1.08)], 0.1, top * 0.8, kind=kind)
    pen.disc((0.7, 1.72), (0.11, 0.14), skin, kind=kind)
    pen.polygon([(0.56, 1.74), (0.84, 1.76), (0.8, 1.87), (0.68, 1.92), (0.58, 1.86)], helmet, kind)


def draw_dog(stage: Stage, x: float, z: float, *, number: int) -> None:
    """A dog, trotting."""
    rng = stage.rng("dog", number)
    fur = linear(("#8a5a2f", "#2b211b", "#d9c39a", "#6b6560", "#b5713a")[rng.integers(5)])
    pen = stage.pen(x, z, scale=rng.uniform(0.8, 1.25), mirrored=bool(rng.integers(2)))
    kind, step = Kind.DOG, rng.uniform(0, 0.1)
    for u, tone in ((-0.26 - step, 0.7), (0.2 + step, 0.7), (-0.2 + step, 1.0), (0.27 - step, 1.0)):
        pen.stroke([(u * 0.9, 0.32), (u, 0.02)], 0.075, fur * tone, kind=kind)
    pen.disc((0, 0.4), (0.36, 0.14), fur, kind=kind)
    pen.polygon([(0.18, 0.44), (0.34, 0.34), (0.44, 0.55), (0.34, 0.66)], fur, kind)
    pen.disc((0.42, 0.62), (0.13, 0.1), fur * 1.1, kind=kind)
    pen.disc((0.54, 0.58), (0.09, 0.055), fur * 0.85, kind=kind)
    pen.polygon([(0.33, 0.7), (0.39, 0.7), (0.3, 0.5)], fur * 0.55, kind)
    pen.stroke([(-0.33, 0.44), (-0.46, 0.6), (-0.5, 0.74)], 0.06, fur, kind=kind)
    stage.cast(x, z, width=0.7, height=0.5)


def draw_bird(stage: Stage, x: float, z: float, *, number: int, height: float = 0.0) -> None:
    """A bird on the ground, or a gull with spread wings at `height` metres."""
    rng = stage.rng("bird", number)
    shade = (np.full(3, 0.03), np.full(3, 0.55), np.array([0.16, 0.17, 0.2]))[rng.integers(3)]
    kind = Kind.BIRD
    if height:
        pen = stage.pen(x, z, base=height, scale=rng.uniform(0.9, 1.5), mirrored=bool(rng.integers(2)))
        lift = rng.uniform(0.1, 0.5)
        shade = shade * 0.6
        pen.stroke(
            [(-0.95, lift * 0.55), (-0.5, lift), (0, 0), (0.5, lift), (0.95, lift * 0.55)], 0.1, shade, kind=kind
        )
        pen.polygon([(-0.5, lift + 0.04), (0, 0.12), (0.5, lift + 0.04), (0, -0.13)], shade, kind)
        pen.disc((0, 0), (0.13, 0.13), shade, kind=kind)
        return
    pen = stage.pen(x, z, scale=rng.uniform(1.0, 1.5), mirrored=bool(rng.integers(2)))
    pen.stroke([(0, 0), (0.02, 0.12)], 0.02, linear("#c0622a"), kind=kind)
    pen.polygon([(-0.3, 0.16), (-0.12, 0.14), (0.06, 0.12), (0.15, 0.2), (0.1, 0.28), (-0.05, 0.27)], shade, kind)
    pen.polygon([(-0.2, 0.18), (0.02, 0.17), (0.05, 0.24), (-0.05, 0.25)], shade * 0.6, kind)
    pen.disc((0.14, 0.31), 0.065, shade * 1.15, kind=kind)
    pen.polygon([(0.18, 0.33), (0.27, 0.30), (0.18, 0.28)], linear("#e0a02a"), kind)
    stage.cast(x, z, width=0.3, height=0.25)
