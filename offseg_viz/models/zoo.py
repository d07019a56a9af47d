"""The networks by name: what there is, and how one is built."""

from pathlib import Path

import torch
from torch import nn

from offseg_viz.classes import ClassList
from offseg_viz.errors import ModelError, UnknownNameError
from offseg_viz.models.memory import keep_freed_memory
from offseg_viz.models.offset_learning import OffsetLearning
from offseg_viz.models.per_pixel import PerPixelClassifier
from offseg_viz.models.segmenter import Segmenter
from offseg_viz.models.weights import bundled_weights, read_weights

PLAIN = (
    "nano",
    *(f"segformer-b{size}" for size in range(6)),
    *(f"segnext-{size}" for size in "tsb"),
    "mask2former-swin-t",
)
"""Networks that exist plain and, with ``-offset`` appended, with offset learning."""

MODELS = (*(f"offseg-{size}" for size in "tbl"), *(name + end for name in PLAIN for end in ("", "-offset")))
"""Every name that `load_model` takes."""


def load_model(
    name: str,
    *,
    num_classes: int | None = None,
    classes: ClassList | None = None,
    weights: str | Path | None = None,
    seed: int = 0,
) -> Segmenter:
    """Build a network, in evaluation mode.

    Parameters
    ----------
    name : one of `available_models()`.
    num_classes : K, for a network with fresh weights.
    classes : names and colours instead of `num_classes`.
    weights : the name of bundled weights ("scenes"), or the path of a checkpoint of this package (``.safetensors`` or
        ``.ckpt``); classes then come from the checkpoint.
    seed : of the fresh weights; the global random state is left as it was.

    Raises
    ------
    UnknownNameError
        For an unknown model, listing the valid ones.
    ModelError
        If neither classes nor weights are given, or they contradict each other.
    CheckpointError
        If the weights are missing, damaged, or those of another network.
    """
    if name not in MODELS:
        raise UnknownNameError("model", name, MODELS)
    if weights is not None:
        path = bundled_weights(name, str(weights))
        stored = read_weights(path, model=name)
        given = classes.names if classes is not None else None
        if given not in (None, stored.classes.names) or num_classes not in (None, len(stored.classes)):
            wanted = f"{num_classes or len(given)} classes asked for"
            raise ModelError(f"{path} holds {len(stored.classes)} classes, {wanted}; leave num_classes and classes out")
        model = _build(name, stored.classes, seed)
        stored.load_into(model)
        return model.eval()
    if classes is None and num_classes is None:
        raise ModelError(
            f"load_model({name!r}) needs num_classes=..., classes=... or weights=... (bundled: 'scenes' for nano)"
        )
    if classes is None:
        if not isinstance(num_classes, int) or num_classes < 1:
            raise ModelError(f"num_classes is {num_classes!r}; needed a whole number from 1")
        classes = ClassList.numbered(num_classes)
    elif num_classes not in (None, len(classes)):
        raise ModelError(f"num_classes={num_classes} but {len(classes)} classes were given; pass one of the two")
    return _build(name, classes, seed).eval()


def _build(name: str, classes: ClassList, seed: int) -> Segmenter:
    """A network with fresh weights; the modules of a family are imported when one of it is asked for."""
    keep_freed_memory()
    family, _, size = name.removesuffix("-offset").partition("-")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # leaves the generators of other devices as they are
        parts = BUILDERS[family](size, len(classes), name.endswith("-offset"))
        if family == "mask2former":
            from offseg_viz.models.heads.mask2former import MaskSegmenter

            return MaskSegmenter(name, *parts, classes)
        return Segmenter(name, *parts, classes)


def _classifier(channels: int, num_classes: int, offset: bool) -> nn.Module:
    return OffsetLearning(channels, num_classes) if offset else PerPixelClassifier(channels, num_classes)


def _nano(size: str, num_classes: int, offset: bool) -> tuple[nn.Module, nn.Module]:
    from offseg_viz.models.backbones.nano import NanoBackbone
    from offseg_viz.models.heads.segformer import SegFormerHead

    backbone = NanoBackbone()
    return backbone, SegFormerHead(backbone.channels, 64, _classifier(64, num_classes, offset))


def _segformer(size: str, num_classes: int, offset: bool) -> tuple[nn.Module, nn.Module]:
    from offseg_viz.models.backbones.mit import MiT
    from offseg_viz.models.heads.segformer import SegFormerHead

    backbone = MiT(size)
    return backbone, SegFormerHead(backbone.channels, 256, _classifier(256, num_classes, offset), pool=offset)


def _segnext(size: str, num_classes: int, offset: bool) -> tuple[nn.Module, nn.Module]:
    from offseg_viz.models.backbones.mscan import MSCAN
    from offseg_viz.models.heads.hamburger import HamburgerHead

    backbone, channels = MSCAN(size), 512 if size == "b" else 256
    return backbone, HamburgerHead(backbone.channels, channels, _classifier(channels, num_classes, offset))


def _offseg(size: str, num_classes: int, offset: bool) -> tuple[nn.Module, nn.Module]:
    from offseg_viz.models.backbones.efficientformer_v2 import EfficientFormerV2
    from offseg_viz.models.heads.offseg import OffSegHead

    backbone = EfficientFormerV2({"t": "s1", "b": "s2", "l": "l"}[size])
    widths = (32, 32, 64, 128) if size == "t" else (32, 64, 128, 256)
    return backbone, OffSegHead(backbone.channels, widths, OffsetLearning(256, num_classes))


def _mask2former(size: str, num_classes: int, offset: bool) -> tuple[nn.Module, nn.Module]:
    from offseg_viz.models.heads.mask2former import mask2former_swin_t

    return mask2former_swin_t(num_classes, offset=offset)


BUILDERS = {
    "nano": _nano,
    "segformer": _segformer,
    "segnext": _segnext,
    "offseg": _offseg,
    "mask2former": _mask2former,
}
