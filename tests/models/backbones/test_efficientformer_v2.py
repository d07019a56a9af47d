"""EfficientFormerV2: its attention against loops and the release's numbers, its sizes, and its start."""

import copy
import json
import math

import numpy as np
import pytest
import torch
from reference_modules import assert_equals_trace, fill_unit, traced
from shared_data import reference_input, reference_state_dict, shared

from offseg_viz.errors import ModelError, UnknownNameError
from offseg_viz.models.backbones.efficientformer_attention import HEADS, Attention, AttentionBias, DownAttention
from offseg_viz.models.backbones.efficientformer_v2 import SIZES, EfficientFormerV2
from offseg_viz.models.backbones.stochastic_depth import StochasticDepth, growing_rates
from offseg_viz.models.cost import hollow_model, multiply_adds
from offseg_viz.models.official.loading import load_official_weights
from offseg_viz.models.zoo import load_model

UNITS = {
    "attention4d": (lambda: Attention(24, 4), "backbone.network.6.4.token_mixer.", ("4x4", "3x5")),
    "attention4d_stride2": (lambda: Attention(24, 8, 2), "backbone.network.4.7.token_mixer.", ("8x8", "6x10")),
    "attention4d_down": (lambda: DownAttention(24, 40, 8), "backbone.network.5.attn.", ("8x8", "6x10")),
}


@pytest.mark.parametrize("unit", UNITS)
def test_attention_equals_the_release(unit):
    vectors = np.load(shared("reference/units.npz"))
    build, prefix, sizes = UNITS[unit]
    module = fill_unit(build(), prefix, unit)
    np.testing.assert_array_equal(module.attention_bias.index, vectors[f"{unit}/bias_idxs_seg"])
    for size in sizes:
        with torch.no_grad():
            out = module(torch.from_numpy(vectors[f"{unit}/{size} x"]))
        np.testing.assert_allclose(out, vectors[f"{unit}/{size} out"], atol=5e-6)


def test_every_part_of_the_backbone_equals_the_release():
    vectors = np.load(shared("reference/offseg-t_ade20k.npz"))
    model = load_official_weights(load_model("offseg-t", num_classes=150), reference_state_dict("offseg-t_ade20k"))
    with torch.no_grad(), traced(model, "backbone.") as outputs:
        model.backbone(reference_input(256, 320))
    compared = assert_equals_trace(outputs, vectors, "256x320", prefix="backbone.", atol=1e-5)
    # stem, three transitions (the last with 6 pairs and one convolution more), 21 blocks of 3 pairs, 4 attentions
    assert compared == 4 + 2 * (2 + 6) + 1 + 21 * 6 + 4 * (2 * 5 + 2) + 2 * 2 == len(outputs)


def cubic(distance):
    """The kernel of bicubic interpolation (Keys 1981) with a = -3/4."""
    a, t = -0.75, abs(distance)
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0


def resize(row, length):
    """A list to another length, borders repeated, centres of the ends aligned with half a step."""
    out = []
    for i in range(length):
        at = (i + 0.5) * len(row) / length - 0.5
        taps = range(math.floor(at) - 1, math.floor(at) + 3)
        out.append(sum(cubic(at - tap) * row[min(max(tap, 0), len(row) - 1)] for tap in taps))
    return out


@pytest.mark.parametrize(("stride", "queries", "keys"), [(1, 9, 9), (1, 4, 6), (2, 4, 16), (2, 6, 24), (2, 2, 8)])
def test_attention_bias_equals_plain_loops(stride, queries, keys):
    grid = 3 if stride == 1 else 4
    module = AttentionBias(grid, stride).double()
    torch.nn.init.normal_(module.values)
    found = module(queries, keys).detach()
    assert found.shape == (HEADS, queries, keys)
    centres = [(y, x) for y in range(0, grid, stride) for x in range(0, grid, stride)]
    places = [(y, x) for y in range(grid) for x in range(grid)]
    for head, values in enumerate(module.values.tolist()):
        picture = [[values[abs(qy - ky) * grid + abs(qx - kx)] for ky, kx in places] for qy, qx in centres]
        wide = [resize(row, keys) for row in picture]
        tall = [resize(column, queries) for column in zip(*wide, strict=True)]
        np.testing.assert_allclose(found[head], np.array(tall).T, atol=1e-12)


def test_attention_bias_is_never_stale():
    module = Attention(16, 4).eval()
    x = torch.randn(1, 16, 3, 5, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = module(x)
        module.attention_bias.values.copy_(3 * torch.randn_like(module.attention_bias.values))
        after = module(x)
        assert (after - before).abs().max() > 1e-3
        torch.testing.assert_close(copy.deepcopy(module)(x), after)
        torch.testing.assert_close(module.double()(x.double()).float(), after, atol=1e-5, rtol=0)
    assert set(module.attention_bias.state_dict()) == {"values"}


def attend(queries, keys, values, bias, scale, before, after):
    """Attention in loops for lists of heads of vectors; `before` and `after` mix the scores of heads, where given."""
    heads, p, n = range(len(queries)), len(queries[0]), len(keys[0])
    mix = lambda maps, how: (
        maps
        if how is None
        else [
            [[sum(how[0][h][g] * maps[g][i][j] for g in heads) + how[1][h] for j in range(n)] for i in range(p)]
            for h in heads
        ]
    )
    dot = lambda a, b: sum(x * y for x, y in zip(a, b, strict=True))
    scores = [
        [[scale * dot(queries[h][i], keys[h][j]) + bias[h][i][j] for j in range(n)] for i in range(p)] for h in heads
    ]
    maps = mix(scores, before)
    for h in heads:
        for i in range(p):
            powers = [math.exp(score) for score in maps[h][i]]
            maps[h][i] = [power / sum(powers) for power in powers]
    maps = mix(maps, after)
    width = range(len(values[0][0]))
    return [[[sum(maps[h][i][j] * values[h][j][c] for j in range(n)) for c in width] for i in range(p)] for h in heads]


@pytest.mark.parametrize("down", [False, True])
def test_attention_equals_plain_loops(down):
    torch.manual_seed(0)
    module = (DownAttention(6, 6, 4, key_width=1) if down else Attention(6, 4, key_width=1)).double().eval()
    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) + 0.5 if "running_var" in name else torch.randn_like(tensor) / 2)
    module.scale = 0.7
    x = torch.randn(1, 6, 4, 4, dtype=torch.float64)
    split = lambda maps: maps[0].flatten(1).unflatten(0, (HEADS, -1)).transpose(1, 2).tolist()  # head, position, width
    with torch.no_grad():
        value = module.v(x)
        local = module.v_local(value)
        bias = module.attention_bias(4 if down else 16, 16).tolist()
        mixers = (None, None)
        if not down:
            talking = (module.talking_head1, module.talking_head2)
            mixers = tuple((conv.weight[:, :, 0, 0].tolist(), conv.bias.tolist()) for conv in talking)
        mixed = attend(split(module.q(x)), split(module.k(x)), split(value), bias, 0.7, *mixers)
        mixed = torch.tensor(mixed, dtype=torch.float64).transpose(1, 2).reshape(local.shape)
        torch.testing.assert_close(module(x), module.proj(mixed + local))


LISTS = {
    "s1": ((32, 48, 120, 224), (3, 3, 9, 6), 2, ([4, 4, 3, 3, 3, 3, 4, 4, 4], [4, 4, 3, 3, 4, 4])),
    "s2": ((32, 64, 144, 288), (4, 4, 12, 8), 4, ([4, 4] + [3] * 6 + [4] * 4, [4, 4, 3, 3, 3, 3, 4, 4])),
    "l": ((40, 80, 192, 384), (5, 5, 15, 10), 6, ([4] * 4 + [3] * 7 + [4] * 4, [4] * 3 + [3] * 4 + [4] * 3)),
}


@pytest.mark.parametrize("size", SIZES)
def test_sizes_are_those_of_the_release(size):
    widths, depths, attention, ratios = LISTS[size]
    with torch.device("meta"):
        model = EfficientFormerV2(size)
    assert model.channels == widths
    stages = model.network[::2]
    assert tuple(len(stage) for stage in stages) == depths
    for i, stage in enumerate(stages):
        found = [block.mlp.widen[0].out_channels / block.mlp.widen[0].in_channels for block in stage]
        assert found == (ratios[i - 2] if i >= 2 else [4] * depths[i])
        mixers = [block.token_mixer is not None for block in stage]
        assert mixers == [i >= 2 and j >= depths[i] - attention for j in range(depths[i])]
    rates = [block.drop_path.rate for stage in stages for block in stage]
    steps = sum(depths) - 1
    last = {"s1": 0, "s2": 0.02, "l": 0.1}[size]
    np.testing.assert_allclose(rates, [last * i / steps for i in range(steps + 1)])


@pytest.mark.parametrize("variant", ["offseg-t_ade20k", "offseg-b_ade20k", "offseg-l_ade20k", "offseg-t_cityscapes"])
def test_parameters_and_convolutions_are_exactly_those_of_the_release(variant):
    counted = json.loads(shared("reference/manifest.json").read_text())["variants"][variant]
    name, data = variant.split("_")
    with hollow_model(name, 19 if data == "cityscapes" else 150) as model:
        for run in counted["flops"]:
            assert multiply_adds(model, tuple(run["shape"]))[0] == run["by_operator"]["conv"]
    sizes = {part: sum(p.numel() for p in module.parameters()) for part, module in model.named_children()}
    assert sizes["backbone"] == counted["params"]["backbone"]
    assert sizes["decode_head"] == counted["params"]["decode_head"] - counted["params"]["conv_seg"]


@pytest.mark.parametrize("sides", [(32, 32), (32, 96), (160, 64)])
def test_levels_of_any_size(sides):
    model = EfficientFormerV2("s1").eval()
    with torch.no_grad():
        levels = model(torch.zeros(2, 3, *sides))
    strides = (4, 8, 16, 32)
    expected = [(2, c, sides[0] // s, sides[1] // s) for c, s in zip(model.channels, strides, strict=True)]
    assert [tuple(level.shape) for level in levels] == expected


def test_start():
    model = EfficientFormerV2("s2")
    seen = set()
    for name, parameter in model.named_parameters():
        if "layer_scale" in name:
            assert (parameter == 1e-5).all()
            seen.add("scale")
        if name.endswith("attention_bias.values"):
            assert (parameter == 0).all()
            seen.add("bias")
        assert parameter.requires_grad
    assert seen == {"scale", "bias"}


def test_norms_are_trained():
    model = EfficientFormerV2("s1").train()
    model(torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert all(norm.num_batches_tracked == 1 and norm.running_mean.abs().max() > 0 for norm in norms)


def test_training_drops_branches_and_evaluation_does_not():
    model = EfficientFormerV2("l")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "layer_scale" in name:
                parameter.fill_(1)
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)).expand(2, -1, -1, -1)
    with torch.no_grad():
        torch.testing.assert_close(*model.eval()(images)[-1])  # two equal images, whatever is drawn
        torch.manual_seed(0)
        first, second = model.train()(images)[-1]
    assert (first - second).abs().max() > 1e-3


def test_stochastic_depth_keeps_the_expected_value():
    branch = torch.full((4000, 2, 1, 3), 5.0)
    torch.manual_seed(0)
    out = StochasticDepth(0.2).train()(branch)
    kept = out[:, 0, 0, 0] != 0
    torch.testing.assert_close(out[kept], branch[kept] / 0.8)
    assert (out[~kept] == 0).all()
    assert kept.double().mean().item() == pytest.approx(0.8, abs=0.02)
    assert StochasticDepth(0.2).eval()(branch) is branch
    assert growing_rates(0.3, 4) == pytest.approx([0, 0.1, 0.2, 0.3])
    assert growing_rates(0.3, 1) == [0]


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_refuses_another_rate(rate):
    with pytest.raises(ModelError, match=r"a rate in \[0, 1\)"):
        StochasticDepth(rate)


def test_refuses_another_size():
    with pytest.raises(UnknownNameError, match="s1, s2, l"):
        EfficientFormerV2("s0")
