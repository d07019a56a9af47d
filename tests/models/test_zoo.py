"""Networks by name: sizes, grids, seeds, normalisation, and refusals that help."""

import numpy as np
import pytest
import torch

from offseg_viz.classes import ClassList
from offseg_viz.errors import ModelError, UnknownNameError
from offseg_viz.models.offset_learning import OffsetLearning
from offseg_viz.models.per_pixel import PerPixelClassifier
from offseg_viz.models.zoo import MODELS, available_models, load_model


@pytest.mark.parametrize("name", MODELS)
def test_logits_on_the_heads_own_grid_and_prediction_at_input_size(name):
    model = load_model(name, num_classes=6)
    images = torch.randn(2, 3, 96, 160)
    stride = 8 if name == "segformer-b0-offset" else 4
    assert model(images).shape == (2, 6, 96 // stride, 160 // stride)
    prediction = model.predict(images)
    assert prediction.shape == (2, 96, 160) and prediction.dtype == torch.int64 and prediction.max() < 6
    assert isinstance(model.decode_head.classifier, OffsetLearning if name.endswith("-offset") else PerPixelClassifier)
    assert not model.training


@pytest.mark.parametrize("name", ["nano", "nano-offset"])
def test_nano_stays_under_half_a_million_parameters_with_strides_4_to_32(name):
    model = load_model(name, num_classes=30)
    assert sum(parameter.numel() for parameter in model.parameters()) < 500_000
    levels = model.backbone(torch.zeros(1, 3, 64, 96))
    assert [tuple(level.shape[2:]) for level in levels] == [(16, 24), (8, 12), (4, 6), (2, 3)]


def test_table_of_models_counts_what_is_built():
    table = available_models(num_classes=150)
    assert list(table.index) == list(MODELS)
    assert (table.gflops > 0).all()
    # SegFormer-B0 with offset learning has 3.885 M parameters without the release's unused convolution
    assert table.params_m["segformer-b0-offset"] == 3.88
    assert table.params_m["nano-offset"] > table.params_m["nano"]


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


def test_unknown_model_names_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'nano-offset'.*segformer-b0"):
        load_model("nano-ofset", num_classes=3)


def test_classes_are_needed_and_must_agree():
    with pytest.raises(ModelError, match="num_classes="):
        load_model("segformer-b0")
    with pytest.raises(ModelError, match="pass one of the two"):
        load_model("nano", num_classes=3, classes=ClassList.numbered(4))


def test_too_small_or_misshapen_images_are_refused():
    model = load_model("nano", num_classes=3)
    with pytest.raises(ModelError, match="too small"):
        model(torch.zeros(1, 3, 16, 64))
    with pytest.raises(ModelError, match="normalised images"):
        model(torch.zeros(1, 64, 64, 3))
