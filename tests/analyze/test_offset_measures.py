"""Measures of offsets against plain loops over pixels, classes and bootstrap draws."""

import math
from functools import partial

import numpy as np
import pytest
import reference
from mask_records import of_queries

from offseg_viz.analyze.align import prediction
from offseg_viz.analyze.offset_measures import CLASS_QUANTITIES, FEATURE_QUANTITIES, GROUPS, offset_measures
from offseg_viz.analyze.places import boundary_distance, object_area
from offseg_viz.errors import RecordError, UnknownNameError
from offseg_viz.extract.store import create_store, open_store
from offseg_viz.record import save_record

NAMES = ("sky", "road", "tree")


def pixels(record):
    """Of every labelled pixel: class number, place and the three figures by their definitions."""
    offset, feature = (reference.flatten(record[name].values) for name in ("feature_offset", "feature"))
    maps = [f(record).values.ravel().tolist() for f in (boundary_distance, object_area, prediction)]
    found = []
    for p, label in enumerate(record["label"].values.ravel().tolist()):
        if label == 255:
            continue
        length, size = reference.lengths([offset[p]])[0], reference.lengths([feature[p]])[0]
        found.append(
            {
                "cls": NAMES[label],
                "image": record.attrs["sample"],
                "distance": maps[0][p],
                "area": maps[1][p],
                "correct": "right" if maps[2][p] == label else "wrong",
                "feature_offset_magnitude": length,
                "feature_offset_relative": length / size if size else math.nan,
                "feature_offset_cosine": reference.cosine(offset[p], feature[p]),
            }
        )
    return found


def classes(record):
    """Of every class that is labelled: the figures of its embedding by their definitions."""
    label = record["label"].values.ravel()
    offset, embedding = (reference.rows(record[name].values) for name in ("class_offset", "class_embedding"))
    feature = record["feature"].values.reshape(-1, 11).astype(np.float64)[label != 255]
    one_hot = np.array(reference.one_hot(label[label != 255].tolist(), 3))
    ideal = reference.rows(one_hot @ np.linalg.pinv(feature.T, rcond=1e-2)) if len(feature) else []
    found = []
    for k in sorted(set(label.tolist()) - {255}):
        w = embedding[k]
        along = [reference.inner(v, w) / reference.inner(w, w) for v in (offset[k], ideal[k])]
        turned = [[a - s * b for a, b in zip(v, w, strict=True)] for v, s in zip((offset[k], ideal[k]), along)]
        found.append(
            {
                "cls": NAMES[k],
                "image": record.attrs["sample"],
                "class_offset_magnitude": reference.lengths([offset[k]])[0],
                "class_offset_relative": reference.lengths([offset[k]])[0] / reference.lengths([w])[0],
                "class_offset_cosine": reference.cosine(offset[k], w),
                "class_offset_ideal_cosine": reference.cosine(offset[k], [a - b for a, b in zip(ideal[k], w)]),
                "class_offset_ideal_turn_cosine": reference.cosine(*turned),
            }
        )
    return found


def mean(values):
    values = [value for value in values if not math.isnan(value)]
    return sum(values) / len(values) if values else math.nan


def interval(images, draws=1000):
    """Percentiles of the pooled mean over drawn images; `images` holds the values of a group in each."""
    rng, found = np.random.default_rng(0), []
    sums = [(sum(v for v in one if not math.isnan(v)), sum(not math.isnan(v) for v in one)) for one in images]
    for drawn in rng.integers(0, len(images), (draws, len(images))):
        total, count = sum(sums[i][0] for i in drawn), sum(sums[i][1] for i in drawn)
        found.append(total / count if count else math.nan)
    return np.nanpercentile(found, [2.5, 97.5])


def rows_of(table, quantity):
    part = table[table["quantity"] == quantity]
    return {row.iloc[0]: row for _, row in part.iterrows()}


def check(table, quantities, member, by, groups, records):
    """Quantities of a table against loops; `member(value, group)` says what belongs to a group."""
    found = [(classes if quantities == CLASS_QUANTITIES else pixels)(record) for record in records]
    for quantity in quantities:
        rows = rows_of(table, quantity)
        assert list(rows) == groups
        for group, row in rows.items():
            images = [[v[quantity] for v in one if group == "all" or member(v[by], group)] for one in found]
            expected = mean([value for one in images for value in one])
            np.testing.assert_allclose(row["value"], expected, rtol=1e-5, atol=1e-6)
            assert row["images"] == sum(not math.isnan(mean(one)) for one in images) and row["stage"] == ""
            if row["images"] < 2:
                assert math.isnan(row["low"]) and math.isnan(row["high"])
            else:
                np.testing.assert_allclose([row["low"], row["high"]], interval(images), rtol=1e-4, atol=1e-6)


def same(value, group):
    return value == group


@pytest.fixture(scope="module")
def larger():
    """Four records of 12 x 17 cells with objects of several sizes, all of one model."""
    from conftest import build_record

    result = []
    for seed, side in enumerate((2, 3, 6, 17)):
        rng = np.random.default_rng(seed)
        coarse = rng.integers(0, 3, (-(-12 // side), -(-17 // side)))
        label = np.kron(coarse, np.ones((side, side), int))[:12, :17]
        label[rng.random(label.shape) < 0.05] = 255
        label[2, 5] = (label[2, 6] + 1) % 3 if label[2, 6] != 255 else 0
        result.append(build_record("abcd"[seed], seed=seed, size=(12, 17), label=label))
    result[0]["feature"][3, 4] = 0
    result[1]["feature_offset"][5, 5] = 0
    return result


@pytest.mark.parametrize("by", ["cls", "image"])
def test_by_class_and_image(larger, records, by):
    for some in (larger, records):
        table = offset_measures(some, by)
        groups = [*NAMES, "all"] if by == "cls" else [record.attrs["sample"] for record in some]
        assert list(table.columns) == [by, "quantity", "stage", "value", "low", "high", "images"]
        assert table["images"].dtype.kind == "i"
        assert list(dict.fromkeys(table["quantity"])) == [*FEATURE_QUANTITIES, *CLASS_QUANTITIES]
        check(table, FEATURE_QUANTITIES, same, by, groups, some)
        check(table, CLASS_QUANTITIES, same, by, groups, some)


def test_by_distance(larger):
    def member(value, lower):
        return value / 4 >= lower / 4 - 1e-6 and (lower == 64 or value / 4 < lower / 2 - 1e-6)

    table = offset_measures(larger, "distance")
    assert table.columns[0] == "distance" and set(table["quantity"]) == set(FEATURE_QUANTITIES)
    check(table, FEATURE_QUANTITIES, member, "distance", [4, 8, 16, 32, 64], larger)
    assert set(table["images"]) > {0, 4}, "groups that are empty, and such that are full"


def test_windows_of_one_class_are_farthest_from_a_boundary(make_record):
    record = make_record(label=np.full((5, 7), 1))
    table = offset_measures([record], "distance")
    assert table[table["images"] == 1]["distance"].tolist() == [64, 64, 64]
    expected = mean([pixel["feature_offset_magnitude"] for pixel in pixels(record)])
    assert rows_of(table, "feature_offset_magnitude")[64]["value"] == pytest.approx(expected)


def test_by_area(larger):
    edges = [16, 64, 256, 1024, 4096, 16384, 65536]

    def member(value, lower):
        return (value >= lower or lower == 16) and (lower == 65536 or value < 4 * lower)

    table = offset_measures(larger, "area")
    check(table, FEATURE_QUANTITIES, member, "area", edges, larger)
    fine = [record.assign_attrs(stride=1) for record in larger]
    assert rows_of(offset_measures(fine, "area"), "feature_offset_cosine")[16]["images"] == 4, "below 16 pixels too"


def test_by_correctness(larger, records):
    for some in (larger, records):
        table = offset_measures(some, "correct")
        assert table.columns[0] == "prediction"
        check(table, FEATURE_QUANTITIES, same, "correct", ["right", "wrong"], some)


def test_scaled_offsets(records):
    """Three times the offsets: three times as long, in the same direction, but not seen from W* - W alone."""
    scaled = [r.assign(feature_offset=3 * r["feature_offset"], class_offset=3 * r["class_offset"]) for r in records]
    before, after = (offset_measures(some).set_index(["quantity", "cls"]) for some in (records, scaled))
    for quantity in (*FEATURE_QUANTITIES, *CLASS_QUANTITIES):
        factor = 3 if quantity.endswith(("magnitude", "relative")) else 1
        for column in ("value", "low", "high"):
            np.testing.assert_allclose(
                after.loc[quantity, column], factor * before.loc[quantity, column], rtol=1e-4, atol=1e-6
            )


def test_classes_in_another_order(records):
    order = [2, 0, 1]
    moved = []
    for record in records:
        label = record["label"].values
        renamed = np.where(label == 255, 255, np.argsort(order)[np.minimum(label, 2)]).astype(np.uint8)
        moved.append(record.isel(cls=order).assign(label=(("y", "x"), renamed)))
    before, after = (offset_measures(some).set_index(["quantity", "cls"]) for some in (records, moved))
    np.testing.assert_allclose(after.loc[before.index]["value"], before["value"], rtol=1e-6)


@pytest.mark.filterwarnings("error")
def test_no_offsets_at_all_and_everything_ignored(records):
    still = [r.assign(feature_offset=0 * r["feature_offset"], class_offset=0 * r["class_offset"]) for r in records]
    table = offset_measures(still)
    for quantity, rows in table.groupby("quantity"):
        assert rows["value"].isna().all() if "cosine" in quantity else (rows["value"] == 0).all()
    ignored = records[0].assign(label=records[0]["label"] * 0 + np.uint8(255))
    for by in GROUPS:
        nothing = offset_measures([ignored], by)
        assert nothing["value"].isna().all() and (nothing["images"] == 0).all()
        if by != "image":
            np.testing.assert_allclose(
                offset_measures([*records, ignored], by)["value"], offset_measures(records, by)["value"]
            )


def test_a_class_that_is_nowhere(records):
    table = offset_measures(records[2:])
    rows = table[table["cls"] == "tree"]
    assert len(rows) == 8 and rows["value"].isna().all() and (rows["images"] == 0).all()
    assert table[table["cls"] == "all"]["value"].notna().all()
    assert table["low"].isna().all(), "of one image nothing is known about others"


def test_a_store_gives_the_same(records, tmp_path):
    create_store(tmp_path / "s.zarr")
    for record in records:
        save_record(record, tmp_path / "s.zarr" / record.attrs["sample"])
    for by in GROUPS:
        found = offset_measures(open_store(tmp_path / "s.zarr"), by)
        assert found.equals(offset_measures(records, by)) and found.equals(offset_measures(iter(records), by))


def test_records_of_queries_have_feature_offsets_only(records):
    some = [of_queries(record, seed=seed) for seed, record in enumerate(records)]
    for by in ("distance", "area"):
        assert offset_measures(some, by).equals(offset_measures(records, by))
    check(offset_measures(some, "correct"), FEATURE_QUANTITIES, same, "correct", ["right", "wrong"], some)
    with pytest.raises(RecordError, match="of mask classification"):
        offset_measures(some)


def test_refusals(records, per_pixel_records):
    with pytest.raises(UnknownNameError, match="unknown group 'classes'.*cls, image, distance, area, correct"):
        offset_measures(records, "classes")
    for by in GROUPS:
        with pytest.raises(RecordError, match="'nano' has no offsets"):
            offset_measures(per_pixel_records, by)
    with pytest.raises(RecordError, match="the record of b has no label"):
        offset_measures([records[0], records[1].drop_vars("label")], "distance")
    with pytest.raises(RecordError, match="the record of b has cells of 8 pixels, the first of 4"):
        offset_measures([records[0], records[1].assign_attrs(stride=8)], "area")


@pytest.mark.parametrize("name", ["feature", "feature_offset", "class_embedding", "class_offset"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(records, name, value):
    broken = records[1].copy(deep=True)
    broken[name][(1,) * broken[name].ndim] = value
    with pytest.raises(RecordError, match="the record of b|features of b"):
        offset_measures([records[0], broken])


def test_records_stay_as_they_are(records):
    before = [record.copy(deep=True) for record in records]
    list(map(partial(offset_measures, records), GROUPS))
    assert all(record.identical(copy) for record, copy in zip(records, before, strict=True))
