"""The pixel table: every row is traced back to its record, and the draw is balanced, seeded and complete."""

from collections import Counter

import numpy as np
import pytest
import xarray as xr

from offseg_viz.analyze.align import aligned_class_embedding, aligned_feature, prediction
from offseg_viz.analyze.pixels import sample_pixels
from offseg_viz.errors import RecordError


def places(table):
    return list(zip(table["sample"].values, table["y"].values, table["x"].values, strict=True))


def test_every_row_is_its_pixel(records):
    table = sample_pixels(records, per_class=5)
    by_name = {record.attrs["sample"]: record for record in records}
    for n, (name, y, x) in enumerate(places(table)):
        pixel, place = table.isel(pixel=n), {"y": y, "x": x}
        record = by_name[name]
        np.testing.assert_array_equal(pixel["feature"], record["feature"].sel(place))
        np.testing.assert_array_equal(pixel["aligned_feature"], aligned_feature(record).sel(place))
        assert pixel["label"] == record["label"].sel(place)
        assert pixel["initial_prediction"] == prediction(record, "initial").sel(place)
        assert pixel["aligned_prediction"] == prediction(record).sel(place)


def test_shape_of_the_table(records):
    table = sample_pixels(records, per_class=4, seed=3)
    assert dict(table.sizes) == {"pixel": 12, "channel": 11, "cls": 3, "image": 3}
    assert table["aligned_class_embedding"].dims == ("image", "cls", "channel")
    np.testing.assert_array_equal(table["class_embedding"], records[0]["class_embedding"])
    for record in records:
        expected = aligned_class_embedding(record)
        np.testing.assert_array_equal(table["aligned_class_embedding"].sel(image=record.attrs["sample"]), expected)
    assert table["color"].dims == ("cls",) and table["feature"].dtype == np.float32
    labelled = sum(int((record["label"] != 255).sum()) for record in records)
    assert table.attrs["labelled_pixels"] == labelled and table.attrs["seed"] == 3 and table.attrs["per_class"] == 4


def test_balanced_and_without_repetition(records):
    table = sample_pixels(records, per_class=6)
    assert Counter(table["label"].values.tolist()) == {0: 6, 1: 6, 2: 6}
    assert len(set(places(table))) == 18


def test_a_rare_class_gives_all_it_has(records):
    label = records[2]["label"].values.copy()
    label[4, 5:] = 2
    rare = [records[2].assign(label=(("y", "x"), label))]
    assert Counter(sample_pixels(rare, per_class=7)["label"].values.tolist()) == {0: 7, 1: 7, 2: 2}


def test_large_per_class_gives_every_labelled_pixel(records):
    table = sample_pixels(records, per_class=10_000)
    assert table.sizes["pixel"] == table.attrs["labelled_pixels"] and not (table["label"] == 255).any()
    assert len(set(places(table))) == table.sizes["pixel"]


def test_seed(records):
    one, again, other = (sample_pixels(records, per_class=3, seed=seed) for seed in (0, 0, 1))
    xr.testing.assert_identical(one, again)
    assert places(one) != places(other)


def test_draw_is_uniform_over_all_pixels(make_record):
    """1200 of 4500 pixels of one class: each record and each part of it gives its share, within five deviations."""
    small, large = np.zeros((25, 60), int), np.zeros((50, 60), int)
    both = [make_record("small", label=small, size=small.shape), make_record("large", label=large, size=large.shape)]
    table = sample_pixels(both, per_class=1200)
    large = table["sample"].values == "large"
    assert large.sum() == pytest.approx(800, abs=80)
    assert (table["y"].values[large] < 100).sum() == pytest.approx(400, abs=80)
    assert (table["x"].values[large] < 120).sum() == pytest.approx(400, abs=80)


def test_a_generator_and_a_collection_with_ids(records):
    table = sample_pixels((record for record in records), per_class=3)
    xr.testing.assert_identical(table, sample_pixels(records, per_class=3))

    class Windows(list):
        ids = ("w0", "w1", "w2")

    assert set(sample_pixels(Windows(records), per_class=3)["image"].values) == {"w0", "w1", "w2"}


def test_grids_may_differ(make_record):
    table = sample_pixels([make_record("a"), make_record("b", size=(4, 6))], per_class=100)
    assert set(table["sample"].values) == {"a", "b"}


def test_per_pixel_records(per_pixel_records):
    table = sample_pixels(per_pixel_records, per_class=3)
    np.testing.assert_array_equal(table["feature"], table["aligned_feature"])
    for image in range(3):
        np.testing.assert_array_equal(table["aligned_class_embedding"][image], table["class_embedding"])


def test_input_is_not_changed(records):
    before = [record.copy(deep=True) for record in records]
    sample_pixels(records, per_class=3)
    for record, copy in zip(records, before, strict=True):
        xr.testing.assert_identical(record, copy)


def test_refusals(records, make_record):
    with pytest.raises(RecordError, match="per_class is 0"):
        sample_pixels(records, per_class=0)
    with pytest.raises(RecordError, match="the record of z has other class embeddings"):
        sample_pixels([*records, make_record("z", model_seed=5)])
    with pytest.raises(RecordError, match="the record of d has 10 channels, the first 11"):
        sample_pixels([*records, make_record("d").isel(channel=slice(10))])
    with pytest.raises(RecordError, match="every pixel"):
        sample_pixels([records[0].assign(label=records[0]["label"] * 0 + np.uint8(255))])
