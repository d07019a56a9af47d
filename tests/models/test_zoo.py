"""Networks by name: sizes, grids, seeds, normalisation, and refusals that help."""

import numpy as np
import pytest
import torch

from offseg_viz.classes import ClassList
from offseg_viz.errors import ModelError, UnknownNameError
from offseg_viz.models.cost import hollow_model
from offseg_viz.models.mask_offset_learning import MaskOffsetLearning
from offseg_viz.models.offset_learning import OffsetLearning
from offseg_viz.models.per_pixel import PerPixelClassifier
from offseg_viz.models.zoo import MODELS, load_model


def heads(model):
    kinds = (OffsetLearning, PerPixelClassifier, MaskOffsetLearning)
    return [type(module) for module in model.modules() if isinstance(module, kinds)]


def stride_of(name):
    """Of the logits, in input pixels: 4, but 8 for SegNeXt and for SegFormer with offset learning."""
    return 8 if name.startswith("segnext") or (name.startswith("segformer") and name.endswith("-offset")) else 4


@pytest.mark.parametrize("name", MODELS)
def test_every_network_is_built_with_its_head_and_gives_logits_on_its_own_grid(name):
    with hollow_model(name, num_classes=6) as model:  # shapes only: nothing is computed
        logits = model(torch.empty(2, 3, 96, 160))
    assert logits.shape == (2, 6, 96 // stride_of(name), 160 // stride_of(name))
    assert not model.training and model.name == name
    offset = name.endswith("-offset") or name.startswith("offseg")
    if name.startswith("mask2former"):
        assert heads(model) == ([MaskOffsetLearning] if offset else [])
    else:
        assert heads(model) == [OffsetLearning if offset else PerPixelClassifier]


@pytest.mark.parametrize("name", ["nano", "nano-offset", "segformer-b0-offset"])
def test_prediction_at_input_size(name):
    model = load_model(name, num_classes=6)
    images = torch.randn(2, 3, 96, 160, generator=torch.Generator().manual_seed(0))
    prediction = model.predict(images)
    assert prediction.shape == (2, 96, 160) and prediction.dtype == torch.int64 and prediction.max() < 6
    resized = torch.nn.functional.interpolate(model(images), size=(96, 160), mode="bilinear", align_corners=False)
    assert torch.equal(prediction, resized.argmax(1))


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 64), (75, 101), (64, 95)])
def test_other_sides_are_padded_with_the_mean_colour_and_cropped_back(height, width):
    model = load_model("segformer-b0-offset", num_classes=4)
    images = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(1))
    padded = torch.zeros(1, 3, -(-height // 32) * 32, -(-width // 32) * 32)
    padded[:, :, :height, :width] = images
    with torch.no_grad():
        expected = model(padded)
        rows, columns = -(-height // 8), -(-width // 8)
        torch.testing.assert_close(model(images), expected[:, :, :rows, :columns], rtol=0, atol=0)
        assert torch.equal(model.predict(images), model.predict(padded)[:, :height, :width])


@pytest.mark.parametrize("name", ["nano", "nano-offset"])
def test_nano_stays_under_half_a_million_parameters_with_strides_4_to_32(name):
    model = load_model(name, num_classes=30)
    assert sum(parameter.numel() for parameter in model.parameters()) < 500_000
    levels = model.backbone(torch.zeros(1, 3, 64, 96))
    assert [tuple(level.shape[2:]) for level in levels] == [(16, 24), (8, 12), (4, 6), (2, 3)]


def test_seed_decides_the_weights_and_global_random_state_is_untouched():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    prints = [load_model("nano", num_classes=4, seed=seed).fingerprint() for seed in (0, 0, 1)]
    torch.testing.assert_close(torch.rand(3), expected)
    assert prints[0] == prints[1] != prints[2]


def test_normalize_is_mean_and_standard_deviation():
    model = load_model("nano", num_classes=3)
    image = np.full((40, 32, 3), (124, 116, 104), dtype=np.uint8)
    normalized = model.normalize(image)
    assert normalized.shape == (1, 3, 40, 32)
    expected = (np.array([124, 116, 104]) - [123.675, 116.28, 103.53]) / [58.395, 57.12, 57.375]
    np.testing.assert_allclose(normalized[0, :, 0, 0], expected, rtol=1e-4, atol=1e-6)
    with pytest.raises(ModelError, match="uint8 RGB"):
        model.normalize(np.zeros((40, 32, 3), dtype=np.float32))


def test_half_precision_networks_normalise_in_full_precision():
    image = np.full((32, 32, 3), (124, 116, 104), dtype=np.uint8)
    exact = load_model("nano", num_classes=3).double().normalize(image)
    half = load_model("nano", num_classes=3).bfloat16()
    assert half.normalize(image).dtype == torch.bfloat16
    torch.testing.assert_close(half.normalize(image).double(), exact, rtol=0.01, atol=0)
    assert len(half.fingerprint()) == 12


def test_unknown_model_names_the_nearest_and_lists_all():
    with pytest.raises(UnknownNameError, match="Did you mean 'nano-offset'.*segformer-b0.*mask2former-swin-t-offset"):
        load_model("nano-ofset", num_classes=3)


def test_classes_are_needed_and_must_agree():
    with pytest.raises(ModelError, match="num_classes="):
        load_model("segformer-b0")
    for wrong in (0, -1, 2.5, "19"):
        with pytest.raises(ModelError, match="needed a whole number from 1"):
            load_model("nano", num_classes=wrong)
    with pytest.raises(ModelError, match="pass one of the two"):
        load_model("nano", num_classes=3, classes=ClassList.numbered(4))


def test_too_small_misshapen_or_not_finite_images_are_refused():
    model = load_model("nano", num_classes=3)
    with pytest.raises(ModelError, match="too small"):
        model(torch.zeros(1, 3, 31, 64))
    with pytest.raises(ModelError, match="normalised images"):
        model(torch.zeros(1, 64, 64, 3))
    for wrong, message in (
        (np.zeros((1, 3, 64, 64), dtype=np.float32), "found ndarray"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), r"uint8, the weights torch.float32.*model.normalize"),
        (torch.zeros(1, 3, 64, 64).double(), "images are torch.float64, the weights torch.float32"),
        (torch.zeros(0, 3, 64, 64), "a batch without images"),
    ):
        with pytest.raises(ModelError, match=message):
            model(wrong)
    images = torch.zeros(1, 3, 64, 64)
    images[0, 1, 2, 3:5] = torch.tensor([float("nan"), float("inf")])
    for function in (model, model.predict):
        with pytest.raises(ModelError, match="2 of 12288 input values are NaN or infinite"):
            function(images)
