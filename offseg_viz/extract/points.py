"""From the tensors at a classifier to the variables of a record: per-pixel classification, with offsets or without."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from offseg_viz.errors import ModelError
from offseg_viz.extract.capture import Point, empty
from offseg_viz.extract.grid import grid_of_positions
from offseg_viz.extract.offsets import class_offset, feature_offset
from offseg_viz.models.linear_offset_learning import LinearOffsetLearning
from offseg_viz.models.offset_learning import OffsetLearning
from offseg_viz.models.per_pixel import PerPixelClassifier


class Reading(NamedTuple):
    """Where to hook, and how the captured tensors become the variables of a record."""

    classifier: str
    """Path of the module that classifies."""
    points: dict[str, Point]
    tensors: Callable[[dict[str, Tensor], tuple[int, int]], dict[str, Tensor]]
    """Captured tensors and (height, width) of the input to variables: maps (h, w, C) and (K, h, w)."""
    num_classes: int
    attrs: dict[str, float | int]


def reading_of_pixels(path: str, module: nn.Module) -> Reading:
    """How a classifier of pixels is read: a 1x1 convolution, a linear layer, or offset learning in the place of one."""
    if isinstance(module, OffsetLearning):
        return _offset_learning(path, module, module, channels_last=False)
    if isinstance(module, LinearOffsetLearning):
        return _offset_learning(path, module, module.offset_learning, channels_last=True)
    return _plain(path, module.classifier if isinstance(module, PerPixelClassifier) else module)


def _plain(path: str, layer: nn.Conv2d | nn.Linear) -> Reading:
    """A 1x1 convolution or a linear layer: its rows are the class embeddings."""

    def tensors(captured: dict[str, Tensor], size: tuple[int, int]) -> dict[str, Tensor]:
        found = _on_grid(captured, size) | {"class_embedding": _copy(layer.weight).flatten(1)}  # (K, C)  W
        return found if layer.bias is None else found | {"logit_bias": _copy(layer.bias)}  # (K,)

    points = _points(layer, path, channels_last=isinstance(layer, nn.Linear))
    return Reading(path, points, tensors, len(layer.weight), {})


def _offset_learning(path: str, module: nn.Module, head: OffsetLearning, *, channels_last: bool) -> Reading:
    """The head forms no feature offset when it is called, so both offsets are made of what it forms."""

    def tensors(captured: dict[str, Tensor], size: tuple[int, int]) -> dict[str, Tensor]:
        found = _on_grid(captured, size)
        found |= {
            "class_embedding": _copy(head.class_embedding),  # (K, C)  W
            "class_offset": captured["class_offset"],  # (K, C)  dW
            "feature_offset": captured["feature_offset"].view(found["feature"].shape),  # (h, w, C)  dE
        }
        if head.norm is not None:
            found |= {"logit_gain": _copy(head.norm.weight), "logit_bias": _copy(head.norm.bias)}  # (K,)
        elif head.bias is not None:
            found |= {"logit_bias": _copy(head.bias)}  # (K,)
        return found

    points = _points(module, path, channels_last=channels_last)
    points |= {
        "class_offset": Point(head.aligned_scores, "output", lambda mixed: class_offset(head, mixed[0]), 1),
        "feature_offset": Point(
            *(head.aligned_scores, "output", lambda a_pos: feature_offset(head, a_pos[0], head.class_embedding), 2)
        ),
    }
    attrs = {} if head.norm is None else {"logit_norm_eps": head.norm.eps}
    return Reading(path, points, tensors, len(head.class_embedding), attrs)


def _points(module: nn.Module, path: str, *, channels_last: bool) -> dict[str, Point]:
    """Feature and logits at a classifier: with channels last (h, w, C) or (P, C) and (K, h, w) or (K, P)."""
    if channels_last:
        return {
            "feature": Point(module, "input", partial(_one_image, path=path, dims=(3, 4))),
            "logits": Point(module, "output", lambda out: out[0].movedim(-1, 0)),
        }
    return {
        "feature": Point(module, "input", lambda x: _channels_last(_one_image(x, path=path, dims=(4,)))),
        "logits": Point(module, "output", lambda out: out[0]),
    }


def _one_image(tensor: Tensor, *, path: str, dims: tuple[int, ...]) -> Tensor:
    """Image 0 of a batch that should have no other."""
    if tensor.ndim not in dims or len(tensor) != 1:
        needed = "(1, C, h, w)" if dims == (4,) else "(1, h, w, C) or (1, P, C)"
        raise ModelError(
            f"for one image the classifier {path!r} sees features {tuple(tensor.shape)}; needed {needed}: name the "
            "classifier that sees every position of the image once"
        )
    return tensor[0]


def _channels_last(feature: Tensor) -> Tensor:
    """(C, h, w) to (h, w, C), as two dimensions: torch transposes a matrix faster than it permutes three."""
    pixels = feature.flatten(1).T  # (P, C)
    return empty(pixels.shape, like=feature).copy_(pixels).unflatten(0, feature.shape[1:])


def _on_grid(captured: dict[str, Tensor], size: tuple[int, int]) -> dict[str, Tensor]:
    """Feature (h, w, C) and logits (K, h, w), also of positions in a row."""
    feature, logits = captured["feature"], captured["logits"]
    if feature.ndim == 2:
        grid = grid_of_positions(len(feature), *size)
        feature, logits = feature.unflatten(0, grid), logits.unflatten(1, grid)
    return {"feature": feature, "logits": logits}


def _copy(weight: Tensor) -> Tensor:
    """Of a weight, which goes on changing in the model."""
    return weight.detach().clone()
