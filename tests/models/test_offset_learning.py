"""Offset learning against loops written from the paper, against the release's numbers, and by its properties."""

import copy

import numpy as np
import pytest
import reference
import torch
from shared_data import reference_tensor, shared
from torch.utils._python_dispatch import TorchDispatchMode

from offseg_viz.errors import ModelError
from offseg_viz.models import offset_learning
from offseg_viz.models.aligned_scores import aligned_scores
from offseg_viz.models.offset_learning import OffsetLearning

B, C, K, H, W = 2, 11, 3, 5, 7


def randomised(head, generator):
    """Weights far from their small initial spread, so that offsets, gains and biases matter; scores of order 1."""
    with torch.no_grad():
        for name, parameter in head.named_parameters():
            spread = 1 / parameter.shape[-1] ** 0.5 if parameter.ndim == 2 else 0.3
            parameter.copy_(spread * torch.randn(parameter.shape, generator=generator) + (name == "norm.weight"))
    return head


@pytest.fixture
def head():
    torch.manual_seed(0)
    head = OffsetLearning(C, K).double()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return head


@pytest.fixture
def feature():
    return torch.randn(B, C, H, W, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_both_paths_equal_plain_loops_over_equations_4_to_13(head, feature):
    w = head.class_embedding.tolist()
    class_proj, feature_proj = head.class_offset_proj.weight.tolist(), head.feature_offset_proj.weight.tolist()
    project = lambda matrix, x: [sum(m * v for m, v in zip(row, x, strict=True)) for row in matrix]
    mix = lambda shares, x: [sum(s * row[c] for s, row in zip(shares, x, strict=True)) for c in range(C)]
    found = head.refinement(feature)
    for image in range(B):
        e = feature[image].flatten(1).T.tolist()
        a_cls, a_pos = reference.class_attention(e, w), reference.position_attention(e, w)
        class_offset = [project(class_proj, mix(a_cls[k], e)) for k in range(K)]
        feature_offset = [project(feature_proj, mix(a_pos[p], w)) for p in range(H * W)]
        moved_e, moved_w = reference.add(e, feature_offset), reference.add(w, class_offset)
        scores = reference.scores(moved_e, moved_w)  # K x P
        gain, bias = head.norm.weight.tolist(), head.norm.bias.tolist()
        logits = reference.layer_norm_over_classes(scores, gain, bias, 1e-5)
        expected = {
            "coupled_attention": reference.scores(e, w),
            "class_attention": a_cls,
            "class_offset": class_offset,
            "aligned_class_embedding": moved_w,
            "position_attention": a_pos,
            "feature_offset": feature_offset,
            "aligned_feature": moved_e,
            "scores": np.transpose(scores),
            "logits": np.reshape(logits, (K, H, W)),
        }
        assert tuple(expected) == found._fields
        for name, value in expected.items():
            ours = getattr(found, name)[image].detach()
            np.testing.assert_allclose(ours, value, rtol=1e-9, atol=1e-9, err_msg=name)
        np.testing.assert_allclose(head(feature)[image].flatten(1).detach(), logits, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("last", ["norm", "bias", "nothing"])
@pytest.mark.parametrize(("num_classes", "batch"), [(3, 1), (19, 3), (150, 2)])
def test_forward_equals_the_explicit_path_with_gradients(monkeypatch, last, num_classes, batch):
    monkeypatch.setattr(offset_learning, "POSITIONS_AT_A_TIME", 2 * 12 * 9)  # two images at a time: 3 leave a rest
    generator = torch.Generator().manual_seed(num_classes)
    single = randomised(OffsetLearning(64, num_classes, norm=last == "norm", bias=last == "bias"), generator)
    feature = torch.randn(batch, 64, 12, 9, generator=generator).relu()
    upstream = torch.randn(batch, num_classes, 12, 9, generator=generator)

    def run(dtype, *, explicit):
        head = copy.deepcopy(single).to(dtype)
        x = feature.to(dtype, copy=True).requires_grad_()
        logits = head.refinement(x).logits if explicit else head(x)
        (logits * upstream.to(dtype)).sum().backward()
        gradients = {name: parameter.grad for name, parameter in head.named_parameters()}
        return {"logits": logits.detach(), "feature": x.grad} | gradients

    def distance(found, expected, name):
        """Largest difference, in units of the largest value."""
        return ((found[name] - expected[name]).abs().max() / expected[name].abs().max().clamp(min=1)).item()

    explicit, cheap = run(torch.float32, explicit=True), run(torch.float32, explicit=False)
    exact, cheap_exact = run(torch.float64, explicit=True), run(torch.float64, explicit=False)
    for name in exact:
        assert distance(cheap_exact, exact, name) < 1e-10, name
        assert cheap[name].dtype == torch.float32
        # Where the scores of a position nearly agree, the LayerNorm magnifies rounding: then as well as the other path.
        assert distance(cheap, exact, name) < max(1e-5, 3 * distance(explicit, exact, name)), name


def test_gradient_written_by_hand_equals_finite_differences():
    generator = torch.Generator().manual_seed(5)
    shapes = (B, C, 6), (K, C), (C, C), (C, C)
    inputs = [torch.randn(s, dtype=torch.float64, generator=generator).requires_grad_() for s in shapes]
    assert torch.autograd.gradcheck(lambda *tensors: aligned_scores(*tensors).scores, inputs)
    inputs[0] = inputs[0].detach()  # a frozen feature: the weights alone learn
    assert torch.autograd.gradcheck(lambda *tensors: aligned_scores(*tensors).scores, inputs)


def test_a_second_derivative_is_refused(head, feature):
    (gradient,) = torch.autograd.grad(head(feature).square().sum(), head.class_embedding, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_forward_makes_no_second_tensor_as_large_as_the_feature():
    class Largest(TorchDispatchMode):
        """The number of values in the largest tensor that is made."""

        found = 0

        def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
            result = operator(*args, **(kwargs or {}))
            for tensor in result if isinstance(result, tuple | list) else [result]:
                if isinstance(tensor, torch.Tensor) and not operator.is_view:
                    self.found = max(self.found, tensor.numel())
            return result

    head, feature = OffsetLearning(64, K), torch.randn(B, 64, H, W)
    with torch.no_grad():
        with Largest() as cheap:
            head(feature)
        with Largest() as explicit:
            head.refinement(feature)
    assert cheap.found == B * K * 64 < feature.numel() == explicit.found


NAMES = {
    "class_embedding": "cls_repr",
    "class_offset_proj.weight": "cls_offset_proj.weight",
    "feature_offset_proj.weight": "feat_offset_proj.weight",
    "norm.weight": "mask_norm.weight",
    "norm.bias": "mask_norm.bias",
}
"""Ours and those of the vectors."""

RELEASE_BOUND = 2e-6
"""Of the difference from the float32 vectors, relative to the largest entry: four times the largest measured."""

CANCELLED_BOUND = 3e-3
"""The same for the gradient of proj_cls in `offset_learning_tiny`, which is almost all rounding.

With small W the class attention is nearly uniform, so all K rows of A_cls E are nearly the mean feature, and the
gradients of the K scores of a position add up to 0 (the LayerNorm takes out their mean): terms of up to 10 cancel to
7.5e-5. Measured against the same function in float64, relative to the largest entry: the vectors 9e-4, this module
1.0e-3 and its explicit path 1.1e-3, and every other array below 2e-7. A LayerNorm eps 10 % too large changes it by
5e-2.
"""


def release_results(case, dtype):
    """Output and gradients of sum(out * r) with the weights of the rule, in the names of the vectors."""
    vectors = np.load(shared("reference/units.npz"))
    head = OffsetLearning(16, 7)
    with torch.no_grad():
        for ours, parameter in head.named_parameters():
            shape = (1, 7, 16) if ours == "class_embedding" else tuple(parameter.shape)
            value = reference_tensor(f"unit.offset_learning.{NAMES[ours]}", shape).reshape(parameter.shape)
            tiny = 0.01 if case.endswith("tiny") and ours == "class_embedding" else 1
            parameter.copy_(torch.from_numpy(np.asarray(value * np.float32(tiny))))
    head = head.to(dtype)
    x = torch.from_numpy(vectors[f"{case}/x"]).to(dtype).requires_grad_()
    out = head(x)
    (out * torch.from_numpy(vectors[f"{case}/r"]).to(dtype)).sum().backward()
    gradients = {f"grad_{NAMES[ours]}": parameter.grad for ours, parameter in head.named_parameters()}
    found = {"out": out.detach(), "grad_x": x.grad} | gradients
    return {name: (value.numpy(), vectors[f"{case}/{name}"].reshape(value.shape)) for name, value in found.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("case", ["offset_learning", "offset_learning_tiny"])
def test_equals_the_release_with_gradients(case, dtype):
    for name, (ours, expected) in release_results(case, dtype).items():
        cancelled = (case, name) == ("offset_learning_tiny", "grad_cls_offset_proj.weight")
        bound = CANCELLED_BOUND if cancelled else RELEASE_BOUND
        assert np.abs(ours - expected).max() < bound * np.abs(expected).max(), name


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients_the_logits_are_the_same(head, feature, mode):
    with mode():
        logits = head(feature)
    torch.testing.assert_close(logits, head(feature).detach(), rtol=1e-12, atol=1e-12)


def test_autocast_leaves_float64_alone(head, feature):
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(head(feature), head.refinement(feature).logits)


def test_shapes_alone_are_enough():
    assert OffsetLearning(C, K).to("meta")(torch.empty(B, C, H, W, device="meta")).shape == (B, K, H, W)


def test_zero_projections_reduce_it_to_per_pixel_classification(head, feature):
    with torch.no_grad():
        head.class_offset_proj.weight.zero_()
        head.feature_offset_proj.weight.zero_()
    per_pixel = torch.einsum("kc,bchw->bkhw", head.class_embedding, feature)
    expected = head.norm(per_pixel.movedim(1, 3)).movedim(3, 1)
    torch.testing.assert_close(head(feature), expected)


def test_permuting_positions_permutes_the_logits(head, feature):
    order = torch.randperm(H * W, generator=torch.Generator().manual_seed(3))
    shuffled = feature.flatten(2)[:, :, order].unflatten(2, (H, W))
    torch.testing.assert_close(head(shuffled).flatten(2), head(feature).flatten(2)[:, :, order])


def test_images_of_a_batch_do_not_see_each_other(head, feature):
    torch.testing.assert_close(head(feature)[1:], head(feature[1:]))


def test_parameter_count_and_initial_spread():
    head = OffsetLearning(256, 150)
    assert sum(parameter.numel() for parameter in head.parameters()) == 150 * 256 + 2 * 256**2 + 2 * 150
    for weight in (head.class_embedding, head.class_offset_proj.weight, head.feature_offset_proj.weight):
        assert weight.std().item() == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("path", ["forward", "refinement"])
@pytest.mark.parametrize("shape", [(1, C + 1, H, W), (C, H, W)])
def test_refuses_another_shape(head, shape, path):
    with pytest.raises(ModelError, match=r"needs a feature map \(B, 11, h, w\)"):
        getattr(head, path)(torch.zeros(shape))


def test_without_norm_zero_projections_give_the_logits_of_a_convolution(feature):
    head = randomised(OffsetLearning(C, K, norm=False, bias=True), torch.Generator().manual_seed(2)).double()
    assert {*head.state_dict()} == {"class_embedding", "class_offset_proj.weight", "feature_offset_proj.weight", "bias"}
    with torch.no_grad():
        head.class_offset_proj.weight.zero_()
        head.feature_offset_proj.weight.zero_()
    expected = torch.nn.functional.conv2d(feature, head.class_embedding[:, :, None, None], head.bias)
    torch.testing.assert_close(head(feature), expected)
    assert OffsetLearning(C, K, norm=False, bias=True).bias.tolist() == [0.0] * K


def test_a_bias_beside_the_norm_is_refused():
    with pytest.raises(ModelError, match="bias=True only with norm=False"):
        OffsetLearning(C, K, bias=True)


def test_logits_are_contiguous_whatever_the_layout_of_the_feature(head, feature):
    expected = head(feature)
    assert expected.is_contiguous() and head(feature[:1]).is_contiguous()
    channels_last = head(feature.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(channels_last, expected)
    assert channels_last.is_contiguous()


@pytest.fixture
def wide():
    """A head and a feature of some size in float32, and the logits and the gradient of their squares in float64."""
    generator = torch.Generator().manual_seed(7)
    head = randomised(OffsetLearning(64, 19), generator)
    feature = torch.randn(2, 64, 8, 8, generator=generator).relu()
    exact = randomised(OffsetLearning(64, 19), torch.Generator().manual_seed(7)).double()
    logits = exact.refinement(feature.double()).logits
    logits.square().sum().backward()
    return head, feature, logits.detach(), exact.class_embedding.grad


@pytest.mark.parametrize(("dtype", "bound"), [(torch.bfloat16, 0.06), (torch.float16, 0.01)], ids=["bf16", "f16"])
@pytest.mark.parametrize("autocast", [False, True])
def test_low_precision(wide, dtype, bound, autocast):
    head, feature, expected, gradient = wide
    if not autocast:
        head, feature = head.to(dtype), feature.to(dtype)
    with torch.autocast("cpu", dtype, enabled=autocast):
        logits = head(feature)
        assert logits.dtype == head.refinement(feature).logits.dtype  # a matter of the device, under autocast
    assert (logits - expected).abs().max() < bound * expected.abs().max()
    logits.float().square().sum().backward()
    assert head.class_embedding.grad.dtype == head.class_embedding.dtype
    assert (head.class_embedding.grad - gradient).abs().max() < 2 * bound * gradient.abs().max()


def test_backward_within_autocast(wide):
    head, feature, _, gradient = wide
    with torch.autocast("cpu", torch.bfloat16):
        head(feature).square().sum().backward()
    assert (head.class_embedding.grad - gradient).abs().max() < 0.12 * gradient.abs().max()


@pytest.mark.parametrize("autocast", [False, True])
def test_compiles_without_a_graph_break_and_trains(wide, autocast):
    head, feature, _, gradient = wide
    compiled = torch.compile(head, fullgraph=True, backend="aot_eager")
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        expected, logits = head(feature), compiled(feature)
    torch.testing.assert_close(logits, expected, atol=2e-2 if autocast else 1e-5, rtol=0)
    logits.square().sum().backward()
    bound = 0.12 if autocast else 1e-5
    assert (head.class_embedding.grad - gradient).abs().max() < bound * gradient.abs().max()


def test_exports_for_any_batch_and_size(wide):
    head, feature, _, _ = wide
    dynamic = {axis: torch.export.Dim.DYNAMIC for axis in (0, 2, 3)}
    exported = torch.export.export(head.eval(), (feature,), dynamic_shapes=({**dynamic},)).module()
    other = torch.randn(3, 64, 6, 10)
    torch.testing.assert_close(exported(other), head(other))
