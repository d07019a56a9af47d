"""The checks of notebook 01: right answers, blanks, and the diagnoses of typical mistakes."""

import re
from functools import cache

import numpy as np
import pytest
from noise import noise_sample, trained_looking

from offseg_viz.course.checks.per_pixel import check_nearest_by_cosine, check_pixel_scores, check_shifted_rows
from offseg_viz.extract.extract import extract

Y, X = 3, 7
VECTOR = 0.1 * np.random.default_rng(3).normal(size=64)


@cache
def image():
    return extract(trained_looking("nano"), noise_sample())


def matrices():
    """E as a grid (y, x, C), W (K, C) and b (K,)."""
    record = image()
    return record.feature.values, record.class_embedding.values, record.logit_bias.values


def unit(vectors, axis=-1):
    return vectors / np.linalg.norm(vectors, axis=axis, keepdims=True)


def nearest():
    """The right answer for the image, whatever is asked."""
    grid, w, _ = matrices()
    return (grid.reshape(-1, 64) @ unit(w).T).argmax(1)


def refused(verdict, diagnosis, *secrets):
    """It is told why, and neither the praise nor the answer with it."""
    assert not verdict and re.search(diagnosis, verdict.text), verdict.text
    assert not any(secret in verdict.text for secret in ("one inner product a class", "no winner changes", "% of the"))
    assert not any(secret in verdict.text for secret in secrets)


def test_the_scores_of_a_pixel():
    grid, w, _ = matrices()
    for answer in (w @ grid[Y, X], (grid[Y, X] @ w.T).tolist(), image().class_embedding @ image().feature[Y, X]):
        verdict = check_pixel_scores(answer, image(), y=Y, x=X)
        assert verdict and "no other pixel's feature" in verdict.text


@pytest.mark.parametrize(
    ("answer", "diagnosis"),
    [
        (lambda e, w, b: ..., "still empty"),
        (lambda e, w, b: w @ e[Y, X] + b, "these are logits"),
        (lambda e, w, b: unit(w) @ unit(e[Y, X]), "these are cosines"),
        (lambda e, w, b: np.exp(w @ e[Y, X]) / np.exp(w @ e[Y, X]).sum(), "softmax comes after"),
        (lambda e, w, b: np.exp(w @ e[Y, X] + b) / np.exp(w @ e[Y, X] + b).sum(), "softmax and bias come after"),
        (lambda e, w, b: w @ e[X, Y], "row and column are exchanged"),
        (lambda e, w, b: w * e[Y, X], r"found shape \(5, 64\).*sum over the channels"),
        (lambda e, w, b: (w * e[Y, X]).mean(1), "did not sum over channels"),
        (lambda e, w, b: (w @ e[Y, X]).max(), r"has shape \(\), needed \(5,\)"),
        (
            lambda e, w, b: w @ e.reshape(-1, 64)[Y * 64 + X],
            "a row of the grid has 32 cells; 64 is the number of channels",
        ),
        (lambda e, w, b: w @ e.reshape(-1, 64)[Y * e.shape[0] + X], "a row of the grid has 32 cells, not 24"),
        (lambda e, w, b: w @ e.reshape(-1, 64)[X * e.shape[0] + Y], "runs along the rows, not down"),
        (lambda e, w, b: w @ e[Y, X + 1], "not the right values"),
    ],
)
def test_wrong_scores_of_a_pixel(answer, diagnosis):
    grid, w, _ = matrices()
    refused(check_pixel_scores(answer(*matrices()), image(), y=Y, x=X), diagnosis, str((w @ grid[Y, X]).max())[:5])


def test_the_same_vector_for_every_class():
    grid, _, _ = matrices()
    for changed in (0, 0.0, np.int64(0)):
        verdict = check_shifted_rows(grid @ VECTOR, changed, image(), vector=VECTOR)
        assert verdict and "only differences between rows count" in verdict.text


@pytest.mark.parametrize(
    ("change", "diagnosis"),
    [
        (lambda e, w: ..., "score_change is still empty"),
        (lambda e, w: -(e @ VECTOR), "wrong sign"),
        (lambda e, w: e @ (w + VECTOR).T - e @ w.T, "shape"),
        (lambda e, w: (e @ (w + VECTOR).T - e @ w.T).transpose(2, 0, 1), "needed that of one class"),
        (lambda e, w: e @ (w[1] + VECTOR), "new score of road itself"),
        (lambda e, w: e @ w[4], "score of pole as it was before"),
        (lambda e, w: np.full(e.shape[:2], (e @ VECTOR).mean()), "mean over all pixels"),
        (lambda e, w: e @ VECTOR / 5, "divided by the number of classes"),
        (lambda e, w: (e @ VECTOR).T, "it is transposed"),
    ],
)
def test_wrong_changes_of_a_score(change, diagnosis):
    grid, w, _ = matrices()
    diagnosis = "needed that of one class" if diagnosis == "shape" else diagnosis
    refused(check_shifted_rows(change(grid, w), 0, image(), vector=VECTOR), diagnosis)


@pytest.mark.parametrize(
    ("changed", "diagnosis"),
    [
        (lambda e, w, b: ..., "changed_pixels is still empty"),
        (lambda e, w, b: e.shape[0] * e.shape[1], "is all pixels: it counts those whose score changes"),
        (lambda e, w, b: e.shape[0] * e.shape[1] * len(w), "counts scores that change"),
        (lambda e, w, b: np.zeros(e.shape[:2], dtype=bool), "says which pixels change: count them"),
        (lambda e, w, b: (e @ VECTOR).ravel() != 0, "says which pixels change: count them"),
        (
            lambda e, w, b: (((e + VECTOR) @ w.T + b).argmax(-1) != (e @ w.T + b).argmax(-1)).sum(),
            "added to every feature",
        ),
        (lambda e, w, b: ((e @ w.T).argmax(-1) != (e @ w.T + b).argmax(-1)).sum(), "leaves the bias out"),
        (lambda e, w, b: 1.0, "needed their number"),
        (lambda e, w, b: 5, "not the right number"),
    ],
)
def test_wrong_numbers_of_changed_pixels(changed, diagnosis):
    grid, _, _ = matrices()
    refused(check_shifted_rows(grid @ VECTOR, changed(*matrices()), image(), vector=VECTOR), diagnosis)


def test_nearest_by_cosine():
    for function in (
        lambda e, w: (e @ unit(w).T).argmax(axis=1),
        lambda e, w: (unit(e) @ unit(w).T).argmax(axis=1).tolist(),
    ):
        verdict = check_nearest_by_cosine(function, image())
        assert verdict and "rows of W have different lengths" in verdict.text


@pytest.mark.parametrize(
    ("function", "diagnosis"),
    [
        (..., "needed the function itself"),
        (np.zeros(5), "needed the function itself"),
        (lambda e, w: ..., "still empty"),
        (lambda e, w: None, "still empty"),
        (lambda e, w: e @ w, "raises ValueError"),
        (lambda e, w: (e @ w.T).argmax(1), "lack the length of W"),
        (lambda e, w: (unit(e) @ w.T).argmax(1), "lack the length of W"),
        (lambda e, w: (e @ unit(w).T).argmin(1), "smallest cosine"),
        (lambda e, w: (unit(e) @ unit(w).T).max(1), "max gives the largest value, argmax where"),
        (lambda e, w: (e @ unit(w).T).max(1), "max gives the largest value, argmax where"),
        (lambda e, w: image().cls.values[(e @ unit(w).T).argmax(1)], "names of classes; needed their numbers"),
        (lambda e, w: [str(n) for n in image().cls.values[(e @ unit(w).T).argmax(1)]], "names of classes"),
        (lambda e, w: (e @ unit(w).T + matrices()[2]).argmax(1), "bias is added after the division"),
        (lambda e, w: (unit(e) @ unit(w).T + matrices()[2]).argmax(1), "bias is added to the cosines"),
        (lambda e, w: (e @ w.T + matrices()[2]).argmax(1), "bias is added to the inner products"),
        (lambda e, w: (e @ unit(w, axis=0).T).argmax(1), "axis 0.*here that of W"),
        (lambda e, w: (e @ unit(w - w.mean(0)).T).argmax(1), "the mean row was subtracted"),
        (lambda e, w: ((e[:, None] - w) ** 2).sum(-1).argmin(1), "the nearest by distance"),
        (lambda e, w: nearest(), "must use its two arguments"),
        (lambda e, w: (e @ unit(matrices()[1]).T).argmax(1), "must use its two arguments"),
        (lambda e, w: e @ w if len(e) < len(nearest()) else nearest(), "raises ValueError"),
        (lambda e, w: unit(e) @ unit(w).T, "one value a pixel and class"),
        (lambda e, w: (unit(e) @ unit(w).T).argmax(0), "arg max over pixels"),
        (lambda e, w: (e @ (w / (w**2).sum(1, keepdims=True)).T).argmax(1), "squared length"),
        (lambda e, w: np.zeros(len(e)), "every pixel gets class 0"),
        (lambda e, w: np.full(len(e), 2), "not the right values"),
    ],
)
def test_wrong_functions_of_the_nearest(function, diagnosis):
    refused(check_nearest_by_cosine(function, image()), diagnosis)


def test_lengths_along_the_wrong_axis():
    refused(
        check_nearest_by_cosine(
            lambda e, w: ((e / np.linalg.norm(e, axis=0).clip(1e-12)) @ unit(w, axis=0).T).argmax(1), image()
        ),
        "axis 0",
    )
