"""How a network is trained and tested on a data set: one row of numbers each, every one of which can be overridden.

The published rows are those of arXiv 2508.08811, section 4.1, and of the configurations of its release (HVision-NKU/
OffSeg, local_configs). Where the two disagree the paper's value stands, with a comment.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields

from offseg_viz.data.samples import DATASETS
from offseg_viz.errors import ModelError, UnknownNameError
from offseg_viz.models.segmenter import SIDE
from offseg_viz.models.zoo import MODELS
from offseg_viz.pipeline.inference import TestMode

Size = tuple[int, int]


@dataclass(frozen=True)
class Recipe:
    """AdamW with linear warm-up and polynomial decay, random resize, crop, flip and photometric distortion.

    Sizes are (height, width) in pixels, except for the boxes `resize` and `test_resize`, (long side, short side), into
    which an image is fitted with its aspect ratio kept. `steps` are optimiser steps of `batch_size` crops, however
    many devices they are spread over.
    """

    model: str
    data: str
    steps: int
    crop: Size
    source: str = ""
    """Where the row comes from."""
    batch_size: int = 16
    learning_rate: float = 6e-5
    """Of the backbone; the decode head's is `head_multiplier` times that."""
    head_multiplier: float = 10.0
    weight_decay: float = 0.01
    warmup_steps: int = 1500
    warmup_start: float = 1e-6
    """Factor on the learning rate at the first step of the warm-up."""
    power: float = 1.0
    clip_norm: float | None = None
    """Greatest norm of the gradient; None does not clip."""
    resize: Size | None = None
    """Box of training images before the random scale; None leaves them at their size."""
    scale: tuple[float, float] = (0.5, 2.0)
    short_sides: tuple[int, ...] = ()
    """Short sides of which one is drawn, instead of `resize` and `scale`."""
    longest: int = 2048
    """Greatest long side where `short_sides` are given."""
    cat_max_ratio: float = 0.75
    """A crop in which one class covers more than this share of the labelled pixels is drawn anew."""
    flip: float = 0.5
    photometric: bool = True
    mean_over_ignored: bool = False
    """Divide the cross entropy by all pixels, as the release does, not by those that count."""
    test_resize: Size | None = None
    """Box of test images; None leaves them at their size."""
    window: Size | None = None
    """Sliding window of the test; None predicts the whole image at once."""
    stride: Size | None = None
    pad: bool = False
    """Pad test images to multiples of 32 pixels before windows are cut."""
    validate_every: int = 0
    """Steps between validations; 0 validates at the end only."""
    seed: int = 0

    @property
    def test_mode(self) -> TestMode:
        """How images are predicted in validation and evaluation."""
        return TestMode(resize=self.test_resize, window=self.window, stride=self.stride, pad=self.pad)

    def __post_init__(self):
        for name in ("steps", "batch_size", "learning_rate", "head_multiplier", "power"):
            if not getattr(self, name) > 0:
                raise ModelError(f"{name} is {getattr(self, name)}; needed a number above 0")
        for name in ("weight_decay", "warmup_start", "validate_every", "seed"):
            if getattr(self, name) < 0:
                raise ModelError(f"{name} is {getattr(self, name)}; needed 0 or more")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ModelError(f"clip_norm is {self.clip_norm}; needed a norm above 0, or none to leave gradients alone")
        if not 0 <= self.warmup_steps < self.steps:
            raise ModelError(
                f"warmup_steps is {self.warmup_steps}; needed 0 to {self.steps - 1}, below the {self.steps} steps"
            )
        if min(self.crop) < SIDE or any(side % SIDE for side in self.crop):
            raise ModelError(f"crop is {self.crop}; needed a height and width that are multiples of {SIDE} pixels")
        self.test_mode  # noqa: B018  raises where its numbers do not fit

    @property
    def name(self) -> str:
        """``offseg-t/ade20k``, as `find_recipe` takes it."""
        return f"{self.model}/{self.data}"


@dataclass(frozen=True)
class Row:
    """The numbers of a family of networks on a data set."""

    families: tuple[str, ...]
    data: str
    numbers: dict

    def fits(self, model: str, data: str) -> bool:
        return self.data == data and any(model == name or model.startswith(f"{name}-") for name in self.families)


def _published(families: str, data: str, source: str, **numbers) -> Row:
    return Row(tuple(families.split()), data, {"source": source, "mean_over_ignored": True} | numbers)


def _ours(families: str, data: str, **numbers) -> Row:
    source = "ours: training from scratch on a small machine"
    return Row(tuple(families.split()), data, {"source": source, "batch_size": 8, "warmup_steps": 100} | numbers)


ADE20K = {"steps": 160_000, "crop": (512, 512), "resize": (2048, 512), "test_resize": (2048, 512)}
# Release: 160k steps for OffSeg-T, -L and SegNeXt, with a learning rate that is 0 from step 80k on. Paper: 80k.
COCO_STUFF = {"steps": 80_000, "crop": (512, 512), "resize": (2048, 512), "test_resize": (2048, 512)}
# Release: 16 images a step for SegNeXt-S and -B. Paper: 8.
CITYSCAPES = {"steps": 160_000, "crop": (1024, 1024), "resize": (2048, 1024), "test_resize": (2048, 1024)}
CITYSCAPES |= {"batch_size": 8, "window": (1024, 1024), "stride": (768, 768), "validate_every": 16_000}
PASCAL_CONTEXT = {"steps": 80_000, "crop": (480, 480), "resize": (520, 520), "test_resize": (520, 520)}
PASCAL_CONTEXT |= {"window": (480, 480), "stride": (320, 320), "validate_every": 8_000}
SLIDING = {"window": (512, 512), "stride": (480, 480)}
MASK2FORMER = {"learning_rate": 1e-5, "weight_decay": 0.05, "warmup_steps": 0, "power": 0.9, "clip_norm": 0.01}
# its learning rate is 1e-4, and a tenth of that in the backbone


def _short_sides(side: int) -> dict:
    """Half to twice `side` in steps of a tenth; the long side is limited to four times `side`."""
    return {"short_sides": tuple(side * tenths // 10 for tenths in range(5, 21)), "longest": 4 * side}


PAPER = "paper and release"
EXTENDED = "the paper's numbers for this data set; it has no such run"

ROWS = (
    _published("offseg segformer", "ade20k", PAPER, **ADE20K, **SLIDING, validate_every=16_000),
    _published("segnext", "ade20k", PAPER, **ADE20K, validate_every=16_000),
    # Release: 64 images a step on 8 GPUs, from a file named 8xb2. Paper: 16.
    _published("mask2former", "ade20k", PAPER, **ADE20K, **MASK2FORMER, **_short_sides(512), validate_every=5_000),
    _published("offseg segformer", "coco_stuff164k", PAPER, **COCO_STUFF, **SLIDING, validate_every=8_000),
    _published("segnext", "coco_stuff164k", PAPER, **COCO_STUFF, validate_every=8_000),
    _published("mask2former", "coco_stuff164k", EXTENDED, **COCO_STUFF, **MASK2FORMER, **_short_sides(512)),
    _published("offseg", "cityscapes", PAPER, **CITYSCAPES),
    _published("segnext", "cityscapes", PAPER, **CITYSCAPES, pad=True),
    _published("segformer", "cityscapes", EXTENDED, **CITYSCAPES),
    _published("segnext", "pascal_context", PAPER, **PASCAL_CONTEXT, pad=True),
    _published("offseg segformer", "pascal_context", EXTENDED, **PASCAL_CONTEXT),
    _published("mask2former", "cityscapes", EXTENDED, **CITYSCAPES, **MASK2FORMER, **_short_sides(1024)),
    _published("mask2former", "pascal_context", EXTENDED, **PASCAL_CONTEXT, **MASK2FORMER, **_short_sides(520)),
    _ours("nano", "scenes", steps=2500, crop=(160, 192), scale=(0.75, 2.0), learning_rate=2e-3),
    _ours("segformer segnext offseg", "scenes", steps=4000, crop=(160, 192), scale=(0.75, 2.0), learning_rate=3e-4),
    _ours("mask2former", "scenes", steps=4000, crop=(160, 192), scale=(0.75, 2.0), **MASK2FORMER),
    _ours("nano", "camvid", steps=1000, crop=(256, 320), learning_rate=2e-3),
    _ours("segformer segnext offseg", "camvid", steps=4000, crop=(256, 320), learning_rate=3e-4),
    _ours("mask2former", "camvid", steps=4000, crop=(256, 320), **MASK2FORMER),
    _ours("nano", "folder", steps=2500, crop=(256, 256), learning_rate=2e-3),
    _ours("segformer segnext offseg", "folder", steps=4000, crop=(256, 256), learning_rate=3e-4),
    _ours("mask2former", "folder", steps=4000, crop=(256, 256), **MASK2FORMER),
)
"""One row a family and data set. The published ones start from an ImageNet backbone (`--backbone-weights`)."""


def recipes() -> Iterator[Recipe]:
    """Every recipe there is, by data set and then by network; plain and offset networks share a row, to compare."""
    for data in dict.fromkeys(row.data for row in ROWS):
        for model in MODELS:
            if (row := _row(model, data)) is not None:
                yield Recipe(model, data, **row.numbers)


def find_recipe(model: str, data: str, **overrides) -> Recipe:
    """The recipe of a model on a data set, with the fields in `overrides` that are not None replaced.

    Values may be written as in a YAML file: lists for sizes, ``"512x512"``, ``"6e-5"``. The text ``"none"`` takes away
    a field that may be None.

    Raises
    ------
    UnknownNameError
        For an unknown model, data set or field, listing the valid ones.
    ModelError
        If there is no recipe for the pair, or for a value out of range, such as a warm-up longer than the training.
    """
    if model not in MODELS:
        raise UnknownNameError("model", model, MODELS)
    if data not in DATASETS:
        raise UnknownNameError("data set", data, DATASETS)
    row = _row(model, data)
    if row is None:
        there = ", ".join(dict.fromkeys(other.data for other in ROWS if _row(model, other.data)))
        raise ModelError(f"there is no recipe to train {model} on {data}; there are recipes for it on {there}")
    changes = {name: as_field(name, value) for name, value in overrides.items() if value is not None}
    if "steps" in changes and "warmup_steps" not in changes:
        changes["warmup_steps"] = min(row.numbers.get("warmup_steps", Recipe.warmup_steps), changes["steps"] // 10)
    return Recipe(model, data, **row.numbers | changes)


def has_recipe(model: str, data: str) -> bool:
    """Whether there is a recipe for the pair; False for unknown names."""
    return model in MODELS and _row(model, data) is not None


def split_name(name: str) -> tuple[str, str]:
    """``"offseg-t/ade20k"`` to its model and data set; anything else raises `ModelError`."""
    model, slash, data = name.partition("/")
    if not (model and slash and data):
        raise ModelError(f"{name!r} names no recipe; needed MODEL/DATA, such as offseg-t/ade20k (`offseg-viz recipes`)")
    return model, data


OVERRIDABLE = tuple(field.name for field in fields(Recipe) if field.name not in ("model", "data", "source"))
"""Fields that a command line or a YAML file may set."""


def as_field(name: str, value):
    """A value as it comes from YAML or a command line, in the type of a recipe's field."""
    if name not in OVERRIDABLE:
        raise UnknownNameError("recipe field", name, OVERRIDABLE)
    kind = {field.name: field.type for field in fields(Recipe)}[name]
    if value is None or (isinstance(value, str) and value.lower() in ("none", "null")):
        if kind not in (Size | None, float | None):
            raise ModelError(f"{name} cannot be none; needed a value")
        return None
    try:
        if kind is bool:
            if not isinstance(value, bool):
                raise ValueError("true or false")
            return value
        if kind is int:
            if float(value) != int(float(value)):
                raise ValueError("a whole number")
            return int(float(value))
        if kind in (float, float | None):
            return float(value)
        parts = value.lower().split("x") if isinstance(value, str) else list(value)
        element = float if kind == tuple[float, float] else int
        parts = tuple(element(part) for part in parts)
    except (TypeError, ValueError, OverflowError):
        raise ModelError(f"{name} is {value!r}; needed {_NEEDED.get(kind, 'a size such as 512x512')}") from None
    if kind != tuple[int, ...] and len(parts) != 2:
        raise ModelError(f"{name} is {value!r}; needed two numbers, such as {_NEEDED.get(kind, '512x512')}")
    return parts


_NEEDED = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    float | None: "a number, or none",
    tuple[float, float]: "[0.5, 2.0]",
    tuple[int, ...]: "a list of whole numbers",
}


def _row(model: str, data: str) -> Row | None:
    return next((row for row in ROWS if row.fits(model, data)), None)
