"""The checks of notebook 04: right answers, blanks, and the diagnoses of typical mistakes."""

import re

import numpy as np
import pytest
from noise import noise_sample, trained_looking

from offseg_viz.course.checks.records import check_captured_input, check_grid_centres, check_logits
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


HOOKS = [
    (blank, "still empty"),
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
    (hooked(lambda module, inputs: 2 * inputs[0].detach()), r"a tensor \(2, 5, 4, 6\) that is not the input"),
]


def test_a_hook_that_copies_and_goes_passes():
    verdict = check_captured_input(hooked(lambda module, inputs: inputs[0].detach().clone()))
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
