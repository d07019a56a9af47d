"""Nearest neighbours of sampled pixels, in the feature space and in the plane; what two lists of them have in common.

Up to `EXACT` points the neighbours are exact, by matrix products of blocks, which is quick and needs nothing compiled.
Above that they are those of NN-descent (Dong, Moses and Li, WWW 2011) as UMAP runs it, of which a few are missed.
"""

from collections.abc import Iterator

import numpy as np

EXACT = 20_000
"""Points up to which the search is exact: 3 seconds of one core for 256 channels. NN-descent compiles for 30 first."""

_BLOCK = 2**24
"""Distances held at a time (64 MB)."""


def nearest_neighbors(points: np.ndarray, count: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The `count` nearest others of every point (n, channel): indices int32 and distances float32, (n, count).

    Nearest first, by Euclidean distance, a point not being its own neighbour. `count` must be below n. Above `EXACT`
    points an approximate search, the same for the same seed; a neighbour that it did not find is -1, at infinity.
    """
    points = np.ascontiguousarray(points, dtype=np.float32)
    if len(points) > EXACT:
        from umap.umap_ import nearest_neighbors as descent

        # One job: it takes less time than two, and the neighbours do not depend on the number of cores.
        state = np.random.RandomState(seed)
        indices, distances, _ = descent(points, count + 1, "euclidean", {}, False, state, n_jobs=1)
    else:
        indices, distances = nearest_among(points, points, count + 1)
    return _without_itself(indices, distances)


def nearest_among(queries: np.ndarray, points: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The `count` points (n, channel) nearest to each query (q, channel), exactly: as `nearest_neighbors`, (q, count).

    A query that is among the points is found, too.
    """
    indices = np.empty((len(queries), count), dtype=np.int32)
    distances = np.empty((len(queries), count), dtype=np.float32)
    for rows, squares in squared_distances(queries, points):
        near = smallest(squares, count)
        # The distances of the block come from |a|^2 + |b|^2 - 2ab, which cancels where points nearly coincide.
        exact = np.sqrt(np.square(points[near] - queries[rows, None], dtype=np.float32).sum(axis=2))
        order = np.argsort(exact, axis=1, kind="stable")
        indices[rows] = np.take_along_axis(near, order, axis=1)
        distances[rows] = np.take_along_axis(exact, order, axis=1)
    return indices, distances


def squared_distances(queries: np.ndarray, points: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield blocks of queries (q, channel) as a slice, and their squared distances to all points, (rows, n) float32."""
    middle = points.mean(axis=0, dtype=np.float64)  # short vectors lose fewest digits
    points, queries = ((values - middle).astype(np.float32) for values in (points, queries))
    lengths = np.square(points).sum(axis=1)
    step = max(1, _BLOCK // len(points))
    for start in range(0, len(queries), step):
        rows = slice(start, min(start + step, len(queries)))
        squares = queries[rows] @ points.T
        squares *= -2
        squares += lengths
        squares += np.square(queries[rows]).sum(axis=1, keepdims=True)
        yield rows, squares


def smallest(values: np.ndarray, count: int) -> np.ndarray:
    """Columns of the `count` smallest values of each row of (rows, n), in no order: (rows, count)."""
    if count >= values.shape[1]:
        return np.broadcast_to(np.arange(values.shape[1]), values.shape)
    return np.argpartition(values, count - 1, axis=1)[:, :count]


def plane_neighbors(places: np.ndarray, count: int) -> np.ndarray:
    """Indices (n, count) of the nearest others of every place (n, axis), by a k-d tree: exact for any n."""
    from sklearn.neighbors import NearestNeighbors

    return NearestNeighbors(n_neighbors=count, algorithm="kd_tree").fit(places).kneighbors(return_distance=False)


def shared_neighbors(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Share of the neighbours of each point (rows, count) in `left` that are in `right` too: (rows,), 0 to 1."""
    return (left[:, :, None] == right[:, None, :]).any(axis=2).mean(axis=1)


def _without_itself(indices: np.ndarray, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Leave each point out of its own row, or the last one where twins at distance zero have kept it out."""
    itself = indices == np.arange(len(indices))[:, None]
    kept = np.argsort(itself, axis=1, kind="stable")[:, :-1]
    indices, distances = (np.take_along_axis(values, kept, axis=1) for values in (indices, distances))
    return np.ascontiguousarray(indices, dtype=np.int32), np.ascontiguousarray(distances, dtype=np.float32)
