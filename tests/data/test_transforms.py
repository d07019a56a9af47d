"""Augmentation: image and label stay in step, labels are never mixed, the photometric steps equal a slow replica."""

import colorsys

import cv2
import numpy as np
import pytest

from offseg_viz.data import transforms as T
from offseg_viz.data.transforms import TrainTransform
from offseg_viz.errors import DataError
from offseg_viz.normalization import IMAGE_MEAN, IMAGE_STD

COLOR_OF = np.random.default_rng(7).integers(0, 256, (256, 3), dtype=np.uint8)
COLOR_OF[:, 0] = np.arange(256)  # the red channel alone tells the label


def rng(seed=0):
    return np.random.default_rng(seed)


def blocks(height, width, *, classes=9, block=12, seed=0):
    """A label of square blocks and an image whose colour is a function of the label."""
    small = rng(seed).integers(0, classes, (-(-height // block), -(-width // block)), dtype=np.uint8)
    small[rng(seed + 1).random(small.shape) < 0.1] = 255
    label = np.kron(small, np.ones((block, block), np.uint8))[:height, :width]
    return COLOR_OF[label], label


def noise(height, width, seed=0):
    return rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


# --- image and label in step -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_without_scaling_every_pixel_keeps_its_label(seed):
    image, label = blocks(61, 83, seed=seed)
    transform = TrainTransform((40, 100), scale=(1, 1), photometric=False)
    image_out, label_out = transform(image, label, rng(seed))
    inside = label_out[:, :83]
    np.testing.assert_array_equal(image_out[:, :83], COLOR_OF[inside])
    assert (label_out[:, 83:] == 255).all() and (image_out[:, 83:] == T.PAD_COLOR).all()


@pytest.mark.parametrize("seed", range(24))
def test_with_scaling_pixels_away_from_borders_keep_their_label(seed):
    image, label = blocks(96, 132, seed=seed)  # whole blocks: a row of one pixel may vanish from the label alone
    transform = TrainTransform((64, 80), scale=(0.5, 2.0), photometric=False)
    image_out, label_out = transform(image, label, rng(seed))
    assert image_out.shape == (64, 80, 3) and label_out.shape == (64, 80)
    # Bilinear weights reach two cells at most when halving: compare where the label is constant around a pixel.
    same = cv2.dilate(label_out, np.ones((5, 5), np.uint8)) == cv2.erode(label_out, np.ones((5, 5), np.uint8))
    same[[0, 1, -1, -2]] = same[:, [0, 1, -1, -2]] = False  # what lies beyond the rim was cropped away
    padded = (image_out == T.PAD_COLOR).all(axis=-1)
    checked = same & ~padded
    assert checked.sum() > 0.2 * (~padded).sum()
    np.testing.assert_array_equal(image_out[checked], COLOR_OF[label_out[checked]])


def test_label_values_are_never_mixed():
    image, label = blocks(50, 70, block=1)
    label[label == 8] = 200
    for seed in range(30):
        out = TrainTransform((45, 66))(image, label, rng(seed))[1]
        assert set(np.unique(out)) <= set(np.unique(label))
        assert out.dtype == np.uint8


def test_flip_mirrors_both_and_happens_with_its_probability():
    image, label = blocks(13, 17, block=2)
    flipped = T.random_flip(image, label, rng(), probability=1)
    np.testing.assert_array_equal(flipped[0], image[:, ::-1])
    np.testing.assert_array_equal(flipped[1], label[:, ::-1])
    kept = T.random_flip(image, label, rng(), probability=0)
    np.testing.assert_array_equal(kept[0], image)
    generator = rng(3)
    count = sum((T.random_flip(image, label, generator, probability=0.3)[1] != label).any() for _ in range(1000))
    assert 250 < count < 350  # 300 expected, standard deviation 14.5


# --- scale -----------------------------------------------------------------------------------------------------------


def test_scale_keeps_the_ratio_and_covers_its_range():
    image, label = blocks(120, 200)
    generator, heights = rng(), []
    for _ in range(300):
        out, label_out = T.random_scale(image, label, generator, scale=(0.5, 2.0))
        assert out.shape[:2] == label_out.shape
        assert abs(label_out.shape[1] - label_out.shape[0] * 200 / 120) <= 1.5
        heights.append(label_out.shape[0])
    assert 59 <= min(heights) < 66 and 234 < max(heights) <= 240
    assert 140 < np.mean(heights) < 160  # uniform in the factor: mean 1.25 * 120


def test_scale_follows_the_recipe_in_whole_pixels():
    # 1024 x 2048 with factor 0.7313: target 748 x 1497, the smaller factor 748/1024 gives 748 x 1496.
    label = np.zeros((1024, 2048), np.uint8)
    image = np.zeros((1024, 2048, 3), np.uint8)
    assert T.random_scale(image, label, rng(), scale=(0.7313, 0.7313))[1].shape == (748, 1496)


def test_scale_of_one_changes_nothing_and_a_tiny_image_keeps_a_pixel():
    image, label = blocks(9, 11, block=2)
    out = T.random_scale(image, label, rng(), scale=(1, 1))
    np.testing.assert_array_equal(out[0], image)
    np.testing.assert_array_equal(out[1], label)
    assert T.random_scale(image[:1, :3], label[:1, :3], rng(), scale=(0.2, 0.2))[1].shape == (1, 1)


# --- crop ------------------------------------------------------------------------------------------------------------


def test_crop_reaches_every_position_and_keeps_a_short_side():
    label = np.arange(5 * 7, dtype=np.uint8).reshape(5, 7)
    image = COLOR_OF[label]
    generator, corners = rng(), set()
    for _ in range(400):
        image_out, label_out = T.random_crop(image, label, generator, size=(3, 5))
        assert label_out.shape == (3, 5)
        np.testing.assert_array_equal(image_out, COLOR_OF[label_out])
        corners.add(divmod(int(label_out[0, 0]), 7))
    assert corners == {(top, left) for top in range(3) for left in range(3)}
    assert T.random_crop(image, label, rng(), size=(9, 4))[1].shape == (5, 4)


def scripted(offsets):
    """A generator whose integers come from a list; fails when asked for more."""

    class Scripted:
        drawn = iter([value for offset in offsets for value in offset])

        def integers(self, low, high):
            value = next(self.drawn)
            assert low <= value < high
            return value

    return Scripted()


def crop_corner(label, offsets, *, ratio, size=(2, 4)):
    position = np.arange(label.size).reshape(label.shape).astype(np.uint8)
    image = np.repeat(position[..., None], 3, axis=2)
    generator = scripted(offsets)
    out = T.random_crop(image, label, generator, size=size, cat_max_ratio=ratio)[0]
    assert next(generator.drawn, None) is None, "fewer windows were drawn than expected"
    return divmod(int(out[0, 0, 0]), label.shape[1])


def test_cat_max_ratio_rejects_one_class_and_accepts_a_mixture():
    label = np.zeros((8, 9), np.uint8)
    label[4:, 4:] = 1
    label[0:2, 0:4] = 255
    # Nothing labelled; one class; a share of exactly 6/8 = 0.75; 5/8 with the last window accepted.
    label[2:4, 5:9] = [[0, 0, 0, 1], [0, 0, 0, 1]]
    label[6:8, 0:4] = [[0, 0, 0, 1], [0, 0, 1, 1]]
    offsets = [(0, 0), (4, 0), (2, 5), (6, 0)]
    assert crop_corner(label, offsets, ratio=0.75) == (6, 0)
    assert crop_corner(label, offsets[:3], ratio=0.76) == (2, 5)
    assert crop_corner(label, offsets[:1], ratio=1.0) == (0, 0)


def test_cat_max_ratio_counts_labelled_pixels_only():
    label = np.full((8, 9), 255, np.uint8)
    label[0, :4] = [0, 0, 0, 1]  # 3 of 4 labelled pixels, though 3 of 8 pixels
    label[4, :4] = [0, 0, 1, 1]
    assert crop_corner(label, [(0, 0), (4, 0)], ratio=0.75) == (4, 0)


def test_cat_max_ratio_looks_at_ten_windows_and_takes_the_eleventh_unseen():
    label = np.zeros((8, 9), np.uint8)
    offsets = [(k % 6, k % 5) for k in range(10)] + [(6, 5)]
    assert crop_corner(label, offsets, ratio=0.75) == (6, 5)


# --- padding ---------------------------------------------------------------------------------------------------------


def test_padding_is_bottom_right_mean_colour_and_255():
    image, label = noise(5, 7), np.ones((5, 7), np.uint8)
    image_out, label_out = T.pad(image, label, size=(8, 9))
    np.testing.assert_array_equal(image_out[:5, :7], image)
    np.testing.assert_array_equal(label_out[:5, :7], label)
    outside = np.ones((8, 9), bool)
    outside[:5, :7] = False
    assert (label_out[outside] == 255).all()
    normalised = (image_out[outside] - np.array(IMAGE_MEAN)) / np.array(IMAGE_STD)
    assert np.abs(normalised).max() < 0.01
    np.testing.assert_array_equal(T.pad(image, label, size=(5, 7))[0], image)


def test_padding_stays_bottom_right_and_undistorted_after_flip_and_photometric_steps():
    image, label = blocks(20, 30)
    for seed in range(20):
        transform = TrainTransform((48, 64), scale=(1, 1), flip=1.0)
        image_out, label_out = transform(image, label, rng(seed))
        np.testing.assert_array_equal(label_out[:20, :30], label[:, ::-1])
        assert (label_out[20:] == 255).all() and (label_out[:, 30:] == 255).all()
        assert (image_out[20:] == (124, 116, 104)).all() and (image_out[:, 30:] == (124, 116, 104)).all()


# --- photometric distortion ------------------------------------------------------------------------------------------


def replica_linear(bgr, *, factor=1.0, delta=0.0, channels=(0, 1, 2)):
    """float32, clipped to 0 .. 255, cut to uint8, one pixel and one channel at a time."""
    out = bgr.copy()
    for y in range(bgr.shape[0]):
        for x in range(bgr.shape[1]):
            for c in channels:
                value = np.float32(bgr[y, x, c]) * np.float32(factor) + np.float32(delta)
                out[y, x, c] = int(min(max(value, 0), 255))
    return out


def replica_saturation(bgr, factor):
    hsv = cv2.cvtColor(bgr, cv2.COLOR_BGR2HSV)
    return cv2.cvtColor(replica_linear(hsv, factor=factor, channels=(1,)), cv2.COLOR_HSV2BGR)


def replica_hue(bgr, shift):
    hsv = cv2.cvtColor(bgr, cv2.COLOR_BGR2HSV)
    for y in range(hsv.shape[0]):
        for x in range(hsv.shape[1]):
            hsv[y, x, 0] = (int(hsv[y, x, 0]) + shift) % 180
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)


def test_each_step_equals_its_replica_on_bgr():
    image = noise(16, 19)
    bgr = np.ascontiguousarray(image[..., ::-1])
    for delta in (-32.0, -7.3, 0.0, 0.999, 31.7):
        expected = replica_linear(bgr, delta=delta)[..., ::-1]
        np.testing.assert_array_equal(T.brightness(image, delta=delta), expected)
    for factor in (0.5, 0.731, 1.0, 1.4999):
        np.testing.assert_array_equal(T.contrast(image, factor=factor), replica_linear(bgr, factor=factor)[..., ::-1])
        np.testing.assert_array_equal(T.saturation(image, factor=factor), replica_saturation(bgr, factor)[..., ::-1])
    for shift in (-18, -1, 0, 17):
        np.testing.assert_array_equal(T.hue(image, shift=shift), replica_hue(bgr, shift)[..., ::-1])


class Script:
    """Stands for a generator: coins, uniforms and integers in the order they are to be drawn."""

    def __init__(self, *draws):
        self.draws = list(draws)

    def _next(self, kind):
        assert self.draws, f"one more {kind} was drawn than expected"
        found, value = self.draws.pop(0)
        assert found == kind, f"{kind} was drawn where {found} was expected"
        return value

    def random(self):
        return 0.2 if self._next("coin") else 0.8

    def uniform(self, low, high):
        kind = {(-32, 32): "brightness", (0.5, 1.5): "factor"}[low, high]
        return self._next(kind)

    def integers(self, low, high):
        assert (low, high) == (-18, 18)
        return self._next("hue")


def test_all_steps_in_the_order_of_the_recipe():
    image = noise(12, 15, seed=4)
    bgr = np.ascontiguousarray(image[..., ::-1])
    bright = replica_linear(bgr, delta=21.4)
    first = replica_hue(replica_saturation(replica_linear(bright, factor=1.37), 0.62), -11)
    last = replica_linear(replica_hue(replica_saturation(bright, 0.62), -11), factor=1.37)
    assert (first != last).any()
    script = Script(
        ("coin", True), ("brightness", 21.4), ("coin", False), ("coin", True), ("factor", 1.37),
        ("coin", True), ("factor", 0.62), ("coin", True), ("hue", -11),
    )  # fmt: skip
    np.testing.assert_array_equal(T.photometric_distortion(image, script), first[..., ::-1])
    assert script.draws == []
    script = Script(
        ("coin", True), ("brightness", 21.4), ("coin", True), ("coin", True),
        ("coin", True), ("factor", 0.62), ("coin", True), ("hue", -11), ("factor", 1.37),
    )  # fmt: skip
    np.testing.assert_array_equal(T.photometric_distortion(image, script), last[..., ::-1])
    assert script.draws == []


def test_no_step_drawn_leaves_the_image_and_returns_a_copy():
    image = noise(5, 7)
    out = T.photometric_distortion(image, Script(*[("coin", False)] * 5))
    np.testing.assert_array_equal(out, image)
    assert not np.shares_memory(out, image)


def test_each_step_is_drawn_half_of_the_time(monkeypatch):
    drawn = {name: 0 for name in ("brightness", "contrast", "saturation", "hue")}
    for name in drawn:

        def count(image, name=name, **_):
            drawn[name] += 1
            return image

        monkeypatch.setattr(T, name, count)
    generator, image = rng(5), noise(2, 3)
    for _ in range(2000):
        T.photometric_distortion(image, generator)
    assert all(900 < count < 1100 for count in drawn.values()), drawn  # 1000 expected, standard deviation 22


def test_hue_and_saturation_mean_what_they_say():
    image = noise(11, 13, seed=2) // 2 + 60
    for turned, change in (
        (T.hue(image, shift=15), lambda h, s, v: ((h + 15 / 180) % 1, s, v)),
        (T.saturation(image, factor=0.5), lambda h, s, v: (h, 0.5 * s, v)),
    ):
        expected = np.array(
            [[colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*(pixel / 255)))) for pixel in row] for row in image]
        )
        assert np.abs(255 * expected - turned).max() < 6  # 8-bit HSV holds hue in steps of two degrees
        assert np.abs(255 * expected - image).max() > 20


# --- the whole -------------------------------------------------------------------------------------------------------


def test_the_same_generator_state_gives_the_same_pair():
    image, label = noise(60, 80), blocks(60, 80)[1]
    transform = TrainTransform((48, 50))
    first, again, other = (transform(image, label, rng(seed)) for seed in (11, 11, 12))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert (first[0] != other[0]).any()


@pytest.mark.parametrize("crop", [(60, 80), (30, 41), (90, 100)])
def test_input_is_left_alone_and_output_is_new_memory(crop):
    image, label = noise(60, 80), blocks(60, 80)[1]
    image.flags.writeable = label.flags.writeable = False
    before = image.copy(), label.copy()
    for seed in range(10):
        for transform in (TrainTransform(crop), TrainTransform(crop, scale=(1, 1), flip=0, photometric=False)):
            image_out, label_out = transform(image, label, rng(seed))
            assert image_out.shape == (*crop, 3) and label_out.shape == crop
            for out in (image_out, label_out):
                assert out.dtype == np.uint8 and out.flags.writeable and out.flags.c_contiguous
                assert not np.shares_memory(out, image) and not np.shares_memory(out, label)
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(label, before[1])


def test_each_function_returns_arrays_of_its_own():
    image, label = noise(6, 8), np.ones((6, 8), np.uint8)
    pairs = (
        T.random_scale(image, label, rng(), scale=(1, 1)),
        T.random_crop(image, label, rng(), size=(6, 8)),
        T.random_crop(image, label, rng(), size=(3, 5)),
        T.random_flip(image, label, rng(), probability=0),
        T.random_flip(image, label, rng(), probability=1),
        T.pad(image, label, size=(6, 8)),
    )
    images = [pair[0] for pair in pairs]
    images += [T.brightness(image, delta=0), T.contrast(image, factor=1), T.saturation(image, factor=1)]
    images += [T.hue(image, shift=0)]
    assert not any(np.shares_memory(out, image) for out in images)
    assert not any(np.shares_memory(pair[1], label) for pair in pairs)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"crop": (0, 5)}, "crop is"),
        ({"crop": (5, 5), "scale": (2.0, 0.5)}, "scale is"),
        ({"crop": (5, 5), "scale": (0.0, 0.5)}, "scale is"),
        ({"crop": (5, 5), "flip": 1.5}, "flip is"),
        ({"crop": (5, 5), "cat_max_ratio": 0}, "cat_max_ratio is"),
    ],
)
def test_parameters_out_of_range(parameters, message):
    with pytest.raises(DataError, match=message):
        TrainTransform(**parameters)


def test_wrong_arrays_are_named():
    image, label = noise(5, 7), np.zeros((5, 7), np.uint8)
    transform = TrainTransform((4, 4))
    with pytest.raises(DataError, match=r"the image is float64 \(5, 7, 3\), needed uint8"):
        transform(image / 255, label, rng())
    with pytest.raises(DataError, match=r"the label is uint8 \(7, 5\), needed uint8 \(5, 7\)"):
        transform(image, label.T, rng())
    with pytest.raises(DataError, match="the label is int64"):
        transform(image, label.astype(np.int64), rng())
