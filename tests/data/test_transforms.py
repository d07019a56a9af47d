"""Augmentation: image and label stay in step, labels are never mixed, the photometric steps equal a slow replica."""

import colorsys
import json

import cv2
import numpy as np
import pytest
from shared_data import shared

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


# --- boxes and short sides -------------------------------------------------------------------------------------------


def replica_fit(width, height, scale):
    """mmcv's resize that keeps the ratio: the long edge of the scale bounds the long side, the short edge the short."""
    long_edge, short_edge = max(scale), min(scale)
    by_long, by_short = long_edge / max(height, width), short_edge / min(height, width)
    factor = by_long if by_long < by_short else by_short
    return int(width * factor + 0.5), int(height * factor + 0.5)


def replica_random_resize(width, height, scale, ratio):
    return replica_fit(width, height, (int(scale[0] * ratio), int(scale[1] * ratio)))


def replica_shortest_edge(width, height, short, longest):
    """mmsegmentation's ResizeShortestEdge: a size of its own, into which the image is then fitted as above."""
    factor = float(short) / min(width, height)
    if height < width:
        new_width, new_height = factor * width, float(short)
    else:
        new_width, new_height = float(short), factor * height
    if max(new_width, new_height) > longest:
        factor = float(longest) / max(new_width, new_height)
        new_width, new_height = new_width * factor, new_height * factor
    return replica_fit(width, height, (int(new_width + 0.5), int(new_height + 0.5)))


SIZES = ((427, 640), (640, 427), (512, 683), (300, 300), (1024, 2048), (375, 500), (211, 997), (97, 1300))
SHORT_SIDES = (256, 307, 358, 409, 460, 512, 563, 614, 665, 716, 768, 819, 870, 921, 972, 1024)


def test_size_in_box_written_out():
    assert T.size_in_box(512, 683, (2048, 512)) == (512, 683)
    assert T.size_in_box(683, 512, (2048, 512)) == (683, 512)  # the box turns with the image
    assert T.size_in_box(683, 512, (512, 2048)) == (683, 512)
    assert T.size_in_box(375, 500, (2048, 512)) == (512, 683)  # 682.67
    assert T.size_in_box(100, 800, (2048, 512)) == (256, 2048)  # bound by the long side
    assert T.size_in_box(1024, 2048, (2048, 1024)) == (1024, 2048)
    assert T.size_in_box(480, 360, (520, 520)) == (520, 390)  # a square box bounds the long side
    assert T.size_in_box(2, 9, (9, 2)) == (2, 9)
    assert T.size_in_box(1, 900, (90, 90)) == (1, 90)  # no side vanishes


def test_sizes_equal_their_replicas():
    generator = rng(4)
    for _ in range(2000):
        height, width = (int(side) for side in generator.integers(90, 2100, 2))
        box = tuple(int(side) for side in generator.integers(60, 2100, 2))
        expected = replica_fit(width, height, box)[::-1]
        assert T.size_in_box(height, width, box) == tuple(max(side, 1) for side in expected)
        short, longest = int(generator.integers(200, 1100)), int(generator.integers(400, 2100))
        expected = replica_shortest_edge(width, height, short, longest)[::-1]
        assert T.size_by_short_side(height, width, short_side=short, longest=longest) == expected


@pytest.mark.parametrize("box", [(2048, 512), (520, 520), (2048, 1024)])
def test_resize_follows_the_recipe_at_any_factor(box):
    generator = rng(1)
    for height, width in SIZES:
        image, label = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.uint8)
        for ratio in generator.uniform(0.5, 1.2, 4):
            out = T.random_scale(image, label, rng(), scale=(ratio, ratio), box=box)
            expected = replica_random_resize(width, height, box, ratio)[::-1]
            assert out[0].shape[:2] == out[1].shape == expected


def test_a_box_of_the_image_s_own_size_changes_nothing():
    image, label = noise(60, 84), blocks(60, 84)[1]
    for seed in range(20):
        own = TrainTransform((48, 50))(image, label, rng(seed))
        boxed = TrainTransform((48, 50), resize=(84, 60))(image, label, rng(seed))
        np.testing.assert_array_equal(own[0], boxed[0])
        np.testing.assert_array_equal(own[1], boxed[1])
    assert TrainTransform((400, 480), resize=(420, 300), scale=(1, 1))(image, label, rng())[1][299, 419] != 255


def test_short_sides_are_drawn_evenly_and_the_long_side_is_limited():
    image, label = blocks(60, 150)
    generator, counts = rng(2), {}
    for _ in range(900):
        out, label_out = T.random_short_side(image, label, generator, short_sides=(20, 30, 50), longest=100)
        assert out.shape[:2] == label_out.shape
        counts[label_out.shape] = counts.get(label_out.shape, 0) + 1
    assert counts.keys() == {(20, 50), (30, 75), (40, 100)}
    assert all(250 < count < 350 for count in counts.values())  # 300 expected, standard deviation 14


def test_short_sides_follow_the_recipe():
    for height, width in SIZES:
        image, label = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.uint8)
        for short in SHORT_SIDES[::3]:
            out = T.random_short_side(image, label, rng(), short_sides=(short,), longest=2048)
            assert out[0].shape[:2] == out[1].shape == replica_shortest_edge(width, height, short, 2048)[::-1]
    # the second fit takes away a pixel, which the size alone would not show
    assert T.size_by_short_side(200, 460, short_side=1024, longest=2048) == (890, 2047)


def test_short_sides_replace_resize_and_scale():
    image, label = noise(60, 84), blocks(60, 84)[1]
    kept = {"flip": 0, "photometric": False, "cat_max_ratio": 1}
    for other in ({}, {"scale": (0.1, 0.1)}, {"resize": (30, 20)}):
        transform = TrainTransform((200, 200), short_sides=(90,), **other, **kept)
        label_out = transform(image, label, rng())[1]
        assert (label_out[:90, :126] == cv2.resize(label, (126, 90), interpolation=cv2.INTER_NEAREST)).all()
        assert (label_out[90:] == 255).all() and (label_out[:, 126:] == 255).all()
    limited = TrainTransform((200, 200), short_sides=(90,), longest=100, **kept)(image, label, rng())[1]
    assert (limited[71:] == 255).all() and (limited[:71, :100] != 255).any()  # 60 / 84 of 100 is 71.4


@pytest.mark.parametrize("options", [{"resize": (150, 90)}, {"short_sides": (50, 80, 110), "longest": 150}])
@pytest.mark.parametrize("seed", range(8))
def test_resized_pairs_stay_in_step(options, seed):
    image, label = blocks(96, 132, seed=seed)
    image_out, label_out = TrainTransform((64, 80), photometric=False, **options)(image, label, rng(seed))
    assert image_out.shape == (64, 80, 3) and label_out.shape == (64, 80)
    assert set(np.unique(label_out)) <= {*np.unique(label), 255}
    same = cv2.dilate(label_out, np.ones((7, 7), np.uint8)) == cv2.erode(label_out, np.ones((7, 7), np.uint8))
    same[[0, 1, 2, -1, -2, -3]] = same[:, [0, 1, 2, -1, -2, -3]] = False
    checked = same & ~(image_out == T.PAD_COLOR).all(axis=-1)
    assert checked.sum() > 50
    np.testing.assert_array_equal(image_out[checked], COLOR_OF[label_out[checked]])


def test_all_published_training_recipes_can_be_said():
    recipes = json.loads(shared("facts/recipes.json").read_text())
    image, label = np.zeros((300, 400, 3), np.uint8), np.zeros((300, 400), np.uint8)
    seen = set()
    for config in recipes["configs"].values():
        steps = {step.pop("type"): step for step in map(dict, config["train_pipeline"])}
        crop = {"crop": tuple(steps["RandomCrop"]["crop_size"]), "cat_max_ratio": steps["RandomCrop"]["cat_max_ratio"]}
        if "RandomResize" in steps:
            resize = steps["RandomResize"]
            assert resize["keep_ratio"]
            options = {"resize": tuple(resize["scale"]), "scale": tuple(resize["ratio_range"])}
        else:
            resize = steps["RandomChoiceResize"]
            assert resize["resize_type"] == "ResizeShortestEdge"
            options = {"short_sides": tuple(resize["scales"]), "longest": resize["max_size"]}
        transform = TrainTransform(**crop, **options, flip=steps["RandomFlip"]["prob"])
        if transform not in seen:
            assert transform(image, label, rng())[0].shape == (*transform.crop, 3)
        seen.add(transform)
    assert len(seen) == 4


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
        T.random_short_side(image, label, rng(), short_sides=(6,), longest=8),
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
        ({"crop": (5, 5), "resize": (5,)}, "resize is"),
        ({"crop": (5, 5), "resize": (512, 0)}, "resize is"),
        ({"crop": (5, 5), "short_sides": (5, 0)}, "short_sides are"),
        ({"crop": (5, 5), "short_sides": (5,), "longest": 0}, "longest is"),
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
