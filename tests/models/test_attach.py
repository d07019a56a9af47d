"""Offset learning attached to models of transformers, of this package and of nobody: kept logits, learning, undoing."""

import copy
import doctest

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import (
    ConvNextConfig,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SwinConfig,
    UperNetConfig,
    UperNetForSemanticSegmentation,
)

from offseg_viz.data import load_samples
from offseg_viz.errors import ModelError, UnknownNameError
from offseg_viz.models import attach
from offseg_viz.models.attach import attach_offset_learning, detach_offset_learning
from offseg_viz.models.final_classifier import final_classifier
from offseg_viz.models.linear_offset_learning import LinearOffsetLearning
from offseg_viz.models.mask_offset_learning import AlignedMaskPredictor
from offseg_viz.models.offset_learning import OffsetLearning
from offseg_viz.models.zoo import load_model

K, WIDTHS, STAGES = 32, (8, 16, 24, 32), ["stage1", "stage2", "stage3", "stage4"]


def segformer():
    config = SegformerConfig(
        hidden_sizes=list(WIDTHS),
        depths=[1] * 4,
        num_attention_heads=[1, 2, 2, 2],
        decoder_hidden_size=32,  # as many as labels: only its name tells the classifier from the layers around it
        num_labels=K,
    )
    return SegformerForSemanticSegmentation(config)


def upernet():
    backbone = ConvNextConfig(hidden_sizes=list(WIDTHS), depths=[1] * 4, out_features=STAGES)
    config = UperNetConfig(
        backbone_config=backbone, hidden_size=32, auxiliary_in_channels=24, auxiliary_channels=16, num_labels=K
    )
    return UperNetForSemanticSegmentation(config)


def mask2former():
    backbone = SwinConfig(embed_dim=8, depths=[1] * 4, num_heads=[1] * 4, window_size=4, out_features=STAGES)
    config = Mask2FormerConfig(
        backbone_config=backbone,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=32,
        encoder_layers=1,
        decoder_layers=3,
        num_attention_heads=2,
        dim_feedforward=32,
        num_queries=20,
        num_labels=K,
        train_num_points=256,
        init_xavier_std=1.0,
    )
    return Mask2FormerForUniversalSegmentation(config)


def sequential():
    return nn.Sequential(
        nn.Conv2d(3, 16, 1),
        nn.ReLU(),
        nn.Conv2d(16, 24, 3, stride=4, padding=1),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.Sequential(nn.Dropout(0.1), nn.Conv2d(24, K, 1)),
        nn.Upsample(scale_factor=2),
    )


MODELS = {
    segformer: "decode_head.classifier",
    upernet: "decode_head.classifier",
    mask2former: "model.transformer_module.decoder.mask_predictor",
    sequential: "5.1",
}


def built(builder, dtype=torch.float32):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return builder().to(dtype).eval()


@pytest.fixture(params=MODELS, ids=lambda builder: builder.__name__)
def builder(request):
    return request.param


@pytest.fixture(scope="module")
def scenes():
    """Two scenes at a quarter of their size: images (2, 3, 64, 96), normalised, and labels (2, 64, 96)."""
    samples = load_samples("scenes")[:2]
    images = torch.stack([torch.from_numpy(sample.image[::4, ::4].copy()) for sample in samples])
    labels = torch.stack([torch.from_numpy(sample.label[::4, ::4].copy()) for sample in samples])
    return (images.permute(0, 3, 1, 2) / 255 - 0.5) / 0.25, labels.long()


def outputs(model, images):
    """Every tensor that a model gives for images."""
    with torch.no_grad():
        out = model(images)
    if isinstance(out, torch.Tensor):
        return [out]
    if hasattr(out, "masks_queries_logits"):
        return [out.class_queries_logits, out.masks_queries_logits, *(x for x in out.auxiliary_logits or ())]
    return [out.logits]


def difference(first, second):
    return max((a - b).abs().max().item() for a, b in zip(first, second, strict=True))


def loss_of(model, images, labels):
    if isinstance(model, Mask2FormerForUniversalSegmentation):
        present = [[k for k in label.unique().tolist() if k != 255] for label in labels]
        masks = [
            torch.stack([label == k for k in ks]).to(images.dtype) for label, ks in zip(labels, present, strict=True)
        ]
        torch.manual_seed(0)  # the loss looks at random points of the masks
        return model(images, mask_labels=masks, class_labels=[torch.tensor(ks) for ks in present]).loss.squeeze()
    out = model(images)
    logits = out if isinstance(out, torch.Tensor) else out.logits
    logits = F.interpolate(logits, labels.shape[1:], mode="bilinear", align_corners=False)
    return F.cross_entropy(logits, labels, ignore_index=255)


def fine_tuned(model, parameters, scenes, *, rate, steps=8):
    """Losses on the same images before and after a few steps, in eval mode: no dropout, statistics as they are."""
    optimizer = torch.optim.AdamW(parameters, lr=rate)
    losses = []
    for _ in range(steps + 1):
        loss = loss_of(model, *scenes)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses


def head_of(model):
    """The attached head; in a linear one the module that does the work."""
    (head,) = [module for module in model.modules() if hasattr(module, attach.REPLACED)]
    return head


def projections(model):
    return [p for name, p in head_of(model).named_parameters() if "offset_proj" in name]


# Any model ------------------------------------------------------------------------------------------------------------


def test_the_classifier_is_found_and_replaced_in_place(builder):
    model = built(builder)
    path, layer = final_classifier(model)
    assert path == MODELS[builder] and layer is model.get_submodule(path)
    names = [name for name, _ in model.named_parameters() if not name.startswith(path)]
    assert attach_offset_learning(model) is model
    kind = AlignedMaskPredictor if builder is mask2former else OffsetLearning
    assert type(model.get_submodule(path)) is kind
    assert [name for name, _ in model.named_parameters() if not name.startswith(path)] == names
    assert final_classifier(model) == (path, model.get_submodule(path))


def test_an_identity_start_keeps_the_outputs(builder, scenes):
    images = scenes[0].double()
    model = built(builder, torch.float64)
    before = outputs(model, images)
    after = outputs(attach_offset_learning(model), images)
    assert max(x.std().item() for x in before) > 1e-3  # not all equal, which would prove nothing
    assert difference(before, after) <= 1e-12
    model = built(builder)
    before = outputs(model, scenes[0])
    assert difference(before, outputs(attach_offset_learning(model), scenes[0])) <= 1e-6


def test_the_paper_start_is_the_published_initialisation(builder, scenes):
    model = built(builder)
    before = outputs(model, scenes[0])
    attach_offset_learning(model, start="paper")
    for weight in projections(model):
        assert weight.std().item() == pytest.approx(0.02, rel=0.15) and weight.abs().max() > 0.03
    assert difference(before, outputs(model, scenes[0])) > 1e-4
    again = attach_offset_learning(built(builder), start="paper")
    other = attach_offset_learning(built(builder), start="paper", seed=1)
    assert torch.equal(projections(model)[0], projections(again)[0])
    assert not torch.equal(projections(model)[0], projections(other)[0])


@pytest.mark.parametrize("start", ["identity", "paper"])
def test_fine_tuning_on_scenes_lowers_the_loss(builder, start, scenes):
    model = attach_offset_learning(built(builder), start=start)
    before = [weight.detach().clone() for weight in projections(model)]
    losses = fine_tuned(model, model.parameters(), scenes, rate=2e-3)
    assert losses[-1] < 0.97 * losses[0], losses
    for weight, start_weight in zip(projections(model), before, strict=True):
        assert (weight - start_weight).abs().max() > 1e-3


def test_projections_learn_from_zero_on_their_own(builder, scenes):
    model = attach_offset_learning(built(builder)).requires_grad_(False)
    weights = projections(model)
    for weight in weights:
        assert not weight.any()
        weight.requires_grad_()
    loss_of(model, *scenes).backward()
    assert all(weight.grad.abs().max() > 0 for weight in weights)
    losses = fine_tuned(model, weights, scenes, rate=2e-3)
    assert losses[-1] < losses[0] - 1e-4, losses


def test_detaching_restores_the_model(builder, scenes):
    model = built(builder)
    path, layer = final_classifier(model)
    before, state = outputs(model, scenes[0]), copy.deepcopy(model.state_dict())
    attach_offset_learning(model)
    with torch.no_grad():
        for parameter in projections(model):
            parameter.normal_()
    assert difference(before, outputs(model, scenes[0])) > 1e-3
    assert detach_offset_learning(model) is model
    assert model.get_submodule(path) is layer
    assert list(model.state_dict()) == list(state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert difference(before, outputs(model, scenes[0])) == 0
    attach_offset_learning(model)


def test_the_replaced_layer_is_hidden_but_copied_and_moved(builder):
    model = built(builder)
    path, layer = final_classifier(model)
    kept = copy.deepcopy(layer.state_dict())
    attach_offset_learning(model)
    ids = {id(parameter) for parameter in model.parameters()}
    if builder is not mask2former:  # whose mask embedding MLP stays in use
        assert not ids & {id(parameter) for parameter in layer.parameters()}
        assert layer not in model.modules()
    twin = copy.deepcopy(model).double().train()
    assert final_classifier(twin)[1] is not model.get_submodule(path)
    detach_offset_learning(twin)
    back = twin.get_submodule(path)
    assert back is not layer and type(back) is type(layer) and back.training
    assert {name: tensor.dtype for name, tensor in back.state_dict().items()} == dict.fromkeys(kept, torch.float64)
    assert all(torch.equal(tensor, kept[name].double()) for name, tensor in back.state_dict().items())
    assert hasattr(model.get_submodule(path), attach.REPLACED)  # the copy's detaching left the original alone


def test_a_state_dict_goes_into_another_attached_model(builder, scenes, tmp_path):
    model = attach_offset_learning(built(builder), start="paper")
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    other = attach_offset_learning(builder().eval(), start="paper", seed=5)
    assert difference(outputs(model, scenes[0]), outputs(other, scenes[0])) > 0
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert difference(outputs(model, scenes[0]), outputs(other, scenes[0])) == 0


def test_dtype_mode_and_gradients_follow_the_layer(builder):
    model = built(builder, torch.bfloat16).requires_grad_(False)
    head = head_of(attach_offset_learning(model, start="paper"))
    assert not any(module.training for module in head.modules())
    assert {parameter.dtype for parameter in head.parameters()} == {torch.bfloat16}
    assert not any(parameter.requires_grad for parameter in head.parameters())
    head = head_of(attach_offset_learning(built(builder).train()))
    assert all(module.training for module in head.modules())
    assert all(parameter.requires_grad for parameter in head.parameters())


def test_half_precision(builder, scenes):
    model = built(builder, torch.bfloat16)
    before = outputs(model, scenes[0].bfloat16())
    after = outputs(attach_offset_learning(model), scenes[0].bfloat16())
    assert all(x.dtype == torch.bfloat16 and x.isfinite().all() for x in after)
    scale = max(x.abs().max().item() for x in before)
    assert difference(before, after) <= 0.02 * scale


# Norm, bias, layers ---------------------------------------------------------------------------------------------------


def classifier_of(layer):
    return nn.Sequential(nn.ReLU(), layer)


@pytest.mark.parametrize(
    ("start", "norm", "has_norm", "has_bias"),
    [
        ("identity", None, False, True),
        ("identity", False, False, True),
        ("paper", None, True, False),
        ("paper", True, True, False),
        ("paper", False, False, True),
    ],
)
def test_norm_and_bias(start, norm, has_norm, has_bias):
    layer = nn.Conv2d(11, 3, 1)
    model = attach_offset_learning(classifier_of(layer), norm=norm, start=start)
    names = {name for name, _ in model[1].named_parameters()}
    assert ("norm.weight" in names, "bias" in names) == (has_norm, has_bias)
    assert torch.equal(model[1].class_embedding, layer.weight[:, :, 0, 0])
    if has_bias:
        assert torch.equal(model[1].bias, layer.bias)
    if has_norm:
        assert torch.equal(model[1].norm.weight, torch.ones(3)) and not model[1].norm.bias.any()


def test_a_layer_without_bias_gets_none():
    model = attach_offset_learning(classifier_of(nn.Conv2d(11, 3, 1, bias=False)))
    assert "bias" not in dict(model[1].named_parameters())


def test_a_frozen_bias_stays_frozen():
    layer = nn.Conv2d(11, 3, 1)
    layer.bias.requires_grad_(False)
    head = attach_offset_learning(classifier_of(layer))[1]
    assert head.class_embedding.requires_grad and not head.bias.requires_grad


def test_the_replaced_weights_are_a_copy():
    layer = nn.Conv2d(11, 3, 1)
    head = attach_offset_learning(classifier_of(layer))[1]
    with torch.no_grad():
        head.class_embedding.zero_()
        head.bias.zero_()
    assert layer.weight.any() and layer.bias.any()


@pytest.mark.parametrize("grid", [(35,), (5, 7), (2, 5, 7)])
def test_a_linear_layer_keeps_channels_last(grid):
    model = classifier_of(nn.Linear(11, 3)).double()
    feature = torch.randn(2, *grid, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    before = model(feature)
    attach_offset_learning(model)
    assert type(model[1]) is LinearOffsetLearning
    torch.testing.assert_close(model(feature), before, rtol=0, atol=1e-12)
    detach_offset_learning(model)
    assert torch.equal(model(feature), before)


def test_all_dimensions_in_the_middle_are_positions_of_one_image():
    layer = nn.Linear(11, 3).double()
    convolution = nn.Conv2d(11, 3, 1).double()
    with torch.no_grad():
        convolution.weight.copy_(layer.weight[:, :, None, None])
        convolution.bias.copy_(layer.bias)
    feature = torch.randn(2, 5, 7, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    linear = attach_offset_learning(classifier_of(layer), start="paper", norm=False)
    conv = attach_offset_learning(classifier_of(convolution), start="paper", norm=False)
    with torch.no_grad():
        for mine, theirs in zip(projections(linear), projections(conv), strict=True):
            mine.normal_(generator=torch.Generator().manual_seed(1))
            theirs.copy_(mine)
    expected = conv(feature.movedim(3, 1)).movedim(1, 3)
    torch.testing.assert_close(linear(feature), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(linear(feature.flatten(1, 2)), expected.flatten(1, 2), rtol=0, atol=1e-12)


def test_a_linear_head_learns():
    torch.manual_seed(0)
    model = attach_offset_learning(nn.Sequential(nn.Linear(6, 11), nn.ReLU(), nn.Linear(11, 3)), "2")
    feature, labels = torch.randn(2, 35, 6), torch.randint(0, 3, (2, 35))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(10):
        loss = F.cross_entropy(model(feature).transpose(1, 2), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0] and all(weight.any() for weight in projections(model))


def test_a_linear_layer_on_whole_images_has_no_positions():
    model = attach_offset_learning(classifier_of(nn.Linear(11, 3)))
    with pytest.raises(ModelError, match=r"features with positions.*found \(2, 11\).*classifies whole images"):
        model(torch.zeros(2, 11))


def test_models_of_this_package():
    images = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    for name in ("nano", "segformer-b0"):
        model = load_model(name, num_classes=5)
        whole, before = model.decode_head.classifier, model(images)
        assert final_classifier(model, "decode_head.classifier.classifier") == ("decode_head.classifier", whole)
        attach_offset_learning(model, "decode_head.classifier")
        assert type(model.decode_head.classifier) is OffsetLearning
        assert model.name == name
        assert not any(isinstance(module, nn.Dropout2d) for module in model.decode_head.modules())
        assert (model(images) - before).abs().max() < 1e-5 * before.abs().max()
        detach_offset_learning(model)
        assert model.decode_head.classifier is whole


def test_a_mask2former_of_this_package():
    model = load_model("mask2former-swin-t", num_classes=5)
    images = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    before = model.predict(images), model(images).detach()
    attach_offset_learning(model)
    offset = load_model("mask2former-swin-t-offset", num_classes=5)
    assert model.state_dict().keys() == offset.state_dict().keys()
    assert torch.equal(model.predict(images), before[0]) and (model(images) - before[1]).abs().max() < 1e-5
    with pytest.raises(ModelError, match="its own, built with it"):
        attach_offset_learning(offset)
    assert sum(p.numel() for p in detach_offset_learning(model).parameters()) + 2 * 256**2 == sum(
        p.numel() for p in offset.parameters()
    )


def test_a_layer_used_twice_or_through_a_list_is_replaced_everywhere():
    class Listed(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = [nn.Conv2d(3, 11, 3), nn.Conv2d(11, 3, 1)]
            for position, layer in enumerate(self.layers):
                self.add_module(str(position), layer)
            self.classifier = self.layers[-1]

        def forward(self, x):
            for layer in self.layers:
                x = layer(x)
            return x, self.classifier

    model = attach_offset_learning(Listed())
    layer = getattr(head_of(model), attach.REPLACED)[0]
    assert model.layers[1] is model.classifier is model.get_submodule("1") is head_of(model)
    detach_offset_learning(model)
    assert model.layers[1] is model.classifier is model.get_submodule("1") is layer


def test_the_global_random_state_stays():
    model = classifier_of(nn.Conv2d(11, 3, 1))
    state = torch.get_rng_state()
    attach_offset_learning(model, start="paper")
    assert torch.equal(torch.get_rng_state(), state)


def test_an_attached_model_is_compiled_and_exported_whole():
    model = attach_offset_learning(nn.Sequential(nn.Conv2d(3, 11, 3), nn.ReLU(), nn.Conv2d(11, 3, 1)).eval())
    images = torch.randn(2, 3, 7, 9)
    exported = torch.export.export(model, (images,)).module()
    torch.testing.assert_close(exported(images), model(images))
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(images), model(images))


def test_the_example_of_the_docstring():
    finder = doctest.DocTestFinder(recurse=False)
    (example,) = finder.find(attach_offset_learning, "attach_offset_learning")
    assert doctest.DocTestRunner().run(example).failed == 0 < len(example.examples)


# Finding --------------------------------------------------------------------------------------------------------------


class Net(nn.Module):
    """A model made of parts by name, registered in the order given; called for nothing here."""

    def __init__(self, *, num_classes=None, config=None, classes=None, **parts):
        super().__init__()
        for name, value in {"num_classes": num_classes, "config": config, "classes": classes}.items():
            if value is not None:
                setattr(self, name, value)
        for name, part in parts.items():
            self.add_module(name, part)


def conv(channels, outputs, kernel=1, **options):
    return nn.Conv2d(channels, outputs, kernel, **options)


@pytest.mark.parametrize(
    ("model", "path"),
    [
        (Net(encoder=conv(3, 8, 3), last=conv(8, 5)), "last"),
        (Net(last=conv(8, 5), encoder=conv(3, 8), num_classes=5), "last"),
        (Net(last=conv(8, 5), encoder=conv(3, 8), classes=("a", "b", "c", "d", "e")), "last"),
        (Net(last=conv(8, 5), encoder=conv(3, 8), config=SegformerConfig(num_labels=5)), "last"),
        (Net(module=Net(last=conv(8, 5), encoder=conv(3, 8), num_classes=5)), "module.last"),
        (Net(last=conv(8, 5), aux_head=conv(8, 5), num_classes=5), "last"),
        (Net(encoder=conv(8, 8), classifier=nn.Sequential(conv(8, 8), nn.ReLU(), conv(8, 5))), "classifier.2"),
        (Net(reduce=nn.Sequential(conv(8, 8), nn.BatchNorm2d(8)), last=nn.Linear(8, 5)), "last"),
        (nn.Sequential(conv(3, 8, 3), conv(8, 5), nn.Softmax(dim=1)), "1"),
    ],
)
def test_it_is_found_where_unambiguous(model, path):
    found, layer = final_classifier(model)
    assert found == path and layer is model.get_submodule(path)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            Net(one=conv(8, 5), two=nn.Linear(8, 4)),
            r"2 layers may be the classifier.*'one' \(1x1 convolution, 8 -> 5\), 'two' \(linear layer, 8 -> 4\)",
        ),
        (Net(one=conv(8, 5), two=conv(8, 5), three=conv(8, 4), num_classes=5), r"2 layers.*'one'.*'two' \([^)]*\)$"),
        (Net(**{f"layer{i}": conv(8, 5) for i in range(20)}), r"20 layers.*'layer19' \(.*\), 12 more$"),
        (Net(reduce=conv(8, 5), last=conv(5, 4, 3)), r"no layer is surely.*'reduce' .*'last' is; name"),
        (
            Net(one=conv(8, 4), two=conv(4, 5, 3), num_classes=5),
            r"no classifier found: looked for a 1x1 convolution or linear layer with 5 outputs.*there are 'one' \(",
        ),
        (nn.Sequential(conv(3, 8), nn.BatchNorm2d(8), nn.ReLU(), conv(8, 5, 3)), "no classifier found.*Sequential"),
        (nn.Sequential(nn.ReLU()), r"no classifier found.*followed by other layers of a Sequential$"),
        (nn.Sequential(conv(3, 8, 3), nn.LazyConv2d(5, 1)), "no classifier found"),
        (
            Net(a=load_model("nano", num_classes=5).decode_head, b=load_model("nano", num_classes=4).decode_head),
            r"several classifiers.*'a.classifier' \(PerPixelClassifier\), 'b.classifier'",
        ),
        ("decode_head", r"needed a torch model \(nn.Module\), found str"),
    ],
)
def test_it_says_why_none_is_found(model, message):
    with pytest.raises(ModelError, match=message):
        final_classifier(model)
    with pytest.raises(ModelError, match=message):
        attach_offset_learning(model)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("decode_head.clasifier", r"no module 'decode_head.clasifier'; nearest: 'decode_head.classifier'"),
        ("classifier", r"no module 'classifier'; nearest: .*'decode_head.classifier'"),
        (nn.Conv2d(3, 4, 1), "named by its path, a text .* found Conv2d"),
        ("xyz", r"no module 'xyz'; model.named_modules\(\) lists them"),
        ("decode_head", r"'decode_head' is a SegformerDecodeHead; needed.*inside it are .*'decode_head.classifier'"),
        ("decode_head.batch_norm", r"is a BatchNorm2d; needed a 1x1 convolution \(stride 1, no padding, one group\)"),
    ],
)
def test_it_says_what_is_wrong_with_a_path(path, message):
    with pytest.raises(ModelError, match=message):
        attach_offset_learning(built(segformer), path)


@pytest.mark.parametrize(
    ("layer", "what"),
    [
        (conv(8, 4, 3), "3x3 convolution, 8 -> 4;"),
        (conv(8, 4, (1, 3)), "1x3 convolution, 8 -> 4;"),
        (conv(8, 4, stride=2), r"1x1 convolution, 8 -> 4, stride \(2, 2\);"),
        (conv(8, 4, padding=1), r"1x1 convolution, 8 -> 4, padding \(1, 1\);"),
        (conv(8, 4, groups=2), "1x1 convolution, 8 -> 4, 2 groups;"),
    ],
)
def test_another_convolution_is_told(layer, what):
    with pytest.raises(ModelError, match=f"'1' is a {what}"):
        attach_offset_learning(classifier_of(layer), "1")


# Refusals -------------------------------------------------------------------------------------------------------------


def test_an_unknown_start_lists_the_valid_ones():
    with pytest.raises(
        UnknownNameError, match=r"unknown start 'papers'. Did you mean 'paper'\? Valid: identity, paper"
    ):
        attach_offset_learning(built(sequential), start="papers")


def test_norm_contradicts_an_identity_start():
    model = built(sequential)
    with pytest.raises(ModelError, match='norm=True changes the logits.*start="paper"'):
        attach_offset_learning(model, norm=True)
    assert type(model[5][1]) is nn.Conv2d


@pytest.mark.parametrize("start", ["identity", "paper"])
def test_masks_have_no_norm(start):
    with pytest.raises(ModelError, match="'model.transformer_module.decoder.mask_predictor' predicts masks.*no norm"):
        attach_offset_learning(built(mask2former), norm=True, start=start)
    attach_offset_learning(built(mask2former), norm=False, start=start)


def test_attaching_twice_is_refused(builder):
    model = attach_offset_learning(built(builder))
    for path in (None, MODELS[builder]):
        with pytest.raises(ModelError, match=f"already, at '{MODELS[builder]}', attached: call detach_offset_learning"):
            attach_offset_learning(model, path)
    with pytest.raises(ModelError, match="already, at '1', attached"):
        attach_offset_learning(attach_offset_learning(nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 2))), "0")


def test_a_model_built_with_offset_learning_is_refused_both_ways():
    model = load_model("nano-offset", num_classes=5)
    with pytest.raises(ModelError, match="already, at 'decode_head.classifier', its own, built with it"):
        attach_offset_learning(model)
    with pytest.raises(ModelError, match="no offset learning is attached to this Segmenter; .* its own"):
        detach_offset_learning(model)


def test_detaching_nothing_is_refused(builder):
    with pytest.raises(
        ModelError, match="no offset learning is attached to this .*; call attach_offset_learning first"
    ):
        detach_offset_learning(built(builder))


def test_a_model_that_is_the_layer_is_refused():
    with pytest.raises(ModelError, match=r"itself the classifier \(1x1 convolution, 11 -> 3\).*nn.Sequential"):
        attach_offset_learning(nn.Conv2d(11, 3, 1))
