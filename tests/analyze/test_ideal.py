"""Ideal class embeddings against the pseudo-inverse of eq. (2), also where it is rank-deficient or under-determined."""

import numpy as np
import pytest
import reference
import xarray as xr
from mask_records import of_queries

from offseg_viz.analyze import class_means
from offseg_viz.analyze.class_means import feature_class_mean
from offseg_viz.analyze.ideal import (
    VECTORS,
    IdealSums,
    ideal_class_embedding,
    ideal_prediction,
    ideal_similarity,
    ideal_sums,
)
from offseg_viz.errors import RecordError, UnknownNameError


def by_definition(record):
    """W* = M (E^T)^+ with numpy's pseudo-inverse; rows of absent classes NaN."""
    label = record["label"].values.ravel()
    feature = record["feature"].values.reshape(-1, record.sizes["channel"]).astype(np.float64)[label != 255]
    one_hot = np.array(reference.one_hot(label[label != 255].tolist(), record.sizes["cls"]))
    embedding = one_hot @ np.linalg.pinv(feature.T, rcond=1e-6)
    embedding[one_hot.sum(axis=1) == 0] = np.nan
    return embedding


@pytest.fixture
def query_record(offset_record):
    """A record of mask classification with four queries, more than classes."""
    return of_queries(offset_record)


@pytest.mark.parametrize("block", [4, 4096])
def test_equals_definition(offset_record, block, monkeypatch):
    monkeypatch.setattr(class_means, "BLOCK", block)
    before = offset_record.copy(deep=True)
    found = ideal_class_embedding(offset_record)
    xr.testing.assert_identical(offset_record, before)
    assert found.dims == ("cls", "channel") and found.dtype == np.float64 and set(found.coords) == {"cls", "color"}
    np.testing.assert_allclose(found, by_definition(offset_record), rtol=1e-8)


def test_rank_deficient_features(offset_record):
    """A dead channel, a doubled channel, and a pixel space of rank 4."""
    feature = offset_record["feature"].values.copy()
    feature[..., 5:] = feature[..., :4] @ np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    feature[..., 2] = 0
    feature[..., 4] = feature[..., 3]
    record = offset_record.assign(feature=(("y", "x", "channel"), feature))
    flat = feature.reshape(35, 11)
    assert np.linalg.matrix_rank(flat, rtol=1e-6) < 11
    expected = by_definition(record)
    assert np.abs(expected).max() < 10, "the cut-off of the definition itself must hold here"
    np.testing.assert_allclose(ideal_class_embedding(record), expected, rtol=1e-6, atol=1e-9)


def test_fewer_pixels_than_channels_of_which_some_are_doubled_and_dead(make_record):
    record = make_record(size=(3, 4), seed=4)
    feature = record["feature"].values.copy()
    feature[..., 7:] = feature[..., :4]
    feature[..., 5] = 0
    record = record.assign(feature=(("y", "x", "channel"), feature))
    np.testing.assert_allclose(ideal_class_embedding(record), by_definition(record), rtol=1e-6, atol=1e-9)
    assert np.abs(ideal_class_embedding(record)[:, 5]).max() < 1e-12


def test_fewer_pixels_than_channels(make_record):
    record = make_record(size=(3, 4), seed=4)
    label = record["label"].values
    assert 3 < (label != 255).sum() < 11
    found = ideal_class_embedding(record)
    np.testing.assert_allclose(found, by_definition(record), rtol=1e-7)
    np.testing.assert_array_equal(ideal_prediction(record).values[label != 255], label[label != 255])


def test_cutoff_treats_rounding_noise_as_zero_and_small_directions_as_real(offset_record):
    """A direction at 1e-8 of the largest is dropped, one at 1e-4 is kept, as in the definition."""
    for scale, kept in ((1e-8, False), (1e-4, True)):
        feature = offset_record["feature"].values.astype(np.float64).copy()
        feature[..., 10] *= scale
        record = offset_record.assign(feature=(("y", "x", "channel"), feature))
        found = ideal_class_embedding(record)
        np.testing.assert_allclose(found, by_definition(record), rtol=1e-5, atol=1e-6)
        assert (np.abs(found[:, 10]).max() > 10) == kept


def test_labels_made_by_known_embeddings_give_them_back(offset_record):
    """Where M = W0 E^T exactly, W* = W0."""
    label = offset_record["label"].values
    known = np.random.default_rng(6).normal(size=(3, 11))
    one_hot = np.array(reference.one_hot(label.ravel().tolist(), 3))
    feature = (np.linalg.pinv(known) @ one_hot).T.reshape(5, 7, 11)
    record = offset_record.assign(feature=(("y", "x", "channel"), feature))
    np.testing.assert_allclose(ideal_class_embedding(record), known, rtol=1e-8)


def test_absent_class_is_nan_and_never_predicted(records):
    found = ideal_class_embedding(records[2])
    assert found.sel(cls="tree").isnull().all() and found.sel(cls=["sky", "road"]).notnull().all()
    assert set(np.unique(ideal_prediction(records[2]))) == {0, 1}


def test_ignored_pixels_take_no_part(offset_record):
    feature = offset_record["feature"].values.copy()
    feature[1, 2:4] = 1e5
    assert (offset_record["label"].values == 255).sum() == 2
    changed = offset_record.assign(feature=(("y", "x", "channel"), feature))
    xr.testing.assert_identical(ideal_class_embedding(changed), ideal_class_embedding(offset_record))


def test_prediction_equals_loops(offset_record):
    table = reference.scores(reference.flatten(offset_record["feature"].values), by_definition(offset_record).tolist())
    found = ideal_prediction(offset_record)
    assert found.dims == ("y", "x") and found.dtype == np.uint8 and set(found.coords) == {"y", "x"}
    assert found.values.ravel().tolist() == reference.arg_max(table)


def test_prediction_keeps_class_numbers_behind_an_absent_class(make_record):
    """With the class 0 absent, the present classes must not be renumbered."""
    record = make_record(label=np.arange(35).reshape(5, 7) % 2 + 1)
    assert set(np.unique(ideal_prediction(record))) == {1, 2}


def test_zero_features_give_zero(offset_record):
    record = offset_record.assign(feature=offset_record["feature"] * 0)
    np.testing.assert_array_equal(ideal_class_embedding(record), np.zeros((3, 11)))


def test_no_label(offset_record):
    with pytest.raises(RecordError, match="has no label"):
        ideal_class_embedding(offset_record.drop_vars("label"))
    with pytest.raises(RecordError, match="every pixel of a is ignored"):
        ideal_prediction(offset_record.assign(label=offset_record["label"] * 0 + np.uint8(255)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite(offset_record, value):
    feature = offset_record["feature"].values.copy()
    feature[4, 6, 2] = value
    record = offset_record.assign(feature=(("y", "x", "channel"), feature))
    for function in (ideal_class_embedding, ideal_prediction):
        with pytest.raises(RecordError, match="the features of a are not finite"):
            function(record)
    label = offset_record["label"].copy(deep=True)
    label[4, 6] = 255
    assert ideal_class_embedding(record.assign(label=label)).notnull().all()


def test_one_class_image(make_record):
    """The embedding fits a constant 1 to every pixel of the one class."""
    record = make_record(label=np.ones((5, 7)))
    found = ideal_class_embedding(record)
    np.testing.assert_allclose(found, by_definition(record), rtol=1e-8)
    assert found.sel(cls="road").notnull().all() and (ideal_prediction(record) == 1).all()


def test_permuted_classes_permute_the_embeddings(offset_record):
    label = offset_record["label"].values
    turned = np.where(label == 255, 255, (label + 1) % 3).astype(np.uint8)
    found = ideal_class_embedding(offset_record.assign(label=(("y", "x"), turned)))
    np.testing.assert_allclose(found, np.roll(ideal_class_embedding(offset_record), 1, axis=0), rtol=1e-9)


def test_scaled_features_scale_the_embeddings_inversely(offset_record):
    found = ideal_class_embedding(offset_record.assign(feature=offset_record["feature"] * 4))
    np.testing.assert_allclose(found * 4, ideal_class_embedding(offset_record), rtol=1e-9)


def test_sums_give_embeddings_and_means_of_one_image_and_of_two(records):
    for record in records:
        sums = ideal_sums(record)
        np.testing.assert_array_equal(sums.class_embedding(), ideal_class_embedding(record))
        np.testing.assert_array_equal(sums.class_mean(), feature_class_mean(record))
    pooled = IdealSums(*(a + b for a, b in zip(*map(ideal_sums, records[:2]), strict=True)))
    kept = ["feature", "label", "class_embedding"]
    together = xr.concat([record[kept] for record in records[:2]], "y", data_vars="minimal", combine_attrs="override")
    assert together.sizes["y"] == 10
    np.testing.assert_allclose(pooled.class_embedding(), by_definition(together), rtol=1e-7)


def test_of_mask_classification_the_pixel_map_is_fitted(query_record):
    found = ideal_class_embedding(query_record)
    assert found.sizes == {"cls": 3, "channel": 11}
    np.testing.assert_allclose(found, by_definition(query_record), rtol=1e-8)
    assert ideal_prediction(query_record).dims == ("y", "x")


@pytest.mark.parametrize("of", ["class_mean", "aligned_class_mean", "aligned_class_embedding"])
def test_similarity_of_other_vectors(records, of):
    vectors = {
        "class_mean": [feature_class_mean(record)[1] for record in records],
        "aligned_class_mean": [feature_class_mean(record, "aligned")[1] for record in records],
        "aligned_class_embedding": [record["class_embedding"][1] + record["class_offset"][1] for record in records],
    }
    found = ideal_similarity(records, cls="road", of=of)
    expected = [[reference.cosine(a.values, b.values) for b in vectors[of]] for a in vectors[of]]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.name == f"{of}_similarity" and VECTORS[of] in found.attrs["long_name"]
    assert found.attrs["mean_similarity"] == pytest.approx((np.sum(expected) - 3) / 6, abs=1e-6)


def test_similarity_of_queries(query_record):
    pair = [query_record, query_record.assign(feature=query_record["feature"] * 2)]
    assert ideal_similarity(pair, cls="sky", of="class_mean").values == pytest.approx(1)
    with pytest.raises(RecordError, match="is of mask classification"):
        ideal_similarity(pair, cls="sky", of="aligned_class_embedding")


def test_similarity_between_images(records):
    found = ideal_similarity(records, cls="road")
    vectors = [by_definition(record)[1] for record in records]
    expected = [[reference.cosine(a, b) for b in vectors] for a in vectors]
    assert found.dims == ("image", "image_2") and found["image_2"].values.tolist() == ["a", "b", "c"]
    np.testing.assert_allclose(found, expected, atol=1e-8)
    pairs = [expected[0][1], expected[0][2], expected[1][2]]
    assert found.attrs["images"] == 3 and found.attrs["cls"] == "road"
    assert found.attrs["mean_similarity"] == pytest.approx(np.mean(pairs))
    assert found.attrs["spread"] == pytest.approx(np.std(pairs))


def test_images_without_the_class_are_left_out(records):
    found = ideal_similarity(iter(records), cls="tree")
    assert found["image"].values.tolist() == ["a", "b"] and found.attrs["images"] == 2


def test_similarity_refusals(records):
    with pytest.raises(UnknownNameError, match="Did you mean 'class_mean'"):
        ideal_similarity(records, cls="tree", of="class_means")
    with pytest.raises(UnknownNameError, match="Did you mean 'tree'"):
        ideal_similarity(records, cls="trees")
    with pytest.raises(RecordError, match="found 1 image with the class 'tree'; needed at least 2"):
        ideal_similarity(records[1:], cls="tree")
    with pytest.raises(RecordError, match="found no record"):
        ideal_similarity([], cls="tree")
    with pytest.raises(RecordError, match=r"\[record\]"):
        ideal_similarity(records[0], cls="tree")


def test_rcond_drops_directions_that_hardly_vary_as_pinv_does(offset_record):
    record = offset_record.copy(deep=True)
    record["feature"].values[..., 4] *= 1e-4  # a channel that is almost silent
    e = record["feature"].values.reshape(-1, record.sizes["channel"]).astype(np.float64)
    label = record["label"].values.ravel()
    kept = label != 255
    one_hot = (label[kept] == np.arange(record.sizes["cls"])[:, None]).astype(np.float64)
    for rcond in (1e-6, 1e-2):
        expected = one_hot @ np.linalg.pinv(e[kept].T, rcond=rcond)
        found = ideal_class_embedding(record, rcond=rcond).values
        present = one_hot.any(axis=1)
        np.testing.assert_allclose(found[present], expected[present], rtol=1e-5, atol=1e-8)
    loose, strict = (np.abs(ideal_class_embedding(record, rcond=r).values[..., 4]) for r in (1e-6, 1e-2))
    assert np.nanmax(loose) > 100 * np.nanmax(strict)
