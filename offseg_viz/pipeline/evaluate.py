"""Measure a network on a labelled data set: mIoU, per-class IoU, mAcc, aAcc."""

import time
import warnings
from contextlib import contextmanager
from typing import NamedTuple

import lightning as L
import pandas as pd

from offseg_viz.data.sample import SampleSet
from offseg_viz.data.samples import check_samples
from offseg_viz.errors import ModelError
from offseg_viz.models.segmenter import Segmenter
from offseg_viz.pipeline.batches import evaluation_loader
from offseg_viz.pipeline.task import SegmentationTask


class Evaluation(NamedTuple):
    """Shares from 0 to 1: mean IoU and accuracy over the classes that occur, pixel accuracy, a row a class; seconds."""

    miou: float
    macc: float
    aacc: float
    classes: pd.DataFrame
    images: int
    seconds: float


def evaluate(model: Segmenter, samples: SampleSet, *, workers: int = 2, progress: bool = True) -> Evaluation:
    """Predict every image whole, at its own size, and compare with its label map; 255 counts nowhere.

    The data set is read once before the first prediction, so that a damaged file is found at the start.

    Raises
    ------
    ModelError
        If the model was made for other classes.
    DataError
        Naming the first image or label map that cannot be used.
    """
    if samples.classes is not None and model.classes.names != samples.classes.names:
        found = f"{len(model.classes)} classes ({', '.join(model.classes.names[:3])}, ...)"
        needed = f"{len(samples.classes)} ({', '.join(samples.classes.names[:3])}, ...)"
        raise ModelError(
            f"the model has {found}, {samples.dataset} {needed}; choose weights trained on {samples.dataset}"
        )
    check_samples(samples, progress=progress)
    start = time.perf_counter()
    task = SegmentationTask(model)
    with quiet_lightning():
        trainer = L.Trainer(
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=progress,
            devices=1,
        )
        trainer.validate(task, evaluation_loader(samples, workers=workers), verbose=False)
    result = task.result
    classes = pd.DataFrame({"iou": result["iou"], "accuracy": result["accuracy"]}, index=list(model.classes))
    classes.index.name = "cls"
    seconds = time.perf_counter() - start
    return Evaluation(result["miou"], result["macc"], result["aacc"], classes, len(samples), seconds)


@contextmanager
def quiet_lightning():
    """Without Lightning's hints about hardware, worker counts and log intervals, which are choices made here."""
    import logging

    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning.*")
            yield
    finally:
        logger.setLevel(level)
