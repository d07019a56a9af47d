"""Offset learning for a model that exists: its classifier is swapped for an offset-learning head, and back."""

import torch
from torch import nn

from offseg_viz.errors import ModelError, UnknownNameError
from offseg_viz.models.final_classifier import OFFSET_HEADS, describe_layer, final_classifier, is_mask_predictor
from offseg_viz.models.linear_offset_learning import LinearOffsetLearning
from offseg_viz.models.mask_offset_learning import AlignedMaskPredictor, MaskOffsetLearning
from offseg_viz.models.offset_learning import OffsetLearning
from offseg_viz.models.per_pixel import PerPixelClassifier

STARTS = ("identity", "paper")
"""How an attached head can start."""

REPLACED = "replaced_classifier"
"""Attribute of an attached head: the module it replaced, in a tuple, so that it is no submodule of the head and neither
trained nor saved with it."""


def attach_offset_learning(
    model: nn.Module,
    classifier: str | None = None,
    *,
    norm: bool | None = None,
    start: str = "identity",
    seed: int = 0,
) -> nn.Module:
    """Replace the classifier of a segmentation model by offset learning (arXiv 2508.08811), **in the model passed**.

    A 1x1 convolution (K x C) becomes `OffsetLearning` on features (B, C, h, w); a linear layer on (B, P, C) or
    (B, h, w, C) becomes the same with channels last. Its rows are what the class embeddings start from. Classification
    dropout inside a `PerPixelClassifier` goes with it, as in the released heads. In a Mask2Former, of transformers or
    of `load_model`, the masks are made by mask embeddings and pixel map after they have been aligned.

    dtype, device, training mode and whether the weights require a gradient follow the layer that is replaced. To load
    the state dict of an attached model, attach offset learning to a model of its kind first, with the same `norm`.

    Parameters
    ----------
    model : any torch model; it is modified.
    classifier : path of the classifier, such as ``"decode_head.classifier"``; if None it is looked for as
        `final_classifier` says.
    norm : LayerNorm over the K classes, as the released code has it. If None: with ``start="paper"``, except for
        masks, which never have one. With it, a bias of the layer is left out: the norm has its own, which starts at 0.
    start : "identity": both projections start at zero, so that the logits are those of the model before up to
        rounding, and a pretrained model is fine-tuned without a drop; the bias is kept. "paper": the published
        initialisation of the projections, truncated normal with standard deviation 0.02.
    seed : of the projections of ``start="paper"``; the global random state is left as it was.

    Returns
    -------
    The same model.

    Raises
    ------
    UnknownNameError
        For an unknown `start`.
    ModelError
        If the classifier is not found, ambiguous or none (see `final_classifier`), if the model has offset learning
        already, if it is itself the layer, or if `norm` contradicts ``start="identity"`` or a model of masks.

    Examples
    --------
    >>> import torch
    >>> import offseg_viz as ov
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 5, 1)).eval()
    >>> images = torch.rand(2, 3, 10, 12)
    >>> before = model(images)
    >>> model = ov.attach_offset_learning(model)
    >>> type(model[2]).__name__, torch.allclose(model(images), before, atol=1e-6)
    ('OffsetLearning', True)
    >>> ov.detach_offset_learning(model)[2]
    Conv2d(8, 5, kernel_size=(1, 1), stride=(1, 1))
    """
    if start not in STARTS:
        raise UnknownNameError("start", start, STARTS)
    path, layer = final_classifier(model, classifier)
    _refuse_second(model)
    if path == "":
        raise ModelError(
            f"the model is itself the classifier ({describe_layer(layer)}), which cannot be replaced inside it; "
            "wrap it in torch.nn.Sequential"
        )
    if norm and is_mask_predictor(layer):
        raise ModelError(f"norm=True but {path!r} predicts masks, whose offset learning has no norm; leave norm out")
    if norm and start == "identity":
        raise ModelError(
            'norm=True changes the logits, which start="identity" keeps; leave norm out or take start="paper"'
        )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would also seed every GPU, which is not undone
        if is_mask_predictor(layer):
            head = _mask_head(layer)
        else:
            head = _per_pixel_head(layer, norm=start == "paper" if norm is None else norm)
    if start == "identity":
        inner = getattr(head, "offset_learning", head)
        nn.init.zeros_(inner.class_offset_proj.weight)
        nn.init.zeros_(inner.feature_offset_proj.weight)
    head.train(layer.training)
    setattr(head, REPLACED, (layer,))
    _replace(model, layer, head)
    return model


def detach_offset_learning(model: nn.Module) -> nn.Module:
    """Undo `attach_offset_learning`, **in the model passed**: the layer that was replaced comes back.

    It has the weights of the moment when it was replaced, on the device and in the dtype that the head has by now.
    What else was trained in the meantime stays so, among it the mask embedding MLP of a Mask2Former.

    Parameters
    ----------
    model : a model with attached offset learning; it is modified. A copy of one (``copy.deepcopy``) is one too.

    Returns
    -------
    The same model.

    Raises
    ------
    ModelError
        If nothing is attached.
    """
    heads = [module for module in model.modules() if hasattr(module, REPLACED)]
    if not heads:
        own = any(isinstance(module, OFFSET_HEADS) for module in model.modules())
        hint = "its offset learning is its own, built with it" if own else "call attach_offset_learning first"
        raise ModelError(f"no offset learning is attached to this {type(model).__name__}; {hint}")
    for head in heads:
        (layer,) = getattr(head, REPLACED)
        weight = next(head.parameters())
        _replace(model, head, layer.to(weight.device, weight.dtype).train(head.training))
    return model


def _refuse_second(model: nn.Module) -> None:
    for path, module in model.named_modules():
        if isinstance(module, OFFSET_HEADS):
            how = (
                "attached: call detach_offset_learning first" if hasattr(module, REPLACED) else "its own, built with it"
            )
            raise ModelError(f"the model has offset learning already, at {path!r}, {how}")


def _per_pixel_head(layer: nn.Module, *, norm: bool) -> nn.Module:
    """Offset learning whose class embeddings and, without norm, bias are those of the layer."""
    source = layer.classifier if isinstance(layer, PerPixelClassifier) else layer
    weight = source.weight.detach().flatten(1)  # (K, C)
    bias = source.bias is not None and not norm  # under a norm it would stand beside the norm's own bias
    head = OffsetLearning(weight.shape[1], weight.shape[0], norm=norm, bias=bias).to(weight.device, weight.dtype)
    head.requires_grad_(source.weight.requires_grad)
    with torch.no_grad():
        head.class_embedding.copy_(weight)
        if bias:
            head.bias.copy_(source.bias)
            head.bias.requires_grad_(source.bias.requires_grad)
    return LinearOffsetLearning(head) if isinstance(source, nn.Linear) else head


def _mask_head(predictor: nn.Module) -> AlignedMaskPredictor:
    *_, last = (module for module in predictor.mask_embedder.modules() if isinstance(module, nn.Linear))
    offset_learning = MaskOffsetLearning(last.out_features).to(last.weight.device, last.weight.dtype)
    return AlignedMaskPredictor(predictor, offset_learning.requires_grad_(last.weight.requires_grad))


def _replace(model: nn.Module, present: nn.Module, successor: nn.Module) -> None:
    """Put a module in every place of another one, plain lists included, through which some models call their layers."""
    for path, module in list(model.named_modules(remove_duplicate=False)):
        if module is present:
            model.set_submodule(path, successor)
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, list) and any(item is present for item in value):
                value[:] = [successor if item is present else item for item in value]
