"""A pinhole camera above flat ground: metres in, canvas pixels out.

World axes: X to the right, Y up from the ground, Z away from the camera; all in metres. Picture coordinates are in
picture heights, so that the same scene can be drawn at any size: a wider picture only sees more to the left and right.
"""

from dataclasses import dataclass

import numpy as np

NEAR = 0.5
"""Nothing nearer than this many metres is drawn."""


@dataclass(frozen=True)
class Camera:
    """Where the camera stands and how it looks.

    Attributes
    ----------
    eye : float
        Height of the lens above the ground in metres.
    x : float
        Sideways position in metres.
    focal : float
        Focal length in picture heights.
    horizon : float
        Height of the horizon in the picture, 0 = top, 1 = bottom.
    shift : float
        Horizontal position of the vanishing point, in picture heights right of the centre.
    roll : float
        Rotation about the line of sight in radians.
    """

    eye: float
    x: float
    focal: float
    horizon: float
    shift: float
    roll: float


@dataclass(frozen=True)
class View:
    """A camera together with a canvas of `height` x `width` pixels."""

    camera: Camera
    height: int
    width: int

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """World points (N, 3) as canvas pixels (N, 2), column then row; every Z must be at least `NEAR`."""
        camera = self.camera
        scale = camera.focal / points[:, 2]
        across = (points[:, 0] - camera.x) * scale + camera.shift
        down = (camera.eye - points[:, 1]) * scale + (camera.horizon - 0.5)
        cos, sin = np.cos(camera.roll), np.sin(camera.roll)
        placed = np.empty((len(points), 2))
        placed[:, 0] = (across * cos - down * sin) * self.height + self.width / 2
        placed[:, 1] = (across * sin + down * cos) * self.height + self.height / 2
        return placed

    def level(self) -> tuple[np.ndarray, np.ndarray]:
        """Level picture coordinates of every canvas pixel: across from the vanishing point and down from the horizon.

        Both (height, width) float32 in picture heights, with the camera's roll taken out.
        """
        camera = self.camera
        column = (np.arange(self.width, dtype=np.float32) + np.float32(0.5 - self.width / 2)) / self.height
        row = (np.arange(self.height, dtype=np.float32)[:, None] + np.float32(0.5 - self.height / 2)) / self.height
        cos, sin = np.float32(np.cos(camera.roll)), np.float32(np.sin(camera.roll))
        across = column * cos + row * sin - np.float32(camera.shift)
        down = row * cos - column * sin - np.float32(camera.horizon - 0.5)
        return across, down

    def size(self, z: float) -> float:
        """Canvas pixels that one metre covers at the distance `z`."""
        return self.camera.focal * self.height / z

    def sees(self, x: float, z: float, *, reach: float) -> bool:
        """Whether anything within `reach` metres to the left or right of (x, z) can be in the picture."""
        camera, scale = self.camera, self.camera.focal / max(z, NEAR)
        half = 0.55 * self.width / self.height + abs(camera.roll)
        return abs((x - camera.x) * scale + camera.shift) < half + reach * scale


def clip_near(points: np.ndarray) -> np.ndarray:
    """The part (M, 3) of a world polygon (N, 3) that lies beyond the near plane; M may be 0."""
    inside = points[:, 2] >= NEAR
    if inside.all():
        return points
    if not inside.any():
        return points[:0]
    kept = []
    for k, point in enumerate(points):
        before = points[k - 1]
        if inside[k] != inside[k - 1]:
            t = (NEAR - before[2]) / (point[2] - before[2])
            kept.append(before + t * (point - before))
        if inside[k]:
            kept.append(point)
    return np.array(kept)
