"""Boundary IoU and the recall of small objects against plain loops written from their definitions."""

import math

import cv2
import numpy as np
import pytest
from PIL import Image
from shared_data import shared

from offseg_viz.errors import DataError
from offseg_viz.shape_metrics import boundary_counts, boundary_iou, small_object_counts, small_object_recall


def eroded(mask):
    """Pixels whose 3 x 3 neighbours are all in the mask, a set of (y, x); outside the image nothing is."""
    around = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    return {(y, x) for y, x in mask if all((y + dy, x + dx) in mask for dy, dx in around)}


def boundary(mask, distance):
    inner = mask
    for _ in range(distance):
        inner = eroded(inner)
    return mask - inner


def masks(label, prediction, k):
    """The pixels labelled and those predicted as a class, without the ignored ones."""
    pixels = [(y, x) for y in range(label.shape[0]) for x in range(label.shape[1]) if label[y, x] != 255]
    return {p for p in pixels if label[p] == k}, {p for p in pixels if prediction[p] == k}


def slow_boundary_counts(label, prediction, num_classes, ratio):
    distance = max(round(ratio * math.sqrt(label.shape[0] ** 2 + label.shape[1] ** 2)), 1)
    regions = [[boundary(mask, distance) for mask in masks(label, prediction, k)] for k in range(num_classes)]
    return [len(a & b) for a, b in regions], [len(a | b) for a, b in regions]


def components(mask):
    """Sets of pixels connected over sides and corners."""
    left, result = set(mask), []
    while left:
        found = waiting = {left.pop()}
        while waiting:
            near = {(y + dy, x + dx) for y, x in waiting for dy in (-1, 0, 1) for dx in (-1, 0, 1)}
            waiting = near & left
            left -= waiting
            found = found | waiting
        result.append(found)
    return result


def slow_small_object_counts(label, prediction, num_classes, area):
    found, objects = [0] * num_classes, [0] * num_classes
    for k in range(num_classes):
        labelled, predicted = masks(label, prediction, k)
        for component in components(labelled):
            if len(component) < area:
                objects[k] += 1
                found[k] += 2 * len(component & predicted) >= len(component)
    return found, objects


def maps(seed, size=(23, 31), classes=5, ignored=True):
    """Areas of a few pixels a side with single pixels among them, and a prediction that is half right."""
    rng = np.random.default_rng(seed)
    height, width = size
    block = rng.integers(3, 9)
    coarse = rng.integers(0, classes, (-(-height // block), -(-width // block)))
    label = np.kron(coarse, np.ones((block, block), int))[:height, :width].astype(np.uint8)
    prediction = np.roll(label, rng.integers(-2, 3, 2), axis=(0, 1)).astype(np.int64)
    for values in (label, prediction):
        spots = rng.random(size) < 0.03
        values[spots] = rng.integers(0, classes, spots.sum())
    if ignored:
        label[rng.random(size) < 0.02] = 255
        label[height // 2 :, : width // 4] = 255
    return label, prediction


def square(size, place, side, value=1):
    values = np.zeros(size, np.uint8)
    values[place[0] : place[0] + side, place[1] : place[1] + side] = value
    return values


# Boundaries


@pytest.mark.parametrize("ratio", [0.001, 0.02, 0.05, 0.1, 0.4, 3.0])
@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_boundary_counts_equal_loops(seed, ignored, ratio):
    label, prediction = maps(seed, ignored=ignored)
    found = boundary_counts(label, prediction, 6, ratio=ratio)
    expected = slow_boundary_counts(label, prediction, 6, ratio)
    assert [counts.tolist() for counts in found] == list(expected)
    assert all(counts.dtype == np.int64 for counts in found)
    assert found[1][5] == 0 < found[0].min(where=np.arange(6) < 5, initial=99)  # class 5 is nowhere


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (8, 1), (3, 3), (40, 5)])
def test_narrow_images_equal_loops(size):
    label, prediction = maps(4, size, classes=3)
    found = boundary_counts(label, prediction, 3, ratio=0.1)
    assert [counts.tolist() for counts in found] == list(slow_boundary_counts(label, prediction, 3, 0.1))


def test_a_square_by_hand():
    """Squares of 10 x 10 in an image with a diagonal of 50 pixels, one pixel apart; d = 1."""
    label, prediction = square((30, 40), (5, 5), 10), square((30, 40), (5, 6), 10)
    intersection, union = boundary_counts(label, prediction, 2)
    # Frames of 36 pixels; upper and lower edges share 9 pixels each, left and right ones meet the others' corners.
    assert (intersection[1], union[1]) == (18, 54)
    assert boundary_iou(intersection, union)["iou"][1] == pytest.approx(1 / 3)


def test_the_edge_of_the_image_is_a_contour():
    """As in the published procedure, by which a class that fills the image has a boundary too."""
    intersection, union = boundary_counts(np.zeros((30, 40), int), np.zeros((30, 40), int), 1)
    assert intersection.tolist() == union.tolist() == [2 * 30 + 2 * 40 - 4]


def test_the_border_of_an_ignored_area_is_a_contour():
    label = np.zeros((30, 40), np.uint8)
    label[10:20, 10:25] = 255
    intersection, union = boundary_counts(label, np.zeros((30, 40), int), 1)
    assert intersection.tolist() == union.tolist() == [2 * 30 + 2 * 40 - 4 + 2 * (12 + 17) - 4]


def test_prediction_at_ignored_pixels_does_not_matter():
    label, prediction = maps(1)
    other = prediction.copy()
    other[label == 255] = 3
    np.testing.assert_array_equal(boundary_counts(label, prediction, 5), boundary_counts(label, other, 5))
    other[label == 255] = 77  # no class at all
    np.testing.assert_array_equal(boundary_counts(label, prediction, 5), boundary_counts(label, other, 5))


def test_distance_is_rounded_and_one_pixel_at_least():
    label = np.zeros((30, 40), int)  # a diagonal of 50
    frame = lambda d: 30 * 40 - (30 - 2 * d) * (40 - 2 * d)  # noqa: E731
    for ratio, distance in [(0.0001, 1), (0.02, 1), (0.031, 2), (0.0495, 2), (0.0505, 3), (0.2, 10)]:
        assert boundary_counts(label, label, 1, ratio=ratio)[1].tolist() == [frame(distance)]


def test_an_object_thinner_than_the_distance_is_all_boundary():
    label, prediction = square((60, 80), (20, 20), 7), square((60, 80), (20, 22), 7)
    intersection, union = boundary_counts(label, prediction, 2, ratio=0.05)  # d = 5
    assert (intersection[1], union[1]) == (35, 63)  # as for plain IoU


def test_boundary_counts_are_symmetric_without_ignored_pixels():
    label, prediction = maps(2, ignored=False)
    swapped = boundary_counts(prediction, label, 5, ratio=0.05)
    np.testing.assert_array_equal(boundary_counts(label, prediction, 5, ratio=0.05), swapped)


def test_classes_do_not_disturb_each_other():
    """A class's numbers are those of its mask alone, among 150 or 255 classes as among two."""
    label, prediction = maps(3)
    spread = np.array([254, 0, 149, 17, 200])
    wide = np.where(label == 255, 255, spread[np.minimum(label, 4)]).astype(np.uint8)
    found = boundary_counts(wide, spread[prediction], 255)
    np.testing.assert_array_equal(np.array(found)[:, spread], boundary_counts(label, prediction, 5))
    assert found[1].sum() == found[1][spread].sum()
    alone = np.where(label == 255, 255, label == 2)
    np.testing.assert_array_equal(
        np.array(boundary_counts(alone, (prediction == 2).astype(int), 2))[:, 1],
        np.array(boundary_counts(label, prediction, 5))[:, 2],
    )


def test_a_real_label_map_class_by_class():
    """Mask by mask as published: a frame of zeros, d erosions by 3 x 3, what they take away."""
    names = sorted(shared("data/ade20k/ADEChallengeData2016/annotations/validation").glob("*.png"))[:3]
    for name in names:
        label = np.asarray(Image.open(name)) - np.uint8(1)  # 0, unlabelled, becomes 255
        prediction = np.roll(label, (3, 5), (0, 1))
        prediction[prediction == 255] = 7
        distance = round(0.02 * math.hypot(*label.shape))
        intersection, union = boundary_counts(label, prediction, 150)
        for k in range(150):
            regions = []
            for values in (label, prediction):
                mask = np.pad(((values == k) & (label != 255)).astype(np.uint8), 1)
                inner = cv2.erode(mask, np.ones((3, 3), np.uint8), iterations=distance)
                regions.append((mask - inner) > 0)
            assert intersection[k] == (regions[0] & regions[1]).sum()
            assert union[k] == (regions[0] | regions[1]).sum()
        assert (union > 0).sum() > 5


# Small objects


@pytest.mark.parametrize("area", [1, 2, 5, 20, 50, 1024])
@pytest.mark.parametrize("seed", range(4))
def test_small_object_counts_equal_loops(seed, area):
    label, prediction = maps(seed)
    found = small_object_counts(label, prediction, 6, area=area)
    assert [counts.tolist() for counts in found] == list(slow_small_object_counts(label, prediction, 6, area))
    assert all(counts.dtype == np.int64 for counts in found)
    assert area < 50 or 0 < found[0].sum() < found[1].sum()


def test_objects_below_the_area_are_small():
    """An object of 32 x 32 pixels is not, one with a pixel less is."""
    label = square((60, 80), (10, 10), 32)
    assert small_object_counts(label, label, 2)[1].tolist() == [0, 0]
    label[10, 10] = 0
    assert small_object_counts(label, label, 2)[1].tolist() == [0, 1]


def test_half_of_an_object_is_enough():
    label = square((20, 30), (5, 5), 4)
    for right, found in [(0, 0), (7, 0), (8, 1), (16, 1)]:
        prediction = np.zeros((20, 30), int)
        prediction[label == 1] = np.arange(16) < right
        assert small_object_counts(label, prediction, 2, area=100)[0].tolist() == [0, found]
    label[5, 5] = 0  # of 15 pixels 7 are less than half
    for right, found in [(7, 0), (8, 1)]:
        prediction = np.zeros((20, 30), int)
        prediction[label == 1] = np.arange(15) < right
        assert small_object_counts(label, prediction, 2, area=100)[0].tolist() == [0, found]


def test_one_pixel_objects():
    label = np.zeros((20, 30), np.uint8)
    label[[3, 3, 9], [3, 7, 29]] = 1
    prediction = np.zeros((20, 30), int)
    prediction[3, 7] = 1
    found, objects = small_object_counts(label, prediction, 2, area=2)
    assert (found.tolist(), objects.tolist()) == ([0, 1], [0, 3])
    assert small_object_counts(label, prediction, 2, area=1)[1].sum() == 0


def test_corners_connect_and_ignored_pixels_separate():
    label = np.zeros((20, 30), np.uint8)
    label[[3, 4, 5], [3, 4, 5]] = 1
    assert small_object_counts(label, label, 2)[1][1] == 1
    label[4, 4] = 255
    assert small_object_counts(label, np.zeros((20, 30), int), 2)[1][1] == 2


def test_wrongly_predicted_objects_are_none():
    label = np.zeros((20, 30), np.uint8)
    found, objects = small_object_counts(label, square((20, 30), (4, 4), 3), 2, area=100)
    assert found.sum() == objects.sum() == 0


# Both


def test_a_perfect_prediction():
    label, _ = maps(0)
    edges = boundary_iou(*boundary_counts(label, label, 6))
    np.testing.assert_array_equal(edges["iou"], [1, 1, 1, 1, 1, np.nan])
    assert edges["mean"] == 1
    small = small_object_recall(*small_object_counts(label, label, 6))
    assert small["total"] == 1 and np.isnan(small["recall"][5])


def test_nothing_but_ignored_pixels():
    label, prediction = np.full((9, 12), 255), np.zeros((9, 12), int)
    sums = *boundary_counts(label, prediction, 3), *small_object_counts(label, prediction, 3)
    assert [counts.tolist() for counts in sums] == [[0, 0, 0]] * 4
    edges, small = boundary_iou(*sums[:2]), small_object_recall(*sums[2:])
    for value in (edges["iou"], edges["mean"], small["recall"], small["total"]):
        assert np.isnan(value).all()


def test_a_class_that_is_predicted_but_not_labelled_has_no_overlap():
    label, prediction = np.zeros((9, 12), int), square((9, 12), (2, 2), 3)
    edges = boundary_iou(*boundary_counts(label, prediction, 3))
    assert edges["iou"][1] == 0 and np.isnan(edges["iou"][2])
    assert edges["mean"] == pytest.approx(edges["iou"][0] / 2)


def test_figures_come_from_sums_over_images():
    pairs = [maps(seed, size) for seed, size in enumerate([(23, 31), (40, 28), (17, 50)])]
    intersection, union = sum(np.array(boundary_counts(*pair, 5)) for pair in pairs)
    found, objects = sum(np.array(small_object_counts(*pair, 5, area=12)) for pair in pairs)
    slow = np.array([slow_boundary_counts(*pair, 5, 0.02) for pair in pairs]).sum(axis=0)
    few = np.array([slow_small_object_counts(*pair, 5, 12) for pair in pairs]).sum(axis=0)
    edges, small = boundary_iou(intersection, union), small_object_recall(found, objects)
    np.testing.assert_allclose(edges["iou"], slow[0] / slow[1])
    assert edges["mean"] == pytest.approx((slow[0] / slow[1]).mean())
    np.testing.assert_allclose(small["recall"], few[0] / few[1])
    assert small["total"] == pytest.approx(few[0].sum() / few[1].sum())


def test_nothing_given_is_changed():
    label, prediction = maps(5)
    copies = label.copy(), prediction.copy()
    boundary_counts(label, prediction, 5)
    small_object_counts(label, prediction, 5)
    np.testing.assert_array_equal(label, copies[0])
    np.testing.assert_array_equal(prediction, copies[1])


@pytest.mark.parametrize("counts", [boundary_counts, small_object_counts])
@pytest.mark.parametrize(
    ("label", "prediction", "num_classes", "words"),
    [
        (np.zeros((4, 5), int), np.zeros((4, 6), int), 3, "resize one of them"),
        (np.full((4, 5), 3), np.zeros((4, 5), int), 3, "label values from 3 to 3"),
        (np.zeros((4, 5), int), np.full((4, 5), 3), 3, "prediction values from 3 to 3"),
        (np.full((4, 5), -1), np.zeros((4, 5), int), 3, "label values from -1"),
        (np.zeros((4, 5), int), np.zeros((4, 5)), 3, "arg max"),
        (np.zeros((1, 4, 5), int), np.zeros((1, 4, 5), int), 3, "one image at a time"),
        (np.zeros((0, 5), int), np.zeros((0, 5), int), 3, "one image at a time"),
        (np.zeros((4, 5), int), np.zeros((4, 5), int), 256, "needed 1 to 255"),
    ],
)
def test_bad_maps(counts, label, prediction, num_classes, words):
    with pytest.raises(DataError, match=words):
        counts(label, prediction, num_classes)


@pytest.mark.parametrize("ratio", [0, -0.02, float("nan"), float("inf")])
def test_bad_ratio(ratio):
    with pytest.raises(DataError, match="diagonal above 0"):
        boundary_counts(np.zeros((4, 5), int), np.zeros((4, 5), int), 3, ratio=ratio)


@pytest.mark.parametrize("area", [0, -5, float("nan")])
def test_bad_area(area):
    with pytest.raises(DataError, match="number of pixels from 1"):
        small_object_counts(np.zeros((4, 5), int), np.zeros((4, 5), int), 3, area=area)
