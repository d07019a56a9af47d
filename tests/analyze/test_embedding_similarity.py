"""Similarity of class vectors across images, from sums, against loops over all pairs of images."""

import math
import pickle
from functools import partial

import numpy as np
import pytest
import reference

from offseg_viz.analyze import embedding_similarity as module
from offseg_viz.analyze.align import aligned_class_embedding
from offseg_viz.analyze.bootstrap import image_weights
from offseg_viz.analyze.class_means import feature_class_mean
from offseg_viz.analyze.embedding_similarity import embedding_similarity
from offseg_viz.analyze.ideal import VECTORS, ideal_class_embedding, ideal_similarity
from offseg_viz.errors import RecordError, UnknownNameError
from offseg_viz.extract.store import create_store
from offseg_viz.record import save_record

CLASSES = ["sky", "road", "tree"]
STAGES = {"ideal": "ideal", "class_mean": "initial"} | dict.fromkeys(
    ["aligned_class_mean", "aligned_class_embedding"], "aligned"
)
MADE_BY = {
    "ideal": lambda record: ideal_class_embedding(record, rcond=1e-2),
    "class_mean": feature_class_mean,
    "aligned_class_mean": lambda record: feature_class_mean(record, "aligned"),
    "aligned_class_embedding": aligned_class_embedding,
}


def cosines(records, of, k):
    """Matrix of cosines between the images whose label holds class k, by loops."""
    vectors = [MADE_BY[of](record).values[k].tolist() for record in records if (record["label"] == k).any()]
    return [[reference.cosine(a, b) for b in vectors] for a in vectors]


def over_pairs(table, weights=None):
    """Mean and standard deviation over pairs of different images, each taken as often as the weights say."""
    n = len(table)
    weights = [1] * n if weights is None else weights
    pairs = [(table[i][j], weights[i] * weights[j]) for i in range(n) for j in range(n) if i != j]
    number = sum(weight for _, weight in pairs)
    if not number:
        return math.nan, math.nan
    mean = sum(value * weight for value, weight in pairs) / number
    return mean, math.sqrt(sum((value - mean) ** 2 * weight for value, weight in pairs) / number)


def row_of(table, cls, quantity):
    return table[(table["cls"] == cls) & (table["quantity"] == quantity)].iloc[0]


@pytest.fixture
def many(make_record):
    """Seven images; `road` is in all of them, `tree` in the even ones."""
    labels = [np.arange(35).reshape(5, 7) % (3 - n % 2) for n in range(7)]
    return [make_record(f"image{n}", seed=20 + n, label=label) for n, label in enumerate(labels)]


@pytest.mark.parametrize("of", list(VECTORS))
def test_equals_loops_over_pairs(many, of):
    found = embedding_similarity(iter(many), of=of)
    assert list(found.columns) == ["cls", "quantity", "stage", "value", "low", "high", "images"]
    assert found["cls"].tolist() == CLASSES * 2 and set(found["stage"]) == {STAGES[of]}
    for k, cls in enumerate(CLASSES):
        mean, spread = over_pairs(cosines(many, of, k))
        row = row_of(found, cls, "mean_similarity")
        assert row["value"] == pytest.approx(mean, abs=1e-6) and row["images"] == (4 if cls == "tree" else 7)
        assert row_of(found, cls, "spread")["value"] == pytest.approx(spread, abs=1e-5)
        assert row["low"] < row["value"] < row["high"]
    assert found[found["quantity"] == "spread"][["low", "high"]].isna().all(axis=None)


def test_agrees_with_the_matrix_of_one_class(many):
    found = embedding_similarity(many, rcond=0.3)
    assert not np.allclose(found["value"], embedding_similarity(many)["value"], atol=1e-3)
    matrix = ideal_similarity(many, cls="tree", rcond=0.3)
    for quantity in ("mean_similarity", "spread"):
        assert row_of(found, "tree", quantity)["value"] == pytest.approx(matrix.attrs[quantity], abs=1e-9)
        assert row_of(found, "tree", quantity)["images"] == matrix.attrs["images"]


def test_interval_is_that_of_drawn_images(many):
    found = embedding_similarity(many, of="class_mean")
    table = cosines(many, "class_mean", 2)
    drawn = [over_pairs(table, weights)[0] for weights in image_weights(len(table))]
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    row = row_of(found, "tree", "mean_similarity")
    assert (row["low"], row["high"]) == (pytest.approx(low, abs=1e-6), pytest.approx(high, abs=1e-6))


def test_interval_of_many_images_is_that_of_drawn_groups(many, monkeypatch):
    monkeypatch.setattr(module, "GROUPS", 3)
    found = embedding_similarity(many, of="class_mean")
    table = cosines(many, "class_mean", 1)
    drawn = [over_pairs(table, [weights[n % 3] for n in range(7)])[0] for weights in image_weights(3)]
    row = row_of(found, "road", "mean_similarity")
    assert row["value"] == pytest.approx(over_pairs(table)[0], abs=1e-6)
    expected = np.percentile(drawn, [2.5, 97.5])
    assert (row["low"], row["high"]) == (pytest.approx(expected[0], abs=1e-6), pytest.approx(expected[1], abs=1e-6))


def test_few_images(records, make_record):
    """Two images make one pair: a value without interval; one or none make no value."""
    table = embedding_similarity(records)
    row = row_of(table, "tree", "mean_similarity")
    assert row["images"] == 2 and np.isfinite(row["value"]) and np.isnan(row["low"]) and np.isnan(row["high"])
    assert row_of(table, "tree", "spread")["value"] == pytest.approx(0, abs=1e-7)
    one = embedding_similarity([make_record("a", label=np.zeros((5, 7))), make_record("b", label=np.ones((5, 7)))])
    assert one["value"].isna().all()
    assert one["images"].tolist() == [1, 1, 0] * 2


def test_class_embeddings_without_offsets_are_the_same_in_every_image(per_pixel_records):
    table = embedding_similarity(per_pixel_records, of="aligned_class_embedding")
    np.testing.assert_allclose(table["value"], [1, 1, 1, 0, 0, 0], atol=1e-6)


def test_lengths_do_not_matter_and_classes_can_be_permuted(many):
    expected = embedding_similarity(many)
    scaled = [record.assign(feature=record["feature"] * 2.0**n) for n, record in enumerate(many)]
    np.testing.assert_allclose(embedding_similarity(scaled)["value"], expected["value"], atol=1e-6)
    turned = [record.assign(label=((record["label"] + 1) % 3).astype(np.uint8)) for record in many]
    by_class = embedding_similarity(turned)["value"].values.reshape(2, 3)
    np.testing.assert_allclose(np.roll(by_class, -1, axis=1).ravel(), expected["value"], atol=1e-9)


def test_images_without_labels_or_with_zero_vectors_are_not_counted(many):
    ignored = many[0].assign(label=many[0]["label"] * 0 + np.uint8(255)).assign_attrs(sample="ignored")
    zero = many[0].assign(feature=many[0]["feature"] * 0).assign_attrs(sample="zero")
    for of in ("ideal", "class_mean"):
        assert embedding_similarity([ignored, *many, zero], of=of).equals(embedding_similarity(many, of=of))


def test_refusals(many):
    with pytest.raises(UnknownNameError, match="Did you mean 'class_mean'"):
        embedding_similarity(many, of="classmean")
    with pytest.raises(RecordError, match="found no record"):
        embedding_similarity([])
    with pytest.raises(RecordError, match="the record of image1 has no label"):
        embedding_similarity([many[0], many[1].drop_vars("label")])
    with pytest.raises(RecordError, match="the features of image2 are not finite"):
        embedding_similarity([*many[:2], many[2].assign(feature=many[2]["feature"] * np.nan)])


@pytest.mark.parametrize("of", list(VECTORS))
def test_a_store_gives_the_same_and_the_function_can_travel(many, of, tmp_path):
    store = create_store(tmp_path / "run.zarr")
    for record in many:
        save_record(record, store.path_of(record.attrs["sample"]))
    assert embedding_similarity(create_store(store.path), of=of).equals(embedding_similarity(many, of=of))
    function = pickle.loads(pickle.dumps(partial(module._units, of=of, rcond=1e-2)))
    np.testing.assert_array_equal(function(many[0])[2], module._units(many[0], of=of, rcond=1e-2)[2])
