"""Mask2Former with Swin-T, plain and with offset learning: equal to the release, and what else it must be."""

import numpy as np
import pytest
import torch
from shared_data import reference_input, reference_state_dict, shared
from torch import nn
from torch.nn import functional as F
from transformers.models.mask2former.modeling_mask2former import Mask2FormerLoss

from offseg_viz.errors import CheckpointError
from offseg_viz.extract.capture import Point, capture
from offseg_viz.models.backbones.stochastic_depth import StochasticDepth
from offseg_viz.models.backbones.swin import Swin
from offseg_viz.models.heads.mask2former import Mask2FormerHead, class_maps, mask2former_swin_t
from offseg_viz.models.mask_offset_learning import MaskOffsetLearning
from offseg_viz.models.official.loading import load_official_weights
from offseg_viz.models.official.mask2former_names import mask2former_names
from offseg_viz.models.zoo import load_model

NAME, VARIANT = "mask2former-swin-t-offset", "mask2former-t-ol_ade20k"
SMALL = (256, 320)


@pytest.fixture(scope="module")
def vectors():
    return np.load(shared(f"reference/{VARIANT}.npz"))


@pytest.fixture(scope="module")
def weights():
    return reference_state_dict(VARIANT)


@pytest.fixture(scope="module")
def filled(weights):
    return load_official_weights(load_model(NAME, num_classes=150), weights)


@pytest.fixture(scope="module")
def queries(filled):
    return predictions(filled, SMALL)


def predictions(model, size, dtype=torch.float32):
    with torch.no_grad():
        return model.decode_head.queries(model.backbone(reference_input(*size).to(dtype)))


def offset_learning_of(model):
    (module,) = (module for module in model.modules() if isinstance(module, MaskOffsetLearning))
    return module


def assert_predictions(queries, vectors, prefix):
    """Last and two earlier predictions and the class maps, against float32 numbers."""
    pos = vectors[f"{prefix}/pos"]
    at = lambda maps: maps[0].flatten(1).T[pos]
    maps = class_maps(queries.class_logits, queries.mask_logits)
    size = tuple(int(side) for side in prefix.split("x"))
    found = {
        "cls_pred": queries.class_logits[0],
        "mask_pred": at(queries.mask_logits),
        "logits": at(maps),
        "predict_first8rows": class_maps(queries.class_logits, queries.mask_logits, size)[0, :, :8, :4],
    }
    for layer in (0, 4):
        found[f"cls_pred_layer{layer}_q0_4"] = queries.class_logits_by_layer[layer][0, :4]
        found[f"mask_pred_layer{layer}_q0_4"] = at(queries.mask_logits_by_layer[layer])[:, :4]
    for name, value in found.items():
        assert np.abs(value.numpy() - vectors[f"{prefix}/{name}"]).max() < 1e-4, name
    assert np.abs(found["logits"].numpy() - vectors[f"{prefix}/logits"]).mean() < 1e-5
    np.testing.assert_array_equal(maps[0].argmax(0), vectors[f"{prefix}/argmax"])


def test_predictions_equal_the_release(queries, vectors):
    assert_predictions(queries, vectors, "256x320")


def test_call_of_the_model_gives_the_class_maps(filled, queries):
    with torch.no_grad():
        logits = filled(reference_input(*SMALL))
    assert torch.equal(logits, class_maps(queries.class_logits, queries.mask_logits))


@pytest.mark.parametrize("size", [SMALL, (512, 512)])
def test_predictions_equal_the_release_in_float64(filled, vectors, size):
    prefix = f"{size[0]}x{size[1]}"
    try:
        queries = predictions(filled.double(), size, torch.float64)
    finally:
        filled.float()
    assert_predictions(queries, vectors, prefix)
    masks = queries.mask_logits[0].flatten(1).T[vectors[f"{prefix}/pos"][:16]]
    assert np.abs(queries.class_logits[0, :16].numpy() - vectors[f"{prefix}/cls_pred_f64"]).max() < 1e-10
    assert np.abs(masks.numpy() - vectors[f"{prefix}/mask_pred_f64"]).max() < 1e-10


def test_backbone_stages_equal_the_release(filled, vectors):
    with torch.no_grad():
        levels = filled.backbone(reference_input(*SMALL))
    assert [tuple(level.shape[1:]) for level in levels] == [(96, 64, 80), (192, 32, 40), (384, 16, 20), (768, 8, 10)]
    for i, level in enumerate(levels):
        np.testing.assert_allclose(level.flatten()[:64], vectors[f"256x320/stage{i}_first64"], atol=3e-5)
        stats = [level.mean(), level.std(correction=0), level.min(), level.max()]
        np.testing.assert_allclose(stats, vectors[f"256x320/stage{i}_stats"], atol=3e-5)


def test_modules_on_the_way_equal_the_release(filled, vectors):
    head, stages = filled.decode_head, filled.backbone.stages
    decoder = head.transformer_module.decoder
    points = {
        "backbone.patch_embed.norm": filled.backbone.embeddings.norm,
        "backbone.stages.0.blocks.1.attn.w_msa.proj": stages[0].blocks[1].attention.o_proj,  # shifted windows
        "backbone.stages.1.downsample.reduction": stages[1].downsample.reduction,
        "decode_head.pixel_decoder.input_convs.2": head.pixel_decoder.input_projections[2],
        "decode_head.pixel_decoder.encoder.layers.0.self_attn.sampling_offsets": (
            head.pixel_decoder.encoder.layers[0].self_attn.sampling_offsets
        ),
        "decode_head.pixel_decoder.encoder.layers.5.norms.1": head.pixel_decoder.encoder.layers[5].final_layer_norm,
        "decode_head.pixel_decoder.lateral_convs.0": head.pixel_decoder.adapter_1,
        "decode_head.pixel_decoder.mask_feature": head.pixel_decoder.mask_projection,
        "decode_head.transformer_decoder.layers.0.norms.0": decoder.layers[0].cross_attn_layer_norm,
        "decode_head.transformer_decoder.layers.8.norms.2": decoder.layers[8].final_layer_norm,
    }
    with torch.no_grad(), capture({name: Point(module, "output") for name, module in points.items()}) as seen:
        filled(reference_input(*SMALL))
    names = vectors["256x320/trace_name"].tolist()
    for name, value in seen.items():
        row = names.index(name)
        expected = vectors["256x320/trace_mean_std"][row]
        np.testing.assert_allclose([value.mean(), value.std(correction=0)], expected, atol=1e-5, err_msg=name)
        np.testing.assert_allclose(value.flatten()[:8], vectors["256x320/trace_first8"][row], atol=5e-5, err_msg=name)


def test_refinement_of_the_last_layer_equals_the_release(filled, queries, vectors):
    with torch.no_grad():
        refinement = offset_learning_of(filled).refinement(queries.mask_embedding, queries.feature)
    pos, channels = vectors["256x320/ol_pos"], vectors["256x320/ol_ch"]
    for theirs, ours, bound in (
        ("ol_E", refinement.feature[0, pos][:, channels], 2e-5),
        ("ol_W", refinement.class_embedding[0][:, channels], 2e-5),
        ("ol_coupled", refinement.coupled_attention[0].T[pos], 1e-4),
        ("ol_cls_attn_lse", refinement.coupled_attention[0].logsumexp(dim=1), 1e-4),
        ("ol_cls_offset", refinement.class_offset[0][:, channels], 2e-5),
        ("ol_aligned_cls", refinement.aligned_class_embedding[0][:, channels], 2e-5),
        ("ol_feat_offset", refinement.feature_offset[0, pos][:, channels], 2e-5),
        ("ol_aligned_feat", refinement.aligned_feature[0, pos][:, channels], 2e-5),
    ):
        assert np.abs(ours.numpy() - vectors[f"256x320/{theirs}"]).max() < bound, theirs
    masks = queries.mask_logits.flatten(2)
    assert (refinement.scores - masks).abs().max() < 1e-5 * masks.abs().max()


def test_every_layer_aligns_with_the_original_pixel_map(filled):
    calls = []
    handle = offset_learning_of(filled).register_forward_pre_hook(lambda _, args: calls.append(args))
    try:
        queries = predictions(filled, (64, 96))
    finally:
        handle.remove()
    assert len(calls) == 10 == len(queries.mask_logits_by_layer) == len(queries.class_logits_by_layer)
    assert all(torch.equal(feature, queries.feature) for _, feature in calls)
    assert torch.equal(calls[-1][0], queries.mask_embedding)
    assert not torch.equal(calls[0][0], calls[-1][0])
    assert queries.mask_logits is queries.mask_logits_by_layer[-1]


def test_plain_network_is_the_one_with_zero_projections(filled, weights):
    plain = load_model("mask2former-swin-t", num_classes=150)
    load_official_weights(plain, {name: value for name, value in weights.items() if "offset_learning" not in name})
    module = offset_learning_of(filled)
    saved = {name: value.clone() for name, value in module.state_dict().items()}
    images = torch.cat([reference_input(64, 96), reference_input(64, 96).flip(3)])
    try:
        with torch.no_grad():
            aligned = filled(images)
            for parameter in module.parameters():
                parameter.zero_()
            assert torch.equal(plain(images), filled(images))
            assert not torch.allclose(plain(images), aligned, atol=1e-2)
    finally:
        module.load_state_dict(saved)


def test_parameter_totals_are_those_of_the_release():
    count = lambda module: sum(parameter.numel() for parameter in module.parameters())
    totals = []
    for offset in (False, True):
        with torch.device("meta"):
            backbone, head = mask2former_swin_t(150, offset=offset)
        totals.append(count(backbone) + count(head))
    assert totals == [47_439_633, 47_570_705]


def test_official_weights_that_do_not_fit_are_refused(filled, weights):
    plain = {name: value for name, value in weights.items() if "offset_learning" not in name}
    with pytest.raises(CheckpointError, match="2 missing"):
        load_official_weights(filled, plain)
    with pytest.raises(CheckpointError, match="surprise"):
        load_official_weights(filled, weights | {"decode_head.pixel_decoder.surprise": torch.zeros(1)})
    odd = weights | {"backbone.stages.0.downsample.norm.weight": torch.zeros(382)}
    with pytest.raises(CheckpointError, match="downsample.norm.weight"):
        load_official_weights(filled, odd)


def test_patch_merging_in_our_order_equals_unfolding():
    """mmsegmentation unfolds 2 x 2 cells, a channel's four neighbours side by side; transformers concatenates them."""
    merging = Swin().stages[0].downsample
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator)
    theirs = {"norm.weight": draw(384), "norm.bias": draw(384), "reduction.weight": draw(192, 384)}
    for name, tensor in theirs.items():
        ((ours, value),) = mask2former_names(f"backbone.stages.0.downsample.{name}", tensor)
        merging.get_parameter(ours.removeprefix("backbone.stages.0.downsample.")).data.copy_(value)
    x = draw(2, 96, 6, 10)
    cells = F.unfold(x, 2, stride=2).transpose(1, 2)  # (B, 15, 96 * 4)
    expected = F.layer_norm(cells, (384,), theirs["norm.weight"], theirs["norm.bias"]) @ theirs["reduction.weight"].T
    found = merging(x.flatten(2).transpose(1, 2), (6, 10))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_class_maps_are_sums_over_queries():
    generator = torch.Generator().manual_seed(0)
    class_logits = torch.randn(2, 3, 5, dtype=torch.float64, generator=generator)  # 4 classes and "no object"
    mask_logits = torch.randn(2, 3, 2, 7, dtype=torch.float64, generator=generator)
    maps = class_maps(class_logits, mask_logits)
    assert maps.shape == (2, 4, 2, 7)
    for image in range(2):
        for k in range(4):
            for y in range(2):
                for x in range(7):
                    total = 0.0
                    for query in range(3):
                        powers = [np.exp(value) for value in class_logits[image, query].tolist()]
                        mask = 1 / (1 + np.exp(-mask_logits[image, query, y, x].item()))
                        total += powers[k] / sum(powers) * mask
                    assert maps[image, k, y, x].item() == pytest.approx(total, rel=1e-12)
    # logits are resized, not probabilities
    resized = class_maps(class_logits, mask_logits, (4, 14))
    doubled = F.interpolate(mask_logits, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(resized, class_maps(class_logits, doubled))
    assert not torch.allclose(resized, F.interpolate(maps, (4, 14), mode="bilinear"))


def test_stochastic_depth_reaches_both_branches_of_a_block():
    backbone = Swin(stochastic_depth=0.3)
    blocks = [block for stage in backbone.stages for block in stage.blocks]
    for branch in ("drop_path", "mlp.drop_path"):
        rates = [block.get_submodule(branch).rate for block in blocks]
        np.testing.assert_allclose(rates, np.linspace(0, 0.3, 12), atol=1e-6)
    for module in backbone.modules():
        if isinstance(module, StochasticDepth):
            module.rate = 1 - 1e-9
    x = torch.randn(1, 70, 96, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    assert torch.equal(blocks[1].train()(x, (7, 10), always_partition=True)[0], x)
    assert not torch.equal(blocks[1].eval()(x, (7, 10), always_partition=True)[0], x)


@pytest.fixture(scope="module")
def short():
    """The network with few of each kind of layer, 5 classes: every line of its forward, in less time."""
    model = load_model(NAME, num_classes=5)
    for stage, depth in zip(model.backbone.stages, (2, 1, 1, 1), strict=True):  # the second has shifted windows
        stage.blocks = stage.blocks[:depth]
    head = model.decode_head
    head.pixel_decoder.encoder.layers = head.pixel_decoder.encoder.layers[:1]
    head.transformer_module.decoder.layers = head.transformer_module.decoder.layers[:3]
    return model


@pytest.fixture
def images():
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(5))


def test_images_of_a_batch_do_not_see_each_other(short, images):
    with torch.no_grad():
        torch.testing.assert_close(short(images)[1:], short(images[1:]), atol=1e-5, rtol=1e-5)
        assert short(images).shape == (2, 5, 16, 24)
        assert short(images[:, :, :32, :32]).isfinite().all()  # windows larger than the coarsest maps


def test_half_precision_stays_near(short, images):
    with torch.no_grad():
        exact = short(images)
        try:
            half = short.bfloat16()(images.bfloat16())
        finally:
            short.float()
    assert half.dtype == torch.bfloat16 and half.isfinite().all()
    assert (half - exact).abs().mean() < 0.05 * exact.abs().mean()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_finite_on_maps_of_other_sizes(short, dtype):
    try:
        with torch.no_grad():
            for height, width in ((64, 96), (96, 128), (128, 128), (65, 70)):
                images = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))
                assert short.to(dtype)(images.to(dtype)).isfinite().all()
    finally:
        short.float()


def test_exported_network_takes_any_batch(short, images):
    exported = torch.export.export(short, (images,), dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=8)},))
    with torch.no_grad():
        for batch in (images, torch.cat([images, images[:1] + 1])):
            torch.testing.assert_close(exported.module()(batch), short(batch), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_compiles_without_a_graph_break(short, images, training):
    torch._dynamo.reset()
    try:
        compiled = torch.compile(short.train(training), fullgraph=True, backend="eager")
        torch.manual_seed(0)
        found = compiled(images)
        torch.manual_seed(0)
        torch.testing.assert_close(found, short(images), atol=1e-5, rtol=1e-5)
    finally:
        short.eval()
        torch._dynamo.reset()


def test_loss_of_transformers_reaches_every_parameter(short, images):
    """The raw predictions are what `Mask2FormerLoss` takes, auxiliary ones included."""
    head = short.decode_head
    criterion = Mask2FormerLoss(head.config, {})
    labels = torch.zeros(2, 64, 96)
    labels[0, :, :40], labels[1, :, 40:] = 1, 1
    queries = head.queries(short.backbone(images))
    pairs = list(zip(queries.class_logits_by_layer, queries.mask_logits_by_layer, strict=True))
    earlier = [{"class_queries_logits": c, "masks_queries_logits": m} for c, m in pairs[:-1]]
    losses = criterion(
        queries.mask_logits,
        queries.class_logits,
        [labels, labels],
        [torch.tensor([1, 4]), torch.tensor([0, 2])],
        earlier,
    )
    sum(losses.values()).backward()
    without = [name for name, p in short.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    short.zero_grad()
    assert not without
    assert len(losses) == 3 * len(pairs)


def test_attention_of_the_backbone_is_float64_where_the_network_is():
    assert Swin().stages[0].blocks[0].attention.config._attn_implementation == "sdpa"


def test_fresh_weights_follow_the_seed_and_are_finite():
    torch.manual_seed(3)
    first = Mask2FormerHead((96, 192, 384, 768), 5, offset=True)
    torch.manual_seed(3)
    second = Mask2FormerHead((96, 192, 384, 768), 5, offset=True)
    for (name, a), b in zip(first.named_parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b) and a.isfinite().all(), name
    assert first.pixel_decoder.level_embed.std().item() == pytest.approx(1, abs=0.1)
    assert isinstance(first.class_predictor, nn.Linear) and first.class_predictor.out_features == 6
