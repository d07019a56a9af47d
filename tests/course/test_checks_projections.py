"""The checks of notebook 07: solutions pass, blanks and typical mistakes are told what they are."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

import offseg_viz as ov
from offseg_viz.course.checks.projections import check_kept_neighbors, check_seen_share, check_steps_across


@pytest.fixture(scope="module")
def records():
    model, samples = ov.load_model("nano-offset", weights="scenes"), ov.load_samples("scenes")
    return [ov.extract(model, sample) for sample in samples[:4]]


@pytest.fixture(scope="module")
def table(records):
    return ov.sample_pixels(records, per_class=20, seed=0)


@pytest.fixture(scope="module")
def plane(records):
    return ov.class_plane(records, "road", "lane marking", per_class=80)


def told(verdict, praise: str, diagnosis: str) -> bool:
    """Whether a verdict fails with a diagnosis, without the praise."""
    return not verdict and diagnosis in verdict.text and praise not in verdict.text


def moves(table):
    return table.aligned_feature.values.astype(float) - table.feature.values.astype(float)


def seen(values, best=2):
    squared = np.linalg.svd(values, compute_uv=False) ** 2
    return squared[:best].sum() / squared.sum()


def of_places(table):
    both = np.concatenate([table.feature.values, table.aligned_feature.values]).astype(float)
    axes = np.linalg.svd(both - both.mean(axis=0), full_matrices=False)[2][:2]
    return np.square(moves(table) @ axes.T).sum() / np.square(moves(table)).sum()


def test_share_seen(table):
    assert check_seen_share(seen(moves(table)), table)
    values, vectors = np.linalg.eigh(moves(table).T @ moves(table))
    assert check_seen_share(values[-2:].sum() / values.sum(), table)


@pytest.mark.parametrize(
    ("mistake", "diagnosis"),
    [
        (lambda t: ..., "still empty"),
        (of_places, "axes of most variance of the places"),
        (lambda t: seen(moves(t) - moves(t).mean(axis=0)), "the mean move was taken away"),
        (lambda t: seen(moves(t), 1), "one axis only"),
        (lambda t: seen(moves(t), 3), "three axes"),
        (lambda t: 1 - seen(moves(t)), "does not see"),
        (lambda t: 100 * seen(moves(t)), "a percentage"),
        (
            lambda t: (lambda s: s[:2].sum() / s.sum())(np.linalg.svd(moves(t), compute_uv=False)),
            "squared lengths are their squares",
        ),
        (
            lambda t: (
                np.linalg.norm(moves(t) @ np.linalg.svd(moves(t))[2][:2].T, axis=1).sum()
                / np.linalg.norm(moves(t), axis=1).sum()
            ),
            "lengths were summed",
        ),
        (lambda t: round(seen(moves(t)), 2), "rounded to 2 digits"),
        (lambda t: round(seen(moves(t)), 3), "rounded to 3 digits"),
        (lambda t: seen(moves(t)) + 0.05, "not the right"),
    ],
)
def test_mistakes_with_the_share_seen(table, mistake, diagnosis):
    verdict = check_seen_share(mistake(table), table)
    assert told(verdict, "more than half of all movement", diagnosis), verdict


def margins(plane, of=("lane marking",)):
    score = plane.score.sel(pixel=np.isin(plane.cls, of)).astype(float)
    return (score.sel(axis="lane marking") - score.sel(axis="road")).values


def test_steps_across(plane):
    assert check_steps_across(np.diff(margins(plane).mean(axis=1)), plane, "lane marking")


@pytest.mark.parametrize(
    ("mistake", "diagnosis"),
    [
        (lambda p: ..., "still empty"),
        (lambda p: margins(p).mean(axis=1), "these are the four margins"),
        (lambda p: margins(p).mean(axis=1)[1:], "margins on the way"),
        (lambda p: margins(p).mean(axis=1)[1:] - margins(p).mean(axis=1)[0], "differences from the initial margin"),
        (lambda p: np.diff(margins(p, ("road", "lane marking")).mean(axis=1)), "pixels of both classes"),
        (lambda p: np.diff(margins(p, ("road",)).mean(axis=1)), "pixels of the other class"),
        (lambda p: -np.diff(margins(p).mean(axis=1)), "turned round"),
        (lambda p: np.diff(margins(p).sum(axis=1)), "summed over pixels"),
        (lambda p: np.diff(margins(p).mean(axis=1)) / np.sqrt(2), "root of two"),
        (
            lambda p: np.diff(p.score.values[:, p.cls.values == "lane marking", 1].astype(float).mean(axis=1)),
            "the score of lane marking alone",
        ),
        (
            lambda p: np.diff(p.score.values[:, p.cls.values == "lane marking", 0].astype(float).mean(axis=1)),
            "this is the score of the other class",
        ),
        (lambda p: np.diff(margins(p).mean(axis=1)).round(1), "rounded to 1 digit"),
        (lambda p: np.ones(3), "not the right"),
        (lambda p: 3.0, "shape"),
    ],
)
def test_mistakes_with_the_steps_across(plane, mistake, diagnosis):
    verdict = check_steps_across(mistake(plane), plane, "lane marking")
    assert told(verdict, "only movement across", diagnosis), verdict


def apart(space):
    return np.linalg.norm(space[:, None] - space[None], axis=-1)


def nearest(space, k, first=1, distance=apart):
    return np.argsort(distance(space), axis=1)[:, first : first + k]


def kept(points, places, k, *, shares=np.mean, over=None, **options):
    pairs = zip(nearest(points, k, **options), nearest(places, k, **options), strict=True)
    return shares([len(set(one) & set(other)) / (over or k) for one, other in pairs])


def kept_of_tree(points, places, k):
    """Another right way: a tree, whose first neighbour of a point is the point."""
    near, near_in_picture = (cKDTree(space).query(space, k + 1)[1][:, 1:] for space in (points, places))
    return sum(len(set(one) & set(other)) for one, other in zip(near, near_in_picture)) / (len(points) * k)


def kept_of_squares(points, places, k):
    """And squared distances, with no point at no distance from itself."""
    near = [
        np.argpartition(apart(space) ** 2 + np.diag(np.full(len(space), np.inf)), k)[:, :k]
        for space in (points, places)
    ]
    return np.mean([np.isin(one, other).mean() for one, other in zip(*near)])


@pytest.mark.parametrize("solution", [kept, kept_of_tree, kept_of_squares])
def test_kept_neighbors(solution):
    assert check_kept_neighbors(solution)


def sums(space):
    return np.abs(space[:, None] - space[None]).sum(-1)


def turned(space):
    unit = space / np.linalg.norm(space, axis=1, keepdims=True)
    return 1 - unit @ unit.T


def turned_in_features(points, places, k):
    pairs = zip(nearest(points, k, distance=turned), nearest(places, k), strict=True)
    return np.mean([len(set(one) & set(other)) / k for one, other in pairs])


def down_the_columns(points, places, k, *, rows):
    orders = (np.argsort(apart(space), axis=0) for space in (points, places))
    pairs = zip(*(order[1 : k + 1] if rows else order[:, 1 : k + 1] for order in orders), strict=True)
    return np.mean([len(set(one) & set(other)) / k for one, other in pairs])


def broken(points, places, k):
    return undefined_name  # noqa: F821


@pytest.mark.parametrize(
    ("mistake", "diagnosis"),
    [
        (..., "still empty"),
        (0.4, "cannot be called"),
        (lambda points, places, k: None, "still empty"),
        (broken, "raised NameError"),
        (lambda points, places, k: kept(points, places, k, first=0), "its own nearest neighbour"),
        (lambda points, places, k: kept(points, places, k + 1, first=0), "beside the k others"),
        (lambda points, places, k: kept(points, places, k - 1), "one neighbour fewer"),
        (lambda points, places, k: kept(points, places, k - 1, over=k), "divided by k, but one neighbour fewer"),
        (lambda points, places, k: kept(points, places, k, over=1), "a number of neighbours"),
        (lambda points, places, k: 1 - kept(points, places, k), "share that is lost"),
        (lambda points, places, k: kept(points, places, k, shares=np.array), "a share for every point"),
        (lambda points, places, k: kept(-1 / (1 + points), places, k), "not the right"),
        (lambda points, places, k: kept(points, places, k, first=len(points) - k), "farthest points"),
        (lambda points, places, k: kept(points, places, k, distance=sums), "sums of absolute differences"),
        (
            lambda points, places, k: kept(points, places, k, distance=turned),
            "neighbours are those of the largest cosine",
        ),
        (turned_in_features, "neighbours in the feature space are those of the largest cosine"),
        (lambda points, places, k: kept(places, places, k), "from the same space"),
        (lambda points, places, k: kept(points, points, k), "from the same space"),
        (lambda *given: down_the_columns(*given, rows=False), "ranked down the columns and then read along the rows"),
        (lambda *given: down_the_columns(*given, rows=True), "stand in its column"),
    ],
)
def test_mistakes_with_kept_neighbors(mistake, diagnosis):
    verdict = check_kept_neighbors(mistake)
    assert told(verdict, "keeps few neighbours", diagnosis), verdict
