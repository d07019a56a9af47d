"""A segmentation network: backbone, decode head, classes and the normalisation of its input."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from offseg_viz.classes import ClassList
from offseg_viz.errors import ModelError
from offseg_viz.models.fingerprint import fingerprint
from offseg_viz.normalization import IMAGE_MEAN, IMAGE_STD

SIDE = 32
"""Sides of the input are padded to a multiple of this, the coarsest stride of every backbone here."""

HOW = "model.normalize(uint8 RGB images) makes them"


def normalized(images: Tensor, weight: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """uint8 RGB images (B, H, W, 3) less `mean` over `std`, as (B, 3, H, W) of the dtype and on the device of `weight`.

    Channels stay last in memory: convolutions run fastest on it.
    """
    exact = torch.promote_types(weight.dtype, torch.float32)  # half precision has no room for 123.675
    images = images.to(weight.device, exact)
    images = (images - images.new_tensor(mean)) / images.new_tensor(std)
    return images.to(weight.dtype).permute(0, 3, 1, 2)


class Segmenter(nn.Module):
    """``model(images)``: normalised images (B, 3, H, W) to logits (B, K, h, w) on the decode head's own grid.

    Sides that are no multiple of 32 are padded with zeros (the mean colour) on the right and at the bottom, as the
    release does, and the logits are cropped back: the last cell of a row or column may hang over the edge.

    Attributes
    ----------
    name : name in the zoo, such as ``"nano-offset"``.
    classes : `ClassList`, names and colours of the K classes.
    mean, std : RGB on the scale 0 to 255, three numbers each; they travel with the model, not with its weights.
    """

    def __init__(self, name: str, backbone: nn.Module, decode_head: nn.Module, classes: ClassList):
        super().__init__()
        self.name = name
        self.classes = classes
        self.backbone = backbone
        self.decode_head = decode_head
        self.mean, self.std = IMAGE_MEAN, IMAGE_STD

    def normalize(self, images: Tensor | np.ndarray) -> Tensor:
        """uint8 RGB images (H, W, 3) or (B, H, W, 3) to the network's input (B, 3, H, W), of its dtype and device.

        Raises
        ------
        ModelError
            If the shape or dtype is another one.
        """
        images = torch.as_tensor(np.ascontiguousarray(images) if isinstance(images, np.ndarray) else images)
        if images.ndim == 3:
            images = images[None]
        if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != torch.uint8:
            found = f"{tuple(images.shape)} {images.dtype}"
            raise ModelError(f"normalize() needs uint8 RGB images (H, W, 3) or (B, H, W, 3), found {found}")
        return normalized(images, next(self.parameters()), self.mean, self.std)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) to logits (B, K, h, w), h = H / s rounded up, s the stride of the head.

        Raises
        ------
        ModelError
            If the shape is another one, a side is below 32 pixels, or a value is NaN or infinite (this last check is
            left out of compiled and exported networks).
        """
        padded = self._padded(images)
        logits = self.decode_head(self.backbone(padded))  # (B, K, h', w')
        stride = padded.shape[2] // logits.shape[2]
        rows, columns = (-(-side // stride) for side in images.shape[2:])
        return logits[:, :, :rows, :columns]  # (B, K, h, w)

    def upsampled_logits(self, images: Tensor) -> Tensor:
        """Logits resized bilinearly to the input: normalised images (B, 3, H, W) to (B, K, H, W)."""
        padded = self._padded(images)
        logits = self.decode_head(self.backbone(padded))  # (B, K, h', w')
        logits = F.interpolate(logits, size=padded.shape[2:], mode="bilinear", align_corners=False)  # (B, K, H', W')
        return logits[:, :, : images.shape[2], : images.shape[3]]  # (B, K, H, W)

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """Arg max of `upsampled_logits`: normalised images (B, 3, H, W) to class numbers (B, H, W) int64."""
        return self.upsampled_logits(images).argmax(dim=1)

    def fingerprint(self) -> str:
        """12 hex digits that change with any weight: see `fingerprint.py`."""
        return fingerprint(self)

    def _padded(self, images: Tensor) -> Tensor:
        """`images`, checked, with sides of a multiple of 32."""
        if not isinstance(images, Tensor) or images.ndim != 4 or images.shape[1] != 3:
            found = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
            raise ModelError(f"the model needs normalised images, a tensor (B, 3, H, W), found {found}; {HOW}")
        height, width = images.shape[2:]
        if min(height, width) < SIDE:
            found = f"{height} high and {width} wide"
            raise ModelError(f"images {found} are too small; sides of {SIDE} pixels or more are needed")
        weight = next(self.parameters())
        if images.dtype != weight.dtype and not torch.is_autocast_enabled(images.device.type):
            hint = f"images.to({weight.dtype})" if images.is_floating_point() else HOW
            raise ModelError(f"the images are {images.dtype}, the weights {weight.dtype}; needed the same: {hint}")
        has_values = type(images) is Tensor and not torch.compiler.is_compiling()  # fake and traced tensors have none
        if has_values and images.numel() == 0:
            raise ModelError(f"found a batch without images, {tuple(images.shape)}; needed one or more")
        if has_values and not images.isfinite().all():
            count = int((~images.isfinite()).sum())
            raise ModelError(
                f"{count} of {images.numel()} input values are NaN or infinite; needed finite normalised images: "
                f"check how the images were read; {HOW}"
            )
        below, right = -height % SIDE, -width % SIDE
        return F.pad(images, (0, right, 0, below)) if below or right else images
