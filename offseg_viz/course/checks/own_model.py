"""Checks of notebook 10: offset learning attached at a path, what it adds, and that attaching changed nothing."""

import numpy as np

from offseg_viz.course.verdict import Verdict, compare


def check_attached(answer, path: str) -> Verdict:
    """A model with offset learning at `path` and nowhere else, at its identity start.

    Told are a model without it, another place, an answer that is no model, a path in place of the model, and
    projections that do not start at zero.
    """
    if answer is ... or answer is None:
        return compare(answer, 0, praise="", what="the model")
    from torch import nn

    from offseg_viz.models.final_classifier import OFFSET_HEADS

    if isinstance(answer, str):
        return Verdict(False, "that is the path; needed the model that attach_offset_learning returns")
    if not isinstance(answer, nn.Module):
        return Verdict(False, f"found {type(answer).__name__}, needed the model that attach_offset_learning returns")
    if isinstance(answer, OFFSET_HEADS):
        return Verdict(False, "that is the attached layer alone; needed the whole model")
    heads = {name: module for name, module in answer.named_modules() if isinstance(module, OFFSET_HEADS)}
    heads = {name: module for name, module in heads.items() if not any(name.startswith(f"{o}.") for o in heads)}
    if not heads:
        return Verdict(False, "no layer of this model has offset learning: was it attached to another copy?")
    if list(heads) != [path]:
        found = ", ".join(map(repr, heads))
        return Verdict(False, f"offset learning sits at {found}: is that the layer which gives the classes?")
    inner = getattr(heads[path], "offset_learning", heads[path])
    if any(projection.weight.any() for projection in (inner.class_offset_proj, inner.feature_offset_proj)):
        return Verdict(False, "the projections do not start at zero, so that the outputs have changed: leave start out")
    return Verdict(True, "named by its path, the layer is replaced in its place, and the model computes what it did")


def check_added_parameters(answer, channels: int, num_classes: int) -> Verdict:
    """How many parameters attaching adds to a 1x1 convolution with bias, at the identity start: a number.

    Told are the LayerNorm over classes, which the identity start leaves out, beside the bias or in its place, the class
    embeddings, which were there before, one projection in place of two, projections with a bias, projections of the
    size of the classes, text, and what is no whole number.
    """
    if isinstance(answer, str):
        return Verdict(False, "the number of parameters is text; needed a number, without quotation marks")
    square, rows = channels**2, num_classes * channels
    wrong = {
        "one of the two projections is missing: one moves the class embeddings, one the features": square,
        "the LayerNorm over classes is counted; without norm, as here, the bias of the layer stays instead": (
            2 * square + 2 * num_classes
        ),
        "that is with the LayerNorm over classes for the bias, as in notebook 03; the identity start has none": (
            2 * square + num_classes
        ),
        "the class embeddings are counted; they were the weight of the layer before and add nothing": (
            2 * square + rows
        ),
        "class embeddings and bias are counted; they were there before and add nothing": 2 * square
        + rows
        + num_classes,
        "that is all of the head as it is trained from scratch, LayerNorm and class embeddings included": (
            2 * square + rows + 2 * num_classes
        ),
        "the projections are counted with a bias; they have none": 2 * square + 2 * channels,
        "that is the layer as it was before": rows + num_classes,
        "the projections map channels to channels, not to classes": 2 * rows,
        "the projections map channels to channels, not classes to classes": 2 * num_classes**2,
    }
    praise = "it depends on the channels alone: as many for two classes as for a thousand"
    return compare(answer, 2 * square, wrong=wrong, praise=praise, what="the number of parameters", atol=1e-12)


def check_largest_difference(function) -> Verdict:
    """The largest absolute difference between the outputs of two models on the same images, in evaluation mode.

    Asked is ``function(first, second, images)``, a number. Called on small models with dropout, whose outputs differ
    most in an image in the middle, and there in their sign. Told are which model was in training mode, a mean, a sum, a
    square, a difference with its sign or of absolute values, one that is not reduced to a number, outputs reduced
    before they are compared, a comparison of some of the images, of classes, of parameters or for equality alone, a
    result that still belongs to the graph, and a rounded one. Outputs computed with gradients that the result does not
    carry are taken, with a remark.
    """
    if function is ... or function is None:
        return compare(None, 0, praise="", what="the function")
    if not callable(function):
        return Verdict(False, f"found {type(function).__name__}, needed the function itself, not what it returns")
    import torch

    first, second, images = _two_models()
    what = "the difference"
    in_training, with_gradients = set(), []

    def look(model, _):
        in_training.update({model} if model.training else ())
        with_gradients.append(torch.is_grad_enabled())

    hooks = [model.register_forward_pre_hook(look) for model in (first, second)]
    try:
        found = [function(first.train(), second.train(), images)]
        turned = [name for name, model in (("first", first), ("second", second)) if model in in_training]
        found += [function(second.train(), first.train(), images), function(first.train(), first, images)]
    except Exception as cause:  # whatever a student's code raises is an answer, and shall be told as one
        return Verdict(False, f"your function raised {type(cause).__name__}: {cause}")
    if (refusal := _refusal(found, what)) is not None:
        return refusal
    try:
        *values, same = map(float, found)
    except (TypeError, ValueError):
        return Verdict(False, f"{what} is {type(found[0]).__name__}; needed a number")
    if len(turned) == 2:
        return Verdict(False, "dropout is on, since the models are in training mode")
    if turned:
        return Verdict(False, f"the {turned[0]} model is still in training mode: both need eval()")
    if values == [same, same]:
        return Verdict(False, "two models that do differ get the same number as a model and itself")
    if same != 0:
        return Verdict(False, f"a model differs from itself by {same:g}; needed 0: is dropout on?")
    for hook in hooks:
        hook.remove()
    with torch.no_grad():
        one, other = (model.eval()(images) for model in (first, second))
    truth, wrong = _difference(one, other), _wrong_differences(one, other)
    wrong["the parameters are compared; needed the outputs, which need not change as much"] = [
        max(_difference(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    ] * 2
    for diagnosis, pair in wrong.items():
        if np.allclose(values, pair, rtol=1e-5, atol=0):
            return Verdict(False, diagnosis)
    if not np.isclose(*values, rtol=1e-5):
        return Verdict(False, f"{what} depends on the order of the models; without its sign it does not")
    if not np.isclose(values[0], truth, rtol=1e-6) and values[0] in {round(truth, digits) for digits in range(6)}:
        return Verdict(False, f"{what} is rounded: give all digits, since a small one matters here")
    praise = "zero for a model and itself, and as large as the worst output for two: this is a test that can fail"
    if any(with_gradients):
        praise += " (torch.no_grad() would save the memory of the gradients)"
    return compare(values[0], truth, praise=praise, what=what, atol=1e-6)


def _refusal(found: list, what: str) -> Verdict | None:
    """What keeps the results of a student's function from being single numbers, None where nothing does."""
    import torch

    if any(value is None or value is ... for value in found):
        return compare(None, 0, praise="", what=f"{what} (a function without return gives None)")
    if any(isinstance(value, bool) or getattr(value, "dtype", None) in (torch.bool, np.bool_) for value in found):
        return Verdict(False, "true or false tells whether they differ; needed by how much, a number")
    if any(isinstance(value, torch.Tensor) and value.requires_grad for value in found):
        return Verdict(False, f"{what} still belongs to the graph: compute it under torch.no_grad()")
    if any(np.prod(np.shape(value)) != 1 for value in found):
        shape = tuple(np.shape(found[0]))
        return Verdict(False, f"{what} has shape {shape}; needed its largest absolute value, a number")
    return None


def _difference(one, other) -> float:
    """Largest absolute difference of two tensors."""
    return float((one - other).detach().abs().max())


def _wrong_differences(one, other) -> dict[str, list[float]]:
    """What typical mistakes give for the outputs (B, K, H, W) of two models, in both orders, by diagnosis."""
    mistakes = {
        "that is the mean absolute difference: a few pixels that changed would hide in it": (
            lambda a, b: (a - b).abs().mean()
        ),
        "that is the sum of the absolute differences; needed the largest one": lambda a, b: (a - b).abs().sum(),
        "without absolute values a difference in one direction alone is seen": lambda a, b: (b - a).max(),
        "without absolute values a difference in the other direction alone is seen": lambda a, b: (a - b).max(),
        "absolute values are taken before the difference: outputs that differ in their sign alone are missed": (
            lambda a, b: (a.abs() - b.abs()).abs().max()
        ),
        "the largest output of each is taken before the difference; needed the difference of every output": (
            lambda a, b: (a.max() - b.max()).abs()
        ),
        "the largest absolute output of each is taken before the difference; needed that of every output": (
            lambda a, b: (a.abs().max() - b.abs().max()).abs()
        ),
        "that is the length of the difference, a sum over all values": lambda a, b: (a - b).norm(),
        "that is a mean squared difference": lambda a, b: (a - b).square().mean(),
        "that is the largest squared difference; needed the largest absolute one": lambda a, b: (a - b).square().max(),
        "that is the root of the mean squared difference: a few pixels that changed would hide in it": (
            lambda a, b: (a - b).square().mean().sqrt()
        ),
        "the first image alone is compared; needed all of them": lambda a, b: (a - b)[:1].abs().max(),
        "the last image alone is compared; needed all of them": lambda a, b: (a - b)[-1:].abs().max(),
        "that is a mean over the images of the largest difference of each; needed the largest of all": (
            lambda a, b: (a - b).abs().amax((1, 2, 3)).mean()
        ),
        "the classes are compared, not the outputs: they can stay the same while all outputs change": (
            lambda a, b: (a.argmax(1) != b.argmax(1)).double().mean()
        ),
        "that counts the pixels whose class changes; needed how far the outputs do": (
            lambda a, b: (a.argmax(1) != b.argmax(1)).sum()
        ),
    }
    return {text: [float(figure(one, other)), float(figure(other, one))] for text, figure in mistakes.items()}


def _two_models():
    """Two small models that differ in their last layer, with dropout, and images for both.

    Their outputs differ most in the middle image, where one class changes its sign, and by another amount upwards than
    downwards.
    """
    import torch
    from torch import nn

    generator = torch.Generator().manual_seed(0)
    models = []
    for shift in (0.0, 0.5):
        model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Dropout2d(0.5), nn.Conv2d(4, 5, 1))
        with torch.no_grad():
            values = torch.Generator().manual_seed(1)
            for parameter in model.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=values))
            model[3].weight[:2] -= shift
            model[3].bias[3] += shift / 2
            if shift:
                model[3].weight[4] *= -1
                model[3].bias[4] *= -1
        models.append(model)
    images = torch.randn(3, 3, 6, 7, generator=generator)
    images[1] *= 2
    return *models, images
