"""The LightningModule: loss, optimiser, schedule and metrics of training and evaluation."""

import lightning as L
import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.classification import MulticlassConfusionMatrix

from offseg_viz.classes import IGNORE_INDEX
from offseg_viz.metrics import segmentation_metrics
from offseg_viz.models.segmenter import Segmenter
from offseg_viz.pipeline.recipes import Recipe


def schedule(step: int, recipe: Recipe) -> float:
    """Factor on the learning rate at a step: linear warm-up to 1, then polynomial decay to 0 at the last step."""
    if step < recipe.warmup_steps:
        return (step + 1) / recipe.warmup_steps
    done = (step - recipe.warmup_steps) / max(recipe.steps - recipe.warmup_steps, 1)
    return max(0.0, 1.0 - done) ** recipe.power


def parameter_groups(model: Segmenter, recipe: Recipe) -> list[dict]:
    """Four groups: backbone or decode head (times `head_multiplier`), with weight decay or (norms, biases) without."""
    groups = {}
    for name, parameter in model.named_parameters():
        head, plain = name.startswith("decode_head."), parameter.ndim > 1
        groups.setdefault((head, plain), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": recipe.learning_rate * (recipe.head_multiplier if head else 1.0),
            "weight_decay": recipe.weight_decay if plain else 0.0,
        }
        for (head, plain), parameters in groups.items()
    ]


def segmentation_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Mean cross entropy over the pixels that are not ignored; 0 where all are. Logits are resized to the label."""
    logits = F.interpolate(logits, size=label.shape[1:], mode="bilinear", align_corners=False)  # (B, K, H, W)
    rows = logits.permute(0, 2, 3, 1).flatten(0, 2)  # (B H W, K), a view of channels-last logits: classes side by side
    total = F.cross_entropy(rows, label.flatten(), ignore_index=IGNORE_INDEX, reduction="sum")
    return total / (label != IGNORE_INDEX).sum().clamp(min=1)


class SegmentationTask(L.LightningModule):
    """A `Segmenter` with a `Recipe` to train it by (None for evaluation alone); `header` goes into every checkpoint."""

    def __init__(self, model: Segmenter, recipe: Recipe | None = None, header: dict | None = None):
        super().__init__()
        self.model, self.recipe, self.header = model, recipe, header
        self.confusion = MulticlassConfusionMatrix(len(model.classes), ignore_index=IGNORE_INDEX, validate_args=False)
        self.result: dict | None = None

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        image, label = batch
        loss = segmentation_loss(self.model(self.model.normalize(image)), label)
        self.log("loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        image, label = batch
        self.confusion.update(self.model.predict(self.model.normalize(image)), label)

    def on_validation_epoch_end(self) -> None:
        confusion = self.confusion.compute().cpu().numpy()
        self.confusion.reset()
        self.result = segmentation_metrics(confusion)
        self.log_dict({name: float(self.result[name]) for name in ("miou", "macc", "aacc")}, prog_bar=True)

    def configure_optimizers(self) -> dict:
        optimizer = torch.optim.AdamW(parameter_groups(self.model, self.recipe), betas=(0.9, 0.999))
        rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule(step, self.recipe))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": rate, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["offseg_viz"] = self.header
        checkpoint["rng_state"] = torch.get_rng_state()  # dropout goes on as if the run had not stopped

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        self.resumed_rng_state = checkpoint["rng_state"]

    def on_train_start(self) -> None:
        if hasattr(self, "resumed_rng_state"):
            torch.set_rng_state(self.resumed_rng_state)
