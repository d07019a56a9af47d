"""The four terms of a score and what they do, against plain loops."""

import math

import numpy as np
import pytest
import reference
import xarray as xr

from offseg_viz.analyze.align import logits, prediction, scores
from offseg_viz.analyze.bootstrap import image_weights
from offseg_viz.analyze.decomposition import (
    FLIPS,
    MARGIN,
    SCORE_TERMS,
    decomposition,
    last_layer_flips,
    score_terms,
)
from offseg_viz.errors import RecordError, UnknownNameError

QUANTITIES = [*((term, "") for term in SCORE_TERMS), (MARGIN, "aligned"), *FLIPS]


def four_products(record):
    """E W, E dW, dE W, dE dW as lists [K][P], from the definition."""
    return [
        reference.scores(reference.flatten(record[feature].values), reference.rows(record[embedding].values))
        for feature in ("feature", "feature_offset")
        for embedding in ("class_embedding", "class_offset")
    ]


def added(*tables):
    total = tables[0]
    for table in tables[1:]:
        total = reference.add(total, table)
    return total


def behind_layer_norm(record, table):
    gain, bias = record["logit_gain"].values, record["logit_bias"].values
    return reference.layer_norm_over_classes(table, gain, bias, record.attrs["logit_norm_eps"])


def rows_of(record):
    """For every labelled pixel: its class, then what it contributes to each of the ten quantities."""
    terms, label = four_products(record), record["label"].values.ravel().tolist()
    total = added(*terms)
    winners = [reference.arg_max(table) for table in (terms[0], added(*terms[:2]), added(terms[0], terms[2]), total)]
    behind = [reference.arg_max(behind_layer_norm(record, table)) for table in (terms[0], total)]
    found = []
    for p, k in enumerate(label):
        if k == 255:
            continue
        rival = max((j for j in range(len(total)) if j != k), key=lambda j: total[j][p])
        parts = [term[k][p] - term[rival][p] for term in terms]
        flips = [winners[0][p] != other[p] for other in winners[1:]]
        flips += [winners[0][p] != behind[0][p], winners[3][p] != behind[1][p]]
        found.append((k, [*parts, total[k][p] - total[rival][p], *map(float, flips)]))
    return found


def mean_of(rows, k=None):
    chosen = [values for number, values in rows if k is None or number == k]
    return [sum(column) / len(chosen) for column in zip(*chosen)] if chosen else [math.nan] * len(QUANTITIES)


def value(table, group, quantity, stage=""):
    row = table[(table.iloc[:, 0] == group) & (table["quantity"] == quantity) & (table["stage"] == stage)]
    assert len(row) == 1
    return row.iloc[0]


def test_terms_equal_loops(offset_record):
    found = score_terms(offset_record)
    assert found.dims == ("term", "cls", "y", "x") and found["term"].values.tolist() == list(SCORE_TERMS)
    assert found["cls"].values.tolist() == ["sky", "road", "tree"] and found.dtype == np.float32
    np.testing.assert_array_equal(found["x"], offset_record["x"])
    for term, expected in zip(found, four_products(offset_record), strict=True):
        np.testing.assert_allclose(term.values.reshape(3, 35), expected, rtol=1e-4, atol=1e-4)


def test_terms_sum_to_the_aligned_scores(make_record):
    record = make_record(seed=5, size=(13, 17))
    terms, aligned = score_terms(record), scores(record)
    assert abs(terms.sum("term") - aligned).max() <= 1e-5 * abs(aligned).max()
    np.testing.assert_array_equal(terms.sel(term="E W").values, scores(record, "initial").values)


def test_terms_of_one_class_are_maps(offset_record):
    found, everything = score_terms(offset_record, cls="tree"), score_terms(offset_record)
    assert found.dims == ("term", "y", "x") and found["cls"].item() == "tree"
    np.testing.assert_allclose(found, everything.sel(cls="tree"), rtol=1e-4, atol=1e-5)
    with pytest.raises(UnknownNameError, match="Did you mean 'tree'"):
        score_terms(offset_record, cls="trees")


@pytest.mark.parametrize("stage", ["initial", "aligned"])
def test_last_layer_flips_equal_loops(offset_record, stage):
    terms = four_products(offset_record)
    table = terms[0] if stage == "initial" else added(*terms)
    before, after = reference.arg_max(table), reference.arg_max(behind_layer_norm(offset_record, table))
    found = last_layer_flips(offset_record, stage)
    assert found.dims == ("y", "x") and found.dtype == bool and found.attrs["stage"] == stage
    assert found.values.ravel().tolist() == [a != b for a, b in zip(before, after, strict=True)]
    assert 0 < found.mean() < 1
    np.testing.assert_array_equal(
        found, scores(offset_record, stage).values.argmax(axis=0) != prediction(offset_record, stage)
    )


def test_a_layer_norm_of_equal_gains_flips_nothing(offset_record):
    plain = offset_record.assign(
        logit_gain=offset_record["logit_gain"] * 0 + 1, logit_bias=offset_record["logit_bias"] * 0
    )
    assert not last_layer_flips(plain).any() and not last_layer_flips(plain, "initial").any()


def test_the_bias_of_a_per_pixel_classifier_flips_too(per_pixel_record):
    assert last_layer_flips(per_pixel_record).any()
    assert not last_layer_flips(per_pixel_record.drop_vars("logit_bias")).any()


def test_table_equals_loops(records):
    table = decomposition(records)
    assert table.columns.tolist() == ["cls", "quantity", "stage", "value", "low", "high", "images"]
    assert table["cls"].drop_duplicates().tolist() == ["sky", "road", "tree", "all"]
    rows = [row for record in records for row in rows_of(record)]
    for k, name in enumerate(["sky", "road", "tree", "all"]):
        expected = mean_of(rows, None if name == "all" else k)
        for (quantity, stage), number in zip(QUANTITIES, expected, strict=True):
            row = value(table, name, quantity, stage)
            assert row["value"] == pytest.approx(number, rel=1e-4, abs=1e-5), (name, quantity, stage)
            assert row["images"] == (2 if name == "tree" else 3)
    assert table["value"].abs().min() > 0, "a quantity that is zero would prove little here"


def test_terms_sum_to_the_margin_and_have_intervals_over_images(records):
    table = decomposition(records)
    for name in ("sky", "tree", "all"):
        parts = sum(value(table, name, term)["value"] for term in SCORE_TERMS)
        assert parts == pytest.approx(value(table, name, MARGIN, "aligned")["value"])
    of_image = [[values for number, values in rows_of(record) if number == 1] for record in records]
    drawn = []
    for weights in image_weights(3):
        count = sum(w * len(rows) for w, rows in zip(weights, of_image))
        total = sum(w * sum(values[1] for values in rows) for w, rows in zip(weights, of_image))
        drawn.append(total / count)
    row = value(table, "road", "E dW")
    np.testing.assert_allclose([row["low"], row["high"]], np.percentile(drawn, [2.5, 97.5]), rtol=1e-3)
    assert row["low"] < row["value"] < row["high"]


def test_table_by_image(records):
    table = decomposition(records, by="image")
    assert table.columns[0] == "image" and table["image"].drop_duplicates().tolist() == ["a", "b", "c"]
    for record in records:
        for (quantity, stage), number in zip(QUANTITIES, mean_of(rows_of(record)), strict=True):
            row = value(table, record.attrs["sample"], quantity, stage)
            assert row["value"] == pytest.approx(number, rel=1e-4, abs=1e-5)
    assert table["low"].isna().all() and (table["images"] == 1).all()
    with pytest.raises(UnknownNameError, match="cls, image"):
        decomposition(records, by="class")


def test_zero_offsets_add_and_flip_nothing(records):
    still = [
        record.assign({name: record[name] * 0 for name in ("feature_offset", "class_offset")}) for record in records
    ]
    table = decomposition(still)
    zero = table["quantity"].isin(["E dW", "dE W", "dE dW", *(name for name, stage in FLIPS if not stage)])
    assert (table[zero]["value"] == 0).all()
    for name in ("sky", "all"):
        assert value(table, name, "E W")["value"] == pytest.approx(value(table, name, MARGIN, "aligned")["value"])
        flips = [value(table, name, "flips_by_last_layer", stage)["value"] for stage in ("initial", "aligned")]
        assert flips[0] == flips[1] > 0


def test_permuting_classes_permutes_rows(make_record):
    order = [2, 0, 1]
    made = [make_record(sample, seed=seed) for seed, sample in enumerate("ab")]
    new_number = np.full(256, 255, np.uint8)
    new_number[order] = [0, 1, 2]
    permuted = [one.isel(cls=order).assign(label=(("y", "x"), new_number[one["label"].values])) for one in made]
    before, after = decomposition(made), decomposition(permuted)
    keys = ["cls", "quantity", "stage"]
    assert after["cls"].iloc[0] == "tree"
    np.testing.assert_allclose(
        after.sort_values(keys)["value"], before.sort_values(keys)["value"], rtol=1e-4, atol=1e-5
    )


def test_classes_and_images_without_labels(make_record):
    nothing = make_record("n", seed=7, label=np.full((5, 7), 255))
    no_tree = make_record("t", seed=8, label=np.arange(35).reshape(5, 7) % 2)
    table = decomposition([nothing, no_tree])
    assert table[table["cls"] == "tree"]["value"].isna().all() and (table[table["cls"] == "tree"]["images"] == 0).all()
    assert value(table, "all", "E W")["images"] == 1
    assert table[["low", "high"]].isna().all().all(), "one image says nothing of others"
    expected = mean_of(rows_of(no_tree))
    assert value(table, "all", "dE dW")["value"] == pytest.approx(expected[3], rel=1e-4)
    alone = decomposition([nothing])
    assert alone["value"].isna().all() and (alone["images"] == 0).all()
    by_image = decomposition([nothing, no_tree], by="image")
    assert by_image[by_image["image"] == "n"]["value"].isna().all()
    assert by_image[by_image["image"] == "n"]["images"].eq(0).all()


def test_one_image_has_no_interval(offset_record):
    table = decomposition([offset_record])
    assert table["low"].isna().all() and table["high"].isna().all() and table["value"].notna().all()


def test_one_class_has_no_rival(offset_record):
    label = np.where(offset_record["label"] == 255, 255, 0).astype(np.uint8)
    record = offset_record.isel(cls=[0]).assign(label=(("y", "x"), label))
    table = decomposition([record, record])
    margin = table["quantity"].isin([*SCORE_TERMS, MARGIN])
    assert table[margin]["value"].isna().all() and (table[~margin]["value"] == 0).all()


def test_nan_features_are_refused(records):
    broken = records[1].copy(deep=True)
    broken["feature"].values[2, 3, 4] = np.nan
    with pytest.raises(RecordError, match="the record of b gives NaN at 1 pixels"):
        decomposition([records[0], broken])
    with pytest.raises(RecordError, match="the record of b gives NaN"):
        last_layer_flips(broken)


def test_records_that_do_not_suit(records, per_pixel_record, query_record):
    for function in (score_terms, lambda record: decomposition([record])):
        with pytest.raises(RecordError, match="'nano' has no offsets"):
            function(per_pixel_record)
    with pytest.raises(RecordError, match="is of mask classification"):
        decomposition([query_record])
    with pytest.raises(RecordError, match="is of mask classification"):
        last_layer_flips(query_record)
    with pytest.raises(RecordError, match="the scores of one class needs a record of a per-pixel network"):
        score_terms(query_record, cls="sky")
    with pytest.raises(RecordError, match="has no label"):
        decomposition([records[0].drop_vars("label")])
    with pytest.raises(RecordError, match="one record where several belong"):
        decomposition(records[0])


@pytest.fixture
def query_record(offset_record):
    """The record with its three classes as four queries of mask classification."""
    queries = offset_record.drop_vars(["logit_gain", "logit_bias"]).isel(cls=[0, 1, 2, 1])
    queries = queries.drop_vars(["cls", "color"]).rename(cls="query")
    share = np.random.default_rng(3).dirichlet(np.ones(4), 4)[:, :3].astype(np.float32)
    return queries.assign(query_class=(("query", "cls"), share)).assign_coords(
        cls=offset_record["cls"], color=offset_record["color"]
    )


def test_terms_of_queries(query_record):
    found = score_terms(query_record)
    assert found.dims == ("term", "query", "y", "x") and found.sizes["query"] == 4
    np.testing.assert_allclose(found.sum("term"), logits(query_record), rtol=1e-4, atol=1e-4)


def test_input_is_not_changed(records):
    before = [record.copy(deep=True) for record in records]
    decomposition(records)
    last_layer_flips(records[0])
    for record, copy in zip(records, before, strict=True):
        xr.testing.assert_identical(record, copy)
