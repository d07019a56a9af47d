"""CARAFE, guided resampling, FreqFusion and the OffSeg head against loops, the release's numbers, and properties."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from reference_modules import assert_equals_trace, fill_unit, traced
from shared_data import reference_input, reference_state_dict, shared
from torch.utils._python_dispatch import TorchDispatchMode

from offseg_viz.errors import ModelError
from offseg_viz.models.heads.carafe import carafe
from offseg_viz.models.heads.freqfusion import FreqFusion
from offseg_viz.models.heads.offseg import OffSegHead, interleave_groups
from offseg_viz.models.heads.sampling import SamplingShift, local_similarity, resample
from offseg_viz.models.official.loading import load_official_weights
from offseg_viz.models.offset_learning import OffsetLearning
from offseg_viz.models.zoo import load_model


def benchmark(name):
    """A module of benchmarks/."""
    path = Path(__file__).parents[3] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def randn(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def carafe_in_loops(x, kernel, size, scale):
    channels, height, width = x.shape
    groups = len(kernel) // size**2
    out = np.zeros((channels, scale * height, scale * width))
    for c in range(channels):
        own = kernel[c // (channels // groups) * size**2 :]
        for y in range(scale * height):
            for x_ in range(scale * width):
                for tap in range(size**2):
                    row = y // scale + tap // size - size // 2
                    column = x_ // scale + tap % size - size // 2
                    if 0 <= row < height and 0 <= column < width:
                        out[c, y, x_] += own[tap, y, x_] * x[c, row, column]
    return out


CASES = [(1, 5, 7, 5, 2, 1), (4, 5, 4, 3, 1, 2), (2, 1, 1, 5, 2, 1), (3, 2, 6, 3, 3, 3), (2, 8, 4, 7, 1, 1)]


@pytest.mark.parametrize(("channels", "height", "width", "size", "scale", "groups"), CASES)
def test_carafe_equals_plain_loops(channels, height, width, size, scale, groups):
    x = randn(2, channels, height, width)
    kernel = randn(2, groups * size**2, scale * height, scale * width, seed=1)
    expected = [carafe_in_loops(*pair, size, scale) for pair in zip(x.numpy(), kernel.numpy(), strict=True)]
    np.testing.assert_allclose(carafe(x, kernel, size, scale), expected, atol=1e-12)
    naive = benchmark("naive_networks").unfolded_carafe(x, kernel, size, scale)
    np.testing.assert_allclose(naive, expected, atol=1e-12)


@pytest.mark.parametrize("case", ["k3_g1_s1", "k5_g1_s2", "k3_g2_s2"])
def test_carafe_equals_the_release(case):
    vectors = np.load(shared("reference/units.npz"))
    x, kernel = (torch.from_numpy(vectors[f"carafe_{case}/{name}"]) for name in ("x", "mask"))
    out = carafe(x, kernel, int(case[1]), int(case[-1]))
    np.testing.assert_allclose(out, vectors[f"carafe_{case}/out"], atol=2e-6)


def test_carafe_has_the_gradients_of_its_numbers():
    x, kernel = randn(1, 2, 3, 5).requires_grad_(), randn(1, 9, 6, 10, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, kernel: carafe(x, kernel, 3, 2), (x, kernel))


def test_carafe_makes_nothing_much_larger_than_its_output():
    class Largest(TorchDispatchMode):
        size = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                self.size = max(self.size, out.untyped_storage().nbytes() // out.element_size())
            return out

    x, kernel = torch.zeros(1, 96, 32, 32), torch.zeros(1, 25, 64, 64)
    with Largest() as fast:
        out = carafe(x, kernel, 5, 2)
    with Largest() as naive:
        benchmark("naive_networks").unfolded_carafe(x, kernel, 5, 2)
    assert fast.size <= 1.1 * out.numel() and naive.size == 25 * out.numel()


@pytest.mark.parametrize(
    ("x", "kernel", "size", "scale"),
    [
        ((1, 4, 3, 5), (1, 9, 3, 5), 3, 2),  # not upsampled
        ((1, 4, 3, 5), (1, 8, 3, 5), 3, 1),  # a tap missing
        ((1, 4, 3, 5), (1, 27, 3, 5), 3, 1),  # 3 groups of 4 channels
        ((1, 4, 3, 5), (1, 16, 3, 5), 4, 1),  # no centre
    ],
)
def test_carafe_refuses_kernels_that_do_not_fit(x, kernel, size, scale):
    with pytest.raises(ModelError, match="carafe of a map"):
        carafe(torch.zeros(x), torch.zeros(kernel), size, scale)


def similarity_in_loops(x):
    channels, height, width = x.shape
    length = lambda y, x_: math.sqrt(sum(x[c, y, x_] ** 2 for c in range(channels)))
    out = np.zeros((8, height, width))
    steps = [(-2, -2), (-2, 0), (-2, 2), (0, -2), (0, 2), (2, -2), (2, 0), (2, 2)]
    for number, (dy, dx) in enumerate(steps):
        for y in range(height):
            for x_ in range(width):
                if 0 <= y + dy < height and 0 <= x_ + dx < width:
                    dot = sum(x[c, y, x_] * x[c, y + dy, x_ + dx] for c in range(channels))
                    out[number, y, x_] = dot / (length(y, x_) * length(y + dy, x_ + dx))
    return out


@pytest.mark.parametrize("grid", [(5, 7), (1, 1), (2, 9)])
def test_similarity_equals_plain_loops(grid):
    x = randn(2, 3, *grid)
    expected = [similarity_in_loops(image) for image in x.numpy()]
    np.testing.assert_allclose(local_similarity(x), expected, atol=1e-12)


def test_similarity_equals_the_release():
    vectors = np.load(shared("reference/units.npz"))
    found = local_similarity(torch.from_numpy(vectors["similarity/x"]))
    np.testing.assert_allclose(found, vectors["similarity/out"], atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_similarity_of_nothing_is_zero(dtype):
    assert (local_similarity(torch.zeros(1, 3, 4, 5, dtype=dtype)) == 0).all()


def test_resampling_without_a_shift_changes_nothing():
    x = randn(2, 8, 6, 10)
    torch.testing.assert_close(resample(x, torch.zeros(2, 2, 4, 6, 10, dtype=torch.float64)), x)


def test_resampling_moves_the_shifted_group_alone():
    x, shift = randn(1, 8, 6, 10), torch.zeros(1, 2, 4, 6, 10, dtype=torch.float64)
    shift[:, 0, 1] = 0.5  # half a coarse position to the right is one position
    shift[:, 1, 2] = -1  # two positions up
    out = resample(x, shift)
    torch.testing.assert_close(out[:, [0, 1, 6, 7]], x[:, [0, 1, 6, 7]])
    torch.testing.assert_close(out[:, 2:4, :, :-1], x[:, 2:4, :, 1:])
    torch.testing.assert_close(out[:, 2:4, :, -1], x[:, 2:4, :, -1])  # the border value beyond the border
    torch.testing.assert_close(out[:, 4:6, 2:], x[:, 4:6, :-2])
    torch.testing.assert_close(out[:, 4:6, :2], x[:, 4:6, :1].expand(-1, -1, 2, -1))


def test_resampling_in_half_precision_still_tells_positions_apart():
    x = torch.arange(256, dtype=torch.bfloat16).expand(1, 4, 8, 256)
    shift = torch.full((1, 2, 4, 8, 256), 0.5, dtype=torch.bfloat16)
    assert (resample(x, shift)[..., :-1] == x[..., 1:]).all()


@pytest.mark.parametrize("channels", [7, 29])
def test_sampling_shift_refuses_channels_that_do_not_group(channels):
    with pytest.raises(ModelError, match=f"found m = {channels}"):
        SamplingShift(channels)


def test_freqfusion_and_each_of_its_parts_equal_the_release():
    vectors = np.load(shared("reference/units.npz"))
    fusion = fill_unit(FreqFusion(12, 20), "decode_head.freqfusions.0.", "freqfusion")
    head = torch.nn.Module()
    head.decode_head = torch.nn.Module()
    head.decode_head.freqfusions = torch.nn.ModuleList([fusion])
    shifts = []
    hook = fusion.sampling_shift.register_forward_hook(lambda _, __, shift: shifts.append(shift))
    prefix = "decode_head.freqfusions.0."
    with torch.no_grad(), traced(head, prefix) as outputs:
        high, low = fusion(*(torch.from_numpy(vectors[f"freqfusion/{name}"]) for name in ("hr", "lr")))
    hook.remove()
    np.testing.assert_allclose(high, vectors["freqfusion/out_hr"], atol=5e-6)
    np.testing.assert_allclose(low, vectors["freqfusion/out_lr"], atol=1e-5)
    for name, output in outputs.items():
        module, _, call = name.removeprefix(prefix).partition("#")
        np.testing.assert_allclose(output, vectors[f"freqfusion/module {module} #{call or 0}"], atol=5e-6, err_msg=name)
    assert len(outputs) == 12
    # theirs has 2 x 2 sub-positions among the channels and starts from their centres
    coarse = torch.nn.functional.pixel_unshuffle(shifts[0].flatten(1, 2), 2).unflatten(1, (2, 4, 2, 2))
    centres = torch.tensor([-0.25, 0.25])
    coarse[:, 0] += centres.view(1, 1, 1, 2, 1, 1)
    coarse[:, 1] += centres.view(1, 1, 2, 1, 1, 1)
    np.testing.assert_allclose(coarse.flatten(1, 4), vectors["freqfusion/sampler_offset"], atol=2e-6)


@pytest.fixture
def fusion():
    """A FreqFusion whose kernels, shifts and gates all matter."""
    torch.manual_seed(0)
    fusion = FreqFusion(12, 20).double()
    with torch.no_grad():
        for parameter in fusion.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return fusion


@pytest.mark.parametrize("grid", [(5, 6), (1, 1), (4, 8)])
def test_freqfusion_equals_its_naive_form_with_gradients(fusion, grid):
    naive = benchmark("naive_networks")
    high = randn(2, 12, 2 * grid[0], 2 * grid[1], seed=1).requires_grad_()
    low = randn(2, 20, *grid, seed=2).requires_grad_()
    leaves = [high, low, *fusion.parameters()]

    def run():
        out = torch.cat(fusion(high, low), dim=1)
        return out, torch.autograd.grad((out * randn(*out.shape, seed=3)).sum(), leaves)

    fast, gradients = run()
    with naive.naive_freqfusion():
        assert FreqFusion.forward is naive.plain_freqfusion
        plain, expected = run()
    assert FreqFusion.forward is not naive.plain_freqfusion
    torch.testing.assert_close(fast, plain, atol=1e-10, rtol=0)
    for ours, theirs in zip(gradients, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=1e-10)


def test_offseg_equals_its_naive_form():
    model = load_model("offseg-t", num_classes=7).double()
    with torch.no_grad():
        for name, parameter in model.decode_head.named_parameters():
            if "pass" in name:  # beyond the start, where all kernels are means
                parameter.add_(randn(*parameter.shape))
        images = randn(1, 3, 96, 64)
        fast = model(images)
        with benchmark("naive_networks").naive_freqfusion():
            plain = model(images)
    torch.testing.assert_close(fast, plain, atol=1e-10, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_head_exports_strictly_and_compiles_without_a_graph_break(dtype):
    channels = (8, 16, 24, 40)
    head = OffSegHead(channels, (32, 32, 64, 128), OffsetLearning(256, 7)).eval().to(dtype)
    levels = [randn(2, c, 8 * 2 // 2**i, 8 * 3 // 2**i, seed=i).to(dtype) for i, c in enumerate(channels)]
    torch._dynamo.reset()
    with torch.no_grad():
        expected = head(levels)
        assert expected.dtype == dtype and expected.isfinite().all()
        exported = torch.export.export(head, (levels,), strict=True).module()
        torch.testing.assert_close(exported(levels), expected)
        compiled = torch.compile(head, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(levels), expected)
    torch._dynamo.reset()


def test_start_of_freqfusion():
    torch.manual_seed(0)
    fusion = FreqFusion(64, 192)
    for name, parameter in fusion.named_parameters():
        if name.endswith("bias"):
            assert (parameter == 0).all()
        elif name.startswith(("low_pass", "high_pass")):
            assert parameter.std().item() == pytest.approx(0.001, rel=0.05)
        elif parameter.ndim == 4:
            window = parameter[0, 0].numel()
            bound = math.sqrt(6 / (window * (parameter.shape[0] + parameter.shape[1])))
            assert 0.9 * bound < parameter.abs().max() <= bound
            assert parameter.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.15)
    assert fusion.sampling_shift.norm_low.num_groups == 8


def test_freqfusion_refuses_what_does_not_fit():
    with pytest.raises(ModelError, match="multiple of 4 channels in the coarse map, found 18"):
        FreqFusion(32, 18)
    with pytest.raises(ModelError, match="found m = 4"):
        FreqFusion(8, 8)
    with pytest.raises(ModelError, match=r"found \(8, 10\) and \(4, 4\)"):
        FreqFusion(12, 20)(torch.zeros(1, 12, 8, 10), torch.zeros(1, 20, 4, 4))


def test_groups_interleave_with_the_fine_map_first():
    high, low = randn(2, 8, 3, 5), randn(2, 12, 3, 5, seed=1)
    folded = torch.cat([high.view(8, 2, 3, 5), low.view(8, 3, 3, 5)], dim=1)  # quarters as a batch
    torch.testing.assert_close(interleave_groups(high, low), folded.view(2, 20, 3, 5), atol=0, rtol=0)


def test_every_part_of_the_head_equals_the_release():
    vectors = np.load(shared("reference/offseg-t_ade20k.npz"))
    model = load_official_weights(load_model("offseg-t", num_classes=150), reference_state_dict("offseg-t_ade20k"))
    parts = ("decode_head.pre.", "decode_head.freqfusions.", "decode_head.align.")
    with torch.no_grad():
        levels = model.backbone(reference_input(256, 320))
        for prefix in parts:
            with traced(model, prefix) as outputs:
                model.decode_head(levels)
            compared = assert_equals_trace(outputs, vectors, "256x320", prefix=prefix, atol=5e-5)
            assert compared == len(outputs) == {"pre": 8, "freqfusions": 36, "align": 2}[prefix.split(".")[1]]


@pytest.mark.parametrize("widths", [(32, 32, 64, 128), (32, 64, 128, 256)])
def test_head_of_any_batch_and_grid(widths):
    channels = (8, 16, 24, 40)
    head = OffSegHead(channels, widths, OffsetLearning(256, 7)).eval()
    assert [name for name, _ in head.named_children()][-1] == "classifier"
    assert head.align.conv.weight.shape[:2] == (256, sum(widths)) and head.align.norm.num_groups == 32
    levels = [torch.randn(2, c, 8 * 2 // 2**i, 8 * 3 // 2**i) for i, c in enumerate(channels)]
    with torch.no_grad():
        assert head(levels).shape == (2, 7, 16, 24)


@pytest.mark.parametrize("widths", [(32, 32, 64), (32, 32, 64, 100)])
def test_head_refuses_widths_that_do_not_fit(widths):
    with pytest.raises(ModelError, match="one width, a multiple of 32, for each level"):
        OffSegHead((8, 16, 24, 40), widths, torch.nn.Identity())
