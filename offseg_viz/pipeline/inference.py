"""How an image is predicted in evaluation: resized or not, whole or by a sliding window, over several scales and flips.

The arithmetic is that of mmsegmentation 1.2, on which the release of arXiv 2508.08811 is built.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from offseg_viz.data.transforms import size_in_box
from offseg_viz.data.windows import check_stride, window_places
from offseg_viz.errors import ModelError
from offseg_viz.models.segmenter import SIDE, Segmenter

Size = tuple[int, int]


@dataclass(frozen=True)
class TestMode:
    """How an image is predicted; by default whole and at its own size, as `Segmenter.predict` does.

    Parameters
    ----------
    resize
        Box (long side, short side) in pixels into which the image is fitted, its aspect ratio kept; None leaves it at
        its own size. Logits are resized back.
    window, stride
        (height, width) in pixels of a sliding window on the resized image, and of its steps; None for the whole image
        at once.
    pad
        Whether the image is padded to multiples of 32 pixels before windows are cut, with zeros on the right and below,
        as the release does for SegNeXt.
    scales
        Factors on the size that `resize` gives, or on the image's own.
    flip
        Whether to predict the mirrored image too. With several scales, or this, predictions are averaged.

    Raises
    ------
    ModelError
        If a value is out of range, or only one of window and stride is given.
    """

    __test__ = False  # no test case, whatever pytest makes of the name

    resize: Size | None = None
    window: Size | None = None
    stride: Size | None = None
    pad: bool = False
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    def __post_init__(self):
        if self.resize is not None:
            _check_size("resize", self.resize, SIDE)
        if (self.window is None) != (self.stride is None):
            raise ModelError(f"window is {self.window} and stride {self.stride}; needed both, or none for whole images")
        if self.window is not None:
            _check_size("window", self.window, SIDE)
            _check_size("stride", self.stride, 1)
            for side, step in zip(self.window, self.stride, strict=True):
                check_stride(side, step)
        if not isinstance(self.scales, tuple) or not self.scales:
            raise ModelError(f"scales is {self.scales!r}; needed a tuple of one factor or more, such as (0.75, 1.0)")
        if not all(isinstance(scale, int | float) and 0 < scale < math.inf for scale in self.scales):
            raise ModelError(f"scales is {self.scales!r}; needed factors above 0, such as (0.75, 1.0)")
        for name in ("pad", "flip"):
            if not isinstance(getattr(self, name), bool):
                raise ModelError(f"{name} is {getattr(self, name)!r}; needed True or False")

    def size(self, height: int, width: int, scale: float = 1.0) -> Size:
        """(height, width) that an image is resized to at one of the scales."""
        long, short = self.resize or (max(height, width), min(height, width))
        return size_in_box(height, width, (long * scale, short * scale))


WHOLE = TestMode()


def predicted_classes(model: Segmenter, image: np.ndarray | Tensor, mode: TestMode = WHOLE) -> Tensor:
    """Class numbers (H, W) int64, the arg max of `image_logits`, which says what the parameters are."""
    return image_logits(model, image, mode).argmax(dim=0)


@torch.no_grad()
def image_logits(model: Segmenter, image: np.ndarray | Tensor, mode: TestMode = WHOLE) -> Tensor:
    """Logits of one image at its own size, (K, H, W), on the model's device.

    With several scales or `mode.flip` they are no logits but class probabilities: the mean, over scales and flips, of
    the soft-max of the logits, each resized and mirrored back. Networks of mask classification predict no logits in the
    first place; their class maps are averaged as they are.

    Parameters
    ----------
    model : in evaluation mode, as `load_model` returns it.
    image : uint8 RGB (H, W, 3).

    Raises
    ------
    ModelError
        If the image is of another shape or dtype, or smaller than 32 pixels on a side once it is resized.
    """
    if image.ndim != 3:
        raise ModelError(f"found an image of shape {tuple(image.shape)}; needed one uint8 RGB image (H, W, 3)")
    height, width = image.shape[:2]
    # Mask classification is told by its queries: its class would bring transformers along.
    is_logits = not hasattr(model, "queries")
    flips = (False, True) if mode.flip else (False,)
    count, total = len(mode.scales) * len(flips), None
    for scale in mode.scales:
        images = model.normalize(_resized(image, mode.size(height, width, scale)))  # (1, 3, H', W')
        for flip in flips:
            logits = _logits(model, images.flip(3) if flip else images, mode)  # (1, K, H', W')
            logits = logits.flip(3) if flip else logits
            if logits.shape[2:] != (height, width):
                logits = F.interpolate(logits, (height, width), mode="bilinear", align_corners=False)
            if count == 1:
                return logits[0]  # (K, H, W)
            exact = torch.promote_types(logits.dtype, torch.float32)  # half precision would make ties of probabilities
            values = logits[0].softmax(dim=0, dtype=exact) if is_logits else logits[0].to(exact)  # (K, H, W)
            total = values if total is None else total.add_(values)
    return total.div_(count)


@torch.no_grad()
def sliding_window_logits(model: Segmenter, images: Tensor, *, window: Size, stride: Size) -> Tensor:
    """Logits of normalised images (B, 3, H, W) at their size (B, K, H, W), the mean over all windows that see a pixel.

    Each window is predicted on its own, class attention included: a soft-max over the positions of one window.

    Parameters
    ----------
    window, stride : (height, width) in pixels; see `window_places`.

    Raises
    ------
    ModelError
        If the stride is larger than the window, or a value below 1.
    """
    height, width = images.shape[2:]
    tops, lefts = (window_places(side, *steps) for side, *steps in zip((height, width), window, stride, strict=True))
    total, count = None, images.new_zeros(height, width)
    for top in tops:
        for left in lefts:
            rows, columns = slice(top, top + window[0]), slice(left, left + window[1])
            logits = model.upsampled_logits(images[:, :, rows, columns])  # (B, K, h, w)
            if total is None:
                total = logits.new_zeros(*logits.shape[:2], height, width)  # (B, K, H, W)
            total[:, :, rows, columns] += logits
            count[rows, columns] += 1
    return total.div_(count)


def _logits(model: Segmenter, images: Tensor, mode: TestMode) -> Tensor:
    """Logits of normalised images at their size, whole or by a sliding window."""
    if mode.window is None:
        return model.upsampled_logits(images)
    height, width = images.shape[2:]
    if mode.pad:
        images = F.pad(images, (0, -width % SIDE, 0, -height % SIDE))
    logits = sliding_window_logits(model, images, window=mode.window, stride=mode.stride)
    return logits[:, :, :height, :width]


def _resized(image: np.ndarray | Tensor, size: Size) -> np.ndarray | Tensor:
    """A uint8 image resized bilinearly by cv2, so rounded to whole grey levels; an image of that size as it is."""
    if tuple(image.shape[:2]) == size:
        return image
    if min(size) < SIDE:
        found = f"an image {image.shape[0]} high and {image.shape[1]} wide is resized to {size[0]} x {size[1]}"
        raise ModelError(f"{found}; sides of {SIDE} pixels or more are needed: a larger box or scale")
    pixels = image.cpu().numpy() if isinstance(image, Tensor) else image
    if pixels.dtype != np.uint8 or pixels.shape[2] != 3:
        raise ModelError(f"needed a uint8 RGB image (H, W, 3), found {pixels.shape} {pixels.dtype}")
    return cv2.resize(np.ascontiguousarray(pixels), size[::-1], interpolation=cv2.INTER_LINEAR)


def _check_size(name: str, size: Size, least: int) -> None:
    whole = isinstance(size, tuple) and len(size) == 2 and all(isinstance(side, int) for side in size)
    if not whole or min(size) < least:
        raise ModelError(f"{name} is {size!r}; needed two whole numbers of {least} pixels or more, such as (512, 512)")
