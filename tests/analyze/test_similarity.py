"""Cosine similarity against loops, its dims, and its refusals."""

import numpy as np
import pytest
import reference
import xarray as xr

from offseg_viz.analyze.align import aligned_feature
from offseg_viz.analyze.similarity import cosine_similarity
from offseg_viz.errors import RecordError


def test_equals_loops_in_either_order(offset_record):
    feature = reference.flatten(offset_record["feature"].values)
    embedding = reference.rows(offset_record["class_embedding"].values)
    expected = [[reference.cosine(w, e) for e in feature] for w in embedding]
    for pair in (("feature", "class_embedding"), ("class_embedding", "feature")):
        found = cosine_similarity(*(offset_record[name] for name in pair))
        assert found.dims == ("cls", "y", "x") and found.dtype == np.float32
        np.testing.assert_allclose(found.values.reshape(3, 35), expected, atol=1e-5)
        assert set(found.coords) == {"cls", "color", "y", "x"}


def test_shared_dims_go_entry_by_entry(offset_record):
    found = cosine_similarity(offset_record["feature"], aligned_feature(offset_record))
    assert found.dims == ("y", "x")
    expected = reference.cosine(offset_record["feature"].values[3, 6], aligned_feature(offset_record).values[3, 6])
    assert float(found[3, 6]) == pytest.approx(expected, abs=1e-5)


def test_scale_does_not_matter_and_cosine_stays_in_range(offset_record):
    feature = offset_record["feature"]
    found = cosine_similarity(feature, 3 * feature)
    np.testing.assert_allclose(found, 1, atol=1e-6)
    assert float(found.max()) <= 1
    np.testing.assert_allclose(cosine_similarity(feature, -feature), -1, atol=1e-6)


@pytest.mark.filterwarnings("error")
def test_zero_vector_is_nan(offset_record):
    feature = offset_record["feature"].copy(deep=True)
    feature[2, 4] = 0
    found = cosine_similarity(feature, offset_record["class_embedding"])
    assert found[:, 2, 4].isnull().all() and int(found.isnull().sum()) == 3


def test_unequal_grids_raise(make_record):
    a, b = make_record()["feature"], make_record(size=(5, 6))["feature"]
    with pytest.raises(RecordError, match="one grid along"):
        cosine_similarity(a, b)
    shifted = a.assign_coords(x=a["x"] + 4)
    with pytest.raises(RecordError, match="one grid along"):
        cosine_similarity(a, shifted)
    assert xr.get_options()["arithmetic_join"] == "inner", "the user's own xarray options must stay as they were"


def test_other_classes_raise(offset_record):
    other = offset_record["class_embedding"].assign_coords(cls=["sky", "road", "car"])
    with pytest.raises(RecordError, match="cls"):
        cosine_similarity(offset_record["class_embedding"], other)


def test_channels_must_agree(offset_record):
    with pytest.raises(RecordError, match="11 and 10 channels"):
        cosine_similarity(offset_record["feature"], offset_record["class_embedding"][:, :10])
    with pytest.raises(RecordError, match="needs the dim 'channel'"):
        cosine_similarity(offset_record["feature"], offset_record["logits"])
