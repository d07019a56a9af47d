"""How a network is trained on a data set: one row of numbers each, every one of which can be overridden."""

from dataclasses import dataclass, replace

from offseg_viz.data.samples import DATASETS
from offseg_viz.errors import ModelError, UnknownNameError
from offseg_viz.models.segmenter import SIDE
from offseg_viz.models.zoo import MODELS


@dataclass(frozen=True)
class Recipe:
    """AdamW with linear warm-up and polynomial decay; the paper's shape (section 4.1) with numbers for small machines.

    `learning_rate` is the backbone's; the decode head's is `head_multiplier` times that. `steps` are optimiser steps of
    `batch_size` crops of `crop` (height, width) pixels, cut from images scaled by a factor within `scale`.
    """

    model: str
    data: str
    steps: int
    crop: tuple[int, int]
    batch_size: int = 8
    learning_rate: float = 2e-3
    head_multiplier: float = 10.0
    weight_decay: float = 0.01
    warmup_steps: int = 100
    power: float = 1.0
    scale: tuple[float, float] = (0.5, 2.0)
    seed: int = 0

    def __post_init__(self):
        numbers = {"steps": self.steps, "batch_size": self.batch_size, "learning_rate": self.learning_rate}
        for name, value in numbers.items():
            if not value > 0:
                raise ModelError(f"{name} is {value}; needed a number above 0")
        if not 0 <= self.warmup_steps < self.steps:
            raise ModelError(
                f"warmup_steps is {self.warmup_steps}; needed 0 to {self.steps - 1}, below the {self.steps} steps"
            )
        if min(self.crop) < SIDE or any(side % SIDE for side in self.crop):
            raise ModelError(f"crop is {self.crop}; needed a height and width that are multiples of {SIDE} pixels")


RECIPES = (
    Recipe("nano", "scenes", steps=2500, crop=(160, 192), scale=(0.75, 2.0)),
    Recipe("nano", "camvid", steps=1000, crop=(256, 320)),
    Recipe("segformer-b0", "scenes", steps=4000, crop=(160, 192), learning_rate=3e-4, scale=(0.75, 2.0)),
    Recipe("segformer-b0", "camvid", steps=4000, crop=(256, 320), learning_rate=3e-4),
)
"""Training from scratch; a model with offset learning shares the row of the one without, so that the two compare."""


def recipe(model: str, data: str, **overrides) -> Recipe:
    """The recipe of a model on a data set, with the fields in `overrides` that are not None replaced.

    Raises
    ------
    UnknownNameError
        For an unknown model or data set, listing the valid ones.
    ModelError
        If there is no recipe for the pair, or for a value out of range, such as a warm-up longer than the training.
    """
    if model not in MODELS:
        raise UnknownNameError("model", model, MODELS)
    if data not in DATASETS:
        raise UnknownNameError("data set", data, DATASETS)
    rows = [row for row in RECIPES if row.model == model.removesuffix("-offset") and row.data == data]
    if not rows:
        names = ", ".join(f"{row.model} on {row.data}" for row in RECIPES)
        raise ModelError(f"there is no recipe to train {model} on {data}; there are: {names}, each also with -offset")
    row = rows[0]
    changes = {name: value for name, value in overrides.items() if value is not None}
    if "steps" in changes and "warmup_steps" not in changes:
        changes["warmup_steps"] = min(row.warmup_steps, changes["steps"] // 10)
    return replace(row, model=model, **changes)
