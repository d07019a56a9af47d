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


def of_classes(counted):
    """A mean IoU over the classes for which a number of pixels, of the matrix, is above zero."""

    def mean_iou_of(confusion):
        right, kept = np.diag(confusion), counted(confusion) > 0
        return (right / np.maximum(confusion.sum(0) + confusion.sum(1) - right, 1))[kept].mean()

    return mean_iou_of


def of_all_pixels(confusion):
    right = np.trace(confusion)
    return right / (2 * confusion.sum() - right)


def of_300_steps(step, steps, warmup, power):
    return step / 29 if step < 30 else max(1 - (step - 30) / 269, 0) ** 0.9


def warm_for_longer(step, steps, warmup, power):
    return step / (warmup - 1) if step <= warmup else factor(step, steps, warmup, power)


def decay(step, steps, warmup, power, of):
    return of((step - warmup) / (steps - 1 - warmup)) if step >= warmup else factor(step, steps, warmup, power)


def spread(first, second, weights):
    gain = gains(first, second, weights)
    return gain.mean() - 1.96 * gain.std(), gain.mean() + 1.96 * gain.std()


def sorted_draws(low, high):
    """An interval from one draw to another, of the sorted draws."""
    return lambda first, second, weights: np.sort(gains(first, second, weights))[[low, high]]


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
    (check_learning_rate_factor, warm_for_longer, "step `warmup` still has the warm-up"),
    (check_learning_rate_factor, lambda *now: decay(*now, of=lambda d: d ** now[3]), "what is done of the decay, not"),
    (check_learning_rate_factor, lambda *now: decay(*now, of=lambda d: 1 - d ** now[3]), "subtract first"),
    (
        check_learning_rate_factor,
        lambda s, n, w, p: factor(s, n, w, p) if s < w else (1 - s / n) ** p,
        "counted from step 0, so that the rate jumps down .* nor does it reach 0",
    ),
    (check_learning_rate_factor, lambda s, n, w, p: (1 - s / n) ** p, "no warm-up, and the decay .* nor does it"),
    (
        check_learning_rate_factor,
        lambda s, n, w, p: (1 - (s - w) / (n - 1 - w)) ** p,
        "no warm-up: the first steps have more",
    ),
    (check_learning_rate_factor, of_300_steps, "right for 300 steps, .* use the arguments"),
    (check_learning_rate_factor, lambda *now: round(factor(*now), 2), "rounded to 2 digits"),
    (check_mean_iou, of_classes(np.diag), "labelled but never predicted right has IoU 0, and counts"),
    (check_mean_iou, of_classes(lambda c: c.sum(1)), "predicted but nowhere labelled has IoU 0, and counts"),
    (check_mean_iou, of_classes(lambda c: c.sum(0)), "labelled but never predicted has IoU 0, and counts"),
    (check_mean_iou, of_all_pixels, "added up over the classes"),
    (check_mean_iou, lambda c: round(mean_iou(c), 3), "rounded to 3 digits"),
    (check_mean_iou, lambda c: segmentation_metrics(c)["macc"], "mAcc"),
    (check_mean_iou, lambda c: segmentation_metrics(c.T)["macc"], "precision"),
    (check_mean_iou, lambda c: segmentation_metrics(c)["aacc"], "aAcc"),
    (check_mean_iou, lambda c: np.nan_to_num(segmentation_metrics(c)["iou"]).mean(), "counted as zero"),
    (check_mean_iou, lambda c: segmentation_metrics(c)["iou"].mean(), "divided by zero"),
    (check_mean_iou, lambda c: segmentation_metrics(c + np.diag(np.diag(c)))["miou"], "F score"),
    (check_mean_iou, lambda c: np.nansum(segmentation_metrics(c)["iou"] * c.sum(1)) / c.sum(), "weighted by how freq"),
    (check_mean_iou, lambda c: 100 * mean_iou(c), "percentage"),
    (check_mean_iou, lambda c: segmentation_metrics(c)["iou"], r"shape|needed"),
    (check_gain_interval, lambda a, b, w: gain_interval(b, a, w), "first network over the second"),
    (check_gain_interval, lambda a, b, w: gain_interval(a, b, w) / 100, "fractions"),
    (check_gain_interval, lambda a, b, w: gain_interval(a, b, w)[::-1], "wrong way round"),
    (check_gain_interval, lambda a, b, w: np.percentile(gains(a, b, w), (5, 95)), "90 %"),
    (check_gain_interval, lambda a, b, w: (gains(a, b, w).min(), gains(a, b, w).max()), "hold all of them"),
    (check_gain_interval, lambda a, b, w: gains(a, b, w).mean(), "needed two numbers"),
    (check_gain_interval, lambda a, b, w: gain_interval(a, b, np.ones_like(w)), "weights are not used"),
    (check_gain_interval, sorted_draws(49, 950), "90 %"),
    (check_gain_interval, spread, "1.96 standard deviations"),
    (check_gain_interval, lambda a, b, w: np.round(gain_interval(a, b, w), 1), "rounded to 1 digit"),
    (check_gain_interval, lambda a, b, w: np.round(gain_interval(a, b, w), 2), "rounded to 2 digits"),
    (check_gain_interval, lambda a, b, w: (gain_interval(a, b, w)[0], np.nan), "no number"),
    (check_gain_interval, lambda a, b, w: ("low", "high"), "needed a number"),
    (check_gain_interval, lambda a, b, w: gain_interval(a, b, w) + 0.5, "not the right"),
    (check_gain_interval, by_image, "averaged: add up"),
    (check_gain_interval, unpaired, "different draws"),
]


@pytest.mark.parametrize(("check", "solution"), SOLUTIONS.items(), ids=lambda item: item.__name__)
def test_the_solution_passes(check, solution):
    assert check(solution), check(solution)


@pytest.mark.parametrize("method", ["linear", "nearest", "inverted_cdf", "lower", "higher", "hazen", "weibull"])
def test_every_way_to_take_a_quantile_is_right(method):
    def interval(first, second, weights):
        return np.percentile(gains(first, second, weights), (2.5, 97.5), method=method)

    assert check_gain_interval(interval), method


def test_and_so_are_draws_of_the_sorted_ones():
    draws = training.DRAWS
    for low, high in ((25, 975), (25, 974), (24, 974), (24, 975)):  # int(0.025 * 1000), int(0.975 * 1000) and one less
        assert check_gain_interval(sorted_draws(low, high)), (low, high)
    assert (draws, round(0.025 * draws), round(0.975 * draws)) == (1000, 25, 975)
    assert check_gain_interval(lambda *given: tuple(gain_interval(*given)))


def test_right_means_over_classes_with_pixels_in_the_union_however_they_are_written():
    assert check_mean_iou(lambda c: segmentation_metrics(c)["miou"])
    assert check_mean_iou(lambda c: np.nanmean(segmentation_metrics(c)["iou"]))
    assert check_mean_iou(of_classes(lambda c: c.sum(0) + c.sum(1)))


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
