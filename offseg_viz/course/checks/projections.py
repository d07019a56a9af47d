"""Checks of notebook 07, the feature space: a plane made for moves, terms across the diagonal, neighbours kept."""

from collections.abc import Callable

import numpy as np
import xarray as xr

from offseg_viz.course.verdict import Verdict, compare

POINTS, CHANNELS, NEIGHBORS = 60, 7, 5
"""Of the made-up points on which `check_kept_neighbors` calls a function."""


def check_seen_share(answer, table: xr.Dataset) -> Verdict:
    """Asked: the share of the squared length of all moves dE that lies in the plane that sees most of it.

    `table` is one of `sample_pixels`. Diagnoses the axes of the places in place of those of the moves, moves with their
    mean taken away, singular values that were not squared, lengths that were not squared, three axes or one, a
    percentage, and rounding.
    """
    feature, aligned = (table[name].values.astype(np.float64) for name in ("feature", "aligned_feature"))
    move, both = aligned - feature, np.concatenate([feature, aligned])
    values, axes = np.linalg.svd(move, full_matrices=False)[1:]
    squared = values**2 / (values**2).sum()
    truth = squared[:2].sum()
    of_places = np.linalg.svd(both - both.mean(axis=0), full_matrices=False)[2][:2]
    centred = np.linalg.svd(move - move.mean(axis=0), compute_uv=False) ** 2
    wrong = {
        "those are the two axes of most variance of the places; needed: axes made from the moves alone": (
            np.square(move @ of_places.T).sum() / np.square(move).sum()
        ),
        "the mean move was taken away, which is part of what moves: no centring here": centred[:2].sum()
        / centred.sum(),
        "singular values were summed as they are; squared lengths are their squares": values[:2].sum() / values.sum(),
        "lengths were summed; needed: squared lengths": np.linalg.norm(move @ axes[:2].T, axis=1).sum()
        / np.linalg.norm(move, axis=1).sum(),
        "one axis only; a plane has two": squared[0],
        "three axes; a plane has two": squared[:3].sum(),
        "this is the part that the plane does not see": 1 - truth,
        "this is a percentage; needed a share from 0 to 1": 100 * truth,
    }
    praise = "two axes see more than half of all movement: dE mixes few directions, while features fill many"
    return compare(answer, truth, wrong=wrong, praise=praise, what="the share", atol=2e-4)


def check_steps_across(answer, plane: xr.Dataset, cls: str) -> Verdict:
    """Asked: what each of the three terms adds, on average over the pixels of `cls`, to own score less other score.

    `plane` is a `class_plane` with `cls` on one axis; the answer is three numbers, in the order of the terms. Diagnoses
    totals in place of steps, an initial margin that was counted in, the pixels of both classes or of the other one, a
    margin turned round, one score alone, sums over pixels, and rounding.
    """
    names = [str(name) for name in plane["axis"].values]
    own, score = names.index(cls), plane["score"].values.astype(np.float64)
    margin = score[..., own] - score[..., 1 - own]  # (step, pixel)
    mine = plane["cls"].values == cls
    total = margin[:, mine].mean(axis=1)
    truth = np.diff(total)
    if np.shape(answer) == (4,) and np.allclose(np.asarray(answer, float), total, atol=1e-3):
        return Verdict(False, "these are the four margins on the way; needed the three differences between them")
    wrong = {
        "these are margins on the way, where terms have added up; needed what each term adds": total[1:],
        "these are differences from the initial margin, which add up; needed what each term adds": total[1:] - total[0],
        f"these are the pixels of both classes; needed those of {cls} alone": np.diff(margin.mean(axis=1)),
        f"these are the pixels of the other class; needed those of {cls}": np.diff(margin[:, ~mine].mean(axis=1)),
        "the signs are turned round: own score less the other's": -truth,
        f"this is the score of {cls} alone; needed: less the score of the other class": np.diff(
            score[:, mine, own].mean(axis=1)
        ),
        "this is the score of the other class; needed: own score less the other's": np.diff(
            score[:, mine, 1 - own].mean(axis=1)
        ),
        "summed over pixels; needed the mean": truth * mine.sum(),
        "divided by the root of two: that is the distance from the diagonal, asked was the difference of scores": (
            truth / np.sqrt(2)
        ),
    }
    praise = f"only movement across the diagonal counts, and for {cls} it is the feature offsets that bring it"
    return compare(answer, truth, wrong=wrong, praise=praise, what="the list of steps", atol=1e-3)


def check_kept_neighbors(function: Callable) -> Verdict:
    """Asked: a function of points (n, channel), their places (n, 2) and k: the mean share of neighbours kept.

    It is called on made-up points. Diagnoses a point counted as its own neighbour, numbers in place of shares, a share
    for every point, the farthest in place of the nearest, ranks along the wrong axis, other distances than the
    Euclidean one, both neighbourhoods from the same space, and errors that the function raises.
    """
    if not callable(function):
        blank = function is ... or function is None
        return Verdict(False, "the function is still empty: replace the ... by your own" if blank else _NO_FUNCTION)
    rng = np.random.default_rng(7)
    points = rng.normal(size=(POINTS, CHANNELS))
    places = points[:, :2] + 0.3 * rng.normal(size=(POINTS, 2))
    try:
        answer = function(points.copy(), places.copy(), NEIGHBORS)
    except Exception as problem:  # the student's own code may raise anything
        return Verdict(False, f"the function raised {type(problem).__name__}: {problem}")
    kept = _kept(points, places, NEIGHBORS)
    wrong = {
        "a point is counted as its own nearest neighbour, which it keeps in every plane": _kept(
            points, places, NEIGHBORS, from_=0, to=NEIGHBORS
        ),
        "a point is counted as its own neighbour, beside the k others": _kept(
            points, places, NEIGHBORS, from_=0, to=NEIGHBORS + 1
        ),
        "divided by k, but one neighbour fewer than k was looked at": _kept(points, places, NEIGHBORS, to=NEIGHBORS)
        * (NEIGHBORS - 1)
        / NEIGHBORS,
        "one neighbour fewer than k was looked at": _kept(points, places, NEIGHBORS, to=NEIGHBORS),
        "these are the farthest points, not the nearest": _kept(points, places, NEIGHBORS, farthest=True),
        "this is a number of neighbours; needed a share: divide by k": kept.mean() * NEIGHBORS,
        "this is the share that is lost": 1 - kept,
        "every neighbour is kept: were both neighbourhoods taken from the same space?": 1.0,
        "the distances were ranked down the columns and then read along the rows: rank along the rows, axis 1": (
            _shares(*(_ranked(space, axis=0)[:, 1 : NEIGHBORS + 1] for space in (points, places)))
        ),
        "after ranking down the columns a point's neighbours stand in its column, not in its row": (
            _shares(*(_ranked(space, axis=0)[1 : NEIGHBORS + 1] for space in (points, places))) * POINTS / NEIGHBORS
        ),
        "distances are sums of absolute differences here; needed: Euclidean ones": _shares(
            *(_ranked(space, between=_absolute)[:, 1 : NEIGHBORS + 1] for space in (points, places))
        ),
        "neighbours are those of the largest cosine here; needed: those at the least Euclidean distance": _shares(
            *(_ranked(space, between=_turned)[:, 1 : NEIGHBORS + 1] for space in (points, places))
        ),
        "neighbours in the feature space are those of the largest cosine here; needed: Euclidean distances": _shares(
            _ranked(points, between=_turned)[:, 1 : NEIGHBORS + 1], _ranked(places)[:, 1 : NEIGHBORS + 1]
        ),
    }
    wrong = {diagnosis: np.mean(value) for diagnosis, value in wrong.items()}
    if np.shape(answer) == (POINTS,) and np.allclose(np.asarray(answer, float), kept):
        return Verdict(False, "the function returns a share for every point; needed their mean")
    praise = "a projection that keeps few neighbours says little about who is like whom"
    return compare(answer, kept.mean(), wrong=wrong, praise=praise, what="the result", atol=1e-6)


_NO_FUNCTION = "found something that cannot be called; needed the function itself, without brackets behind its name"


def _kept(points, places, k, *, from_: int = 1, to: int | None = None, farthest: bool = False) -> np.ndarray:
    """Share of the nearest in one space that are nearest in the other, point by point; `from_` 1 leaves out itself."""
    orders = (_ranked(space) for space in (points, places))
    return _shares(*(order[:, -k:] if farthest else order[:, from_ : k + 1 if to is None else to] for order in orders))


def _ranked(space, *, between: Callable | None = None, axis: int = 1) -> np.ndarray:
    """All points by their distance to each, (n, n); Euclidean, or another that `between` gives of (n, 1) and (1, n)."""
    one, other = space[:, None], space[None]
    distance = np.linalg.norm(one - other, axis=-1) if between is None else between(one, other)
    return np.argsort(distance, axis=axis)


def _absolute(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.abs(one - other).sum(axis=-1)


def _turned(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return -(one * other).sum(axis=-1) / np.linalg.norm(one, axis=-1) / np.linalg.norm(other, axis=-1)


def _shares(near: np.ndarray, near_in_plane: np.ndarray) -> np.ndarray:
    """The share of a row that is in the same row of the other, row by row."""
    shared = [len(np.intersect1d(one, other)) for one, other in zip(near, near_in_plane, strict=True)]
    return np.array(shared) / near.shape[1]
