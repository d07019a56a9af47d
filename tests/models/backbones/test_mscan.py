"""MSCAN: its attention against plain loops, its sizes against the release's counts, and what it must withstand."""

import json

import numpy as np
import pytest
import torch
from shared_data import shared

from offseg_viz.models.backbones.mscan import MSCAN, Block, MultiScaleGate
from offseg_viz.models.backbones.stochastic_depth import StochasticDepth

B, C, H, W = 2, 3, 5, 7


def randomised(module):
    """`module` with all numbers random, in evaluation."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return module.eval()


def depthwise(x, weight, bias):
    """A depthwise convolution with zero padding, in loops: x (C, H, W), weight (C, kh, kw) with odd sides."""
    channels, height, width = x.shape
    kh, kw = weight.shape[1:]
    out = np.zeros_like(x)
    for c in range(channels):
        for y in range(height):
            for x_ in range(width):
                total = bias[c]
                for i in range(kh):
                    for j in range(kw):
                        row, column = y + i - kh // 2, x_ + j - kw // 2
                        if 0 <= row < height and 0 <= column < width:
                            total += weight[c, i, j] * x[c, row, column]
                out[c, y, x_] = total
    return out


def test_gate_equals_plain_loops_over_equations_1_and_2():
    gate = randomised(MultiScaleGate(C).double())
    x = torch.randn(C, H, W, dtype=torch.float64)
    convolve = lambda x, conv: depthwise(x, conv.weight[:, 0].detach().numpy(), conv.bias.tolist())
    local = convolve(x.numpy(), gate.local)
    total = local.copy()
    for row, column in gate.strips:
        assert row.weight.shape[2:] == column.weight.shape[2:][::-1]
        total += convolve(convolve(local, row), column)
    mix = gate.mix.weight[:, :, 0, 0].detach().numpy()
    attention = np.einsum("dc,chw->dhw", mix, total) + gate.mix.bias.detach().numpy()[:, None, None]
    np.testing.assert_allclose(gate(x[None])[0].detach(), attention * x.numpy(), rtol=1e-12, atol=1e-12)


def test_gate_reaches_twelve_pixels():
    gate = randomised(MultiScaleGate(1).double())
    for conv in gate.modules():
        if isinstance(conv, torch.nn.Conv2d):
            conv.weight.data.abs_()
    x = torch.ones(1, 1, 29, 29, dtype=torch.float64, requires_grad=True)
    gate(x)[0, 0, 14, 14].backward()
    rows, columns = x.grad[0, 0].nonzero().T
    # 5 x 5 and a strip of 21: two pixels and ten
    assert rows.min() == columns.min() == 2 and rows.max() == columns.max() == 26


def test_a_block_of_zero_layer_scale_is_the_identity_and_fresh_ones_are_nearly():
    x = torch.randn(B, C, H, W)
    block = Block(C, 4, 0.0).eval()
    assert 0 < (block(x) - x).abs().max() < 0.2
    torch.nn.init.zeros_(block.layer_scale_1)
    torch.nn.init.zeros_(block.layer_scale_2)
    torch.testing.assert_close(block(x), x, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("size", "variant"), [("t", "segnext-t_ade20k"), ("b", "segnext-b_ade20k"), ("b", "segnext-b-ol_ade20k")]
)
def test_parameters_are_as_many_as_the_releases(size, variant):
    expected = json.loads(shared("reference/manifest.json").read_text())["variants"][variant]["params"]["backbone"]
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in MSCAN(size).parameters()) == expected


def test_stochastic_depth_grows_with_depth_to_a_tenth():
    with torch.device("meta"):
        rates = [module.rate for module in MSCAN("s").modules() if isinstance(module, StochasticDepth)]
    np.testing.assert_allclose(rates, np.linspace(0, 0.1, 10), atol=1e-6)


@pytest.mark.parametrize("sides", [(32, 32), (32, 96), (96, 160)])
def test_four_levels_of_normalised_features(sides):
    backbone = MSCAN("t").eval()
    levels = backbone(torch.randn(B, 3, *sides))
    assert [level.shape for level in levels] == [
        (B, width, sides[0] // stride, sides[1] // stride)
        for width, stride in zip(backbone.channels, (4, 8, 16, 32), strict=True)
    ]
    for level in levels:  # a fresh LayerNorm over channels
        torch.testing.assert_close(level.mean(dim=1), torch.zeros_like(level[:, 0]), atol=1e-5, rtol=0)
        torch.testing.assert_close(level.var(dim=1, correction=0), torch.ones_like(level[:, 0]), atol=1e-2, rtol=0)


def test_fresh_features_neither_fade_nor_explode_and_all_parameters_learn():
    torch.manual_seed(0)
    backbone = MSCAN("t").train()
    for module in backbone.modules():
        if isinstance(module, StochasticDepth):
            module.rate = 0.0
    spread = []
    for stage in backbone.stages:
        stage.norm.register_forward_pre_hook(lambda _, inputs: spread.append(inputs[0].std()))
    levels = backbone(torch.randn(B, 3, 64, 64))
    assert len(spread) == 4 and all(0.3 < value < 3 for value in spread), spread
    sum((level * torch.randn_like(level)).sum() for level in levels).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in backbone.parameters())


def test_a_stage_exports_and_compiles_whole():
    stage = MSCAN("t").eval().stages[0]
    images = torch.randn(1, 3, 32, 64)
    expected = stage(images)
    torch.testing.assert_close(torch.export.export(stage, (images,)).module()(images), expected)
    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(stage, fullgraph=True, backend="eager")(images), expected)
