"""W* from sums in float32: where it is taken it is the definition's to four digits; elsewhere it is not taken."""

import numpy as np
import pytest
import xarray as xr

from offseg_viz.analyze.ideal import ideal_class_embedding, ideal_sums
from offseg_viz.analyze.single_precision import LEAST_WORK, single_precision_embedding
from offseg_viz.errors import RecordError

SIDE, CHANNELS, CLASSES = 60, 200, 12
RCOND = 1e-6


def random_record(classes=CLASSES, mean=0.5, decay=0.8, scale=1.0, seed=0):
    """Features of full rank whose spread falls by 10^decay over the channels; a tenth of the pixels is ignored."""
    random = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(random.normal(size=(CHANNELS, CHANNELS)))
    feature = random.normal(size=(SIDE, SIDE, CHANNELS)) * np.logspace(0, -decay, CHANNELS) @ turn
    feature = scale * (feature + mean * random.random(CHANNELS))
    label = random.integers(0, classes, (SIDE, SIDE)).astype(np.uint8)
    label[random.random((SIDE, SIDE)) < 0.1] = 255
    return xr.Dataset(
        {"feature": (("y", "x", "channel"), feature.astype(np.float32)), "label": (("y", "x"), label)},
        coords={"cls": [f"class {k}" for k in range(CLASSES)], "color": ("cls", ["#000000"] * CLASSES)},
        attrs={"sample": "random"},
    )


def with_feature(record, change):
    feature = record["feature"].values.copy()
    change(feature)
    return record.assign(feature=(("y", "x", "channel"), feature))


def by_definition(record):
    """M (E^T)^+ in float64; NaN for absent classes."""
    label = record["label"].values.ravel()
    feature = record["feature"].values.reshape(-1, CHANNELS).astype(np.float64)[label != 255]
    one_hot = (label[label != 255] == np.arange(CLASSES)[:, None]).astype(float)
    embedding = one_hot @ np.linalg.pinv(feature.T, rcond=RCOND)
    embedding[one_hot.sum(axis=1) == 0] = np.nan
    return embedding


def largest_difference(found, expected):
    """Relative, of the rows that are not NaN, which have to be the same."""
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    present = ~np.isnan(expected).any(axis=1)
    distance = np.linalg.norm((found - expected)[present], axis=1)
    return (distance / np.linalg.norm(expected[present], axis=1)).max()


@pytest.mark.parametrize("classes", [1, 2, CLASSES])
@pytest.mark.parametrize("changes", [{}, {"mean": 0}, {"mean": 1, "decay": 0.2}, {"scale": 1e-6}, {"scale": 1e6}])
def test_it_equals_the_definition(classes, changes):
    record = random_record(classes, **changes)
    before = record.copy(deep=True)
    found = single_precision_embedding(record, RCOND)
    assert found.dtype == np.float64 and largest_difference(found, by_definition(record)) < 1e-4
    np.testing.assert_array_equal(ideal_class_embedding(record).values, found)
    xr.testing.assert_identical(record, before)


def dead_channel(feature):
    feature[..., 3] = 0


def doubled_channel(feature):
    feature[..., 3] = feature[..., 4]


def few_dimensions(feature):
    feature[...] = feature[..., :20] @ np.random.default_rng(1).normal(size=(20, CHANNELS)).astype(np.float32)


def channel_that_hardly_varies(feature):
    feature[..., 3] *= 1e-3


def one_pixel_far_away(feature):
    feature[-1, -2] *= 1e3


@pytest.mark.parametrize(
    "change", [dead_channel, doubled_channel, few_dimensions, channel_that_hardly_varies, one_pixel_far_away]
)
def test_features_that_need_more_than_float32_get_it(change):
    record = with_feature(random_record().assign(label=random_record()["label"] % 2), change)
    assert single_precision_embedding(record, RCOND) is None
    expected = ideal_sums(record).class_embedding(RCOND)
    np.testing.assert_array_equal(ideal_class_embedding(record).values, expected)
    np.testing.assert_allclose(expected, by_definition(record), rtol=1e-5, atol=1e-9 * np.nanmax(np.abs(expected)))


def test_a_cut_off_that_may_cut_is_left_to_the_eigenvalues():
    record = random_record(mean=0, decay=0.5)  # no singular value is below a third of the largest
    assert single_precision_embedding(record, 1e-2) is not None
    assert single_precision_embedding(record, 0.5) is None
    found = ideal_class_embedding(record, rcond=0.5).values
    np.testing.assert_array_equal(found, ideal_sums(record).class_embedding(0.5))
    assert largest_difference(found, by_definition(record)) > 0.01


def test_small_records_stay_exact():
    record = random_record().isel(y=slice(LEAST_WORK // (SIDE * CHANNELS**2)))
    assert single_precision_embedding(record, RCOND) is None
    assert largest_difference(ideal_class_embedding(record).values, by_definition(record)) < 1e-9


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
@pytest.mark.parametrize("pixel", [(0, 0), (-1, -2)], ids=["in the sample", "elsewhere"])
def test_values_that_float32_cannot_square(value, pixel):
    record = random_record()
    record["label"].values[pixel] = 0

    def change(feature):
        feature[(*pixel, 5)] = value

    changed = with_feature(record, change)
    assert single_precision_embedding(changed, RCOND) is None
    if np.isfinite(value):
        assert np.isfinite(ideal_class_embedding(changed).values).all()
    else:
        with pytest.raises(RecordError, match="not finite at labelled pixels"):
            ideal_class_embedding(changed)
    ignored = changed.copy(deep=True)
    ignored["label"].values[pixel] = 255
    assert np.isfinite(ideal_class_embedding(ignored).values).all()


def test_without_labelled_pixels_it_is_refused():
    record = random_record()
    record["label"].values[...] = 255
    assert single_precision_embedding(record, RCOND) is None
    with pytest.raises(RecordError, match="every pixel of random is ignored"):
        ideal_class_embedding(record)
    with pytest.raises(RecordError, match="no label"):
        ideal_class_embedding(record.drop_vars("label"))
