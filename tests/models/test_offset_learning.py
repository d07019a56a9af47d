"""Offset learning against loops written from the paper, against the release's numbers, and by its properties."""

import numpy as np
import pytest
import reference
import torch
from shared_data import reference_tensor, shared

from offseg_viz.errors import ModelError
from offseg_viz.models.offset_learning import OffsetLearning

B, C, K, H, W = 2, 11, 3, 5, 7


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


def test_equals_plain_loops_over_equations_4_to_13(head, feature):
    w = head.class_embedding.tolist()
    class_proj, feature_proj = head.class_offset_proj.weight.tolist(), head.feature_offset_proj.weight.tolist()
    project = lambda matrix, x: [sum(m * v for m, v in zip(row, x, strict=True)) for row in matrix]  # noqa: E731
    mix = lambda shares, x: [sum(s * row[c] for s, row in zip(shares, x, strict=True)) for c in range(C)]  # noqa: E731
    for image in range(B):
        e = feature[image].flatten(1).T.tolist()
        a_cls, a_pos = reference.class_attention(e, w), reference.position_attention(e, w)
        class_offset = [project(class_proj, mix(a_cls[k], e)) for k in range(K)]
        feature_offset = [project(feature_proj, mix(a_pos[p], w)) for p in range(H * W)]
        moved_e, moved_w = reference.add(e, feature_offset), reference.add(w, class_offset)
        gain, bias = head.norm.weight.tolist(), head.norm.bias.tolist()
        expected = reference.layer_norm_over_classes(reference.scores(moved_e, moved_w), gain, bias, 1e-5)
        np.testing.assert_allclose(head(feature)[image].flatten(1).detach(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("case", ["offset_learning", "offset_learning_tiny"])
def test_equals_the_release_with_gradients(case):
    vectors = np.load(shared("reference/units.npz"))
    x = torch.from_numpy(vectors[f"{case}/x"]).requires_grad_()
    head = OffsetLearning(16, 7)
    names = {
        "class_embedding": "cls_repr",
        "class_offset_proj.weight": "cls_offset_proj.weight",
        "feature_offset_proj.weight": "feat_offset_proj.weight",
        "norm.weight": "mask_norm.weight",
        "norm.bias": "mask_norm.bias",
    }
    with torch.no_grad():
        for ours, parameter in head.named_parameters():
            shape = (1, 7, 16) if ours == "class_embedding" else tuple(parameter.shape)
            value = reference_tensor(f"unit.offset_learning.{names[ours]}", shape).reshape(parameter.shape)
            tiny = 0.01 if case.endswith("tiny") and ours == "class_embedding" else 1
            parameter.copy_(torch.from_numpy(np.asarray(value * np.float32(tiny))))
    out = head(x)
    np.testing.assert_allclose(out.detach(), vectors[f"{case}/out"], atol=2e-6)
    (out * torch.from_numpy(vectors[f"{case}/r"])).sum().backward()
    for ours, parameter in head.named_parameters():
        expected = vectors[f"{case}/grad_{names[ours]}"].reshape(parameter.shape)
        np.testing.assert_allclose(parameter.grad, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    expected = vectors[f"{case}/grad_x"]
    np.testing.assert_allclose(x.grad, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


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


@pytest.mark.parametrize("shape", [(1, C + 1, H, W), (C, H, W)])
def test_refuses_another_shape(head, shape):
    with pytest.raises(ModelError, match=r"needs a feature map \(B, 11, h, w\)"):
        head(torch.zeros(shape))
