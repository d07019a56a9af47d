"""ImageNet files load into the backbones of all families; what belongs to classification is passed over."""

import pytest
import torch
from published_files import write_published
from release_names import release_names

import offseg_viz as ov
from offseg_viz.errors import CheckpointError
from offseg_viz.models.official.identification import BACKBONES, identify_backbone
from offseg_viz.models.zoo import MODELS, load_model

NETWORKS = {  # the network and what the file of its backbone keeps the weights under
    "segformer-b0": "state_dict",
    "segnext-t-offset": "state_dict",
    "offseg-t": "model",
    "mask2former-swin-t": None,
}


def random_tensors(name):
    """A state dict in the release's names."""
    names, generator = release_names(name, 5), torch.Generator().manual_seed(0)
    return {
        key: torch.zeros(shape, dtype=torch.int64) if key in names.whole else torch.randn(shape, generator=generator)
        for key, shape in names.items()
    }


def imagenet_file(name):
    """Tensors as the backbone's authors publish them: names without `backbone.`, left-overs of classification added."""
    tensors = {
        key.removeprefix("backbone."): value
        for key, value in random_tensors(name).items()
        if key.startswith("backbone.") and not key.endswith(("attention_biases_seg", "attention_bias_idxs_seg"))
    }
    if name.startswith("mask2former"):
        for stage in range(3):
            del tensors[f"norm{stage}.weight"], tensors[f"norm{stage}.bias"]
        tensors["stages.0.blocks.1.attn_mask"] = torch.zeros(64, 49, 49)
        tensors |= {"norm.weight": torch.ones(768), "norm.bias": torch.zeros(768)}
    if name.startswith("offseg"):
        tensors |= {"norm.weight": torch.ones(224), "norm.num_batches_tracked": torch.tensor(5)}
        tensors |= {"dist_head.weight": torch.zeros(1000, 224), "dist_head.bias": torch.zeros(1000)}
    if not name.startswith("segformer"):
        tensors |= {"head.weight": torch.zeros(1000, 224), "head.bias": torch.zeros(1000)}
    return tensors


def wrapped(name, tensors):
    key = NETWORKS[name]
    return tensors if key is None else {key: tensors}


def states(model):
    return {key: value.clone() for key, value in model.state_dict().items()}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_published_backbone_arrives_and_the_head_stays(name, tmp_path):
    model, whole = load_model(name, num_classes=5), load_model(name, num_classes=5)
    ov.load_official_weights(whole, random_tensors(name))
    before, expected = states(model), whole.state_dict()
    torch.save(wrapped(name, imagenet_file(name)), tmp_path / "imagenet.pth")
    assert ov.load_backbone_weights(model, tmp_path / "imagenet.pth") is model
    as_before, as_loaded = [], []
    for key, value in model.state_dict().items():
        if value.is_floating_point():
            as_before += [key] * torch.equal(value, before[key])
            as_loaded += [key] * torch.equal(value, expected[key])
    learned = {key for key, value in before.items() if value.is_floating_point()}
    assert {key for key in learned if key.startswith("backbone.")} - set(as_loaded) == starting(name, model)
    assert {key for key in learned if not key.startswith("backbone.")} <= set(as_before)
    assert starting(name, model) <= set(as_before)


def starting(name, model):
    """Our names of what segmentation adds to the backbone, which ImageNet files lack."""
    keys = {key for key in model.state_dict() if key.startswith("backbone.")}
    if name.startswith("offseg"):
        found = {key for key in keys if key.endswith("attention_bias.values")}
        assert len(found) == 5
        return found
    if name.startswith("mask2former"):
        return {f"backbone.norms.{stage}.{kind}" for stage in range(3) for kind in ("weight", "bias")}
    return set()


@pytest.mark.parametrize("name", [name for name in MODELS if not name.startswith("nano")])
def test_a_backbone_is_identified_by_its_shapes(name):
    shapes = release_names(name, 5).items()
    start = "backbone."
    state_dict = {key.removeprefix(start): torch.empty(s, device="meta") for key, s in shapes if key.startswith(start)}
    found = identify_backbone(state_dict)
    assert found in BACKBONES
    sizes = {"offseg-t": "s1", "offseg-b": "s2", "offseg-l": "l"}
    assert found.split("-")[1] == sizes.get(name, name.removesuffix("-offset").split("-")[-1])


@pytest.mark.parametrize(
    ("found", "needed", "expected"),
    [
        ("segformer-b2", "segformer-b1", "looks like mit-b2, the backbone of segformer-b2, not of segformer-b1"),
        ("segformer-b0", "segnext-t", "looks like mit-b0, the backbone of segformer-b0, not of segnext-t"),
        ("segnext-s", "segnext-b-offset", "looks like mscan-s, the backbone of segnext-s, not of segnext-b-offset"),
        ("offseg-b", "offseg-t", "looks like efficientformerv2-s2, the backbone of offseg-b, not of offseg-t"),
        ("mask2former-swin-t", "nano", "looks like swin-t, the backbone of mask2former-swin-t, not of nano"),
    ],
)
def test_another_backbone_is_named(found, needed, expected):
    weights = {key: torch.empty(shape) for key, shape in release_names(found, 5).items()}
    with torch.device("meta"):
        model = load_model(needed, num_classes=5)
    with pytest.raises(CheckpointError, match=expected):
        ov.load_backbone_weights(model, weights)


def test_of_a_whole_network_the_backbone_is_taken(tmp_path):
    tensors = random_tensors("segformer-b0-offset")
    model = ov.load_backbone_weights(load_model("segformer-b0", num_classes=150), tensors)
    ours = model.state_dict()["backbone.stages.3.layer_norm.weight"]
    torch.testing.assert_close(ours, tensors["backbone.layers.3.2.weight"])
    write_published(tmp_path / "a.pth", tensors)
    assert ov.load_backbone_weights(load_model("segformer-b0", num_classes=150, seed=1), tmp_path / "a.pth")


@pytest.mark.parametrize("change", ["missing", "surplus", "own names", "shape"])
def test_a_file_that_does_not_fit_leaves_the_model_as_it_was(change):
    model = load_model("segformer-b0", num_classes=5)
    before, weights = model.fingerprint(), imagenet_file("segformer-b0")
    expected = "it looks like mit-b0, but 1 "
    if change == "missing":
        del weights["layers.3.2.bias"]
        expected += "missing: backbone.stages.3.layer_norm.bias"
    elif change == "surplus":
        weights["layers.3.3.bias"] = torch.zeros(2)
        expected += "not used: backbone.layers.3.3.bias"
    elif change == "shape":
        weights["layers.3.2.bias"] = torch.zeros(255)
        expected += "of another shape or kind, or not finite: backbone.layers.3.2.bias 255, needed 256"
    else:
        weights = model.state_dict()
        expected = "it looks like no known backbone .first names: stages.0.patch_embeddings.proj.weight"
    with pytest.raises(CheckpointError, match=expected):
        ov.load_backbone_weights(model, weights)
    assert model.fingerprint() == before


def test_half_precision_files_are_cast():
    weights = imagenet_file("segnext-t-offset")
    half = {key: value.half() if value.is_floating_point() else value for key, value in weights.items()}
    model = ov.load_backbone_weights(load_model("segnext-t-offset", num_classes=5), half)
    assert {value.dtype for value in model.state_dict().values() if value.is_floating_point()} == {torch.float32}
