"""Sampled pixels of both stages in one plane: PCA or UMAP, with class embeddings placed into it."""

from pathlib import Path

import numpy as np
import xarray as xr

from offseg_viz.analyze.neighbors import nearest_neighbors, plane_neighbors, shared_neighbors, smallest
from offseg_viz.analyze.projection_cache import FEATURES, Kept, cache_file, keep, read_kept
from offseg_viz.analyze.projection_fit import fitted_umap, principal_axes
from offseg_viz.analyze.projection_quality import NEIGHBORS, neighborhood_figures, null_drift, twins
from offseg_viz.errors import RecordError, UnknownNameError
from offseg_viz.terms import STAGES

METHODS = ("pca", "umap")
SCORED_HIGHEST = 5
"""Pixels at whose mean place a class embedding is put in a UMAP."""

WORTH_KEEPING = 5_000
"""Points of a PCA from which on it is kept in the cache; below, it takes less than a second. A UMAP always is kept."""


def project(
    table: xr.Dataset,
    *,
    method: str = "pca",
    seed: int = 0,
    onto: xr.Dataset | None = None,
    stability: bool = False,
    cache: bool | str | Path = True,
) -> xr.Dataset:
    """Coordinates in the plane for pixels of both stages and for class embeddings of both stages, with their quality.

    There is one fit, on the features E and E + dE together (Euclidean distances), so that the two stages share one
    plane; two separate fits would show mere noise as movement. For a per-pixel model both stages coincide exactly.

    A PCA is linear: directions and lengths in it are true up to the variance it leaves out. UMAP keeps
    neighbourhoods only: distances between groups and lengths of displacements in it measure nothing, and its
    coordinates differ between machines even with a seed.

    Class embeddings take no part in the fit, being far from all features. In a PCA they are placed by its linear map.
    In a UMAP each lies at the mean place of the five pixels that it scores highest: W among the pixels of all images by
    the initial scores W E^T, the W + dW of an image among the pixels of that image by the aligned scores; NaN where the
    table has no pixel of the image.

    Parameters
    ----------
    table : xarray.Dataset
        Made by `sample_pixels`.
    method : {"pca", "umap"}
        UMAP is McInnes, Healy and Melville, arXiv 1802.03426, with 15 neighbours and a least distance of 0.1, begun
        from the PCA (as good a beginning as its spectral one: Kobak and Linderman, Nature Biotechnology 39, 2021). Its
        first call in a process compiles for 20 seconds or so, and from 10,000 pixels on (20,000 points of two stages),
        where neighbours are searched approximately, for 50; so does a PCA of as many.
    seed : int
        Seed of the fit and of the random choices of the quality figures.
    onto : xarray.Dataset, optional
        Another table of the same model: the fit is on that one alone, and `table` is placed into its plane, all
        pixels of both stages in one batch. Meant for new images. UMAP assumes that the new pixels are distributed as
        the fitted ones, and places them by an optimisation of its own: where a pixel goes depends on which others are
        placed with it, so pixels of two calls are not to be compared, and `table` should be whole. The null drift and
        all other figures are of this placing.
    stability : bool
        Add `stability` to the attributes, the mean of `projection_stability` over three seeds, which costs two fits
        more.
    cache : bool or path
        Projections are kept by the content of the table in the user's cache folder, or in the folder given, and found
        again in a moment; False neither reads nor writes. A PCA of up to 5000 points is not kept.

    Returns
    -------
    xarray.Dataset
        `pixel_projection` (stage, pixel, axis), `distortion` (stage, pixel), `class_projection` (cls, axis),
        `aligned_class_projection` (image, cls, axis), with the coordinates of the table. The distortion of a pixel is
        the share of its 15 nearest neighbours in the feature space, among the pixels of both stages, that are not
        among its 15 nearest in the plane. Attributes: those of the table, and

        - `method`, `seed`, and for PCA `explained_variance`, the fraction of the variance along each axis; with `onto`
          `onto_pixels`, the number of pixels of the fit.
        - `trustworthiness`, `continuity`, `plane_overlap`, `stage_overlap`, `neighbors`: see `neighborhood_figures`.
        - `null_drift_median`, `null_drift_95`: how far the projection draws two pixels apart that are the same, as
          median and 95th percentile, in shares of the diagonal of the picture. A twentieth of the points, 500 at most,
          is in the fit twice (or is placed twice), the second time at a thousandth of the spread beside the first. A
          displacement below this between the stages of a pixel cannot be told from none.

    Raises
    ------
    RecordError
        If there are too few pixels or channels: give more records, or a larger `per_class`. If a feature is not finite,
        or in a UMAP all are the same. If `onto` is of another model.
    UnknownNameError
        If there is no such method.
    """
    if method not in METHODS:
        raise UnknownNameError("projection method", method, METHODS)
    fitted = table if onto is None else onto
    _check(fitted, method, NEIGHBORS + 1 if method == "umap" else 3)
    if onto is not None:
        _check(table, "a projection onto another table", 3)
        if not np.array_equal(table["class_embedding"], onto["class_embedding"]):
            raise RecordError("the table to project onto has other class embeddings; take tables of one model")
    points = max(one.sizes["pixel"] for one in (table, fitted)) * len(STAGES)
    if method == "pca" and points < WORTH_KEEPING:
        cache = False
    path = cache_file(cache, (table,) if onto is None else (table, onto), method, seed)
    found = read_kept(path)
    if found is None:
        found = (_pca if method == "pca" else _umap)(table, fitted, seed)
        keep(path, found)
    arrays, figures = found
    result = xr.Dataset(
        {
            "pixel_projection": (("stage", "pixel", "axis"), _both_stages(arrays["places"], table)),
            "distortion": (("stage", "pixel"), _both_stages(arrays["distortion"], table)),
            "class_projection": (("cls", "axis"), arrays["class_places"][0]),
            "aligned_class_projection": (("image", "cls", "axis"), arrays["class_places"][1:]),
        },
        coords=dict(table.coords) | {"stage": list(STAGES)},
        attrs=table.attrs | {"method": method, "seed": seed} | figures,
    )
    if onto is not None:
        result.attrs["onto_pixels"] = onto.sizes["pixel"]
    if stability:
        between = projection_stability(table, method=method, seed=seed, onto=onto, cache=cache).values
        result.attrs["stability"] = float(between[~np.eye(len(between), dtype=bool)].mean())
    return result


def projection_stability(
    table: xr.Dataset,
    *,
    method: str = "umap",
    seeds: int = 3,
    seed: int = 0,
    onto: xr.Dataset | None = None,
    cache: bool | str | Path = True,
) -> xr.DataArray:
    """How much of each other's neighbourhoods projections of the same table by different seeds keep.

    The mean over the pixels of both stages of the share of the 15 nearest in one plane that are among the 15 nearest in
    the other. No rotation, scale or distance matters to it. One where the seed changes nothing, as in a PCA; of two
    projections that have nothing in common, 15 over the number of points.

    Parameters
    ----------
    table, method, onto, cache : as for `project`.
    seeds : int
        Number of projections, two or more: of the seeds `seed`, `seed` + 1, ...

    Returns
    -------
    xarray.DataArray
        `projection_stability` (seed, seed_2), symmetric, from 0 to 1.

    Raises
    ------
    RecordError, UnknownNameError
        As `project`; and for fewer than two seeds.
    """
    if seeds < 2:
        raise RecordError(f"found {seeds} seeds; needed two or more to compare")
    numbers = list(range(seed, seed + seeds))
    near = []
    for number in numbers:
        found = project(table, method=method, seed=number, onto=onto, cache=cache)
        stages = found["pixel_projection"].values
        places = np.concatenate(stages) if _moved(table) else stages[0]
        near.append(plane_neighbors(places, found.attrs["neighbors"]))
    shares = [[shared_neighbors(left, right).mean() for right in near] for left in near]
    coords = {"seed": numbers, "seed_2": numbers}
    return xr.DataArray(shares, dims=("seed", "seed_2"), coords=coords, name="projection_stability")


def _check(table: xr.Dataset, what: str, needed: int) -> None:
    pixels, channels = table.sizes["pixel"], table.sizes["channel"]
    if pixels < needed or channels < 2:
        found = f"{pixels} pixels of {channels} channels"
        raise RecordError(f"{what} needs at least {needed} pixels of 2 channels, found {found}; sample more pixels")
    for name in FEATURES:
        if not np.isfinite(table[name].values).all():
            raise RecordError(f"{name!r} of the table is not finite everywhere; leave out the records it comes from")
    if what == "umap" and not np.ptp(_points(table), axis=0).any():
        raise RecordError("all pixels of the table have the same feature, so none is nearer to one than to another")


def _moved(table: xr.Dataset) -> bool:
    """Whether the stages differ at all: they do not for a per-pixel model."""
    return not np.array_equal(table["feature"], table["aligned_feature"])


def _points(table: xr.Dataset) -> np.ndarray:
    """The features of both stages below each other, or of one where they coincide."""
    names = ("feature", "aligned_feature") if _moved(table) else ("feature",)
    return np.concatenate([table[name].values for name in names]).astype(np.float32)


def _class_embeddings(table: xr.Dataset) -> np.ndarray:
    """W and, for every image, W + dW: (1 + image, cls, channel)."""
    return np.concatenate([table["class_embedding"].values[None], table["aligned_class_embedding"].values])


def _both_stages(values: np.ndarray, table: xr.Dataset) -> np.ndarray:
    """Values of the points to values of both stages, the same for both where these coincide."""
    stages = values.reshape(-1, table.sizes["pixel"], *values.shape[1:])
    return np.broadcast_to(stages, (len(STAGES), *stages.shape[1:])).astype(np.float32)


def _pca(table: xr.Dataset, fitted: xr.Dataset, seed: int) -> Kept:
    points = _points(table)
    mean, axes, share = principal_axes(_points(fitted))
    chosen, copies = twins(points, seed)
    places, copied = (points - mean) @ axes, (copies - mean) @ axes
    neighbors, _ = nearest_neighbors(points, min(NEIGHBORS, len(points) - 1), seed=seed)
    arrays, figures = _measured(table, points, places, neighbors, seed)
    arrays["class_places"] = ((_class_embeddings(table) - mean) @ axes).astype(np.float32)
    return arrays, figures | null_drift(places, chosen, copied) | {"explained_variance": share.tolist()}


def _umap(table: xr.Dataset, fitted: xr.Dataset, seed: int) -> Kept:
    points = _points(table)
    chosen, copies = twins(points, seed)
    if fitted is table:
        umap, neighbors = fitted_umap(points, chosen, copies, seed)
        both = umap.embedding_
    else:
        basis = _points(fitted)
        umap, _ = fitted_umap(basis, *twins(basis, seed), seed)
        both = umap.transform(np.concatenate([points, copies]))
        neighbors, _ = nearest_neighbors(points, min(NEIGHBORS, len(points) - 1), seed=seed)
    places, copied = both[: len(points)], both[len(points) :]
    arrays, figures = _measured(table, points, places, neighbors, seed)
    arrays["class_places"] = _places_by_score(table, places)
    return arrays, figures | null_drift(places, chosen, copied)


def _places_by_score(table: xr.Dataset, places: np.ndarray) -> np.ndarray:
    """Mean places (1 + image, cls, 2) of the pixels that each class embedding scores highest; NaN without a pixel."""
    initial, aligned = _both_stages(places, table)
    embeddings, sample = _class_embeddings(table), table["sample"].values.astype(str)
    everywhere = _mean_of_best(embeddings[0], table["feature"].values, initial)
    found = [everywhere]
    for embedding, name in zip(embeddings[1:], table["image"].values.astype(str), strict=True):
        own = sample == name
        if not _moved(table) and np.array_equal(embedding, embeddings[0]):
            found.append(everywhere)  # both stages coincide
            continue
        found.append(_mean_of_best(embedding, table["aligned_feature"].values[own], aligned[own]))
    return np.stack(found)


def _mean_of_best(embedding: np.ndarray, feature: np.ndarray, places: np.ndarray) -> np.ndarray:
    if not len(feature):
        return np.full((len(embedding), 2), np.nan, dtype=np.float32)
    best = smallest(-(embedding @ feature.T), SCORED_HIGHEST)
    return places[best].mean(axis=1, dtype=np.float32)


def _measured(
    table: xr.Dataset, points: np.ndarray, places: np.ndarray, neighbors: np.ndarray, seed: int
) -> tuple[dict[str, np.ndarray], dict]:
    stages = len(points) // table.sizes["pixel"]
    figures, distortion = neighborhood_figures(points, places, neighbors, stages=stages, seed=seed)
    return {"places": places.astype(np.float32), "distortion": distortion}, figures
