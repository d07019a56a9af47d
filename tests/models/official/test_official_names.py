"""Names of the release for our parameters: the inverse of the renaming, and all names that the release has."""

import json
import re

import pytest
import torch
from release_names import release_names
from shared_data import shared

from offseg_viz.errors import ModelError, UnknownNameError
from offseg_viz.models.official.names import names_of
from offseg_viz.models.official.official_names import official_name
from offseg_viz.models.official.strict_loading import NOT_LEARNED
from offseg_viz.models.zoo import MODELS, load_model

RELEASED = [name for name in MODELS if not name.startswith("nano")]
VARIANTS = {
    "offseg-t_ade20k": "offseg-t",
    "segformer-b0_ade20k": "segformer-b0",
    "segformer-b0-ol_ade20k": "segformer-b0-offset",
    "segnext-t_ade20k": "segnext-t",
    "segnext-t-ol_ade20k": "segnext-t-offset",
    "mask2former-t-ol_ade20k": "mask2former-swin-t-offset",
}
UNUSED = {"decode_head.conv_seg.weight", "decode_head.conv_seg.bias"}
"""What the release keeps beside offset learning, and we do not have."""


def shapes(model):
    """Names and shapes of the parameters of a network."""
    with torch.device("meta"):
        network = load_model(model, num_classes=7)
    return {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}


def parameters_of_the_release(names):
    buffers = (*NOT_LEARNED, "running_mean", "running_var")
    return {name for name in names if name.rsplit(".", 1)[-1] not in buffers}


@pytest.mark.parametrize("model", RELEASED)
def test_a_name_there_and_back(model):
    ours = shapes(model)
    theirs = {name: official_name(model, name) for name in ours}
    unpacked = [name for name in ours if re.search(r"\.[qkv]_proj\.", name)]
    for name, there in theirs.items():
        rows = ours[name][0] * (3 if name in unpacked else 1)
        back = [part for part, _ in names_of(model)(there, torch.empty(rows, *ours[name][1:], device="meta"))]
        assert name in back, (name, there, back)
        assert len(back) == (3 if name in unpacked else 1)
        assert {theirs[part] for part in back} == {there}
    assert len(theirs) - len(set(theirs.values())) == len(unpacked) * 2 / 3


@pytest.mark.parametrize("model", RELEASED)
def test_all_names_are_those_of_the_release(model):
    expected = parameters_of_the_release(release_names(model, 7))
    if "decode_head.offset_learning.cls_repr" in expected:
        expected -= UNUSED
    assert {official_name(model, name) for name in shapes(model)} == expected


@pytest.mark.parametrize("variant", VARIANTS)
def test_all_names_are_those_of_the_reference_vectors(variant):
    manifest = json.loads(shared("reference/manifest.json").read_text())["variants"][variant]["state_dict"]
    expected = {name for name, _, _, kind in manifest if kind == "param"}
    model = VARIANTS[variant]
    found = {official_name(model, name) for name in shapes(model)}
    missing = {name for name in expected - found if name.rsplit(".", 1)[-1] not in NOT_LEARNED}
    assert found <= expected
    assert missing == (UNUSED if "decode_head.offset_learning.cls_repr" in expected else set())


@pytest.mark.parametrize(
    ("model", "ours", "theirs"),
    [
        ("offseg-t", "backbone.network.2.1.mlp.mix.1.bias", "backbone.network.2.1.mlp.mid_norm.bias"),
        ("offseg-t", "backbone.network.5.conv.1.weight", "backbone.network.5.bn.weight"),
        ("offseg-t", "backbone.network.4.7.token_mixer.q.1.bias", "backbone.network.4.7.token_mixer.q.1.bias"),
        ("segformer-b3", "backbone.stages.2.blocks.17.layernorm_after.bias", "backbone.layers.2.1.17.norm2.bias"),
        (
            "segformer-b3",
            "backbone.stages.2.blocks.1.attention.v_proj.bias",
            "backbone.layers.2.1.1.attn.attn.in_proj_bias",
        ),
        (
            "segnext-b",
            "backbone.stages.2.blocks.10.attn.gate.strips.1.0.weight",
            "backbone.block3.10.attn.spatial_gating_unit.conv1_1.weight",
        ),
        (
            "mask2former-swin-t",
            "decode_head.transformer_module.decoder.layers.3.self_attn.q_proj.weight",
            "decode_head.transformer_decoder.layers.3.self_attn.attn.in_proj_weight",
        ),
        ("mask2former-swin-t", "decode_head.transformer_module.level_embed.weight", "decode_head.level_embed.weight"),
    ],
)
def test_names_written_out(model, ours, theirs):
    assert ours in shapes(model)
    assert official_name(model, ours) == theirs


def test_networks_without_a_release():
    with pytest.raises(ModelError, match="nano-offset is not in the OffSeg release.* needed one of the families"):
        official_name("nano-offset", "backbone.stages.0.weight")
    with pytest.raises(UnknownNameError, match="Did you mean 'segnext-t'"):
        official_name("segnext-tt", "backbone.norm1.weight")
