"""Sampled pixels of both stages in one plane: PCA or UMAP, with class embeddings placed into it."""

import numpy as np
import xarray as xr

from offseg_viz.errors import RecordError, UnknownNameError
from offseg_viz.terms import STAGES

METHODS = ("pca", "umap")
NEIGHBORS = 15
"""Neighbours a point in UMAP and in the trustworthiness; PCA needs three pixels only."""


def project(table: xr.Dataset, *, method: str = "pca", seed: int = 0) -> xr.Dataset:
    """Coordinates in the plane for pixels of both stages and for class embeddings of both stages.

    There is one fit, on the features E and E + dE together (euclidean distances), so that the two stages share one
    plane; two separate fits would show mere noise as movement. Class embeddings take no part in the fit, being far
    from all features, and are placed by the fitted transform. For a per-pixel model both stages coincide exactly.

    A PCA is linear: directions and lengths in it are true up to the variance it leaves out. UMAP keeps
    neighbourhoods only: distances between groups and lengths of displacements in it measure nothing, and its
    coordinates differ between machines even with a seed.

    Parameters
    ----------
    table : xarray.Dataset
        Made by `sample_pixels`.
    method : {"pca", "umap"}
        UMAP is McInnes, Healy and Melville, arXiv 1802.03426, with 15 neighbours and a least distance of 0.1. Its
        first call in a process compiles for about 20 seconds, and for 50 from 2048 pixels on (4096 points of two
        stages), where it begins to search neighbours approximately: draw fewer pixels where time is short.
    seed : int
        Seed of the fit and of the trustworthiness subsample.

    Returns
    -------
    xarray.Dataset
        `pixel_projection` (stage, pixel, axis), `class_projection` (cls, axis), `aligned_class_projection`
        (image, cls, axis), with the coordinates of the table. Attributes: those of the table, and `method`, `seed`,
        `trustworthiness` (0 to 1, how far neighbours in the plane are neighbours in the feature space too: Venna and
        Kaski, 2001; over at most 2000 points and 15 neighbours), and for PCA `explained_variance`, the fraction of
        the variance along each axis.

    Raises
    ------
    RecordError
        If there are too few pixels or channels: give more records, or a larger `per_class`.
    UnknownNameError
        If there is no such method.
    """
    if method not in METHODS:
        raise UnknownNameError("projection method", method, METHODS)
    needed = NEIGHBORS + 1 if method == "umap" else 3
    if table.sizes["pixel"] < needed or table.sizes["channel"] < 2:
        found = f"{table.sizes['pixel']} pixels of {table.sizes['channel']} channels"
        raise RecordError(f"{method} needs at least {needed} pixels of 2 channels, found {found}; sample more pixels")
    before, after = (table[name].values for name in ("feature", "aligned_feature"))
    moved = not np.array_equal(before, after)
    points = np.concatenate([before, after]) if moved else before
    embeddings = np.concatenate([table["class_embedding"].values[None], table["aligned_class_embedding"].values])
    fit = _pca if method == "pca" else _umap
    placed, placed_embeddings, attrs = fit(points, embeddings.reshape(-1, points.shape[1]), seed)
    stages = placed.reshape(2, *before.shape[:1], 2) if moved else np.stack([placed, placed])
    placed_embeddings = placed_embeddings.reshape(*embeddings.shape[:2], 2)
    if not moved:  # UMAP's transform need not place the same vector at the same point twice
        placed_embeddings = np.broadcast_to(placed_embeddings[:1], placed_embeddings.shape)
    return xr.Dataset(
        {
            "pixel_projection": (("stage", "pixel", "axis"), stages.astype(np.float32)),
            "class_projection": (("cls", "axis"), placed_embeddings[0].astype(np.float32)),
            "aligned_class_projection": (("image", "cls", "axis"), placed_embeddings[1:].astype(np.float32)),
        },
        coords=dict(table.coords) | {"stage": list(STAGES)},
        attrs=table.attrs
        | {"method": method, "seed": seed, "trustworthiness": _trustworthiness(points, placed, seed)}
        | attrs,
    )


def _pca(points: np.ndarray, embeddings: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, dict]:
    from sklearn.decomposition import PCA

    pca = PCA(n_components=2, random_state=seed)
    placed = pca.fit_transform(points.astype(np.float64))
    return placed, pca.transform(embeddings), {"explained_variance": pca.explained_variance_ratio_.tolist()}


def _umap(points: np.ndarray, embeddings: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, dict]:
    from umap import UMAP

    # One job: a seeded UMAP runs in one thread anyway, and warns where it was not asked to.
    umap = UMAP(n_neighbors=NEIGHBORS, min_dist=0.1, random_state=seed, transform_seed=seed, n_jobs=1)
    placed = umap.fit_transform(points)
    return placed, umap.transform(embeddings), {}


def _trustworthiness(points: np.ndarray, placed: np.ndarray, seed: int) -> float:
    from sklearn.manifold import trustworthiness

    if len(points) > 2000:
        chosen = np.random.default_rng(seed).choice(len(points), 2000, replace=False)
        points, placed = points[chosen], placed[chosen]
    neighbors = min(NEIGHBORS, (len(points) - 1) // 2)  # defined for fewer than half of the points
    return float(trustworthiness(points, placed, n_neighbors=neighbors))
