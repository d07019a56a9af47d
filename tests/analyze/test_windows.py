"""Maps of windows stitched together: against sliding-window evaluation, against plain loops, and what is refused."""

import numpy as np
import pytest
import torch
import xarray as xr
from noise import noise_sample, noise_samples, trained_looking
from torch.nn import functional as F

from offseg_viz.analyze.align import class_maps, logits, prediction, scores
from offseg_viz.analyze.offsets import offset_magnitude
from offseg_viz.analyze.windows import stitch_windows
from offseg_viz.errors import RecordError
from offseg_viz.extract.extract import extract_many, extract_windows
from offseg_viz.models.zoo import load_model
from offseg_viz.pipeline.inference import sliding_window_logits


def stored_logits(record):
    return record["logits"]


@pytest.mark.parametrize("name", ["nano", "nano-offset", "segformer-b0-offset"])
@pytest.mark.parametrize(
    ("size", "window", "stride"),
    [((96, 128), (64, 64), (40, 48)), ((101, 75), (64, 64), (33, 20)), ((70, 130), (64, 96), (64, 96))],
)
def test_stitched_logits_are_those_of_sliding_window_evaluation(name, size, window, stride):
    model, given = trained_looking(name), noise_sample(size=size)
    records = extract_windows(model, given, window=window, stride=stride)
    found = stitch_windows(records, stored_logits)
    expected = sliding_window_logits(model, model.normalize(given.image), window=window, stride=stride)[0]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert found.dims == ("cls", "y", "x") and found.dtype == np.float32
    np.testing.assert_array_equal(found.argmax("cls"), expected.argmax(0))
    records = extract_windows(model, given, window=window, stride=stride)
    np.testing.assert_allclose(stitch_windows(records, logits), expected, atol=5e-4)


@pytest.mark.parametrize(
    ("size", "window"), [((101, 75), (101, 75)), ((101, 130), (70, 90)), ((50, 61), (50, 61)), ((97, 99), (97, 50))]
)
def test_of_padded_windows_all_but_the_last_half_cell_is_that_of_evaluation(size, window):
    """There evaluation mixes in the features of the padding, which a record does not hold."""
    model, given, stride = trained_looking("nano-offset"), noise_sample(size=size), 4
    records = list(extract_windows(model, given, window=window, stride=window))
    found = stitch_windows(records, stored_logits)
    expected = sliding_window_logits(model, model.normalize(given.image), window=window, stride=window)[0].numpy()
    exact = np.ones(size, bool)
    for record in records:
        top, left, height, width = record.attrs["window"]
        for side, begin, axis in ((height, top, 0), (width, left, 1)):
            edge = begin + stride * (-(-side // stride) - 1) + stride // 2  # the centre of the last cell
            exact[(slice(None),) * axis + (slice(edge, begin + side),)] &= side % 32 == 0
    assert exact.mean() > 0.9
    np.testing.assert_allclose(found.values[:, exact], expected[:, exact], atol=1e-4)
    assert np.abs(found - expected).max() < 0.7 * np.ptp(expected), "and the rest is not far off"


def test_one_map_a_window_and_places_of_the_image():
    model, given = trained_looking("nano-offset"), noise_sample()
    records = list(extract_windows(model, given, window=(64, 64), stride=(32, 64)))
    found = stitch_windows(records, offset_magnitude_of_features)
    assert found.dims == ("y", "x") and found.shape == (96, 128) and found.name == "offset_magnitude"
    np.testing.assert_array_equal(found.y, np.arange(96) + 0.5)
    np.testing.assert_array_equal(found.x, np.arange(128) + 0.5)
    by_class = stitch_windows(records, scores)
    assert list(by_class.cls.values) == list(records[0].cls.values) and "color" in by_class.coords
    assert by_class.attrs["stage"] == "aligned"


def offset_magnitude_of_features(record):
    return offset_magnitude(record, "feature")


def window_record(place, size=(24, 40), stride=4, seed=0, **attrs):
    """Two random maps on a window of its own, in the form of a record as far as stitching looks at it."""
    random, (_, _, height, width) = np.random.default_rng(seed), place
    shape = -(-height // stride), -(-width // stride)
    about = {"model": "m", "checkpoint": "c", "dataset": "d", "sample": "s", "image_size": list(size)}
    about |= {"window": list(place), "stride": [stride, stride]}
    dims = {"map": ("y", "x"), "number": ("y", "x"), "two": ("x", "two", "y")}
    values = {
        "map": random.normal(size=shape),
        "number": random.integers(0, 3, shape),
        "two": random.normal(size=(shape[1], 2, shape[0])),
    }
    return xr.Dataset({name: (dims[name], values[name]) for name in values}, attrs=about | attrs)


def bilinear(values, stride, y, x):
    """One pixel of a map of cells, from the four cells around its centre; beyond the last centre the last cell."""
    sides = []
    for place, count in ((y, values.shape[0]), (x, values.shape[1])):
        position = min(max((place + 0.5) / stride - 0.5, 0), count - 1)
        low = min(int(position), count - 1)
        sides.append((low, min(low + 1, count - 1), position - low))
    (top, bottom, down), (left, right, along) = sides
    above = values[top, left] * (1 - along) + values[top, right] * along
    below = values[bottom, left] * (1 - along) + values[bottom, right] * along
    return above * (1 - down) + below * down


@pytest.mark.parametrize("name", ["map", "two"])
def test_against_plain_loops_with_overlaps_and_cells_that_hang_over_the_edge(name):
    places = [(0, 0, 22, 24), (0, 16, 22, 24), (2, 0, 22, 24), (2, 16, 22, 24)]
    records = [window_record(place, seed=seed) for seed, place in enumerate(places)]
    found = stitch_windows(iter(records), lambda record: record[name])
    assert found.dims == (("y", "x") if name == "map" else ("two", "y", "x")) and found.dtype == np.float64
    for number in range(2):
        for y in range(24):
            for x in range(40):
                values = []
                for record, (top, left, height, width) in zip(records, places, strict=True):
                    cells = record["map"].values if name == "map" else record.two.values[:, number].T
                    if top <= y < top + height and left <= x < left + width:
                        values.append(bilinear(cells, 4, y - top, x - left))
                mine = found.values[y, x] if name == "map" else found.values[number, y, x]
                assert mine == pytest.approx(np.mean(values), abs=1e-6)


def test_a_constant_stays_what_it_is_and_records_do_too():
    records = [window_record((0, left, 24, 24)) for left in (0, 16)]
    copies = [record.copy(deep=True) for record in records]
    np.testing.assert_allclose(stitch_windows(records, lambda record: record["map"] * 0 + 3), 3)
    for record, copy in zip(records, copies, strict=True):
        xr.testing.assert_identical(record, copy)


WHOLE = (0, 0, 24, 40)


@pytest.mark.parametrize(
    ("records", "name", "words"),
    [
        ([], "map", "found no record; needed the windows"),
        ([window_record((0, 0, 24, 24))], "map", r"40% of the image of s are in no window, from pixel \(0, 24\) on"),
        ([window_record((0, 0, 24, 24)), window_record((2, 16, 22, 24))], "map", r"3% .* from pixel \(0, 24\)"),
        ([window_record(WHOLE), window_record(WHOLE, sample="t")], "map", r"sample t and s.*store.of_image\(id\)"),
        ([window_record(WHOLE), window_record(WHOLE, checkpoint="x")], "map", "checkpoint x and c"),
        ([window_record(WHOLE), window_record(WHOLE, image_size=[24, 41])], "map", "image_size"),
        ([window_record(WHOLE).drop_attrs().assign_attrs(sample="s")], "map", "does not say how large its image is"),
        ([window_record(WHOLE)], "number", r"gave int64, which cannot be averaged.*argmax\(.cls.\)"),
    ],
)
def test_refusals(records, name, words):
    with pytest.raises(RecordError, match=words):
        stitch_windows(records, lambda record: record[name])


def test_functions_that_give_no_map():
    for function, words in (
        (lambda record: record["map"].values, "gave ndarray"),
        (lambda record: record["map"].mean("x"), r"gave dims \('y',\)"),
        (lambda record: record["two"].rename(two="query"), "a map of queries.*class_maps"),
        (lambda record: record["map"] > 0, "gave bool"),
    ):
        with pytest.raises(RecordError, match=words):
            stitch_windows([window_record(WHOLE)], function)
    sizes = iter([2, 1])
    with pytest.raises(RecordError, match="a window's map is of"):
        stitch_windows([window_record(WHOLE)] * 2, lambda record: record["two"].isel(two=slice(next(sizes))))


def test_predictions_are_refused_and_taken_of_the_stitched_logits(tmp_path):
    model, samples = trained_looking("nano-offset"), noise_samples(2, size=(96, 130))
    store = extract_many(model, samples, tmp_path / "s", window=(64, 64), stride=(48, 33), progress=False)
    with pytest.raises(RecordError, match="gave uint8"):
        stitch_windows(store.of_image("b"), prediction)
    with pytest.raises(RecordError, match="sample b and a"):
        stitch_windows(store, logits)
    found = stitch_windows(store.of_image("b"), logits).argmax("cls")
    images = model.normalize(samples["b"].image)
    expected = sliding_window_logits(model, images, window=(64, 64), stride=(48, 33))[0]
    assert (found.values == expected.argmax(0).numpy()).mean() > 0.999


def test_class_maps_of_queries_can_be_stitched():
    model = load_model("mask2former-swin-t-offset", num_classes=5)
    given = noise_sample(size=(64, 96), label=False)
    records = list(extract_windows(model, given, window=(64, 64), stride=(64, 32)))
    found = stitch_windows(records, class_maps)
    with torch.no_grad():
        maps = [model(model.normalize(given.image[:, left : left + 64])) for left in (0, 32)]
    first, second = (F.interpolate(part, (64, 64), mode="bilinear", align_corners=False)[0] for part in maps)
    np.testing.assert_allclose(found[:, :, :32], first[:, :, :32], rtol=1e-3)
    np.testing.assert_allclose(found[:, :, 32:64], (first[:, :, 32:] + second[:, :, :32]) / 2, rtol=1e-3)
    with pytest.raises(RecordError, match="class_maps"):
        stitch_windows(records, logits)
