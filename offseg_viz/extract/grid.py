"""Where the cells of a feature grid lie on the image."""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from offseg_viz.errors import ModelError


class Grid(NamedTuple):
    """Cells on an image of `height` x `width` pixels, `stride` (rows, columns) pixels apart.

    The grid may reach beyond the image, where the network has seen it padded on the right and below; only the cells
    that touch the image count.
    """

    height: int
    width: int
    stride: tuple[float, float]

    @property
    def cells(self) -> dict[str, int]:
        """How many rows and columns of cells touch the image."""
        return {"y": _cells(self.height, self.stride[0]), "x": _cells(self.width, self.stride[1])}

    @property
    def y(self) -> np.ndarray:
        """Centres of the rows of cells in pixels, 0.5 for the first pixel; the last may lie beyond the edge."""
        return _centres(self.height, self.stride[0])

    @property
    def x(self) -> np.ndarray:
        """Centres of the columns."""
        return _centres(self.width, self.stride[1])

    def label(self, label: np.ndarray) -> np.ndarray:
        """A label map (height, width) on the grid: the class at the centre of each cell."""
        return label[_pixels(self.height, self.stride[0])][:, _pixels(self.width, self.stride[1])]


@lru_cache(maxsize=16)
def _pixels(side: int, stride: float) -> np.ndarray:
    """Which pixel of a side holds the centre of each cell: the last one where that is beyond the edge."""
    return np.minimum(_centres(side, stride).astype(int), side - 1)


def _centres(side: int, stride: float) -> np.ndarray:
    return (np.arange(_cells(side, stride)) + 0.5) * stride


def _cells(side: int, stride: float) -> int:
    # a stride such as 511 / 73 may make 73.00000000000001 cells of its 73
    return math.ceil(side / stride - 1e-9)


def grid_of_positions(positions: int, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of a grid that was flattened row by row into `positions`, on an input of height x width pixels.

    The one whose cells are nearest to squares, if one stride for both sides explains it, be sides rounded up or down to
    whole cells.

    Raises
    ------
    ModelError
        If no grid fits, as with a class token beside the positions.
    """
    fits = [
        (rows, positions // rows)
        for rows in range(1, positions + 1)
        if positions % rows == 0 and _one_stride((height, rows), (width, positions // rows))
    ]
    if not fits:
        raise ModelError(
            f"the classifier sees {positions} positions of an input of {height} x {width} pixels, which make no grid "
            "of its aspect ratio; is a class token among them? Needed one position a cell: name another classifier, or "
            "take such tokens out in front of it"
        )
    return min(fits, key=lambda grid: abs(math.log(height / grid[0]) - math.log(width / grid[1])))


def _one_stride(*sides: tuple[int, int]) -> bool:
    """Whether one stride divides every (side, cells), be the division rounded up or down."""
    up = [(side / cells, side / (cells - 1) if cells > 1 else math.inf) for side, cells in sides]
    down = [(side / (cells + 1), side / cells) for side, cells in sides]
    return any(max(low for low, _ in kind) < min(high for _, high in kind) for kind in (up, down))
