"""Compressed features against the record they stand for, in plain loops; what is measured is what is there."""

import numpy as np
import pytest
import xarray as xr
from conftest import build_record
from mask_records import build_query_record
from reference import arg_max, cosine, inner, layer_norm_over_classes, stage_pair

from offseg_viz.analyze.align import prediction
from offseg_viz.analyze.compressed_features import AGREEMENT, TOLERANCE, compressed_features
from offseg_viz.errors import RecordError


def flat(made, stage):
    """Codes of a stage as a list of rows of floats."""
    return made["feature_code"].sel(stage=stage).values.reshape(-1, made.sizes["component"]).astype(float).tolist()


def decoded_cosine(a, b, metric):
    total = 0.0
    for i, left in enumerate(a):
        for j, right in enumerate(b):
            total += left * float(metric[i, j]) * right
    return total


def class_rows(made, stage):
    """Class embeddings of a stage in the basis of the codes, [K][k]."""
    parts = ["initial"] if stage == "initial" else list(made["part"].values)
    rows = [[0.0] * made.sizes["component"] for _ in range(made.sizes["cls"])]
    for part in parts:
        for k, code in enumerate(made["class_code"].sel(part=part).values):
            for i, value in enumerate(code):
                rows[k][i] += float(value) * float(made["class_scale"].sel(part=part).values[k])
    return rows


def decoded_scores(made, stage):
    """Scores [K][P] of a stage from the codes alone."""
    lengths = made["feature_length"].sel(stage=stage).values.ravel() * float(made["length_scale"].sel(stage=stage))
    codes = flat(made, stage)
    return [[float(lengths[p]) * inner(row, codes[p]) for p in range(len(codes))] for row in class_rows(made, stage)]


@pytest.mark.parametrize("stage", ["initial", "aligned"])
def test_cosines_between_pixels_and_to_classes_are_those_of_the_record(offset_record, stage):
    made = compressed_features(offset_record)
    feature, embedding = stage_pair(offset_record, stage)
    codes, metric, rows = flat(made, stage), made["metric"].values, class_rows(made, stage)
    for p in range(0, len(feature), 5):
        for q in range(len(feature)):
            assert abs(decoded_cosine(codes[p], codes[q], metric) - cosine(feature[p], feature[q])) <= TOLERANCE
        for k, row in enumerate(embedding):
            found = inner(rows[k], codes[p]) / float(made["class_length"].sel(stage=stage)[k])
            assert abs(found - cosine(feature[p], row)) <= TOLERANCE


def test_scores_and_predictions_come_back(offset_record):
    made = compressed_features(offset_record)
    gain, bias = offset_record["logit_gain"].values, offset_record["logit_bias"].values
    for number, stage in enumerate(("initial", "aligned")):
        feature, embedding = stage_pair(offset_record, stage)
        found = decoded_scores(made, stage)
        exact = [[inner(row, pixel) for pixel in feature] for row in embedding]
        assert np.abs(np.array(found) - exact).max() < TOLERANCE * np.abs(exact).max()
        winner = arg_max(layer_norm_over_classes(found, gain, bias, 1e-5))
        same = np.mean(np.array(winner) == prediction(offset_record, stage).values.ravel())
        assert same >= AGREEMENT and made["agreement"].values[number] == same


def test_the_errors_are_those_of_the_sample(offset_record):
    made = compressed_features(offset_record)
    for stage in ("initial", "aligned"):
        feature, embedding = stage_pair(offset_record, stage)
        codes, metric, rows = flat(made, stage), made["metric"].values, class_rows(made, stage)
        pairs = [
            abs(min(1, decoded_cosine(a, b, metric)) - cosine(e, f))
            for a, e in zip(codes, feature)
            for b, f in zip(codes, feature)
        ]
        classes = [
            abs(inner(rows[k], code) / float(made["class_length"].sel(stage=stage)[k]) - cosine(e, row))
            for code, e in zip(codes, feature)
            for k, row in enumerate(embedding)
        ]
        # 20,000 of 1,225 pairs are all of them, a few in other numbers; of the classes all are taken
        assert float(made["pixel_error"].sel(stage=stage, statistic="max")) == pytest.approx(max(pairs), abs=1e-5)
        assert float(made["pixel_error"].sel(stage=stage, statistic="mean")) == pytest.approx(np.mean(pairs), rel=0.05)
        assert float(made["class_error"].sel(stage=stage, statistic="max")) == pytest.approx(max(classes), abs=1e-5)
        assert float(made["class_error"].sel(stage=stage, statistic="mean")) == pytest.approx(
            np.mean(classes), rel=0.01
        )


def test_a_smaller_tolerance_takes_more_bits_and_keeps_it(offset_record):
    rough, fine = compressed_features(offset_record), compressed_features(offset_record, tolerance=1e-4)
    assert fine.attrs["bits"] > rough.attrs["bits"] + 3
    assert fine["feature_code"].dtype == np.int16
    for made, tolerance in ((rough, TOLERANCE), (fine, 1e-4)):
        assert float(made["pixel_error"].max()) <= tolerance and float(made["class_error"].max()) <= tolerance
        assert np.abs(made["feature_code"].values.astype(int)).max() < 2 ** (made.attrs["bits"] - 1)
    assert float(rough["pixel_error"].max()) > 1e-4, "or the first would not be rough"


def test_one_byte_a_code_where_that_is_enough(offset_record):
    made = compressed_features(offset_record.isel(cls=[0]), tolerance=0.05)
    assert made["feature_code"].dtype == np.int8 and 4 <= made.attrs["bits"] <= 8


def test_features_of_few_directions_take_few_channels(offset_record):
    basis = np.random.default_rng(1).normal(size=(3, 11))
    weights = np.random.default_rng(2).normal(size=(2, 5, 7, 3))
    changed = {
        name: (("y", "x", "channel"), (values @ basis).astype(np.float32))
        for name, values in zip(("feature", "feature_offset"), weights)
    }
    made = compressed_features(offset_record.assign(changed))
    assert made.sizes["component"] == 3 and made.attrs["channels"] == 11
    assert made["feature_code"].any(("stage", "y", "x")).all()


def test_long_and_short_features_are_equally_exact(offset_record):
    factor = xr.DataArray(10.0 ** np.arange(-1, 6), dims="x")
    record = offset_record.assign(logit_bias=offset_record["logit_bias"] * 0)  # or the length would matter to it
    scaled = record.assign({name: (record[name] * factor).astype(np.float32) for name in ("feature", "feature_offset")})
    made, plain = compressed_features(scaled), compressed_features(record)
    assert float(made["pixel_error"].max()) <= TOLERANCE
    assert made.sizes == plain.sizes and (made["feature_length"] > 0).all()
    assert abs(made["feature_code"].astype(int) - plain["feature_code"].astype(int)).max() <= 2


def test_a_feature_of_zeros_stays_one(offset_record):
    changed = offset_record.copy(deep=True)
    for name in ("feature", "feature_offset"):
        changed[name][1, 2] = 0
    made = compressed_features(changed)
    assert (made["feature_length"].isel(y=1, x=2) == 0).all() and not made["feature_code"].isel(y=1, x=2).any()
    assert (made["feature_length"] == 0).sum() == 2
    nothing = compressed_features(offset_record.assign({n: changed[n] * 0 for n in ("feature", "feature_offset")}))
    assert nothing.sizes["component"] == 1 and not nothing["feature_code"].any()
    assert float(nothing["pixel_error"].max()) == 0


def test_a_per_pixel_record_has_one_stage(per_pixel_record):
    made = compressed_features(per_pixel_record)
    assert made["stage"].values.tolist() == ["initial"] and made["part"].values.tolist() == ["initial"]
    found = np.array(decoded_scores(made, "initial")) + per_pixel_record["logit_bias"].values[:, None]
    same = (found.argmax(axis=0) == prediction(per_pixel_record, "initial").values.ravel()).mean()
    assert same == float(made["agreement"][0]) >= AGREEMENT


def test_one_class_and_one_cell(offset_record):
    one = compressed_features(offset_record.isel(cls=[1]).drop_vars("label"))
    assert (one["agreement"] == 1).all() and float(one["pixel_error"].max()) <= TOLERANCE
    cell = compressed_features(offset_record.isel(y=[2], x=[3]))
    assert (cell["agreement"] == 1).all() and cell["feature_code"].shape[:3] == (2, 1, 1)


def test_the_same_record_gives_the_same_and_is_left_alone(offset_record):
    before = offset_record.copy(deep=True)
    one, two = compressed_features(offset_record), compressed_features(offset_record)
    assert one.identical(two) and offset_record.identical(before)
    assert not one.identical(compressed_features(offset_record, seed=1))


def test_what_cannot_be_compressed_is_refused(offset_record):
    with pytest.raises(RecordError, match="mask classification"):
        compressed_features(build_query_record())
    for value in (np.nan, np.inf):
        lost = offset_record.copy(deep=True)
        lost["feature"][0, 0, 0] = value
        with pytest.raises(RecordError, match="not finite.*extract it again"):
            compressed_features(lost)
    for tolerance in (0, -1, np.nan):
        with pytest.raises(RecordError, match="needed a number above 0"):
            compressed_features(offset_record, tolerance=tolerance)


def test_the_bits_end_where_nothing_more_can_be_had():
    """Two classes that are one: every pixel is a tie, which rounding breaks one way or the other."""
    record = build_record()
    for name in ("class_embedding", "class_offset"):
        record[name][1] = record[name][0] * (1 + 1e-7)
    record["logit_gain"][:], record["logit_bias"][:] = 1, 0
    made = compressed_features(record)
    assert made.attrs["bits"] <= 16 and float(made["pixel_error"].max()) <= TOLERANCE
