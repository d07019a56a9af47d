"""From the tensors at a classifier to the variables of the record, for each of the two classifiers."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from offseg_viz.errors import ModelError
from offseg_viz.extract.capture import Point
from offseg_viz.models.offset_learning import OffsetLearning
from offseg_viz.models.per_pixel import PerPixelClassifier


class Reading(NamedTuple):
    """Where to hook, and how the captured tensors of image 0 become the record's arrays."""

    points: dict[str, Point]
    arrays: Callable[[dict[str, Tensor]], dict[str, np.ndarray]]
    attrs: dict[str, float]


def reading_of(model: nn.Module) -> Reading:
    """The reading of the one classifier in a model.

    Raises
    ------
    ModelError
        If the model holds no `OffsetLearning` or `PerPixelClassifier`, or more than one.
    """
    found = [module for module in model.modules() if isinstance(module, OffsetLearning | PerPixelClassifier)]
    if len(found) != 1:
        names = [type(module).__name__ for module in found]
        raise ModelError(
            "extract() needs a model with exactly one OffsetLearning or PerPixelClassifier head, "
            f"found {names or 'none'}; all models of load_model() but Mask2Former, which classifies masks, have one"
        )
    head = found[0]
    return _offset_learning(head) if isinstance(head, OffsetLearning) else _per_pixel(head)


def _offset_learning(head: OffsetLearning) -> Reading:
    """The head takes a path without offsets when it is called, so they are computed from the captured feature."""
    points: dict[str, Point] = {"feature": (head, "input"), "logits": (head, "output")}  # (B, C, h, w), (B, K, h, w)

    @torch.no_grad()
    def arrays(captured: dict[str, Tensor]) -> dict[str, np.ndarray]:
        feature = captured["feature"][:1]  # (1, C, h, w)  E
        refinement = head.refinement(feature)
        found = {
            "feature": feature[0].permute(1, 2, 0),  # (h, w, C)
            "class_embedding": head.class_embedding,  # (K, C)  W
            "feature_offset": refinement.feature_offset[0].unflatten(0, feature.shape[2:]),  # (h, w, C)  dE
            "class_offset": refinement.class_offset[0],  # (K, C)  dW
            "logits": captured["logits"][0],  # (K, h, w)
            "logit_gain": None if head.norm is None else head.norm.weight,  # (K,)
            "logit_bias": head.bias if head.norm is None else head.norm.bias,  # (K,)
        }
        return {name: _numpy(tensor) for name, tensor in found.items() if tensor is not None}

    return Reading(points, arrays, {} if head.norm is None else {"logit_norm_eps": head.norm.eps})


def _per_pixel(head: PerPixelClassifier) -> Reading:
    points: dict[str, Point] = {"feature": (head.classifier, "input"), "logits": (head.classifier, "output")}

    def arrays(captured: dict[str, Tensor]) -> dict[str, np.ndarray]:
        return {
            "feature": _numpy(captured["feature"][0].permute(1, 2, 0)),
            "class_embedding": _numpy(head.classifier.weight[:, :, 0, 0]),
            "logits": _numpy(captured["logits"][0]),
            "logit_bias": _numpy(head.classifier.bias),
        }

    return Reading(points, arrays, {})


def _numpy(tensor: Tensor) -> np.ndarray:
    """A contiguous float32 copy on the CPU, which nothing in the model can overwrite."""
    return np.array(tensor.detach().float().cpu().numpy(), dtype=np.float32, order="C")
