"""Everything a drawing function needs: the view, the canvas, the look and the random streams of one scene."""

import zlib
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from offseg_viz.data.scene_drawing.camera import Camera, View
from offseg_viz.data.scene_drawing.canvas import Canvas, Pen
from offseg_viz.data.scene_drawing.look import Look
from offseg_viz.data.scene_drawing.textures import crown, noise_tile, snowy


def stream(seed: int, concern: str, number: int = 0) -> np.random.Generator:
    """The random stream of one concern of one scene; concerns never disturb each other."""
    return np.random.default_rng([seed, zlib.crc32(concern.encode()), number])


@dataclass
class Stage:
    """One scene while it is being drawn.

    `shadows` collects (x, z, width, height) of what stands on the ground; `pools` the (x, z, radius) that lamps light.
    """

    seed: int
    view: View
    canvas: Canvas
    look: Look
    shadows: list[tuple[float, float, float, float]] = field(default_factory=list)
    pools: list[tuple[float, float, float]] = field(default_factory=list)
    _crowns: dict[tuple[str, int], list[np.ndarray]] = field(default_factory=dict)
    _caps: dict[tuple[str, int], list[np.ndarray]] = field(default_factory=dict)

    @property
    def camera(self) -> Camera:
        return self.view.camera

    def rng(self, concern: str, number: int = 0) -> np.random.Generator:
        """The random stream of one concern."""
        return stream(self.seed, concern, number)

    def pen(self, x: float, z: float, **more) -> Pen:
        """A pen that paints on an upright plane standing at (x, z)."""
        return Pen(self.canvas, self.view, (x, z), **more)

    def cast(self, x: float, z: float, *, width: float, height: float) -> None:
        """Note that something of this width and height (metres) stands at (x, z) and throws a shadow."""
        self.shadows.append((x, z, width, height))

    @cached_property
    def tiles(self) -> tuple[np.ndarray, np.ndarray]:
        """Two repeating noise tiles: soft patches and fine grain."""
        rng = self.rng("tiles")
        return noise_tile(rng, coarsest=4), noise_tile(rng, coarsest=32, falloff=0.85)

    def crown(self, form: str, which: int) -> list[np.ndarray]:
        """A foliage texture, one of two of its form, as its halvings."""
        which = which % 2 if form == "round" else 0
        if (form, which) not in self._crowns:
            thin = {"autumn": 0.35, "spring": 0.15}.get(self.look.season, 0.0)
            gaps = thin if form in ("round", "tall") else 0.0
            self._crowns[form, which] = crown(self.tiles[1], self.rng(f"crown {form}", which), form=form, gaps=gaps)
        return self._crowns[form, which]

    def cap(self, form: str, which: int) -> list[np.ndarray]:
        """The snow on `crown`."""
        which = which % 2 if form == "round" else 0
        if (form, which) not in self._caps:
            self._caps[form, which] = snowy(self.crown(form, which))
        return self._caps[form, which]
