"""Hooks: copies at capture, gone after success and after an exception."""

import pytest
import torch
from torch import nn

from offseg_viz.extract.capture import capture


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(inplace=True), nn.Linear(5, 3))


def hooks(model):
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def test_captures_copies_that_a_later_in_place_relu_does_not_overwrite(model):
    x = torch.randn(6, 4)
    with torch.no_grad(), capture({"before": (model[0], "output"), "after": (model[2], "input")}) as seen:
        model(x)
    torch.testing.assert_close(seen["before"], x @ model[0].weight.T + model[0].bias)
    assert (seen["before"] < 0).any() and (seen["after"] >= 0).all()
    torch.testing.assert_close(seen["after"], seen["before"].relu())


def test_hooks_are_gone_after_success(model):
    with capture({"x": (model[0], "output"), "y": (model[1], "input")}):
        assert hooks(model) == 2
    assert hooks(model) == 0


def test_hooks_are_gone_after_the_forward_raises(model):
    with pytest.raises(RuntimeError), capture({"x": (model[0], "output")}):
        model(torch.randn(6, 7))
    assert hooks(model) == 0


def test_hooks_are_gone_after_a_hook_cannot_be_set(model):
    with pytest.raises(AttributeError), capture({"x": (model[0], "output"), "y": (None, "output")}):
        pass
    assert hooks(model) == 0


def test_the_model_computes_the_same_inside_and_outside(model):
    x = torch.randn(6, 4)
    expected = model(x)
    with capture({"x": (model[0], "output")}):
        torch.testing.assert_close(model(x), expected, rtol=0, atol=0)
