"""The layouts with a road in front: along a street, and across one."""

from collections.abc import Callable

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


def _background(stage: Stage, rng: np.random.Generator, *, hills: float = 0.7) -> None:
    backdrop.draw_sky(stage)
    if rng.random() < hills:
        backdrop.draw_hills(stage, rows=int(rng.integers(1, 4)))


def _far_trees(things: Things, rng: np.random.Generator, *, z: tuple[float, float], count: int) -> None:
    for _ in range(count):
        distance = rng.uniform(*z)
        things.put(DRAW["tree"], rng.uniform(-1.1, 1.1) * distance, distance)


def street(stage: Stage) -> None:
    """Look along a street, straight or curved, with houses, gardens or walls on both sides."""
    rng = stage.rng("street")
    bend = rng.choice([0.0, rng.uniform(-0.004, 0.004)])
    half, side, strip = rng.uniform(2.9, 4.6), rng.uniform(1.7, 3.2), rng.choice([0.0, rng.uniform(1.5, 4)])

    def centre(z):
        return bend * np.minimum(z, 110.0) ** 2

    _background(stage, rng)
    ground = Ground(stage)
    away = ground.x - centre(ground.z)
    every = np.ones_like(ground.below)
    ground.grass(every)
    ground.pavement(np.abs(away) < half + side, slabs=rng.choice([0.0, 0.6, 1.0]))
    ground.road(np.abs(away) < half, wheels=np.abs(np.abs(np.abs(away) - half / 2) - 0.7))
    ground.fill(
        (np.abs(away) > half) & (np.abs(away) < half + 0.14), stage.look.materials.pavement * 1.15, Kind.PAVEMENT
    )
    dash = rng.uniform(4, 8)
    kind = rng.integers(4)
    if kind < 3:
        broken = np.mod(ground.z, dash) < dash * (0.45 if kind else 2)
        ground.marking((np.abs(away) < 0.075) & broken & (ground.z < 120))
    if kind == 2:
        ground.marking((np.abs(np.abs(away) - half + 0.3) < 0.06) & (ground.z < 90))
    crossing = rng.uniform(7, 17) if rng.random() < 0.35 else None
    if crossing:
        stripe = (np.abs(ground.z - crossing) < 1.5) & (np.abs(away) < half - 0.2) & (np.mod(away, 1.0) < 0.5)
        ground.marking(stripe)

    things = Things(stage)
    edge = half + side + strip
    _street_ends(stage, rng, float(centre(np.float64(105))))
    for sign in (-1, 1):
        _street_side(things, rng, (sign, edge), centre)
    _street_traffic(things, rng, (half, side, crossing), centre)
    things.birds(rng)
    things.draw()


def _street_ends(stage: Stage, rng: np.random.Generator, middle: float) -> None:
    if rng.random() < 0.55:
        front_row(stage, z=112, slope=0.0, first=900, reach=45, middle=middle)
        if rng.random() < 0.25:
            draw_tower(stage, middle + rng.uniform(-6, 6), 100, number=1)
    else:
        things = Things(stage)
        for _ in range(14):
            things.put(DRAW["tree"], middle + rng.uniform(-30, 30), rng.uniform(100, 125))
        things.draw()


def _street_side(things: Things, rng: np.random.Generator, side: tuple[int, float], centre: Callable) -> None:
    """One side of the street: a closed row of houses, single houses among trees, or a wall with trees behind it."""
    stage = things.stage
    sign, edge = side
    form = rng.choice(["row", "villas", "green"], p=[0.5, 0.28, 0.22])
    z, places, first = rng.uniform(1.0, 5), [], 100 if sign < 0 else 300
    while z < 98 and form != "green":
        long = rng.uniform(6, 13)
        near = (float(centre(z)) + sign * edge, z)
        far = (float(centre(z + long)) + sign * edge, z + long)
        places.append((near, far) if sign < 0 else (far, near))
        gap = 0.0 if form == "row" and rng.random() < 0.8 else rng.uniform(2, 8)
        if gap > 3:
            things.put(DRAW["tree"], float(centre(z)) + sign * (edge + 4), z + long + gap / 2)
        z += long + gap
    behind = Things(stage, count=first + 100)
    for _ in range(10 if form == "green" else 4):
        far = rng.uniform(14, 95)
        behind.put(DRAW["tree"], float(centre(far)) + sign * (edge + rng.uniform(2.5, 16)), far)
    behind.draw()
    if places:
        house_row(stage, places, first=first)
    if form != "row":
        _street_border(things, rng, side, centre)
    if edge > 6.2 and rng.random() < 0.5:
        step = rng.uniform(6, 11)
        for far in np.arange(rng.uniform(5, 9), 90, step):
            things.put(DRAW["tree"], float(centre(far)) + sign * (edge - 1.0), far + rng.uniform(-0.5, 0.5))


def _street_border(things: Things, rng: np.random.Generator, side: tuple[int, float], centre: Callable) -> None:
    """A wall, fence or hedge between pavement and gardens."""
    stage = things.stage
    sign, edge = side
    kind = rng.choice(["wall", "fence", "hedge"], p=[0.5, 0.25, 0.25])
    height, style = rng.uniform(0.8, 1.9), int(rng.integers(3))
    marks = np.array([2.2, 5, 8, 12, 18, 26, 38, 55, 75])
    if kind == "hedge":
        for z in np.arange(3, 50, 2.0):
            things.put(draw_bush, float(centre(z)) + sign * (edge - 0.3), float(z), hedge=True)
        return
    for a, b in zip(marks[:-1], marks[1:]):
        if kind == "fence" and b > 40:
            continue
        start, end = (float(centre(a)) + sign * (edge - 0.3), a), (float(centre(b)) + sign * (edge - 0.3), b)
        start, end = (start, end) if sign < 0 else (end, start)
        if kind == "wall":
            things.add(float(b), lambda s=start, e=end: draw_wall(stage, s, e, height=height))
        else:
            things.add(float(b), lambda s=start, e=end: draw_fence(stage, s, e, style=style))


def _street_traffic(things: Things, rng: np.random.Generator, widths: tuple, centre: Callable) -> None:
    """Lamps, signs, traffic lights, parked and moving cars, a bus, bicycles, people."""
    half, side, crossing = widths
    lamp_side = rng.choice([-1, 1])
    for z in np.arange(rng.uniform(6, 12), 100, rng.uniform(14, 22)):
        things.put(DRAW["lamp"], float(centre(z)) + lamp_side * (half + 0.35), float(z))
    for _ in range(rng.integers(0, 4)):
        z = rng.uniform(5, 28)
        things.put(DRAW["sign"], float(centre(z)) + rng.choice([-1, 1]) * (half + 0.4), z)
    if crossing and rng.random() < 0.75:
        for sign in (-1, 1):
            things.put(DRAW["traffic light"], float(centre(crossing)) + sign * (half + 0.4), crossing - 1.6)
    parked = rng.choice([-1, 1])
    if half > 3.3 and rng.random() < 0.7:
        z = rng.uniform(5, 10)
        while z < 60:
            if rng.random() < 0.65:
                things.put(DRAW["car"], float(centre(z)) + parked * (half - 1.0), z, heading=(0.0, 1.0))
            z += rng.uniform(5.2, 7)
    for _ in range(rng.integers(0, 3)):
        z = rng.uniform(9, 45)
        things.put(DRAW["car"], float(centre(z)) - parked * half * 0.45, z, heading=(0.0, 1.0))
    if rng.random() < 0.13:
        z = rng.uniform(13, 30)
        things.put(DRAW["bus"], float(centre(z)) - parked * half * 0.5, z, heading=(0.0, 1.0))
    for _ in range(rng.integers(0, 3)):
        z = rng.uniform(5, 20)
        rider = bool(rng.random() < 0.4)
        where = -parked * half * 0.6 if rider else rng.choice([-1, 1]) * (half + side * 0.5)
        things.put(DRAW["bicycle"], float(centre(z)) + where, z, rider=rider)

    def walk() -> tuple[float, float]:
        z = rng.uniform(3.5, 9) if rng.random() < 0.35 else rng.uniform(6, 45)
        return float(centre(z)) + rng.choice([-1, 1]) * (half + side * rng.uniform(0.3, 0.9)), z

    things.crowd(rng, int(rng.integers(1, 8)), walk)
    if crossing and rng.random() < 0.7:
        things.put(DRAW["person"], float(centre(crossing)) + rng.uniform(-half, half), crossing)


def across(stage: Stage) -> None:
    """Look across a street at a row of houses or a garden wall, with the traffic from left to right."""
    rng = stage.rng("across")
    slope = rng.uniform(-0.16, 0.16)
    start, half = rng.uniform(4.0, 6.5), rng.uniform(2.6, 3.6)
    walk = rng.uniform(2.2, 4)
    _background(stage, rng, hills=0.5)
    ground = Ground(stage)
    over = ground.z - slope * ground.x
    middle = start + half
    ground.grass(np.ones_like(ground.below))
    ground.pavement(over < middle + half + walk, slabs=rng.choice([0.0, 0.7, 1.2]))
    ground.road(np.abs(over - middle) < half, wheels=np.abs(np.abs(np.abs(over - middle) - half / 2) - 0.7))
    kerb = (np.abs(over - middle) > half) & (np.abs(over - middle) < half + 0.15)
    ground.fill(kerb, stage.look.materials.pavement * 1.15, Kind.PAVEMENT)
    if rng.random() < 0.8:
        ground.marking((np.abs(over - middle) < 0.08) & (np.mod(ground.x + 50, 5) < 2.6))
    if rng.random() < 0.3:
        where = rng.uniform(-4, 4)
        ground.marking(
            (np.abs(ground.x - where) < 1.6) & (np.abs(over - middle) < half - 0.1) & (np.mod(over, 0.9) < 0.45)
        )
    things = Things(stage)
    back = middle + half + walk
    green = rng.random() < 0.25
    if green:
        _far_trees(things, rng, z=(back + 2, back + 30), count=16)
        things.draw()
    else:
        front_row(stage, z=back, slope=slope, first=500, gap=0.25)
    if green or rng.random() < 0.25:
        left, right = (-30.0, back - 0.3 - 30 * slope), (30.0, back - 0.3 + 30 * slope)
        if rng.random() < 0.6:
            draw_wall(stage, left, right, height=rng.uniform(0.9, 1.8))
        else:
            draw_fence(stage, left, right, style=int(rng.integers(3)))
    _across_traffic(things, rng, (middle, half, walk), slope)
    if rng.random() < 0.35:
        z = rng.uniform(2.2, 3.0)
        tall = rng.uniform(0.45, 0.75) * stage.camera.eye
        things.add(
            z, lambda: draw_wall(stage, (-12.0, z - 12 * slope * 0.4), (12.0, z + 12 * slope * 0.4), height=tall)
        )
    things.birds(rng)
    things.draw()


def _across_traffic(things: Things, rng: np.random.Generator, widths: tuple, slope: float) -> None:
    middle, half, walk = widths
    heading = (1 / np.hypot(1, slope), slope / np.hypot(1, slope))
    far, near = middle + half, middle - half
    lamps = rng.uniform(8, 13)
    for x in np.arange(-24 + rng.uniform(0, 6), 24, lamps):
        things.put(DRAW["lamp"], x, far + 0.5 + slope * x)
    if rng.random() < 0.6:
        for x in np.arange(-24 + rng.uniform(0, 6), 24, rng.uniform(5, 9)):
            things.put(DRAW["tree"], x, far + 0.9 + slope * x)
    x = rng.uniform(-22, -16)
    row = rng.random() < 0.6
    while x < 20:
        if row and rng.random() < 0.55:
            things.put(DRAW["car"], x, far - 0.9 + slope * x, heading=heading)
        x += rng.uniform(4.8, 7)
    if rng.random() < 0.5:
        x = rng.uniform(-6, 3)
        things.put(DRAW["car"], x, near + 1.3 + slope * x, heading=heading)
    if rng.random() < 0.24:
        x = rng.uniform(-9, 1)
        things.put(DRAW["bus"], x, middle + 0.8 + slope * x, heading=heading)
    for _ in range(rng.integers(0, 4)):
        x, rider = rng.uniform(-7, 7), bool(rng.random() < 0.45)
        things.put(DRAW["bicycle"], x, (middle - 0.4 if rider else far + walk * 0.7) + slope * x, rider=rider)
    for name, count in (("sign", rng.integers(0, 4)), ("bench", rng.integers(0, 2))):
        for _ in range(count):
            x = rng.uniform(-9, 9)
            things.put(DRAW[name], x, far + 0.4 + slope * x + (walk * 0.6 if name == "bench" else 0))
    if rng.random() < 0.25:
        x = rng.uniform(-5, 5)
        things.put(DRAW["traffic light"], x, near - 0.4 + slope * x)
    if rng.random() < 0.12:
        x = rng.uniform(-5, 5)
        things.put(DRAW["clock"], x, far + 0.8 + slope * x)

    def stroll() -> tuple[float, float]:
        x = rng.uniform(-9, 9)
        return x, (
            near - rng.uniform(0.5, 1.5) if rng.random() < 0.25 else far + rng.uniform(0.8, walk - 0.2)
        ) + slope * x

    things.crowd(rng, int(rng.integers(2, 9)), stroll)
