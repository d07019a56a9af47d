"""One pixel compared to all others, quickly: features are brought to length one once, then a map is one product."""

from typing import NamedTuple

import numpy as np
import xarray as xr

from offseg_viz.analyze.align import aligned_class_embedding, aligned_feature
from offseg_viz.analyze.one_thread import one_thread
from offseg_viz.errors import RecordError, UnknownNameError
from offseg_viz.record import has_offsets, refuse_queries
from offseg_viz.terms import STAGES

_SAMPLED_CLASS_PIXELS = 2048
_SAMPLED_PIXELS = 64
_STEP = 0.05


class SimilarityReach(NamedTuple):
    """How far from zero the values of a record go: of maps `aligned - initial`, and of cosines to classes."""

    difference: float
    classes: float


def unit_vectors(record: xr.Dataset) -> xr.Dataset:
    """Features and class embeddings of both stages, each divided by its length.

    Parameters
    ----------
    record : xarray.Dataset
        Of a per-pixel network; without offsets both stages share one array.

    Returns
    -------
    xarray.Dataset
        `feature` (stage, y, x, channel): E and E + dE, eq. (12). `class_embedding` (stage, cls, channel): W and W + dW,
        eq. (8). float32, without unit; NaN where the vector is zero. Coordinates as in the record.

    Raises
    ------
    RecordError
        If the record is of mask classification, whose embeddings are of queries: give one of a per-pixel network.
    """
    refuse_queries(record, "the similarity of a pixel")
    pairs = {
        "feature": (record["feature"], aligned_feature),
        "class_embedding": (record["class_embedding"], aligned_class_embedding),
    }
    variables = {}
    for name, (initial, aligned) in pairs.items():
        if has_offsets(record):
            values = np.stack([_units(initial.values), _units(aligned(record).values)])
        else:
            values = np.broadcast_to(_units(initial.values), (len(STAGES), *initial.shape))
        variables[name] = (("stage", *initial.dims), values)
    coords = {name: record[name] for name in ("cls", "color", "y", "x")}
    return xr.Dataset(variables, coords | {"stage": list(STAGES)})


def pixel_similarity(units: xr.Dataset, cell: tuple[int, int]) -> xr.DataArray:
    """Cosine of the feature of one pixel to those of all pixels, at each stage.

    Parameters
    ----------
    units : xarray.Dataset
        Made by `unit_vectors`.
    cell : (row, col)
        The pixel, as a cell of the grid, counted from 0.

    Returns
    -------
    xarray.DataArray
        (stage, y, x), float32 from -1 to 1: E to E at `initial`, E + dE to E + dE at `aligned`. 1 at the pixel itself;
        NaN where either feature is zero.

    Raises
    ------
    RecordError
        If the cell lies outside of the grid.
    """
    row, col = checked_cell(units, cell)
    stages = [_products(feature, feature[row, col]) for feature in units["feature"].values]
    return _map(units, np.stack(stages), ("stage", "y", "x"), "pixel_similarity", "cosine to the pixel")


def class_similarity(units: xr.Dataset, cls: str, stage: str = "aligned") -> xr.DataArray:
    """Cosine of the features of all pixels to one class embedding of the same stage, (y, x), from -1 to 1.

    The numbers are those of `cosine_similarity` for that class.

    Parameters
    ----------
    units : xarray.Dataset
        Made by `unit_vectors`.
    cls : str
    stage : {"initial", "aligned"}

    Returns
    -------
    xarray.DataArray
        float32; NaN where the feature is zero, and everywhere if the class embedding is.

    Raises
    ------
    UnknownNameError
        If there is no such class or stage.
    """
    names = units.indexes["cls"]
    if cls not in names:
        raise UnknownNameError("class", cls, names)
    if stage not in STAGES:
        raise UnknownNameError("stage", stage, STAGES)
    at = STAGES.index(stage)
    embedding = units["class_embedding"].values[at, names.get_loc(cls)]
    values = _products(units["feature"].values[at], embedding)
    return _map(units, values, ("y", "x"), "class_similarity", f"cosine to {cls}, {stage}")


def similarity_reach(units: xr.Dataset, *, seed: int = 0) -> SimilarityReach:
    """How far the maps of a record go from zero, so that all of its pixels can be shown on one colour scale.

    For `difference`, the 99th percentile of abs(aligned - initial) of `pixel_similarity` for 64 pixels drawn at random;
    for `classes`, the 99.9th of the absolute `class_similarity` of all classes and both stages at 2048 pixels. Both are
    rounded up to a multiple of 0.05, and are at least that; 1 where no value is finite.

    Parameters
    ----------
    units : xarray.Dataset
        Made by `unit_vectors`.
    seed : int
        Of the choice of pixels.

    Returns
    -------
    SimilarityReach
    """
    feature, embedding = units["feature"].values, units["class_embedding"].values
    feature = feature.reshape(len(STAGES), -1, units.sizes["channel"])
    count = feature.shape[1]
    chosen = np.random.default_rng(seed).permutation(count)[:_SAMPLED_CLASS_PIXELS]
    initial, aligned = (one @ one[chosen[:_SAMPLED_PIXELS]].T for one in feature)
    classes = np.matmul(feature[:, chosen], embedding.transpose(0, 2, 1))
    return SimilarityReach(_reach(aligned - initial, 0.99), _reach(classes, 0.999))


def checked_cell(record: xr.Dataset, cell: tuple[int, int]) -> tuple[int, int]:
    """Row and column of a cell of the grid; `RecordError` if it lies outside."""
    row, col = cell
    rows, cols = record.sizes["y"], record.sizes["x"]
    if not (0 <= row < rows and 0 <= col < cols):
        raise RecordError(f"the cell (row {row}, col {col}) lies outside of the grid of {rows} x {cols} cells")
    return int(row), int(col)


def _units(vectors: np.ndarray) -> np.ndarray:
    vectors = vectors.astype(np.float32, copy=False)
    length = np.sqrt(np.vecdot(vectors, vectors))[..., None]
    return np.divide(vectors, length, out=np.full_like(vectors, np.nan), where=length > 0)


def _products(feature: np.ndarray, vector: np.ndarray) -> np.ndarray:
    with one_thread():
        cosines = feature.reshape(-1, feature.shape[-1]) @ vector
    return cosines.reshape(feature.shape[:-1]).clip(-1, 1)  # rounding can carry one just past one


def _reach(values: np.ndarray, quantile: float) -> float:
    sizes = np.abs(values[np.isfinite(values)])
    if sizes.size == 0:
        return 1.0
    steps = max(1, int(np.ceil(np.quantile(sizes, quantile) / _STEP - 1e-4)))
    return round(steps * _STEP, 2)


def _map(units: xr.Dataset, values: np.ndarray, dims: tuple[str, ...], name: str, long_name: str) -> xr.DataArray:
    grid = units["feature"].isel({dim: 0 for dim in ("stage", "channel") if dim not in dims}, drop=True)
    result = grid.copy(deep=False, data=values)  # five times as fast as a new array with coordinates
    result.name, result.attrs = name, {"long_name": long_name}
    return result
