"""Intervals over images: against numpy's own percentiles, by their coverage, and where there is nothing to say."""

from itertools import islice

import numpy as np
import pytest

from offseg_viz.analyze.bootstrap import (
    bootstrap_interval,
    by_image,
    image_weights,
    percentile_interval,
    streamed_weights,
)
from offseg_viz.errors import RecordError
from offseg_viz.metrics import ratio_or_nan


def test_weights_are_draws_with_replacement():
    weights = image_weights(7, draws=500)
    assert weights.shape == (500, 7) and weights.dtype == np.float64
    np.testing.assert_array_equal(weights.sum(axis=1), 7)
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.2)
    assert weights.var() == pytest.approx(6 / 7, rel=0.1), "that of a multinomial"
    np.testing.assert_array_equal(weights, image_weights(7, draws=500))
    assert (weights != image_weights(7, draws=500, seed=1)).any()


def test_streamed_weights_are_poisson_and_the_same_again():
    weights = np.stack(list(islice(streamed_weights(draws=400), 30)))
    assert weights.shape == (30, 400)
    assert weights.mean() == pytest.approx(1, rel=0.05) and weights.var() == pytest.approx(1, rel=0.1)
    np.testing.assert_array_equal(weights[:5], np.stack(list(islice(streamed_weights(draws=400), 5))))
    assert (weights[0] != next(streamed_weights(draws=400, seed=1))).any()


def test_percentiles_are_those_of_numpy_without_the_nan():
    drawn = np.random.default_rng(0).normal(size=(83, 4, 5))
    drawn[::3, 1, 2] = np.nan
    drawn[1:, 0, 0] = np.nan
    for level in (0.95, 0.5):
        expected = np.nanpercentile(drawn, [50 * (1 - level), 50 * (1 + level)], axis=0)
        np.testing.assert_allclose(percentile_interval(drawn, level=level), expected, rtol=1e-12)


@pytest.mark.filterwarnings("error")
def test_an_interval_of_nothing_is_nan():
    drawn = np.array([[1.0, np.nan], [2.0, np.nan]])
    low, high = percentile_interval(drawn)
    assert np.isnan([low[1], high[1]]).all() and 1 < low[0] < high[0] < 2


def test_the_interval_is_that_of_plain_loops():
    """A ratio of sums, drawn image by image."""
    random = np.random.default_rng(3)
    sums, counts = random.normal(size=(6, 2)), random.integers(1, 9, (6, 2))
    value, low, high = bootstrap_interval(ratio_or_nan, sums, counts, draws=50, seed=4)
    drawn = []
    for weights in image_weights(6, draws=50, seed=4):
        images = [i for i in range(6) for _ in range(int(weights[i]))]
        drawn.append([sum(sums[i, g] for i in images) / sum(counts[i, g] for i in images) for g in range(2)])
    np.testing.assert_allclose(value, sums.sum(axis=0) / counts.sum(axis=0))
    np.testing.assert_allclose([low, high], np.percentile(drawn, [2.5, 97.5], axis=0))


def test_it_covers_the_truth_about_as_often_as_it_says():
    random, covered = np.random.default_rng(0), 0
    for _ in range(200):
        values = random.normal(5, 2, size=40)
        _, low, high = bootstrap_interval(ratio_or_nan, values, np.ones(40), draws=200)
        covered += low <= 5 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_drawing_pixels_would_be_far_too_narrow():
    """Ten images of a hundred equal pixels know ten values, not a thousand."""
    values = np.random.default_rng(1).normal(size=10)
    _, low, high = bootstrap_interval(ratio_or_nan, 100 * values, np.full(10, 100))
    expected = 2 * 1.96 * values.std() / np.sqrt(10)
    assert high - low == pytest.approx(expected, rel=0.2)


def test_draws_in_which_a_figure_is_undefined_are_left_out():
    sums, counts = np.array([[1.0], [0.0], [3.0], [0.0]]), np.array([[1], [0], [1], [0]])
    value, low, high = bootstrap_interval(ratio_or_nan, sums, counts)
    assert value == 2 and low == 1 and high == 3
    nothing = bootstrap_interval(ratio_or_nan, sums * 0, counts * 0)
    assert np.isnan(nothing).all()


def test_one_image_says_nothing_of_others():
    value, low, high = bootstrap_interval(ratio_or_nan, np.array([[4.0]]), np.array([[2]]))
    assert value == 2 and np.isnan(low) and np.isnan(high)


def test_a_constant_has_an_interval_of_no_width():
    _, low, high = bootstrap_interval(ratio_or_nan, np.full(5, 3.0), np.full(5, 2.0))
    assert low == high == 1.5


def test_inputs_stay_as_they_were():
    sums, counts = np.arange(6.0), np.ones(6)
    bootstrap_interval(ratio_or_nan, sums, counts)
    np.testing.assert_array_equal(sums, np.arange(6))
    drawn = np.array([3.0, 1.0, 2.0])
    percentile_interval(drawn)
    np.testing.assert_array_equal(drawn, [3, 1, 2])


def test_refusals():
    for wrong in ({"images": 0}, {"images": 3, "draws": 0}):
        with pytest.raises(RecordError, match="needed one or more of each"):
            image_weights(**wrong)


def test_windows_of_an_image_are_added_up():
    names = ["b@0-0", "b@0-64", "a", "c@64-0", "b@64-0", "c@0-0"]
    counts, sums = np.arange(6, dtype=np.int32), np.arange(24.0).reshape(6, 2, 2)
    images, counted, added = by_image(names, counts, sums)
    assert images == ["b", "a", "c"] and counted.dtype == np.int32
    np.testing.assert_array_equal(counted, [0 + 1 + 4, 2, 3 + 5])
    np.testing.assert_array_equal(added, [sums[0] + sums[1] + sums[4], sums[2], sums[3] + sums[5]])
    same, unchanged = by_image(["x", "y"], sums[:2])
    assert same == ["x", "y"]
    np.testing.assert_array_equal(unchanged, sums[:2])
