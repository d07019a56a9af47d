"""Notebook 10: solutions pass, blanks are empty, typical mistakes get their own diagnosis and learn nothing else."""

import re

import pytest
import torch
from torch import nn

import offseg_viz as ov
from offseg_viz.course.checks.own_model import check_added_parameters, check_attached, check_largest_difference


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
        (2 * 256**2 + 1, "not the right values"),
        ("many", "needed a number"),
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
        (other(lambda a, b: (a - b).abs()), r"shape \(2, 5, 6, 7\)"),
        (other(lambda a, b: float((a - b).abs().mean())), "mean absolute"),
        (other(lambda a, b: float((b - a).max())), "in one direction alone"),
        (other(lambda a, b: float((a - b).max())), "in the other direction alone"),
        (other(lambda a, b: float((a - b).norm())), "length of the difference"),
        (other(lambda a, b: float((a.argmax(1) != b.argmax(1)).double().mean())), "classes are compared"),
        (other(lambda a, b: 0.0), "the same 0"),
        (other(lambda a, b: 1 / 0), "raised ZeroDivisionError"),
        (3.0, "needed the function itself"),
    ],
)
def test_a_difference_that_is_wrong_is_told(function, diagnosis):
    found = check_largest_difference(function)
    assert not found and re.search(diagnosis, found.text), found.text
    assert SAME not in found.text
