"""From a forward pass to a record: what is captured is what can be recomputed."""

import numpy as np
import pytest
import torch
from noise import CLASSES, trained_looking
from noise import noise_sample as sample

from offseg_viz.analyze.align import logits, prediction, scores
from offseg_viz.errors import DataError, ModelError
from offseg_viz.extract.extract import extract
from offseg_viz.extract.offsets import offsets
from offseg_viz.models.attach import attach_offset_learning
from offseg_viz.models.zoo import load_model
from offseg_viz.record import has_offsets, validate_record

EXTRACTED = "nano nano-offset offseg-t segformer-b0 segformer-b0-offset segnext-t segnext-t-offset".split()
"""A network of every kind of backbone, decode head and classifier."""


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


def test_what_is_no_model_or_no_sample_and_images_that_are_too_small():
    with pytest.raises(DataError, match="sample 's0' of noise is 16 high and 64 wide.*needed sides of 32 pixels"):
        extract(load_model("nano", classes=CLASSES), sample(size=(16, 64)))
    with pytest.raises(DataError, match="needs a Sample, found ndarray"):
        extract(load_model("nano", classes=CLASSES), sample().image)
    with pytest.raises(ModelError, match="needed a torch model"):
        extract("nano", sample())


def test_classes_of_sample_and_model_must_agree():
    with pytest.raises(ModelError, match="classes=samples.classes, take one of that data set"):
        extract(load_model("nano", num_classes=5), sample())


def test_offsets_are_those_of_the_equations_for_either_dtype():
    """Against `refinement`, an equation a line: with other products, without a matrix of positions x channels more."""
    head = trained_looking("segformer-b0-offset").decode_head.classifier.double()
    feature = torch.randn(1, 256, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = head.refinement(feature)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-4)):
        head.to(dtype)
        found = offsets(head, feature[0].flatten(1).T.to(dtype), head.class_embedding)
        scale = expected.class_offset.abs().max()
        for mine, theirs in zip(found, (expected.class_offset[0], expected.feature_offset[0]), strict=True):
            assert mine.dtype == dtype and not mine.requires_grad
            torch.testing.assert_close(mine.double(), theirs, rtol=tolerance, atol=tolerance * scale.item())


def test_half_precision_networks_give_records_of_float32():
    model = trained_looking("nano-offset").to(torch.bfloat16)
    record = extract(model, sample())
    with torch.no_grad():
        returned = model(model.normalize(sample().image))[0].float()
    np.testing.assert_array_equal(record.logits, returned)
    assert {record[name].dtype for name in record.data_vars} == {np.dtype("float32"), np.dtype("uint8")}
    difference = np.abs(logits(record, "aligned").values - record.logits.values)
    assert difference.mean() < 0.02 * record.logits.values.std(), "bfloat16 has three digits at most"


def test_modules_keep_the_mode_that_each_of_them_was_in():
    model = load_model("nano", classes=CLASSES).train()
    model.backbone.eval()  # frozen, as in fine-tuning
    extract(model, sample())
    assert model.training and model.decode_head.training and not model.backbone.training


def test_a_sample_is_not_changed_and_shares_no_memory_with_its_record():
    given = sample()
    image, label = given.image.copy(), given.label.copy()
    record = extract(load_model("nano", classes=CLASSES), given)
    record.image.values[:] = 0
    record.label.values[:] = 0
    np.testing.assert_array_equal(given.image, image)
    np.testing.assert_array_equal(given.label, label)


def test_a_compiled_model_is_extracted_as_it_was_before():
    model = trained_looking("nano-offset")
    compiled = torch.compile(model, backend="eager")
    np.testing.assert_array_equal(extract(compiled, sample()).feature, extract(model, sample()).feature)
    assert extract(compiled, sample()).attrs["model"] == "nano-offset"
