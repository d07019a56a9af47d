"""Confusion matrix and metrics against plain loops, and their conventions on ignored and absent classes."""

import numpy as np
import pytest
import reference

from offseg_viz.errors import DataError
from offseg_viz.metrics import confusion_matrix, segmentation_metrics


@pytest.fixture
def maps():
    rng = np.random.default_rng(5)
    label, prediction = rng.integers(0, 4, (2, 6, 9)).astype(np.uint8)
    label[2, 3:] = 255
    return label, prediction


def test_confusion_equals_loops(maps):
    label, prediction = maps
    found = confusion_matrix(label, prediction, 4)
    assert found.dtype == np.int64
    assert found.tolist() == reference.confusion(label.ravel().tolist(), prediction.ravel().tolist(), 4)
    assert found.sum() == 6 * 9 - 6


def test_rows_are_labels():
    assert confusion_matrix([0, 0, 1], [1, 1, 1], 2).tolist() == [[0, 2], [0, 1]]


def test_uint8_does_not_overflow():
    """Label 100 of 150 is pair number 15100, far beyond uint8."""
    label = np.full((3, 4), 100, np.uint8)
    found = confusion_matrix(label, label, 150)
    assert found[100, 100] == 12 and found.sum() == 12


def test_metrics_equal_loops(maps):
    label, prediction = maps
    table = reference.confusion(label.ravel().tolist(), prediction.ravel().tolist(), 4)
    found = segmentation_metrics(confusion_matrix(label, prediction, 4))
    iou = [reference.iou(table, k) for k in range(4)]
    accuracy = [table[k][k] / sum(table[k]) for k in range(4)]
    np.testing.assert_allclose(found["iou"], iou)
    np.testing.assert_allclose(found["accuracy"], accuracy)
    assert found["miou"] == pytest.approx(sum(iou) / 4)
    assert found["macc"] == pytest.approx(sum(accuracy) / 4)
    assert found["aacc"] == pytest.approx(sum(table[k][k] for k in range(4)) / sum(map(sum, table)))


def test_absent_classes():
    """Class 2 is predicted but never labelled: IoU 0, accuracy NaN. Class 3 is neither: NaN, and out of the means."""
    found = segmentation_metrics(confusion_matrix([0, 0, 1, 1], [0, 2, 1, 1], 4))
    np.testing.assert_array_equal(found["iou"], [0.5, 1, 0, np.nan])
    np.testing.assert_array_equal(found["accuracy"], [0.5, 1, np.nan, np.nan])
    assert found["miou"] == 0.5 and found["macc"] == 0.75 and found["aacc"] == 0.75


@pytest.mark.filterwarnings("error")
def test_nothing_counted_is_nan_without_warning():
    found = segmentation_metrics(confusion_matrix([255, 255], [0, 1], 2))
    assert all(np.isnan(found[name]).all() for name in ("iou", "accuracy", "miou", "macc", "aacc"))


@pytest.mark.parametrize(
    ("label", "prediction", "words"),
    [
        ([0, 1], [0, 1, 1], "resize"),
        ([0, 3], [0, 1], "label values from 0 to 3"),
        ([0, 1], [0, 3], "prediction values from 0 to 3"),
        ([0, -1], [0, 1], "label values from -1"),
        ([0, 1], [0.2, 0.7], "arg max"),
    ],
)
def test_bad_input(label, prediction, words):
    with pytest.raises(DataError, match=words):
        confusion_matrix(label, prediction, 3)


def test_prediction_at_an_ignored_pixel_may_be_anything():
    assert confusion_matrix([0, 255], [0, 77], 2).sum() == 1
