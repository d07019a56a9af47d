"""Checks of notebook 04, hooks and records: a hook, the places of grid cells, logits made again from a record."""

from collections.abc import Callable
from contextlib import suppress

import numpy as np
import xarray as xr

from offseg_viz.analyze.align import scores
from offseg_viz.course.verdict import Verdict, compare

_WHAT = "captured_input"


def check_captured_input(function: Callable) -> Verdict:
    """``captured_input(model, module, images)``: a detached copy of what `module` is given; no hook stays behind.

    It is tried on a small network whose ReLU works in place. Diagnosed: nothing returned; the output; the tuple that a
    hook gets; a tensor that was overwritten, or that still has its graph; hooks left behind, after a pass that raised
    too.
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
        try:
            found = function(model, model[number], images)
        except Exception as problem:  # of the student's function, whatever it is
            return Verdict(False, f"{_WHAT} raised {type(problem).__name__}: {problem}")
        fault = _fault(found, truth, returned)
        if fault is not None:
            return Verdict(False, fault)
        if _hooks(model):
            return Verdict(False, "right tensor, but the hook is still there afterwards: remove it by its handle")
    with suppress(Exception):  # two channels, of which the first layer needs three
        function(model, model[2], images[:, :2])
    if _hooks(model):
        left = "right, but where the forward pass raises an error the hook stays behind: what belongs into `finally`?"
        return Verdict(False, left)
    return Verdict(True, "a copy of the input, taken before anything could overwrite it, and no hook stays behind")


def check_grid_centres(answer, record: xr.Dataset) -> Verdict:
    """Centres of the rows of grid cells, in pixels of the image.

    Diagnosed: the upper edges of the cells, the lower ones, numbers of pixels in place of places, cell numbers.
    """
    stride = record.attrs["stride"][0]
    number = np.arange(record.sizes["y"])
    wrong = {
        "these are the upper edges of the cells: their centres lie half a cell further": number * stride,
        "these are the lower edges of the cells: their centres lie half a cell back": (number + 1) * stride,
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
        what="the centres",
        praise="so a map lies on its photograph without any arithmetic",
    )


def check_logits(answer, record: xr.Dataset) -> Verdict:
    """Logits of a per-pixel record from its feature, class embedding and bias, dims (cls, y, x).

    Diagnosed: the bias left out, taken off, or added twice; a softmax applied.
    """
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
        what="the logits",
        praise="feature, class embedding and bias give back what the network returned: nothing else is in between",
        atol=1e-4,
    )


def _fault(found, truth, returned) -> str | None:
    """What is wrong with a captured tensor; None where nothing is."""
    import torch

    if found is None or found is ...:
        return f"{_WHAT} is still empty: it returned nothing, replace the ... by your own code"
    if isinstance(found, tuple | list):
        return f"{_WHAT} returned a {type(found).__name__}: a hook is given a tuple of all inputs, take the first of it"
    if not isinstance(found, torch.Tensor):
        return f"{_WHAT} returned {type(found).__name__}; needed a tensor"
    values = found.detach()
    if values.shape != truth.shape or not torch.allclose(values, truth, atol=1e-6):
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


def _hooks(model) -> int:
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.modules())
