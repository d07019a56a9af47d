"""The latent variables of one picture's appearance: season, sun, weather, materials, photographic camera.

Colours are linear RGB. Materials come in families that share one base per picture: all greys (road, wall, path,
pavement), all reds (brick, roof, autumn leaves) and all greens (grass, leaves, hedge). The base differs strongly from
picture to picture, the order inside a family never does; so a colour means little by itself and much beside the others.
"""

import colorsys
from dataclasses import dataclass

import numpy as np

from offseg_viz.data.scene_drawing.camera import Camera

SEASONS = ("spring", "summer", "autumn", "winter")
WEATHERS = ("clear", "overcast", "fog", "rain", "snow")


def linear(color: str | tuple[float, float, float]) -> np.ndarray:
    """A display colour (``#rrggbb`` or RGB in 0..1) as linear RGB."""
    if isinstance(color, str):
        color = tuple(int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return np.power(np.clip(np.asarray(color, float), 0, 1), 2.2)


def hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    """A display colour given by hue, saturation, value as linear RGB."""
    return linear(colorsys.hsv_to_rgb(hue % 1, min(max(saturation, 0), 1), min(max(value, 0), 1)))


@dataclass(frozen=True)
class Sky:
    """Colours of sky and light. `night` runs from 0 (day) to 1 (lamps fully matter)."""

    elevation: float
    azimuth: float
    zenith: np.ndarray
    horizon: np.ndarray
    sun: np.ndarray
    ambient: np.ndarray
    night: float
    cover: float


@dataclass(frozen=True)
class Materials:
    """Surface colours of one picture, and the base value of each family."""

    road: np.ndarray
    wall: np.ndarray
    path: np.ndarray
    pavement: np.ndarray
    brick: np.ndarray
    roof: np.ndarray
    grass: np.ndarray
    leaves: tuple[np.ndarray, ...]
    bush: np.ndarray
    trunk: np.ndarray
    plaster: tuple[np.ndarray, ...]
    metal: np.ndarray
    flowers: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Lens:
    """What the photographic camera does to the light."""

    key: float
    contrast: float
    saturation: float
    balance: np.ndarray
    vignette: float
    noise: float
    blur: float


@dataclass(frozen=True)
class Look:
    """All latent variables of one picture."""

    season: str
    weather: str
    snow: bool
    visibility: float
    sky: Sky
    materials: Materials
    lens: Lens


_SKY_KEYS = (  # sun elevation in degrees, zenith, horizon, sunlight, strength of sky and of sunlight
    (-14, "#0a1233", "#27335f", "#9fb4ff", 0.10, 0.03),
    (-6, "#1c2a66", "#b0688c", "#ff9a7a", 0.20, 0.02),
    (-1, "#3a5797", "#ff9d6b", "#ff8a4a", 0.42, 0.20),
    (6, "#4f83c4", "#ffd7a0", "#ffb066", 0.75, 0.85),
    (18, "#4a90dc", "#d8e9f2", "#ffe6c0", 1.00, 1.45),
    (65, "#2f78d0", "#b8ddf7", "#fff6e6", 1.10, 1.80),
)


def _sky(elevation: float, weather: str, rng: np.random.Generator) -> Sky:
    heights = [key[0] for key in _SKY_KEYS]

    def between(column: int) -> np.ndarray:
        values = np.array([linear(key[column]) if isinstance(key[column], str) else [key[column]] for key in _SKY_KEYS])
        return np.array([np.interp(elevation, heights, values[:, i]) for i in range(values.shape[1])])

    strength, beam = between(4)[0], between(5)[0]
    zenith, horizon = between(1) * strength, between(2) * strength
    sun = between(3) * beam
    tint = np.exp(rng.normal(0, 0.08, 3))
    grey = {"clear": 0.0, "overcast": 0.75, "fog": 0.85, "rain": 0.85, "snow": 0.85}[weather]
    mean = 0.5 * (zenith + horizon)
    flat = mean.mean() * np.array([0.95, 1.0, 1.07]) * rng.uniform(0.8, 1.25)
    zenith = (zenith * (1 - grey) + flat * 0.85 * grey) * tint
    horizon = (horizon * (1 - grey) + flat * 1.2 * grey) * tint
    sun = sun * (1 - grey) ** 1.5
    ambient = 0.55 * zenith + 0.55 * horizon
    ambient = 0.55 * ambient + 0.45 * ambient.mean()
    cover = {
        "clear": float(rng.choice([rng.uniform(0.0, 0.12), rng.uniform(0.15, 0.45)])),
        "overcast": rng.uniform(0.6, 0.85),
        "fog": 0.0,
        "rain": rng.uniform(0.65, 0.9),
        "snow": rng.uniform(0.55, 0.9),
    }[weather]
    night = float(np.clip((4 - elevation) / 10, 0, 1))
    azimuth = rng.uniform(-1.25, 1.25) if rng.random() < 0.75 else rng.uniform(2, 4.3)
    return Sky(elevation, azimuth, zenith, horizon, sun, ambient, night, cover)


def _greens(season: str, rng: np.random.Generator) -> tuple[np.ndarray, tuple[np.ndarray, ...], np.ndarray]:
    hue, sat, value = rng.uniform(0.19, 0.34), rng.uniform(0.35, 0.64), rng.uniform(0.45, 0.70)
    if season == "winter":
        hue, sat, value = rng.uniform(0.13, 0.30), rng.uniform(0.2, 0.45), rng.uniform(0.4, 0.6)
    if season == "autumn":
        hue, sat = rng.uniform(0.14, 0.26), rng.uniform(0.4, 0.65)
    grass = hsv(hue, sat, value)
    leaves = tuple(hsv(hue + rng.uniform(0.0, 0.05), sat * 1.05, value * rng.uniform(0.66, 0.84)) for _ in range(4))
    bush = hsv(hue + 0.03, sat * 1.1, value * 0.58)
    return grass, leaves, bush


def _materials(season: str, rng: np.random.Generator) -> Materials:
    base = np.exp(rng.uniform(np.log(0.035), np.log(0.34)))
    warm = rng.normal(0, 0.16)
    grey = base * np.exp(np.array([warm, rng.normal(0, 0.03), -warm]))
    red_hue, red_sat, red_value = rng.uniform(-0.03, 0.075), rng.uniform(0.38, 0.68), rng.uniform(0.45, 0.78)
    grass, leaves, bush = _greens(season, rng)
    if season == "autumn":
        leaves = (
            hsv(red_hue + 0.005, red_sat * 1.15, red_value * 1.12),
            hsv(red_hue + 0.03, red_sat * 1.2, red_value * 1.2),
            hsv(red_hue + 0.075, red_sat * 1.1, red_value * 1.25),
            leaves[0],
        )
    elif season == "spring" and rng.random() < 0.6:
        blossom = hsv(rng.choice([0.93, 0.97, 0.1]), rng.uniform(0.08, 0.4), rng.uniform(0.82, 0.95))
        leaves = (blossom, blossom * 0.95, *leaves[:2])
    tone, spread = rng.random(), rng.uniform(0.03, 0.16)
    sat, value = rng.uniform(0.08, 0.5), rng.uniform(0.55, 0.9)
    plaster = tuple(
        hsv(tone + spread * rng.normal(), sat * rng.uniform(0.6, 1.3), value * rng.uniform(0.85, 1.1)) for _ in range(4)
    )
    plaster = (*plaster, grey * rng.uniform(1.1, 1.6))
    flowers = tuple(hsv(rng.random(), rng.uniform(0.5, 0.95), rng.uniform(0.75, 1.0)) for _ in range(3))
    return Materials(
        road=grey,
        wall=grey * 1.5 * np.exp(np.array([0.05, 0, -0.05])),
        path=grey * 1.8 * np.array([1.1, 1, 0.82]),
        pavement=grey * 2.2,
        brick=hsv(red_hue, red_sat, red_value * 0.92),
        roof=hsv(red_hue, red_sat, red_value * 0.66),
        grass=grass,
        leaves=leaves,
        bush=bush,
        trunk=hsv(rng.uniform(0.03, 0.1), 0.35, rng.uniform(0.22, 0.42)),
        plaster=plaster,
        metal=hsv(rng.random(), 0.25, rng.uniform(0.12, 0.4)),
        flowers=flowers,
    )


def _lens(night: float, rng: np.random.Generator) -> Lens:
    warm, tint = rng.normal(0, 0.10), rng.normal(0, 0.035)
    return Lens(
        key=float(np.exp(rng.uniform(np.log(0.16), np.log(0.52)))) * (1 - 0.45 * night),
        contrast=rng.uniform(0.85, 1.25),
        saturation=float(rng.choice([rng.uniform(0.35, 0.8), rng.uniform(0.9, 1.3)], p=[0.25, 0.75])),
        balance=np.exp(np.array([warm, tint, -warm])),
        vignette=rng.uniform(0, 0.5) if rng.random() < 0.5 else 0.0,
        noise=rng.uniform(0.002, 0.014) * (1 + night),
        blur=rng.uniform(0.0, 0.0016) if rng.random() < 0.4 else 0.0,
    )


def draw_look(light: np.random.Generator, surface: np.random.Generator, lens: np.random.Generator) -> Look:
    """Draw the appearance of one picture from three separate random streams."""
    season = SEASONS[light.integers(4)]
    weights = {"winter": (0.44, 0.2, 0.08, 0.04, 0.24)}.get(season, (0.62, 0.17, 0.07, 0.14, 0.0))
    weather = WEATHERS[light.choice(5, p=weights)]
    hour = light.random()
    if hour < 0.14:
        elevation = light.uniform(-14, -7)
    elif hour < 0.36:
        elevation = light.uniform(-7, 7)
    else:
        elevation = light.uniform(8, 65)
    snow = weather == "snow" or (season == "winter" and light.random() < 0.5)
    visibility = 3000.0
    if weather == "fog":
        visibility = light.uniform(35, 120)
    elif weather in ("rain", "snow"):
        visibility = light.uniform(90, 300)
    elif light.random() < 0.5:
        visibility = light.uniform(250, 900)
    sky = _sky(elevation, weather, light)
    return Look(season, weather, snow, visibility, sky, _materials(season, surface), _lens(sky.night, lens))


def draw_camera(layout: str, rng: np.random.Generator) -> Camera:
    """Draw the position and the view of the camera that suit a layout."""
    eye = float(rng.choice([rng.uniform(1.3, 2.0), rng.uniform(2.2, 4.5)], p=[0.7, 0.3]))
    return Camera(
        eye=eye,
        x=rng.uniform(-2.0, 2.0),
        focal=rng.uniform(0.75, 1.25),
        horizon=rng.uniform(0.36, 0.62) - (0.06 if eye > 2.2 else 0.0),
        shift=rng.uniform(-0.3, 0.3) if layout == "street" else 0.0,
        roll=float(np.clip(rng.normal(0, 0.025), -0.08, 0.08)),
    )
