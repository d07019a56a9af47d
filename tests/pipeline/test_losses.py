"""The cross entropy of a batch against its definition."""

import pytest
import torch
from torch.nn import functional as F

from offseg_viz.pipeline.losses import segmentation_loss


@pytest.mark.parametrize("mean_over_ignored", [False, True])
def test_loss_is_the_mean_over_pixels_that_count_or_over_all(mean_over_ignored):
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
    count = 2 * 5 * 7 if mean_over_ignored else count
    found = segmentation_loss(logits, label, mean_over_ignored=mean_over_ignored).item()
    assert found == pytest.approx(total / count, rel=1e-5)


@pytest.mark.parametrize("mean_over_ignored", [False, True])
def test_loss_of_a_batch_without_labels_is_zero_and_finite_in_its_gradient(mean_over_ignored):
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = segmentation_loss(logits, torch.full((1, 8, 8), 255), mean_over_ignored=mean_over_ignored)
    loss.backward()
    assert loss.item() == 0 and (logits.grad == 0).all()
