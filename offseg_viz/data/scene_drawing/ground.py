"""The ground: every pixel below the horizon knows its place in metres, and regions are conditions on that place."""

import cv2
import numpy as np

from offseg_viz.data.scene_drawing.classes import Kind
from offseg_viz.data.scene_drawing.look import Materials
from offseg_viz.data.scene_drawing.stage import Stage
from offseg_viz.data.scene_drawing.textures import bond, lookup

SNOW = np.array([0.72, 0.75, 0.80])


class Ground:
    """The rows of the canvas that hold ground, with the place (`x`, `z`) in metres of each of their pixels."""

    def __init__(self, stage: Stage):
        self.stage = stage
        across, down = stage.view.level()
        below = down > 0.0012
        rows = np.flatnonzero(below.any(axis=1))
        self.first = int(rows[0]) if rows.size else stage.canvas.height
        down = np.maximum(down[self.first :], np.float32(0.0012))
        self.below = below[self.first :]
        camera = stage.camera
        self.z = np.float32(camera.focal * camera.eye) / down
        self.x = across[self.first :] * self.z / np.float32(camera.focal) + np.float32(camera.x)
        self.paint = stage.canvas.paint[self.first :]
        self.place = stage.canvas.place[self.first :]
        soft, fine = stage.tiles
        self.even, self.nothing = np.ones_like(self.z), np.zeros_like(self.z)
        near = np.clip(14 / self.z, 0, 1)
        self.soft = lookup(soft, self.x, self.z, period=31.0)
        self.grain = lookup(fine, self.x, self.z, period=4.7) * near
        self.detail = np.clip(1.25 - self.z / 16, 0, 1)  # fades patterns out where they would alias

    def fill(self, region: np.ndarray, color: np.ndarray, kind: int, *, variation: np.ndarray | None = None) -> None:
        """Paint the pixels where `region` holds; `variation` multiplies the colour pixel by pixel."""
        mask = (region & self.below).view(np.uint8)
        value = self.even if variation is None else variation.astype(np.float32, copy=False)
        red, green, blue = map(float, color)
        cv2.copyTo(cv2.merge([value * red, value * green, value * blue, self.nothing]), mask, self.paint)
        cv2.copyTo(cv2.merge([np.full_like(self.nothing, kind), self.z]), mask, self.place)

    def grass(self, region: np.ndarray) -> None:
        """Grass, or snow in a snowy winter."""
        look = self.stage.look
        if look.snow:
            patch = self.soft + 0.3 * self.grain > 1.1
            self.fill(region, SNOW, Kind.GRASS, variation=1 + 0.05 * self.soft + 0.03 * self.grain)
            self.fill(region & patch, 0.5 * SNOW + 0.5 * look.materials.grass, Kind.GRASS)
        else:
            mown = 0.05 * np.sign(np.sin(self.x * 1.3)) * (look.season in ("summer", "spring"))
            blades = 0.14 * self.grain + 0.10 * self.soft + mown * self.detail
            self.fill(region, look.materials.grass, Kind.GRASS, variation=np.maximum(1 + blades, 0.4))

    def road(self, region: np.ndarray, *, wheels: np.ndarray | None = None) -> None:
        """Asphalt; `wheels` (a distance in metres from the wheel tracks) leaves darker bands, or lanes in the snow."""
        variation = 1 + 0.07 * self.soft + 0.10 * self.grain
        color = self.stage.look.materials.road
        if wheels is not None:
            variation = variation - 0.07 * np.exp(-((wheels / 0.5) ** 2))
        self.fill(region, color, Kind.ROAD, variation=variation)
        if self.stage.look.snow and wheels is not None:
            slush = wheels + 0.16 * self.soft + 0.1 * self.grain > 0.75
            self.fill(region & slush, 0.55 * color + 0.45 * SNOW * color.mean() / 0.2, Kind.ROAD, variation=variation)

    def pavement(self, region: np.ndarray, *, slabs: float = 0.0) -> None:
        """Paving, with slabs of that many metres where `slabs` is not 0."""
        variation = 1 + 0.06 * self.soft + 0.07 * self.grain
        if slabs:
            joint, tone = bond(self.x, self.z, size=(slabs, slabs), joint=0.05)
            variation = variation * (1 - (0.22 * joint - 0.05 * tone) * self.detail)
        self._with_snow(region, self.stage.look.materials.pavement, Kind.PAVEMENT, variation)

    def path(self, region: np.ndarray) -> None:
        """Gravel."""
        variation = 1 + 0.05 * self.soft + 0.2 * self.grain
        self._with_snow(region, self.stage.look.materials.path, Kind.PATH, variation)

    def _with_snow(self, region: np.ndarray, color: np.ndarray, kind: int, variation: np.ndarray) -> None:
        self.fill(region, color, kind, variation=variation)
        if self.stage.look.snow:
            lying = region & (self.soft + 0.5 * self.grain > 0.3)
            self.fill(lying, 0.45 * color + 0.55 * SNOW, kind, variation=variation)

    def marking(self, region: np.ndarray) -> None:
        """Painted lines and stripes, lighter than the road by the same ratio in every picture."""
        road = self.stage.look.materials.road
        worn = region & (self.grain + 0.5 * self.soft < 1.9)
        self.fill(worn, np.minimum(road.mean() * 4.2, 0.9) * np.ones(3), Kind.LANE_MARKING)

    def water(self, region: np.ndarray) -> None:
        """Water; what it mirrors is put in when the picture is exposed."""
        self.fill(region, self.stage.look.sky.horizon * 0.5, Kind.WATER)

    def flower_bed(self, centre: tuple[float, float], radii: tuple[float, float]) -> None:
        """A round bed of flowers on a dark bed of earth and leaves."""
        away = np.hypot((self.x - centre[0]) / radii[0], (self.z - centre[1]) / radii[1]) + 0.05 * self.soft
        region = away < 1
        materials: Materials = self.stage.look.materials
        if self.stage.look.season == "winter":
            earth = 0.6 * SNOW if self.stage.look.snow else materials.trunk * 0.9
            self.fill(region, earth, Kind.FLOWER_BED, variation=1 + 0.25 * self.grain)
            return
        self.fill(region, materials.bush, Kind.FLOWER_BED, variation=np.maximum(1 + 0.3 * self.grain, 0.3))
        cell_x, cell_z = np.floor(self.x / 0.22), np.floor(self.z / 0.30)
        value = np.abs(np.sin(cell_x * 12.9898 + cell_z * 78.233) * 43758.5453)
        value = value - np.floor(value)
        spot = np.hypot(self.x / 0.22 - cell_x - 0.5, (self.z / 0.30 - cell_z - 0.5)) < 0.47
        for k, color in enumerate(materials.flowers):
            rows = (away * 3).astype(int) % 3 == k
            self.fill(region & spot & rows & (value < 0.85), color, Kind.FLOWER_BED)
