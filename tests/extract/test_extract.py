"""From a forward pass to a record: what is captured is what can be recomputed."""

import sys

import numpy as np
import pytest
import torch

from offseg_viz.analyze.align import logits, prediction, scores
from offseg_viz.classes import ClassList
from offseg_viz.data.sample import Sample, SampleSet
from offseg_viz.errors import DataError, ModelError, RecordError
from offseg_viz.extract.extract import extract, extract_many
from offseg_viz.extract.points import reading_of
from offseg_viz.extract.store import open_store
from offseg_viz.models.attach import attach_offset_learning
from offseg_viz.models.zoo import load_model
from offseg_viz.record import has_offsets, validate_record

CLASSES = ClassList(("sky", "road", "tree", "car", "pole"), ("#0000ff", "#777777", "#00ff00", "#ff0000", "#ffff00"))


EXTRACTED = "nano nano-offset offseg-t segformer-b0 segformer-b0-offset segnext-t segnext-t-offset".split()
"""A network of every kind of backbone, decode head and classifier."""


def trained_looking(name):
    """A network whose weights are far from their small initial spread, so that offsets and gains matter."""
    model = load_model(name, classes=CLASSES)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.decode_head.classifier.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def sample(seed=0, size=(96, 128), name="s0", label=True):
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (*size, 3), dtype=np.uint8)
    blocks = random.integers(0, 5, (size[0] // 8 + 1, size[1] // 8 + 1), dtype=np.uint8)
    labels = blocks.repeat(8, 0).repeat(8, 1)[: size[0], : size[1]]
    labels[:16, :16] = 255
    return Sample(name, image, labels if label else None, CLASSES, "noise")


@pytest.mark.parametrize("name", EXTRACTED)
def test_logits_recomputed_from_the_record_equal_the_captured_ones(name):
    model = trained_looking(name)
    record = extract(model, sample())
    with torch.no_grad():
        returned = model(model.normalize(sample().image))[0].numpy()
    np.testing.assert_array_equal(record.logits.values, returned)
    np.testing.assert_allclose(logits(record, "aligned").values, returned, atol=2e-4)
    np.testing.assert_array_equal(prediction(record, "aligned").values, returned.argmax(0))
    assert has_offsets(record) == (name.startswith("offseg") or name.endswith("-offset"))
    if has_offsets(record):
        assert np.abs(scores(record, "aligned").values - scores(record, "initial").values).max() > 0.1


def test_coordinates_lie_on_the_image_and_labels_come_from_cell_centres():
    record = extract(load_model("segformer-b0-offset", classes=CLASSES), sample())
    assert record.sizes["y"] == 12 and record.sizes["x"] == 16
    np.testing.assert_array_equal(record.y, np.arange(12) * 8 + 4)
    np.testing.assert_array_equal(record.x, np.arange(16) * 8 + 4)
    np.testing.assert_array_equal(record.label, sample().label[4::8, 4::8])
    assert (record.label[:2, :2] == 255).all()
    assert list(record.cls.values) == list(CLASSES) and list(record.color.values) == list(CLASSES.colors)
    assert record.attrs["sample"] == "s0" and record.attrs["window"] == [0, 0, 96, 128]


@pytest.mark.parametrize("start", ["identity", "paper"])
def test_attached_offset_learning_is_extracted_with_and_without_its_norm(start):
    model = attach_offset_learning(load_model("nano", classes=CLASSES), start=start)
    with torch.no_grad():
        model.decode_head.classifier.class_offset_proj.weight.add_(0.02)
    record = extract(model, sample())
    assert ("logit_gain" in record) == (start == "paper")
    np.testing.assert_allclose(logits(record, "aligned").values, record.logits, atol=2e-4)
    assert np.abs(record.class_offset).max() > 0.01


def test_mask_classification_is_refused_with_the_reason():
    with pytest.raises(ModelError, match="found none.*Mask2Former, which classifies masks"):
        reading_of(load_model("mask2former-swin-t", classes=CLASSES))


def test_record_shares_no_memory_with_the_model_and_leaves_it_as_it_was():
    model = trained_looking("nano-offset").train()
    before = model.fingerprint()
    record = extract(model, sample())
    assert model.training and model.fingerprint() == before
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())
    embedding = record.class_embedding.values.copy()
    with torch.no_grad():
        model.decode_head.classifier.class_embedding.zero_()
    np.testing.assert_array_equal(record.class_embedding.values, embedding)


def test_hooks_are_gone_and_the_mode_is_back_when_the_forward_raises():
    model = load_model("nano", classes=CLASSES).train()
    model.decode_head.convs[0].register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        extract(model, sample())
    model.decode_head.convs[0]._forward_pre_hooks.clear()
    assert model.training
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())


def test_a_sample_without_label_gives_a_record_without_label():
    record = extract(load_model("nano", classes=CLASSES), sample(label=False))
    assert "label" not in record
    validate_record(record)


@pytest.mark.parametrize(("name", "stride"), [("nano-offset", 4), ("segformer-b0-offset", 8)])
def test_odd_sizes_keep_the_stride_and_the_cells_that_touch_the_image(name, stride):
    model, odd = trained_looking(name), sample(size=(101, 75))
    record = extract(model, odd)
    assert record.attrs["stride"] == [stride, stride] and record.sizes["y"] == -(-101 // stride)
    np.testing.assert_array_equal(record.y, np.arange(-(-101 // stride)) * stride + stride / 2)
    np.testing.assert_array_equal(record.x, np.arange(-(-75 // stride)) * stride + stride / 2)
    rows, columns = (np.minimum(record[dim].values, side - 1).astype(int) for dim, side in (("y", 101), ("x", 75)))
    np.testing.assert_array_equal(record.label, odd.label[np.ix_(rows, columns)])
    with torch.no_grad():
        np.testing.assert_array_equal(record.logits, model(model.normalize(odd.image))[0])
    np.testing.assert_allclose(logits(record, "aligned").values, record.logits, atol=2e-4)


def test_what_is_no_network_or_no_sample_and_images_that_are_too_small(tmp_path, samples):
    with pytest.raises(DataError, match="sample 's0' of noise is 16 high and 64 wide"):
        extract(load_model("nano", classes=CLASSES), sample(size=(16, 64)))
    with pytest.raises(DataError, match="needs a Sample.*found ndarray"):
        extract(load_model("nano", classes=CLASSES), sample().image)
    with pytest.raises(ModelError, match=r"network of load_model\(\), found Sequential"):
        extract(torch.nn.Sequential(torch.nn.Conv2d(3, 5, 1)), sample())
    with pytest.raises(ModelError, match="classifies masks"):
        extract_many(load_model("mask2former-swin-t", classes=CLASSES), samples, tmp_path / "run.zarr")
    assert not (tmp_path / "run.zarr").exists()


def test_classes_of_sample_and_model_must_agree():
    with pytest.raises(ModelError, match="use a model of that data set"):
        extract(load_model("nano", num_classes=5), sample())


def test_a_model_without_a_known_head_is_refused():
    with pytest.raises(ModelError, match="exactly one OffsetLearning or PerPixelClassifier"):
        reading_of(torch.nn.Conv2d(3, 4, 1))


@pytest.fixture
def samples():
    names = ("a", "b", "c")
    return SampleSet("noise", CLASSES, names, lambda name: sample(names.index(name), name=name))


def test_store_holds_every_record_and_a_second_run_continues(tmp_path, samples, monkeypatch):
    model = trained_looking("nano-offset")
    store = extract_many(model, samples[:2], tmp_path / "run.zarr", progress=False)
    assert store.ids == ("a", "b")
    np.testing.assert_array_equal(store["b"].logits.values, extract(model, samples["b"]).logits.values)
    (tmp_path / "run.zarr" / ".c.partial").mkdir()  # as a killed run would leave it
    calls = []
    module = sys.modules["offseg_viz.extract.extract"]
    monkeypatch.setattr(module, "extract", lambda *a, **k: calls.append(a[1].id) or extract(*a, **k))
    store = extract_many(model, samples, tmp_path / "run.zarr", progress=False)
    assert calls == ["c"] and store.ids == ("a", "b", "c")
    assert not (tmp_path / "run.zarr" / ".c.partial").exists()
    assert [record.attrs["sample"] for record in store] == ["a", "b", "c"]
    assert store[-1].attrs["sample"] == "c" and len(store[1:]) == 2


def test_store_of_other_weights_is_not_mixed(tmp_path, samples):
    extract_many(load_model("nano", classes=CLASSES, seed=0), samples[:1], tmp_path / "run.zarr", progress=False)
    with pytest.raises(RecordError, match="choose another path"):
        extract_many(load_model("nano", classes=CLASSES, seed=1), samples, tmp_path / "run.zarr", progress=False)


def test_absent_store_unknown_record_and_names_that_leave_the_store(tmp_path, samples):
    with pytest.raises(RecordError, match="no record store"):
        open_store(tmp_path / "absent.zarr")
    store = extract_many(load_model("nano", classes=CLASSES), samples[:1], tmp_path / "run.zarr", progress=False)
    with pytest.raises(ValueError, match="unknown record of run.zarr 'z'"):
        store["z"]
    with pytest.raises(RecordError, match="cannot name a record"):
        store.path_of("../outside")
