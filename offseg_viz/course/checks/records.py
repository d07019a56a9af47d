"""Checks of notebook 04, hooks and records: a hook, the places of grid cells, logits made again from a record."""

from collections.abc import Callable

import numpy as np
import xarray as xr

from offseg_viz.analyze.align import logits, scores
from offseg_viz.course.verdict import Verdict, compare

_WHAT = "captured_input"
_RETURNED = (
    "your hook returns the tensor, and torch takes what a pre-hook returns in place of the input: let it return nothing"
)
_CHANGED = "a hook must return nothing, and change nothing in place"


def check_captured_input(function: Callable) -> Verdict:
    """``captured_input(model, module, images)``: a detached copy of what `module` is given; no hook stays behind.

    It is tried on a small network whose ReLU works in place, which hooks of others listen to, and on networks that
    raise an error. Diagnosed: nothing returned; the output; the tuple that a hook gets; another type of number; a
    tensor that was overwritten, or that still has its graph; a hook that returns something; a network that goes on with
    another tensor, or was not run; hooks left behind, and hooks of others removed; an error that was swallowed.
    """
    if function is ... or function is None or not callable(function):
        return Verdict(False, f"{_WHAT} is {type(function).__name__}; needed the function itself, without a call")
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 5, 1), nn.ReLU(inplace=True), nn.Conv2d(5, 4, 1)).eval()
        images = torch.randn(2, 3, 4, 6)
    with torch.no_grad():
        before = model[0](images)
        after = before.relu()
        out = model[2](after)
    for number, truth, returned in ((2, after, out), (1, before, after)):
        fault = _fault_of_run(function, model, number, images, truth, returned, out)
        if fault is not None:
            return Verdict(False, fault)
    fault = _fault_of_failing_run(function, images)
    if fault is not None:
        return Verdict(False, fault)
    return Verdict(True, "a copy of the input, taken before anything could overwrite it, and no hook stays behind")


def check_grid_centres(answer, record: xr.Dataset) -> Verdict:
    """Centres of the rows of grid cells, in pixels of the image.

    Diagnosed: the upper edges of the cells, the lower ones, the centre of the first pixel, or numbers of pixels, in
    place of the centre of the cell; cell numbers.
    """
    stride = record.attrs["stride"][0]
    number = np.arange(record.sizes["y"])
    wrong = {
        "these are the upper edges of the cells: their centres lie half a cell further": number * stride,
        "these are the lower edges of the cells: their centres lie half a cell back": (number + 1) * stride,
        "half a pixel was added, which is the centre of the first pixel; needed is half a cell": number * stride + 0.5,
        "half a pixel too small: the first pixel reaches from 0 to 1, so that its own centre is 0.5": (number + 0.5)
        * stride
        - 0.5,
        "these count cells: a cell is `stride` pixels high": number + 0.5,
        "these are the numbers of the cells: a cell is `stride` pixels high": number,
        "cells spread from the first to the last pixel edge: the outer ones reach beyond the image": np.linspace(
            0, record.attrs["window"][2], len(number)
        ),
    }
    return compare(
        answer,
        record.y.values,
        wrong=wrong,
        what="`centres`",
        praise="so a map lies on its photograph without any arithmetic",
    )


def check_logits(answer, record: xr.Dataset) -> Verdict:
    """Logits of a per-pixel record from its feature, class embedding and bias, dims (cls, y, x).

    Diagnosed: the bias left out, taken off, or added twice; a softmax applied; the logits of the record, or those of
    the package, in place of a computation.
    """
    if _is_taken(answer, record):
        return Verdict(False, "these were in the record, or made by the package: compute them from E, W and the bias")
    products = scores(record, "initial").values
    bias = record.logit_bias.values.reshape(-1, 1, 1)
    powers = np.exp(products + bias - (products + bias).max(axis=0))
    wrong = {
        "these are the products of features and class embeddings: the bias of the classes is missing": products,
        "the bias was taken off": products - bias,
        "the bias was added twice": products + 2 * bias,
        "a softmax was applied: logits come before it": powers / powers.sum(axis=0),
    }
    return compare(
        answer,
        record.logits.values,
        wrong=wrong,
        what="`my_logits`",
        praise="feature, class embedding and bias give back what the network returned: nothing else is in between",
        atol=1e-4,
    )


def _is_taken(answer, record: xr.Dataset) -> bool:
    """Whether logits are those of the record, or what `offseg_viz.logits` returns, name and every bit."""
    if isinstance(answer, xr.DataArray) and answer.name == "logits" and np.array_equal(answer, logits(record)):
        return True
    return isinstance(answer, xr.DataArray | np.ndarray) and np.shares_memory(answer, record.logits.values)


def _fault_of_run(function, model, number, images, truth, returned, out) -> str | None:
    """What is wrong with a function that captures the input of layer `number` of a model; None where nothing is."""
    import torch

    module, given, last = model[number], [], []
    listeners = [
        model[number - 1].register_forward_hook(lambda _, inputs, output: given.append(output)),
        module.register_forward_pre_hook(lambda _, inputs: None),  # of somebody else: it has to stay
        module.register_forward_hook(lambda _, inputs, output: given.append(inputs[0])),
        model[-1].register_forward_hook(lambda _, inputs, output: last.append(output.detach().clone())),
    ]
    others = _hooks(model)
    try:
        found = function(model, module, images)
    except Exception as problem:  # of the student's function, whatever it is
        return f"{_WHAT} raised {type(problem).__name__}: {problem}"
    finally:
        left = _hooks(model)
        for listener in listeners:
            listener.remove()
    replaced = len(given) > 1 and given[-1] is not given[-2]
    fault = _fault(found, truth, returned, replaced)
    if fault is not None:
        return fault
    if others - left:
        return "right tensor, but hooks of others are gone too: remove your own alone, by the handle of registering it"
    if left - others:
        return "right tensor, but the hook is still there afterwards: remove it by its handle"
    if not last:
        return "right tensor, but the network was not run to its end: call model(images)"
    if last[-1].shape != out.shape or not torch.allclose(last[-1], out, atol=1e-6):
        return f"right tensor, but the network went on with another one: {_RETURNED if replaced else _CHANGED}"
    return None


def _fault_of_failing_run(function, images) -> str | None:
    """What is wrong with a function whose forward pass raises an error, before `module` is reached or after."""
    from torch import nn

    class ForwardError(RuntimeError):
        pass

    class Failing(nn.Module):
        def forward(self, images):
            raise ForwardError("this network fails on purpose")

    layers = [Failing(), nn.Conv2d(3, 3, 1)]
    for module, model in ((layers[1], nn.Sequential(*layers)), (layers[1], nn.Sequential(*reversed(layers)))):
        error = None
        try:
            function(model, module, images)
        except Exception as problem:
            error = problem
        if _hooks(model):
            return (
                "right, but where the forward pass raises an error the hook stays behind: what belongs into `finally`?"
            )
        while error is not None and not isinstance(error, ForwardError):  # an error of one's own may follow from it
            error = error.__cause__ or error.__context__
        if error is None:
            return (
                "right, but the error of the forward pass was swallowed: let it reach the caller (no `return` in "
                "`finally`, no `except` that goes on)"
            )
    return None


def _fault(found, truth, returned, replaced: bool) -> str | None:
    """What is wrong with a captured tensor; None where nothing is. `replaced`: a hook changed the module's input."""
    import torch

    if found is None or found is ...:
        return (
            f"{_WHAT} is still empty: replace the ... by your own code. Or it returns None: does it `return` what it "
            "kept?"
        )
    if isinstance(found, tuple | list):
        return f"{_WHAT} returned a {type(found).__name__}: a hook is given a tuple of all inputs, take the first of it"
    if not isinstance(found, torch.Tensor):
        return f"{_WHAT} returned {type(found).__name__}; needed a tensor"
    values = found.detach()
    if values.dtype != truth.dtype:
        return f"{_WHAT} returned numbers of {values.dtype}, given were {truth.dtype}: keep their type"
    if values.shape != truth.shape or not torch.allclose(values, truth, atol=1e-6):
        if replaced:
            return _RETURNED
        if values.shape == returned.shape and torch.allclose(values, returned, atol=1e-6):
            if truth.shape == returned.shape:
                return (
                    "overwritten: in front of a ReLU that works in place, what was kept shows what came after it. Copy "
                    "the tensor as it passes, before the module runs"
                )
            return "that is what the module returned, not what it was given"
        return f"{_WHAT} returned a tensor {tuple(values.shape)} that is not the input {tuple(truth.shape)}"
    if found.requires_grad:
        return "right values, but the tensor holds on to the graph of the whole forward pass: detach it"
    return None


def _hooks(model) -> set[int]:
    """Numbers of all hooks of a model; no two of a process are alike."""
    return {number for part in model.modules() for number in (*part._forward_hooks, *part._forward_pre_hooks)}
