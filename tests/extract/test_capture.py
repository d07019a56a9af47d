"""Hooks: copies at capture, gone after success and after an exception."""

import pytest
import torch
from torch import nn

from offseg_viz.extract.capture import Point, capture


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(inplace=True), nn.Linear(5, 3))


def hooks(model):
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def test_captures_copies_that_a_later_in_place_relu_does_not_overwrite(model):
    x = torch.randn(6, 4)
    with torch.no_grad(), capture({"before": Point(model[0], "output"), "after": Point(model[2], "input")}) as seen:
        model(x)
    torch.testing.assert_close(seen["before"], x @ model[0].weight.T + model[0].bias)
    assert (seen["before"] < 0).any() and (seen["after"] >= 0).all()
    torch.testing.assert_close(seen["after"], seen["before"].relu())


def test_hooks_are_gone_after_success(model):
    with capture({"x": Point(model[0], "output"), "y": Point(model[1], "input")}):
        assert hooks(model) == 2
    assert hooks(model) == 0


def test_hooks_are_gone_after_the_forward_raises(model):
    with pytest.raises(RuntimeError), capture({"x": Point(model[0], "output")}):
        model(torch.randn(6, 7))
    assert hooks(model) == 0


def test_hooks_are_gone_after_a_hook_cannot_be_set(model):
    with pytest.raises(AttributeError), capture({"x": Point(model[0], "output"), "y": Point(None, "output")}):
        pass
    assert hooks(model) == 0


def test_the_model_computes_the_same_inside_and_outside(model):
    x = torch.randn(6, 4)
    expected = model(x)
    with capture({"x": Point(model[0], "output")}):
        torch.testing.assert_close(model(x), expected, rtol=0, atol=0)


class Many(nn.Module):
    """Calls a part of two inputs and two outputs three times, the second input by its name."""

    def __init__(self):
        super().__init__()
        self.part = Part()

    def forward(self, x):
        for n in range(3):
            a, b = self.part(x + n, other=x - n)
        return a + b


class Part(nn.Module):
    def forward(self, x, other):
        return 2 * x, 3 * other


@pytest.mark.parametrize("call", [0, 1, 2, -1])
def test_a_chosen_call_of_several_is_kept_by_input_and_output_number(call):
    model, x, n = Many(), torch.randn(1, 5, 4), call % 3
    points = {
        "x": Point(model.part, "input", call=call),
        "other": Point(model.part, "input", index=1, call=call),
        "b": Point(model.part, "output", index=1, call=call),
        "laid out": Point(model.part, "output", lambda a: a[0].T, call=call),
    }
    with capture(points) as seen:
        model(x)
    for name, expected in {"x": x + n, "other": x - n, "b": 3 * (x - n), "laid out": 2 * (x + n)[0].T}.items():
        assert torch.equal(seen[name], expected) and seen[name].is_contiguous()


def test_a_point_that_is_not_passed_is_missing():
    model = Many()
    with capture({"fourth": Point(model.part, "input", call=3), "first": Point(model.part, "input", call=0)}) as seen:
        model(torch.randn(2, 3))
    assert seen.keys() == {"first"}


def test_only_the_chosen_call_is_copied(model):
    looked_at = []
    with capture({"x": Point(model[0], "output", lambda x: looked_at.append(x) or x, call=1)}):
        for _ in range(3):
            model(torch.randn(6, 4))
    assert len(looked_at) == 1
