"""The factorisation against loops and the release's numbers, where its bases come from, and the head around it."""

import json

import numpy as np
import pytest
import torch
from shared_data import shared
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from offseg_viz.models.heads.hamburger import Hamburger, HamburgerHead
from offseg_viz.models.heads.nmf import NMF
from offseg_viz.models.per_pixel import PerPixelClassifier
from offseg_viz.models.zoo import load_model

B, D, R, H, W = 2, 11, 3, 5, 7


@pytest.fixture
def nmf():
    return NMF(D, R).double().eval()


@pytest.fixture
def feature():
    return torch.rand(B, D, H, W, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def product(a, b):
    return [[sum(x * y for x, y in zip(row, column, strict=True)) for column in zip(*b, strict=True)] for row in a]


def transposed(matrix):
    return [list(column) for column in zip(*matrix, strict=True)]


def updated(factor, above, below):
    pairs = zip(factor, above, below, strict=True)
    return [[f * a / (b + 1e-6) for f, a, b in zip(*rows, strict=True)] for rows in pairs]


def factorised(x, bases, steps):
    """X (D, N) as B C by Lee and Seung's multiplicative updates, in loops; both factors are returned."""
    lengths = [sum(value**2 for value in column) ** 0.5 for column in transposed(bases)]
    bases = [[value / length for value, length in zip(row, lengths, strict=True)] for row in bases]
    powers = [[np.exp(value) for value in row] for row in product(transposed(x), bases)]
    coefficients = transposed([[value / sum(row) for value in row] for row in powers])
    for step in range(steps + 1):
        turned = transposed(bases)
        below = product(product(turned, bases), coefficients)
        coefficients = updated(coefficients, product(turned, x), below)
        if step < steps:
            turned = transposed(coefficients)
            bases = updated(bases, product(x, turned), product(bases, product(coefficients, turned)))
    return bases, coefficients


def test_equals_plain_loops_over_the_multiplicative_updates(nmf, feature):
    parts = nmf(feature)
    for image in range(B):
        factors = factorised(feature[image].flatten(1).tolist(), nmf.bases.tolist(), steps=7)
        np.testing.assert_allclose(parts[image].flatten(1), product(*factors), rtol=1e-11)


def test_training_takes_six_steps_from_bases_of_the_global_generator(nmf, feature):
    torch.manual_seed(3)
    parts = nmf.train()(feature)
    torch.manual_seed(3)
    starts = torch.rand(B, D, R, dtype=torch.float64)
    for image in range(B):
        factors = factorised(feature[image].flatten(1).tolist(), starts[image].tolist(), steps=6)
        np.testing.assert_allclose(parts[image].flatten(1), product(*factors), rtol=1e-11)
    assert (nmf(feature) - parts).abs().max() > 1e-3  # drawn anew


def test_equals_the_release():
    vectors = np.load(shared("reference/units.npz"))
    nmf = NMF(12, 4).eval()
    nmf.bases = torch.from_numpy(np.random.Generator(np.random.PCG64(0)).random((2, 12, 4), dtype=np.float32))
    np.testing.assert_allclose(nmf(torch.from_numpy(vectors["nmf/x"])), vectors["nmf/out"], atol=2e-6)
    nmf.bases = torch.from_numpy(vectors["nmf/bases"])  # normalising twice is normalising once
    np.testing.assert_allclose(nmf(torch.from_numpy(vectors["nmf/x"])), vectors["nmf/out"], atol=2e-6)


def test_bases_in_evaluation_are_those_that_the_rule_of_the_vectors_gives_to_one_image():
    drawn = np.random.Generator(np.random.PCG64(0)).random((1, D, R), dtype=np.float32)
    np.testing.assert_array_equal(NMF(D, R).bases, drawn[0])
    assert not np.array_equal(NMF(D, R, seed=1).bases, drawn[0])


def test_parts_of_a_low_rank_map_are_found_and_more_steps_come_nearer(feature):
    generator = torch.Generator().manual_seed(2)
    bases, coefficients = (torch.rand(shape, generator=generator) for shape in ((D, R), (R, H * W)))
    x = (bases @ coefficients).reshape(1, D, H, W)
    errors = [(NMF(D, R, eval_steps=steps).eval()(x) - x).norm() / x.norm() for steps in (1, 7, 2000)]
    assert errors[0] > errors[1] > errors[2] and errors[2] < 0.01
    parts = NMF(D, R).double().eval()(feature)
    assert (parts >= 0).all() and torch.linalg.matrix_rank(parts[0].flatten(1)) == R


def test_a_map_of_zeros_and_huge_values_stay_finite(nmf, feature):
    assert (nmf(0 * feature) == 0).all()
    half = (3e3 * feature.repeat(1, 1, 8, 8)).half()
    parts = NMF(D, R).eval()(half)
    assert parts.dtype == torch.half and parts.isfinite().all()


def test_evaluation_is_repeatable_leaves_the_global_generator_alone_and_knows_no_neighbours(nmf, feature):
    state = torch.get_rng_state()
    parts = nmf(feature)
    torch.testing.assert_close(nmf(feature), parts, rtol=0, atol=0)
    torch.testing.assert_close(torch.get_rng_state(), state, rtol=0, atol=0)
    torch.testing.assert_close(nmf(feature.flip(0)).flip(0), parts)
    torch.testing.assert_close(nmf(feature[1:]), parts[1:])
    torch.testing.assert_close(NMF(D, R).double().eval()(feature), parts)


def test_bases_can_be_replaced_for_all_images_or_each(nmf, feature):
    before = nmf(feature)
    first, second = torch.rand(2, D, R, dtype=torch.float64)
    nmf.bases = first
    shared_start = nmf(feature)
    nmf.bases = torch.stack([first, second])
    each = nmf(feature)
    torch.testing.assert_close(each[0], shared_start[0])
    assert (each[1] - shared_start[1]).abs().max() > 1e-3 and (before - shared_start).abs().max() > 1e-3
    assert "bases" not in nmf.state_dict()
    assert nmf.float().bases.dtype == torch.float32  # they follow the module


def test_gradients_pass_through_every_step(feature):
    nmf = NMF(4, 2, eval_steps=3).double().eval()
    x = feature[:, :4, :2, :3].clone().requires_grad_()
    assert torch.autograd.gradcheck(nmf, x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype):
    nmf = NMF(64, 16).eval()
    x = torch.rand(B, 64, 16, 16, generator=torch.Generator().manual_seed(0)).to(dtype)
    expected = nmf(x.float())
    with torch.autocast("cpu", dtype):
        torch.testing.assert_close(nmf(x), expected.to(dtype), rtol=0, atol=0)
        torch.testing.assert_close(nmf(x.float()), expected, rtol=0, atol=0)
    for parts in (nmf.to(dtype)(x), nmf.train()(x)):
        assert parts.dtype == dtype and parts.isfinite().all()


def head_and_levels(sides=(8, 12)):
    torch.manual_seed(0)
    head = HamburgerHead((4, 8, 16, 24), 32, PerPixelClassifier(32, 3)).eval()
    widths = zip((4, 8, 16, 24), (2, 1, 0.5, 0.25), strict=True)
    return head, [torch.randn(B, width, *(int(side * scale) for side in sides)) for width, scale in widths]


def test_head_classifies_on_the_second_levels_grid_and_does_not_look_at_the_finest():
    head, levels = head_and_levels()
    logits = head(levels)
    assert logits.shape == (B, 3, 8, 12)
    torch.testing.assert_close(head([torch.full_like(levels[0], torch.nan), *levels[1:]]), logits)
    for i in (1, 2, 3):
        moved = [level + (j == i) * torch.randn_like(level) for j, level in enumerate(levels)]
        assert (head(moved) - logits).abs().max() > 1e-3, i


def test_hamburger_adds_a_normalised_low_rank_context():
    hamburger = Hamburger(32).eval()
    x = torch.randn(B, 32, H, W)
    torch.nn.init.zeros_(hamburger.norm.weight)
    torch.testing.assert_close(hamburger(x), x.relu())
    torch.nn.init.constant_(hamburger.norm.bias, 2.0)
    torch.testing.assert_close(hamburger(x), (x + 2).relu())


@pytest.mark.parametrize("variant", [f"segnext-{size}{end}_ade20k" for size in "tb" for end in ("", "-ol")])
def test_parameters_and_products_of_segnext_are_those_of_the_release(variant):
    counted = json.loads(shared("reference/manifest.json").read_text())["variants"][variant]
    name = variant.removesuffix("_ade20k").replace("-ol", "-offset")
    with torch.device("meta"):
        model = load_model(name, num_classes=150)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.to_empty(device="cpu")
        model.decode_head(model.backbone(torch.empty(1, 3, 512, 512)))
    flops = counter.get_flop_counts()["Global"]
    unused = counted["params"]["conv_seg"] if "-ol" in variant else 0
    assert sum(parameter.numel() for parameter in model.parameters()) + unused == counted["params"]["total"]
    assert flops[torch.ops.aten.convolution] // 2 == counted["flops"][0]["by_operator"]["conv"]
    if not unused:  # beside offset learning there are other products
        assert flops[torch.ops.aten.bmm] // 2 == counted["flops"][0]["by_operator"]["bmm"]


def test_segnext_small_has_the_papers_parameters():
    for name, millions in (("segnext-s", 13.9), ("segnext-s-offset", 14.1)):
        model = load_model(name, num_classes=150)
        unused = 150 * 257 if name.endswith("-offset") else 0
        assert round((sum(parameter.numel() for parameter in model.parameters()) + unused) / 1e6, 1) == millions


def test_head_exports_and_compiles_whole_also_in_training():
    head, levels = head_and_levels()
    expected = head(levels)
    torch.testing.assert_close(torch.export.export(head, (levels,)).module()(levels), expected)
    torch._dynamo.reset()
    compiled = torch.compile(head, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(levels), expected)
    head.train()
    compiled(levels).square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in head.parameters())
