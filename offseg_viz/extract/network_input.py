"""What a network is given of an image, and how much of it the network sees."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from offseg_viz.data.sample import Sample
from offseg_viz.errors import DataError, ModelError
from offseg_viz.models.segmenter import SIDE, Segmenter, normalized
from offseg_viz.models.submodules import submodules
from offseg_viz.normalization import IMAGE_MEAN, IMAGE_STD

Preprocess = Callable[[np.ndarray], Tensor]
"""An image (H, W, 3) uint8 to the input of a network (1, 3, h, w)."""


def network_input(model: nn.Module, sample: Sample, preprocess: Preprocess | None) -> Tensor:
    """The image of a sample as the network takes it, (1, 3, h, w) of the weights' dtype, on their device.

    Without `preprocess`: as `Segmenter.normalize` does for networks of `load_model`, else at its own size, normalised
    by the statistics of ImageNet.

    Raises
    ------
    DataError
        If the image is too small for a network of `load_model`.
    ModelError
        If `preprocess` returns no tensor (1, C, h, w) of floating-point numbers.
    """
    image = sample.image
    if preprocess is None and isinstance(model, Segmenter):
        if min(image.shape[:2]) < SIDE:
            raise DataError(
                f"sample {sample.id!r} of {sample.dataset} is {image.shape[0]} high and {image.shape[1]} wide, or its "
                f"windows are; needed sides of {SIDE} pixels or more: remove it, scale it up, or take larger windows"
            )
        return model.normalize(image)
    weight = next(parameter for parameter in model.parameters() if parameter.is_floating_point())
    if preprocess is not None:
        images = preprocess(image)
        if not (isinstance(images, Tensor) and images.ndim == 4 and len(images) == 1 and images.is_floating_point()):
            found = f"{tuple(images.shape)} {images.dtype}" if isinstance(images, Tensor) else type(images).__name__
            raise ModelError(f"preprocess returned {found}; needed a tensor (1, 3, h, w) of floating-point numbers")
        return images.to(weight.device, weight.dtype)
    pixels = torch.from_numpy(np.ascontiguousarray(image))[None]
    return normalized(pixels, weight, IMAGE_MEAN, IMAGE_STD).contiguous()


def seen_size(model: nn.Module, images: Tensor) -> tuple[int, int]:
    """Height and width of what the network makes its features of: those of `load_model` pad their input."""
    height, width = images.shape[2:]
    return (height + -height % SIDE, width + -width % SIDE) if isinstance(model, Segmenter) else (height, width)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Within the ``with`` the model is in evaluation mode; afterwards every module is in the mode it was in."""
    training = [module for _, module in submodules(model) if module.training]
    if training:
        model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
