"""From the painted scene to the photograph: sunlight, shadows, lamps, mirrors, fog, rain, snow, lens and sensor."""

import cv2
import numpy as np

from offseg_viz.data.scene_drawing.classes import Kind
from offseg_viz.data.scene_drawing.stage import Stage, stream

_LEVEL = (Kind.ROAD, Kind.LANE_MARKING, Kind.PAVEMENT, Kind.PATH, Kind.GRASS, Kind.FLOWER_BED, Kind.WATER)


def _on_ground(stage: Stage, points: np.ndarray) -> np.ndarray | None:
    """Ground points (N, 2) as canvas pixels, or None where one lies too near."""
    if points[:, 1].min() < 0.8:
        return None
    return stage.view.pixels(np.stack([points[:, 0], np.zeros(len(points)), points[:, 1]], axis=1))


def _fill(layer: np.ndarray, pixels: np.ndarray | None, value: float) -> None:
    if pixels is not None:
        corners = np.clip(pixels * 4, -(2**17), 2**17).round().astype(np.int32)[None]
        cv2.fillPoly(layer, corners, value, lineType=cv2.LINE_8, shift=2)


def _half_layers(stage: Stage) -> tuple[np.ndarray, np.ndarray]:
    """Cast shadows (0..1) and lamp light on the ground, at half the canvas's size and soft."""
    canvas, sky = stage.canvas, stage.look.sky
    shape = (canvas.height // 2, canvas.width // 2)
    shadow, pool = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    turn = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    circle = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    long = min(1 / np.tan(np.radians(max(sky.elevation, 9.0))), 3.0)
    away = -np.array([np.sin(sky.azimuth), np.cos(sky.azimuth)]) * long
    sunny = float(sky.sun.mean()) > 0.25 and sky.elevation > 2
    for x, z, width, height in stage.shadows:
        foot = np.array([x, z])
        if sunny and z < 70:
            tip, side = foot + away * height, np.array([away[1], -away[0]]) / long * width / 2
            thin = 0.35 * side if width > 1.5 and height > 3 else side  # a trunk below a crown
            crown = circle * width / 2 + foot + away * height * 0.62
            quad = np.array([foot - thin, foot + thin, tip + thin, tip - thin])
            _fill(shadow, _half(_on_ground(stage, quad)), 0.72)
            if width > 1.5:
                _fill(shadow, _half(_on_ground(stage, crown * (1.0, 1.0))), 0.72)
        _fill(shadow, _half(_on_ground(stage, circle * (width * 0.55, width * 0.3) + foot)), 0.8 if sunny else 0.4)
    if sky.night > 0.2:
        for x, z, radius in sorted(stage.pools, key=lambda pool: -pool[1]):
            for step in range(1, 6):
                reach = radius * (1.25 - 0.2 * step)
                _fill(pool, _half(_on_ground(stage, circle * reach + (x, z))), 0.2 * step)
    sigma = canvas.height / 500
    return cv2.GaussianBlur(shadow, (0, 0), max(sigma, 0.5)), cv2.GaussianBlur(pool, (0, 0), max(sigma * 3, 0.5))


def _half(pixels: np.ndarray | None) -> np.ndarray | None:
    return None if pixels is None else pixels / 2 - 0.5


def light(stage: Stage) -> np.ndarray:
    """The light that reaches the lens, linear RGB (H, W, 3) float32: surfaces lit, glowing, mirrored and in fog."""
    canvas, sky, look = stage.canvas, stage.look.sky, stage.look
    label = canvas.label
    size = (canvas.width, canvas.height)
    shadow, pool = (cv2.resize(layer, size, interpolation=cv2.INTER_LINEAR) for layer in _half_layers(stage))
    level = np.isin(np.arange(256), _LEVEL).astype(np.float32)[label]
    heavens = label <= Kind.CLOUD
    shadow *= level
    glow = np.ascontiguousarray(canvas.paint[..., 3])
    own = 1 - 0.85 * np.minimum(glow, 1)  # what glows takes less of the light around it
    own[heavens] = 0
    layers = cv2.merge(
        [own * (0.9 + 0.1 * level - shadow), own * (1 - 0.35 * shadow), own * pool * (0.45 + 0.55 * level), glow]
    )
    lamps = 0.8 * sky.night * np.array([1.0, 0.72, 0.38])
    ambient = sky.ambient + 0.045 * (1 + sky.night)
    fall = np.column_stack([sky.sun * 0.62, ambient, lamps, np.ones(3)])
    radiance = cv2.multiply(cv2.transform(layers, fall), canvas.paint[..., :3])
    _mirror(stage, radiance, label)
    clear = np.exp(canvas.place[..., 1] * np.float32(-1 / look.visibility))
    hazy = np.where(heavens, _sky_clearness(stage), clear)
    veil = (0.75 * sky.horizon + 0.25 * sky.zenith).astype(np.float32)
    radiance -= veil
    radiance = cv2.multiply(radiance, cv2.merge([hazy, hazy, hazy]))
    radiance += veil
    return _bloom(canvas, radiance, clear[..., None])


def _sky_clearness(stage: Stage) -> np.ndarray:
    """How much of the sky shows through the haze, (H, W): little near the horizon in fog."""
    _, down = stage.view.level()
    path = np.float32(900.0) / np.clip(-down * 12, 0.35, 8)
    return np.exp(-path / np.float32(stage.look.visibility * 3)).astype(np.float32)


def _mirror(stage: Stage, radiance: np.ndarray, label: np.ndarray) -> None:
    """Put mirror images into water, and faint ones into wet streets, in place."""
    height = radiance.shape[0]
    _, down = stage.view.level()
    rows, columns = np.nonzero(label == Kind.WATER)
    grain = stage.tiles[1]
    if rows.size:
        water = label == Kind.WATER
        top = np.where(water.any(axis=0), water.argmax(axis=0), 0)
        depth = np.maximum(down[rows, columns], 1e-3)
        ripple = grain[(6 / depth).astype(int) % 256, (columns * 90 // height + (3 / depth).astype(int)) % 256]
        source = 2 * top[columns] - rows + (ripple * (0.004 + 0.02 * depth) * height).astype(int)
        source = np.clip(source, 0, np.maximum(top[columns] - 1, 0))
        mirrored = radiance[source, columns]
        tint = np.array([0.62, 0.74, 0.78], np.float32)
        radiance[rows, columns] = mirrored * tint * (0.92 + 0.05 * ripple[:, None])
    if stage.look.weather == "rain":
        wet = (label == Kind.ROAD) | (label == Kind.PAVEMENT) | (label == Kind.LANE_MARKING)
        rows, columns = np.nonzero(wet)
        horizon = (stage.camera.horizon * height) + 0 * rows
        source = np.clip(2 * horizon - rows, 0, height - 1).astype(int)
        soft = np.minimum(radiance, 2.5 * radiance.mean())  # a lit window smears out, it does not burn in
        soft = cv2.blur(soft, (max(height // 90, 1), max(height // 16, 1)))
        radiance[rows, columns] = 0.62 * radiance[rows, columns] + 0.24 * soft[source, columns]


def _bloom(canvas, radiance: np.ndarray, clear: np.ndarray) -> np.ndarray:
    """Add halos around what glows more than white."""
    glow = canvas.paint[..., 3:]
    if not (glow > 1.01).any():
        return radiance
    over = (canvas.paint[..., :3] * np.maximum(glow - 1, 0)) * clear
    small = cv2.resize(over, (canvas.width // 4, canvas.height // 4), interpolation=cv2.INTER_AREA)
    halo = 0.55 * cv2.GaussianBlur(small, (0, 0), canvas.height / 160) + 0.35 * cv2.GaussianBlur(
        small, (0, 0), canvas.height / 50
    )
    return radiance + cv2.resize(halo, (canvas.width, canvas.height), interpolation=cv2.INTER_LINEAR)


def _precipitation(stage: Stage, image: np.ndarray) -> np.ndarray:
    """Draw rain streaks or snow flakes over the picture."""
    weather = stage.look.weather
    if weather not in ("rain", "snow"):
        return image
    rng = stream(stage.seed, "precipitation")
    height, width = image.shape[:2]
    count = 260
    place = rng.uniform(0, 1, (count, 3))
    slant = rng.normal(0, 0.12)
    layer = np.zeros((height, width), np.float32)
    for a, b, c in place:
        x, y = (a - 0.5) * 2.4 * height + width / 2, b * height
        if weather == "rain":
            long = (0.02 + 0.06 * c) * height
            end = (round((x + slant * long) * 16), round((y + long) * 16))
            cv2.line(
                layer, (round(x * 16), round(y * 16)), end, 0.22 + 0.2 * float(c), max(height // 380, 1), cv2.LINE_8, 4
            )
        else:
            radius = (0.0014 + 0.0055 * c**4) * height
            cv2.circle(
                layer,
                (round(x * 16), round(y * 16)),
                max(round(radius * 16), 8),
                0.85 - 0.4 * float(c),
                -1,
                cv2.LINE_8,
                4,
            )
    layer = cv2.GaussianBlur(layer, (0, 0), max(height / 700, 0.4))[..., None]
    bright = np.float32(image.mean() * 0.6 + 0.25 * image.max(initial=0.1).clip(0, 2))
    return image * (1 - layer) + bright * layer


def expose(stage: Stage, radiance: np.ndarray) -> np.ndarray:
    """Turn light into the picture (H, W, 3) uint8: precipitation, lens, exposure, tone curve, colour, sensor noise."""
    lens = stage.look.lens
    image = _precipitation(stage, radiance)
    height, width = image.shape[:2]
    if lens.blur:
        image = cv2.GaussianBlur(image, (0, 0), max(lens.blur * height, 0.3))
    small = cv2.resize(image, (64, 48), interpolation=cv2.INTER_AREA)
    typical = float(np.exp(np.log(small.mean(axis=2) + 1e-3).mean()))
    image = image * np.float32(lens.key / typical**0.84) * lens.balance.astype(np.float32)
    if lens.vignette:
        across, down = np.meshgrid(
            np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)
        )
        image *= (1 - np.float32(lens.vignette * 0.5) * (across**2 + down**2) * 0.8)[..., None].clip(0.2)
    image = np.maximum(image, 0)
    image = image * (1 + image / 6.0) / (1 + image * 0.62)  # bright parts roll off
    image = np.power(image, np.float32(1 / 2.2))
    image = 0.46 + (image - 0.46) * np.float32(lens.contrast)
    grey = image.mean(axis=2, keepdims=True)
    image = grey + (image - grey) * np.float32(lens.saturation)
    rng = stream(stage.seed, "sensor")
    noise = rng.standard_normal((height, width, 3), dtype=np.float32)
    image = image + noise * np.float32(lens.noise)
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
