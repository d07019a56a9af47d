"""Training augmentation of an image and its label map, in step: scale, crop, flip, photometric distortion, padding.

Images are (H, W, 3) uint8 RGB, labels (H, W) uint8 with 255 = ignored. The order, the ranges and the arithmetic are
those of the recipes by which the models of arXiv 2508.08811 are trained (Sec. 4), as mmsegmentation 1.x computes them.
Every function returns arrays of its own and leaves its input as it was; label values are moved and repeated, never
interpolated.

One thing is a little different: padding comes before normalisation, with the mean colour in whole grey levels, where
mmsegmentation pads with 0 after it. Padded pixels so become less than 0.01 away from 0.
"""

from dataclasses import KW_ONLY, dataclass

import cv2
import numpy as np

from offseg_viz.classes import IGNORE_INDEX
from offseg_viz.errors import DataError
from offseg_viz.normalization import IMAGE_MEAN

BRIGHTNESS_DELTA = 32
FACTOR_RANGE = (0.5, 1.5)
HUE_DELTA = 18
HUE_STEPS = 180
CROP_TRIES = 10
PAD_COLOR = tuple(round(channel) for channel in IMAGE_MEAN)
"""Colour of padded pixels: the mean image colour, which is zero (to half a grey level) after normalisation."""

Pair = tuple[np.ndarray, np.ndarray]
Size = tuple[int, int]


@dataclass(frozen=True)
class TrainTransform:
    """The training augmentation, called as ``transform(image, label, rng)``.

    In this order: random size, random crop, horizontal flip, photometric distortion of the image, padding at the
    bottom and the right where the resized image is smaller than the crop. The aspect ratio is kept.

    Parameters
    ----------
    crop
        Height and width of what comes out, in pixels.
    resize
        Sides of the box, in pixels, that a factor from `scale` is drawn for and the image is fitted into: see
        `random_scale`. None takes the image's own size.
    scale
        Least and greatest factor on the box, drawn uniformly; (1, 1) without `resize` keeps the size.
    short_sides
        If given, one of these becomes the short side of the image, in pixels, instead of `resize` and `scale`: see
        `random_short_side`.
    longest
        Where the long side would become longer than this, the image is made smaller; with `short_sides` only.
    flip
        Probability of a horizontal flip.
    photometric
        Whether to distort brightness, contrast, saturation and hue.
    cat_max_ratio
        A crop in which one class holds this share of the labelled pixels or more, or all, is drawn anew; see
        `random_crop`. 1 accepts every crop.

    Raises
    ------
    DataError
        If a parameter is out of its range, or a call gets anything but a uint8 image and a uint8 label of its size.
    """

    crop: Size
    _: KW_ONLY
    resize: Size | None = None
    scale: tuple[float, float] = (0.5, 2.0)
    short_sides: tuple[int, ...] = ()
    longest: int = 2048
    flip: float = 0.5
    photometric: bool = True
    cat_max_ratio: float = 0.75

    def __post_init__(self):
        if len(self.crop) != 2 or min(self.crop) < 1:
            raise DataError(f"crop is {self.crop}, needed height and width of at least one pixel")
        if self.resize is not None and (len(self.resize) != 2 or min(self.resize) < 1):
            raise DataError(f"resize is {self.resize}, needed None or two sides of at least one pixel")
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1]:
            raise DataError(f"scale is {self.scale}, needed a least and a greatest factor above 0")
        if any(side < 1 for side in self.short_sides):
            raise DataError(f"short_sides are {self.short_sides}, needed sides of at least one pixel, or none")
        if self.longest < 1:
            raise DataError(f"longest is {self.longest}, needed at least one pixel")
        if not 0 <= self.flip <= 1:
            raise DataError(f"flip is {self.flip}, needed a probability from 0 to 1")
        if not 0 < self.cat_max_ratio <= 1:
            raise DataError(f"cat_max_ratio is {self.cat_max_ratio}, needed a share above 0, up to 1")

    def __call__(self, image: np.ndarray, label: np.ndarray, rng: np.random.Generator) -> Pair:
        """Return image (h, w, 3) uint8 and label (h, w) uint8, (h, w) being `crop`."""
        _check_pair(image, label)
        if self.short_sides:
            image, label = random_short_side(image, label, rng, short_sides=self.short_sides, longest=self.longest)
        else:
            image, label = random_scale(image, label, rng, scale=self.scale, box=self.resize)
        image, label = random_crop(image, label, rng, size=self.crop, cat_max_ratio=self.cat_max_ratio)
        image, label = random_flip(image, label, rng, probability=self.flip)
        if self.photometric:
            image = photometric_distortion(image, rng)
        return pad(image, label, size=self.crop)


def size_in_box(height: int, width: int, box: Size) -> Size:
    """Height and width of an image resized to just fit into a box, its aspect ratio kept to half a pixel.

    The longer side of the box is for the longer side of the image, whichever way either lies. Sides are rounded half
    up, and none becomes shorter than one pixel.

    Examples
    --------
    >>> size_in_box(300, 400, (2048, 512)), size_in_box(400, 300, (2048, 512)), size_in_box(100, 800, (2048, 512))
    ((512, 683), (683, 512), (256, 2048))
    """
    factor = min(max(box) / max(height, width), min(box) / min(height, width))
    return max(int(height * factor + 0.5), 1), max(int(width * factor + 0.5), 1)


def size_by_short_side(height: int, width: int, *, short_side: int, longest: int) -> Size:
    """Height and width of an image whose short side becomes `short_side`, or less if its long side grew past `longest`.

    The size is rounded half up and the image then fitted into it by `size_in_box`, as mmsegmentation does. That makes
    a difference where `longest` is reached: the long side may come out some pixels short of it.

    Examples
    --------
    >>> size_by_short_side(300, 400, short_side=512, longest=2048)
    (512, 683)
    >>> size_by_short_side(200, 460, short_side=1024, longest=2048)  # not 2048
    (890, 2047)
    """
    factor = short_side / min(height, width)
    sides = (short_side, factor * width) if height < width else (factor * height, short_side)
    if max(sides) > longest:
        factor = longest / max(sides)
        sides = sides[0] * factor, sides[1] * factor
    return size_in_box(height, width, tuple(int(side + 0.5) for side in sides))


def random_scale(
    image: np.ndarray,
    label: np.ndarray,
    rng: np.random.Generator,
    *,
    scale: tuple[float, float],
    box: Size | None = None,
) -> Pair:
    """Resize both to fit into a box times one factor drawn uniformly from `scale`; image bilinear, label nearest.

    The sides of the scaled box are cut to whole pixels; see `size_in_box` for the rest. Without a box it is the size of
    the image, which so is scaled by the factor itself.
    """
    ratio = rng.uniform(*scale)
    box = tuple(int(side * ratio) for side in box or label.shape)
    return _resized(image, label, size_in_box(*label.shape, box))


def random_short_side(
    image: np.ndarray, label: np.ndarray, rng: np.random.Generator, *, short_sides: tuple[int, ...], longest: int
) -> Pair:
    """Resize both to one of `short_sides`, all equally likely; image bilinear, label nearest.

    See `size_by_short_side`: the long side is limited to `longest`.
    """
    short_side = short_sides[int(rng.integers(0, len(short_sides)))]
    return _resized(image, label, size_by_short_side(*label.shape, short_side=short_side, longest=longest))


def random_crop(
    image: np.ndarray, label: np.ndarray, rng: np.random.Generator, *, size: Size, cat_max_ratio: float = 1.0
) -> Pair:
    """Cut out a window of `size` (height, width) at a position drawn uniformly; a shorter side stays as it is.

    With `cat_max_ratio` below 1 a window is accepted if it shows more than one class and none of them covers that
    share of its labelled pixels; otherwise it is drawn anew, ten times at most. The last one is taken unseen.
    """
    margin = [max(side - window, 0) for side, window in zip(label.shape, size, strict=True)]

    def draw() -> tuple[slice, slice]:
        top, left = (int(rng.integers(0, room + 1)) for room in margin)
        return slice(top, top + size[0]), slice(left, left + size[1])

    window = draw()
    if cat_max_ratio < 1:
        for _ in range(CROP_TRIES):
            # calcHist is several times faster on uint8 than numpy's bincount or unique.
            count = cv2.calcHist([label[window]], [0], None, [256], [0, 256]).ravel()[:IGNORE_INDEX]
            if np.count_nonzero(count) > 1 and count.max() < cat_max_ratio * count.sum(dtype=np.float64):
                break
            window = draw()
    return image[window].copy(), label[window].copy()


def random_flip(image: np.ndarray, label: np.ndarray, rng: np.random.Generator, *, probability: float) -> Pair:
    """Mirror both left to right with the given probability."""
    if rng.random() < probability:
        return cv2.flip(image, 1), cv2.flip(label, 1)
    return image.copy(), label.copy()


def pad(image: np.ndarray, label: np.ndarray, *, size: Size) -> Pair:
    """Fill up to `size` (height, width) at the bottom and right: image with the mean colour, label with 255."""
    bottom, right = (max(wanted - side, 0) for wanted, side in zip(size, label.shape, strict=True))
    if not bottom and not right:
        return image.copy(), label.copy()
    return (
        cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_CONSTANT, value=PAD_COLOR),
        cv2.copyMakeBorder(label, 0, bottom, 0, right, cv2.BORDER_CONSTANT, value=IGNORE_INDEX),
    )


def photometric_distortion(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Distort brightness, contrast, saturation and hue, each with probability 1/2.

    Contrast comes second or last, with equal chance. The result of every step is clipped and cut to whole numbers.
    """
    if rng.random() < 0.5:
        image = brightness(image, delta=rng.uniform(-BRIGHTNESS_DELTA, BRIGHTNESS_DELTA))
    contrast_last = rng.random() < 0.5
    change_contrast = rng.random() < 0.5
    if change_contrast and not contrast_last:
        image = contrast(image, factor=rng.uniform(*FACTOR_RANGE))
    if rng.random() < 0.5:
        image = saturation(image, factor=rng.uniform(*FACTOR_RANGE))
    if rng.random() < 0.5:
        image = hue(image, shift=int(rng.integers(-HUE_DELTA, HUE_DELTA)))
    if change_contrast and contrast_last:
        image = contrast(image, factor=rng.uniform(*FACTOR_RANGE))
    return image.copy()


# Each step maps a uint8 channel value to a uint8 channel value: a table of 256 entries is exact and ten times faster
# than float32 arithmetic on the image.


def brightness(image: np.ndarray, *, delta: float) -> np.ndarray:
    """Add `delta` (grey levels) to every channel."""
    return cv2.LUT(image, _truncate(np.arange(256, dtype=np.float32) + np.float32(delta)))


def contrast(image: np.ndarray, *, factor: float) -> np.ndarray:
    """Multiply every channel by `factor`."""
    return cv2.LUT(image, _truncate(np.arange(256, dtype=np.float32) * np.float32(factor)))


def saturation(image: np.ndarray, *, factor: float) -> np.ndarray:
    """Multiply the saturation of the 8-bit HSV image by `factor`."""
    return _change_hsv(image, 1, _truncate(np.arange(256, dtype=np.float32) * np.float32(factor)))


def hue(image: np.ndarray, *, shift: int) -> np.ndarray:
    """Turn the hue of the 8-bit HSV image by `shift` steps of two degrees."""
    return _change_hsv(image, 0, ((np.arange(256) + shift) % HUE_STEPS).astype(np.uint8))


def _truncate(values: np.ndarray) -> np.ndarray:
    return np.clip(values, 0, 255).astype(np.uint8)


def _change_hsv(image: np.ndarray, channel: int, table: np.ndarray) -> np.ndarray:
    tables = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    tables[0, :, channel] = table
    return cv2.cvtColor(cv2.LUT(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), tables), cv2.COLOR_HSV2RGB)


def _resized(image: np.ndarray, label: np.ndarray, size: Size) -> Pair:
    height, width = size
    return (
        cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR),
        cv2.resize(label, (width, height), interpolation=cv2.INTER_NEAREST),
    )


def _check_pair(image: np.ndarray, label: np.ndarray) -> None:
    _check_image(image)
    if label.dtype != np.uint8 or label.shape != image.shape[:2]:
        raise DataError(f"the label is {label.dtype} {label.shape}, needed uint8 {image.shape[:2]}, the image's size")


def _check_image(image: np.ndarray) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise DataError(f"the image is {image.dtype} {image.shape}, needed uint8 (height, width, 3)")
