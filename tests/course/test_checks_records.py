"""The checks of notebook 04: right answers, blanks, and the diagnoses of typical mistakes."""

import re

import numpy as np
import pytest
import torch
import xarray as xr
from noise import noise_sample, trained_looking

import offseg_viz as ov
from offseg_viz.course.checks.records import check_captured_input, check_grid_centres, check_logits
from offseg_viz.extract.capture import Point, capture
from offseg_viz.extract.extract import extract


def hooked(keep, *, before=True, always=True, remove=True):
    """An answer to exercise 1: what `keep` makes of the arguments of a hook."""

    def captured_input(model, module, images):
        kept = []
        register = module.register_forward_pre_hook if before else module.register_forward_hook
        handle = register(lambda *arguments: kept.append(keep(*arguments)))
        try:
            model(images)
        except RuntimeError:
            if always:
                handle.remove()
            raise
        if remove:
            handle.remove()
        return kept[-1]

    return captured_input


def blank(model, module, images): ...


def with_hook(hook):
    """An answer to exercise 1: `hook` is called with the place to keep things in, module and inputs."""

    def captured_input(model, module, images):
        kept = {}
        handle = module.register_forward_pre_hook(lambda module, inputs: hook(kept, module, inputs))
        try:
            model(images)
        finally:
            handle.remove()
        return kept["x"]

    return captured_input


def keep(kept, module, inputs):
    kept["x"] = inputs[0].detach().clone()


def returning(value):
    def hook(kept, module, inputs):
        keep(kept, module, inputs)
        return value(kept, inputs)

    return hook


def zeroing(kept, module, inputs):
    keep(kept, module, inputs)
    with torch.no_grad():
        inputs[0].zero_()


def returns_in_finally(model, module, images):
    kept = {}
    handle = module.register_forward_pre_hook(lambda module, inputs: keep(kept, module, inputs))
    try:
        model(images)
    finally:
        handle.remove()
        return kept.get("x")  # noqa: B012 - the mistake itself


def swallows(model, module, images):
    kept = {}
    handle = module.register_forward_pre_hook(lambda module, inputs: keep(kept, module, inputs))
    try:
        model(images)
    except Exception:
        pass
    finally:
        handle.remove()
    return kept["x"]


def clears(model, module, images):
    kept = {}
    module.register_forward_pre_hook(lambda module, inputs: keep(kept, module, inputs))
    try:
        model(images)
    finally:
        module._forward_pre_hooks.clear()
    return kept["x"]


def tells_more(model, module, images):
    kept = {}
    handle = module.register_forward_pre_hook(lambda module, inputs: keep(kept, module, inputs))
    try:
        model(images)
    except Exception as error:
        raise ValueError("the forward pass failed") from error
    finally:
        handle.remove()
    return kept["x"]


def without_gradient(model, module, images):
    with torch.no_grad():
        return with_hook(keep)(model, module, images)


def of_a_context(model, module, images):
    with capture({"x": Point(module, "input")}) as captured:
        model(images)
    return captured["x"]


def by_the_way(model, module, images):
    for part in model:
        if part is module:
            return images.detach().clone()
        images = part(images)


HOOKS = [
    (blank, "still empty.*does it `return` what it kept"),
    (..., "is ellipsis; needed the function itself"),
    (3, "is int; needed the function itself"),
    (lambda model: model, "raised TypeError"),
    (hooked(lambda module, inputs: inputs), "a tuple of all inputs"),
    (hooked(lambda module, inputs: inputs[0].shape), "a Size"),
    (hooked(lambda module, inputs: "x"), "returned str; needed a tensor"),
    (hooked(lambda module, inputs, output: output.detach().clone(), before=False), "returned, not what it was given"),
    (hooked(lambda module, inputs: inputs[0].detach()), "overwritten"),
    (hooked(lambda module, inputs, output: inputs[0].detach().clone(), before=False), "overwritten"),
    (hooked(lambda module, inputs: inputs[0].clone()), "holds on to the graph"),
    (hooked(lambda module, inputs: inputs[0].detach().clone(), remove=False), "the hook is still there"),
    (hooked(lambda module, inputs: inputs[0].detach().clone(), always=False), "the hook stays behind"),
    (returns_in_finally, "the error of the forward pass was swallowed"),
    (swallows, "the error of the forward pass was swallowed"),
    (clears, "hooks of others are gone too"),
    (with_hook(returning(lambda kept, inputs: torch.zeros_like(inputs[0]))), "went on with another.*return nothing"),
    (with_hook(returning(lambda kept, inputs: kept["x"])), "your hook returns the tensor.*let it return nothing"),
    (with_hook(lambda kept, module, inputs: kept.setdefault("x", inputs[0].detach().clone())), "let it return nothing"),
    (with_hook(zeroing), "went on with another.*change nothing in place"),
    (by_the_way, "not run to its end"),
    (hooked(lambda module, inputs: inputs[0].detach().double()), "numbers of torch.float64, given were torch.float32"),
    (hooked(lambda module, inputs: 2 * inputs[0].detach()), r"a tensor \(2, 5, 4, 6\) that is not the input"),
]


RIGHT = [
    hooked(lambda module, inputs: inputs[0].detach().clone()),
    hooked(lambda module, inputs: inputs[0].clone().detach()),
    with_hook(keep),
    with_hook(returning(lambda kept, inputs: inputs)),
    tells_more,
    without_gradient,
    of_a_context,
]


@pytest.mark.parametrize("answer", RIGHT)
def test_a_hook_that_copies_and_goes_passes(answer):
    verdict = check_captured_input(answer)
    assert verdict and "taken before anything could overwrite it" in verdict.text


@pytest.mark.parametrize(("answer", "diagnosis"), HOOKS)
def test_a_hook_with_a_fault_is_told(answer, diagnosis):
    verdict = check_captured_input(answer)
    assert not verdict and "taken before anything" not in verdict.text
    assert re.search(diagnosis, verdict.text), verdict.text


@pytest.fixture(scope="module")
def plain():
    return extract(trained_looking("nano"), noise_sample())


CENTRES = [
    (lambda n, stride: n * stride, "upper edges"),
    (lambda n, stride: (n + 1) * stride, "lower edges"),
    (lambda n, stride: n * stride + (stride - 1) / 2, "half a pixel too small"),
    (lambda n, stride: n * stride + 0.5, "half a pixel was added"),
    (lambda n, stride: n + 0.5, "these count cells"),
    (lambda n, stride: n, "the numbers of the cells"),
    (lambda n, stride: np.linspace(0, len(n) * stride, len(n)), "reach beyond the image"),
    (lambda n, stride: n[:-1], r"shape \(23,\), needed \(24,\)"),
    (lambda n, stride: ..., "still empty"),
]


@pytest.mark.parametrize(("answer", "diagnosis"), CENTRES)
def test_centres_that_lie_elsewhere_are_told(plain, answer, diagnosis):
    number, stride = np.arange(plain.sizes["y"]), plain.attrs["stride"][0]
    assert check_grid_centres((number + 0.5) * stride, plain)
    verdict = check_grid_centres(answer(number, stride), plain)
    assert not verdict and "without any arithmetic" not in verdict.text
    assert re.search(diagnosis, verdict.text), verdict.text


LOGITS = [
    (lambda s, b: s, "the bias of the classes is missing"),
    (lambda s, b: s - b, "taken off"),
    (lambda s, b: s + 2 * b, "added twice"),
    (lambda s, b: np.exp(s + b) / np.exp(s + b).sum(0), "a softmax was applied"),
    (lambda s, b: np.moveaxis(s + b, 0, 2), r"shape \(24, 32, 5\), needed \(5, 24, 32\)"),
    (lambda s, b: ..., "still empty"),
]


@pytest.mark.parametrize(("answer", "diagnosis"), LOGITS)
def test_logits_of_another_formula_are_told(plain, answer, diagnosis):
    scores = np.einsum("kc,yxc->kyx", plain.class_embedding, plain.feature)
    bias = plain.logit_bias.values[:, None, None]
    assert check_logits(scores + bias, plain)
    verdict = check_logits(answer(scores, bias), plain)
    assert not verdict and "nothing else is in between" not in verdict.text
    assert re.search(diagnosis, verdict.text), verdict.text


def test_logits_that_were_not_computed_are_told(plain):
    for answer in (ov.logits(plain), plain.logits, plain.logits.values):
        verdict = check_logits(answer, plain)
        assert not verdict and "compute them from E, W and the bias" in verdict.text


def test_logits_may_be_computed_with_names(plain):
    named = xr.dot(plain.class_embedding, plain.feature, dim="channel") + plain.logit_bias
    for answer in (named, named.rename("logits"), plain.logits.copy(data=named), ov.scores(plain) + plain.logit_bias):
        assert check_logits(answer, plain)
