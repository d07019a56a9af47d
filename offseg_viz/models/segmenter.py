"""A segmentation network: backbone, decode head, classes and the normalisation of its input."""

import hashlib

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from offseg_viz.classes import ClassList
from offseg_viz.errors import ModelError
from offseg_viz.normalization import IMAGE_MEAN, IMAGE_STD


class Segmenter(nn.Module):
    """``model(images)``: normalised images (B, 3, H, W) to logits (B, K, h, w) on the decode head's own grid.

    Attributes
    ----------
    name : name in the zoo, such as ``"nano-offset"``.
    classes : `ClassList`, names and colours of the K classes.
    mean, std : (3,) buffers, RGB on the scale 0 to 255; they travel with the model, not with its weights.
    """

    def __init__(self, name: str, backbone: nn.Module, decode_head: nn.Module, classes: ClassList):
        super().__init__()
        self.name = name
        self.classes = classes
        self.backbone = backbone
        self.decode_head = decode_head
        self.register_buffer("mean", torch.tensor(IMAGE_MEAN), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGE_STD), persistent=False)

    def normalize(self, images: Tensor | np.ndarray) -> Tensor:
        """uint8 RGB images (H, W, 3) or (B, H, W, 3) to the network's input (B, 3, H, W).

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
        images = (images.to(self.mean.device, self.mean.dtype) - self.mean) / self.std
        return images.permute(0, 3, 1, 2)  # channels last in memory, which convolutions run fastest on

    def forward(self, images: Tensor) -> Tensor:
        if images.ndim != 4 or images.shape[1] != 3:
            raise ModelError(f"the model needs normalised images (B, 3, H, W), found {tuple(images.shape)}")
        if min(images.shape[2:]) < 32:
            raise ModelError(
                f"images of {images.shape[3]}x{images.shape[2]} are too small; sides of 32 or more are needed"
            )
        return self.decode_head(self.backbone(images))  # (B, K, h, w)

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """Arg max of the logits, resized bilinearly to the input: normalised images (B, 3, H, W) to (B, H, W) int64."""
        logits = F.interpolate(self(images), size=images.shape[2:], mode="bilinear", align_corners=False)
        return logits.argmax(dim=1)

    def fingerprint(self) -> str:
        """12 hex digits that change with any weight: SHA-256 over names and bytes of the state dict."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:12]
