"""Train a network by a recipe; a run's folder holds all that is needed to repeat, resume and use it."""

import json
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger

from offseg_viz.data.sample import SampleSet
from offseg_viz.data.samples import check_samples
from offseg_viz.errors import CheckpointError, ModelError
from offseg_viz.models.segmenter import Segmenter
from offseg_viz.models.weights import read_weights, save_weights
from offseg_viz.models.zoo import load_model
from offseg_viz.pipeline.batches import evaluation_loader, train_loader
from offseg_viz.pipeline.evaluate import quiet_lightning
from offseg_viz.pipeline.recipes import Recipe
from offseg_viz.pipeline.task import SegmentationTask


def train(
    recipe: Recipe,
    samples: SampleSet,
    out: str | Path,
    *,
    validation: SampleSet | None = None,
    resume: bool = False,
    workers: int = 2,
    checkpoint_every: int = 250,
    command: Sequence[str] = (),
    progress: bool = True,
) -> Segmenter:
    """Train from scratch and return the network; `out` then holds

    - ``model.safetensors``: the weights, with model, classes, recipe and command in the header,
    - ``last.ckpt``: the state to resume from, written every `checkpoint_every` steps and when the run is interrupted,
    - ``run.json``: the recipe, the versions and the seconds taken; ``log/*/metrics.csv``: loss and validation metrics.

    Both data sets are read once before the first step. The same recipe on the same machine gives the same weights, also
    when the run was stopped and resumed.

    Raises
    ------
    DataError
        Naming the first file that cannot be used.
    CheckpointError
        If `out` holds a run already and `resume` is not set, or there is nothing to resume, or it is another recipe's.
    """
    out = Path(out)
    last, notes = out / "last.ckpt", out / "run.json"
    start_step = _resumed_step(last, recipe) if resume else 0
    if not resume and (last.exists() or notes.exists()):
        raise CheckpointError(f"{out} holds a run already; pass --resume to go on with it or choose another folder")
    if validation is not None and validation.classes.names != samples.classes.names:
        raise ModelError(f"{validation.dataset} (validation) and {samples.dataset} (training) have different classes")
    for part in filter(None, (samples, validation)):
        check_samples(part, progress=progress)
    L.seed_everything(recipe.seed, verbose=False)
    model = load_model(recipe.model, classes=samples.classes, seed=recipe.seed)
    origin = {name: str(value) for name, value in asdict(recipe).items()}
    origin |= {"library_version": version("offseg-viz"), "command": " ".join(command)}
    header = {"model": model.name, "classes": list(model.classes.names), "colors": list(model.classes.colors)}
    task = SegmentationTask(model, recipe, header | {"origin": origin})
    out.mkdir(parents=True, exist_ok=True)
    notes.write_text(json.dumps({"recipe": asdict(recipe), "command": list(command)} | _environment(), indent=2) + "\n")
    start = time.perf_counter()
    checkpoint = ModelCheckpoint(
        out, "last", every_n_train_steps=checkpoint_every, enable_version_counter=False, save_on_exception=True
    )
    with quiet_lightning():
        trainer = L.Trainer(
            max_steps=recipe.steps,
            max_epochs=-1,
            devices=1,
            logger=CSVLogger(out, name="log", version=f"from-step-{start_step:06d}"),
            callbacks=[checkpoint] + ([RichProgressBar()] if progress else []),
            enable_progress_bar=progress,
            enable_model_summary=False,
            log_every_n_steps=min(10, recipe.steps),
            num_sanity_val_steps=0,
            limit_val_batches=None if validation is not None else 0,
        )
        trainer.fit(
            task,
            train_loader(samples, recipe, start_step=start_step, workers=workers),
            evaluation_loader(validation, workers=workers) if validation is not None else None,
            ckpt_path=last if resume else None,
            weights_only=True if resume else None,
        )
    if trainer.interrupted:
        raise KeyboardInterrupt
    run = json.loads(notes.read_text()) | {"seconds": round(time.perf_counter() - start, 1), "first_step": start_step}
    notes.write_text(json.dumps(run, indent=2) + "\n")
    save_weights(model, out / "model.safetensors", origin=origin)
    return model.eval()


def _resumed_step(last: Path, recipe: Recipe) -> int:
    """Steps already done in a checkpoint, which must come from the same recipe."""
    import torch

    stored = read_weights(last, model=recipe.model)
    for name, value in asdict(recipe).items():
        if stored.origin.get(name) != str(value):
            raise CheckpointError(
                f"{last} was trained with {name}={stored.origin.get(name)}, now {name}={value}; "
                "resume with the same recipe"
            )
    return int(torch.load(last, map_location="cpu", weights_only=True)["global_step"])


def _environment() -> dict[str, str]:
    names = ("offseg-viz", "torch", "lightning", "numpy", "opencv-python-headless")
    return {"versions": {name: version(name) for name in names} | {"python": platform.python_version()}}
