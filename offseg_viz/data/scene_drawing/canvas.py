"""The painted scene before light falls on it, and the pen that paints flat shapes standing in the world."""

import math
from collections.abc import Iterable

import cv2
import numpy as np

from offseg_viz.data.scene_drawing.camera import NEAR, View, clip_near

_FRACTION = 4  # bits of sub-pixel precision of cv2.fillPoly
_FAR = 400.0
_LIMIT = float(1 << 20)

Color = np.ndarray | tuple[float, float, float]


class Canvas:
    """Four aligned layers: surface colour, glow, label, distance.

    `paint` is (H, W, 4) float32: linear RGB of the surface and, last, how much of it glows by itself.
    `place` is (H, W, 2) float32: label value and distance in metres.
    """

    def __init__(self, height: int, width: int):
        self.height, self.width = height, width
        self.paint = np.zeros((height, width, 4), np.float32)
        self.place = np.zeros((height, width, 2), np.float32)
        self.place[..., 1] = _FAR

    @property
    def label(self) -> np.ndarray:
        """Label values (H, W) uint8."""
        return self.place[..., 0].astype(np.uint8)

    def polygon(self, pixels: np.ndarray, color: Color, kind: int, *, distance: float, glow: float = 0.0) -> None:
        """Fill one polygon (N, 2) of canvas pixels in all layers."""
        corners = _corners(pixels)
        paint = (float(color[0]), float(color[1]), float(color[2]), float(glow))
        cv2.fillPoly(self.paint, corners, paint, lineType=cv2.LINE_8, shift=_FRACTION)
        cv2.fillPoly(self.place, corners, (float(kind), float(distance)), lineType=cv2.LINE_8, shift=_FRACTION)

    def box(self, pixels: np.ndarray) -> tuple[slice, slice] | None:
        """Rows and columns of the canvas around canvas pixels (N, 2), or None where they lie outside."""
        left, top = np.floor(pixels.min(axis=0)).astype(int)
        right, bottom = np.ceil(pixels.max(axis=0)).astype(int) + 1
        left, top = max(left, 0), max(top, 0)
        right, bottom = min(right, self.width), min(bottom, self.height)
        return None if right <= left or bottom <= top else (slice(top, bottom), slice(left, right))

    def inside(self, pixels: np.ndarray, box: tuple[slice, slice]) -> np.ndarray:
        """Which pixels of `box` lie in the polygon (N, 2): bool (h, w)."""
        mask = np.zeros((box[0].stop - box[0].start, box[1].stop - box[1].start), np.uint8)
        corners = _corners(pixels - (box[1].start, box[0].start))
        cv2.fillPoly(mask, corners, 1, lineType=cv2.LINE_8, shift=_FRACTION)
        return mask.astype(bool)

    def stamp(self, texture: np.ndarray, matrix: np.ndarray, color: Color, *, kind: int, distance: float) -> None:
        """Paint a texture (h, w, 2) float32 of cover and shade, placed by the affine map texture -> canvas (2, 3)."""
        height, width = texture.shape[:2]
        ends = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]]) @ matrix.T
        box = self.box(ends)
        if box is None:
            return
        moved = matrix.copy()
        # pixel centres of the texture and of the canvas lie at + 0.5
        moved[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5 - (box[1].start, box[0].start)
        size = (box[1].stop - box[1].start, box[0].stop - box[0].start)
        warped = cv2.warpAffine(texture, moved, size, flags=cv2.INTER_LINEAR)
        mask = warped[..., 0] > 0.5
        self.paint[box][mask, :3] = warped[..., 1][mask][:, None] * np.asarray(color, np.float32)
        self.paint[box][mask, 3] = 0
        self.place[box][mask] = (kind, distance)


def _corners(pixels: np.ndarray) -> np.ndarray:
    """Canvas pixels as the fixed-point numbers of cv2, whose pixel centres lie at whole numbers."""
    scaled = (pixels - 0.5) * (1 << _FRACTION)
    return np.rint(np.minimum(np.maximum(scaled, -_LIMIT), _LIMIT)).astype(np.int32)[None]


class Pen:
    """Paints on an upright plane standing on the ground at (x, z).

    Local coordinates (u, v): u metres along the horizontal `axis`, v metres up. With the default axis the plane faces
    the camera; along (0, 1) it lies along a street. `scale` enlarges what is drawn, `mirrored` turns it left to right.
    """

    def __init__(
        self,
        canvas: Canvas,
        view: View,
        origin: tuple[float, float],
        *,
        axis: tuple[float, float] = (1.0, 0.0),
        base: float = 0.0,
        scale: float = 1.0,
        mirrored: bool = False,
    ):
        self.canvas, self.view, self.origin, self.base = canvas, view, origin, base
        turn = -scale if mirrored else scale
        self.axis, self.scale = (axis[0] * turn, axis[1] * turn), scale
        self.distance = max(origin[1], NEAR)
        self._flat = None
        if axis[1] == 0 and origin[1] >= NEAR:
            ends = view.pixels(self.world([(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)]))
            self._flat = np.array([ends[1] - ends[0], ends[2] - ends[0]]), ends[0]

    def world(self, points: Iterable) -> np.ndarray:
        """Local points (N, 2) as world points (N, 3)."""
        points = np.asarray(points, float)
        placed = np.empty((len(points), 3))
        placed[:, 0] = self.origin[0] + points[:, 0] * self.axis[0]
        placed[:, 1] = self.base + points[:, 1] * self.scale
        placed[:, 2] = self.origin[1] + points[:, 0] * self.axis[1]
        return placed

    def polygon(self, points: Iterable, color: Color, kind: int, *, glow: float = 0.0) -> None:
        """Fill a polygon of local points (N, 2)."""
        pixels, distance = self._pixels(points)
        if len(pixels) > 2:
            self.canvas.polygon(pixels, color, kind, distance=distance, glow=glow)

    def _pixels(self, points: Iterable) -> tuple[np.ndarray, float]:
        """Local points (N, 2) as canvas pixels, clipped at the near plane, and their mean distance."""
        if self._flat is not None:
            matrix, foot = self._flat
            return np.asarray(points, float) @ matrix + foot, self.distance
        world = clip_near(self.world(points))
        if not len(world):
            return world[:, :2], self.distance
        return self.view.pixels(world), float(world[:, 2].sum() / len(world))

    def box(self, corner: tuple[float, float], size: tuple[float, float], color: Color, **more) -> None:
        """Fill the rectangle with its lower left `corner` (u, v) and its `size` (along u, along v)."""
        (u, v), (w, h) = corner, size
        self.polygon([(u, v), (u + w, v), (u + w, v + h), (u, v + h)], color, **more)

    def disc(self, centre: tuple[float, float], radius: float | tuple[float, float], color: Color, **more) -> None:
        """Fill a circle, or an ellipse where `radius` is a pair."""
        self.polygon(ellipse(centre, radius), color, **more)

    def stroke(self, points: Iterable, width: float, color: Color, *, kind: int, glow: float = 0.0) -> None:
        """Draw a line through local points, never thinner than two canvas pixels (one pixel of the picture)."""
        pixels, distance = self._pixels(points)
        half = max(width * self.scale * self.view.size(distance), 2.0) / 2
        ends = pixels.tolist()
        for (ax, ay), (bx, by) in zip(ends[:-1], ends[1:]):
            length = math.hypot(bx - ax, by - ay)
            if length < 1e-6:
                continue
            dx, dy = (bx - ax) * half / length, (by - ay) * half / length
            ax, ay, bx, by = ax - 0.4 * dx, ay - 0.4 * dy, bx + 0.4 * dx, by + 0.4 * dy
            corners = np.array([(ax - dy, ay + dx), (bx - dy, by + dx), (bx + dy, by - dx), (ax + dy, ay - dx)])
            self.canvas.polygon(corners, color, kind, distance=distance, glow=glow)

    def ring(self, centre: tuple[float, float], radius: float, width: float, *, color: Color, kind: int) -> None:
        """Draw a circle's outline."""
        points = ellipse(centre, radius)
        self.stroke(np.concatenate([points, points[:1]]), width, color, kind=kind)

    def stamp(
        self,
        textures: list[np.ndarray],
        corner: tuple[float, float],
        size: tuple[float, float],
        *,
        color: Color,
        kind: int,
    ) -> None:
        """Paint the one of `textures` (the same one at halving sizes) that fits, over the rectangle corner, size."""
        (u, v), (w, h) = corner, size
        world = self.world([(u, v + h), (u + w, v + h), (u, v)])
        if world[:, 2].min() < NEAR:
            return
        top_left, top_right, bottom_left = self.view.pixels(world)
        wide = float(np.hypot(*(top_right - top_left)))
        texture = next((t for t in textures[::-1] if t.shape[1] >= wide), textures[0])
        height, width = texture.shape[:2]
        matrix = np.stack([(top_right - top_left) / width, (bottom_left - top_left) / height, top_left], axis=1)
        self.canvas.stamp(texture, matrix, color, kind=kind, distance=self.distance)


_TURN = np.linspace(0, 2 * np.pi, 18, endpoint=False)
_UNIT = np.stack([np.cos(_TURN), np.sin(_TURN)], axis=1)


def ellipse(centre: tuple[float, float], radius: float | tuple[float, float]) -> np.ndarray:
    """Eighteen points (18, 2) around a circle or, for a pair of radii, an ellipse."""
    return _UNIT * radius + centre
