"""Rows of houses."""

from offseg_viz.data.scene_drawing.buildings import House, draw_house
from offseg_viz.data.scene_drawing.stage import Stage


def house_row(stage: Stage, places: list[tuple[tuple[float, float], tuple[float, float]]], *, first: int) -> None:
    """Draw a row of houses from their (start, end) on the ground, the farthest first, one perhaps with a clock."""
    rng = stage.rng("house row", first)
    tall = rng.uniform(5.5, 11)
    clock = int(rng.integers(len(places))) if rng.random() < 0.18 else -1
    houses = [House(start, end, tall * rng.uniform(0.75, 1.25), first + k) for k, (start, end) in enumerate(places)]
    order = sorted(range(len(houses)), key=lambda k: -max(houses[k].start[1], houses[k].end[1]))
    for k in order:
        draw_house(stage, houses[k], clock=k == clock)


def front_row(
    stage: Stage, *, z: float, slope: float, first: int, gap: float = 0.0, reach: float = 32.0, middle: float = 0.0
) -> None:
    """Draw a row of houses that faces the camera at distance z (+ slope per metre to the right)."""
    rng = stage.rng("front row", first)
    places, x = [], middle - reach + rng.uniform(0, 4)
    while x < middle + reach:
        wide = rng.uniform(5, 12)
        start, end = (x, z + slope * x), (x + wide, z + slope * (x + wide))
        if min(start[1], end[1]) > 2:
            places.append((start, end))
        x += wide + (rng.uniform(1, 5) if rng.random() < gap else 0.0)
    if places:
        house_row(stage, places, first=first)
