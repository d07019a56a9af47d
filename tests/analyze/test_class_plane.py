"""Two classes in the plane of their scores, against plain loops."""

import numpy as np
import pytest
import reference
import xarray as xr

from offseg_viz.analyze.align import scores
from offseg_viz.analyze.class_plane import STEPS, class_plane
from offseg_viz.errors import RecordError, UnknownNameError


def four_products(record):
    """E W, E dW, dE W, dE dW as lists [K][P], from the definition."""
    return [
        reference.scores(reference.flatten(record[feature].values), reference.rows(record[embedding].values))
        for feature in ("feature", "feature_offset")
        for embedding in ("class_embedding", "class_offset")
    ]


def test_plane_holds_the_scores_of_two_classes(offset_record):
    plane = class_plane(offset_record, "tree", "sky", per_class=1000)
    assert plane["score"].dims == ("step", "pixel", "axis") and plane["step"].values.tolist() == list(STEPS)
    assert plane["axis"].values.tolist() == ["tree", "sky"]
    assert plane["color"].values.tolist() == ["#228833", "#4477aa"]
    label = offset_record["label"].values
    assert plane.sizes["pixel"] == np.isin(label, (0, 2)).sum()
    terms = np.array(four_products(offset_record)).reshape(4, 3, 5, 7)
    for pixel in range(plane.sizes["pixel"]):
        one = plane.isel(pixel=pixel)
        row, column = int(one["y"] / 4 - 0.5), int(one["x"] / 4 - 0.5)
        assert str(one["cls"].values) == ("sky", "road", "tree")[label[row, column]]
        expected = np.cumsum(terms[:, [2, 0], row, column], axis=0)
        np.testing.assert_allclose(one["score"], expected, rtol=1e-4, atol=1e-4)
    assert set(plane["sample"].values) == {"a"}
    aligned = scores(offset_record).sel(cls=["tree", "sky"]).values
    place = np.argwhere(np.isin(label, (0, 2)))
    np.testing.assert_allclose(
        plane["score"].sel(step="aligned"), aligned[:, place[:, 0], place[:, 1]].T, rtol=1e-4, atol=1e-4
    )


def test_plane_draws_up_to_a_number_of_each_class_from_all_records(records):
    everything = class_plane(records, "sky", "tree", per_class=1000)
    for most in (1, 5, 12):
        plane = class_plane(iter(records), "sky", "tree", per_class=most)
        for name in ("sky", "tree"):
            there = int((everything["cls"] == name).sum())
            assert (plane["cls"] == name).sum() == min(most, there)
        drawn, known = (
            list(zip(*(one[key].values.tolist() for key in ("sample", "y", "x")))) for one in (plane, everything)
        )
        assert len(set(drawn)) == len(drawn)
        assert [known.index(one) for one in drawn] == sorted(known.index(one) for one in drawn), "order of the records"
        np.testing.assert_array_equal(
            plane["score"], everything["score"].isel(pixel=[known.index(one) for one in drawn])
        )
    xr.testing.assert_identical(plane, class_plane(records, "sky", "tree", per_class=12))
    other = class_plane(records, "sky", "tree", per_class=12, seed=1)
    assert not np.array_equal(other["x"], plane["x"]) or not np.array_equal(other["y"], plane["y"])


def test_plane_draws_every_pixel_alike(make_record):
    """Over many seeds the share of a record is its share of the pixels."""
    large = make_record("l", seed=1, label=np.zeros((5, 7)))
    few = np.full((5, 7), 255)
    few[:1] = 0
    small = make_record("s", seed=2, label=few)
    from_small = [
        (class_plane([large, small], "sky", "tree", per_class=6, seed=seed)["sample"] == "s").mean()
        for seed in range(60)
    ]
    assert np.mean(from_small) == pytest.approx(7 / 42, abs=0.05)


def test_plane_draws_other_places_from_every_record(make_record):
    made = [make_record(sample, seed=1, label=np.zeros((5, 7))) for sample in "ab"]
    plane = class_plane(made, "sky", "tree", per_class=10)
    places = list(zip(plane["y"].values.tolist(), plane["x"].values.tolist()))
    assert len(set(places)) > 6, "the same places of both would be five"


def test_plane_refusals(records, per_pixel_record):
    with pytest.raises(RecordError, match="two different classes"):
        class_plane(records, "sky", "sky")
    with pytest.raises(RecordError, match="per_class is 0"):
        class_plane(records, "sky", "tree", per_class=0)
    with pytest.raises(UnknownNameError, match="'trees'"):
        class_plane(records, "sky", "trees")
    with pytest.raises(RecordError, match="no pixel is labelled 'sky' or 'tree'"):
        class_plane(records[0].assign(label=records[0]["label"] * 0 + np.uint8(255)), "sky", "tree")
    with pytest.raises(RecordError, match="has no offsets"):
        class_plane(per_pixel_record, "sky", "tree")
    one_sided = class_plane(records[2], "sky", "tree")
    assert set(one_sided["cls"].values) == {"sky"}


def test_nan_is_refused_where_it_would_be_drawn(records):
    broken = records[1].assign(label=(("y", "x"), np.zeros((5, 7), np.uint8))).copy(deep=True)
    broken["feature"].values[2, 3, 4] = np.nan
    with pytest.raises(RecordError, match="the record of b gives scores that are not finite"):
        class_plane(broken, "sky", "tree")


def test_input_is_not_changed(records):
    before = [record.copy(deep=True) for record in records]
    class_plane(records, "sky", "road")
    for record, copy in zip(records, before, strict=True):
        xr.testing.assert_identical(record, copy)
