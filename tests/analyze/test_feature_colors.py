"""False colours of features: axes against plain loops, colours against the published steps of OKLab."""

import math

import numpy as np
import pytest
import reference
from mask_records import of_queries

from offseg_viz.analyze import feature_colors as module
from offseg_viz.analyze.feature_colors import (
    AXES,
    feature_axis_places,
    feature_color_basis,
    feature_colors,
    visible_offset,
)
from offseg_viz.errors import RecordError, UnknownNameError
from offseg_viz.extract.store import create_store, open_store
from offseg_viz.record import save_record


@pytest.fixture
def basis(records):
    return feature_color_basis(records)


def points(records):
    """Features of both stages of all pixels, a list of rows."""
    return [pixel for record in records for stage in ("initial", "aligned") for pixel in stage_rows(record, stage)]


def stage_rows(record, stage):
    return reference.stage_pair(record, stage)[0]


def covariance(rows):
    mean = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    size = range(len(mean))
    total = [[sum((row[i] - mean[i]) * (row[j] - mean[j]) for row in rows) for j in size] for i in size]
    return mean, total


def slow_color(places):
    """OKLab to sRGB, step by step as Ottosson writes it, of three places from -1 to 1."""
    lightness, a, b = 0.30 + (places[0] + 1) / 2 * 0.63, 0.15 * places[2], 0.15 * places[1]
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    middle = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = [
        4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * middle + 1.7076147010 * short,
    ]
    channels = []
    for value in linear:
        value = min(max(value, 0), 1)
        channels.append(12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055)
    return [round(255 * value) for value in channels]


def test_the_axes_are_those_of_all_pixels_and_both_stages(records, basis):
    mean, scatter = covariance(points(records))
    np.testing.assert_allclose(basis["mean"], mean, rtol=1e-5, atol=1e-6)
    assert basis.attrs == {"pixels": 3 * 35, "seed": 0} and basis["axis"].values.tolist() == list(AXES)
    whole = sum(scatter[i][i] for i in range(11))
    for direction, share in zip(basis["direction"].values.tolist(), basis["explained_variance"].values):
        moved = [reference.inner(row, direction) for row in scatter]
        variance = reference.inner(moved, direction)
        assert share == pytest.approx(variance / whole, rel=1e-5)
        np.testing.assert_allclose(moved, [variance * value for value in direction], rtol=1e-3, atol=1e-3 * variance)
        assert max(direction, key=abs) > 0 and reference.inner(direction, direction) == pytest.approx(1)
    assert list(basis["explained_variance"].values) == sorted(basis["explained_variance"].values, reverse=True)


def test_places_ends_and_colours_equal_loops(records, basis):
    found = {stage: feature_axis_places(records[1], basis, stage=stage) for stage in ("initial", "aligned")}
    for stage, places in found.items():
        assert places.dims == ("y", "x", "axis") and places.dtype == np.float64
        for place, row in zip(places.values.reshape(-1, 3), stage_rows(records[1], stage), strict=True):
            centred = [value - middle for value, middle in zip(row, basis["mean"].values.tolist())]
            expected = [reference.inner(centred, direction) for direction in basis["direction"].values.tolist()]
            np.testing.assert_allclose(place, expected, rtol=1e-4, atol=1e-4)
    everything = [feature_axis_places(r, basis, stage=s).values.reshape(-1, 3) for r in records for s in found]
    low, high = np.quantile(np.concatenate(everything), (0.01, 0.99), axis=0)
    np.testing.assert_allclose(basis["low"], low, rtol=1e-5)
    np.testing.assert_allclose(basis["high"], high, rtol=1e-5)
    colors = feature_colors(records[1], basis)
    assert colors.dims == ("y", "x", "rgb") and colors.dtype == np.uint8 and colors.sizes["rgb"] == 3
    for color, place in zip(colors.values.reshape(-1, 3), found["aligned"].values.reshape(-1, 3), strict=True):
        stretched = [min(max((p - (a + b) / 2) / ((b - a) / 2), -1), 1) for p, a, b in zip(place, low, high)]
        np.testing.assert_allclose(color.astype(int), slow_color(stretched), atol=1)


def test_one_colour_means_one_feature(records, basis):
    twin = records[0].assign(feature=records[1]["feature"])
    np.testing.assert_array_equal(
        feature_colors(twin, basis, stage="initial"), feature_colors(records[1], basis, stage="initial")
    )
    assert (feature_colors(records[0], basis) != feature_colors(records[0], basis, stage="initial")).any()


def test_the_visible_offset_is_the_part_of_the_offset_along_the_axes(records, basis):
    found, squares, whole = visible_offset(records[0], basis), 0.0, 0.0
    for length, row in zip(found.values.ravel(), reference.flatten(records[0]["feature_offset"].values), strict=True):
        square = sum(reference.inner(row, axis) ** 2 for axis in basis["direction"].values.tolist())
        assert length == pytest.approx(math.sqrt(square), rel=1e-5)
        squares, whole = squares + square, whole + reference.inner(row, row)
    assert found.attrs["share"] == pytest.approx(squares / whole)
    between = feature_axis_places(records[0], basis) - feature_axis_places(records[0], basis, stage="initial")
    np.testing.assert_allclose(found, np.sqrt((between**2).sum("axis")), rtol=1e-4)
    still = records[0].assign(feature_offset=records[0]["feature_offset"] * 0)
    assert (visible_offset(still, basis) == 0).all() and math.isnan(visible_offset(still, basis).attrs["share"])


def test_the_draw_depends_on_seed_and_ids_alone(records, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "KEPT", 12)
    drawn = feature_color_basis(records, pixels=9)
    assert drawn.identical(feature_color_basis(records, pixels=9)) and drawn.attrs["pixels"] == 27
    assert not drawn.equals(feature_color_basis(records, pixels=9, seed=1))
    turned = feature_color_basis(records[::-1], pixels=9)
    for name in drawn.data_vars:
        np.testing.assert_allclose(turned[name], drawn[name], rtol=1e-6, atol=1e-9)
    store = create_store(tmp_path / "store")
    for record in records:
        save_record(record, store.path_of(record.attrs["sample"]))
    assert feature_color_basis(open_store(store.path), pixels=9).identical(drawn)


def test_memory_does_not_grow_with_the_number_of_records(make_record, monkeypatch):
    monkeypatch.setattr(module, "KEPT", 12)
    sizes, quantile = [], np.quantile
    monkeypatch.setattr(
        np, "quantile", lambda values, *args, **kw: (sizes.append(len(values)), quantile(values, *args, **kw))[1]
    )
    feature_color_basis(make_record(f"r{k}", seed=k) for k in range(6))
    assert sizes == [24]


def test_far_from_the_origin_the_axes_stay_the_same(records, basis):
    far = [record.assign(feature=record["feature"].astype(np.float64) + 1e6) for record in records]
    moved = feature_color_basis(far)
    np.testing.assert_allclose(moved["direction"], basis["direction"], atol=1e-4)
    np.testing.assert_allclose(moved["mean"], basis["mean"] + 1e6, rtol=1e-9)


def test_fewer_channels_than_axes_and_features_that_are_all_the_same(offset_record):
    two = offset_record.isel(channel=[0, 1])
    basis = feature_color_basis([two])
    assert (basis["direction"][2] == 0).all() and float(basis["explained_variance"].sum()) == pytest.approx(1)
    assert feature_colors(two, basis).shape == (5, 7, 3)
    same = offset_record.assign({name: offset_record[name] * 0 for name in ("feature", "feature_offset")})
    basis = feature_color_basis([same])
    assert (basis["explained_variance"] == 0).all()
    assert (feature_colors(same, basis).values == slow_color([0, 0, 0])).all()


def test_per_pixel_records_and_records_of_queries(per_pixel_records, offset_record):
    basis = feature_color_basis(per_pixel_records)
    both = [feature_colors(per_pixel_records[0], basis, stage=stage) for stage in ("initial", "aligned")]
    np.testing.assert_array_equal(*both)
    with pytest.raises(RecordError, match="no offsets"):
        visible_offset(per_pixel_records[0], basis)
    queries = of_queries(offset_record)
    assert feature_colors(queries, feature_color_basis([queries])).shape == (5, 7, 3)


def test_a_feature_that_is_not_finite_is_black_and_makes_no_axes(records, basis):
    broken = records[0].copy(deep=True)
    broken["feature"].values[2, 3] = np.nan
    assert (feature_colors(broken, basis).values[2, 3] == 0).all()
    with pytest.raises(RecordError, match="the features of a are not finite"):
        feature_color_basis([broken])


def test_refused(records, basis, make_record):
    with pytest.raises(RecordError, match="put it in a list"):
        feature_color_basis(records[0])
    with pytest.raises(RecordError, match="found no record"):
        feature_color_basis([])
    with pytest.raises(RecordError, match="pixels=0"):
        feature_color_basis(records, pixels=0)
    with pytest.raises(UnknownNameError, match="initial, aligned"):
        feature_colors(records[0], basis, stage="ideal")
    with pytest.raises(RecordError, match="7 channels and a basis of 11"):
        feature_colors(records[0].isel(channel=slice(7)), basis)
    with pytest.raises(RecordError, match="take records of one model"):
        feature_color_basis([records[0], records[1].isel(channel=slice(7))])


def test_inputs_are_not_changed(records, basis):
    before, kept = [record.copy(deep=True) for record in records], basis.copy(deep=True)
    feature_color_basis(records)
    feature_colors(records[0], basis)
    visible_offset(records[0], basis)
    assert all(record.identical(old) for record, old in zip(records, before, strict=True)) and basis.identical(kept)
