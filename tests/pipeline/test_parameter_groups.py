"""Parameter groups: as they are meant, and as mmengine makes them of the release's names and configurations."""

import json
from types import SimpleNamespace

import pytest
import torch
from release_names import release_names
from shared_data import shared
from torch import nn

from offseg_viz.errors import ModelError
from offseg_viz.models.official.official_names import official_name
from offseg_viz.models.zoo import MODELS, load_model
from offseg_viz.pipeline.parameter_groups import MASK2FORMER_RULES, PER_PIXEL_RULES, Rule, parameter_groups

RECIPE = SimpleNamespace(learning_rate=3e-5, head_multiplier=7.0, weight_decay=0.02)
MASK2FORMER = "mask2former-swin-t-offset"
FAMILIES = ["offseg-t", "segformer-b0-offset", "segnext-t-offset", MASK2FORMER]


def build(name):
    with torch.device("meta"):
        return load_model(name, num_classes=7)


def settings(model, recipe=RECIPE, **options):
    """(learning rate, weight decay, name of the group) of every parameter by name; each is in one group."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {}
    for group in parameter_groups(model, recipe, **options):
        for parameter in group["params"]:
            name = names[id(parameter)]
            assert name not in found, f"{name} is in two groups"
            found[name] = (group["lr"], group["weight_decay"], group["name"])
    assert found.keys() == set(names.values())
    return found


# --- as they are meant -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_only_norms_are_without_decay_and_the_head_is_faster(name):
    model = build(name)
    found = settings(model)
    tables = ("queries_embedder.weight", "queries_features.weight", "level_embed.weight")
    embeddings = {"decode_head.pixel_decoder.level_embed", *(f"decode_head.transformer_module.{x}" for x in tables)}
    for place, module in model.named_modules():
        norm = isinstance(module, nn.LayerNorm | nn.GroupNorm | nn.BatchNorm2d)
        for last, _ in module.named_parameters(recurse=False):
            parameter = f"{place}.{last}"
            rate, decay, group = found[parameter]
            exempt = norm or parameter in embeddings or last == "relative_position_bias_table"
            head = parameter.startswith("decode_head.")
            assert rate == pytest.approx(21e-5 if head else 3e-5), parameter
            assert decay == (0 if exempt else 0.02), parameter
            assert group == f"{'decode_head' if head else 'backbone'}, {'no decay' if exempt else 'decay'}"
    assert len({group for _, _, group in found.values()}) == 4


class OwnNorm(nn.Module):
    """A normalisation layer of another library."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))


class Renamed(nn.LayerNorm):
    """One that its name does not show."""


def test_norms_of_any_kind_are_found_by_their_type():
    kinds = [nn.BatchNorm1d(3), nn.SyncBatchNorm(3), nn.InstanceNorm2d(3, affine=True), nn.RMSNorm(3), OwnNorm()]
    model = nn.Module()
    model.backbone = nn.ModuleList([*kinds, Renamed(3), nn.Linear(3, 3)])
    model.backbone.norm_of_nothing = nn.Conv2d(3, 3, 1)  # named like one
    model.decode_head = nn.Linear(3, 3)
    found = settings(model)
    assert {name.split(".")[1] for name, (_, decay, _) in found.items() if decay == 0} == set("012345")
    assert found["backbone.6.bias"][1] == found["backbone.norm_of_nothing.bias"][1] == 0.02  # biases are decayed


def test_a_shared_tensor_is_in_one_group():
    model = nn.Module()
    model.backbone, model.decode_head = nn.Linear(3, 3), nn.Linear(3, 3)
    model.decode_head.weight = model.backbone.weight
    groups = parameter_groups(model, RECIPE)
    assert sum(len(group["params"]) for group in groups) == 3


def test_the_optimiser_takes_them():
    groups = parameter_groups(load_model("nano-offset", num_classes=3), RECIPE)
    optimizer = torch.optim.AdamW(groups)
    assert [group["name"] for group in optimizer.param_groups] == [group["name"] for group in groups]
    assert {group["lr"] for group in optimizer.param_groups} == {3e-5, 7.0 * 3e-5}


# --- as the release makes them ---------------------------------------------------------------------------------------


def mmengine_replica(names, norm_layers, *, base_rate, base_decay, custom_keys, norm_decay_mult=None):
    """Rate and decay by name: longest key first, the alphabet among equals, first hit and nothing else."""
    ordered = sorted(sorted(custom_keys), key=len, reverse=True)
    found = {}
    for name in names:
        rate, decay = base_rate, base_decay
        for key in ordered:
            if name.find(key) >= 0:
                rate = base_rate * custom_keys[key].get("lr_mult", 1.0)
                decay = base_decay * custom_keys[key].get("decay_mult", 1.0)
                break
        else:
            if norm_decay_mult is not None and name.rpartition(".")[0] in norm_layers:
                decay = base_decay * norm_decay_mult
        found[name] = (rate, decay)
    return found


@pytest.fixture(scope="module")
def published():
    """Arguments of the replica by network: the optimisers of the release's configurations."""
    ade20k = json.loads(shared("facts/recipes.json").read_text())["datasets"]["ade20k"]
    variant = ade20k["mask2former_variant"]

    def arguments(optimizer, paramwise):
        return {"base_rate": optimizer["lr"], "base_decay": optimizer["weight_decay"], **paramwise}

    per_pixel = arguments(ade20k["optimizer"], ade20k["paramwise"])
    mask = arguments(variant["optimizer"], variant["paramwise_cfg"])
    return {name: mask if name == MASK2FORMER else per_pixel for name in FAMILIES}


@pytest.mark.parametrize("name", FAMILIES)
def test_official_groups_are_those_of_mmengine(name, published):
    theirs = release_names(name, 7)
    # in these networks a vector named weight is a norm's
    norms = {key.rpartition(".")[0] for key, shape in theirs.items() if key.endswith(".weight") and len(shape) == 1}
    expected = mmengine_replica(theirs, norms, **published[name])
    mask = name == MASK2FORMER
    recipe = SimpleNamespace(
        learning_rate=1e-5 if mask else 6e-5, head_multiplier=10.0, weight_decay=0.05 if mask else 0.01
    )
    for parameter, (rate, decay, group) in settings(build(name), recipe, official=True).items():
        there = official_name(name, parameter)
        assert (rate, decay) == pytest.approx(expected[there], rel=1e-12), (parameter, there)
        assert group.startswith(parameter.partition(".")[0])
        assert group.endswith(", no decay" if decay == 0 else ", decay")


def test_the_rules_are_those_of_the_configurations(published):
    for name, rules in ((MASK2FORMER, MASK2FORMER_RULES), ("offseg-t", PER_PIXEL_RULES)):
        factor = 10 if name == MASK2FORMER else 1  # ours count from the backbone's rate, theirs from the head's
        custom = published[name]["custom_keys"]
        assert custom.keys() == rules.keys()
        for key, multipliers in custom.items():
            head_rate = round(multipliers.get("lr_mult", 1.0) * factor) == 10
            assert rules[key] == Rule(head_rate, decay=multipliers.get("decay_mult", 1.0) == 1.0), key


def test_consequences_of_choosing_by_names():
    found = settings(build("offseg-t"), official=True)
    fast, slow = pytest.approx(21e-5), pytest.approx(3e-5)
    head = [setting for name, setting in found.items() if name.startswith("decode_head.")]
    assert all(setting == (fast, 0.02, "decode_head, decay") for setting in head)  # norms and biases too
    heads = {name for name in found if "talking_head" in name}
    assert len(heads) == 16
    assert all(found[name] == (fast, 0.02, "backbone, head's rate, decay") for name in heads)
    spared = {name for name, setting in found.items() if setting[1] == 0}
    assert all(found[name] == (slow, 0, "backbone, no decay") for name in spared)
    # norms of the MLPs and of the two plain downsamplings, by weight and bias; the others have numbers as names
    blocks = 3 + 3 + 9 + 6
    assert len(spared) == 2 * (3 * blocks + 2)
    for decayed in ("patch_embed.1.weight", "network.4.7.token_mixer.q.1.bias", "network.5.conv.1.weight"):
        assert found[f"backbone.{decayed}"] == (slow, 0.02, "backbone, decay")
    assert found["backbone.network.4.7.layer_scale_1"][1] == 0.02
    assert found["backbone.network.4.7.token_mixer.attention_bias.values"][1] == 0.02


def test_consequences_in_mask2former():
    found = settings(build(MASK2FORMER), official=True)
    meant = settings(build(MASK2FORMER))
    assert {name for name in found if found[name] != meant[name]} == {"decode_head.pixel_decoder.level_embed"}
    assert found["decode_head.pixel_decoder.level_embed"][1] == 0.02


@pytest.mark.parametrize("name", [name for name in MODELS if not name.startswith("nano")])
def test_official_groups_of_every_released_network(name):
    found = settings(build(name), official=True)
    assert all(
        rate == pytest.approx(21e-5) for parameter, (rate, _, _) in found.items() if parameter.startswith("decode_head")
    )


def test_a_network_without_a_release_has_no_official_groups():
    with pytest.raises(ModelError, match="nano-offset is not in the OffSeg release"):
        parameter_groups(build("nano-offset"), RECIPE, official=True)
