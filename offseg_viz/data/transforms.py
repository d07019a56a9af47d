"""Training augmentation of an image and its label map, in step: scale, crop, flip, photometric distortion, padding.

Images are (H, W, 3) uint8 RGB, labels (H, W) uint8 with 255 = ignored. The order, the ranges and the arithmetic are
those of the recipes by which the models of arXiv 2508.08811 are trained (Sec. 4). Every function returns arrays of its
own and leaves its input as it was; label values are moved and repeated, never interpolated.
"""

from dataclasses import dataclass

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


@dataclass(frozen=True)
class TrainTransform:
    """The training augmentation, called as ``transform(image, label, rng)``.

    In this order: random scale, random crop, horizontal flip, photometric distortion of the image, padding at the
    bottom and the right where the scaled image is smaller than the crop.

    Parameters
    ----------
    crop
        Height and width of what comes out, in pixels.
    scale
        Least and greatest factor on the size of the image, drawn uniformly; (1, 1) keeps the size.
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

    crop: tuple[int, int]
    scale: tuple[float, float] = (0.5, 2.0)
    flip: float = 0.5
    photometric: bool = True
    cat_max_ratio: float = 0.75

    def __post_init__(self):
        if len(self.crop) != 2 or min(self.crop) < 1:
            raise DataError(f"crop is {self.crop}, needed height and width of at least one pixel")
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1]:
            raise DataError(f"scale is {self.scale}, needed a least and a greatest factor above 0")
        if not 0 <= self.flip <= 1:
            raise DataError(f"flip is {self.flip}, needed a probability from 0 to 1")
        if not 0 < self.cat_max_ratio <= 1:
            raise DataError(f"cat_max_ratio is {self.cat_max_ratio}, needed a share above 0, up to 1")

    def __call__(self, image: np.ndarray, label: np.ndarray, rng: np.random.Generator) -> Pair:
        """Return image (h, w, 3) uint8 and label (h, w) uint8, (h, w) being `crop`."""
        _check_pair(image, label)
        image, label = random_scale(image, label, rng, scale=self.scale)
        image, label = random_crop(image, label, rng, size=self.crop, cat_max_ratio=self.cat_max_ratio)
        image, label = random_flip(image, label, rng, probability=self.flip)
        if self.photometric:
            image = photometric_distortion(image, rng)
        return pad(image, label, size=self.crop)


def random_scale(image: np.ndarray, label: np.ndarray, rng: np.random.Generator, *, scale: tuple[float, float]) -> Pair:
    """Resize both by one factor drawn uniformly from `scale`; image bilinear, label nearest.

    The aspect ratio is kept: both sides are cut to whole pixels first, the smaller of the two factors left by that
    is used, and the new sides are rounded. No side becomes shorter than one pixel.
    """
    height, width = label.shape
    ratio = rng.uniform(*scale)
    factor = min(int(height * ratio) / height, int(width * ratio) / width)
    size = max(int(width * factor + 0.5), 1), max(int(height * factor + 0.5), 1)
    return (
        cv2.resize(image, size, interpolation=cv2.INTER_LINEAR),
        cv2.resize(label, size, interpolation=cv2.INTER_NEAREST),
    )


def random_crop(
    image: np.ndarray, label: np.ndarray, rng: np.random.Generator, *, size: tuple[int, int], cat_max_ratio: float = 1.0
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


def pad(image: np.ndarray, label: np.ndarray, *, size: tuple[int, int]) -> Pair:
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


def _check_pair(image: np.ndarray, label: np.ndarray) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise DataError(f"the image is {image.dtype} {image.shape}, needed uint8 (height, width, 3)")
    if label.dtype != np.uint8 or label.shape != image.shape[:2]:
        raise DataError(f"the label is {label.dtype} {label.shape}, needed uint8 {image.shape[:2]}, the image's size")
