"""Notebook 10: solutions pass, blanks are empty, typical mistakes get their own diagnosis and learn nothing else."""

import re

import pytest
import torch
from torch import nn

import offseg_viz as ov
from offseg_viz.course.checks.own_model import (
    _difference,
    _two_models,
    _wrong_differences,
    check_added_parameters,
    check_attached,
    check_largest_difference,
)


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.classes, self.depth = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 5, 1), nn.Conv2d(8, 5, 1)

    def forward(self, images):
        return self.classes(self.body(images))


def attached(path="classes", **options):
    return ov.attach_offset_learning(TwoHeads(), path, **options)


def linear():
    return ov.attach_offset_learning(nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 5)), "2")


def largest_difference(first, second, images):
    with torch.no_grad():
        return float((first.eval()(images) - second.eval()(images)).abs().max())


def in_training(first, second, images):
    with torch.no_grad():
        return float((first.train()(images) - second.train()(images)).abs().max())


def with_graph(first, second, images):
    return (first.eval()(images) - second.eval()(images)).abs().max()


def other(figure):
    @torch.no_grad()
    def function(first, second, images):
        return figure(first.eval()(images), second.eval()(images))

    return function


ATTACHED = check_attached(attached(), "classes").text
ADDED = check_added_parameters(131_072, 256, 150).text
SAME = check_largest_difference(largest_difference).text


def test_the_solutions_pass():
    assert check_attached(attached(), "classes") and check_attached(linear(), "2")
    assert check_added_parameters(2 * 256**2, 256, 150) and check_added_parameters(8192.0, 64, 5)
    assert check_largest_difference(largest_difference)
    assert check_largest_difference(other(lambda a, b: (a - b).abs().max()))
    assert check_largest_difference(other(lambda a, b: abs(a.numpy() - b.numpy()).max()))
    assert check_largest_difference(other(lambda a, b: max((a - b).max(), (b - a).max())))


def test_gradients_that_are_left_behind_are_remarked():
    """The number is right; only memory was spent on it."""
    for leave in (torch.Tensor.item, torch.Tensor.detach):
        found = check_largest_difference(lambda *given: leave(with_graph(*given)))
        assert found and found.text.startswith(SAME) and "torch.no_grad" in found.text
    assert "torch.no_grad" not in SAME


def one_in_training(number):
    @torch.no_grad()
    def function(*given):
        *models, images = given
        models[number].eval()
        return float((models[0](images) - models[1](images)).abs().max())

    return function


@torch.no_grad()
def of_parameters(first, second, images):
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    return max(float((one - other).abs().max()) for one, other in pairs)


def test_the_models_of_the_check_tell_its_mistakes_apart():
    first, second, images = _two_models()
    with torch.no_grad():
        one, other = first.eval()(images), second.eval()(images)
    values = [(_difference(one, other),) * 2, *map(tuple, _wrong_differences(one, other).values())]
    values.append((of_parameters(first, second, images),) * 2)
    for number, pair in enumerate(values):
        assert not any(torch.allclose(torch.tensor(pair), torch.tensor(third), rtol=1e-2) for third in values[:number])


def test_what_is_counted_is_what_is_added():
    model = TwoHeads()
    before = sum(p.numel() for p in model.parameters())
    added = sum(p.numel() for p in ov.attach_offset_learning(model, "classes").parameters()) - before
    assert check_added_parameters(added, 8, 5)


@pytest.mark.parametrize("blank", [..., None])
def test_a_blank_is_empty(blank):
    for found in (
        check_attached(blank, "classes"),
        check_added_parameters(blank, 256, 150),
        check_largest_difference(blank),
        check_largest_difference(lambda *_: blank),
    ):
        assert not found and "still empty" in found.text


@pytest.mark.parametrize(
    ("answer", "diagnosis"),
    [
        ("classes", "that is the path"),
        (3, "found int"),
        (TwoHeads(), "was it attached to another copy"),
        (attached("depth"), "sits at 'depth'"),
        (attached(start="paper"), "do not start at zero"),
        (attached().classes, "the attached layer alone"),
    ],
)
def test_an_attachment_that_is_wrong_is_told(answer, diagnosis):
    found = check_attached(answer, "classes")
    assert not found and diagnosis in found.text and ATTACHED not in found.text


@pytest.mark.parametrize(
    ("answer", "diagnosis"),
    [
        (256**2, "one of the two projections"),
        (2 * 256**2 + 300, "LayerNorm over classes is counted"),
        (2 * 256**2 + 150 * 256, "class embeddings are counted"),
        (2 * 256**2 + 150 * 257, "class embeddings and bias"),
        (2 * 256**2 + 150 * 256 + 300, "trained from scratch"),
        (2 * 256 * 257, "with a bias"),
        (150 * 257, "before"),
        (2 * 150 * 256, "not to classes"),
        (2 * 150**2, "not classes to classes"),
        (2 * 256**2 + 150, "as in notebook 03"),
        (2 * 256**2 + 1, "not the right"),
        (2 * 256**2 + 1e-4, "not the right"),
        ("131072", "is text"),
        ("many", "needed a number"),
        ([1, 2], "shape"),
    ],
)
def test_a_count_that_is_wrong_is_told(answer, diagnosis):
    found = check_added_parameters(answer, 256, 150)
    assert not found and diagnosis in found.text
    assert ADDED not in found.text and "131" not in found.text.replace(",", "")


@pytest.mark.parametrize(
    ("function", "diagnosis"),
    [
        (in_training, "dropout is on"),
        (with_graph, "torch.no_grad"),
        (other(lambda a, b: (a - b).abs()), r"shape \(3, 5, 6, 7\)"),
        (other(lambda a, b: float((a - b).abs().mean())), "mean absolute"),
        (other(lambda a, b: float((b - a).max())), "in one direction alone"),
        (other(lambda a, b: float((a - b).max())), "in the other direction alone"),
        (other(lambda a, b: float((a - b).norm())), "length of the difference"),
        (other(lambda a, b: float((a.argmax(1) != b.argmax(1)).double().mean())), "classes are compared"),
        (other(lambda a, b: 0.0), "the same number"),
        (other(lambda a, b: 3.0), "the same number"),
        (other(torch.equal), "true or false"),
        (other(lambda a, b: (a == b).all()), "true or false"),
        (other(lambda a, b: "much"), "needed a number"),
        (other(lambda a, b: (a - b)[:1].abs().max()), "first image alone"),
        (other(lambda a, b: (a - b)[-1].abs().max()), "last image alone"),
        (other(lambda a, b: (a.abs() - b.abs()).abs().max()), "absolute values are taken before"),
        (other(lambda a, b: (a - b).square().max()), "largest squared"),
        (other(lambda a, b: (a - b).square().mean()), "mean squared difference"),
        (other(lambda a, b: (a - b).abs().sum()), "the sum of"),
        (other(lambda a, b: abs(a.max() - b.max())), "largest output of each"),
        (other(lambda a, b: abs(a.abs().max() - b.abs().max())), "largest absolute output of each"),
        (other(lambda a, b: round(float((a - b).abs().max()), 2)), "is rounded"),
        (other(lambda a, b: 1.5 * (a - b).abs().max()), "not the right"),
        (other(lambda a, b: a.max() - b.min() - (a.max() - a.min())), "order of the models"),
        (of_parameters, "parameters are compared"),
        (one_in_training(0), "the second model is still in training"),
        (one_in_training(1), "the first model is still in training"),
        (other(lambda a, b: 1 / 0), "raised ZeroDivisionError"),
        (3.0, "needed the function itself"),
    ],
)
def test_a_difference_that_is_wrong_is_told(function, diagnosis):
    found = check_largest_difference(function)
    assert not found and re.search(diagnosis, found.text), found.text
    assert SAME not in found.text
