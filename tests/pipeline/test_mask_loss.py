"""Mask2Former's loss against a plain replica that tries every matching, and what else it must be."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn

from offseg_viz.errors import DataError, ModelError
from offseg_viz.models.heads.mask2former import MaskQueries
from offseg_viz.models.zoo import load_model
from offseg_viz.pipeline.mask_loss import MaskClassificationLoss, binary_masks

B, Q, K, LAYERS, GRID, LABEL, POINTS = 2, 4, 5, 3, (3, 7), (12, 28), 12544


def queries_of(class_logits, mask_logits):
    """Raw predictions from those of all layers; feature and embedding take no part in the loss."""
    return MaskQueries(class_logits[-1], mask_logits[-1], None, None, tuple(class_logits), tuple(mask_logits))


@pytest.fixture
def queries():
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: (2 * torch.randn(*shape, generator=generator)).requires_grad_()
    return queries_of(
        [draw(B, Q, K + 1) for _ in range(LAYERS)],
        [draw(B, Q, *GRID) for _ in range(LAYERS)],
    )


@pytest.fixture
def label():
    """Three classes and ignored pixels in the first image, two classes in the second."""
    label = torch.zeros(B, *LABEL, dtype=torch.int64)
    label[0, :, 9:], label[0, 5:, 20:], label[0, :4, :6] = 3, 4, 255
    label[1] = 2
    label[1, 7:, 3:15] = 0
    return label


def leaves(queries):
    return *queries.class_logits_by_layer, *queries.mask_logits_by_layer


# --- the replica -----------------------------------------------------------------------------------------------------


def sampled(grid, points):
    """Values of a map (h, w) at points (x, y) from 0 to 1, bilinear between cell centres, zero beyond the map."""
    height, width = grid.shape
    x, y = points[:, 0] * width - 0.5, points[:, 1] * height - 0.5
    left, above = np.floor(x).astype(int), np.floor(y).astype(int)
    total = np.zeros(len(points))
    for row in (above, above + 1):
        for column in (left, left + 1):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            value = np.where(inside, grid[row.clip(0, height - 1), column.clip(0, width - 1)], 0)
            total += value * (1 - abs(x - column)) * (1 - abs(y - row))
    return total


def cross_entropy(logit, target):
    return np.maximum(logit, 0) - logit * target + np.log1p(np.exp(-abs(logit)))


def dice(logit, target):
    probability = 1 / (1 + np.exp(-logit))
    return 1 - (2 * (probability * target).sum() + 1) / (probability.sum() + target.sum() + 1)


def soft_max(logits):
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def replica(queries, label):
    """(class, mask, dice) parts; random points are drawn as the loss draws them, the last prediction first."""
    layers = list(zip(queries.class_logits_by_layer, queries.mask_logits_by_layer, strict=True))
    parts = np.zeros(3)
    for class_logits, mask_logits in [layers[-1], *layers[:-1]]:
        class_logits, mask_logits = class_logits.detach().double().numpy(), mask_logits.detach().double().numpy()
        matched, target_class = [], np.full((len(label), class_logits.shape[1]), class_logits.shape[2] - 1)
        for image, label_map in enumerate(label.numpy()):
            present = [k for k in range(K) if (label_map == k).any()]
            points = torch.rand(1, POINTS, 2)[0].double().numpy()
            logits = [sampled(mask, points) for mask in mask_logits[image]]
            targets = [sampled((label_map == k).astype(float), points) for k in present]
            cost = {
                (q, n): 5 * cross_entropy(logits[q], targets[n]).mean()
                + 5 * dice(logits[q], targets[n])
                - 2 * soft_max(class_logits[image, q])[k]
                for q in range(len(logits))
                for n, k in enumerate(present)
            }
            choices = itertools.permutations(range(len(logits)), len(present))
            best = min(choices, key=lambda chosen: sum(cost[q, n] for n, q in enumerate(chosen)))
            for q, n in sorted((q, n) for n, q in enumerate(best)):
                target_class[image, q] = present[n]
                matched.append((mask_logits[image, q], (label_map == present[n]).astype(float)))
        many = torch.rand(len(matched), 3 * POINTS, 2).double().numpy()
        anew = torch.rand(len(matched), POINTS // 4, 2).double().numpy()
        for (mask, target), candidates, further in zip(matched, many, anew, strict=True):
            least_certain = np.argsort(abs(sampled(mask, candidates)))[: POINTS * 3 // 4]
            points = np.concatenate([candidates[least_certain], further])
            logits, targets = sampled(mask, points), sampled(target, points)
            count = max(len(matched), 1)
            parts[1] += 5 * cross_entropy(logits, targets).mean() / count
            parts[2] += 5 * dice(logits, targets) / count
        total = weights = 0
        for logits, k in zip(class_logits.reshape(-1, K + 1), target_class.ravel(), strict=True):
            weight = 0.1 if k == K else 1.0
            total, weights = total - weight * math.log(soft_max(logits)[k]), weights + weight
        parts[0] += 2 * total / weights
    return parts


@pytest.mark.parametrize("seed", range(3))
def test_loss_equals_its_replica(queries, label, seed):
    torch.manual_seed(seed)
    expected = replica(queries, label)
    torch.manual_seed(seed)
    loss, parts = MaskClassificationLoss(K)(queries, label)
    assert list(parts) == ["class", "mask", "dice"]
    np.testing.assert_allclose([part.item() for part in parts.values()], expected, rtol=2e-5)
    assert loss.item() == pytest.approx(expected.sum(), rel=2e-5)


def test_class_part_of_a_matching_beyond_doubt(queries, label):
    """One query a class, sure of its mask, so that the points do not matter; the class part by hand."""
    masks = torch.full((1, Q, *LABEL), -30.0)
    for query, k in enumerate((4, 0, 3)):
        masks[0, query][label[0] == k] = 30
    class_logits = torch.randn(1, Q, K + 1, generator=torch.Generator().manual_seed(3))
    loss, parts = MaskClassificationLoss(K)(queries_of([class_logits], [masks]), label[:1])
    log = class_logits[0].log_softmax(1)
    expected = -2 * (log[0, 4] + log[1, 0] + log[2, 3] + 0.1 * log[3, K]) / 3.1
    assert parts["class"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert parts["dice"].item() < 1  # nothing but rims, where logits and labels are interpolated differently


# --- properties ------------------------------------------------------------------------------------------------------


def test_every_prediction_gets_a_gradient(queries, label):
    MaskClassificationLoss(K)(queries, label)[0].backward()
    for leaf in leaves(queries):
        assert leaf.grad.isfinite().all() and (leaf.grad != 0).any()
    for class_logits in queries.class_logits_by_layer:  # unmatched queries learn that they show nothing
        assert (class_logits.grad.abs().sum(dim=2) > 0).all()


@pytest.mark.parametrize("order", [(1, 0, 2, 3), (3, 2, 0, 1)])
def test_order_of_the_queries_does_not_matter(queries, label, order, monkeypatch):
    points = torch.rand(3 * POINTS, 2, generator=torch.Generator().manual_seed(1))
    same = lambda *size, device=None: points[: size[1]].expand(size).clone()
    monkeypatch.setattr(torch, "rand", same)  # the same points for every mask
    permuted = queries_of(*([x[:, order] for x in some] for some in queries[4:]))
    criterion = MaskClassificationLoss(K)
    first, second = criterion(queries, label), criterion(permuted, label)
    assert first[0].item() == pytest.approx(second[0].item(), rel=1e-6)
    for name, part in first[1].items():
        assert part.item() == pytest.approx(second[1][name].item(), rel=1e-6)


def test_order_of_the_classes_does_not_matter(queries, label, monkeypatch):
    points = torch.rand(3 * POINTS, 2, generator=torch.Generator().manual_seed(1))
    monkeypatch.setattr(torch, "rand", lambda *size, device=None: points[: size[1]].expand(size).clone())
    new = torch.tensor([3, 1, 4, 0, 2, 5])  # class k becomes new[k], "no object" stays
    renamed = queries_of([x[:, :, new.argsort()] for x in queries[4]], queries[5])
    relabelled = torch.where(label == 255, 255, new[label.clamp(max=K)])
    criterion = MaskClassificationLoss(K)
    assert criterion(queries, label)[0].item() == pytest.approx(criterion(renamed, relabelled)[0].item(), rel=1e-6)


def test_the_points_come_from_the_global_random_state(queries, label):
    criterion = MaskClassificationLoss(K)
    losses = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        losses.append(criterion(queries, label)[0].item())
    assert losses[0] == losses[1] != losses[2]


def test_a_batch_without_labelled_pixels(queries):
    """No masks: every query of every layer learns "no object", and masks get a gradient of zero."""
    loss, parts = MaskClassificationLoss(K)(queries, torch.full((B, *LABEL), 255))
    loss.backward()
    expected = sum(-2 * x.detach().log_softmax(2)[..., K].mean().item() for x in queries.class_logits_by_layer)
    assert parts["class"].item() == pytest.approx(expected, rel=1e-5)
    assert parts["mask"] == parts["dice"] == 0
    assert all(leaf.grad.isfinite().all() for leaf in leaves(queries))
    assert all((mask.grad == 0).all() for mask in queries.mask_logits_by_layer)


def test_one_image_without_labelled_pixels_leaves_the_masks_of_the_others(queries, label):
    label[1] = 255
    torch.manual_seed(0)
    expected = replica(queries, label)
    torch.manual_seed(0)
    loss, _ = MaskClassificationLoss(K)(queries, label)
    assert loss.item() == pytest.approx(expected.sum(), rel=2e-5)


def test_ignored_pixels_belong_to_no_mask(label):
    classes, masks = binary_masks(label[0])
    assert classes.tolist() == [0, 3, 4] and masks.shape == (3, *LABEL)
    for k, mask in zip((0, 3, 4), masks, strict=True):
        for y, x in itertools.product(range(LABEL[0]), range(LABEL[1])):
            assert mask[y, x] == (1 if label[0, y, x] == k else 0)
    assert binary_masks(torch.full((4, 5), 255))[1].shape == (0, 4, 5)
    # a mask that covers ignored pixels costs more than one that does not
    image = torch.zeros(1, *LABEL, dtype=torch.int64)
    image[:, :, :14] = 255
    wide, narrow = torch.full((1, 1, 6, 14), 5.0), torch.full((1, 1, 6, 14), 5.0)
    narrow[..., :7] = -5
    class_logits = [torch.zeros(1, 1, K + 1)]
    costs = [MaskClassificationLoss(K)(queries_of(class_logits, [mask]), image)[1] for mask in (wide, narrow)]
    assert costs[0]["mask"] > 4 * costs[1]["mask"] and costs[0]["dice"] > 2 * costs[1]["dice"]


def test_more_classes_than_queries(label):
    class_logits, masks = torch.zeros(B, 1, K + 1, requires_grad=True), torch.zeros(B, 1, *GRID, requires_grad=True)
    loss, _ = MaskClassificationLoss(K)(queries_of([class_logits], [masks]), label)
    loss.backward()
    assert loss.isfinite() and masks.grad.isfinite().all()


def test_reduced_precision_is_computed_in_float32(queries, label):
    half = queries_of(*([x.detach().bfloat16().requires_grad_() for x in some] for some in queries[4:]))
    wide = queries_of(*([x.detach().float() for x in some] for some in half[4:]))
    criterion = MaskClassificationLoss(K)
    torch.manual_seed(0)
    expected = criterion(wide, label)[0]
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        found = criterion(half, label)[0]
    assert found.dtype == torch.float32 and found.item() == expected.item()
    found.backward()
    assert all(leaf.grad.isfinite().all() for leaf in leaves(half))


def test_matching_is_in_float32_too():
    """Half precision does not see that the second query's mask is the better one."""
    masks = torch.tensor([1.0, 1.001])[None, :, None, None].expand(1, 2, 9, 9).clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        queries = queries_of([torch.zeros(1, 2, K + 1)], [masks])
        loss, _ = MaskClassificationLoss(K)(queries, torch.zeros(1, 36, 36, dtype=torch.int64))
    loss.backward()
    assert (masks.grad[0, 0] == 0).all() and (masks.grad[0, 1] != 0).any()


def test_several_processes_divide_by_their_mean_number_of_masks(queries, label, monkeypatch):
    torch.manual_seed(0)
    alone = MaskClassificationLoss(K)(queries, label)[1]
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "all_reduce", lambda count: count.add_(13))  # the other process has 13 masks, this one 5
    torch.manual_seed(0)
    together = MaskClassificationLoss(K)(queries, label)[1]
    for name, factor in (("class", 1), ("mask", 5 / 9), ("dice", 5 / 9)):
        assert together[name].item() == pytest.approx(alone[name].item() * factor, rel=1e-6)


def test_it_works_in_a_real_process_group(queries, label, tmp_path):
    torch.manual_seed(0)
    alone = MaskClassificationLoss(K)(queries, label)[0]
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        torch.manual_seed(0)
        assert MaskClassificationLoss(K)(queries, label)[0].item() == alone.item()
    finally:
        dist.destroy_process_group()


def test_it_reaches_every_parameter_of_the_network():
    model = load_model("mask2former-swin-t-offset", num_classes=K).train()
    for stage, depth in zip(model.backbone.stages, (1, 1, 1, 1), strict=True):
        stage.blocks = stage.blocks[:depth]
    head = model.decode_head
    head.pixel_decoder.encoder.layers = head.pixel_decoder.encoder.layers[:1]
    head.transformer_module.decoder.layers = head.transformer_module.decoder.layers[:3]
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(5))
    label = torch.ones(2, 64, 96, dtype=torch.int64)
    label[0, 20:, 40:], label[1, :, :30] = 4, 255
    loss, _ = MaskClassificationLoss(K)(model.queries(images), label)
    loss.backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not without
    assert not list(MaskClassificationLoss(K).parameters())


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda label: label[:1], r"the label is \(1, 12, 28\) torch.int64; needed \(2, H, W\) int64"),
        (lambda label: label[0], r"the label is \(12, 28\)"),
        (lambda label: label.to(torch.uint8), r"torch.uint8; needed \(2, H, W\) int64"),
        (lambda label: label[:, :11], r"the label is \(11, 28\) and the masks are \(3, 7\).*multiples of 32"),
        (lambda label: label[:, :, :21], r"the label is \(12, 21\) and the masks are \(3, 7\)"),
    ],
)
def test_labels_of_another_kind(queries, label, change, message):
    with pytest.raises(ModelError, match=message):
        MaskClassificationLoss(K)(queries, change(label))


@pytest.mark.parametrize("number", [K, 254, 256, -1])
def test_numbers_that_are_no_classes(queries, label, number):
    label[1, 3, 4] = number
    with pytest.raises(DataError, match=f"the label holds {number}; needed class numbers below 5, or 255"):
        MaskClassificationLoss(K)(queries, label)


def test_another_number_of_classes(queries, label):
    with pytest.raises(ModelError, match="the network has 5 classes, the loss 7"):
        MaskClassificationLoss(7)(queries, label)
