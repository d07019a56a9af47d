"""Offset magnitudes and directions against loops."""

import numpy as np
import pytest
import reference

from offseg_viz.analyze.offsets import offset_direction, offset_magnitude
from offseg_viz.errors import RecordError, UnknownNameError


def test_feature_magnitude(offset_record):
    offset = reference.lengths(reference.flatten(offset_record["feature_offset"].values))
    feature = reference.lengths(reference.flatten(offset_record["feature"].values))
    found = offset_magnitude(offset_record)
    assert found.dims == ("y", "x") and found.attrs["long_name"] == "|dE|" and set(found.coords) == {"y", "x"}
    np.testing.assert_allclose(found.values.ravel(), offset, rtol=1e-5)
    relative = offset_magnitude(offset_record, "feature", relative=True)
    np.testing.assert_allclose(relative.values.ravel(), np.divide(offset, feature), rtol=1e-5)


def test_class_magnitude(offset_record):
    offset = reference.lengths(reference.rows(offset_record["class_offset"].values))
    embedding = reference.lengths(reference.rows(offset_record["class_embedding"].values))
    found = offset_magnitude(offset_record, "class")
    assert found.dims == ("cls",) and "color" in found.coords
    np.testing.assert_allclose(found, offset, rtol=1e-5)
    relative = offset_magnitude(offset_record, "class", relative=True)
    np.testing.assert_allclose(relative, np.divide(offset, embedding), rtol=1e-5)


@pytest.mark.filterwarnings("error")
def test_relative_to_nothing_is_nan(offset_record):
    record = offset_record.copy(deep=True)
    record["feature"][1, 3] = 0
    found = offset_magnitude(record, relative=True)
    assert np.isnan(found[1, 3]) and int(found.isnull().sum()) == 1
    assert np.isfinite(offset_magnitude(record)).all()


def test_per_pixel_record_is_refused(per_pixel_record):
    with pytest.raises(RecordError, match="'nano' has no offsets.*'-offset'"):
        offset_magnitude(per_pixel_record)


def test_unknown_offset(offset_record):
    with pytest.raises(UnknownNameError, match="Did you mean 'feature'"):
        offset_magnitude(offset_record, "features")


def ideal_by_definition(record):
    """W* = M (E^T)^+ with numpy's pseudo-inverse and the cut-off of readable directions."""
    label = record["label"].values.ravel()
    feature = record["feature"].values.reshape(-1, record.sizes["channel"]).astype(np.float64)[label != 255]
    one_hot = np.array(reference.one_hot(label[label != 255].tolist(), record.sizes["cls"]))
    return one_hot @ np.linalg.pinv(feature.T, rcond=1e-2)


def across(vector, direction):
    along = reference.inner(vector, direction) / reference.inner(direction, direction)
    return [v - along * d for v, d in zip(vector, direction, strict=True)]


def test_directions_to_what_was_moved(offset_record):
    offset, feature = (reference.flatten(offset_record[name].values) for name in ("feature_offset", "feature"))
    found = offset_direction(offset_record)
    assert found.dims == ("y", "x") and found.attrs == {"long_name": "cosine of dE and E"}
    np.testing.assert_allclose(found.values.ravel(), list(map(reference.cosine, offset, feature)), atol=1e-6)
    offset, embedding = (reference.rows(offset_record[name].values) for name in ("class_offset", "class_embedding"))
    found = offset_direction(offset_record, "class")
    assert found.dims == ("cls",) and "color" in found.coords and found.name == "offset_direction"
    np.testing.assert_allclose(found, list(map(reference.cosine, offset, embedding)), atol=1e-6)


def test_directions_to_the_ideal(offset_record):
    offset, embedding = (reference.rows(offset_record[name].values) for name in ("class_offset", "class_embedding"))
    ideal = reference.rows(ideal_by_definition(offset_record))
    difference = reference.rows(np.subtract(ideal, embedding))
    found = offset_direction(offset_record, "class", "ideal")
    assert found.dims == ("cls",) and "color" in found.coords and found.attrs["long_name"] == "cosine of dW and W* - W"
    np.testing.assert_allclose(found, list(map(reference.cosine, offset, difference)), atol=1e-6)
    turned = [[across(v, w) for v, w in zip(vectors, embedding, strict=True)] for vectors in (offset, ideal)]
    found = offset_direction(offset_record, "class", "ideal_turn")
    np.testing.assert_allclose(found, list(map(reference.cosine, *turned)), atol=1e-6)


def test_an_offset_that_reaches_the_ideal_points_at_it(offset_record):
    ideal = ideal_by_definition(offset_record)
    step = 0.3 * (ideal - offset_record["class_embedding"].values)
    record = offset_record.assign(class_offset=(("cls", "channel"), step))
    np.testing.assert_allclose(offset_direction(record, "class", "ideal"), 1, atol=1e-6)
    np.testing.assert_allclose(offset_direction(record, "class", "ideal_turn"), 1, atol=1e-6)
    back = record.assign(class_offset=-record["class_offset"])
    np.testing.assert_allclose(offset_direction(back, "class", "ideal"), -1, atol=1e-6)


def test_the_turn_does_not_depend_on_lengths(offset_record):
    """Twice the features halve W*; a longer offset, or one with more along W, turns the same way."""
    found = offset_direction(offset_record, "class", "ideal_turn")
    longer = offset_record.assign(feature=2 * offset_record["feature"])
    np.testing.assert_allclose(offset_direction(longer, "class", "ideal_turn"), found, atol=1e-6)
    assert not np.allclose(
        offset_direction(longer, "class", "ideal"), offset_direction(offset_record, "class", "ideal"), atol=1e-3
    )
    moved = 3 * offset_record["class_offset"] + 2 * offset_record["class_embedding"]
    moved = offset_record.assign(class_offset=moved)
    np.testing.assert_allclose(offset_direction(moved, "class", "ideal_turn"), found, atol=1e-5)


@pytest.mark.filterwarnings("error")
def test_directions_of_nothing_are_nan(records):
    record = records[2].copy(deep=True)  # without trees
    record["feature_offset"][1, 3] = 0
    record["feature"][2, 4] = 0
    assert np.argwhere(offset_direction(record).isnull().values).tolist() == [[1, 3], [2, 4]]
    for to in ("ideal", "ideal_turn"):
        assert offset_direction(record, "class", to).isnull().values.tolist() == [False, False, True]
    record["class_offset"][0] = 0
    record["class_embedding"][1] = 0
    assert offset_direction(record, "class").isnull().values.tolist() == [True, True, False]
    assert offset_direction(record, "class", "ideal").isnull().values.tolist() == [True, False, True]
    assert offset_direction(record, "class", "ideal_turn").isnull().values.tolist() == [True, True, True]


def test_direction_cutoff(offset_record):
    record = offset_record.copy(deep=True)
    record["feature"][..., 10] *= 1e-4
    kept = offset_direction(record, "class", "ideal", rcond=1e-6)
    assert np.abs(kept - offset_direction(record, "class", "ideal")).max() > 0.1


def test_refused_directions(offset_record, per_pixel_record):
    with pytest.raises(RecordError, match="'nano' has no offsets"):
        offset_direction(per_pixel_record)
    with pytest.raises(UnknownNameError, match="feature offset .eq. 2 has an ideal for class embeddings only.*initial"):
        offset_direction(offset_record, "feature", "ideal")
    with pytest.raises(UnknownNameError, match="direction of a class offset 'ideel'.*Did you mean 'ideal'"):
        offset_direction(offset_record, "class", "ideel")
    with pytest.raises(UnknownNameError, match="unknown offset 'classes'"):
        offset_direction(offset_record, "classes")
    with pytest.raises(RecordError, match="no label"):
        offset_direction(offset_record.drop_vars("label"), "class", "ideal")
    with pytest.raises(RecordError, match="ignored"):
        offset_direction(offset_record.assign(label=offset_record["label"] * 0 + np.uint8(255)), "class", "ideal")


def test_directions_leave_the_record_alone(offset_record):
    before = offset_record.copy(deep=True)
    for of, to in (("feature", "initial"), ("class", "initial"), ("class", "ideal"), ("class", "ideal_turn")):
        offset_direction(offset_record, of, to)
    assert offset_record.identical(before)
