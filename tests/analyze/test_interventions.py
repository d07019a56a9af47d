"""Interventions against a real forward pass of the heads, and their tables against plain loops."""

import math
from copy import deepcopy

import numpy as np
import pytest
import reference
import torch
import xarray as xr

from offseg_viz.analyze.align import logits, prediction, winning_class
from offseg_viz.analyze.bootstrap import image_weights
from offseg_viz.analyze.decomposition import score_terms
from offseg_viz.analyze.ideal import ideal_prediction
from offseg_viz.analyze.interventions import INTERVENTIONS, STRENGTHS, intervene, interventions, strength_curve
from offseg_viz.analyze.quality import class_iou
from offseg_viz.errors import RecordError, UnknownNameError
from offseg_viz.extract.store import create_store, open_store
from offseg_viz.models.mask_offset_learning import MaskOffsetLearning
from offseg_viz.models.offset_learning import OffsetLearning
from offseg_viz.record import save_record

PAIRS = [(0, 0), (1, 1), (0, 1), (1, 0), (-0.5, 2), (1.5, 0.25), (2, -0.5)]
QUERIES = 4


def arrays(tensors, names):
    return {name: getattr(tensors, name)[0].detach().numpy() for name in names}


def scaled(head, class_strength, feature_strength):
    head = deepcopy(head)
    with torch.no_grad():
        head.class_offset_proj.weight *= class_strength
        head.feature_offset_proj.weight *= feature_strength
    return head


@pytest.fixture
def head():
    torch.manual_seed(4)
    head = OffsetLearning(11, 3)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.6)
    return head


@pytest.fixture
def head_record(head, offset_record):
    """The record of one pass through the head."""
    feature = torch.from_numpy(offset_record["feature"].values).permute(2, 0, 1)[None]
    found = head.refinement(feature)
    return offset_record.assign(
        class_embedding=(("cls", "channel"), head.class_embedding.detach().numpy()),
        class_offset=(("cls", "channel"), found.class_offset[0].detach().numpy()),
        feature_offset=(("y", "x", "channel"), found.feature_offset[0].detach().numpy().reshape(5, 7, 11)),
        logits=(("cls", "y", "x"), found.logits[0].detach().numpy()),
        logit_gain=("cls", head.norm.weight.detach().numpy()),
        logit_bias=("cls", head.norm.bias.detach().numpy()),
    ).assign_attrs(logit_norm_eps=head.norm.eps)


def make_query_record(sample, seed, template, mask_head):
    """A record of mask classification: one pass of four queries through `mask_head`."""
    generator = torch.Generator().manual_seed(seed)
    embedding = torch.randn(1, QUERIES, 11, generator=generator)
    feature = torch.randn(1, 11, 5, 7, generator=generator)
    found = mask_head.refinement(embedding, feature)
    values = {name: getattr(found, name)[0].detach().numpy() for name in found._fields}
    share = torch.randn(QUERIES, 4, generator=generator).softmax(dim=1)[:, :3].numpy()
    record = template.drop_vars(["class_embedding", "class_offset", "logits", "logit_gain", "logit_bias"])
    return record.assign(
        feature=(("y", "x", "channel"), values["feature"].reshape(5, 7, 11)),
        feature_offset=(("y", "x", "channel"), values["feature_offset"].reshape(5, 7, 11)),
        class_embedding=(("query", "channel"), values["class_embedding"]),
        class_offset=(("query", "channel"), values["class_offset"]),
        logits=(("query", "y", "x"), values["scores"].reshape(QUERIES, 5, 7)),
        query_class=(("query", "cls"), share),
    ).assign_attrs(sample=sample)


@pytest.fixture
def mask_head():
    torch.manual_seed(5)
    head = MaskOffsetLearning(11)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.4)
    return head


@pytest.fixture
def query_records(records, mask_head):
    return [make_query_record(record.attrs["sample"], seed, record, mask_head) for seed, record in enumerate(records)]


@pytest.fixture
def store(records, tmp_path):
    created = create_store(tmp_path / "records.zarr")
    for record in records:
        save_record(record, created.path_of(record.attrs["sample"]))
    return open_store(created.path)


def slow_prediction(record, embedding, feature):
    """Arg max behind the last layer for W [K][C] and E [P][C]: [P]."""
    table = reference.scores(feature, embedding)
    if "query_class" in record:
        share = record["query_class"].values.tolist()
        masks = [[1 / (1 + math.exp(-value)) for value in row] for row in table]
        summed = [
            [sum(share[q][k] * masks[q][p] for q in range(len(masks))) for p in range(len(masks[0]))]
            for k in range(len(share[0]))
        ]
        return reference.arg_max(summed)
    gain, bias = record["logit_gain"].values, record["logit_bias"].values
    return reference.arg_max(reference.layer_norm_over_classes(table, gain, bias, record.attrs["logit_norm_eps"]))


def slow_predictions(records):
    """Every intervention of every record: {name: [prediction of a record]}."""
    parts = []
    for record in records:
        feature, feature_offset = (reference.flatten(record[name].values) for name in ("feature", "feature_offset"))
        embedding, offset = (reference.rows(record[name].values) for name in ("class_embedding", "class_offset"))
        parts.append((embedding, offset, feature, reference.add(feature, feature_offset)))
    offsets = [offset for _, offset, _, _ in parts]
    mean = [[sum(values) / len(records) for values in zip(*rows)] for rows in zip(*offsets)]
    found = {name: [] for name in INTERVENTIONS}
    for number, (record, (w, dw, e, moved)) in enumerate(zip(records, parts, strict=True)):
        donor = offsets[(number + 1) % len(records)]
        found["none"].append(slow_prediction(record, w, e))
        found["class offsets only"].append(slow_prediction(record, reference.add(w, dw), e))
        found["feature offsets only"].append(slow_prediction(record, w, moved))
        found["both"].append(slow_prediction(record, reference.add(w, dw), moved))
        found["transplanted"].append(slow_prediction(record, reference.add(w, donor), moved))
        found["mean class offset"].append(slow_prediction(record, reference.add(w, mean), moved))
        found["ideal"].append(ideal_prediction(record).values.ravel().tolist())
    return found


def slow_figures(records, predictions, weights):
    """miou, macc and aacc of predictions [image][P], each image counted as often as its weight says."""
    table = np.zeros((3, 3))
    for record, predicted, weight in zip(records, predictions, weights, strict=True):
        table += weight * np.array(reference.confusion(record["label"].values.ravel().tolist(), predicted, 3))
    table = table.tolist()
    labelled = [k for k in range(3) if sum(table[k])]
    miou = sum(reference.iou(table, k) for k in labelled) / len(labelled)
    macc = sum(table[k][k] / sum(table[k]) for k in labelled) / len(labelled)
    return miou, macc, sum(table[k][k] for k in range(3)) / sum(map(sum, table))


def value(table, group, quantity):
    row = table[(table.iloc[:, 0] == group) & (table["quantity"] == quantity)]
    assert len(row) == 1
    return row.iloc[0]


@pytest.mark.parametrize(("class_strength", "feature_strength"), PAIRS)
def test_equals_a_forward_pass_with_scaled_projections(head, head_record, class_strength, feature_strength):
    feature = torch.from_numpy(head_record["feature"].values).permute(2, 0, 1)[None]
    with torch.no_grad():
        expected = scaled(head, class_strength, feature_strength)(feature)[0].numpy()
    strengths = dict(class_strength=class_strength, feature_strength=feature_strength)
    for terms in (None, score_terms(head_record)):
        found = intervene(head_record, **strengths, terms=terms)
        assert found.dims == ("cls", "y", "x") and found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(winning_class(head_record, found), expected.argmax(axis=0))
    assert found.attrs["class_strength"] == class_strength and found.attrs["feature_strength"] == feature_strength


@pytest.mark.parametrize(("class_strength", "feature_strength"), PAIRS)
def test_equals_a_forward_pass_of_mask_classification(mask_head, query_records, class_strength, feature_strength):
    record = query_records[1]
    feature = torch.from_numpy(record["feature"].values).permute(2, 0, 1)[None]
    embedding = torch.from_numpy(record["class_embedding"].values)[None]
    with torch.no_grad():
        masks = scaled(mask_head, class_strength, feature_strength)(embedding, feature)
    maps = torch.einsum("qk,qhw->khw", torch.from_numpy(record["query_class"].values), masks[0].sigmoid())
    strengths = dict(class_strength=class_strength, feature_strength=feature_strength)
    for terms in (None, score_terms(record)):
        found = intervene(record, **strengths, terms=terms)
        assert found.dims == ("query", "y", "x")
        np.testing.assert_allclose(found, masks[0], rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(winning_class(record, found), maps.argmax(dim=0))


def test_strengths_of_one_and_zero_are_the_stages_to_the_last_bit(offset_record, query_records):
    for record in (offset_record, query_records[0]):
        np.testing.assert_array_equal(intervene(record), logits(record, "aligned"))
        none = intervene(record, class_strength=0, feature_strength=0)
        np.testing.assert_array_equal(none, logits(record, "initial"))
        np.testing.assert_array_equal(winning_class(record, intervene(record)), prediction(record))
        assert set(winning_class(record, none).coords) == {"y", "x"}


def test_class_offsets_of_another_image(records):
    other = records[1]["class_offset"]
    found = intervene(records[0], class_offset=other, class_strength=0.5)
    np.testing.assert_allclose(
        found, logits(records[0].assign(class_offset=(("cls", "channel"), other.values / 2))), rtol=1e-5, atol=1e-5
    )
    assert abs(found - intervene(records[0], class_strength=0.5)).max() > 0.1
    mean = sum(record["class_offset"] for record in records) / 3
    w, moved = reference.rows(records[0]["class_embedding"].values + mean.values), records[0]["feature"]
    moved = reference.flatten(moved.values + records[0]["feature_offset"].values)
    predicted = winning_class(records[0], intervene(records[0], class_offset=mean))
    assert predicted.values.ravel().tolist() == slow_prediction(records[0], w, moved)


def test_class_offsets_as_an_array(records):
    other = records[1]["class_offset"]
    for given in (other.values, other.values.tolist(), torch.from_numpy(other.values)):
        xr.testing.assert_allclose(
            intervene(records[0], class_offset=given), intervene(records[0], class_offset=other), atol=1e-5
        )
    for given in (other.values.T, other.values[0], other.values[None], 0.5, other.values.astype(str)):
        with pytest.raises(RecordError, match=r"needed numbers of shape \(3, 11\) \(cls, channel\).*copy\(data="):
            intervene(records[0], class_offset=given)


def test_refused_interventions(records, per_pixel_record, make_record):
    record, terms = records[0], score_terms(records[0])
    with pytest.raises(RecordError, match="'nano' has no offsets"):
        intervene(per_pixel_record, class_strength=0)
    with pytest.raises(RecordError, match="needed finite numbers"):
        intervene(record, feature_strength=math.nan)
    with pytest.raises(RecordError, match="give one of them"):
        intervene(record, terms=terms, class_offset=record["class_offset"])
    with pytest.raises(RecordError, match=r"needed \(4, 3, 5, 7\)"):
        intervene(record, terms=score_terms(record, cls="sky"))
    with pytest.raises(RecordError, match=r"needed \(4, 3, 5, 7\)"):
        intervene(record, terms=score_terms(make_record(size=(4, 7))))
    with pytest.raises(RecordError, match=r"needed \('cls', 'channel'\) and \(3, 11\)"):
        intervene(record, class_offset=record["class_offset"].isel(cls=[0, 1]))
    with pytest.raises(RecordError, match="of other classes"):
        intervene(record, class_offset=record["class_offset"].isel(cls=[1, 0, 2]))


def test_nan_is_refused_where_it_would_decide(records):
    broken = records[1].copy(deep=True)
    broken["feature_offset"].values[0, 0, 0] = np.nan
    with pytest.raises(RecordError, match="the record of b gives NaN at 1 pixels"):
        winning_class(broken, intervene(broken))
    for function in (interventions, strength_curve):
        with pytest.raises(RecordError, match="the record of b gives NaN"):
            function([records[0], broken])


@pytest.mark.parametrize("kind", ["classes", "queries"])
def test_interventions_equal_loops(kind, records, query_records):
    records = records if kind == "classes" else query_records
    table = interventions(records)
    assert table.columns.tolist() == ["intervention", "quantity", "stage", "value", "low", "high", "images"]
    assert table["intervention"].drop_duplicates().tolist() == list(INTERVENTIONS)
    assert (table["images"] == 3).all() and (table["stage"] == "").all()
    predictions = slow_predictions(records)
    both = slow_figures(records, predictions["both"], [1, 1, 1])[0]
    for name in INTERVENTIONS:
        figures = slow_figures(records, predictions[name], [1, 1, 1])
        for quantity, expected in zip(("miou", "macc", "aacc"), figures, strict=True):
            assert value(table, name, quantity)["value"] == pytest.approx(expected), (name, quantity)
        assert value(table, name, "miou_change")["value"] == pytest.approx(figures[0] - both, abs=1e-12)
    assert len({tuple(map(tuple, predictions[name])) for name in INTERVENTIONS}) == len(INTERVENTIONS)


def test_intervals_are_paired_and_over_images(records):
    table, predictions = interventions(records), slow_predictions(records)
    miou, change = [], []
    for weights in image_weights(3):
        one, both = (slow_figures(records, predictions[name], weights)[0] for name in ("transplanted", "both"))
        miou.append(one)
        change.append(one - both)
    for quantity, drawn in (("miou", miou), ("miou_change", change)):
        row = value(table, "transplanted", quantity)
        np.testing.assert_allclose([row["low"], row["high"]], np.percentile(drawn, [2.5, 97.5]))
        assert row["low"] < row["high"]
    row = value(table, "both", "miou_change")
    assert row["value"] == row["low"] == row["high"] == 0


def test_agrees_with_the_table_of_classes(records):
    table, of_classes = interventions(records), class_iou(records).mean()
    for name, stage in (("none", "initial"), ("both", "aligned"), ("ideal", "ideal")):
        assert value(table, name, "miou")["value"] == pytest.approx(of_classes[stage])


def test_the_same_from_a_list_an_iterator_and_a_store(records, store):
    expected = interventions(records)
    for given in (tuple(records), iter(records), store):
        xr.testing.assert_identical(interventions(given).to_xarray(), expected.to_xarray())
    xr.testing.assert_identical(strength_curve(store).to_xarray(), strength_curve(records).to_xarray())
    part = interventions(store[1:])
    xr.testing.assert_identical(part.to_xarray(), interventions(records[1:]).to_xarray())


def test_the_same_on_a_dask_cluster(records, store):
    from distributed import Client, LocalCluster

    cluster = LocalCluster(n_workers=1, threads_per_worker=2, processes=True, dashboard_address=None)
    with cluster, Client(cluster):
        found = interventions(store), strength_curve(store, strengths=[0, 1])
    expected = interventions(records), strength_curve(records, strengths=[0, 1])
    for one, other in zip(found, expected, strict=True):
        xr.testing.assert_identical(one.to_xarray(), other.to_xarray())


def test_offsets_of_all_images_alike(records):
    """Then another image's do as well, and so does their mean."""
    alike = [record.assign(class_offset=records[0]["class_offset"]) for record in records]
    table = interventions(alike)
    for name in ("transplanted", "mean class offset"):
        assert value(table, name, "miou")["value"] == value(table, "both", "miou")["value"]
    still = [one.assign({name: one[name] * 0 for name in ("class_offset", "feature_offset")}) for one in records]
    table = interventions(still)
    kept = table[(table["quantity"] == "miou_change") & (table["intervention"] != "ideal")]
    assert (kept["value"] == 0).all()


def test_permuting_classes_changes_nothing(records):
    order = [2, 0, 1]
    new_number = np.full(256, 255, np.uint8)
    new_number[order] = [0, 1, 2]
    permuted = [one.isel(cls=order).assign(label=(("y", "x"), new_number[one["label"].values])) for one in records]
    np.testing.assert_allclose(interventions(permuted)["value"], interventions(records)["value"], atol=1e-12)
    np.testing.assert_allclose(strength_curve(permuted)["value"], strength_curve(records)["value"], atol=1e-12)


def test_a_single_record_has_no_donor(offset_record, tmp_path):
    store = create_store(tmp_path / "one.zarr")
    save_record(offset_record, store.path_of("a"))
    for given in ([offset_record], open_store(store.path)):
        table = interventions(given)
        missing = table["intervention"] == "transplanted"
        assert table[missing]["value"].isna().all() and table[~missing]["value"].notna().all()
        assert table["low"].isna().all()
        assert value(table, "mean class offset", "miou_change")["value"] == 0


def test_classes_and_images_without_labels(make_record):
    no_tree = make_record("t", seed=8, label=np.arange(35).reshape(5, 7) % 2)
    nothing = make_record("n", seed=7, label=np.full((5, 7), 255))
    table = interventions([no_tree, nothing])
    assert (table["images"] == 1).all() and table[["low", "high"]].isna().all().all()
    predictions = slow_predictions([no_tree, no_tree])
    assert 2 in predictions["both"][0], "a class labelled nowhere must be predicted here"
    figures = slow_figures([no_tree], [predictions["both"][0]], [1])
    found = [value(table, "both", quantity)["value"] for quantity in ("miou", "macc", "aacc")]
    np.testing.assert_allclose(found, figures)
    curve = strength_curve([nothing, nothing])
    assert curve[["value", "low", "high"]].isna().all().all() and (curve["images"] == 0).all()


def test_strength_curve_equals_loops(records, query_records):
    for some in (records, query_records):
        table = strength_curve(some, strengths=(-0.5, 0.75, 2))
        assert table.columns[0] == "strength" and table["strength"].dtype == float
        assert table["quantity"].tolist() == ["miou"] * 3 + ["aacc"] * 3
        for strength in (-0.5, 0.75, 2):
            predictions = []
            for record in some:
                w = record["class_embedding"].values + strength * record["class_offset"].values
                e = record["feature"].values + strength * record["feature_offset"].values
                predictions.append(slow_prediction(record, reference.rows(w), reference.flatten(e)))
            miou, _, aacc = slow_figures(some, predictions, [1, 1, 1])
            assert value(table, strength, "miou")["value"] == pytest.approx(miou)
            assert value(table, strength, "aacc")["value"] == pytest.approx(aacc)


def test_ends_of_the_curves_are_interventions(records):
    table = interventions(records)
    assert STRENGTHS[0] == -0.5 and STRENGTHS[-1] == 2 and {0, 1} < set(STRENGTHS)
    ends = {"both": "none", "class": "feature offsets only", "feature": "class offsets only"}
    for of, at_zero in ends.items():
        curve = strength_curve(records, of=of)
        assert len(curve) == 2 * len(STRENGTHS)
        for strength, name in ((0, at_zero), (1, "both")):
            for quantity in ("miou", "aacc"):
                found, expected = value(curve, strength, quantity), value(table, name, quantity)
                for column in ("value", "low", "high"):
                    assert found[column] == pytest.approx(expected[column])


def test_refused_curves(records):
    with pytest.raises(UnknownNameError, match="both, class, feature"):
        strength_curve(records, of="pixels")
    for strengths in ((), (1, 1), (0, math.inf)):
        with pytest.raises(RecordError, match="finite numbers, all different"):
            strength_curve(records, strengths=strengths)


@pytest.mark.parametrize("function", [interventions, strength_curve])
def test_refused_records(function, records, per_pixel_records, make_record, query_records):
    with pytest.raises(RecordError, match="'nano' has no offsets"):
        function(per_pixel_records)
    with pytest.raises(RecordError, match="'nano' has no offsets"):
        function([*records, per_pixel_records[0]])
    with pytest.raises(RecordError, match="found no record"):
        function([])
    with pytest.raises(RecordError, match="one record where several belong"):
        function(records[0])
    with pytest.raises(RecordError, match="the record of c has no label"):
        function([*records[:2], records[2].drop_vars("label")])
    with pytest.raises(RecordError, match="the record of d has other classes"):
        function([*records, make_record("d").isel(cls=[0, 1]).assign(label=records[2]["label"])])
    with pytest.raises(RecordError, match="the record of d has 10 channels"):
        function([*records, make_record("d").isel(channel=slice(10))])


def test_queries_of_another_number(query_records):
    with pytest.raises(RecordError, match="the record of b has 3 queries, the first 4"):
        interventions([query_records[0], query_records[1].isel(query=[0, 1, 2])])


def test_input_is_not_changed(records):
    before = [record.copy(deep=True) for record in records]
    interventions(records)
    strength_curve(records)
    terms = score_terms(records[0])
    kept = terms.copy(deep=True)
    intervene(records[0], class_strength=0, feature_strength=0, terms=terms)
    xr.testing.assert_identical(terms, kept)
    for record, copy in zip(records, before, strict=True):
        xr.testing.assert_identical(record, copy)
