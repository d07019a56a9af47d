"""What lies behind everything: sky, sun or moon, stars, clouds, and rows of hills."""

import cv2
import numpy as np

from offseg_viz.data.scene_drawing.camera import View
from offseg_viz.data.scene_drawing.classes import Kind
from offseg_viz.data.scene_drawing.look import linear
from offseg_viz.data.scene_drawing.stage import Stage
from offseg_viz.data.scene_drawing.textures import lookup


def draw_sky(stage: Stage) -> None:
    """Fill the canvas with sky: a gradient to the horizon, the sun or the moon, stars at night, clouds."""
    look, canvas = stage.look, stage.canvas
    sky = look.sky
    rng = stage.rng("sky")
    size = (canvas.width, canvas.height)
    across, down = View(stage.camera, canvas.height // 2, canvas.width // 2).level()
    rise = np.clip(-down / 0.62, 0, 1)
    blend = (rise**0.62)[..., None]
    color = (sky.horizon * (1 - blend) + sky.zenith * blend).astype(np.float32)
    _draw_sun(stage, color, across, down)
    if sky.night > 0.6 and look.weather == "clear":
        _draw_stars(color, stage.rng("stars"))
    canvas.place[..., 0] = Kind.SKY
    if sky.cover > 0.02:
        cover = _draw_clouds(stage, color, (across, down), rng)
        canvas.place[..., 0] += cv2.resize(cover, size, interpolation=cv2.INTER_LINEAR) > 0.45  # cloud follows sky
    canvas.paint[..., :3] = cv2.resize(color, size, interpolation=cv2.INTER_LINEAR)
    canvas.paint[..., 3] = 1


def _draw_sun(stage: Stage, color: np.ndarray, across: np.ndarray, down: np.ndarray) -> None:
    sky, camera = stage.look.sky, stage.camera
    if abs(sky.azimuth) > 1.3 or stage.look.weather not in ("clear", "overcast"):
        return
    moon = sky.elevation < -5
    height = 0.34 if moon else np.tan(np.radians(np.clip(sky.elevation, 1.0, 40))) * camera.focal * 0.8
    column = np.tan(np.clip(sky.azimuth, -0.9, 0.9)) * camera.focal * 0.6
    far = np.hypot(across - np.float32(column), down + np.float32(height))
    strength = 0.25 if stage.look.weather == "overcast" else 1.0
    if moon:
        color += (far < 0.028)[..., None] * (linear("#fff4d8") * 0.8 * strength).astype(np.float32)
        color += (np.exp(-far / 0.06) * 0.05 * strength)[..., None].astype(np.float32)
    else:
        glare = 0.9 * np.exp(-((far / 0.03) ** 2)) + 0.35 * np.exp(-far / 0.11) + 0.12 * np.exp(-far / 0.4)
        color += (glare * strength)[..., None].astype(np.float32) * (sky.sun + 0.1).astype(np.float32)


def _draw_stars(color: np.ndarray, rng: np.random.Generator) -> None:
    height, width = color.shape[:2]
    place = rng.random((90, 2))
    bright = rng.uniform(0.08, 0.5, 90)
    wide = max(height // 260, 1)
    rows = ((1 - np.sqrt(place[:, 1])) * 0.62 * height).astype(int)
    columns = ((place[:, 0] - 0.5) * 2.4 * height + width / 2).astype(int)
    for row, column, value in zip(rows, columns, bright):
        if 0 <= column < width:
            color[row : row + wide, column : column + wide] += value


def _draw_clouds(
    stage: Stage, color: np.ndarray, places: tuple[np.ndarray, np.ndarray], rng: np.random.Generator
) -> np.ndarray:
    """Paint clouds into `color`, in place; returns how much they cover, 0 .. 1 (H, W) float32."""
    sky = stage.look.sky
    across, down = places
    shift = rng.uniform(0, 50, 2).astype(np.float32)
    layer = 1 / (np.clip(-down, 0, 2) + np.float32(rng.uniform(0.16, 0.4)))
    u, v = across * layer * np.float32(0.8) + shift[0], layer * np.float32(0.55) + shift[1]
    tile = stage.tiles[0]
    shape = lookup(tile, u, v, period=3.4) + 0.28 * lookup(stage.tiles[1], u, v, period=3.1)
    # the threshold that leaves about `cover` of a normal variable of this spread above it
    level = np.float32(
        np.interp(sky.cover, [0, 0.1, 0.3, 0.5, 0.7, 0.9, 1], [2.6, 1.35, 0.55, 0.0, -0.55, -1.35, -2.6])
    )
    high = np.clip(-down / 0.03, 0, 1)
    thick = (shape - level) * high
    cover = np.clip(thick / 0.55, 0, 1) * (down < 0)
    lit = 0.5 * sky.horizon + 0.5 * sky.zenith.mean()
    lit = lit * 0.8 + 0.28 * sky.sun + 0.05 * (1 - sky.night)
    shade = lit * np.array([0.55, 0.58, 0.66])
    depth = np.clip((thick - 0.25) / 1.6, 0, 1)[..., None]
    if stage.look.weather in ("overcast", "rain", "snow"):
        depth = 0.45 + 0.5 * depth
    cloud = lit.astype(np.float32) * (1 - depth) + shade.astype(np.float32) * depth
    amount = cover[..., None]
    color += (cloud - color) * amount
    return cover


def draw_hills(stage: Stage, *, rows: int) -> None:
    """Draw rows of hills on the horizon, the farthest first: wooded, grassy, rocky or snowy as season and place ask."""
    look = stage.look
    rng = stage.rng("hills")
    x = np.linspace(-2.6, 2.6, 160)
    materials = look.materials
    kinds = [materials.grass * 0.8, materials.bush, materials.road * 1.2, materials.leaves[0] * 0.9]
    camera = stage.camera
    for k in range(rows):
        distance = (380.0, 240.0, 150.0)[k + 3 - rows]
        top = rng.uniform(0.03, 0.13) * (1.0 - 0.22 * k)
        waves = sum(
            rng.uniform(0.3, 1) / n**1.15 * np.sin(n * x * rng.uniform(0.8, 1.3) + rng.uniform(0, 6.28))
            for n in (1, 2, 3, 5, 8, 13, 21)
        )
        ridge = top * (0.62 + 0.3 * waves)
        color = kinds[rng.integers(4)]
        if look.snow:
            color = 0.35 * color + 0.65 * np.array([0.78, 0.8, 0.85])
        world = np.stack(
            [
                np.concatenate([x, x[::-1]]) * distance / camera.focal,
                camera.eye + np.concatenate([np.maximum(ridge, 0.004), np.full(160, -0.02)]) * distance / camera.focal,
                np.full(320, distance),
            ],
            axis=1,
        )
        stage.canvas.polygon(stage.view.pixels(world), color, Kind.HILL, distance=distance)
