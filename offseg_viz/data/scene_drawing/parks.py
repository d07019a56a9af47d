"""The layouts without a road in front: a park, a promenade along the water, a square."""

import numpy as np

from offseg_viz.data.scene_drawing import backdrop
from offseg_viz.data.scene_drawing.buildings import draw_tower
from offseg_viz.data.scene_drawing.classes import Kind
from offseg_viz.data.scene_drawing.furniture import draw_fence
from offseg_viz.data.scene_drawing.ground import Ground
from offseg_viz.data.scene_drawing.masonry import draw_wall
from offseg_viz.data.scene_drawing.plants import draw_bush
from offseg_viz.data.scene_drawing.stage import Stage
from offseg_viz.data.scene_drawing.terraces import front_row, house_row
from offseg_viz.data.scene_drawing.things import DRAW, Things


def park(stage: Stage) -> None:
    """A park: winding paths, perhaps a pond, flower beds, benches, old trees, the town or hills behind."""
    rng = stage.rng("park")
    backdrop.draw_sky(stage)
    if rng.random() < 0.75:
        backdrop.draw_hills(stage, rows=int(rng.integers(1, 4)))
    if rng.random() < 0.55:
        front_row(stage, z=rng.uniform(60, 95), slope=0.0, first=500, gap=0.6, reach=80)
        if rng.random() < 0.3:
            draw_tower(stage, rng.uniform(-20, 20), 58, number=2)
    ground = Ground(stage)
    ground.grass(np.ones_like(ground.below))
    start, swing, length, drift = (
        rng.uniform(-2.5, 2.5),
        rng.uniform(0.5, 3.5),
        rng.uniform(5, 11),
        rng.uniform(-0.25, 0.25),
    )
    phase, half = rng.uniform(0, 6.28), rng.uniform(0.9, 1.7)

    def middle(z):
        return start + swing * (np.sin(z / length + phase) - np.sin(phase)) + drift * z

    turn = rng.uniform(8, 16)
    slant = rng.uniform(-0.12, 0.12)
    branch = rng.random() < 0.6

    def on_path(x, z, margin):
        second = branch and np.abs(z - turn - slant * x) < half + margin
        return (np.abs(x - middle(z)) < half + margin) | second

    pond = None
    if rng.random() < 0.6:
        z, side = rng.uniform(9, 17), rng.choice([-1, 1])
        wide = rng.uniform(4, 9)
        pond = (float(middle(z)) + side * (wide + half + 1.2), z, wide, rng.uniform(2.2, 5.5))
        rim = np.hypot((ground.x - pond[0]) / pond[2], (ground.z - pond[1]) / pond[3]) + 0.05 * ground.soft
        if branch and abs(pond[1] - turn) < pond[3] + 2:
            branch = False
    path = np.abs(ground.x - middle(ground.z)) < half
    if branch:
        path |= np.abs(ground.z - turn - slant * ground.x) < half
    ground.path(path)
    if pond:
        ground.pavement((rim < 1.1) & ~path)
        ground.water((rim < 1) & ~path)
    beds = []
    for _ in range(rng.integers(0, 4)):
        x, z = rng.uniform(-7, 7), rng.uniform(5, 16)
        radii = (rng.uniform(1.0, 2.4), rng.uniform(0.7, 1.5))
        if not on_path(x, z, max(radii)) and not _in_pond(pond, x, z, 1.5):
            beds.append((x, z))
            ground.flower_bed((x, z), radii)

    things = Things(stage)
    for _ in range(rng.integers(14, 34)):
        z = rng.uniform(7, 60) if rng.random() < 0.6 else rng.uniform(28, 65)
        x = rng.uniform(-1, 1) * (4 + 0.95 * z)
        clear = (
            not on_path(x, z, 1.0)
            and not _in_pond(pond, x, z, 1.3)
            and all(np.hypot(x - a, z - b) > 3 for a, b in beds)
        )
        if clear:
            things.put(DRAW["tree"], x, z)
    for _ in range(rng.integers(2, 9)):
        z = rng.uniform(5, 30)
        x = rng.uniform(-0.8, 0.8) * z
        if not on_path(x, z, 1.0) and not _in_pond(pond, x, z, 1.2):
            things.put(DRAW["bush"], x, z)
    for z in np.arange(rng.uniform(5, 9), 55, rng.uniform(9, 15)):
        things.put(DRAW["lamp"], float(middle(z)) + half + 0.4, float(z))
    for _ in range(rng.integers(0, 4)):
        z = rng.uniform(5.5, 18)
        things.put(DRAW["bench"], float(middle(z)) - half - 1.1, z)
        if rng.random() < 0.4:
            things.put(DRAW["person"], float(middle(z)) - half - 1.2, z - 0.12, sitting=True)
    _park_borders(things, rng)

    def walk() -> tuple[float, float]:
        z = rng.uniform(4, 30)
        return float(middle(z)) + rng.uniform(-1.0, 1.0) * half, z

    things.crowd(rng, int(rng.integers(2, 8)), walk)
    if rng.random() < 0.35:
        things.put(DRAW["dog"], rng.uniform(-4, 4), rng.uniform(4, 10))
    if rng.random() < 0.25:
        z = rng.uniform(5, 14)
        things.put(DRAW["bicycle"], float(middle(z)), z, rider=bool(rng.random() < 0.6))
    if rng.random() < 0.12:
        z = rng.uniform(6, 14)
        things.put(DRAW["clock"], float(middle(z)) + half + 0.8, z)
    things.birds(rng, chance=0.7)
    things.draw()


def _in_pond(pond: tuple | None, x: float, z: float, margin: float) -> bool:
    return pond is not None and np.hypot((x - pond[0]) / (pond[2] * margin), (z - pond[1]) / (pond[3] * margin)) < 1


def _park_borders(things: Things, rng: np.random.Generator) -> None:
    """A fence, wall or hedge across the far end, and sometimes a wall or fence close in front."""
    stage = things.stage
    kind, z = rng.choice(["fence", "wall", "hedge", "none"]), rng.uniform(26, 45)
    if kind == "fence":
        things.add(z, lambda: draw_fence(stage, (-40.0, z), (40.0, z), style=2))
    elif kind == "wall":
        things.add(z, lambda: draw_wall(stage, (-60.0, z), (60.0, z + 4), height=2.0))
    elif kind == "hedge":
        for x in np.arange(-26, 26, 2.0):
            things.put(draw_bush, float(x), z * 0.7, hedge=True)
    if rng.random() < 0.22:
        near, tall = rng.uniform(2.3, 3.2), rng.uniform(0.4, 0.7) * stage.camera.eye
        slope = rng.uniform(-0.08, 0.08)
        things.add(near, lambda: draw_wall(stage, (-9.0, near - 9 * slope), (9.0, near + 9 * slope), height=tall))
    elif rng.random() < 0.22:
        near, style = rng.uniform(3.0, 4.5), int(rng.integers(3))
        things.add(near, lambda: draw_fence(stage, (-6.0, near), (6.0, near), style=style))


def promenade(stage: Stage) -> None:
    """A paved promenade with a wall or railing, a river or lake, and the far bank mirrored in it."""
    rng = stage.rng("promenade")
    backdrop.draw_sky(stage)
    backdrop.draw_hills(stage, rows=int(rng.integers(1, 4)))
    shore, far = rng.uniform(6.5, 10), rng.uniform(32, 70)
    slope = rng.uniform(-0.1, 0.1)
    ground = Ground(stage)
    over = ground.z - slope * ground.x
    ground.grass(np.ones_like(ground.below))
    ground.water((over > shore) & (over < far + 1.2 * ground.soft))
    ground.pavement(over < shore, slabs=rng.choice([0.0, 0.8, 1.3]))
    if rng.random() < 0.6:
        ground.path(over < shore - 2.6)
    things = Things(stage)
    if rng.random() < 0.65:
        front_row(stage, z=far + 6, slope=slope, first=500, gap=0.4, reach=75)
        if rng.random() < 0.4:
            draw_tower(stage, rng.uniform(-25, 25), far + 5, number=3)
    for _ in range(rng.integers(6, 18)):
        x = rng.uniform(-0.9, 0.9) * far
        things.put(DRAW["tree"], x, far + 2 + slope * x + rng.uniform(0, 3))
    left, right = (-16.0, shore - 16 * slope), (16.0, shore + 16 * slope)
    if rng.random() < 0.5:
        tall = rng.uniform(0.5, 0.95)
        things.add(shore, lambda: draw_wall(stage, left, right, height=tall))
    else:
        style = int(rng.choice([0, 2]))
        things.add(shore, lambda: draw_fence(stage, left, right, style=style))
    for x in np.arange(-16 + rng.uniform(0, 5), 16, rng.uniform(6, 10)):
        things.put(DRAW["lamp"], float(x), shore - 0.6 + slope * float(x))
    if rng.random() < 0.5:
        for x in np.arange(-14 + rng.uniform(0, 5), 14, rng.uniform(5, 8)):
            things.put(DRAW["tree"], float(x), shore - 1.6 + slope * float(x))
    for name, chance, most in (
        ("bench", 0.8, 3),
        ("bicycle", 0.5, 3),
        ("dog", 0.4, 2),
        ("clock", 0.15, 2),
        ("sign", 0.3, 2),
    ):
        for _ in range(rng.integers(1, most) if rng.random() < chance else 0):
            x = rng.uniform(-5, 5)
            things.put(DRAW[name], x, shore - rng.uniform(0.9, 2.4) + slope * x)
    things.crowd(rng, int(rng.integers(2, 8)), lambda: (rng.uniform(-6, 6), shore - rng.uniform(0.8, 3.3)))
    things.birds(rng, chance=0.9)
    things.draw()


def square(stage: Stage) -> None:
    """A paved square with a tower, houses on three sides, trees in rows, flower beds and many people."""
    rng = stage.rng("square")
    backdrop.draw_sky(stage)
    back, half = rng.uniform(24, 40), rng.uniform(10, 16)
    ground = Ground(stage)
    every = np.ones_like(ground.below)
    ground.pavement(every, slabs=rng.choice([0.5, 0.9, 1.4]))
    if rng.random() < 0.6:
        ring, wide = rng.uniform(4, 7), rng.uniform(0.8, 1.6)
        away = np.hypot(ground.x, ground.z - 12)
        ground.path((np.abs(away - ring) < wide) | (np.abs(ground.x) < wide * 0.6) & (away > ring))
    if rng.random() < 0.6:
        ground.road(np.abs(ground.z - back + 6) < 2.6)
        ground.marking((np.abs(ground.z - back + 6) < 0.1) & (np.mod(ground.x + 60, 4) < 2))
        traffic = True
    else:
        traffic = False
    beds = [(sign * rng.uniform(3, 6), rng.uniform(7, 13)) for sign in (-1, 1)] if rng.random() < 0.65 else []
    for x, z in beds:
        ground.flower_bed((x, z), (rng.uniform(1.0, 1.8), rng.uniform(0.8, 1.3)))
    if rng.random() < 0.4:
        basin = np.hypot(ground.x - 0.6, (ground.z - 12) / 1.0)
        ground.fill(basin < 2.7, stage.look.materials.wall, Kind.WALL)
        ground.water(basin < 2.35)
    front_row(stage, z=back, slope=0.0, first=500, reach=40)
    for sign, first in ((-1, 100), (1, 300)):
        z, places = rng.uniform(7, 11), []
        while z < back - 9:
            long = rng.uniform(6, 11)
            near, far = (sign * half, z), (sign * half, z + long)
            places.append((near, far) if sign < 0 else (far, near))
            z += long
        house_row(stage, places, first=first)
    things = Things(stage)
    if rng.random() < 0.5:
        x, z = rng.uniform(-6, 6), back - 9.5
        things.add(z, lambda: draw_tower(stage, x, z, number=4))
    elif rng.random() < 0.6:
        things.put(DRAW["clock"], rng.uniform(-3, 3), rng.uniform(6, 12))
    if traffic:
        for _ in range(rng.integers(0, 3)):
            things.put(DRAW["car"], rng.uniform(-12, 8), back - 5.0)
        if rng.random() < 0.45:
            things.put(DRAW["bus"], rng.uniform(-12, 2), back - 5.4)
    if rng.random() < 0.7:
        for z in np.arange(rng.uniform(8, 10), back - 9, rng.uniform(4.5, 7)):
            for sign in (-1, 1):
                things.put(DRAW["tree"], sign * (half - 3.2), float(z))
    for z in (rng.uniform(5.5, 8), rng.uniform(11, 15)):
        for sign in (-1, 1):
            things.put(DRAW["lamp"], sign * (half - 5.5), float(z))
    for name, most in (("bench", 4), ("bicycle", 3), ("dog", 2), ("sign", 2), ("bush", 3)):
        for _ in range(rng.integers(0, most)):
            things.put(DRAW[name], rng.uniform(-7, 7), rng.uniform(6, 15))
    things.crowd(rng, int(rng.integers(6, 15)), lambda: (rng.uniform(-8, 8), rng.uniform(4, back - 8)))
    things.birds(rng, chance=0.75)
    things.draw()
