"""Trees with seasonal crowns and bare winter branches, and bushes."""

import numpy as np

from offseg_viz.data.scene_drawing.classes import Kind
from offseg_viz.data.scene_drawing.ground import SNOW
from offseg_viz.data.scene_drawing.stage import Stage


def draw_tree(stage: Stage, x: float, z: float, *, number: int) -> None:
    """A tree: broad-leaved or conifer, with blossom, green or autumn leaves, bare or snowy in winter."""
    rng = stage.rng("tree", number)
    look = stage.look
    form = ("round", "round", "tall", "cone")[rng.integers(4)]
    height = rng.uniform(4.5, 9.0) * (1.15 if form == "tall" else 1.0)
    tone = np.exp(rng.normal(0, 0.10))
    leaves = look.materials.leaves[rng.integers(len(look.materials.leaves))] * tone
    mirrored = bool(rng.integers(2))
    which = int(rng.integers(2))
    pen = stage.pen(x, z, mirrored=mirrored)
    trunk = look.materials.trunk
    thick = 0.035 * height + 0.08
    bare = look.season == "winter" and form != "cone"
    if form == "cone":
        leaves = look.materials.bush * tone * np.array([0.9, 1, 1.1])
    top = height * (0.5 if bare or form != "cone" else 0.3)
    pen.polygon([(-thick * 0.7, 0), (thick * 0.7, 0), (thick * 0.4, top), (-thick * 0.4, top)], trunk, Kind.TRUNK)
    pen.polygon([(0.1 * thick, 0), (thick * 0.7, 0), (thick * 0.4, top), (0.1 * thick, top)], trunk * 0.65, Kind.TRUNK)
    if bare:
        _draw_branches(stage, pen, (height, thick), rng)
        stage.cast(x, z, width=height * 0.25, height=height * 0.9)
        return
    width = height * {"round": 0.82, "tall": 0.5, "cone": 0.52}[form]
    low = height * {"round": 0.24, "tall": 0.16, "cone": 0.08}[form]
    pen.stamp(stage.crown(form, which), (-width / 2, low), (width, height - low), color=leaves, kind=Kind.TREE)
    if look.snow:
        pen.stamp(stage.cap(form, which), (-width / 2, low), (width, height - low), color=SNOW, kind=Kind.TREE)
    stage.cast(x, z, width=width * 0.8, height=height)


def _draw_branches(stage: Stage, pen, size: tuple[float, float], rng: np.random.Generator) -> None:
    """Bare branches: three generations of forks above the trunk."""
    height, thick = size
    bark = stage.look.materials.trunk * 0.75
    tips = [((0.0, height * 0.36), np.pi / 2 + rng.normal(0, 0.08), height * 0.24)]
    tips += [((0.0, height * 0.44), np.pi / 2 + side * rng.uniform(0.5, 0.8), height * 0.22) for side in (-1, 1)]
    generations = 4 if pen.distance < 30 else 3
    width = thick * 0.5
    for generation in range(generations):
        grown = []
        for (u, v), angle, length in tips:
            end = (u + length * np.cos(angle), v + length * np.sin(angle))
            pen.stroke([(u, v), end], width, bark, kind=Kind.TREE)
            if stage.look.snow and generation > 0:
                pen.stroke([(u, v + width * 0.5), (end[0], end[1] + width * 0.5)], width * 0.45, SNOW, kind=Kind.TREE)
            bends = rng.uniform(0.2, 0.65, 2)
            grown += [(end, angle + bends[0], length * 0.76), (end, angle - bends[1], length * 0.76)]
        tips, width = grown, width * 0.6


def draw_bush(stage: Stage, x: float, z: float, *, number: int, hedge: bool = False) -> None:
    """A bush, or with `hedge` a piece of clipped hedge two metres long."""
    rng = stage.rng("bush", number)
    look = stage.look
    pen = stage.pen(x, z, mirrored=bool(rng.integers(2)))
    color = look.materials.bush * np.exp(rng.normal(0, 0.08)) * 1.05
    if look.season == "autumn" and not hedge and rng.random() < 0.4:
        color = look.materials.leaves[rng.integers(3)] * 0.8
    if look.season == "winter" and not hedge:
        color = 0.5 * color + 0.5 * look.materials.trunk
    form = "hedge" if hedge else "round"
    width, height = (2.3, rng.uniform(0.95, 1.1)) if hedge else (rng.uniform(1.3, 2.4), rng.uniform(0.9, 1.6))
    low = 0.0 if hedge else -0.22 * height
    which = int(rng.integers(2))
    pen.stamp(stage.crown(form, which), (-width / 2, low), (width, height - low), color=color, kind=Kind.BUSH)
    if look.snow:
        pen.stamp(stage.cap(form, which), (-width / 2, low), (width, height - low), color=SNOW, kind=Kind.BUSH)
    stage.cast(x, z, width=width * 0.85, height=height * 0.8)
