"""Offset learning of masks against loops written from the paper, the release's numbers, and by its properties."""

import numpy as np
import pytest
import reference
import torch
from shared_data import reference_tensor, shared
from torch.nn import functional as F
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

from offseg_viz.errors import ModelError
from offseg_viz.extract.capture import Point, capture
from offseg_viz.models.mask_offset_learning import AlignedMaskPredictor, MaskOffsetLearning

B, C, Q, H, W = 2, 11, 3, 5, 7


@pytest.fixture
def head():
    torch.manual_seed(0)
    head = MaskOffsetLearning(C).double()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn_like(parameter) / 3)
    return head


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(B, Q, C, dtype=torch.float64, generator=generator),
        torch.randn(B, C, H, W, dtype=torch.float64, generator=generator),
    )


def test_equals_plain_loops_over_equations_4_to_13(head, inputs):
    class_proj, feature_proj = head.class_offset_proj.weight.tolist(), head.feature_offset_proj.weight.tolist()
    project = lambda matrix, x: [sum(m * v for m, v in zip(row, x, strict=True)) for row in matrix]
    mix = lambda shares, x: [sum(s * row[c] for s, row in zip(shares, x, strict=True)) for c in range(C)]
    masks, refinement = head(*inputs), head.refinement(*inputs)
    for image in range(B):
        w, e = inputs[0][image].tolist(), inputs[1][image].flatten(1).T.tolist()
        a_cls, a_pos = reference.class_attention(e, w), reference.position_attention(e, w)
        class_offset = [project(class_proj, mix(a_cls[q], e)) for q in range(Q)]
        feature_offset = [project(feature_proj, mix(a_pos[p], w)) for p in range(H * W)]
        moved_e, moved_w = reference.add(e, feature_offset), reference.add(w, class_offset)
        scores = reference.scores(moved_e, moved_w)
        np.testing.assert_allclose(masks[image].flatten(1).detach(), scores, rtol=1e-9, atol=1e-9)
        expected = {
            "feature": e,
            "class_embedding": w,
            "coupled_attention": reference.scores(e, w),
            "class_attention": a_cls,
            "class_offset": class_offset,
            "aligned_class_embedding": moved_w,
            "position_attention": a_pos,
            "feature_offset": feature_offset,
            "aligned_feature": moved_e,
            "scores": scores,
        }
        assert set(expected) == set(refinement._fields)
        for name, value in expected.items():
            np.testing.assert_allclose(getattr(refinement, name)[image].detach(), value, rtol=1e-9, atol=1e-9)


def test_aligned_pair_equals_the_release():
    vectors = np.load(shared("reference/units.npz"))
    head = MaskOffsetLearning(16)
    with torch.no_grad():
        for ours, theirs in (("class_offset_proj", "cls_offset_proj"), ("feature_offset_proj", "feat_offset_proj")):
            value = reference_tensor(f"unit.offset_learning_mask.{theirs}.weight", (16, 16))
            getattr(head, ours).weight.copy_(torch.from_numpy(value))
        mask_embedding, feature = (torch.from_numpy(vectors[f"offset_learning_mask/{name}"]) for name in "qx")
        refinement = head.refinement(mask_embedding, feature)
        masks = head(mask_embedding, feature)
    aligned_q, aligned_x = (vectors[f"offset_learning_mask/aligned_{name}"] for name in "qx")
    np.testing.assert_allclose(refinement.aligned_class_embedding, aligned_q, atol=2e-6)
    np.testing.assert_allclose(
        refinement.aligned_feature.transpose(1, 2).reshape(aligned_x.shape), aligned_x, atol=2e-6
    )
    np.testing.assert_allclose(masks, np.einsum("bqc,bchw->bqhw", aligned_q, aligned_x), rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_masks_and_gradients_equal_those_of_the_explicit_equations(head, inputs, dtype, bound):
    head = head.to(dtype)
    results = []
    for explicit in (False, True):
        w, e = (x.to(dtype).detach().requires_grad_() for x in inputs)
        masks = head.refinement(w, e).scores.unflatten(2, (H, W)) if explicit else head(w, e)
        weighted = (masks * torch.linspace(-1, 1, masks.numel(), dtype=dtype).view_as(masks)).sum()
        results.append((masks, *torch.autograd.grad(weighted, (w, e, *head.parameters()))))
    for fast, slow in zip(*results, strict=True):
        assert (fast - slow).abs().max() <= bound * slow.abs().max()


def test_forward_projects_queries_and_never_positions(head, inputs):
    with capture({"projected": Point(head.feature_offset_proj, "input")}) as seen:
        head(*inputs)
    assert seen["projected"].shape == (B, Q, C)


def test_zero_projections_give_the_plain_product_to_the_last_bit(head, inputs):
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.zero_()
    for dtype in (torch.float64, torch.float32):
        w, e = (x.to(dtype) for x in inputs)
        assert torch.equal(head.to(dtype)(w, e), torch.einsum("bqc,bchw->bqhw", w, e))


def test_permuting_queries_permutes_masks_and_images_do_not_see_each_other(head, inputs):
    w, e = inputs
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(head(w[:, order], e), head(w, e)[:, order])
    torch.testing.assert_close(head(w[1:], e[1:]), head(w, e)[1:])


def test_parameters_and_their_initial_spread():
    head = MaskOffsetLearning(256)
    assert sum(parameter.numel() for parameter in head.parameters()) == 2 * 256**2 == 131072
    for weight in head.parameters():
        assert weight.std().item() == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("method", ["forward", "refinement"])
@pytest.mark.parametrize(
    ("w", "e"),
    [
        ((B, Q, C + 1), (B, C, H, W)),
        ((B, Q, C), (B, C - 1, H, W)),
        ((B, Q, C), (B + 1, C, H, W)),
        ((Q, C), (B, C, H, W)),
        ((B, Q, C), (B, C, H * W)),
    ],
)
def test_refuses_other_shapes(head, method, w, e):
    with pytest.raises(ModelError, match=r"mask embeddings \(B, Q, 11\) and a pixel map \(B, 11, h, w\), found"):
        getattr(head, method)(torch.zeros(w), torch.zeros(e))


@pytest.fixture(scope="module")
def foreign():
    """A small Mask2Former of transformers, from a configuration."""
    torch.manual_seed(0)
    stages = ["stage1", "stage2", "stage3", "stage4"]
    swin = SwinConfig(embed_dim=12, depths=[1] * 4, num_heads=[1, 1, 2, 2], out_features=stages)
    widths = {"hidden_dim": 32, "feature_size": 32, "mask_feature_size": 32, "num_attention_heads": 4}
    counts = {"num_queries": 5, "num_labels": 7, "decoder_layers": 4, "encoder_layers": 1, "train_num_points": 64}
    config = Mask2FormerConfig(backbone_config=swin.to_dict(), output_auxiliary_logits=True, **widths, **counts)
    return Mask2FormerForUniversalSegmentation(config).eval()


@pytest.fixture
def aligned(foreign):
    decoder = foreign.model.transformer_module.decoder
    plain = decoder.mask_predictor
    decoder.mask_predictor = AlignedMaskPredictor(plain, MaskOffsetLearning(32))
    yield decoder.mask_predictor
    decoder.mask_predictor = plain


def test_predictor_with_zero_projections_leaves_a_model_of_transformers_as_it_was(foreign, request):
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        before, names = foreign(images), set(foreign.state_dict())
        predictor = request.getfixturevalue("aligned")
        moved = foreign(images)
        for parameter in predictor.offset_learning.parameters():
            parameter.zero_()
        after = foreign(images)
    assert not torch.allclose(moved.masks_queries_logits, before.masks_queries_logits, atol=1e-3)
    assert torch.equal(after.masks_queries_logits, before.masks_queries_logits)
    assert torch.equal(after.class_queries_logits, before.class_queries_logits)
    for ours, theirs in zip(after.auxiliary_logits, before.auxiliary_logits, strict=True):
        assert torch.equal(ours["masks_queries_logits"], theirs["masks_queries_logits"])
    gained = {name.rpartition("mask_predictor.")[2] for name in set(foreign.state_dict()) - names}
    assert gained == {f"offset_learning.{kind}_offset_proj.weight" for kind in ("class", "feature")}
    assert names <= set(foreign.state_dict())


def test_attention_mask_hides_what_is_less_likely_than_one_half(aligned):
    generator = torch.Generator().manual_seed(3)
    outputs, feature = torch.randn(5, 2, 32, generator=generator), torch.randn(2, 32, 6, 8, generator=generator)
    with torch.no_grad():
        masks, hidden = aligned(outputs, feature, (3, 4))
        expected = aligned.offset_learning(aligned.mask_embedder(outputs.transpose(0, 1)), feature)
    assert torch.equal(masks, expected)
    # halving both sides bilinearly is the mean over cells of 2 x 2
    small = F.avg_pool2d(masks, 2).flatten(2)
    assert hidden.dtype == torch.bool and hidden.shape == (2 * 4, 5, 12)
    for image in range(2):
        for attention_head in range(4):
            for query in range(5):
                values = small[image, query].tolist()
                assert min(map(abs, values)) > 1e-5
                assert hidden[image * 4 + attention_head, query].tolist() == [value < 0 for value in values]


def test_loss_of_transformers_reaches_projections_that_start_at_zero(foreign, aligned):
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(4))
    masks = torch.zeros(2, 64, 64)
    masks[0, :, :40], masks[1, :, 40:] = 1, 1
    with torch.no_grad():
        for parameter in aligned.offset_learning.parameters():
            parameter.zero_()
    foreign(images, mask_labels=[masks], class_labels=[torch.tensor([1, 4])]).loss.backward()
    try:
        for name, parameter in aligned.offset_learning.named_parameters():
            assert parameter.grad.isfinite().all() and parameter.grad.abs().max() > 1e-4, name
    finally:
        foreign.zero_grad()
