"""Checks of notebook 10: offset learning attached at a path, what it adds, and that attaching changed nothing."""

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

    Told are the LayerNorm over classes, which the identity start leaves out, the class embeddings, which were there
    before, one projection in place of two, projections with a bias, and projections of the size of the classes.
    """
    square, rows = channels**2, num_classes * channels
    wrong = {
        "one of the two projections is missing: one moves the class embeddings, one the features": square,
        "the LayerNorm over classes is counted; without norm, as here, the bias of the layer stays instead": (
            2 * square + 2 * num_classes
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
    return compare(answer, 2 * square, wrong=wrong, praise=praise, what="the number of parameters", atol=1e-9)


def check_largest_difference(function) -> Verdict:
    """The largest absolute difference between the outputs of two models on the same images, in evaluation mode.

    Asked is ``function(first, second, images)``, a number. Called on small models with dropout. Told are outputs in
    training mode, a mean, a difference with its sign, one that is not reduced to a number, a comparison of classes,
    and a result that still belongs to the graph.
    """
    if function is ... or function is None:
        return compare(None, 0, praise="", what="the function")
    if not callable(function):
        return Verdict(False, f"found {type(function).__name__}, needed the function itself, not what it returns")
    import torch

    first, second, images = _two_models()
    what = "the difference"
    try:
        pairs = (first, first), (first, second), (second, first)
        found = [function(one.train(), other.train(), images) for one, other in pairs]
    except Exception as cause:  # whatever a student's code raises is an answer, and shall be told as one
        return Verdict(False, f"your function raised {type(cause).__name__}: {cause}")
    if any(value is None or value is ... for value in found):
        return compare(None, 0, praise="", what=f"{what} (a function without return gives None)")
    tensors = [value for value in found if isinstance(value, torch.Tensor)]
    if any(value.requires_grad for value in tensors):
        return Verdict(False, f"{what} still belongs to the graph: compute it under torch.no_grad()")
    if any(value.numel() != 1 for value in tensors):
        return Verdict(
            False, f"{what} has shape {tuple(tensors[0].shape)}; needed its largest absolute value, a number"
        )
    if float(found[0]) != 0:
        return Verdict(False, "a model differs from itself: dropout is on, since the models are in training mode")
    if float(found[1]) == float(found[2]) == 0:
        return Verdict(False, "two models that do differ get the same 0 as a model and itself")
    with torch.no_grad():
        one, other = (model.eval()(images) for model in (first, second))
    change = other - one
    mistakes = {
        "that is the mean absolute difference: a few pixels that changed would hide in it": lambda d: d.abs().mean(),
        "without absolute values a difference in one direction alone is seen": lambda d: d.max(),
        "that is the length of the difference, a sum over all values": lambda d: d.norm(),
        "that is a mean squared difference": lambda d: d.square().mean(),
    }
    wrong = {text: [figure(change).item(), figure(-change).item()] for text, figure in mistakes.items()}
    wrong["without absolute values a difference in the other direction alone is seen"] = [
        (-change).max().item(),
        change.max().item(),
    ]
    moved = (one.argmax(1) != other.argmax(1)).double().mean().item()
    text = "the classes are compared, not the outputs: they can stay the same while all outputs change"
    wrong[text] = [moved, moved]
    praise = "zero for a model and itself, and as large as the worst output for two: this is a test that can fail"
    truth = [change.abs().max().item()] * 2
    values = [float(value) for value in found[1:]]
    return compare(values, truth, wrong=wrong, praise=praise, what=what, atol=1e-6)


def _two_models():
    """Two small models that differ in one layer, with dropout, and images for both."""
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
        models.append(model)
    return *models, torch.randn(2, 3, 6, 7, generator=generator)
