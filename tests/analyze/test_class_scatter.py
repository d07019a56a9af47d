"""Scatter within and between classes against loops over pixels, and the exact decomposition."""

import math
import pickle

import numpy as np
import pandas as pd
import pytest

from offseg_viz.analyze import class_scatter as module
from offseg_viz.analyze.class_scatter import QUANTITIES, class_scatter
from offseg_viz.errors import RecordError

STAGES = ("initial", "aligned")


def mean(vectors):
    return [sum(column) / len(vectors) for column in zip(*vectors)]


def squared_distance(a, b):
    return sum((left - right) ** 2 for left, right in zip(a, b, strict=True))


def average(values):
    return sum(values) / len(values) if values else math.nan


def over(part, whole):
    return part / whole if whole > 0 else math.nan


def pixels_of(record, stage):
    """{class: features} of one record."""
    feature = record["feature"].values
    if stage == "aligned" and "feature_offset" in record:
        feature = feature + record["feature_offset"].values
    label = record["label"].values
    return {k: feature[label == k].astype(float).tolist() for k in np.unique(label).tolist() if k != 255}


def by_loops(records, stage):
    """{class number or "all": values in the order of QUANTITIES} from the definitions."""
    images = [pixels_of(record, stage) for record in records]
    classes = sorted(set().union(*images))
    of_class = {k: [x for image in images for x in image.get(k, [])] for k in classes}
    centre = mean([mean(of_class[k]) for k in classes]) if classes else None
    found, parts = {}, {}
    for k in classes:
        within, moved, several, between = [], [], [], []
        for image in images:
            if k in image:
                image_mean = mean(image[k])
                image_centre = mean([mean(x) for x in image.values()])
                for x in image[k]:
                    within.append(squared_distance(x, image_mean))
                    moved.append(squared_distance(image_mean, mean(of_class[k])))
                    if len(image) > 1:
                        several.append(squared_distance(x, image_mean))
                        between.append(squared_distance(image_mean, image_centre))
        across = average([squared_distance(x, mean(of_class[k])) for x in of_class[k]])
        apart = squared_distance(mean(of_class[k]), centre) if len(classes) > 1 else math.nan
        parts[k] = [average(within), average(moved), across, average(between), apart, average(several)]
    for k in [*classes, "all"]:
        if k == "all":
            row = [average([row[n] for row in parts.values() if not math.isnan(row[n])]) for n in range(6)]
        else:
            row = parts[k]
        found[k] = [*row[:5], over(row[5], row[3]), over(row[2], row[4])]
    return found


def found_of(table, cls, stage, column="value"):
    chosen = table[(table["cls"] == cls) & (table["stage"] == stage)].set_index("quantity")[column]
    return chosen[list(QUANTITIES)].to_numpy()


@pytest.fixture
def mixed(records, make_record):
    """Records with all classes, two, one and none."""
    road, ignored = np.ones((5, 7)), np.full((5, 7), 255)
    return [*records, make_record("d", seed=4, label=road), make_record("e", seed=5, label=ignored)]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.filterwarnings("error")
def test_equals_loops(mixed, stage):
    table = class_scatter(mixed)
    assert list(table.columns) == ["cls", "quantity", "stage", "value", "low", "high", "images"]
    assert len(table) == 4 * 2 * len(QUANTITIES)
    expected = by_loops(mixed, stage)
    for number, name in enumerate(("sky", "road", "tree")):
        np.testing.assert_allclose(found_of(table, name, stage), expected[number], rtol=1e-6)
    np.testing.assert_allclose(found_of(table, "all", stage), expected["all"], rtol=1e-6)


def test_a_class_that_no_image_holds_takes_no_part(records, make_record):
    records = [records[2], make_record("d", seed=4, label=records[2]["label"].values)]
    table = class_scatter(records)
    for name, key in (("sky", 0), ("road", 1), ("all", "all")):
        np.testing.assert_allclose(found_of(table, name, "aligned"), by_loops(records, "aligned")[key], rtol=1e-6)
    assert table[table["cls"] == "tree"][["value", "low", "high"]].isna().all(axis=None)


def test_of_per_pixel_records_both_stages_are_one(per_pixel_records):
    table = class_scatter(per_pixel_records)
    np.testing.assert_allclose(found_of(table, "tree", "aligned"), by_loops(per_pixel_records, "initial")[2], rtol=1e-6)
    a, b = (table[table["stage"] == stage].drop(columns="stage").reset_index(drop=True) for stage in STAGES)
    pd.testing.assert_frame_equal(a, b)


def test_total_is_within_images_plus_that_of_image_means(mixed):
    """The two parts against the total made without any image mean, from all pixels at once."""
    table = class_scatter(mixed)
    for stage in STAGES:
        for number, name in enumerate(("sky", "road", "tree")):
            pixels = np.array([x for record in mixed for x in pixels_of(record, stage).get(number, [])])
            total = np.square(pixels - pixels.mean(axis=0)).sum(axis=1).mean()
            within, moved, across = found_of(table, name, stage)[:3]
            assert within + moved == pytest.approx(total, rel=1e-12) and across == pytest.approx(total, rel=1e-12)


def test_scatters_grow_with_the_square_of_the_length_and_ratios_do_not(records):
    longer = [record.assign({name: record[name] * 4 for name in ("feature", "feature_offset")}) for record in records]
    a, b = class_scatter(records), class_scatter(longer)
    for stage in STAGES:
        for name in ("all", "road"):
            before, after = found_of(a, name, stage), found_of(b, name, stage)
            np.testing.assert_allclose(after[:5], 16 * before[:5], rtol=1e-6)
            np.testing.assert_allclose(after[5:], before[5:], rtol=1e-6)


def test_only_across_images_sees_a_class_that_moves_between_them(make_record):
    """All pixels of an image are shifted alike; each class has as many pixels in every image."""
    label, moved = np.arange(35).reshape(5, 7) % 3, []
    records = [make_record(str(seed), seed=seed, label=label) for seed in range(3)]
    for number, record in enumerate(records):
        moved.append(record.assign(feature=record["feature"] + np.float32(10 * number)))
    a, b = class_scatter(records), class_scatter(moved)
    for name in ("all", "sky"):
        before, after = found_of(a, name, "initial"), found_of(b, name, "initial")
        same = [0, 3, 4, 5]
        np.testing.assert_allclose(after[same], before[same], rtol=1e-4)
        assert after[6] > 5 * before[6] and after[1] > 100 > before[1]


def test_the_same_image_twice_adds_nothing_across(records):
    table = class_scatter([records[0], records[0]])
    assert found_of(table, "all", "aligned")[1] == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(found_of(table, "all", "aligned"), by_loops(records[:1], "aligned")["all"], atol=1e-9)


def test_one_class_has_nothing_between(records, make_record):
    table = class_scatter([make_record(label=np.ones((5, 7))), make_record("b", seed=1, label=np.ones((5, 7)))])
    for name in ("road", "all"):
        assert np.isnan(found_of(table, name, "initial")).tolist() == [False] * 3 + [True] * 4
        assert found_of(table, name, "initial", "images").tolist() == [2, 2, 2, 0, 2, 0, 2]
    assert np.isnan(found_of(table, "sky", "initial")).all()


@pytest.mark.filterwarnings("error")
def test_nothing_but_ignored_pixels_is_nan(make_record):
    table = class_scatter([make_record(label=np.full((5, 7), 255))] * 2)
    assert table[["value", "low", "high"]].isna().all(axis=None) and set(table["images"]) == {0}


def test_images_and_intervals(mixed):
    table = class_scatter(mixed)
    assert found_of(table, "road", "initial", "images").tolist() == [4, 4, 4, 3, 4, 3, 4]
    assert found_of(table, "tree", "initial", "images").tolist() == [2] * 7
    assert found_of(table, "all", "initial", "images").tolist() == [4, 4, 4, 3, 4, 3, 4]
    intervals = table.dropna()
    assert len(intervals) == len(table) and (intervals["low"] <= intervals["high"]).all()
    assert class_scatter(mixed[:1])[["low", "high"]].isna().all(axis=None)
    pd.testing.assert_frame_equal(table, class_scatter(mixed))
    assert not table.equals(class_scatter(mixed, seed=1))


def test_the_interval_is_that_of_drawn_sets_of_images(make_record, monkeypatch):
    """With whole weights a draw is the analysis of a list in which images stand several times."""
    monkeypatch.setattr(module, "DRAWS", 30)
    records = [make_record(str(seed), seed=seed) for seed in range(5)]
    table = class_scatter(records, seed=3)
    streamed = module.streamed_weights(draws=30, seed=3)
    weights = np.stack([next(streamed) for _ in records], axis=1)
    assert (weights.sum(axis=1) > 0).all()
    for stage in STAGES:
        drawn = []
        for row in weights:
            chosen = [record for record, times in zip(records, row) for _ in range(int(times))]
            drawn.append(by_loops(chosen, stage)["all"])
        low, high = np.percentile(drawn, [2.5, 97.5], axis=0) * by_loops(records, stage)["all"] / np.mean(drawn, axis=0)
        np.testing.assert_allclose(found_of(table, "all", stage, "low"), low, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found_of(table, "all", stage, "high"), high, rtol=1e-4, atol=1e-5)


def test_intervals_hold_the_value_although_draws_hold_fewer_different_images(make_record):
    for count in (4, 40):
        table = class_scatter([make_record(str(seed), seed=seed) for seed in range(count)])
        assert ((table["low"] <= table["value"]) & (table["value"] <= table["high"])).all()


def test_inputs_stay_as_they_were_and_the_function_travels(records):
    before = [record.copy(deep=True) for record in records]
    class_scatter(iter(records))
    assert all(record.identical(old) for record, old in zip(records, before))
    assert pickle.loads(pickle.dumps(module._of_record)) is module._of_record
    pickle.loads(pickle.dumps(module._of_record(records[0])))


def test_refusals(offset_record):
    with pytest.raises(RecordError, match=r"\[record\]"):
        class_scatter(offset_record)
    with pytest.raises(RecordError, match="found no record"):
        class_scatter([])
    with pytest.raises(RecordError, match="has no label"):
        class_scatter([offset_record.drop_vars("label")])
    for name in ("feature", "feature_offset"):
        broken = offset_record.copy(deep=True)
        broken[name].values[3, 3, 2] = np.nan
        with pytest.raises(RecordError, match="not finite at labelled pixels"):
            class_scatter([broken])
    queries = offset_record.assign(query_class=(("query", "cls"), np.eye(3, dtype=np.float32)))
    with pytest.raises(RecordError, match="mask classification"):
        class_scatter([queries])
