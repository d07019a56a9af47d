"""Stages, scores, logits and predictions against loops, and the two exact facts of offset learning."""

import numpy as np
import pytest
import reference
import xarray as xr

from offseg_viz.analyze import align
from offseg_viz.analyze.align import (
    aligned_class_embedding,
    aligned_feature,
    logits,
    prediction,
    scores,
    winning_class,
)
from offseg_viz.errors import UnknownNameError


def test_aligned_quantities(offset_record):
    feature, embedding = reference.stage_pair(offset_record, "aligned")
    found = aligned_feature(offset_record)
    assert found.dims == ("y", "x", "channel") and found.name == "aligned_feature"
    np.testing.assert_allclose(found.values.reshape(35, 11), feature, rtol=1e-6)
    found = aligned_class_embedding(offset_record)
    assert found.dims == ("cls", "channel")
    np.testing.assert_allclose(found, embedding, rtol=1e-6)


@pytest.mark.parametrize("stage", ["initial", "aligned"])
def test_scores_equal_loops(offset_record, stage):
    found = scores(offset_record, stage)
    assert found.dims == ("cls", "y", "x") and found.attrs["stage"] == stage and found.dtype == np.float32
    expected = reference.scores(*reference.stage_pair(offset_record, stage))
    np.testing.assert_allclose(found.values.reshape(3, 35), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stage", ["initial", "aligned"])
def test_logits_equal_loops(offset_record, stage):
    table = reference.scores(*reference.stage_pair(offset_record, stage))
    gain, bias = offset_record["logit_gain"].values, offset_record["logit_bias"].values
    expected = reference.layer_norm_over_classes(table, gain, bias, offset_record.attrs["logit_norm_eps"])
    np.testing.assert_allclose(logits(offset_record, stage).values.reshape(3, 35), expected, rtol=1e-4, atol=1e-4)
    found = prediction(offset_record, stage)
    assert found.dims == ("y", "x") and found.dtype == np.uint8
    assert found.values.ravel().tolist() == reference.arg_max(expected)


def test_stages_differ(offset_record):
    """Without this the tests of the two stages could all pass on one of them."""
    assert (prediction(offset_record, "initial") != prediction(offset_record, "aligned")).any()


def test_epsilon_is_used(offset_record):
    wide = logits(offset_record.assign_attrs(logit_norm_eps=100.0))
    assert (abs(wide - offset_record["logit_bias"]) < abs(logits(offset_record) - offset_record["logit_bias"])).all()


def test_recomputed_logits_are_the_stored_ones(offset_record, per_pixel_record):
    for record in (offset_record, per_pixel_record):
        np.testing.assert_allclose(logits(record), record["logits"], rtol=1e-4, atol=1e-4)


def test_layer_norm_can_change_the_winner(offset_record):
    assert (scores(offset_record).argmax("cls") != prediction(offset_record)).any()


def test_missing_bias_is_zero(per_pixel_record, offset_record):
    without = logits(per_pixel_record.drop_vars("logit_bias"))
    np.testing.assert_array_equal(without, scores(per_pixel_record))
    shift = logits(offset_record) - logits(offset_record.drop_vars("logit_bias"))
    expected = np.broadcast_to(offset_record["logit_bias"].values[:, None, None], (3, 5, 7))
    np.testing.assert_allclose(shift, expected, atol=1e-5)


def test_per_pixel_stages_coincide(per_pixel_record):
    for function in (scores, logits, prediction):
        np.testing.assert_array_equal(function(per_pixel_record, "initial"), function(per_pixel_record, "aligned"))
    np.testing.assert_array_equal(aligned_feature(per_pixel_record), per_pixel_record["feature"])
    np.testing.assert_array_equal(aligned_class_embedding(per_pixel_record), per_pixel_record["class_embedding"])


def test_four_terms(offset_record):
    """scores = W E^T + W dE^T + dW E^T + dW dE^T, exactly."""
    terms = sum(
        xr.dot(offset_record[embedding], offset_record[feature], dim="channel")
        for embedding in ("class_embedding", "class_offset")
        for feature in ("feature", "feature_offset")
    )
    np.testing.assert_allclose(terms, scores(offset_record), rtol=1e-4, atol=1e-4)


def test_feature_offset_has_rank_at_most_the_number_of_classes(offset_record):
    offset = offset_record["feature_offset"].values.reshape(35, 11)
    assert np.linalg.matrix_rank(offset, rtol=1e-5) <= 3
    assert np.linalg.matrix_rank(offset_record["feature"].values.reshape(35, 11), rtol=1e-5) == 11


def test_coordinates_are_kept(offset_record):
    for function in (scores, logits):
        found = function(offset_record)
        assert found["cls"].values.tolist() == ["sky", "road", "tree"]
        assert found["color"].dims == ("cls",)
        np.testing.assert_array_equal(found["x"], offset_record["x"])
    assert set(prediction(offset_record).coords) == {"y", "x"}


def test_permuting_classes_permutes_scores(offset_record):
    order = [2, 0, 1]
    permuted = offset_record.isel(cls=order)
    np.testing.assert_allclose(scores(permuted), scores(offset_record).isel(cls=order), rtol=1e-5)
    np.testing.assert_allclose(logits(permuted), logits(offset_record).isel(cls=order), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("function", [scores, logits, prediction])
def test_unknown_stage(offset_record, function):
    with pytest.raises(UnknownNameError, match="Did you mean 'initial'"):
        function(offset_record, "initail")


def test_input_is_not_changed(offset_record):
    before = offset_record.copy(deep=True)
    prediction(offset_record)
    prediction(offset_record, "initial")
    xr.testing.assert_identical(offset_record, before)


@pytest.mark.parametrize("block", [1, 10, 2048])
def test_predictions_are_the_winners_of_the_logits_whatever_the_block(records, per_pixel_record, monkeypatch, block):
    monkeypatch.setattr(align, "_BLOCK", block)
    for record in (*records, per_pixel_record):
        for stage in ("initial", "aligned"):
            found = prediction(record, stage)
            xr.testing.assert_equal(found, winning_class(record, logits(record, stage)))
            assert found.dtype == np.uint8 and found.attrs["stage"] == stage
