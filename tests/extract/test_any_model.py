"""Models of transformers and plain torch: their grids, inputs and classes, and what cannot be extracted."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from noise import CLASSES, noise_sample, stirred
from torch import nn
from torch.nn import functional as F
from transformers import (
    ConvNextConfig,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SwinConfig,
    UperNetConfig,
    UperNetForSemanticSegmentation,
)

from offseg_viz.analyze.align import logits, prediction
from offseg_viz.classes import ClassList
from offseg_viz.errors import DataError, ModelError
from offseg_viz.extract.extract import extract
from offseg_viz.extract.grid import grid_of_positions
from offseg_viz.models.attach import attach_offset_learning
from offseg_viz.models.fingerprint import fingerprint
from offseg_viz.normalization import IMAGE_MEAN, IMAGE_STD
from offseg_viz.record import has_offsets

K, WIDTHS, STAGES = len(CLASSES), (8, 16, 24, 32), ["stage1", "stage2", "stage3", "stage4"]


def segformer(**options):
    return SegformerForSemanticSegmentation(
        SegformerConfig(
            hidden_sizes=list(WIDTHS),
            depths=[1] * 4,
            num_attention_heads=[1, 2, 2, 2],
            decoder_hidden_size=24,
            num_labels=K,
            **options,
        )
    )


def upernet(backbone):
    config = UperNetConfig(
        backbone_config=backbone, hidden_size=24, auxiliary_in_channels=24, auxiliary_channels=16, num_labels=K
    )
    return UperNetForSemanticSegmentation(config)


def upernet_convnext():
    return upernet(ConvNextConfig(hidden_sizes=list(WIDTHS), depths=[1] * 4, out_features=STAGES))


def upernet_swin():
    return upernet(SwinConfig(embed_dim=6, depths=[1] * 4, num_heads=[1] * 4, window_size=4, out_features=STAGES))


def sequential():
    """Its classifier is followed by steps without weights, one of them in place."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=4, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(16, K, 1),
        nn.ReLU(inplace=True),
        nn.Upsample(scale_factor=2),
    )


class Tokens(nn.Module):
    """A linear classifier of tokens: a map (1, h, w, C), or a row (1, P, C) with `extra` more in front."""

    def __init__(self, extra=0, row=True, classes=K, patch=8):
        super().__init__()
        self.patches = nn.Conv2d(3, 12, patch, stride=patch)
        self.norm = nn.LayerNorm(12)
        self.classifier = nn.Linear(12, classes)
        self.extra, self.row = extra, row

    def forward(self, images):
        x = self.patches(images).permute(0, 2, 3, 1)  # (B, h, w, C)
        if self.row:
            x = x.flatten(1, 2)  # (B, P, C)
            x = torch.cat([x[:, : self.extra], x], 1)
        return self.classifier(self.norm(x))


def tokens_map():
    return Tokens(row=False)


MODELS = (segformer, upernet_convnext, upernet_swin, sequential, Tokens, tokens_map)


def built(builder, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return builder().eval()


def normalised(image):
    """By the statistics of ImageNet, (1, 3, H, W), in plain numpy."""
    pixels = (image.astype(np.float64) - IMAGE_MEAN) / IMAGE_STD
    return torch.from_numpy(pixels.transpose(2, 0, 1)[None].astype(np.float32))


def number_of_hooks(model):
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


@pytest.mark.parametrize("attached", [False, True], ids=["plain", "attached"])
@pytest.mark.parametrize("builder", MODELS, ids=lambda builder: builder.__name__)
def test_logits_recomputed_from_the_record_equal_the_models_own(builder, attached):
    model = built(builder)
    if attached:
        model = stirred(attach_offset_learning(model, start="paper"))
    given = noise_sample()
    with torch.no_grad():
        out = model(normalised(given.image))
    before, hooks = fingerprint(model), number_of_hooks(model)  # transformers has some of its own
    record = extract(model, given)
    out = getattr(out, "logits", out)[0]  # of the model itself, resized, cut off below zero or with classes last
    mine = torch.from_numpy(logits(record).values)
    if builder is sequential:
        mine = F.interpolate(mine[None].relu(), scale_factor=2)[0]
    elif builder in (Tokens, tokens_map):
        out = out.reshape(12, 16, K).permute(2, 0, 1)
    elif builder in (upernet_convnext, upernet_swin):
        mine = F.interpolate(mine[None], out.shape[1:], mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(mine, out, atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(logits(record), record.logits, atol=1e-5)
    assert has_offsets(record) == attached
    assert fingerprint(model) == before and number_of_hooks(model) == hooks
    if attached:
        assert np.abs(logits(record, "initial") - logits(record)).max() > 0.01


@pytest.mark.parametrize(("builder", "stride"), [(segformer, 4), (Tokens, 8), (tokens_map, 8), (upernet_swin, 4)])
def test_image_feature_and_label_grids_are_matched(builder, stride):
    record = extract(built(builder), noise_sample())
    np.testing.assert_array_equal(record.y, np.arange(96 // stride) * stride + stride / 2)
    np.testing.assert_array_equal(record.x, np.arange(128 // stride) * stride + stride / 2)
    half = stride // 2
    np.testing.assert_array_equal(record.label, noise_sample().label[half::stride, half::stride])
    assert record.attrs["stride"] == [stride, stride] and record.attrs["window"] == [0, 0, 96, 128]
    assert record.attrs["image_size"] == [96, 128] and list(record.cls.values) == list(CLASSES)


def test_a_grid_that_was_rounded_up_covers_the_image_evenly():
    """As the resizing of its logits to the image has it, in transformers and everywhere."""
    record = extract(built(segformer), noise_sample(size=(101, 75)))
    assert dict(record.sizes) | {"y": 26, "x": 19} == dict(record.sizes)
    np.testing.assert_allclose(record.y, (np.arange(26) + 0.5) * 101 / 26)
    np.testing.assert_allclose(record.x, (np.arange(19) + 0.5) * 75 / 19)


def test_the_class_of_a_feature_is_at_its_place():
    """A model that names colours predicts the label map, pixel for pixel."""
    given = noise_sample()
    label = np.where(given.label == 255, 0, given.label)
    palette = (given.classes.palette * 0.9).astype(np.uint8)
    image = palette[label]
    colors = normalised(palette[None])[0, :, 0].T  # (K, 3)
    model = nn.Sequential(nn.AvgPool2d(4), nn.Conv2d(3, K, 1))
    with torch.no_grad():  # nearest colour: 2 c x - |c|^2
        model[1].weight.copy_(2 * colors[:, :, None, None])
        model[1].bias.copy_(-colors.square().sum(1))
    record = extract(model.eval(), type(given)("a", image, label.astype(np.uint8), given.classes, "colours"))
    np.testing.assert_array_equal(prediction(record), record.label)


def test_a_resize_in_preprocess_leaves_places_in_pixels_of_the_image():
    model, given = built(segformer), noise_sample()

    def half(image):
        assert image.shape == (96, 128, 3) and image.dtype == np.uint8
        return F.interpolate(normalised(image), (48, 64), mode="bilinear", align_corners=False)

    record = extract(model, given, preprocess=half)
    assert record.attrs["stride"] == [8, 8] and record.sizes["y"] == 12
    np.testing.assert_array_equal(record.label, given.label[4::8, 4::8])
    with torch.no_grad():
        np.testing.assert_allclose(record.logits, model(half(given.image)).logits[0], atol=1e-6)
    assert record.image.shape == (96, 128, 3)


@pytest.mark.parametrize(
    ("result", "found"),
    [
        (lambda image: image, "ndarray"),
        (lambda image: normalised(image)[0], r"\(3, 96, 128\) torch.float32"),
        (lambda image: torch.from_numpy(image)[None], r"\(1, 96, 128, 3\) torch.uint8"),
        (lambda image: normalised(image).repeat(2, 1, 1, 1), r"\(2, 3, 96, 128\)"),
    ],
)
def test_what_preprocess_must_return(result, found):
    with pytest.raises(ModelError, match=f"preprocess returned {found}.*needed a tensor"):
        extract(built(segformer), noise_sample(), preprocess=result)


def test_the_input_has_the_dtype_of_the_weights():
    model = built(sequential).double()
    given = []
    model[0].register_forward_pre_hook(lambda _, args: given.append(args))
    extract(model, noise_sample())
    ((images,),) = given
    assert images.dtype == torch.float64 and images.shape == (1, 3, 96, 128)
    torch.testing.assert_close(images.float(), normalised(noise_sample().image))


# Classes


@pytest.mark.parametrize("label", [True, False])
def test_the_samples_classes_are_taken_where_they_are_as_many(label):
    assert list(extract(built(sequential), noise_sample(label=label)).cls.values) == list(CLASSES)


def test_else_the_models_classes_or_numbers():
    unnamed = noise_sample(label=False, classes=None)
    names = {0: "wall", 1: "door", 2: "sky", 3: "door", 4: "tree"}
    model = segformer(id2label=names, label2id={})
    found = extract(model, unnamed)
    assert list(found.cls.values) == ["wall", "door (1)", "sky", "door (3)", "tree"]
    model = built(sequential)
    assert list(extract(model, unnamed).cls.values) == list(ClassList.numbered(K))
    model.classes = ["a", "b", "c", "d", "e"]
    assert list(extract(model, unnamed).cls.values) == list("abcde")
    model.classes = ["too", "few"]
    assert list(extract(model, unnamed, classifier="2").cls.values) == list(ClassList.numbered(K))
    model.classes = ClassList(tuple("vwxyz"), CLASSES.colors)
    record = extract(model, unnamed)
    assert list(record.cls.values) == list("vwxyz") and list(record.color.values) == list(CLASSES.colors)


def test_labels_of_another_number_of_classes_are_refused():
    model = Tokens(classes=4).eval()
    with pytest.raises(ModelError, match=r"'s0' of noise has the classes 5 \(sky, road, tree.*the model 4 outputs"):
        extract(model, noise_sample())
    assert extract(model, noise_sample(label=False)).sizes["cls"] == 4


def test_the_name_is_the_models_or_that_of_its_type():
    assert extract(built(segformer), noise_sample()).attrs["model"] == "SegformerForSemanticSegmentation"
    model = built(sequential)
    model.name = "mine"
    record = extract(model, noise_sample())
    assert record.attrs["model"] == "mine" and record.attrs["checkpoint"] == fingerprint(model)


# Which classifier, and what it sees


def test_a_classifier_is_named_by_path_or_looked_for_in_vain():
    model = built(segformer)
    record = extract(model, noise_sample(), classifier="decode_head.classifier")
    np.testing.assert_array_equal(record.feature, extract(model, noise_sample()).feature)
    with pytest.raises(ModelError, match="nearest: 'decode_head.classifier'"):
        extract(model, noise_sample(), classifier="decode_head.clasifier")
    with pytest.raises(ModelError, match="no classifier found"):
        extract(nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU()), noise_sample())
    with pytest.raises(ModelError, match="layer is 3, but 'decode_head.classifier' classifies pixels"):
        extract(model, noise_sample(), layer=3)


def test_a_class_token_among_the_positions_is_told():
    with pytest.raises(ModelError, match="sees 193 positions of an input of 96 x 128 pixels.*is a class token"):
        extract(Tokens(extra=1).eval(), noise_sample())


def test_a_linear_layer_for_whole_images_and_a_classifier_of_crops_are_told():
    whole = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, K)).eval()
    with pytest.raises(ModelError, match=r"'2' sees features \(1, 3\); needed \(1, h, w, C\) or \(1, P, C\)"):
        extract(whole, noise_sample())

    class Crops(nn.Module):
        def __init__(self):
            super().__init__()
            self.classifier = nn.Conv2d(3, K, 1)

        def forward(self, images):
            return self.classifier(torch.cat(images.chunk(2, dim=3)))

    with pytest.raises(ModelError, match=re.escape("'classifier' sees features (2, 3, 96, 64)")):
        extract(Crops(), noise_sample())


def test_a_classifier_may_be_called_by_keyword():
    class ByName(Tokens):
        def forward(self, images):
            return self.classifier(input=self.patches(images).permute(0, 2, 3, 1))

    record = extract(ByName().eval(), noise_sample())
    np.testing.assert_allclose(logits(record), record.logits, atol=1e-5)


def test_a_classifier_that_the_forward_pass_leaves_out_is_told():
    model = built(segformer)
    model.other = nn.Conv2d(7, K, 1)
    with pytest.raises(ModelError, match="did not come by 'other'"):
        extract(model, noise_sample(), classifier="other")


def test_an_error_of_the_model_itself_comes_as_it_is():
    model = nn.Sequential(nn.Conv2d(7, K, 1))
    with pytest.raises(RuntimeError, match="to have 7 channels, but got 3"):
        extract(model, noise_sample())
    assert not model[0]._forward_pre_hooks


def test_small_images_are_the_models_own_affair_unless_it_is_of_this_package():
    record = extract(built(sequential), noise_sample(size=(20, 24)))
    assert record.sizes["y"] == 5 and record.sizes["x"] == 6
    with pytest.raises(DataError, match="needs a Sample"):
        extract(built(sequential), SimpleNamespace(image=np.zeros((20, 24, 3), np.uint8)))


# Grids of positions in a row


@pytest.mark.parametrize("stride", [1, 3, 4, 8, 14, 16])
@pytest.mark.parametrize(("height", "width"), [(96, 128), (224, 224), (101, 75), (512, 683), (130, 64), (33, 300)])
def test_the_grid_of_any_stride_is_found_from_its_number_of_positions(height, width, stride):
    up, down = (-(-height // stride), -(-width // stride)), (height // stride, width // stride)
    for rows, columns in {up, down}:
        found = grid_of_positions(rows * columns, height, width)
        assert found == (rows, columns) or abs(np.log(height / found[0] * found[1] / width)) <= abs(
            np.log(height / rows * columns / width)
        )


@pytest.mark.parametrize(("positions", "side"), [(197, 224), (1370, 518), (201, 224), (577, 384), (1025, 512)])
def test_positions_with_class_or_register_tokens_make_no_grid(positions, side):
    with pytest.raises(ModelError, match="make no grid"):
        grid_of_positions(positions, side, side)
