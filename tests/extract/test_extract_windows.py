"""Sliding windows: which they are, what each record is of, and mistakes told before the first one is made."""

import numpy as np
import pytest
import torch
from noise import CLASSES, noise_sample, trained_looking

from offseg_viz.data.sample import Sample
from offseg_viz.data.windows import window_places, windows_of
from offseg_viz.errors import DataError, ModelError
from offseg_viz.extract.extract import extract, extract_windows
from offseg_viz.models.zoo import load_model


def test_each_record_is_that_of_the_window_alone():
    model, given = trained_looking("nano-offset"), noise_sample(size=(101, 130))
    records = list(extract_windows(model, given, window=(64, 96), stride=(40, 60), checkpoint="abc", seed=7))
    places = [(top, left) for top in (0, 37) for left in (0, 34)]
    assert [tuple(record.attrs["window"]) for record in records] == [(*place, 64, 96) for place in places]
    for record, (top, left) in zip(records, places, strict=True):
        part = slice(top, top + 64), slice(left, left + 96)
        alone = extract(model, Sample(given.id, given.image[part], given.label[part], CLASSES, given.dataset))
        for name in record.variables:
            np.testing.assert_array_equal(record[name], alone[name], err_msg=name)
        assert record.attrs["image_size"] == [101, 130] and alone.attrs["image_size"] == [64, 96]
        assert record.attrs["sample"] == "s0" and record.attrs["checkpoint"] == "abc" and record.attrs["seed"] == 7
    offsets = [record.class_offset.values for record in records]
    assert np.abs(offsets[0] - offsets[1]).max() > 1e-3, "class offsets belong to a window"


def test_records_are_made_one_by_one():
    model, calls = load_model("nano", classes=CLASSES), []
    model.register_forward_hook(lambda *_: calls.append(1))
    windows = extract_windows(model, noise_sample(), window=(64, 64), stride=(32, 64))
    assert not calls
    next(windows)
    assert len(calls) == 1
    assert len(list(windows)) == 3


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"window": (64, 64), "stride": (64, 65)}, ModelError, "leaves gaps"),
        ({"window": (64, 64, 3), "stride": (64, 64)}, ModelError, "needed .height, width. in whole pixels"),
        ({"window": (64, 64), "stride": "64"}, ModelError, "stride is '64'"),
        ({"window": (0, 64), "stride": (0, 64)}, ModelError, "needed 1 pixel or more"),
        ({"window": (64, 64), "stride": (64, 64), "layer": 1}, ModelError, "layer is 1"),
    ],
)
def test_mistakes_are_told_at_once(options, kind, words):
    with pytest.raises(kind, match=words):
        extract_windows(load_model("nano", classes=CLASSES), noise_sample(), **options)


def test_windows_that_are_too_small_for_the_network():
    with pytest.raises(DataError, match="'s0' of noise is 24 high and 64 wide, or its windows are.*larger windows"):
        next(extract_windows(load_model("nano", classes=CLASSES), noise_sample(), window=(24, 64), stride=(24, 64)))


def test_a_window_larger_than_the_image_is_the_image():
    assert windows_of(96, 130, (100, 200), (50, 100)) == [(0, 0, 96, 130)]
    (record,) = extract_windows(
        load_model("nano", classes=CLASSES), noise_sample(), window=(512, 512), stride=(300, 300)
    )
    assert record.attrs["window"] == [0, 0, 96, 128]


def test_windows_are_those_of_evaluation_row_by_row():
    found = windows_of(101, 130, (64, 60), (40, 33))
    tops, lefts = window_places(101, 64, 40), window_places(130, 60, 33)
    assert found == [(top, left, 64, 60) for top in tops for left in lefts]
    covered = torch.zeros(101, 130)
    for top, left, height, width in found:
        covered[top : top + height, left : left + width] += 1
    assert covered.min() >= 1
