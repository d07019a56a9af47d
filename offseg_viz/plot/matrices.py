"""A matrix as a heat map: class similarities, a confusion, the similarity of one class across images."""

import numpy as np
import xarray as xr

from offseg_viz.errors import RecordError
from offseg_viz.plot import theme
from offseg_viz.plot.figure import StaticFigure
from offseg_viz.plot.summary import rounded, summarize

_WRITE_NUMBERS_UP_TO = 12


def plot_matrix(matrix: xr.DataArray, *, title: str | None = None) -> StaticFigure:
    """A 2-D array as a heat map, rows down and columns across, named by its coordinates.

    Numbers are written into the cells up to 12 rows and columns. The colours are diverging and centred on zero where
    there is a negative value, else sequential from the smallest to the largest value; NaN stays grey. The summary adds
    the mean off the diagonal where the matrix is square, since that is what a similarity matrix is read for.

    Raises
    ------
    RecordError
        If the array is not 2-D.
    """
    import seaborn

    if matrix.ndim != 2:
        raise RecordError(f"plot_matrix needs two dims, found {matrix.dims}; select or average the others away")
    title = title if title is not None else str(matrix.name or "matrix").replace("_", " ")
    values = matrix.values.astype(float)
    row_dim, col_dim = matrix.dims
    rows, cols = (_names(matrix, dim) for dim in matrix.dims)
    finite = values[np.isfinite(values)]
    reach = float(np.abs(finite).max()) if finite.size else 1.0
    signed = bool((finite < 0).any())
    scale = dict(cmap=theme.DIVERGING, vmin=-reach, vmax=reach) if signed else dict(cmap=theme.SEQUENTIAL)
    write = max(values.shape) <= _WRITE_NUMBERS_UP_TO
    with theme.style():
        cell = 0.46 if write else max(0.16, 5.0 / max(values.shape))
        size = (max(4.2, cell * len(cols) + 2.2, 0.08 * len(title)), max(2.6, cell * len(rows) + 1.3))
        figure = StaticFigure(f"{title}: {summarize(matrix)}{_off_diagonal(matrix)}", figsize=size)
        axes = figure.subplots()
        axes.set_facecolor("#e9e9e9")
        seaborn.heatmap(
            values, ax=axes, xticklabels=False, yticklabels=False, square=True, annot=write, fmt=".2f",
            annot_kws={"fontsize": 7.5}, linewidths=0.6 if write else 0,
            cbar_kws={"shrink": 0.75, "aspect": 24}, **scale,
        )  # fmt: skip
        # seaborn measures every label on a canvas of its own, which takes gigabytes where there are many
        axes.set_xticks(np.arange(len(cols)) + 0.5, labels=cols)
        axes.set_yticks(np.arange(len(rows)) + 0.5, labels=rows)
        axes.set(xlabel=_label(col_dim), ylabel=_label(row_dim))
        figure.suptitle(title, x=0.01, ha="left", fontsize=10)
        axes.tick_params(axis="x", rotation=45)
        axes.tick_params(axis="y", rotation=0)
        for label in axes.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
    return figure


def _names(matrix: xr.DataArray, dim: str) -> list[str]:
    return [str(name) for name in (matrix[dim].values if dim in matrix.coords else range(matrix.sizes[dim]))]


def _label(dim: str) -> str:
    return "class" if dim.startswith("cls") else str(dim).removesuffix("_2")


def _off_diagonal(matrix: xr.DataArray) -> str:
    values = matrix.values.astype(float)
    if values.shape[0] != values.shape[1] or len(values) < 2:
        return ""
    others = values[~np.eye(len(values), dtype=bool)]
    others = others[np.isfinite(others)]
    return (
        f"; mean off the diagonal {rounded(float(others.mean()), float(np.abs(others).max()))}" if others.size else ""
    )
