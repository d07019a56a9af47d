"""Measure a network on a labelled data set: IoU and accuracy, boundaries, small objects."""

import json
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from offseg_viz.data.sample import SampleSet
from offseg_viz.data.samples import check_samples
from offseg_viz.errors import DataError, ModelError
from offseg_viz.models.cost import PAPER_GAIN
from offseg_viz.models.segmenter import Segmenter
from offseg_viz.pipeline.batches import evaluation_loader
from offseg_viz.pipeline.inference import TestMode
from offseg_viz.pipeline.machine import Machine, ProgressBar, first_process, quiet_lightning
from offseg_viz.pipeline.recipes import find_recipe, has_recipe
from offseg_viz.pipeline.task import SegmentationTask
from offseg_viz.shape_metrics import boundary_iou, small_object_recall

READ_BEFORE = 500
"""Images that are read before the first prediction; of larger data sets so many, evenly spread."""

PAPER_MIOU = {
    ("offseg-t", "ade20k"): 44.2,
    ("offseg-b", "ade20k"): 45.9,
    ("offseg-l", "ade20k"): 48.5,
    ("offseg-t", "coco_stuff164k"): 41.9,
    ("offseg-b", "coco_stuff164k"): 44.3,
    ("segformer-b0", "ade20k"): 37.4,
    ("segnext-t", "ade20k"): 41.1,
    ("mask2former-swin-t", "ade20k"): 47.7,
}
"""mIoU in percent, single scale: OffSeg's as others quote arXiv 2508.08811, the plain networks' by arXiv 2105.15203,
2209.08575 and 2112.01527."""


class Evaluation(NamedTuple):
    """Shares from 0 to 1.

    `miou`, `macc` and `boundary_iou` are means over the classes that occur, `aacc` is pixel accuracy, `small_recall`
    the share of small objects that were found. `classes` has a row a class: iou, accuracy, boundary_iou, small_objects
    (how many), small_recall. `confusion` counts pixels, (K, K) int64, rows are labels.
    """

    miou: float
    macc: float
    aacc: float
    boundary_iou: float
    small_recall: float
    classes: pd.DataFrame
    confusion: np.ndarray
    images: int
    seconds: float

    def save(self, folder: str | Path, *, about: dict | None = None) -> Path:
        """Write ``metrics.json``, ``classes.csv`` and ``confusion.csv`` into `folder`, which is returned.

        Raises
        ------
        DataError
            If the folder cannot be written.
        """
        folder = Path(folder)
        names = ("miou", "macc", "aacc", "boundary_iou", "small_recall", "images", "seconds")
        numbers = {name: _json_number(getattr(self, name)) for name in names}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            text = json.dumps((about or {}) | numbers, indent=2) + "\n"
            (folder / "metrics.json").write_text(text, encoding="utf-8")
            self.classes.to_csv(folder / "classes.csv")
            names = list(self.classes.index)
            pd.DataFrame(self.confusion, index=pd.Index(names, name="label"), columns=names).to_csv(
                folder / "confusion.csv"
            )
        except OSError as cause:
            raise DataError(f"results cannot be written to {folder} ({cause}); choose another folder") from cause
        return folder


def evaluate(
    model: Segmenter,
    samples: SampleSet,
    *,
    mode: TestMode | None = None,
    machine: Machine = Machine(),
    workers: int = 2,
    progress: bool = True,
) -> Evaluation | None:
    """Predict every image and compare with its label map at the label's size; 255 counts nowhere.

    A part of the data set is read before the first prediction, so that most damaged files are found at the start. Of
    several processes each predicts its share, every image exactly once; only the first returns the result, the others
    None.

    Parameters
    ----------
    mode : how an image is predicted; by default as the recipe of the model on this data set says (sliding window or
        whole, resized or not), else whole at its own size.

    Raises
    ------
    ModelError
        If the model was made for other classes.
    DataError
        If the data set has no labels, or naming the first image or label map that cannot be used.
    """
    if samples.classes is None:
        raise DataError(f"{samples.dataset} has no label maps; evaluation needs a labelled data set")
    if model.classes.names != samples.classes.names:
        found = f"{len(model.classes)} classes ({', '.join(model.classes.names[:3])}, ...)"
        needed = f"{len(samples.classes)} ({', '.join(samples.classes.names[:3])}, ...)"
        raise ModelError(
            f"the model has {found}, {samples.dataset} {needed}; choose weights trained on {samples.dataset}"
        )
    if first_process():
        check_samples(samples[:: -(-len(samples) // READ_BEFORE)], progress=progress)
    start = time.perf_counter()
    task = SegmentationTask(model, mode or mode_of(model.name, samples.dataset), shapes=True)
    with quiet_lightning():
        trainer = machine.trainer(
            logger=False,
            enable_checkpointing=False,
            callbacks=[ProgressBar()] if progress else [],
            enable_progress_bar=progress,
        )
        loader = evaluation_loader(samples, share=machine.share, workers=workers)
        with loader.dataset.watched.clear_errors():
            trainer.validate(task, loader, verbose=False)
    if not trainer.is_global_zero:
        return None
    result, shapes = task.result, task.result["shapes"]
    edges = boundary_iou(shapes["intersection"], shapes["union"])
    small = small_object_recall(shapes["found"], shapes["objects"])
    classes = pd.DataFrame(
        {
            "iou": result["iou"],
            "accuracy": result["accuracy"],
            "boundary_iou": edges["iou"],
            "small_objects": shapes["objects"],
            "small_recall": small["recall"],
        },
        index=pd.Index(list(model.classes), name="cls"),
    )
    seconds = time.perf_counter() - start
    return Evaluation(
        *(result["miou"], result["macc"], result["aacc"], edges["mean"], small["total"]),
        *(classes, result["confusion"], len(samples), seconds),
    )


def mode_of(model: str, data: str) -> TestMode:
    """How images of a data set are predicted by its recipe for a model; whole, at their size, where there is none."""
    return find_recipe(model, data).test_mode if has_recipe(model, data) else TestMode()


def paper_figure(model: str, data: str) -> str:
    """What the papers say of a model on a data set, in a few words; empty where they say nothing that is known here."""
    if (model, data) in PAPER_MIOU:
        return f"{PAPER_MIOU[model, data]:.1f}"
    if data == "ade20k" and model in PAPER_GAIN:
        plain = model.removesuffix("-offset")
        return f"{PAPER_GAIN[model]:+.1f} over {plain} ({PAPER_MIOU[plain, data]:.1f})"
    return ""


def _json_number(value: float) -> float | None:
    return None if value != value else value
