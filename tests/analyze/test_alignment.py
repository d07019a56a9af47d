"""Alignment of features and class embeddings, against loops over pixels written from the definitions."""

import math
import pickle
from functools import partial

import numpy as np
import pandas as pd
import pytest
import reference
import xarray as xr

from offseg_viz.analyze import alignment as module
from offseg_viz.analyze.align import prediction
from offseg_viz.analyze.alignment import alignment, class_embedding_angle, class_margin, ideal_angle, own_class_cosine
from offseg_viz.analyze.bootstrap import image_weights
from offseg_viz.errors import RecordError, UnknownNameError

MAPS = (own_class_cosine, class_margin, ideal_angle)
STAGES = ("initial", "aligned")
PER_PIXEL = ("own_class_cosine", "centred_class_cosine", "logit_margin", "accuracy", "ideal_angle")


def ideal_embedding(record, rcond=1e-2):
    """W* = M (E^T)^+ by numpy's pseudo-inverse; NaN for absent classes."""
    label = record["label"].values.ravel()
    feature = np.array(reference.flatten(record["feature"].values))[label != 255]
    one_hot = np.array(reference.one_hot(label[label != 255].tolist(), record.sizes["cls"]))
    embedding = one_hot @ np.linalg.pinv(feature.T, rcond=rcond)
    embedding[one_hot.sum(axis=1) == 0] = np.nan
    return embedding.tolist()


def margin(table, own, pixel):
    return table[own][pixel] - max(row[pixel] for k, row in enumerate(table) if k != own)


def degrees(cosine):
    return math.degrees(math.acos(cosine))


def centred(vectors, over=None):
    """Less the mean of those whose numbers are in `over`, by default of all."""
    over = range(len(vectors)) if over is None else over
    mean = [sum(vectors[k][c] for k in over) / len(over) for c in range(len(vectors[0]))]
    return [[value - off for value, off in zip(vector, mean)] for vector in vectors]


def by_pixel(record, stage):
    """Of each labelled pixel: number, class, two cosines, score and logit margin, angle to the ideal embedding."""
    feature, embedding = reference.stage_pair(record, stage)
    ideal, scores = ideal_embedding(record), reference.scores(feature, embedding)
    if "logit_gain" in record:
        last = (record[name].values for name in ("logit_gain", "logit_bias"))
        logits = reference.layer_norm_over_classes(scores, *last, record.attrs["logit_norm_eps"])
    else:
        logits = [[value + float(b) for value in row] for row, b in zip(scores, record["logit_bias"].values)]
    found = []
    for p, own in enumerate(record["label"].values.ravel().tolist()):
        if own != 255:
            cosine, angle = reference.cosine(feature[p], embedding[own]), reference.cosine(feature[p], ideal[own])
            free = reference.cosine(feature[p], centred(embedding)[own])
            found.append((p, own, cosine, free, margin(scores, own, p), margin(logits, own, p), degrees(angle)))
    return found


def embedding_angles(record, stage, *, free=False):
    """By class; NaN where absent. `free` of what the classes that occur have in common."""
    (_, embedding), ideal = reference.stage_pair(record, stage), ideal_embedding(record)
    if free:
        present = [k for k in range(len(ideal)) if not math.isnan(ideal[k][0])]
        embedding, ideal = centred(embedding, present), centred(ideal, present)
    cosines = [reference.cosine(w, i) for w, i in zip(embedding, ideal)]
    return [math.nan if math.isnan(cosine) else degrees(cosine) for cosine in cosines]


def value(table, quantity, stage, group):
    chosen = table[(table["quantity"] == quantity) & (table["stage"] == stage) & (table[table.columns[0]] == group)]
    assert len(chosen) == 1
    return chosen["value"].item()


def with_offsets_of_zero(record):
    return record.assign({name: record[name] * 0 for name in ("feature_offset", "class_offset")})


@pytest.fixture(params=["offset", "per_pixel"])
def record(request, offset_record, per_pixel_record):
    return offset_record if request.param == "offset" else per_pixel_record


@pytest.fixture
def query_record(offset_record):
    queries = offset_record.drop_vars(["logit_gain", "logit_bias"]).rename({"cls": "query"}).drop_vars("color")
    queries = queries.drop_vars("query").assign(query_class=(("query", "cls"), np.eye(3, dtype=np.float32)))
    return queries.assign_coords(cls=offset_record["cls"], color=offset_record["color"])


@pytest.mark.parametrize("stage", STAGES)
def test_maps_equal_loops(record, stage):
    pixels, *columns = zip(*[(row[0], *row[2:]) for row in by_pixel(record, stage)])
    maps = [
        own_class_cosine(record, stage),
        own_class_cosine(record, stage, centred=True),
        class_margin(record, stage, "scores"),
        class_margin(record, stage),
        ideal_angle(record, stage),
    ]
    for found, expected in zip(maps, columns, strict=True):
        assert found.dims == ("y", "x") and found.dtype == np.float32 and set(found.coords) == {"y", "x"}
        flat = found.values.ravel()
        np.testing.assert_allclose(flat[list(pixels)], expected, rtol=2e-4, atol=2e-5)
        assert np.isnan(np.delete(flat, pixels)).all() and len(pixels) == 33


@pytest.mark.parametrize("stage", STAGES)
def test_class_embedding_angle_equals_loops(records, stage):
    for record in records:
        found = class_embedding_angle(record, stage)
        assert found.dims == ("cls",) and set(found.coords) == {"cls", "color"}
        np.testing.assert_allclose(found, embedding_angles(record, stage), rtol=1e-5)
        free = class_embedding_angle(record, stage, centred=True)
        np.testing.assert_allclose(free, embedding_angles(record, stage, free=True), rtol=1e-5)
    assert np.isnan(found.sel(cls="tree")) and found.sel(cls=["sky", "road"]).notnull().all()


def test_blocks_make_no_difference(offset_record, monkeypatch):
    whole = [function(offset_record) for function in MAPS]
    monkeypatch.setattr(module, "_BLOCK", 4)
    for function, expected in zip(MAPS, whole):
        xr.testing.assert_allclose(function(offset_record), expected, rtol=1e-5)


def test_margin_is_positive_where_the_prediction_is_right(offset_record):
    for stage in STAGES:
        found = class_margin(offset_record, stage)
        right = (prediction(offset_record, stage) == offset_record["label"]).where(offset_record["label"] != 255)
        np.testing.assert_array_equal((found > 0).where(found.notnull()), right)


def test_gain_and_bias_make_margins_of_logits_another_matter(offset_record):
    scores, logits = (class_margin(offset_record, of=of) for of in ("scores", "logits"))
    assert ((scores > 0) != (logits > 0)).any() and logits.attrs["of"] == "logits"


def test_zero_offsets_change_nothing(offset_record, records):
    still = with_offsets_of_zero(offset_record)
    for function in (*MAPS, class_embedding_angle):
        np.testing.assert_allclose(function(still, "aligned"), function(still, "initial"), atol=1e-5)
    table = alignment(list(map(with_offsets_of_zero, records)), "model")
    np.testing.assert_allclose(table[table["stage"] == ""][["value", "low", "high"]], 0, atol=1e-5)


def test_the_length_of_vectors_does_not_matter_to_cosines_and_angles(per_pixel_record):
    longer = per_pixel_record.assign(feature=per_pixel_record["feature"] * 4)
    for function in (own_class_cosine, ideal_angle, class_embedding_angle):
        np.testing.assert_allclose(function(longer), function(per_pixel_record), rtol=1e-4)
    unbiased = [each.assign(logit_bias=each["logit_bias"] * 0) for each in (longer, per_pixel_record)]
    np.testing.assert_allclose(class_margin(unbiased[0]), 4 * class_margin(unbiased[1]), rtol=1e-4)


def test_what_all_class_embeddings_have_in_common_moves_only_the_plain_cosine(records):
    """It changes no prediction, so it must not change what is said about alignment either."""
    common = np.random.default_rng(8).normal(size=11).astype(np.float32) * 5
    moved = [record.assign(class_offset=record["class_offset"] + common) for record in records]
    a, b = (alignment(each, "model").set_index(["quantity", "stage"])["value"] for each in (records, moved))
    for quantity in ("centred_class_cosine", "logit_margin", "accuracy", "ideal_angle", "centred_embedding_angle"):
        assert b[quantity, "aligned"] == pytest.approx(a[quantity, "aligned"], rel=1e-3), quantity
    assert abs(b["own_class_cosine", "aligned"] - a["own_class_cosine", "aligned"]) > 0.1
    assert abs(b["class_embedding_angle", "aligned"] - a["class_embedding_angle", "aligned"]) > 5


def test_class_embeddings_that_are_ideal_have_no_angle(per_pixel_record):
    known = np.array(ideal_embedding(per_pixel_record), dtype=np.float32)
    ideal = per_pixel_record.assign(class_embedding=(("cls", "channel"), 3 * known))
    np.testing.assert_allclose(class_embedding_angle(ideal), 0, atol=1e-3)
    np.testing.assert_allclose(ideal_angle(ideal), np.degrees(np.arccos(own_class_cosine(ideal))), atol=1e-2)


@pytest.mark.filterwarnings("error")
def test_zero_and_nan_features_are_nan_in_the_map(offset_record):
    record = offset_record.copy(deep=True)
    for name in ("feature", "feature_offset"):
        record[name].values[2, 4] = 0
    for found in (own_class_cosine(record), ideal_angle(record)):
        assert np.isnan(found[2, 4]) and int(found.isnull().sum()) == 3
    record["feature"].values[3, 3] = np.nan
    for found in (own_class_cosine(record), class_margin(record)):
        assert np.isnan(found[3, 3])
    with pytest.raises(RecordError, match="not finite at labelled pixels"):
        ideal_angle(record)


def test_rcond_keeps_directions_that_hardly_vary_from_ruling_the_angle(offset_record):
    record, silent = offset_record.copy(deep=True), offset_record.copy(deep=True)
    record["feature"].values[..., 4] *= 1e-5
    silent["feature"].values[..., 4] = 0
    np.testing.assert_allclose(class_embedding_angle(record), class_embedding_angle(silent), rtol=1e-3)
    np.testing.assert_allclose(ideal_angle(record), ideal_angle(silent), rtol=1e-2)
    ruled = class_embedding_angle(record, "initial", rcond=1e-6)
    embedding = record["class_embedding"]
    along = np.degrees(np.arccos(np.abs(embedding[:, 4]) / np.sqrt((embedding**2).sum("channel"))))
    np.testing.assert_allclose(np.minimum(ruled, 180 - ruled), along, atol=0.5)
    by_image = alignment([record], "image", rcond=1e-6)
    assert value(by_image, "class_embedding_angle", "initial", "a") == pytest.approx(float(ruled.mean()))


def expected_values(records, by):
    """{(quantity, stage, group): value} by loops over records, pixels and classes."""
    parts = {}
    for number, record in enumerate(records):
        for stage in STAGES:
            for _, own, cosine, free, _, logit_margin, angle in by_pixel(record, stage):
                group = {"cls": str(record["cls"].values[own]), "image": "abc"[number], "model": record.attrs["model"]}[
                    by
                ]
                values = (cosine, free, logit_margin, float(logit_margin > 0), angle)
                for quantity, one in zip(PER_PIXEL, values, strict=True):
                    parts.setdefault((quantity, stage, group), []).append(one)
            for quantity, free in (("class_embedding_angle", False), ("centred_embedding_angle", True)):
                for own, angle in enumerate(embedding_angles(record, stage, free=free)):
                    name = str(record["cls"].values[own])
                    group = {"cls": name, "image": "abc"[number], "model": record.attrs["model"]}[by]
                    if not math.isnan(angle):
                        parts.setdefault((quantity, stage, group), []).append(angle)
    means = {key: sum(each) / len(each) for key, each in parts.items()}
    changes = {
        (f"{quantity}_change", "", group): mean - means[quantity, "initial", group]
        for (quantity, stage, group), mean in means.items()
        if stage == "aligned"
    }
    return means | changes


@pytest.mark.parametrize("by", ["cls", "image", "model"])
def test_table_equals_loops(records, by):
    table = alignment(records, by)
    assert list(table.columns) == [by, "quantity", "stage", "value", "low", "high", "images"]
    expected = expected_values(records, by)
    found = {(row.quantity, row.stage, row[0]): row.value for row in table.itertuples(index=False)}
    assert found.keys() == expected.keys()
    for key, one in expected.items():
        assert found[key] == pytest.approx(one, rel=1e-4, abs=1e-5), key


def test_table_of_per_pixel_records_equals_loops(per_pixel_records):
    table = alignment(per_pixel_records, "cls")
    for (quantity, stage, group), one in expected_values(per_pixel_records, "cls").items():
        assert value(table, quantity, stage, group) == pytest.approx(one, rel=1e-4, abs=1e-5)
    assert (table[table["stage"] == ""]["value"] == 0).all()


def test_images_are_those_that_hold_the_group(records):
    table = alignment(records)
    assert set(table[table["cls"] == "tree"]["images"]) == {2} and set(table[table["cls"] == "sky"]["images"]) == {3}
    assert set(alignment(records, "model")["images"]) == {3} and set(alignment(records, "image")["images"]) == {1}


def test_intervals_are_over_images_and_that_of_the_change_is_paired(records):
    table = alignment(records, "model").set_index(["quantity", "stage"])
    sums, counts = [], []
    for record in records:
        stages = [[row[2] for row in by_pixel(record, stage)] for stage in STAGES]
        sums.append([sum(stages[0]), sum(stages[1])])
        counts.append(len(stages[0]))
    drawn = [np.array(sums).T @ weights / (weights @ counts) for weights in image_weights(3)]
    ends = np.percentile(drawn, [2.5, 97.5], axis=0)
    change = np.percentile([after - before for before, after in drawn], [2.5, 97.5])
    for number, stage in enumerate(STAGES):
        np.testing.assert_allclose(
            table.loc["own_class_cosine", stage][["low", "high"]].tolist(), ends[:, number], atol=1e-5
        )
    np.testing.assert_allclose(table.loc["own_class_cosine_change", ""][["low", "high"]].tolist(), change, atol=1e-5)


def test_no_interval_with_fewer_than_two_images(records):
    assert alignment(records, "image")[["low", "high"]].isna().all(axis=None)
    assert alignment(records[:1], "model")[["low", "high"]].isna().all(axis=None)
    alone = alignment(records[1:]).set_index("cls")  # `tree` is in one of the two
    assert alone.loc["tree", ["low", "high"]].isna().all(axis=None) and alone.loc["tree", "value"].notna().all()
    assert alone.loc["sky", ["low", "high"]].notna().all(axis=None)


def test_one_record_by_image_is_the_mean_of_its_maps(records):
    table = alignment(records, "image")
    for record, name in zip(records, "abc"):
        for stage in STAGES:
            for quantity, found in (
                ("own_class_cosine", own_class_cosine(record, stage)),
                ("logit_margin", class_margin(record, stage)),
                ("ideal_angle", ideal_angle(record, stage)),
                ("class_embedding_angle", class_embedding_angle(record, stage)),
                ("centred_class_cosine", own_class_cosine(record, stage, centred=True)),
                ("centred_embedding_angle", class_embedding_angle(record, stage, centred=True)),
            ):
                assert value(table, quantity, stage, name) == pytest.approx(float(found.mean()), rel=1e-4, abs=1e-5)


def test_order_of_classes_only_orders_the_table(records):
    order = [2, 0, 1]
    place = np.array([order.index(k) for k in range(3)] + [255] * 253, dtype=np.uint8)
    turned = [
        record.isel(cls=order).assign(label=(("y", "x"), place[record["label"].values.astype(int)]))
        for record in records
    ]
    a, b = (alignment(each).set_index(["cls", "quantity", "stage"]).sort_index() for each in (records, turned))
    pd.testing.assert_frame_equal(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("error")
def test_classes_and_images_without_pixels(records, make_record):
    ignored = make_record("d", label=np.full((5, 7), 255))
    road = make_record("e", label=np.ones((5, 7)))
    by_image = alignment([*records, ignored], "image")
    assert by_image[by_image["image"] == "d"]["value"].isna().all() and set(by_image["images"]) == {0, 1}
    pd.testing.assert_frame_equal(
        by_image[by_image["image"] != "d"].reset_index(drop=True), alignment(records, "image")
    )
    single = alignment([road, ignored]).set_index("cls")
    alone = single.loc["road"]
    assert set(alone[alone["value"].isna()]["quantity"]) == {
        "centred_embedding_angle",
        "centred_embedding_angle_change",
    }
    assert set(alone[alone["value"].notna()]["images"]) == {1}
    assert single.loc["sky", ["value", "low", "high"]].isna().all(axis=None) and set(single.loc["sky", "images"]) == {0}
    assert alignment([ignored, ignored], "model")[["value", "low", "high"]].isna().all(axis=None)
    assert own_class_cosine(ignored).isnull().all() and class_margin(ignored).isnull().all()
    with pytest.raises(RecordError, match="every pixel of d is ignored"):
        ideal_angle(ignored)


@pytest.mark.filterwarnings("error")
def test_a_single_class_has_no_margin(offset_record):
    alone = offset_record.isel(cls=[0]).assign(label=offset_record["label"] * 0)
    assert class_margin(alone).isnull().all()
    table = alignment([alone, alone], "model").set_index("quantity")
    assert table.loc[["logit_margin", "accuracy"], "value"].isna().all()
    assert table.loc["own_class_cosine", "value"].notna().all()


def test_pixels_without_a_cosine_are_left_out_of_its_mean(offset_record):
    record = offset_record.copy(deep=True)
    for name in ("feature", "feature_offset"):
        record[name].values[2, 4] = 0
    table = alignment([record], "image")
    expected = float(own_class_cosine(record, "initial").mean())  # of 32 pixels
    assert value(table, "own_class_cosine", "initial", "a") == pytest.approx(expected, rel=1e-5)


def test_the_function_of_one_record_travels():
    function = partial(module._of_record, rcond=1e-2, by="cls")
    assert pickle.loads(pickle.dumps(function)).func is module._of_record


def test_records_stay_as_they_were(records):
    before = [record.copy(deep=True) for record in records]
    alignment(iter(records))
    for record, old in zip(records, before):
        for function in (*MAPS, class_embedding_angle):
            function(record)
        xr.testing.assert_identical(record, old)


def test_refusals(offset_record, query_record, records, make_record):
    for function in (*MAPS, class_embedding_angle):
        with pytest.raises(UnknownNameError, match="unknown stage 'final'"):
            function(offset_record, "final")
        with pytest.raises(RecordError, match="the record of a has no label"):
            function(offset_record.drop_vars("label"))
        with pytest.raises(RecordError, match="mask classification"):
            function(query_record)
        broken = offset_record.assign(class_offset=offset_record["class_offset"] * np.nan)
        with pytest.raises(RecordError, match="the aligned class embeddings of a are not finite"):
            function(broken)
    with pytest.raises(UnknownNameError, match="logits, scores"):
        class_margin(offset_record, of="masks")
    with pytest.raises(UnknownNameError, match="cls, image, model"):
        alignment(records, "class")
    with pytest.raises(RecordError, match="mask classification"):
        alignment([query_record])
    with pytest.raises(RecordError, match="has no label"):
        alignment([offset_record.drop_vars("label")])
    with pytest.raises(RecordError, match=r"\[record\]"):
        alignment(offset_record)
    with pytest.raises(RecordError, match="found records of nano, nano-offset; take those of one model"):
        alignment([offset_record, make_record(offsets=False)], "model")
    for name in ("feature", "feature_offset"):
        broken = offset_record.copy(deep=True)
        broken[name].values[3, 3, 2] = np.nan
        with pytest.raises(RecordError, match="features of a are not finite at labelled pixels"):
            alignment([broken])
