"""A position in pixels of an image, as a user may give it, and the cell of the grid that holds it."""

import xarray as xr

from offseg_viz.errors import RecordError
from offseg_viz.plot import grid


def checked_position(position: object, record: xr.Dataset) -> tuple[float, float] | None:
    """`position` as (y, x) in pixels of the image, or None.

    Raises
    ------
    RecordError
        If it is neither, or lies outside of the grid of the record.
    """
    if position is None:
        return None
    try:
        y, x = map(float, position)
    except (TypeError, ValueError):
        raise RecordError(f"pixel is {position!r}, needed (y, x) in pixels of the image, or None") from None
    top, left, bottom, right = _extent(record)
    if not (top <= y < bottom and left <= x < right):
        inside = f"{top:g} <= y < {bottom:g} and {left:g} <= x < {right:g}"
        name = record.attrs.get("sample", "the image")
        raise RecordError(f"pixel (y, x) = ({y:g}, {x:g}) lies outside of {name}; needed {inside}")
    return y, x


def checked_cell(cell: list[int], record: xr.Dataset) -> list[int]:
    """`cell` as [row, col] of the grid, or [] for none.

    Raises
    ------
    RecordError
        If it is neither.
    """
    rows, cols = record.sizes["y"], record.sizes["x"]
    if cell and not (len(cell) == 2 and 0 <= cell[0] < rows and 0 <= cell[1] < cols):
        raise RecordError(f"selected is {cell}, needed [] or [row, col] below {rows} and {cols}")
    return list(cell)


def cell_of(position: tuple[float, float], record: xr.Dataset) -> tuple[int, int]:
    """Row and column of the cell of the grid in which a position lies."""
    (y, x), (top, left, bottom, right) = position, _extent(record)
    rows, cols = record.sizes["y"], record.sizes["x"]
    row, col = int((y - top) / (bottom - top) * rows), int((x - left) / (right - left) * cols)
    return min(row, rows - 1), min(col, cols - 1)


def centre_of(cell: tuple[int, int], record: xr.Dataset) -> tuple[float, float]:
    """The centre (y, x) of a cell of the grid, in pixels of the image."""
    return float(record["y"].values[cell[0]]), float(record["x"].values[cell[1]])


def _extent(record: xr.Dataset) -> tuple[float, float, float, float]:
    return grid.extent(record["feature"].isel(channel=0), record)
