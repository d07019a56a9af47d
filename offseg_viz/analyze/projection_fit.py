"""The two fits of a projection: axes of most variance, and a UMAP whose neighbour graph is made beforehand."""

import warnings

import numpy as np

from offseg_viz.analyze.neighbors import nearest_among, nearest_neighbors
from offseg_viz.analyze.projection_quality import NEIGHBORS


def principal_axes(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean (channel,), the two axes of most variance (channel, 2), and the fractions of the variance along them."""
    mean = points.mean(axis=0, dtype=np.float64)
    centred = points - mean
    variances, vectors = np.linalg.eigh(centred.T @ centred)
    axes, variances = vectors[:, :-3:-1], np.maximum(variances, 0)
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), (0, 1)])  # a sign that is the same on every machine
    return mean, axes, variances[:-3:-1] / max(variances.sum(), np.finfo(float).tiny)


def fitted_umap(points: np.ndarray, chosen: np.ndarray, copies: np.ndarray, seed: int):
    """A UMAP of the points followed by their near copies, and the neighbours (n, 15) of the points alone."""
    from umap import UMAP

    everything = np.concatenate([points, copies])
    mean, axes, _ = principal_axes(points)
    neighbors, distances = nearest_neighbors(points, NEIGHBORS, seed=seed)
    gap = np.linalg.norm(copies - points[chosen], axis=1)
    umap = UMAP(
        n_neighbors=NEIGHBORS,
        min_dist=0.1,
        init=((everything - mean) @ axes).astype(np.float32),
        random_state=seed,
        transform_seed=seed,
        n_jobs=1,  # the layout of a seeded UMAP runs in one thread anyway, and warns where it was not asked to
        precomputed_knn=(*graph_with_twins(neighbors, distances, chosen, gap), _Search(everything)),
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"precomputed_knn\[2\]")  # it is a search of ours
        umap.fit(everything)
    return umap, neighbors


class _Search:
    """What `UMAP.transform` finds the neighbours of new points with: an exact search, with nothing to compile."""

    _angular_trees = False

    def __init__(self, points: np.ndarray):
        self._points = points

    def query(self, queries: np.ndarray, k: int, epsilon: float) -> tuple[np.ndarray, np.ndarray]:
        return nearest_among(queries, self._points, k)


def graph_with_twins(
    neighbors: np.ndarray, distances: np.ndarray, chosen: np.ndarray, gap: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The lists of the 15 nearest of all points and then of the twins of the chosen ones, each point first in its own.

    No second search: a twin stands wherever its point does, directly behind it.
    """
    count = len(neighbors)
    twin_of = np.full(count + 1, -1)  # the last one is that of a neighbour that was not found, -1
    twin_of[chosen] = count + np.arange(len(chosen))
    indices = np.column_stack([np.arange(count), neighbors])
    indices = np.stack([indices, twin_of[indices]], axis=2).reshape(count, -1)
    distances = np.repeat(np.column_stack([np.zeros(count), distances]), 2, axis=1)
    distances[chosen, 1] = gap
    order = np.argsort(indices < 0, axis=1, kind="stable")[:, :NEIGHBORS]
    indices, distances = (np.take_along_axis(values, order, axis=1) for values in (indices, distances))
    of_twins = indices[chosen]
    of_twins[:, :2] = of_twins[:, 1::-1]
    return (
        np.concatenate([indices, of_twins]).astype(np.int32),
        np.concatenate([distances, distances[chosen]]).astype(np.float32),
    )
