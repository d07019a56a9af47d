"""The loss of a batch: cross entropy of logits, or Mask2Former's own loss of its queries."""

import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

from offseg_viz.classes import IGNORE_INDEX


def segmentation_loss(logits: Tensor, label: Tensor, *, mean_over_ignored: bool = False) -> Tensor:
    """Mean cross entropy; logits (B, K, h, w) are resized bilinearly to the label (B, H, W).

    The mean is taken over the pixels that are not ignored (0 where all are), or with `mean_over_ignored` over all, as
    the release does. Of several processes the divisor is their mean, so that the average of their gradients is the
    gradient of the joint batch.
    """
    logits = F.interpolate(logits, size=label.shape[1:], mode="bilinear", align_corners=False)  # (B, K, H, W)
    rows = logits.permute(0, 2, 3, 1).flatten(0, 2)  # (B H W, K), a view of channels-last logits: classes side by side
    total = F.cross_entropy(rows, label.flatten(), ignore_index=IGNORE_INDEX, reduction="sum")
    if mean_over_ignored:
        return total / label.numel()
    count = (label != IGNORE_INDEX).sum().to(total.dtype)
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(count)
        count = count / dist.get_world_size()
    return total / count.clamp(min=1)
