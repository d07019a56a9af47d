"""Where a torch model classifies: the layer whose rows are the class embeddings, found by itself or named by path."""

import difflib
from collections.abc import Callable, Iterable, Iterator, Sized
from functools import cache

from torch import nn
from torch.nn.parameter import UninitializedParameter

from offseg_viz.errors import ModelError
from offseg_viz.models.linear_offset_learning import LinearOffsetLearning
from offseg_viz.models.mask_offset_learning import AlignedMaskPredictor
from offseg_viz.models.offset_learning import OffsetLearning
from offseg_viz.models.per_pixel import PerPixelClassifier
from offseg_viz.models.submodules import submodules

OFFSET_HEADS = (OffsetLearning, LinearOffsetLearning, AlignedMaskPredictor)
"""Modules that classify with offset learning."""

CLASSIFIER_NAMES = {"classifier", "cls_seg", "conv_seg", "seg_classifier", "seg_head", "segmentation_head"}
"""What libraries call the layer (transformers, mmsegmentation, torchvision, ...), as one part of its path."""

LISTED = 8
"""Most candidates that an error names; those registered last, where a classifier usually is."""


def final_classifier(model: nn.Module, path: str | None = None) -> tuple[str, nn.Module]:
    """Path and module of the classifier of a segmentation model.

    The module is a 1x1 convolution, a linear layer, a `PerPixelClassifier`, one of `OFFSET_HEADS`, or the mask
    predictor of transformers' Mask2Former. Without a path it is looked for: first a head of this package or a mask
    predictor; then among the 1x1 convolutions and linear layers, leaving out auxiliary heads and what a
    ``nn.Sequential`` follows by further weights. One is taken if it alone has as many outputs as the model says that
    it has labels (``len(model.classes)``, ``model.config.num_labels`` or ``model.num_classes``), or alone has a path
    that says classifier (`CLASSIFIER_NAMES`), or is the only one and the last layer of the model.

    Parameters
    ----------
    model : any torch model.
    path : path of the module, as in ``model.named_modules()``, such as ``"decode_head.classifier"``.

    Raises
    ------
    ModelError
        If there is no such path (the nearest are named) or no classifier at it (what is there is said), or if without
        a path none is found (with what was looked for) or several are (they are listed).
    """
    if not isinstance(model, nn.Module):
        raise ModelError(f"needed a torch model (nn.Module), found {type(model).__name__}")
    if not isinstance(path, str | None):
        raise ModelError(
            f"the classifier is named by its path, a text as in model.named_modules(); found {type(path).__name__}"
        )
    return _found(model) if path is None else _named(model, path)


def describe_layer(module: nn.Module) -> str:
    """What a module is, in words: ``"1x1 convolution, 256 -> 150"``."""
    if isinstance(module, nn.Conv2d):
        size = "x".join(map(str, module.kernel_size))
        extras = [f"stride {module.stride}"] if module.stride != (1, 1) else []
        extras += [f"padding {module.padding}"] if module.padding not in ("same", "valid", (0, 0)) else []
        extras += [f"{module.groups} groups"] if module.groups != 1 else []
        return ", ".join([f"{size} convolution", f"{module.in_channels} -> {module.out_channels}", *extras])
    if isinstance(module, nn.Linear):
        return f"linear layer, {module.in_features} -> {module.out_features}"
    return type(module).__name__


def is_mask_predictor(module: nn.Module) -> bool:
    """Whether it is the mask predictor of transformers' Mask2Former, told by name: transformers stays unimported."""
    return _is_kind_of_mask_predictor(type(module))


def _is_kind_of_mask_predictor(kind: type) -> bool:
    return any(base.__name__ == "Mask2FormerMaskPredictor" for base in kind.__mro__)


def _is_head(module: nn.Module) -> bool:
    return _is_kind_of_head(type(module))


@cache
def _is_kind_of_head(kind: type) -> bool:
    return issubclass(kind, (*OFFSET_HEADS, PerPixelClassifier)) or _is_kind_of_mask_predictor(kind)


def _is_layer(module: nn.Module) -> bool:
    """A linear map of every position by itself, whose weight is known."""
    if isinstance(module, nn.Conv2d):
        unpadded = module.padding in ("same", "valid", (0, 0))
        plain = (module.kernel_size, module.stride, module.groups) == ((1, 1), (1, 1), 1) and unpadded
    else:
        plain = isinstance(module, nn.Linear)
    return plain and not isinstance(module.weight, UninitializedParameter)


def _named(model: nn.Module, path: str) -> tuple[str, nn.Module]:
    modules = dict(model.named_modules(remove_duplicate=False))
    if path not in modules:
        near = difflib.get_close_matches(path, modules, n=3, cutoff=0.5)
        ending = path.rsplit(".", 1)[-1]
        near = near or [name for name in modules if name.rsplit(".", 1)[-1] == ending][-3:]
        hint = f"nearest: {', '.join(map(repr, near))}" if near else "model.named_modules() lists them"
        raise ModelError(f"the model has no module {path!r}; {hint}")
    parts = path.split(".")
    for end in range(len(parts)):  # a layer inside a head of ours stands for the head
        outer = ".".join(parts[:end])
        if isinstance(modules[outer], (*OFFSET_HEADS, PerPixelClassifier)):
            return outer, modules[outer]
    module = modules[path]
    if not (_is_head(module) or _is_layer(module)):
        inside = [f"{path}.{name}" for name, layer in module.named_modules() if name and _is_layer(layer)]
        hint = f"; inside it are {_listing(model, inside)}" if inside else ""
        raise ModelError(
            f"{path!r} is a {describe_layer(module)}; needed a 1x1 convolution (stride 1, no padding, one group) "
            f"or a linear layer{hint}"
        )
    return path, module


def _found(model: nn.Module) -> tuple[str, nn.Module]:
    heads = [name for name in _outermost(model, _is_head) if not _is_auxiliary(name)]
    if len(heads) == 1:
        return heads[0], model.get_submodule(heads[0])
    if heads:
        raise ModelError(f"several classifiers, name one of them by its path: {_listing(model, heads)}")
    layers = [name for name, module in model.named_modules() if _is_layer(module)]
    candidates = [name for name in layers if not (_is_auxiliary(name) or _is_continued(model, name))]
    labels = _number_of_labels(model)
    if labels is not None:
        candidates = [name for name in candidates if _outputs(model.get_submodule(name)) == labels]
    if not candidates:
        outputs = "" if labels is None else f" with {labels} outputs, the number of labels that the model states,"
        there = f"; there are {_listing(model, layers)}" if layers else ""
        raise ModelError(
            f"no classifier found: looked for a 1x1 convolution or linear layer{outputs} outside of auxiliary heads "
            f"and not followed by other layers of a Sequential{there}"
        )
    named = [name for name in candidates if not CLASSIFIER_NAMES.isdisjoint(name.split("."))]
    finalists = named or candidates
    if len(finalists) > 1:
        raise ModelError(
            f"{len(finalists)} layers may be the classifier, name one by its path: {_listing(model, finalists)}"
        )
    if labels is None and not named and finalists[0] != _last_layer(model):
        raise ModelError(
            f"no layer is surely the classifier: {_listing(model, finalists)} is not the model's last layer, "
            f"{_last_layer(model)!r} is; name the classifier by its path"
        )
    return finalists[0], model.get_submodule(finalists[0])


def _outermost(model: nn.Module, wanted: Callable[[nn.Module], bool]) -> Iterator[str]:
    """Paths of the wanted modules, without those inside of others."""
    inside: set[nn.Module] = set()
    for name, module in submodules(model):
        if module not in inside and wanted(module):
            inside.update(module.modules())
            yield name


def _is_auxiliary(path: str) -> bool:
    return any(part.startswith("aux") for part in path.split("."))


def _is_continued(model: nn.Module, path: str) -> bool:
    """Whether a ``nn.Sequential`` around the layer goes on with further weights, so that its outputs are no scores."""
    parts = path.split(".")
    for end in range(len(parts)):
        outer = model.get_submodule(".".join(parts[:end]))
        if isinstance(outer, nn.Sequential) and type(outer).forward is nn.Sequential.forward:
            position = [name for name, _ in outer.named_children()].index(parts[end])
            if any(_has_weights(child) for child in list(outer.children())[position + 1 :]):
                return True
    return False


def _has_weights(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _number_of_labels(model: nn.Module) -> int | None:
    """What the model says of its labels; of a model that only wraps another one, what the inner one says."""
    while True:
        classes = getattr(model, "classes", None)
        if isinstance(classes, Sized) and not isinstance(classes, nn.Module | str):
            return len(classes)
        for owner, name in ((getattr(model, "config", None), "num_labels"), (model, "num_classes")):
            if isinstance(number := getattr(owner, name, None), int):
                return number
        inner = [child for child in model.children() if _has_weights(child)]
        if len(inner) != 1:
            return None
        model = inner[0]


def _last_layer(model: nn.Module) -> str:
    layers = [
        name for name, module in model.named_modules() if next(module.parameters(recurse=False), None) is not None
    ]
    return [name for name in layers if not _is_auxiliary(name)][-1]


def _outputs(layer: nn.Module) -> int:
    return layer.out_channels if isinstance(layer, nn.Conv2d) else layer.out_features


def _listing(model: nn.Module, paths: Iterable[str]) -> str:
    paths = list(paths)
    more = [f"{len(paths) - LISTED} more"] if len(paths) > LISTED else []
    return ", ".join([*(f"{path!r} ({describe_layer(model.get_submodule(path))})" for path in paths[-LISTED:]), *more])
