"""Windows, resizing, flips and scales against plain loops, and the sliding window against the authors' code."""

from itertools import product

import cv2
import numpy as np
import pytest
import torch
from shared_data import reference_input, reference_state_dict, shared
from torch.nn import functional as F

from offseg_viz.errors import ModelError
from offseg_viz.models.official.loading import load_official_weights
from offseg_viz.models.zoo import load_model
from offseg_viz.pipeline.inference import (
    TestMode,
    image_logits,
    predicted_classes,
    sliding_window_logits,
    window_places,
)

CLASSES = 5


@pytest.fixture(scope="module", params=["nano", "nano-offset"])
def model(request):
    """A network of which every weight counts; with offset learning a window's logits depend on the whole window."""
    model = load_model(request.param, num_classes=CLASSES)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * parameter.std().nan_to_num(0.3) * torch.randn(parameter.shape, generator=generator))
    return model


def picture(height, width, seed=0):
    """Areas and noise, uint8 (H, W, 3)."""
    rng = np.random.default_rng(seed)
    coarse = np.kron(rng.integers(0, 200, (-(-height // 16), -(-width // 16), 3)), np.ones((16, 16, 1), int))
    return (coarse[:height, :width] + rng.integers(0, 56, (height, width, 3))).astype(np.uint8)


@torch.no_grad()
def whole_logits(model, image):
    return model.upsampled_logits(model.normalize(image))[0]  # (K, H, W)


def softmax(logits):
    powers = np.exp(np.asarray(logits, dtype=np.float64))
    return powers / powers.sum(axis=0)


def taps(length, wanted):
    """For each of `wanted` pixels the two of `length` it is mixed from and the second's share: half-pixel centres."""
    for i in range(wanted):
        place = min(max((i + 0.5) * length / wanted - 0.5, 0), length - 1)
        low = int(place)
        yield low, min(low + 1, length - 1), place - low


def bilinear(values, height, width):
    """(rows, columns, ...) float to (height, width, ...), pixel by pixel."""
    result = np.zeros((height, width, *values.shape[2:]))
    for y, (top, bottom, down) in enumerate(taps(values.shape[0], height)):
        for x, (left, right, along) in enumerate(taps(values.shape[1], width)):
            above = values[top, left] * (1 - along) + values[top, right] * along
            below = values[bottom, left] * (1 - along) + values[bottom, right] * along
            result[y, x] = above * (1 - down) + below * down
    return result


# Windows


def test_windows_cover_the_side_and_stay_inside():
    for side, window in product(range(1, 50), range(1, 31)):
        for stride in range(1, window + 1):
            places = window_places(side, window, stride)
            assert len(places) == max(side - window + stride - 1, 0) // stride + 1
            assert places[0] == 0 and places == sorted(set(places))
            assert {pixel for start in places for pixel in range(start, start + window)} >= set(range(side))
            if side >= window:
                assert places[-1] == side - window
            # every window starts on the stride, but for the last
            assert all(start == i * stride for i, start in enumerate(places[:-1]))


@pytest.mark.parametrize(
    ("numbers", "places"),
    [
        ((704, 512, 480), [0, 192]),
        ((683, 512, 480), [0, 171]),
        ((512, 512, 480), [0]),
        ((300, 512, 480), [0]),
        ((992, 512, 480), [0, 480]),
        ((993, 512, 480), [0, 480, 481]),
        ((2048, 1024, 768), [0, 768, 1024]),
        ((520, 480, 320), [0, 40]),
    ],
)
def test_windows_of_the_recipes(numbers, places):
    assert window_places(*numbers) == places


@pytest.mark.parametrize("numbers", [(0, 5, 3), (9, 0, 3), (9, 5, 0), (9, 5, 6)])
def test_bad_windows(numbers):
    with pytest.raises(ModelError, match="needed 1"):
        window_places(*numbers)


@pytest.mark.parametrize("window", [(75, 101), (80, 128), (75, 400)])
def test_one_window_is_the_whole_image(model, window):
    image = picture(75, 101)
    found = image_logits(model, image, TestMode(window=window, stride=(40, 64)))
    assert torch.equal(found, whole_logits(model, image))


@pytest.mark.parametrize(
    ("size", "window", "stride"),
    [((75, 101), (48, 64), (20, 33)), ((64, 130), (64, 70), (64, 30)), ((40, 99), (50, 33), (17, 33))],
)
def test_overlapping_windows_are_averaged_pixel_by_pixel(model, size, window, stride):
    images = model.normalize(np.stack([picture(*size, seed=1), picture(*size, seed=2)]))
    found = sliding_window_logits(model, images, window=window, stride=stride)
    assert found.shape == (2, CLASSES, *size)
    (height, width), (rows, columns) = size, window
    logits = {}
    for top, left in product(range(0, height, stride[0]), range(0, width, stride[1])):
        top, left = max(min(top, height - rows), 0), max(min(left, width - columns), 0)
        with torch.no_grad():
            crop = images[:, :, top : top + rows, left : left + columns]
            logits[top, left] = model.upsampled_logits(crop).double().numpy()
    assert len(logits) > 1
    expected = np.zeros((2, CLASSES, height, width))
    for y, x in product(range(height), range(width)):
        seen = [
            part[:, :, y - top, x - left]
            for (top, left), part in logits.items()
            if 0 <= y - top < rows and 0 <= x - left < columns
        ]
        expected[:, :, y, x] = sum(seen) / len(seen)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_sliding_window_equals_the_release():
    vectors = np.load(shared("reference/offseg-t_ade20k.npz"))
    stored = {name.removeprefix("slide512x704/"): vectors[name] for name in vectors.files if name.startswith("slide")}
    model = load_official_weights(load_model("offseg-t", num_classes=150), reference_state_dict("offseg-t_ade20k"))
    logits = sliding_window_logits(model, reference_input(512, 704), window=(512, 512), stride=(480, 480))[0]
    assert logits.shape == (150, 512, 704)
    np.testing.assert_array_equal(logits.argmax(0)[::8, ::8], stored["argmax_every8"])
    difference = np.abs(logits.flatten(1).T.numpy()[stored["pos"]] - stored["logits"])
    assert difference.max() < 1e-4 and difference.mean() < 1e-5
    exact = logits.double()
    statistics = torch.stack([exact.mean(), exact.std(correction=0), exact.min(), exact.max()])
    np.testing.assert_allclose(statistics, stored["logits_stats"], atol=1e-4)


# The size of an image


@pytest.mark.parametrize(
    ("size", "box", "expected"),
    [
        ((512, 683), (2048, 512), (512, 683)),
        ((480, 640), (2048, 512), (512, 683)),  # 682.67
        ((640, 480), (2048, 512), (683, 512)),
        ((97, 640), (2048, 512), (310, 2048)),  # the long side decides; 310.4
        ((640, 97), (512, 2048), (2048, 310)),  # either order of the box
        ((375, 500), (520, 520), (390, 520)),
        ((1024, 2048), (2048, 1024), (1024, 2048)),
    ],
)
def test_boxes_of_the_recipes(size, box, expected):
    assert TestMode(resize=box).size(*size) == expected


def test_an_image_is_fitted_into_the_box():
    mode = TestMode(resize=(97, 53))
    for height, width in product(range(33, 160, 7), range(35, 160, 11)):
        found = mode.size(height, width)
        long, short = max(found), min(found)
        assert long <= 97 and short <= 53 and (long == 97 or short == 53)
        assert (found[0] > found[1]) == (height > width) or abs(height - width) < 3
        # the aspect ratio is kept to half a pixel of either side
        assert abs(found[0] * width - found[1] * height) <= 0.5 * (width + height) + 1e-6


@pytest.mark.parametrize(("scale", "expected"), [(0.5, (38, 51)), (0.75, (56, 76)), (1, (75, 101)), (1.75, (131, 177))])
def test_scales_of_the_own_size_are_rounded(scale, expected):
    assert TestMode().size(75, 101, scale) == expected


def test_scales_multiply_the_box():
    mode = TestMode(resize=(2048, 512))
    assert mode.size(375, 500, 0.5) == TestMode(resize=(1024, 256)).size(375, 500) == (256, 341)
    assert mode.size(375, 500, 1.75) == TestMode(resize=(3584, 896)).size(375, 500) == (896, 1195)


@pytest.mark.parametrize("size", [(41, 67), (113, 77)])
def test_resized_image_and_logits_equal_loops(model, size):
    """Grey levels differ by one at most from exact interpolation; logits are compared for the image that cv2 makes."""
    image, seen, (height, width) = picture(*size), [], size
    mode = TestMode(resize=(90, 50))
    hook = model.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        found = image_logits(model, image, mode)
    finally:
        hook.remove()
    rows, columns = mode.size(height, width)
    assert (rows, columns) != size and found.shape == (CLASSES, height, width)
    mean, std = np.array(model.mean), np.array(model.std)
    levels = seen[0][0, :, :rows, :columns].permute(1, 2, 0).double().numpy() * std + mean
    np.testing.assert_allclose(levels, levels.round(), atol=1e-3)
    assert np.abs(levels - bilinear(image.astype(float), rows, columns)).max() < 1.01
    logits = whole_logits(model, levels.round().astype(np.uint8)).permute(1, 2, 0).double().numpy()
    np.testing.assert_allclose(found.permute(1, 2, 0), bilinear(logits, height, width), atol=1e-5)


def test_windows_slide_over_the_resized_image(model):
    image = picture(60, 80)
    found = image_logits(model, image, TestMode(resize=(200, 90), window=(64, 64), stride=(26, 28)))
    larger = model.normalize(cv2.resize(image, (120, 90), interpolation=cv2.INTER_LINEAR))
    slid = sliding_window_logits(model, larger, window=(64, 64), stride=(26, 28))
    expected = F.interpolate(slid, (60, 80), mode="bilinear", align_corners=False)[0]
    assert torch.equal(found, expected)


# Predictions


@pytest.mark.parametrize("size", [(64, 96), (75, 101)])
def test_by_default_the_prediction_of_the_model(model, size):
    image = picture(*size)
    expected = model.predict(model.normalize(image))[0]
    for given in (image, torch.from_numpy(image), image[::-1].copy()[::-1]):  # the last one has negative strides
        assert torch.equal(predicted_classes(model, given), expected)
        assert torch.equal(image_logits(model, given), whole_logits(model, image))
    assert expected.dtype == torch.int64 and len(expected.unique()) > 1


def test_predicted_classes_are_the_arg_max_in_every_mode(model):
    image = picture(70, 90)
    mode = TestMode(resize=(150, 100), window=(64, 80), stride=(60, 70), scales=(0.75, 1.5), flip=True)
    found = predicted_classes(model, image, mode)
    assert found.shape == (70, 90) and found.dtype == torch.int64
    assert torch.equal(found, image_logits(model, image, mode).argmax(0))


def test_flip_averages_the_image_and_its_mirror(model):
    image = picture(75, 101)
    found = image_logits(model, image, TestMode(flip=True))
    mirrored = whole_logits(model, image[:, ::-1].copy())
    expected = (softmax(whole_logits(model, image)) + softmax(mirrored)[:, :, ::-1]) / 2
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(softmax(whole_logits(model, image)) - expected).max() > 1e-3
    again = image_logits(model, image[:, ::-1], TestMode(flip=True))
    np.testing.assert_allclose(again.flip(2), found, atol=1e-5)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("box", [None, (130, 70)])
def test_scales_are_averaged_as_probabilities(model, box, flip):
    image, scales = picture(61, 83), (0.75, 1.0, 1.5)
    found = image_logits(model, image, TestMode(resize=box, scales=scales, flip=flip))
    expected = []
    for scale, mirror in product(scales, (1, -1) if flip else (1,)):
        factor = scale if box is None else scale * min(max(box) / 83, min(box) / 61)
        size = int(83 * factor + 0.5), int(61 * factor + 0.5)
        resized = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)[:, ::mirror].copy()
        logits = whole_logits(model, resized).permute(1, 2, 0).double().numpy()[:, ::mirror]
        expected.append(softmax(bilinear(logits, 61, 83).transpose(2, 0, 1)))
    np.testing.assert_allclose(found, sum(expected) / len(expected), atol=1e-5)
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-5)


def test_a_single_scale_gives_logits(model):
    image = picture(64, 96)
    resized = cv2.resize(image, (48, 32), interpolation=cv2.INTER_LINEAR)
    expected = F.interpolate(whole_logits(model, resized)[None], (64, 96), mode="bilinear", align_corners=False)[0]
    assert torch.equal(image_logits(model, image, TestMode(scales=(0.5,))), expected)


def test_class_maps_of_mask_classification_are_averaged_as_they_are():
    model, image = load_model("mask2former-swin-t", num_classes=CLASSES), picture(64, 96)
    found = image_logits(model, image, TestMode(flip=True))
    expected = (whole_logits(model, image) + whole_logits(model, image[:, ::-1].copy()).flip(2)) / 2
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)
    assert (found.sum(0) - 1).abs().max() > 0.1  # no probabilities


def test_half_precision(model):
    low = load_model(model.name, num_classes=CLASSES)
    low.load_state_dict(model.state_dict())
    low, image = low.bfloat16(), picture(64, 96)
    mode = TestMode(window=(48, 64), stride=(16, 32), scales=(1.0, 1.5), flip=True)
    found, expected = image_logits(low, image, mode), image_logits(model, image, mode)
    assert found.dtype == torch.float32
    assert (found - expected).abs().mean() < 0.02


def test_nothing_given_is_changed_and_no_graph_is_kept(model):
    image = picture(64, 96)
    copy = image.copy()
    found = image_logits(model, torch.from_numpy(image), TestMode(scales=(1, 0.5), flip=True))
    np.testing.assert_array_equal(image, copy)
    assert not found.requires_grad
    images = model.normalize(image)
    before = images.clone()
    assert not sliding_window_logits(model, images, window=(32, 64), stride=(32, 32)).requires_grad
    assert torch.equal(images, before)


# Bad input


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"resize": (512, 31)}, r"resize is \(512, 31\); needed two whole numbers of 32 pixels or more"),
        ({"resize": 512}, "resize is 512; needed two"),
        ({"resize": (512.0, 512)}, "needed two whole numbers"),
        ({"window": (512, 512)}, "needed both"),
        ({"stride": (512, 512)}, "needed both"),
        ({"window": (16, 512), "stride": (16, 16)}, r"window is \(16, 512\)"),
        ({"window": (512,), "stride": (480, 480)}, r"window is \(512,\)"),
        ({"window": (512, 512), "stride": (480, 0)}, r"stride is \(480, 0\); needed two whole numbers of 1"),
        ({"window": (512, 256), "stride": (480, 480)}, "a stride of 480 leaves gaps between windows of 256"),
        ({"scales": ()}, "one factor or more"),
        ({"scales": 1.0}, "needed a tuple"),
        ({"scales": (1.0, 0)}, "factors above 0"),
        ({"scales": (float("nan"),)}, "factors above 0"),
        ({"scales": (float("inf"),)}, "factors above 0"),
        ({"scales": ("1",)}, "factors above 0"),
        ({"flip": 1}, "flip is 1; needed True or False"),
    ],
)
def test_bad_modes_say_what_is_needed(values, words):
    with pytest.raises(ModelError, match=words):
        TestMode(**values)


@pytest.mark.parametrize(
    ("image", "mode", "words"),
    [
        (np.zeros((1, 64, 64, 3), np.uint8), TestMode(), r"one uint8 RGB image \(H, W, 3\)"),
        (np.zeros((64, 64), np.uint8), TestMode(), r"one uint8 RGB image \(H, W, 3\)"),
        (np.zeros((64, 64, 4), np.uint8), TestMode(), "uint8 RGB"),
        (np.zeros((64, 64, 3), np.float32), TestMode(), "uint8 RGB"),
        (np.zeros((64, 64, 4), np.uint8), TestMode(scales=(2.0,)), "uint8 RGB"),
        (np.zeros((64, 64, 3), np.float32), TestMode(scales=(2.0,)), "uint8 RGB"),
        (np.zeros((20, 64, 3), np.uint8), TestMode(), "too small"),
        (np.zeros((64, 90, 3), np.uint8), TestMode(scales=(1.0, 0.25)), "64 high and 90 wide is resized to 16 x 23"),
        (np.zeros((40, 900, 3), np.uint8), TestMode(resize=(300, 200)), "a larger box or scale"),
    ],
)
def test_bad_images_say_what_is_needed(image, mode, words):
    model = load_model("nano", num_classes=CLASSES)
    with pytest.raises(ModelError, match=words):
        image_logits(model, image, mode)


def test_padding_before_windows_moves_the_last_window_to_the_padded_edge():
    model = load_model("nano", num_classes=5, seed=1)
    image = np.random.default_rng(3).integers(0, 256, (70, 130, 3), dtype=np.uint8)
    mode = TestMode(window=(64, 64), stride=(48, 48), pad=True)
    padded = torch.nn.functional.pad(model.normalize(image), (0, 30, 0, 26))  # 96 x 160
    expected = sliding_window_logits(model, padded, window=(64, 64), stride=(48, 48))[0, :, :70, :130]
    assert torch.equal(image_logits(model, image, mode), expected)
    assert not torch.equal(image_logits(model, image, TestMode(window=(64, 64), stride=(48, 48))), expected)
