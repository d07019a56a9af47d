"""Offset magnitudes against loops."""

import numpy as np
import pytest
import reference

from offseg_viz.analyze.offsets import offset_magnitude
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
    with pytest.raises(RecordError, match="'nano' is per-pixel and has no offsets.*'-offset'"):
        offset_magnitude(per_pixel_record)


def test_unknown_offset(offset_record):
    with pytest.raises(UnknownNameError, match="Did you mean 'feature'"):
        offset_magnitude(offset_record, "features")
