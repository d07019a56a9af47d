"""SegFormer-B0 with and without offset learning equals the released networks, and what the zoo builds."""

import numpy as np
import pytest
import torch
from shared_data import reference_input, reference_state_dict, shared

from offseg_viz.errors import CheckpointError
from offseg_viz.extract.capture import capture
from offseg_viz.models.official import load_official_weights
from offseg_viz.models.zoo import load_model

VARIANTS = {"segformer-b0": "segformer-b0_ade20k", "segformer-b0-offset": "segformer-b0-ol_ade20k"}


@pytest.fixture(scope="module", params=VARIANTS)
def filled(request):
    vectors = np.load(shared(f"reference/{VARIANTS[request.param]}.npz"))
    model = load_official_weights(
        load_model(request.param, num_classes=150), reference_state_dict(VARIANTS[request.param])
    )
    return model, vectors


@pytest.mark.parametrize("size", [(512, 512), (256, 320)])
def test_logits_equal_the_release(filled, size):
    model, vectors = filled
    prefix = f"{size[0]}x{size[1]}"
    pos = vectors[f"{prefix}/pos"]
    with torch.no_grad():
        logits = model(reference_input(*size))[0]
    difference = np.abs(logits.flatten(1).T.numpy()[pos] - vectors[f"{prefix}/logits"])
    assert difference.max() < 1e-4 and difference.mean() < 1e-5
    np.testing.assert_array_equal(logits.argmax(0), vectors[f"{prefix}/argmax"])


def test_logits_equal_the_release_in_float64(filled):
    model, vectors = filled
    try:
        with torch.no_grad():
            logits = model.double()(reference_input(256, 320).double())[0].flatten(1).T.numpy()
    finally:
        model.float()
    expected = vectors["256x320/logits_f64"]
    assert np.abs(logits[vectors["256x320/pos"][: len(expected)]] - expected).max() < 1e-9


def test_backbone_stages_equal_the_release(filled):
    model, vectors = filled
    with torch.no_grad():
        for i, level in enumerate(model.backbone(reference_input(256, 320))):
            np.testing.assert_allclose(level.flatten()[:64], vectors[f"256x320/stage{i}_first64"], atol=3e-5)


def test_intermediates_of_the_offset_head_equal_the_release(filled):
    model, vectors = filled
    if not model.name.endswith("-offset"):
        assert "256x320/ol_E" not in vectors
        return
    head = model.decode_head.classifier
    points = {
        "e": (head, "input"),
        "class_offset": (head.class_offset_proj, "output"),
        "feature_offset": (head.feature_offset_proj, "output"),
        "scores": (head.norm, "input"),
    }
    with torch.no_grad(), capture(points) as seen:
        model(reference_input(256, 320))
    pos, channels = vectors["256x320/ol_pos"], vectors["256x320/ol_ch"]
    e = seen["e"][0].flatten(1).T
    for ours, theirs, bound in (
        (e[pos][:, channels], "ol_E", 1e-5),
        (seen["class_offset"][0][:, channels], "ol_cls_offset", 1e-5),
        (seen["feature_offset"][0][pos][:, channels], "ol_feat_offset", 1e-5),
        (seen["scores"][0][pos], "ol_masks_pre_ln", 5e-4),
    ):
        assert np.abs(ours.numpy() - vectors[f"256x320/{theirs}"]).max() < bound, theirs


def test_official_weights_of_another_network_are_refused():
    state_dict = reference_state_dict("segformer-b0_ade20k")
    with pytest.raises(CheckpointError, match="missing"):
        load_official_weights(load_model("segformer-b0-offset", num_classes=150), state_dict)
    with pytest.raises(CheckpointError, match="check num_classes"):
        load_official_weights(load_model("segformer-b0", num_classes=19), state_dict)
    extra = state_dict | {"backbone.surprise": torch.zeros(1)}
    with pytest.raises(CheckpointError, match="backbone.surprise"):
        load_official_weights(load_model("segformer-b0", num_classes=150), extra)


def test_official_file_that_would_execute_code_is_refused(tmp_path):
    class Trap:
        def __reduce__(self):
            return (exec, ("raise SystemExit('executed')",))

    torch.save({"state_dict": {}, "meta": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(CheckpointError, match="not loaded"):
        load_official_weights(load_model("segformer-b0", num_classes=5), tmp_path / "trap.pth")
