"""Textures made from random numbers at fixed sizes, so that they do not depend on the size of the picture."""

import cv2
import numpy as np


def noise_tile(rng: np.random.Generator, *, size: int = 256, coarsest: int = 4, falloff: float = 0.6) -> np.ndarray:
    """Smooth noise (size, size) float32 that repeats without a seam; mean 0, standard deviation 1.

    A sum of random grids of `coarsest`, twice that, ... points a side, each `falloff` times as strong as the last.
    """
    total = np.zeros((size, size), np.float32)
    points, strength = coarsest, 1.0
    while points <= size // 2:
        grid = rng.standard_normal((points, points), dtype=np.float32)
        grid = np.pad(grid, 2, mode="wrap")
        step = size // points
        large = cv2.resize(grid, ((points + 4) * step,) * 2, interpolation=cv2.INTER_CUBIC)
        total += strength * large[2 * step : 2 * step + size, 2 * step : 2 * step + size]
        points, strength = points * 2, strength * falloff
    return (total - total.mean()) / total.std()


def lookup(tile: np.ndarray, u: np.ndarray, v: np.ndarray, *, period: float) -> np.ndarray:
    """Values of a repeating tile at coordinates (u, v), one tile every `period` units; shape of u."""
    size = np.float32(tile.shape[0])
    u, v = u * np.float32(1 / period), v * np.float32(1 / period)
    return cv2.remap(tile, (u - np.floor(u)) * size, (v - np.floor(v)) * size, cv2.INTER_LINEAR, None, cv2.BORDER_WRAP)


def bond(u: np.ndarray, v: np.ndarray, *, size: tuple[float, float], joint: float) -> tuple[np.ndarray, np.ndarray]:
    """Running bond of blocks of `size` (length, height): a joint mask (bool) and a number per block in -1 .. 1."""
    length, height = size
    row = np.floor(v / height)
    shifted = u / length + 0.5 * np.mod(row, 2)
    column = np.floor(shifted)
    near = ((shifted - column) * length < joint) | (v - row * height < joint)
    value = np.sin(column * 12.9898 + row * 78.233) * 43758.5453
    return near, 2 * (value - np.floor(value)) - 1


def halvings(texture: np.ndarray, *, count: int = 4) -> list[np.ndarray]:
    """The texture at full, half, quarter, ... size."""
    textures = [texture]
    for _ in range(count - 1):
        texture = cv2.resize(texture, (texture.shape[1] // 2, texture.shape[0] // 2), interpolation=cv2.INTER_AREA)
        textures.append(texture)
    return textures


def crown(tile: np.ndarray, rng: np.random.Generator, *, form: str, gaps: float = 0.0) -> list[np.ndarray]:
    """Foliage as (128, 128, 2) float32 cover and shade, with its halvings.

    `form` is "round", "tall", "cone" or "hedge"; `gaps` between 0 and 1 thins the leaves out.
    """
    size = 128
    y, x = (np.mgrid[0:size, 0:size].astype(np.float32) + 0.5) / size
    row, column = rng.integers(0, tile.shape[0] - size, 2)
    noise = tile[row : row + size, column : column + size]
    row, column = rng.integers(0, tile.shape[0] - size, 2)
    leaves = tile[row : row + size, column : column + size]
    if form == "cone":
        layer = np.mod(y * 5, 1)
        reach = 0.04 + 0.34 * y + 0.12 * layer * y
        inside = np.minimum((reach - np.abs(x - 0.5)) / 0.4, (0.98 - y) / 0.1)
    elif form == "hedge":
        edge = np.minimum(np.minimum(x, 1 - x) * 3, np.minimum(y * 1.2, 1.0))
        inside = edge - 0.12 + 0.0 * y
    else:
        inside = np.full((size, size), -1, np.float32)
        for _ in range(9 if form == "round" else 8):
            angle, far = rng.uniform(0, 2 * np.pi), np.sqrt(rng.random())
            spread = (0.27, 0.22) if form == "round" else (0.13, 0.32)
            cx, cy = 0.5 + spread[0] * far * np.cos(angle), 0.48 + spread[1] * far * np.sin(angle)
            radius = rng.uniform(0.15, 0.23) if form == "round" else rng.uniform(0.12, 0.17)
            inside = np.maximum(inside, 1 - np.hypot(x - cx, y - cy) / radius)
    inside = (inside + 0.11 * noise).astype(np.float32)
    clumps = cv2.GaussianBlur(inside, (0, 0), 3)
    light = cv2.Sobel(clumps, cv2.CV_32F, 1, 0) * -1.2 + cv2.Sobel(clumps, cv2.CV_32F, 0, 1) * 2.0
    shade = 0.95 + np.clip(0.45 * light, -0.4, 0.45) + 0.16 * leaves - 0.42 * (y - 0.45)
    if gaps:
        inside = np.where(leaves > 1.6 - 2.2 * gaps, -1, inside)
    cover = np.clip(0.5 + 8 * inside, 0, 1)
    return halvings(np.stack([cover, np.clip(shade, 0.3, 1.7)], axis=-1).astype(np.float32))


def snowy(textures: list[np.ndarray]) -> list[np.ndarray]:
    """The part of a crown that snow lies on: its upper edges and clumps, as textures of the same form."""
    full = textures[0]
    cover = full[..., 0]
    below = np.zeros_like(cover)
    below[9:] = cover[:-9]
    top = np.clip(cover - below, 0, 1)
    bright = np.clip((full[..., 1] - 1.0) * 4, 0, 1) * cover
    return halvings(np.stack([np.clip(np.maximum(top, bright), 0, 1), np.ones_like(cover)], axis=-1))
