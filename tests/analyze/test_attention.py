"""Attentions against loops, and their sums."""

import numpy as np
import pytest
import reference
from mask_records import of_queries

from offseg_viz.analyze.attention import class_attention, coupled_attention, position_attention


@pytest.fixture
def pair(offset_record):
    return reference.flatten(offset_record["feature"].values), reference.rows(offset_record["class_embedding"].values)


def test_coupled_attention_is_not_scaled(offset_record, pair):
    found = coupled_attention(offset_record)
    assert found.dims == ("cls", "y", "x") and found.name == "coupled_attention"
    np.testing.assert_allclose(found.values.reshape(3, 35), reference.scores(*pair), rtol=1e-4, atol=1e-5)


def test_class_attention(offset_record, pair):
    found = class_attention(offset_record)
    assert found.dims == ("cls", "y", "x") and "color" in found.coords
    np.testing.assert_allclose(found.values.reshape(3, 35), reference.class_attention(*pair), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(found.sum(("y", "x")), 1, rtol=1e-5)


def test_position_attention(offset_record, pair):
    found = position_attention(offset_record)
    assert found.dims == ("y", "x", "cls") and found.shape == (5, 7, 3)
    np.testing.assert_allclose(found.values.reshape(35, 3), reference.position_attention(*pair), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(found.sum("cls"), 1, rtol=1e-5)


@pytest.mark.filterwarnings("error")
def test_large_products_do_not_overflow(offset_record):
    """exp(1e4) is infinite; the softmax is not."""
    large = offset_record.assign(feature=offset_record["feature"] * 1e4)
    for found, dims in ((class_attention(large), ("y", "x")), (position_attention(large), ("cls",))):
        assert np.isfinite(found).all()
        np.testing.assert_allclose(found.sum(dims), 1, rtol=1e-5)


def test_offsets_follow_from_attention(offset_record):
    """Eqs. (7) and (11): the attentions recomputed from a record span the offsets stored in it."""
    feature = offset_record["feature"].values.reshape(35, 11)
    attended = class_attention(offset_record).values.reshape(3, 35) @ feature
    offset = offset_record["class_offset"].values
    projection = np.linalg.lstsq(attended, offset, rcond=None)[0]
    np.testing.assert_allclose(attended @ projection, offset, rtol=1e-3, atol=1e-4)
    attended = position_attention(offset_record).values.reshape(35, 3) @ offset_record["class_embedding"].values
    offset = offset_record["feature_offset"].values.reshape(35, 11)
    projection = np.linalg.lstsq(attended, offset, rcond=1e-5)[0]
    np.testing.assert_allclose(attended @ projection, offset, rtol=1e-3, atol=1e-4)


def test_per_pixel_record_has_hypothetical_attention(per_pixel_record):
    np.testing.assert_allclose(class_attention(per_pixel_record).sum(("y", "x")), 1, rtol=1e-5)


def test_attention_of_queries(offset_record):
    record = of_queries(offset_record)
    pair = reference.flatten(record["feature"].values), reference.rows(record["class_embedding"].values)
    found = position_attention(record)
    assert found.dims == ("y", "x", "query") and found.shape == (5, 7, 4)
    np.testing.assert_allclose(found.values.reshape(35, 4), reference.position_attention(*pair), rtol=1e-4, atol=1e-6)
    assert class_attention(record).dims == ("query", "y", "x")
