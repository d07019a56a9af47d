"""Class means against loops over pixels."""

import numpy as np
import pytest
import reference
import xarray as xr

from offseg_viz.analyze import class_means
from offseg_viz.analyze.align import aligned_feature
from offseg_viz.analyze.class_means import class_sums, feature_class_mean
from offseg_viz.errors import RecordError, UnknownNameError


def by_loops(feature, label, classes=3):
    """Mean of the pixels of each class, NaN where there is none: [K][C]."""
    result = []
    for k in range(classes):
        chosen = [pixel for pixel, value in zip(feature, label, strict=True) if value == k]
        result.append([sum(column) / len(chosen) for column in zip(*chosen)] if chosen else [np.nan] * len(feature[0]))
    return result


@pytest.mark.parametrize("stage", ["initial", "aligned"])
@pytest.mark.parametrize("block", [4, 4096])
def test_equals_loops(records, stage, block, monkeypatch):
    monkeypatch.setattr(class_means, "BLOCK", block)
    for record in records:
        before = record.copy(deep=True)
        found = feature_class_mean(record, stage)
        feature = record["feature"] if stage == "initial" else record["feature"] + record["feature_offset"]
        expected = by_loops(reference.flatten(feature.values), record["label"].values.ravel().tolist())
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        assert found.dims == ("cls", "channel") and found.dtype == np.float64 and set(found.coords) == {"cls", "color"}
        assert found.attrs["stage"] == stage
        xr.testing.assert_identical(record, before)


def test_absent_class_is_nan_and_one_class_is_enough(records, make_record):
    found = feature_class_mean(records[2])
    assert found.sel(cls="tree").isnull().all() and found.sel(cls=["sky", "road"]).notnull().all()
    record = make_record(label=np.ones((5, 7)))
    found = feature_class_mean(record)
    np.testing.assert_allclose(found.sel(cls="road"), record["feature"].mean(["y", "x"]), rtol=1e-5)
    assert found.sel(cls=["sky", "tree"]).isnull().all()


def test_ignored_pixels_take_no_part(offset_record):
    feature = offset_record["feature"].values.copy()
    feature[offset_record["label"].values == 255] = np.nan
    changed = offset_record.assign(feature=(("y", "x", "channel"), feature))
    xr.testing.assert_identical(feature_class_mean(changed), feature_class_mean(offset_record))
    ignored = offset_record.assign(label=offset_record["label"] * 0 + np.uint8(255))
    assert feature_class_mean(ignored).isnull().all()


def test_without_offsets_both_stages_are_one(per_pixel_record):
    found = [feature_class_mean(per_pixel_record, stage).values for stage in ("initial", "aligned")]
    np.testing.assert_array_equal(*found)


def test_permuted_classes_permute_the_means(offset_record):
    label = offset_record["label"].values
    turned = np.where(label == 255, 255, (label + 1) % 3).astype(np.uint8)
    found = feature_class_mean(offset_record.assign(label=(("y", "x"), turned)))
    np.testing.assert_array_equal(found, np.roll(feature_class_mean(offset_record), 1, axis=0))


def test_sums_of_images_are_those_of_both_together(records):
    (a, sums_a), (b, sums_b) = (class_sums(record, "aligned") for record in records[:2])
    feature = np.concatenate([aligned_feature(record).values.reshape(35, 11) for record in records[:2]])
    label = np.concatenate([record["label"].values.ravel() for record in records[:2]])
    assert (a + b).tolist() == [int((label == k).sum()) for k in range(3)]
    np.testing.assert_allclose(sums_a + sums_b, [feature[label == k].sum(axis=0) for k in range(3)], rtol=1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_refusals(offset_record, value):
    with pytest.raises(RecordError, match="the record of a has no label"):
        feature_class_mean(offset_record.drop_vars("label"))
    with pytest.raises(UnknownNameError, match="Valid: initial, aligned"):
        feature_class_mean(offset_record, "ideal")
    feature = offset_record["feature"].values.copy()
    feature[0, 0, 5] = value
    with pytest.raises(RecordError, match="the features of a are not finite"):
        feature_class_mean(offset_record.assign(feature=(("y", "x", "channel"), feature)))
