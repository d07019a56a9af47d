"""Notebook 08: solutions pass, blanks are empty, typical mistakes get their own diagnosis and learn nothing else."""

import re

import numpy as np
import pytest

from offseg_viz.course.checks import training
from offseg_viz.course.checks.training import check_gain_interval, check_learning_rate_factor, check_mean_iou
from offseg_viz.metrics import segmentation_metrics
from offseg_viz.pipeline.recipes import find_recipe
from offseg_viz.pipeline.schedule import schedule

CHECKS = (check_learning_rate_factor, check_mean_iou, check_gain_interval)


def factor(step, steps, warmup, power):
    if step < warmup:
        return step / (warmup - 1)
    return (1 - (step - warmup) / (steps - 1 - warmup)) ** power


def mean_iou(confusion):
    right = np.diag(confusion)
    union = confusion.sum(0) + confusion.sum(1) - right
    return (right[union > 0] / union[union > 0]).mean()


def gains(first, second, weights):
    pooled = (np.tensordot(weights, one, 1) for one in (first, second))
    before, after = ([mean_iou(confusion) for confusion in one] for one in pooled)
    return 100 * np.subtract(after, before)


def gain_interval(first, second, weights):
    return np.percentile(gains(first, second, weights), (2.5, 97.5))


def by_image(first, second, weights):
    apart = np.array([mean_iou(b) - mean_iou(a) for a, b in zip(first, second)])
    return np.percentile(100 * weights @ apart / len(first), (2.5, 97.5))


def unpaired(first, second, weights):
    one, other = (np.tensordot(w, c, 1) for w, c in ((weights, first), (np.roll(weights, 1, axis=0), second)))
    return np.percentile([100 * (mean_iou(b) - mean_iou(a)) for a, b in zip(one, other)], (2.5, 97.5))


SOLUTIONS = dict(zip(CHECKS, (factor, mean_iou, gain_interval)))
MISTAKES = [
    (check_learning_rate_factor, lambda s, n, w, p: 1.0 if s < w else factor(s, n, w, p), "no warm-up"),
    (check_learning_rate_factor, lambda s, n, w, p: (1 - s / (n - 1)) ** p, "no warm-up, and the decay"),
    (
        check_learning_rate_factor,
        lambda s, n, w, p: factor(s, n, w, p) if s < w else (1 - s / (n - 1)) ** p,
        "counted from step 0, so that the rate jumps",
    ),
    (check_learning_rate_factor, lambda s, n, w, p: factor(s, n, w, 1.0), "power is not used"),
    (check_learning_rate_factor, lambda s, n, w, p: factor(min(s, w), n, w, p), "never falls"),
    (check_learning_rate_factor, lambda s, n, w, p: factor(s, n, w, p) ** (p if s < w else 1), "rises by the power"),
    (check_learning_rate_factor, lambda s, n, w, p: s / w if s < w else factor(s, n, w, p), "off by one step"),
    (
        check_learning_rate_factor,
        lambda s, n, w, p: factor(s, n, w, p) if s < w else (1 - (s - w) / (n - w)) ** p,
        "off by one step",
    ),
    (check_learning_rate_factor, lambda s, n, w, p: 0.002 * factor(s, n, w, p), "constant factor"),
    (check_mean_iou, lambda c: segmentation_metrics(c)["macc"], "mAcc"),
    (check_mean_iou, lambda c: segmentation_metrics(c.T)["macc"], "precision"),
    (check_mean_iou, lambda c: segmentation_metrics(c)["aacc"], "aAcc"),
    (check_mean_iou, lambda c: np.nan_to_num(segmentation_metrics(c)["iou"]).mean(), "counted as zero"),
    (check_mean_iou, lambda c: segmentation_metrics(c)["iou"].mean(), "divided by zero"),
    (check_mean_iou, lambda c: segmentation_metrics(c + np.diag(np.diag(c)))["miou"], "F score"),
    (check_mean_iou, lambda c: np.nansum(segmentation_metrics(c)["iou"] * c.sum(1)) / c.sum(), "weighted by how freq"),
    (check_mean_iou, lambda c: 100 * mean_iou(c), "constant factor"),
    (check_mean_iou, lambda c: segmentation_metrics(c)["iou"], r"shape|needed"),
    (check_gain_interval, lambda a, b, w: gain_interval(b, a, w), "first network over the second"),
    (check_gain_interval, lambda a, b, w: gain_interval(a, b, w) / 100, "fractions"),
    (check_gain_interval, lambda a, b, w: gain_interval(a, b, w)[::-1], "wrong way round"),
    (check_gain_interval, lambda a, b, w: np.percentile(gains(a, b, w), (5, 95)), "90 %"),
    (check_gain_interval, lambda a, b, w: (gains(a, b, w).min(), gains(a, b, w).max()), "hold all of them"),
    (check_gain_interval, lambda a, b, w: gains(a, b, w).mean(), "needed two numbers"),
    (check_gain_interval, lambda a, b, w: gain_interval(a, b, w[:1]), "weights are not used"),
    (check_gain_interval, by_image, "averaged: add up"),
    (check_gain_interval, unpaired, "different draws"),
]


@pytest.mark.parametrize(("check", "solution"), SOLUTIONS.items(), ids=lambda item: item.__name__)
def test_the_solution_passes(check, solution):
    assert check(solution), check(solution)


@pytest.mark.parametrize("check", CHECKS)
def test_a_blank_is_empty(check):
    for blank in (..., None, lambda *_: ..., lambda *_: None):
        assert not check(blank) and "still empty" in check(blank).text


@pytest.mark.parametrize("check", CHECKS)
def test_what_is_no_function_or_raises_is_told(check):
    assert "needed the function" in check(3.0).text
    assert "raised ZeroDivisionError" in check(lambda *_: 1 / 0).text


@pytest.mark.parametrize(("check", "mistake", "diagnosis"), MISTAKES)
def test_a_mistake_gets_its_diagnosis(check, mistake, diagnosis):
    found = check(mistake)
    assert not found
    assert re.search(diagnosis, found.text), found.text
    assert check(SOLUTIONS[check]).text not in found.text


def test_the_solutions_are_what_the_package_does():
    recipe = find_recipe("nano", "scenes", steps=training.STEPS, warmup_steps=training.WARMUP, power=training.POWER)
    steps = range(training.STEPS)
    numbers = training.STEPS, training.WARMUP, training.POWER
    np.testing.assert_allclose([factor(s, *numbers) for s in steps], [schedule(s, recipe) for s in steps], atol=2e-6)
    confusion = np.random.default_rng(0).integers(0, 9, (7, 7))
    assert mean_iou(confusion) == pytest.approx(segmentation_metrics(confusion)["miou"])
