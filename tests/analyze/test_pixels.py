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


def inside_by_loops(label):
    """Cells that have their own label, and no other, in all eight cells around them that exist."""
    height, width = label.shape
    inside = np.zeros(label.shape, bool)
    for y in range(height):
        for x in range(width):
            around = [
                label[j, i]
                for j in range(max(0, y - 1), min(height, y + 2))
                for i in range(max(0, x - 1), min(width, x + 2))
            ]
            inside[y, x] = label[y, x] != 255 and all(value == label[y, x] for value in around)
    return inside


@pytest.fixture
def blocks(make_record):
    """Two records of large fields of sky and road, in which tree is never wider than two cells."""
    made = []
    for seed, sample in enumerate("ab"):
        label = np.zeros((9, 13), int)
        label[:, 5:] = 1
        label[3:5, 2:12] = 2
        label[8, seed : seed + 3] = label[6:, 10:] = 255
        made.append(make_record(sample, seed=seed, label=label, size=label.shape))
    return made


def test_cells_at_a_boundary_are_left_out(blocks):
    table = sample_pixels(blocks, per_class=1000)
    for record in blocks:
        inside = inside_by_loops(record["label"].values)
        own = table.isel(pixel=(table["sample"] == record.attrs["sample"]) & (table["label"] != 2))
        found = set(zip(own["y"].values, own["x"].values, strict=True))
        rows, columns = np.nonzero(inside)
        assert found == set(zip(record["y"].values[rows], record["x"].values[columns], strict=True)) and len(found) > 20
    assert table.attrs["interior_pixels"] == sum(inside_by_loops(r["label"].values).sum() for r in blocks)


def test_a_class_of_boundaries_alone_is_drawn_from_all_its_cells(blocks):
    table = sample_pixels(blocks, per_class=1000)
    assert table.attrs["boundary_classes"] == ["tree"] and (table["label"] == 2).sum() == 40
    everything = sample_pixels(blocks, per_class=1000, interior=False)
    assert everything.attrs["boundary_classes"] == [] and everything.attrs["interior"] is False
    assert everything.sizes["pixel"] == everything.attrs["labelled_pixels"] == 2 * (9 * 13 - 12)
    assert Counter(sample_pixels(blocks, per_class=7)["label"].values.tolist()) == {0: 7, 1: 7, 2: 7}


def test_one_record_with_an_interior_is_enough(blocks):
    wide = blocks[0]["label"].values.copy()
    wide[3:6, 2:12] = 2
    table = sample_pixels([blocks[0].assign(label=(("y", "x"), wide)), blocks[1]], per_class=1000)
    trees = table.isel(pixel=table["label"] == 2)
    assert table.attrs["boundary_classes"] == [] and trees.sizes["pixel"] == 8
    assert set(trees["sample"].values) == {"a"} and set(trees["y"].values) == {blocks[0]["y"].values[4]}


def test_a_record_that_stands_twice_is_two_records(records):
    """Their keys are the same, so what is wanted of both is read of each, and told apart afterwards."""
    table = sample_pixels([records[0], records[1], records[0]], per_class=10_000)
    assert table.sizes["pixel"] == table.attrs["labelled_pixels"]
    assert len(set(places(table))) == sum(int((r["label"] != 255).sum()) for r in records[:2])
    few = sample_pixels([records[0], records[0]], per_class=4)
    assert Counter(few["label"].values.tolist()) == {0: 4, 1: 4, 2: 4}


def test_windows_of_one_image_are_told_apart(make_record):
    parts = [make_record("a", seed=seed) for seed in (1, 2)]
    parts[1].attrs["window"] = [0, 28, 20, 28]
    table = sample_pixels(parts, per_class=10_000)
    features = {tuple(row) for part in parts for row in part["feature"].values.reshape(-1, 11)}
    assert {tuple(row) for row in table["feature"].values} <= features and len(
        np.unique(table["feature"], axis=0)
    ) == 66


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
    with pytest.raises(RecordError, match="of queries"):
        sample_pixels([records[0].assign(query_class=(("query", "cls"), np.eye(3, dtype=np.float32)))])
    unlabelled = records[1].drop_vars("label")
    with pytest.raises(RecordError, match="the record of b has no label"):
        sample_pixels([records[0], unlabelled])
    lost = records[1]["feature"].copy()
    lost[2, 3] = np.nan
    with pytest.raises(RecordError, match="the record of b has features .* not finite"):
        sample_pixels([records[0], records[1].assign(feature=lost)], per_class=1000)
