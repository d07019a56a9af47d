"""Schedule, parameter groups and loss against their definitions."""

import pytest
import torch
from torch.nn import functional as F

from offseg_viz.errors import ModelError, UnknownNameError
from offseg_viz.models.zoo import load_model
from offseg_viz.pipeline.recipes import recipe
from offseg_viz.pipeline.task import parameter_groups, schedule, segmentation_loss


def test_schedule_warms_up_linearly_and_decays_to_zero():
    row = recipe("nano", "camvid", steps=1100, warmup_steps=100, power=1.0)
    assert schedule(0, row) == pytest.approx(0.01)
    assert schedule(49, row) == pytest.approx(0.5)
    assert schedule(99, row) == schedule(100, row) == 1.0
    assert schedule(600, row) == pytest.approx(0.5)
    assert schedule(1100, row) == 0.0
    squared = recipe("nano", "camvid", steps=1100, warmup_steps=100, power=2.0)
    assert schedule(600, squared) == pytest.approx(0.25)


@pytest.mark.parametrize("name", ["nano-offset", "segformer-b0"])
def test_every_parameter_is_in_one_group_with_its_rate_and_decay(name):
    model = load_model(name, num_classes=4)
    row = recipe(name, "camvid", learning_rate=1e-4, head_multiplier=10.0, weight_decay=0.05)
    names = {parameter: name for name, parameter in model.named_parameters()}
    seen = {}
    for group in parameter_groups(model, row):
        for parameter in group["params"]:
            assert names[parameter] not in seen
            seen[names[parameter]] = (group["lr"], group["weight_decay"])
    assert seen.keys() == set(names.values())
    for parameter, (rate, decay) in seen.items():
        assert rate == pytest.approx(1e-3 if parameter.startswith("decode_head") else 1e-4), parameter
        assert decay == (0.0 if "norm" in parameter or parameter.endswith("bias") else 0.05), parameter


def test_loss_is_the_mean_over_pixels_that_count():
    torch.manual_seed(0)
    logits, label = torch.randn(2, 3, 5, 7), torch.randint(0, 3, (2, 5, 7))
    label[0, :, :4] = 255
    total, count = 0.0, 0
    for b in range(2):
        for y in range(5):
            for x in range(7):
                if label[b, y, x] != 255:
                    total -= F.log_softmax(logits[b, :, y, x], dim=0)[label[b, y, x]].item()
                    count += 1
    assert segmentation_loss(logits, label).item() == pytest.approx(total / count, rel=1e-5)


def test_loss_of_a_batch_without_labels_is_zero_and_finite_in_its_gradient():
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = segmentation_loss(logits, torch.full((1, 8, 8), 255))
    loss.backward()
    assert loss.item() == 0 and (logits.grad == 0).all()


def test_recipes_are_shared_by_both_heads_and_overridable():
    plain, offset = recipe("nano", "scenes", steps=77), recipe("nano-offset", "scenes", steps=77)
    assert plain.steps == offset.steps == 77 and plain.warmup_steps == 7
    assert (plain.model, offset.model) == ("nano", "nano-offset")
    assert plain.learning_rate == offset.learning_rate


def test_bad_recipes_say_what_is_needed():
    with pytest.raises(UnknownNameError, match="Did you mean 'camvid'"):
        recipe("nano", "camvit")
    with pytest.raises(ModelError, match="warmup_steps is 50; needed 0 to 9"):
        recipe("nano", "camvid", steps=10, warmup_steps=50)
    with pytest.raises(ModelError, match="learning_rate is -1"):
        recipe("nano", "camvid", learning_rate=-1)
    with pytest.raises(ModelError, match="crop"):
        recipe("nano", "camvid", crop=(16, 64))
