"""A list of things that stand on the ground, painted from far to near."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from offseg_viz.data.scene_drawing import furniture, people, plants, vehicles
from offseg_viz.data.scene_drawing.stage import Stage


@dataclass
class Things:
    """Collects what stands where; `draw` paints it, the farthest first."""

    stage: Stage
    waiting: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    count: int = 0

    def put(self, draw: Callable, x: float, z: float, **more) -> None:
        """Let `draw(stage, x, z, number=..., **more)` stand at (x, z)."""
        self.count += 1
        number = self.count
        if self.stage.view.sees(x, z, reach=12.0):  # metres: the longest thing and its shadow
            self.waiting.append((z, lambda: draw(self.stage, x, z, number=number, **more)))

    def add(self, z: float, draw: Callable[[], None]) -> None:
        """Let anything be drawn in its turn for the distance z."""
        self.waiting.append((z, draw))

    def draw(self) -> None:
        """Paint all of it."""
        for _, draw in sorted(self.waiting, key=lambda item: -item[0]):
            draw()
        self.waiting.clear()

    def birds(self, rng: np.random.Generator, *, chance: float = 0.55) -> None:
        """Perhaps a flock in the sky, and perhaps a few birds on the ground."""
        if rng.random() < chance:
            z, x, high = rng.uniform(13, 38), rng.uniform(-0.5, 0.5), rng.uniform(0.12, 0.34)
            for _ in range(rng.integers(2, 9)):
                far = z * rng.uniform(0.8, 1.3)
                focal, horizon = self.stage.camera.focal, self.stage.camera.horizon
                rise = np.clip(high + rng.normal(0, 0.06), 0.04, horizon - 0.03)
                across = x + rng.normal(0, 0.13)
                self.put(people.draw_bird, across * far / focal, far, height=self.stage.camera.eye + rise * far / focal)
        if rng.random() < chance * 0.6:
            x, z = rng.uniform(-3, 3), rng.uniform(4, 10)
            for _ in range(rng.integers(1, 6)):
                self.put(people.draw_bird, x + rng.normal(0, 0.9), max(z + rng.normal(0, 0.8), 2.5))

    def crowd(self, rng: np.random.Generator, count: int, place: Callable[[], tuple[float, float]]) -> None:
        """People at random places, some in pairs, some with a dog."""
        for _ in range(count):
            x, z = place()
            if z < 3.2:
                continue
            self.put(people.draw_person, x, z)
            if rng.random() < 0.3:
                self.put(people.draw_person, x + rng.uniform(0.5, 0.8), z + rng.uniform(-0.2, 0.2))
            if rng.random() < 0.2:
                self.put(people.draw_dog, x - rng.uniform(0.7, 1.1), z - 0.1)


DRAW = {
    "lamp": furniture.draw_lamp,
    "sign": furniture.draw_sign,
    "traffic light": furniture.draw_traffic_light,
    "clock": furniture.draw_clock_post,
    "bench": furniture.draw_bench,
    "tree": plants.draw_tree,
    "bush": plants.draw_bush,
    "car": vehicles.draw_car,
    "bus": vehicles.draw_bus,
    "bicycle": vehicles.draw_bicycle,
    "person": people.draw_person,
    "dog": people.draw_dog,
}
"""What can be put on the ground, by name."""
