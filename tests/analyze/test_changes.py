"""What the offsets change, against plain loops over pixels, objects and bootstrap draws."""

import math

import numpy as np
import pytest
import reference
from mask_records import of_queries

from offseg_viz.analyze.align import class_maps, prediction
from offseg_viz.analyze.changes import (
    CHANGES,
    change_counts,
    change_map,
    changed_prediction,
    changes,
    shape_changes,
)
from offseg_viz.errors import RecordError, UnknownNameError
from offseg_viz.extract.store import create_store, open_store
from offseg_viz.record import save_record
from offseg_viz.shape_metrics import boundary_counts, small_object_counts

NAMES = ["sky", "road", "tree"]
KINDS = ["unchanged_right", "unchanged_wrong", "mended", "broken", "changed_wrong"]
STAGES = ("initial", "aligned")


def predicted(record, stage):
    """Arg max by loops of the logits, (P,)."""
    feature = reference.flatten(record["feature"].values)
    embedding = reference.rows(record["class_embedding"].values)
    if stage == "aligned" and "feature_offset" in record:
        feature = reference.add(feature, reference.flatten(record["feature_offset"].values))
        embedding = reference.add(embedding, reference.rows(record["class_offset"].values))
    table = reference.scores(feature, embedding)
    bias = record["logit_bias"].values
    if "logit_gain" in record:
        table = reference.layer_norm_over_classes(table, record["logit_gain"].values, bias, 1e-5)
    else:
        table = [[score + float(b) for score in row] for row, b in zip(table, bias, strict=True)]
    return reference.arg_max(table)


def kind(label, initial, aligned):
    if initial == aligned:
        return "unchanged_right" if aligned == label else "unchanged_wrong"
    if aligned == label:
        return "mended"
    return "broken" if initial == label else "changed_wrong"


def kinds(record, predict=predicted):
    """(class name, kind) of every labelled pixel."""
    triples = zip(record["label"].values.ravel().tolist(), *(predict(record, stage) for stage in STAGES), strict=True)
    return [(NAMES[label], kind(label, *both)) for label, *both in triples if label != 255]


def figures(pairs):
    """The six figures of a list of kinds."""
    if not pairs:
        return dict.fromkeys([*KINDS, "net_gain"], math.nan)
    shares = {name: sum(found == name for _, found in pairs) / len(pairs) for name in KINDS}
    return shares | {"net_gain": shares["mended"] - shares["broken"]}


def draws(count):
    return np.random.default_rng(0).integers(0, count, (1000, count))


@pytest.fixture(scope="module")
def larger():
    """Five records of 12 x 17 cells with objects of several sizes, all of one model."""
    from conftest import build_record

    result = []
    for seed, side in enumerate((2, 3, 4, 6, 12)):
        rng = np.random.default_rng(seed)
        coarse = rng.integers(0, 3, (-(-12 // side), -(-17 // side)))
        label = np.kron(coarse, np.ones((side, side), int))[:12, :17]
        label[rng.random(label.shape) < 0.05] = 255
        record = build_record("abcde"[seed], seed=seed, size=(12, 17), label=label)
        result.append(_toward_label(record, rng))
    return result


def _toward_label(record, rng):
    """`record` with features near the embeddings of their labels, so that predictions are half right."""
    label = np.minimum(record["label"].values, 2)
    noise = rng.normal(size=record["feature"].shape, scale=1.3)
    feature = record["class_embedding"].values[label] * 0.4 + noise
    return record.assign(feature=(("y", "x", "channel"), feature.astype(np.float32)))


# The map


def test_the_map_equals_loops(records, larger):
    for record in (*records, *larger):
        found = change_map(record)
        assert found.dims == ("y", "x") and found.dtype == np.uint8 and set(found.coords) == {"y", "x"}
        label = record["label"].values.ravel().tolist()
        both = zip(*(predicted(record, stage) for stage in STAGES), strict=True)
        expected = [255 if k == 255 else KINDS.index(kind(k, *pair)) for k, pair in zip(label, both, strict=True)]
        np.testing.assert_array_equal(found.values.ravel(), expected)
    assert set(np.unique([change_map(record) for record in larger])) == {0, 1, 2, 3, 4, 255}
    assert list(CHANGES) == KINDS


def test_the_map_brings_its_names_and_colours(offset_record):
    attrs = change_map(offset_record).attrs
    assert attrs["names"] == ["unchanged, right", "unchanged, wrong", "mended", "broken", "changed, wrong"]
    assert attrs["colors"] == list(CHANGES.values()) and len(set(attrs["colors"])) == 5


def test_a_per_pixel_record_changes_nothing(per_pixel_records):
    found = change_map(per_pixel_records[0])
    assert set(np.unique(found)) <= {0, 1, 255}
    table = changes(per_pixel_records).set_index("quantity")
    for name in ("mended", "broken", "changed_wrong", "net_gain"):
        assert (table.loc[name, ["value", "low", "high"]].fillna(0) == 0).all(axis=None)
    rows = table.loc["unchanged_right"].set_index("cls")
    pairs = [pair for record in per_pixel_records for pair in kinds(record)]
    assert rows.loc["all", "value"] == pytest.approx(figures(pairs)["unchanged_right"])


# The table


def test_the_table_by_class_equals_loops(records, larger):
    for some in (records, larger):
        table = changes(some)
        assert list(table.columns) == ["cls", "quantity", "stage", "value", "low", "high", "images"]
        assert (table["stage"] == "").all() and table["images"].dtype.kind == "i"
        table = table.set_index(["cls", "quantity"])
        assert table.index.tolist() == [(cls, name) for name in [*KINDS, "net_gain"] for cls in [*NAMES, "all"]]
        found = [kinds(record) for record in some]
        for cls in [*NAMES, "all"]:
            images = [[pair for pair in one if cls in ("all", pair[0])] for one in found]
            values = figures([pair for one in images for pair in one])
            drawn = [figures([pair for i in draw for pair in images[i]]) for draw in draws(len(some))]
            for name, value in values.items():
                row = table.loc[(cls, name)]
                ends = np.nanpercentile([one[name] for one in drawn], [2.5, 97.5])
                assert row["images"] > 1
                np.testing.assert_allclose(row[["value", "low", "high"]].astype(float), [value, *ends], atol=1e-12)
                assert row["images"] == sum(map(bool, images))
            np.testing.assert_allclose(table.loc[cls].loc[KINDS, "value"].sum(), 1)


def test_more_classes_than_fit_a_byte_with_their_kinds(make_record):
    rng = np.random.default_rng(0)
    names = [f"class {k}" for k in range(200)]
    few = (
        make_record(size=(12, 17)).drop_dims("cls").assign(label=(("y", "x"), rng.integers(0, 200, (12, 17), np.uint8)))
    )
    embeddings = {
        name: (("cls", "channel"), rng.normal(size=(200, 11))) for name in ("class_embedding", "class_offset")
    }
    record = few.assign(embeddings).assign_coords(cls=names)
    changed, label = change_map(record).values, record["label"].values
    table = changes([record]).set_index(["quantity", "cls"])["value"]
    for k in np.unique(label):
        for number, name in enumerate(KINDS):
            assert table[name, f"class {k}"] == pytest.approx((changed[label == k] == number).mean())


def test_the_table_by_image_equals_loops(records):
    table = changes(records, "image")
    assert table["image"].tolist() == ["a", "b", "c"] * 6 and table[["low", "high"]].isna().all(axis=None)
    for record in records:
        rows = table[table["image"] == record.attrs["sample"]].set_index("quantity")["value"]
        assert rows.to_dict() == pytest.approx(figures(kinds(record)))


def test_net_gain_is_the_gain_in_accuracy(larger):
    table = changes(larger).set_index(["quantity", "cls"])["value"]
    right = {stage: np.mean([_accuracy(r, stage) for r in larger], axis=0) for stage in STAGES}
    assert table["net_gain", "all"] == pytest.approx(
        (right["aligned"][0] - right["initial"][0]) / right["initial"][1], rel=1e-9
    )


def _accuracy(record, stage):
    counted = record["label"].values != 255
    return (prediction(record, stage).values == record["label"].values)[counted].sum(), counted.sum()


def test_records_of_queries(records):
    some = [of_queries(record, seed=seed) for seed, record in enumerate(records)]

    def from_maps(record, stage):
        return reference.arg_max(reference.rows(class_maps(record, stage).values.reshape(3, -1)))

    table = changes(some).set_index(["cls", "quantity"])["value"]
    expected = figures([pair for record in some for pair in kinds(record, from_maps)])
    assert table["all"].to_dict() == pytest.approx(expected)
    assert expected["mended"] + expected["broken"] + expected["changed_wrong"] > 0
    assert shape_changes(some)["value"].notna().any()
    plain = [record.drop_vars(["feature_offset", "class_offset"]) for record in some]
    assert set(np.unique(change_map(plain[0]))) <= {0, 1, 255}


def test_offsets_of_zero_change_nothing(records):
    still = [r.assign(feature_offset=0 * r["feature_offset"], class_offset=0 * r["class_offset"]) for r in records]
    table = changes(still).set_index(["quantity", "cls"])["value"]
    assert (table[["mended", "broken", "changed_wrong", "net_gain"]] == 0).all()
    shapes = shape_changes(still)
    assert (shapes[shapes["quantity"].str.endswith("_change")]["value"] == 0).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("function", [changes, shape_changes])
def test_classes_and_images_without_pixels(records, function):
    table = function(records[2:])
    rows = table[table["cls"] == "tree"]
    assert rows["value"].isna().all() and (rows["images"] == 0).all() and table["low"].isna().all()
    ignored = records[0].assign(label=records[0]["label"] * 0 + np.uint8(255))
    nothing = function([ignored])
    assert nothing["value"].isna().all() and (nothing["images"] == 0).all()
    both, one = function([*records, ignored]), function(records)
    np.testing.assert_allclose(both["value"], one["value"])
    assert both["images"].equals(one["images"])
    assert (change_map(ignored) == 255).all()


def test_an_ignored_image_has_no_shares(records):
    ignored = records[0].assign(label=records[0]["label"] * 0 + np.uint8(255))
    table = changes([records[1], ignored], "image")
    assert table["images"].tolist() == [1, 0] * 6 and table["value"].isna().tolist() == [False, True] * 6


def test_a_store_gives_the_same(records, tmp_path):
    create_store(tmp_path / "s.zarr")
    for record in records:
        save_record(record, tmp_path / "s.zarr" / record.attrs["sample"])
    for function in (changes, shape_changes):
        found = function(open_store(tmp_path / "s.zarr"))
        assert found.equals(function(records)) and found.equals(function(iter(records)))


# Shapes


def shape_figures(sums, labelled):
    """By class and "all": boundary IoU and recall from sums [4][K] of one stage and labelled pixels [K]."""
    intersection, union, found, objects = sums
    iou = [i / u if u and n else math.nan for i, u, n in zip(intersection, union, labelled, strict=True)]
    present = [value for value in iou if not math.isnan(value)]
    recall = [f / o if o else math.nan for f, o in zip(found, objects, strict=True)]
    mean = sum(present) / len(present) if present else math.nan
    return {
        "boundary_iou": [*iou, mean],
        "small_object_recall": [*recall, sum(found) / sum(objects) if sum(objects) else math.nan],
    }


@pytest.mark.parametrize("stride", [4, 8.0])
def test_shapes_equal_sums_over_images(larger, stride):
    some = [record.assign_attrs(stride=stride) for record in larger]
    area = 1024 / stride**2
    sums, labelled = [], []
    for record in some:
        label = record["label"].values
        one = []
        for stage in STAGES:
            maps = label, np.array(predicted(record, stage)).reshape(label.shape)
            one.append([*boundary_counts(*maps, 3), *small_object_counts(*maps, 3, area=area)])
        sums.append(one)
        labelled.append([(label == k).sum() for k in range(3)])
    sums, labelled = np.array(sums), np.array(labelled)
    table = shape_changes(some)
    assert list(table.columns) == ["cls", "quantity", "stage", "value", "low", "high", "images"]
    assert len(table) == 2 * 3 * 4
    table = table.set_index(["quantity", "stage", "cls"])

    def both(chosen):
        return [shape_figures(sums[chosen, number].sum(axis=0), labelled[chosen].sum(axis=0)) for number in (0, 1)]

    values, drawn = both(range(len(some))), [both(draw) for draw in draws(len(some))]
    objects = sums[:, 0, 3]
    counts = {"boundary_iou": labelled > 0, "small_object_recall": objects > 0}
    for quantity, counted in counts.items():
        for k, cls in enumerate([*NAMES, "all"]):
            rows = {stage: table.loc[(quantity, stage, cls)] for stage in STAGES}
            rows["change"] = table.loc[(f"{quantity}_change", "", cls)]
            for number, (name, row) in enumerate(rows.items()):

                def of(pair, quantity=quantity, k=k, name=name, number=number):
                    before, after = pair[0][quantity][k], pair[1][quantity][k]
                    return after - before if name == "change" else (before, after)[number]

                images = counted.any(axis=1).sum() if cls == "all" else counted[:, k].sum()
                assert row["images"] == images
                ends = [math.nan] * 2
                if images > 1:
                    ends = np.nanpercentile([of(pair) for pair in drawn], [2.5, 97.5])
                found = row[["value", "low", "high"]].astype(float)
                np.testing.assert_allclose(found, [of(values), *ends], atol=1e-12)
    assert objects.sum() > 5


def test_a_class_predicted_but_labelled_nowhere_is_nan(make_record):
    record = make_record(label=np.arange(35).reshape(5, 7) % 2)
    assert any((prediction(record, stage) == 2).any() for stage in STAGES)
    table = shape_changes([record]).set_index(["quantity", "stage", "cls"])["value"]
    for stage in STAGES:
        assert math.isnan(table["boundary_iou", stage, "tree"])
        rows = [table["boundary_iou", stage, cls] for cls in ("sky", "road")]
        assert table["boundary_iou", stage, "all"] == pytest.approx(np.mean(rows))


def test_on_a_grid_of_32_pixels_nothing_is_small(larger):
    table = shape_changes([record.assign_attrs(stride=32) for record in larger])
    small = table[table["quantity"].str.startswith("small")]
    assert small["value"].isna().all() and (small["images"] == 0).all()
    assert shape_changes([record.assign_attrs(stride=64) for record in larger]).equals(table)


# What is refused


@pytest.mark.parametrize("function", [changes, shape_changes])
def test_refusals(records, function):
    with pytest.raises(RecordError, match="the record of b has no label"):
        function([records[0], records[1].drop_vars("label")])
    broken = records[1].copy(deep=True)
    broken["feature"][1, 1, 1] = np.nan
    with pytest.raises(RecordError, match="the record of b gives NaN"):
        function([records[0], broken])
    with pytest.raises(RecordError, match="found no record"):
        function([])


def test_refused_maps_and_groups(records):
    with pytest.raises(UnknownNameError, match="unknown group 'classes'.*cls, image"):
        changes(records, "classes")
    with pytest.raises(RecordError, match="no label, needed to tell right from wrong"):
        change_map(records[0].drop_vars("label"))
    broken = records[0].copy(deep=True)
    broken["class_offset"][0, 0] = np.nan
    with pytest.raises(RecordError, match="the record of a gives NaN"):
        change_map(broken)


def test_records_stay_as_they_are(records):
    before = [record.copy(deep=True) for record in records]
    changes(records)
    shape_changes(records)
    change_map(records[0])
    assert all(record.identical(copy) for record, copy in zip(records, before, strict=True))


def test_any_prediction_is_compared_with_the_initial_one(records):
    record = records[0]
    initial, other = prediction(record, "initial"), prediction(record).copy(data=np.full((5, 7), 1, np.uint8))
    expected = [
        "ignored" if label == 255 else kind(label, before, 1)
        for label, before in zip(record["label"].values.ravel(), initial.values.ravel(), strict=True)
    ]
    for found in (change_map(record, predicted=other), change_map(record, initial=initial, predicted=other)):
        assert [[*KINDS, *["ignored"] * 251][k] for k in found.values.ravel()] == expected
    counts = change_counts(found)
    assert counts.to_dict() == {name: expected.count(name) for name in KINDS} and (counts > 0).sum() > 2
    assert change_map(record, initial=other).equals(change_map(record, initial=other, predicted=prediction(record)))
    with pytest.raises(RecordError, match=r"shape \(4, 7\), needed \('y', 'x'\) and \(5, 7\)"):
        change_map(record, predicted=other[:4])
    with pytest.raises(RecordError, match=r"dims \('x', 'y'\)"):
        change_map(record, initial=other.T)


def test_the_changed_prediction_needs_no_label(records, per_pixel_records):
    record = records[0].drop_vars("label")
    found, both = changed_prediction(record), [predicted(record, stage) for stage in STAGES]
    assert found.values.ravel().tolist() == [255 if a == b else b for a, b in zip(*both, strict=True)]
    assert found.attrs["empty_name"] == "unchanged" and (found != 255).any()
    assert (changed_prediction(per_pixel_records[0]) == 255).all()
    zeros = prediction(record).copy(data=np.zeros((5, 7), np.uint8))
    assert set(np.unique(changed_prediction(record, predicted=zeros))) <= {0, 255}
