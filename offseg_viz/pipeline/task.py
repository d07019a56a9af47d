"""The LightningModule: what one step of training and one image of evaluation do."""

import lightning as L
import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import MulticlassConfusionMatrix

from offseg_viz.classes import IGNORE_INDEX
from offseg_viz.errors import ModelError
from offseg_viz.metrics import segmentation_metrics
from offseg_viz.models.segmenter import Segmenter
from offseg_viz.pipeline.batches import Batch, Share
from offseg_viz.pipeline.inference import TestMode, predicted_classes
from offseg_viz.pipeline.losses import segmentation_loss
from offseg_viz.pipeline.parameter_groups import parameter_groups
from offseg_viz.pipeline.recipes import Recipe
from offseg_viz.pipeline.schedule import schedule
from offseg_viz.shape_metrics import boundary_counts, small_object_counts


class SegmentationTask(L.LightningModule):
    """A `Segmenter`, how it is tested (`mode`), and a `Recipe` to train it by (None for evaluation alone).

    `header` goes into every checkpoint. With `shapes` the evaluation also takes boundaries and small objects.
    """

    def __init__(
        self,
        model: Segmenter,
        mode: TestMode,
        recipe: Recipe | None = None,
        *,
        header: dict | None = None,
        share: Share = Share(),
        official_groups: bool = False,
        shapes: bool = False,
    ):
        super().__init__()
        self.model, self.mode, self.recipe, self.header = model, mode, recipe, header
        self.share, self.official_groups = share, official_groups
        classes = len(model.classes)
        self.confusion = MulticlassConfusionMatrix(classes, ignore_index=IGNORE_INDEX, validate_args=False)
        self.shapes = ShapeCounts(classes) if shapes else None
        self.result: dict | None = None
        self.measured_at = -1  # the step of the last validation
        self.last_loss: tuple[int, float] | None = None
        self.mask_loss = None
        if recipe is not None and hasattr(model, "queries"):
            from offseg_viz.pipeline.mask_loss import MaskClassificationLoss

            self.mask_loss = MaskClassificationLoss(classes)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        # What is random in a step depends on the seed and the step only, so that a resumed run goes on as if nothing
        # had happened.
        part = batch_idx % self.share.accumulate
        state = np.random.SeedSequence([self.recipe.seed, 3, self.global_step, part, self.share.process])
        torch.manual_seed(int(state.generate_state(1)[0]))

    def training_step(self, batch: Batch, _: int) -> Tensor:
        images = self.model.normalize(batch.image)
        if self.mask_loss is not None:
            loss, parts = self.mask_loss(self.model.queries(images), batch.label)
            self.log_dict({f"loss_{name}": part for name, part in parts.items()})
        else:
            loss = segmentation_loss(self.model(images), batch.label, mean_over_ignored=self.recipe.mean_over_ignored)
        self._check_finite(loss, batch)
        self.log("loss", loss, prog_bar=True)
        return loss

    def _check_finite(self, loss: Tensor, batch: Batch) -> None:
        value = float(loss.detach())
        if np.isfinite(value):
            self.last_loss = self.global_step, value
            return
        before = "no step before it was finite"
        if self.last_loss is not None:
            before = f"the last finite loss was {self.last_loss[1]:.4g} at step {self.last_loss[0]}"
        raise ModelError(
            f"the loss is {value} at step {self.global_step}, {before}; the batch: {', '.join(batch.ids)}. "
            "The last checkpoint was left as it is. Look at these images, lower the learning rate, set clip_norm, or "
            "train in full precision"
        )

    def on_validation_epoch_start(self) -> None:
        if dist.is_available() and dist.is_initialized():
            for buffer in self.model.buffers():  # every process measures the network that a checkpoint would hold
                dist.broadcast(buffer, 0)

    def validation_step(self, batch: Batch, _: int) -> None:
        prediction = predicted_classes(self.model, batch.image[0], self.mode)  # (H, W)
        self.confusion.update(prediction[None], batch.label)
        if self.shapes is not None:
            self.shapes.update(prediction, batch.label[0])

    def on_validation_epoch_end(self) -> None:
        confusion = self.confusion.compute().cpu().numpy()
        self.confusion.reset()
        self.result = segmentation_metrics(confusion) | {"confusion": confusion}
        if self.shapes is not None:
            self.result["shapes"] = {name: counts.cpu().numpy() for name, counts in self.shapes.compute().items()}
            self.shapes.reset()
        self.measured_at = self.global_step
        self.log_dict({name: float(self.result[name]) for name in ("miou", "macc", "aacc")}, prog_bar=True)

    def configure_optimizers(self) -> dict:
        groups = parameter_groups(self.model, self.recipe, official=self.official_groups)
        optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.999))
        rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule(step, self.recipe))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": rate, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["offseg_viz"] = self.header


SHAPE_COUNTS = ("intersection", "union", "found", "objects")
"""Of boundary regions, and of small objects, by class."""


class ShapeCounts(Metric):
    """Sums of boundary pixels and small objects by class, over images and processes."""

    def __init__(self, num_classes: int):
        super().__init__()
        for name in SHAPE_COUNTS:
            self.add_state(name, torch.zeros(num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, label: Tensor) -> None:
        label, prediction = label.cpu().numpy(), prediction.cpu().numpy()
        sums = (
            *boundary_counts(label, prediction, len(self.found)),
            *small_object_counts(label, prediction, len(self.found)),
        )
        for name, counts in zip(SHAPE_COUNTS, sums, strict=True):
            setattr(self, name, getattr(self, name) + torch.from_numpy(counts).to(self.found.device))

    def compute(self) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in SHAPE_COUNTS}
