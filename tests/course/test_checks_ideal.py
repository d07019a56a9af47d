"""The checks of notebook 02: right answers, blanks, and the diagnoses of typical mistakes."""

import re
from functools import cache

import numpy as np
import pytest
from noise import noise_sample, trained_looking

from offseg_viz.analyze.ideal import ideal_class_embedding
from offseg_viz.course.checks.ideal import check_absent_class, check_normal_equations, check_own_and_other
from offseg_viz.extract.extract import extract

ABSENT = "tree"
CUTOFF = 1e-12


@cache
def image():
    """A record without the class `tree`, in part ignored, with features of less than full rank."""
    record = extract(trained_looking("nano-offset"), noise_sample())
    feature = record.feature.copy()
    feature[..., 10] = 0.0
    feature[..., 11] = feature[..., 12] = 1e-2 * feature[..., 13] + 3e-3 * feature[..., 12]
    label = record.label.where(record.label != 2, 1).astype("uint8")
    return record.assign(feature=feature, label=label)


@cache
def matrices():
    """E (P, C) and M (K, P) of the labelled pixels."""
    label = image().label.values.ravel()
    feature = image().feature.values.reshape(label.size, -1).astype(float)
    one_hot = (label == np.arange(5)[:, None]).astype(float)
    return feature[label != 255], one_hot[:, label != 255]


def solved(e, m, cutoff=CUTOFF, ridge=0.0):
    return m @ e @ np.linalg.pinv(e.T @ e + ridge * np.eye(e.shape[1]), rcond=cutoff, hermitian=True)


def with_holes(rows, m):
    """NaN in the rows of classes that are absent, as 0 / 0 gives."""
    return np.where(m.any(axis=1)[:, None], rows, np.nan)


def refused(verdict, diagnosis):
    """It is told why, and the praise not with it."""
    assert not verdict and re.search(diagnosis, verdict.text), verdict.text
    assert not any(praise in verdict.text for praise in ("the same as M", "a row of zeros", "more alike than"))


def test_normal_equations():
    e, m = matrices()
    for answer in (solved(e, m), m @ np.linalg.pinv(e.T, rcond=1e-6), np.linalg.lstsq(e, m.T, rcond=1e-6)[0].T):
        verdict = check_normal_equations(answer, image())
        assert verdict and "of 64 directions" in verdict.text and "in 64 of" not in verdict.text


@pytest.mark.parametrize(
    ("answer", "diagnosis"),
    [
        (lambda e, m: ..., "still empty"),
        (lambda e, m: solved(e, m).T, r"\(64, 5\), needed \(5, 64\): it is transposed"),
        (lambda e, m: m @ e, "the inverse of E.T E is missing"),
        (lambda e, m: m @ e / m.sum(1, keepdims=True).clip(1), "means of the features of each class"),
        (lambda e, m: with_holes(m @ e / m.sum(1, keepdims=True).clip(1), m), "means of the features of each class"),
        (lambda e, m: m @ e @ (e.T @ e), "where its inverse is needed"),
        (lambda e, m: ideal_class_embedding(image()).values, "rows of absent classes are NaN"),
        (lambda e, m: solved(e, m) @ e.T, "these are scores"),
        (lambda e, m: solved(e, m, cutoff=1e-3), "squares of the singular values"),
        (lambda e, m: solved(e, m, ridge=1.0), "added to the diagonal"),
        (lambda e, m: 2 * solved(e, m), "constant factor"),
        (lambda e, m: solved(e, m) + 1, "not the right values"),
    ],
)
def test_wrong_normal_equations(answer, diagnosis):
    refused(check_normal_equations(answer(*matrices()), image()), diagnosis)


def scores():
    e, m = matrices()
    return solved(e, m) @ e.T


def learned():
    return image().class_embedding.values @ matrices()[0].T


def test_a_class_that_is_absent():
    largest = scores().max(0).mean()
    for winner in (largest, np.float32(largest), round(float(largest), 3)):
        verdict = check_absent_class(np.zeros(64), 0, winner, image(), cls=ABSENT)
        assert verdict and "0 wins" in verdict.text


def learned_wins():
    return int((learned().argmax(0) == 2).sum())


@pytest.mark.parametrize(
    ("row", "wins", "diagnosis"),
    [
        (lambda: ..., 0, "row is still empty"),
        (lambda: np.zeros(64), ..., "wins is still empty"),
        (lambda: np.full(64, np.nan), 0, "row is the NaN of the package"),
        (lambda: solved(*matrices()), 0, "this is all of W"),
        (lambda: image().class_embedding.sel(cls=ABSENT), 0, "the learned class embedding"),
        (lambda: solved(*matrices())[1], 0, "that of road, which does occur"),
        (lambda: np.ones(64), 0, "row has the right shape but not the right values"),
        (lambda: np.zeros(64), learned_wins, "by the learned scores"),
        (lambda: np.zeros(64), lambda: matrices()[1].shape[1], "does not win|first NaN|score is zero"),
        (lambda: np.zeros(64), 17, "wins is not the right number"),
    ],
)
def test_wrong_answers_about_an_absent_class(row, wins, diagnosis):
    assert 0 < learned_wins() < matrices()[1].shape[1]
    wins = wins() if callable(wins) else wins
    refused(check_absent_class(row(), wins, scores().max(0).mean(), image(), cls=ABSENT), diagnosis)


@pytest.mark.parametrize(
    ("winner", "diagnosis"),
    [
        (lambda: ..., "winner is still empty"),
        (lambda: learned().max(0).mean(), "by the learned scores"),
        (lambda: scores().max(), "the largest score of all pixels"),
        (lambda: scores().max(1).mean(), "the mean over the classes"),
        (lambda: scores().mean(), "the mean of all scores"),
        (lambda: scores()[matrices()[1] > 0].mean(), "score of the class in the label"),
        (lambda: scores().max(0).sum(), "a sum over the pixels"),
        (lambda: np.median(scores().max(0)), "the median"),
        (lambda: scores().max(0), "needed a single number"),
        (lambda: 0.0, "winner is not the right number"),
    ],
)
def test_wrong_scores_of_the_winner(winner, diagnosis):
    verdict = check_absent_class(np.zeros(64), 0, winner(), image(), cls=ABSENT)
    refused(verdict, diagnosis)
    assert f"{scores().max(0).mean():.2f}" not in verdict.text


def test_a_class_that_occurs_is_refused():
    refused(check_absent_class(np.zeros(64), 0, 0.5, image(), cls="road"), "road does occur")


def stack(seed=0):
    """Vectors (images, K, C), a common part in each class, two classes missing in some image."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(1, 5, 64)) + 1.5 * random.normal(size=(4, 5, 64)) * np.arange(1, 5)[:, None, None]
    vectors[1, 2] = vectors[3, 0] = np.nan
    return vectors


def own_and_other(vectors, *, cosine=True, own_itself=False, other_itself=False, all_classes=False, inside=False):
    """In plain loops."""
    if cosine:
        vectors = vectors / np.linalg.norm(vectors, axis=2, keepdims=True)
    own, other = [], []
    for i, first in enumerate(vectors):
        for j, second in enumerate(vectors):
            for k, one in enumerate(first):
                for n, two in enumerate(second):
                    if k == n and (i != j or own_itself):
                        own.append(one @ two)
                    if (k != n or all_classes) and ((i == j) if inside else (i != j or other_itself)):
                        other.append(one @ two)
    return np.nanmean(own), np.nanmean(other)


def cosines_of(vectors, axis=2):
    """All cosines (images, images, K, K), and the masks of different images and of the same class."""
    with_length = vectors / np.sqrt((vectors**2).sum(axis=axis, keepdims=True))
    cosines = np.einsum("ikc,jlc->ijkl", with_length, with_length)
    first, second, one, two = np.indices(cosines.shape)
    return cosines, first != second, one == two


def by_pairs_of_images(vectors, axes=(2, 3)):
    cosines, different, same = cosines_of(vectors)
    return tuple(
        np.nanmean(np.nanmean(np.where(different & kept, cosines, np.nan), axis=axes)) for kept in (same, ~same)
    )


def absent_as_zero(vectors):
    cosines, different, same = cosines_of(vectors)
    return tuple(np.nan_to_num(cosines)[different & kept].mean() for kept in (same, ~same))


def other_lengths(axis):
    def function(vectors):
        cosines, different, same = cosines_of(vectors, axis)
        return tuple(np.nanmean(cosines[different & kept]) for kept in (same, ~same))

    return function


def test_own_and_other_class():
    verdict = check_own_and_other(own_and_other, stack())
    assert verdict and "more alike than those of two classes" in verdict.text
    assert check_own_and_other(lambda s: np.array(own_and_other(s)), stack())


def other_way(**options):
    return lambda vectors: own_and_other(vectors, **options)


@pytest.mark.parametrize(
    ("function", "diagnosis"),
    [
        (..., "needed the function itself"),
        ((0.2, 0.0), "needed the function itself"),
        (lambda s: ..., "still empty"),
        (lambda s: None, "still empty"),
        (lambda s: s[:, 99], "raises IndexError"),
        (lambda s: 0.2, "needed two numbers"),
        (lambda s: s.mean(axis=(0, 1)), "needed two numbers"),
        (lambda s: (np.nan, np.nan), "leave out classes"),
        (lambda s: own_and_other(s)[::-1], "exchanged"),
        (other_way(own_itself=True), "own holds the pairs of an image with itself"),
        (other_way(own_itself=True, other_itself=True), "own and other hold the pairs"),
        (other_way(other_itself=True), "other holds the pairs of an image with itself"),
        (other_way(all_classes=True), "other holds the own class"),
        (other_way(cosine=False), "means of inner products"),
        (other_way(inside=True), "within one image"),
        (lambda s: (0.9, 0.8), "not the right values"),
        (by_pairs_of_images, "every pair of images counts the same"),
        (lambda s: by_pairs_of_images(s, axes=(0, 1)), "every class counts the same"),
        (lambda s: (by_pairs_of_images(s)[0], own_and_other(s)[1]), "own: every pair of images counts the same"),
        (absent_as_zero, "absent classes count here"),
        (other_lengths((1, 2)), "along another axis.* .classes and channels"),
        (other_lengths(1), "along another axis.* .classes."),
        (lambda s: tuple(cosines_of(s)[0].mean() for _ in "ab"), "leave out classes"),
        (lambda s: own_and_other(stack()), "must use its argument"),
        (lambda s: own_and_other(s) if len(s) == 4 else s[99], "raises IndexError"),
    ],
)
@pytest.mark.filterwarnings("ignore:Mean of empty slice")
def test_wrong_functions_of_own_and_other(function, diagnosis):
    refused(check_own_and_other(function, stack()), diagnosis)


def test_the_stack_of_the_student_is_left_as_it_is():
    mine = stack()

    def function(vectors):
        found = own_and_other(vectors)
        vectors[:] = 0
        return found

    assert check_own_and_other(function, mine) and np.nanmax(np.abs(mine)) > 0
