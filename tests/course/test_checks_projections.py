"""The checks of notebook 07: solutions pass, blanks and typical mistakes are told what they are."""

import numpy as np
import pytest

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
        (lambda t: seen(moves(t)) + 0.05, "not the right values"),
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
        (lambda p: np.ones(3), "not the right values"),
        (lambda p: 3.0, "shape"),
    ],
)
def test_mistakes_with_the_steps_across(plane, mistake, diagnosis):
    verdict = check_steps_across(mistake(plane), plane, "lane marking")
    assert told(verdict, "only movement across", diagnosis), verdict


def nearest(space, k, first=1):
    distance = np.linalg.norm(space[:, None] - space[None], axis=-1)
    return np.argsort(distance, axis=1)[:, first : first + k]


def kept(points, places, k, *, shares=np.mean, over=None, **options):
    pairs = zip(nearest(points, k, **options), nearest(places, k, **options), strict=True)
    return shares([len(set(one) & set(other)) / (over or k) for one, other in pairs])


def test_kept_neighbors():
    assert check_kept_neighbors(kept)


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
        (lambda points, places, k: kept(-1 / (1 + points), places, k), "not the right values"),
        (lambda points, places, k: kept(points, places, k, first=len(points) - k), "farthest points"),
    ],
)
def test_mistakes_with_kept_neighbors(mistake, diagnosis):
    verdict = check_kept_neighbors(mistake)
    assert told(verdict, "keeps few neighbours", diagnosis), verdict
