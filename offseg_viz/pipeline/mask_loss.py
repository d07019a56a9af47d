"""Mask2Former's own loss: the queries that fit an image's classes best learn their masks, the others "no object"."""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import Mask2FormerLoss

from offseg_viz.classes import IGNORE_INDEX
from offseg_viz.errors import DataError, ModelError
from offseg_viz.models.heads.mask2former import MaskQueries

WEIGHTS = {"class": 2.0, "mask": 5.0, "dice": 5.0}
"""Of the three parts, in the loss and in the matching (arXiv 2112.01527, section 4.1)."""

KINDS = {"class": "loss_cross_entropy", "mask": "loss_mask", "dice": "loss_dice"}
"""What transformers calls the parts; those of earlier layers have a number after it."""


class MaskClassificationLoss(nn.Module):
    """``loss(queries, label)``: the loss of Mask2Former (arXiv 2112.01527, sections 3.3 and 4.1) for label maps.

    The targets of an image are one binary mask a class that occurs in it. Each prediction, that of every decoder layer
    and the one before the first, is matched with them by the Hungarian algorithm; it costs

    - class: cross entropy of all queries, "no object" weighing 0.1, divided by the sum of the weights;
    - mask: binary cross entropy of matched masks, the mean over 12544 points;
    - dice: 1 - (2 sum(p t) + 1) / (sum(p) + sum(t) + 1) of matched masks over the same points;

    weighing 2, 5 and 5 and summed over the predictions. Of three times as many points, those where a mask is least
    certain make up three quarters, the rest is drawn anew; in matching all are drawn evenly. The points come from
    torch's global random state. Mask and dice parts are divided by the number of masks in the batch, of several
    processes by their mean number, so that the average of their gradients is that of the joint batch.

    As in mmsegmentation, ignored pixels belong to no mask: they count like pixels of any other class. An image without
    labelled pixels has no masks, and its queries learn "no object".

    Parameters
    ----------
    num_classes : K.
    """

    def __init__(self, num_classes: int):
        super().__init__()
        self.num_classes = num_classes
        config = Mask2FormerConfig(
            num_labels=num_classes,
            class_weight=WEIGHTS["class"],
            mask_weight=WEIGHTS["mask"],
            dice_weight=WEIGHTS["dice"],
            no_object_weight=0.1,
            train_num_points=12544,
            oversample_ratio=3.0,
            importance_sample_ratio=0.75,
        )
        self.criterion = _JointLoss(config, {})

    def forward(self, queries: MaskQueries, label: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch, and its parts.

        It is computed in float32, under autocast too.

        Parameters
        ----------
        queries : of the images, with the predictions of all layers.
        label : (B, H, W) int64, class numbers or 255 where ignored; as large as the images, which are as large as the
            padded ones that the network sees.

        Returns
        -------
        The loss, one number, and its parts ``class``, ``mask`` and ``dice``, detached, which add up to it.

        Raises
        ------
        ModelError
            If the label is of another kind, or the masks do not cover it.
        DataError
            If it holds numbers that are no classes.
        """
        self._check(queries, label)
        with torch.autocast(label.device.type, enabled=False):
            targets = [binary_masks(image) for image in label]
            classes, masks = zip(*targets, strict=True)
            *earlier, (class_logits, mask_logits) = [
                (by_class.float(), by_mask.float())
                for by_class, by_mask in zip(queries.class_logits_by_layer, queries.mask_logits_by_layer, strict=True)
            ]
            auxiliary = [{"class_queries_logits": c, "masks_queries_logits": m} for c, m in earlier]
            losses = self.criterion(mask_logits, class_logits, list(masks), list(classes), auxiliary)
            parts = {
                name: WEIGHTS[name] * sum(value for key, value in losses.items() if key.startswith(kind))
                for name, kind in KINDS.items()
            }
            return sum(parts.values()), {name: part.detach() for name, part in parts.items()}

    def _check(self, queries: MaskQueries, label: Tensor) -> None:
        batch, _, *size = queries.mask_logits.shape
        if label.dtype != torch.int64 or label.ndim != 3 or len(label) != batch:
            found = f"{tuple(label.shape)} {label.dtype}"
            raise ModelError(f"the label is {found}; needed ({batch}, H, W) int64, one map for each image")
        strides = {divmod(side, cells) for side, cells in zip(label.shape[1:], size, strict=True)}
        if len(strides) > 1 or next(iter(strides))[1]:
            raise ModelError(
                f"the label is {tuple(label.shape[1:])} and the masks are {tuple(size)}, no whole fraction of it; "
                "needed images and labels whose sides are multiples of 32 pixels: pad them, the label with 255"
            )
        if self.num_classes != queries.class_logits.shape[2] - 1:
            found = f"{queries.class_logits.shape[2] - 1} classes, the loss {self.num_classes}"
            raise ModelError(f"the network has {found}; needed the same: MaskClassificationLoss(len(model.classes))")
        wrong = label[((label < 0) | (label >= self.num_classes)) & (label != IGNORE_INDEX)]
        if len(wrong):
            raise DataError(
                f"the label holds {int(wrong[0])}; needed class numbers below {self.num_classes}, or {IGNORE_INDEX}"
            )


def binary_masks(label: Tensor) -> tuple[Tensor, Tensor]:
    """The classes (N,) that occur in a label map (H, W), ascending, and the mask of each, (N, H, W) of 0.0 and 1.0."""
    classes = label.unique()
    classes = classes[classes != IGNORE_INDEX]  # (N,)
    return classes, (label == classes[:, None, None]).float()  # (N, H, W)


class _JointLoss(Mask2FormerLoss):
    """The loss of transformers, which counts the masks of other processes only where these were begun by accelerate."""

    def get_num_masks(self, class_labels: list[Tensor], device: torch.device) -> Tensor:
        count = torch.tensor(float(sum(map(len, class_labels))), device=device)
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(count)
            count = count / dist.get_world_size()
        return count.clamp(min=1)
