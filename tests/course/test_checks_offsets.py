"""The checks of notebook 06: solutions pass, blanks and typical mistakes are told what they are."""

import numpy as np
import pytest

import offseg_viz as ov
from offseg_viz.course.checks.offsets import EDGES, check_by_distance, check_common_share, check_relative_magnitude

PRAISES = ("beside the length of what was moved", "equally far", "squared lengths add up")


@pytest.fixture(scope="module")
def records():
    model, samples = ov.load_model("nano-offset", weights="scenes"), ov.load_samples("scenes")
    return [ov.extract(model, sample) for sample in samples[:4]]


def told(verdict, diagnosis):
    """Whether a verdict fails with a diagnosis, without a word of praise."""
    return not verdict and diagnosis in verdict.text and not any(praise in verdict.text for praise in PRAISES)


@pytest.mark.parametrize("blank", [..., None])
def test_blanks_are_still_empty(records, blank):
    for verdict in (
        check_relative_magnitude(blank, records[0]),
        check_by_distance(blank, records),
        check_common_share(blank, records),
    ):
        assert told(verdict, "still empty")


def test_a_function_is_to_be_called(records):
    assert told(check_relative_magnitude(lambda: 1, records[0]), "call it")


def test_relative_magnitude(records):
    record = records[0]
    e, de = record.feature.values, record.feature_offset.values
    length, size = np.linalg.norm(de, axis=-1), np.linalg.norm(e, axis=-1)
    assert check_relative_magnitude(length / size, record)
    assert check_relative_magnitude(ov.offset_magnitude(record, relative=True), record)
    with np.errstate(divide="ignore", invalid="ignore"):
        by_channel = np.linalg.norm(de / e, axis=-1)
        by_rows, by_columns = (np.linalg.norm(de, axis=axis) / np.linalg.norm(e, axis=axis) for axis in (0, 1))
    for answer, diagnosis in (
        (length, "divide it by the length of E"),
        (size, "that is the length of E"),
        (size / length, "turn it round"),
        (length / np.linalg.norm(e + de, axis=-1), "E + dE; needed"),
        ((length / size) ** 2, "squared lengths"),
        (np.abs(de).sum(-1) / np.abs(e).sum(-1), "sums of absolute values"),
        (np.linalg.norm(e + de, axis=-1) / size, "how much longer"),
        (by_channel, "channels were divided"),
        (np.linalg.norm(de) / np.linalg.norm(e), "one number for the whole image"),
        ((length / size).T, "transposed"),
        (by_rows, "over the rows of the image, axis 0"),
        (np.linalg.norm(de, axis=0), "over the rows of the image, axis 0"),
        (by_columns, "over the columns of the image, axis 1"),
        ((length / size).round(2), "rounded to 2 digits"),
        ((length / size).round(3), "rounded to 3 digits"),
    ):
        assert told(check_relative_magnitude(answer, record), diagnosis), diagnosis


def test_an_image_as_high_as_a_feature_is_long_makes_lengths_over_rows_no_transposed_map(records):
    assert records[0].feature.shape == (64, 96, 64), "or the test above says nothing"


def test_by_distance(records):
    distance = [ov.boundary_distance(record).values.ravel() for record in records]
    length = [ov.offset_magnitude(record).values.ravel() for record in records]
    relative = [ov.offset_magnitude(record, relative=True).values.ravel() for record in records]
    d, m, r = map(np.concatenate, (distance, length, relative))

    def grouped(values, at, figure=np.mean):
        parts = [values[np.digitize(at, EDGES) == number] for number in range(1, len(EDGES) + 1)]
        return np.array([figure(part) if part.size else np.nan for part in parts])

    truth = grouped(m, d)
    assert check_by_distance(truth, records) and check_by_distance(truth.tolist(), records)
    by_image = [grouped(*each) for each in zip(length, distance, strict=True)]
    closed = [m[(d > low) & (d <= high)].mean() for low, high in zip(EDGES, (*EDGES[1:], np.inf), strict=True)]
    for answer, diagnosis in (
        (grouped(m, d, np.sum), "sums"),
        (grouped(m, d, np.size), "numbers of pixels"),
        (np.nanmean(by_image, axis=0), "every image counts the same"),
        (closed, "exactly 8"),
        (grouped(m, d, np.median), "medians"),
        (grouped(r, d), "relative lengths"),
        ([m[d >= edge].mean() for edge in EDGES], "up to the next edge"),
        (truth[::-1], "opposite order"),
        *((means, f"one image, records[{number}]") for number, means in enumerate(by_image)),
        ([m[np.digitize(d, EDGES) == number] for number in range(1, len(EDGES) + 1)], "whole groups"),
        ([np.nan, *truth], "six groups"),
        (truth.round(2), "rounded to 2 digits"),
        (truth.round(3), "rounded to 3 digits"),
        (truth + 0.1, "not the right"),
    ):
        assert told(check_by_distance(answer, records), diagnosis), diagnosis


def test_common_share(records):
    offsets = np.stack([record.class_offset.values for record in records]).astype(float)
    squared, mean = np.square(offsets).sum(axis=(1, 2)).mean(), offsets.mean(axis=0)
    truth = np.square(mean).sum() / squared
    assert check_common_share(truth, records)
    by_class = np.square(mean).sum(axis=-1) / np.square(offsets).sum(axis=-1).mean(axis=0)
    classes = offsets.shape[1]
    products = np.einsum("ikc,jkc->ij", offsets, offsets)
    of_pairs = products[~np.eye(len(offsets), dtype=bool)].mean() / squared
    table = ov.class_offset_agreement(records)
    shared = table[table["cls"] == "all"].set_index("quantity")["value"]
    for answer, diagnosis in (
        (classes * np.square(offsets.mean(axis=1)).sum(-1).mean() / squared, "over classes; needed: over images"),
        (1 - truth, "belongs to single images"),
        (np.linalg.norm(mean, axis=-1).sum() / np.linalg.norm(offsets, axis=-1).mean(axis=0).sum(), "their squares"),
        (np.sqrt(truth), "square root"),
        (np.square(offsets.sum(axis=0)).sum() / squared, "a sum over images on top"),
        (np.square(mean).sum() / np.square(offsets).sum(), "a sum over images below"),
        (classes * np.square(offsets.mean(axis=(0, 1))).sum() / squared, "over images and classes"),
        (by_class.mean(), "mean of the classes' shares"),
        (by_class, "one value a class"),
        (shared["class_offset_shared"], "that is class_offset_shared"),
        (of_pairs, "pairs of different scenes; needed"),
        (round(truth, 2), "rounded to 2 digits"),
        (round(truth, 3), "rounded to 3 digits"),
        (0.5, "not the right"),
    ):
        assert told(check_common_share(answer, records), diagnosis), diagnosis
