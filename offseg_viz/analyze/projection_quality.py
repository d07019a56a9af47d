"""How far a projection of pixels can be believed: neighbourhoods kept, and movement drawn where there is none."""

import numpy as np

from offseg_viz.analyze.neighbors import plane_neighbors, shared_neighbors, smallest, squared_distances

NEIGHBORS = 15
QUERIES = 1000
"""Points over which ranks among all points are taken: all of them up to that number, else a random choice."""

TWIN_SHARE, MOST_TWINS = 1 / 20, 500
TWIN_DISTANCE = 1e-3


def neighborhood_figures(
    points: np.ndarray, placed: np.ndarray, neighbors: np.ndarray, *, stages: int = 2, seed: int = 0
) -> tuple[dict[str, float], np.ndarray]:
    """What a projection keeps of neighbourhoods, as figures and point by point.

    With k neighbours, n points, U_k(i) the k nearest of i in the plane that are not among its k nearest in the feature
    space, V_k(i) the k nearest in the feature space that are not so in the plane, and r, s the ranks of j among the
    neighbours of i in the feature space and in the plane (Venna and Kaski, ICANN 2001; the means are over i):

    - ``trustworthiness``: 1 - 2 / (k (2n - 3k - 1)) mean_i sum_{j in U_k(i)} (r(i, j) - k). It falls where pixels are
      drawn together that are not alike.
    - ``continuity``: the same with s over V_k(i). It falls where pixels that are alike are drawn apart.
    - ``plane_overlap``: share of the k nearest in the feature space that are among the k nearest in the plane.
    - ``stage_overlap``: share of a pixel's k nearest pixels by initial features that are among its k nearest by
      aligned features, both in the feature space: what the refinement leaves of neighbourhoods, the projection apart.

    Parameters
    ----------
    points : (n, channel). Of two stages: all pixels of the first, then those of the second.
    placed : (n, 2).
    neighbors : (n, at least k), the nearest others of every point in the feature space, nearest first; where these
        come from an approximate search, `plane_overlap` and the distortions are approximate.
    stages : 1 or 2; of one stage, `stage_overlap` is 1.
    seed : chooses the i over which all figures but `plane_overlap` are means, where there are more than `QUERIES`
        points; ranks are always among all points.

    Returns
    -------
    figures : the four above, all from 0 to 1, and ``neighbors``, the k: 15, or less where n < 2k + 1 (half the pixels
        of a stage for `stage_overlap` likewise).
    distortion : (n,), 1 minus the overlap of each point, whose mean `plane_overlap` is made of.
    """
    count, pixels = len(points), len(points) // stages
    k, k_of_stage = (min(NEIGHBORS, (size - 1) // 2) for size in (count, pixels))
    chosen = np.random.default_rng(seed).permutation(pixels)[: QUERIES // stages]
    queries = np.concatenate([chosen + stage * pixels for stage in range(stages)])
    near_in_plane = plane_neighbors(placed, k)
    untrue, torn, of_stage = 0.0, 0.0, [[] for _ in range(stages)]
    blocks = zip(squared_distances(points[queries], points), squared_distances(placed[queries], placed), strict=True)
    for (rows, full), (_, plane) in blocks:
        own = queries[rows]
        full[np.arange(len(own)), own] = plane[np.arange(len(own)), own] = np.inf
        near = smallest(full, k)
        for stage, found in enumerate(of_stage):
            of_one = full[own // pixels == stage, stage * pixels : (stage + 1) * pixels]
            found.append(smallest(of_one, k_of_stage))
        untrue += _excess_rank(full, near_in_plane[own], k)
        torn += _excess_rank(plane, near, k)
    scale = 2 / (len(queries) * k * (2 * count - 3 * k - 1))
    distortion = 1 - shared_neighbors(neighbors[:, :k], near_in_plane)
    initial, aligned = np.concatenate(of_stage[0]), np.concatenate(of_stage[-1])
    figures = {
        "trustworthiness": 1 - scale * untrue,
        "continuity": 1 - scale * torn,
        "plane_overlap": 1 - distortion.mean(),
        "stage_overlap": shared_neighbors(initial, aligned).mean(),
    }
    return {name: float(value) for name, value in figures.items()} | {"neighbors": k}, distortion.astype(np.float32)


def twins(points: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of a twentieth of the points (at least one, at most `MOST_TWINS`), and near copies of those points.

    A copy lies at a thousandth of the spread from its point, the spread being the root mean square distance of all
    points to their mean: a pixel that the refinement leaves as it is, for the drift of a null change.
    """
    rng = np.random.default_rng([seed, 1])  # another stream than that of the choice of queries
    count = min(MOST_TWINS, max(1, round(len(points) * TWIN_SHARE)))
    chosen = np.sort(rng.permutation(len(points))[:count])
    spread = np.sqrt(np.square(points - points.mean(axis=0), dtype=np.float64).sum(axis=1).mean())
    step = rng.normal(size=(count, points.shape[1]))
    step *= TWIN_DISTANCE * spread / np.linalg.norm(step, axis=1, keepdims=True)
    return chosen, (points[chosen] + step).astype(np.float32)


def null_drift(placed: np.ndarray, chosen: np.ndarray, placed_twins: np.ndarray) -> dict[str, float]:
    """Median and 95th percentile of the distances between points (n, 2) and their twins in the plane.

    In shares of the diagonal of the box around all points; 0 where that has no size.
    """
    drift = np.linalg.norm(placed_twins - placed[chosen], axis=1)
    diagonal = float(np.linalg.norm(np.ptp(placed, axis=0))) or 1.0
    median, high = np.percentile(drift, (50, 95)) / diagonal
    return {"null_drift_median": float(median), "null_drift_95": float(high)}


def _excess_rank(values: np.ndarray, columns: np.ndarray, k: int) -> float:
    """Sum of the ranks beyond k, from 1, that the columns (rows, k) hold in their row of the values, which it sorts."""
    sought = np.take_along_axis(values, columns, axis=1)
    values.sort(axis=1)
    ranks = [np.searchsorted(*pair) for pair in zip(values, sought, strict=True)]
    return float(np.maximum(0, np.array(ranks) + 1 - k).sum())
