"""Checkpoints of the release: every network takes exactly their names, published files load, mistakes are explained."""

import importlib.util
import json
from collections import OrderedDict

import pytest
import torch
from published_files import write_published
from release_names import release_names, release_tensors
from shared_data import reference_state_dict, shared

import offseg_viz as ov
from offseg_viz.errors import CheckpointError
from offseg_viz.models.official.identification import identify
from offseg_viz.models.official.loading import match_official
from offseg_viz.models.official.strict_loading import by_module
from offseg_viz.models.zoo import MODELS, load_model

RELEASED = [name for name in MODELS if not name.startswith("nano")]
NAME, K = "segformer-b0-offset", 7
M2F = "mask2former-swin-t-offset"


def fingerprint_after_refusal(model, weights, expected):
    """Loading fails with a message that matches, and leaves every weight of the model as it was."""
    before = model.fingerprint()
    with pytest.raises(CheckpointError, match=expected) as refusal:
        ov.load_official_weights(model, weights)
    assert model.fingerprint() == before
    return str(refusal.value)


@pytest.fixture(scope="module")
def tensors():
    return release_tensors(NAME, K)


@pytest.fixture
def model():
    return load_model(NAME, num_classes=K, seed=1)


# Names


@pytest.mark.parametrize("name", ["offseg-t", "segformer-b0", NAME, "segnext-t", "segnext-t-offset", M2F])
def test_the_list_of_names_here_is_that_of_the_release(name):
    listed = json.loads(shared("reference/manifest.json").read_text())["variants"]
    tensors = listed[f"{name.replace('offset', 'ol').replace('-swin', '')}_ade20k"]["state_dict"]
    names = release_names(name, 150)
    assert names == {key: tuple(shape) for key, shape, _, _ in tensors}
    assert names.whole == {key for key, _, dtype, _ in tensors if dtype == "int64"}


@pytest.mark.parametrize("name", RELEASED)
def test_every_network_takes_exactly_the_tensors_of_the_release(name):
    with torch.device("meta"):
        model = load_model(name, num_classes=19)
    state_dict = {key: torch.zeros(shape) for key, shape in release_names(name, 19).items()}
    match = match_official(model, state_dict, "the release")
    learned = [key for key, tensor in model.state_dict().items() if tensor.is_floating_point()]
    constants = [key for key in learned if key.endswith(("hamming_lowpass", "hamming_highpass", "init_pos"))]
    assert len(match.pairs) == len(learned) - len(constants)


@pytest.mark.parametrize("name", RELEASED)
def test_a_network_is_identified_by_its_shapes(name):
    shapes = release_names(name, 19)
    state_dict = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    assert identify(state_dict) == (name, 19)
    # one block less is no network of the release
    last = max(key for key in shapes if key.startswith("backbone") and key.endswith("norm1.weight"))
    block = last.removesuffix("norm1.weight").removesuffix("mlp.")
    assert identify({key: value for key, value in state_dict.items() if not key.startswith(block)}).name is None


def test_what_is_no_network_of_the_release_is_not_taken_for_one():
    assert identify({}) == (None, None)
    assert identify({"decode_head.conv_seg.weight": torch.empty(5, 256, 1, 1)}) == (None, 5)
    wide = {key: torch.empty(shape) for key, shape in release_names("segnext-t", 5).items()}
    wide["decode_head.conv_seg.weight"] = torch.empty(5, 512, 1, 1)
    assert identify(wide).name is None
    assert identify({key: value for key, value in wide.items() if "hamburger" not in key}).name is None


# Loading


def test_every_value_arrives_in_its_place(model, tensors):
    assert ov.load_official_weights(model, tensors) is model
    ours, block = model.state_dict(), "backbone.stages.0.blocks.1.attention"
    packed = tensors["backbone.layers.0.1.1.attn.attn.in_proj_weight"]
    for letter, part in zip("qkv", packed.split(32), strict=True):
        torch.testing.assert_close(ours[f"{block}.{letter}_proj.weight"], part)
    torch.testing.assert_close(ours["backbone.stages.1.layer_norm.bias"], tensors["backbone.layers.1.2.bias"])
    embedding = tensors["decode_head.offset_learning.cls_repr"][0]
    torch.testing.assert_close(ours["decode_head.classifier.class_embedding"], embedding)
    running = tensors["decode_head.convs.2.bn.running_var"]
    torch.testing.assert_close(ours["decode_head.convs.2.norm.running_var"], running)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_published_file_loads_without_mmengine(model, tensors, tmp_path, legacy):
    assert importlib.util.find_spec("mmengine") is None
    path = write_published(tmp_path / "iter_160000.pth", tensors, legacy=legacy)
    expected = ov.load_official_weights(load_model(NAME, num_classes=K), tensors)
    assert ov.load_official_weights(model, path).fingerprint() == expected.fingerprint()
    path.unlink()  # nothing of the file is needed any more
    assert model.predict(torch.zeros(1, 3, 64, 64)).shape == (1, 64, 64)


def test_what_is_known_to_be_unused_may_be_there_or_not(model, tensors):
    expected = ov.load_official_weights(load_model(NAME, num_classes=K), tensors).fingerprint()
    few = {key: value for key, value in tensors.items() if "conv_seg" not in key and "num_batches" not in key}
    assert len(few) < len(tensors)
    many = tensors | {"backbone.layers.0.1.0.attn.relative_position_index": torch.zeros(4, dtype=torch.int64)}
    for weights in (few, many):
        assert ov.load_official_weights(model, weights).fingerprint() == expected


def test_auxiliary_heads_are_left_out_with_a_remark(model, tensors):
    extra = {"auxiliary_head.conv_seg.weight": torch.zeros(K, 4, 1, 1), "auxiliary_head.convs.0.bias": torch.zeros(4)}
    with pytest.warns(UserWarning, match="2 tensors left out, heads that serve training only"):
        ov.load_official_weights(model, tensors | extra)


@pytest.mark.parametrize("wrap", ["state_dict", "model", "state_dict_ema", "twice", "module.", "model.module."])
def test_wrappers_and_prefixes_of_training_frameworks(model, tensors, wrap):
    expected = ov.load_official_weights(load_model(NAME, num_classes=K), tensors).fingerprint()
    if wrap.endswith("."):
        weights = {"state_dict": {wrap + key: value for key, value in tensors.items()}, "epoch": 3}
    elif wrap == "twice":
        weights = {"model": {"state_dict": tensors, "epoch": 4}}
    else:
        weights = {wrap: tensors, "epoch": 5, "optimizer": {"state": {}}}
    assert ov.load_official_weights(model, weights).fingerprint() == expected


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("wanted", [torch.float32, torch.float64, torch.bfloat16])
def test_tensors_are_cast_to_the_dtype_of_the_model(model, tensors, stored, wanted):
    cast = {key: value.to(stored) if value.is_floating_point() else value for key, value in tensors.items()}
    ov.load_official_weights(model.to(wanted), cast)
    assert {tensor.dtype for tensor in model.state_dict().values() if tensor.is_floating_point()} == {wanted}
    key = "decode_head.offset_learning.mask_norm.bias"
    torch.testing.assert_close(model.decode_head.classifier.norm.bias.data, cast[key].to(wanted), rtol=0, atol=0)


def test_attributes_that_a_file_puts_on_its_dictionaries_are_not_used(model, tensors, tmp_path):
    class Odd:
        def __reduce__(self):
            return OrderedDict, (), dict.fromkeys(("items", "keys", "get", "values"), set), None, iter(tensors.items())

    torch.save(Odd(), tmp_path / "odd.pth")
    assert torch.load(tmp_path / "odd.pth").items() == set()
    ov.load_official_weights(model, tmp_path / "odd.pth")
    expected = ov.load_official_weights(load_model(NAME, num_classes=K), tensors)
    assert model.fingerprint() == expected.fingerprint()


# Mistakes


def test_another_number_of_classes_says_how_many_and_how_to_build_it(model, tensors):
    weights = release_tensors(NAME, 4)
    text = fingerprint_after_refusal(model, weights, "looks like segformer-b0-offset with 4 classes, not 7")
    assert "load_model('segformer-b0-offset', num_classes=4)" in text


@pytest.mark.parametrize(
    ("found", "needed"),
    [("segformer-b2-offset", NAME), ("segformer-b0", NAME), (NAME, "segformer-b0"), (NAME, "nano-offset")]
    + [("offseg-t", "segnext-t-offset"), ("segnext-t-offset", "offseg-t"), (M2F, NAME), (NAME, M2F)],
)
def test_another_network_is_named_with_the_call_that_builds_it(found, needed):
    with torch.device("meta"):
        model = load_model(needed, num_classes=5)
    weights = {key: torch.empty(shape) for key, shape in release_names(found, 5).items()}
    with pytest.raises(CheckpointError, match=f"looks like {found} with 5 classes, not {needed}: build") as refusal:
        ov.load_official_weights(model, weights)
    assert f"load_model('{found}', num_classes=5)" in str(refusal.value)


def test_missing_and_surplus_tensors_are_listed_by_module_ten_at_most(model, tensors):
    weights = dict(tensors)
    for key in [key for key in weights if key.startswith("backbone.layers.0.1.")]:
        del weights[key]
    text = fingerprint_after_refusal(model, weights, "it does not look like any network of the release")
    assert "44 missing: backbone.stages.0.blocks.0.attention.k_proj.{bias, weight} (2), " in text
    assert text.endswith(", and 34 more, in 17 further modules")
    extra = {"backbone.surprise.weight": torch.zeros(1)}
    text = fingerprint_after_refusal(model, tensors | extra, "it looks like segformer")
    assert text.endswith("it looks like segformer-b0-offset, but 1 not used: backbone.surprise.weight")
    assert "missing" not in text


def test_names_are_grouped_by_module():
    assert by_module(["a.b.weight", "a.b.bias", "a.c"]) == "a.b.{weight, bias} (2), a.c"
    many = [f"m{i}.weight" for i in range(12)] + ["m0.bias"]
    assert by_module(many).endswith("m9.weight, and 3 more, in 2 further modules")
    assert "\x1b" not in by_module(["a.\x1b[31m"])


def test_a_transposed_or_broken_tensor_is_not_bent_into_shape(model, tensors):
    key = "decode_head.offset_learning.cls_repr"
    transposed = tensors | {key: tensors[key].transpose(1, 2).contiguous()}
    fingerprint_after_refusal(
        model, transposed, f"1 of another shape or kind, or not finite: {key} 1x256x7, needed 7x256|256 classes"
    )
    packed = "backbone.layers.0.1.0.attn.attn.in_proj_bias"
    fingerprint_after_refusal(model, tensors | {packed: torch.zeros(2)}, f"{packed} 2")
    whole = tensors | {packed: torch.zeros(96, dtype=torch.int64)}
    fingerprint_after_refusal(model, whole, f"{packed} 32 torch.int64, needed 32")
    fingerprint_after_refusal(model, tensors | {packed: torch.zeros(96, device="meta")}, packed)
    fingerprint_after_refusal(model, tensors | {packed: torch.zeros(96).to_sparse()}, packed)
    broken = tensors | {packed: torch.full((96,), float("nan"))}
    fingerprint_after_refusal(model, broken, f"{packed} holds NaN or infinite numbers")


def test_two_names_for_one_of_our_tensors_are_refused(model, tensors):
    twin = {"backbone.stages.0.layer_norm.bias": torch.zeros(32)}  # our own name beside that of the release
    fingerprint_after_refusal(model, tensors | twin, "1 not used: backbone.stages.0.layer_norm.bias")


def test_weights_of_this_package_are_sent_to_their_reader(model, tmp_path):
    fingerprint_after_refusal(model, model.state_dict(), "our own names.*model.load_state_dict")
    torch.save({"offseg_viz": {"model": NAME}, "state_dict": {}}, tmp_path / "last.ckpt")
    fingerprint_after_refusal(model, tmp_path / "last.ckpt", r"load_model\(name, weights='.*last.ckpt'\)")
    from offseg_viz.models.weights import save_weights

    save_weights(model, tmp_path / "ours.safetensors", origin={})
    fingerprint_after_refusal(model, tmp_path / "ours.safetensors", r"load_model\(name, weights='.*ours.safetensors'\)")


def test_published_weights_given_to_load_model_are_sent_to_convert(tensors, tmp_path):
    path = write_published(tmp_path / "iter_160000.pth", tensors)
    with pytest.raises(CheckpointError, match="offseg-viz convert iter_160000.pth OUT.safetensors.*load_official_w"):
        load_model(NAME, weights=path)


@pytest.mark.parametrize(
    ("contents", "expected"),
    [({}, "without tensors"), ([1, 2], "list without tensors"), (torch.zeros(3), "Tensor without tensors")]
    + [({"epoch": 3, "state": torch.zeros(1)}, "entries such as epoch"), ({"state_dict": {}}, "without tensors")]
    + [({3: torch.zeros(1)}, "entries such as 3")],
)
def test_a_file_without_a_state_dict_says_what_it_holds(model, tmp_path, contents, expected):
    torch.save(contents, tmp_path / "odd.pth")
    fingerprint_after_refusal(model, tmp_path / "odd.pth", f"holds no state dict.*{expected}")


def test_the_released_vectors_load_and_are_identified():
    for variant, name in {"offseg-t_ade20k": "offseg-t", "mask2former-t-ol_ade20k": M2F}.items():
        assert identify(reference_state_dict(variant)) == (name, 150)
