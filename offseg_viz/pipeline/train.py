"""Train a network by a recipe; a run's folder holds all that is needed to repeat, resume and use it."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

import lightning as L
import yaml
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from offseg_viz.data.sample import SampleSet
from offseg_viz.data.samples import check_samples
from offseg_viz.errors import CheckpointError, DataError, ModelError
from offseg_viz.models.segmenter import Segmenter
from offseg_viz.models.weights import read_weights, save_weights
from offseg_viz.models.zoo import load_model
from offseg_viz.pipeline.batches import evaluation_loader, train_loader
from offseg_viz.pipeline.checkpoints import AtomicCheckpointIO, BestCheckpoint, LastCheckpoint
from offseg_viz.pipeline.machine import Machine, ProgressBar, environment, first_process, quiet_lightning
from offseg_viz.pipeline.recipes import OVERRIDABLE, Recipe
from offseg_viz.pipeline.task import SegmentationTask

READ_BEFORE = 1000
"""Images that are read before the first step; of larger data sets so many, evenly spread."""


def train(
    recipe: Recipe,
    samples: SampleSet,
    out: str | Path,
    *,
    validation: SampleSet | None = None,
    resume: bool = False,
    backbone_weights: str | Path | None = None,
    official_param_groups: bool = False,
    machine: Machine = Machine(),
    workers: int = 2,
    checkpoint_every: int = 250,
    command: Sequence[str] = (),
    progress: bool = True,
) -> Segmenter:
    """Train and return the network; `out` then holds

    - ``model.safetensors``: the weights, with model, classes, recipe and command in the header,
    - ``last.ckpt``: the state to resume from, written every `checkpoint_every` steps and when the run is interrupted;
      ``best.ckpt``: the state with the best mIoU, where there is a validation,
    - ``recipe.yaml``: every number, to train so again; ``run.json``: versions, code, hardware, seed, command, seconds,
    - ``log/*/metrics.csv`` and ``tensorboard/``: loss, learning rates and validation metrics.

    A sample of both data sets is read before the first step. The same recipe on the same machine gives the same
    weights, also when the run was stopped, killed and resumed. The crops of a step do not depend on the number of
    devices.

    Parameters
    ----------
    validation : measured every `recipe.validate_every` steps and at the end.
    resume : go on with the run in `out` from ``last.ckpt``.
    backbone_weights : a published checkpoint to start the backbone from (see `load_backbone_weights`).
    official_param_groups : match learning rates and decay to parameters as the released configurations do.
    machine : devices, nodes, precision and accumulation; more than one device trains with synchronised BatchNorm.

    Raises
    ------
    DataError
        Naming the first file that cannot be used, or that a reading process died of.
    CheckpointError
        If `out` holds a run already and `resume` is not set, or there is nothing to resume, or it is another recipe's,
        or a checkpoint cannot be written.
    ModelError
        If the classes of the two data sets differ, the batch cannot be divided among the devices, or the loss is no
        longer finite, naming the step and the images.
    """
    out = Path(out)
    share = machine.share
    share.batch_size(recipe)
    start_step = _resumed_step(out / "last.ckpt", recipe) if resume else 0
    if start_step == recipe.steps and (out / "model.safetensors").is_file():
        return load_model(recipe.model, weights=out / "model.safetensors")  # it had ended already
    for name, part in (("training", samples), ("validation", validation)):
        if part is not None and part.classes is None:
            raise DataError(
                f"{part.dataset} ({name}) has no label maps; needed a labelled data set, of your own: images/, "
                "labels/ and classes.txt in one folder"
            )
    if validation is not None and validation.classes.names != samples.classes.names:
        raise ModelError(f"{validation.dataset} (validation) and {samples.dataset} (training) have different classes")
    if first_process():
        if not resume and ((out / "last.ckpt").exists() or (out / "run.json").exists()):
            raise CheckpointError(f"{out} holds a run already; pass --resume to go on with it or choose another folder")
        for part in filter(None, (samples, validation)):
            check_samples(part[:: -(-len(part) // READ_BEFORE)], progress=progress)
    L.seed_everything(recipe.seed, verbose=False)
    model = load_model(recipe.model, classes=samples.classes, seed=recipe.seed)
    notes = {"recipe": asdict(recipe), "command": list(command), "devices": asdict(machine)} | environment()
    notes["official_param_groups"] = official_param_groups
    sessions = []
    if resume and (out / "run.json").is_file():
        before = json.loads((out / "run.json").read_text(encoding="utf-8"))
        notes["command"], sessions = before["command"], before.get("sessions", [])
        if "backbone_weights" in before:
            notes["backbone_weights"] = before["backbone_weights"]
        if before["official_param_groups"] != official_param_groups:
            with_or_without = "with" if before["official_param_groups"] else "without"
            raise CheckpointError(f"{out} was trained {with_or_without} --official-param-groups; resume it like that")
    if backbone_weights is not None and not resume:
        from offseg_viz.models.official.backbones import load_backbone_weights

        load_backbone_weights(model, backbone_weights)
        notes["backbone_weights"] = {"file": Path(backbone_weights).name, "fingerprint": model.fingerprint()}
    origin = {name: str(value) for name, value in asdict(recipe).items()}
    origin |= {"library_version": notes["versions"]["offseg-viz"], "command": " ".join(notes["command"])}
    header = {"model": model.name, "classes": list(model.classes.names), "colors": list(model.classes.colors)}
    if first_process():
        _write_notes(out, recipe, notes)
    task = SegmentationTask(
        model,
        recipe.test_mode,
        recipe,
        header=header | {"origin": origin},
        share=share,
        official_groups=official_param_groups,
    )
    loader = train_loader(samples, recipe, share=share, start_step=start_step, workers=workers)
    measured = evaluation_loader(validation, share=share, workers=workers) if validation is not None else None
    interval = recipe.validate_every * machine.accumulate
    start = time.perf_counter()
    with quiet_lightning():
        trainer = machine.trainer(
            max_steps=recipe.steps,
            max_epochs=-1,
            accumulate_grad_batches=machine.accumulate,
            gradient_clip_val=recipe.clip_norm,
            logger=[
                CSVLogger(out, name="log", version=f"from-step-{start_step:06d}"),
                TensorBoardLogger(out, name="tensorboard", version=f"from-step-{start_step:06d}"),
            ],
            callbacks=[LastCheckpoint(out, checkpoint_every), LearningRateMonitor("step")]
            + ([BestCheckpoint(out)] if measured is not None else [])
            + ([ProgressBar()] if progress else []),
            plugins=[AtomicCheckpointIO()],
            enable_progress_bar=progress,
            log_every_n_steps=min(10, recipe.steps),
            num_sanity_val_steps=0,
            limit_val_batches=None if measured is not None else 0,
            val_check_interval=interval if 0 < interval < len(loader) else 1.0,
        )
        with ExitStack() as stack:
            for one in filter(None, (loader, measured)):
                stack.enter_context(one.dataset.watched.clear_errors())
            stack.enter_context(_told_interrupt(out))
            trainer.fit(task, loader, measured, ckpt_path=out / "last.ckpt" if resume else None, weights_only=True)
        if trainer.interrupted:
            raise KeyboardInterrupt
        trainer.save_checkpoint(out / "last.ckpt")
        if measured is not None and task.measured_at != recipe.steps:
            trainer.validate(task, measured, verbose=False)
    if trainer.is_global_zero:
        seconds = round(time.perf_counter() - start, 1)
        sessions = [*sessions, {"command": list(command), "first_step": start_step, "seconds": seconds}]
        total = round(sum(session["seconds"] for session in sessions), 1)
        _write_notes(out, recipe, notes | {"sessions": sessions, "seconds": total})
        save_weights(model, out / "model.safetensors", origin=origin)
    return model.eval()


@contextmanager
def _told_interrupt(out: Path) -> Iterator[None]:
    """Lightning answers Ctrl-C with a silent exit; this tells how to go on."""
    try:
        yield
    except SystemExit:
        raise KeyboardInterrupt(f"stopped; --resume goes on from the last checkpoint in {out}") from None


def _write_notes(out: Path, recipe: Recipe, notes: dict) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        _write(out / "run.json", json.dumps(notes, indent=2) + "\n")
        numbers = {name: value for name, value in asdict(recipe).items() if name != "source"}
        text = f"# {recipe.name}: {recipe.source}\n" + yaml.safe_dump(_plain(numbers), sort_keys=False)
        _write(out / "recipe.yaml", text)
    except OSError as cause:
        raise CheckpointError(f"{out} cannot be written ({cause}); choose a folder that can be written") from cause


def _write(path: Path, text: str) -> None:
    """Write beside the old file and move into its place: a run that is killed leaves the one or the other."""
    passing = path.with_name(f".{path.name}.partial")
    passing.write_text(text, encoding="utf-8")
    passing.replace(path)


def _plain(numbers: dict) -> dict:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in numbers.items()}


def _resumed_step(last: Path, recipe: Recipe) -> int:
    """Steps already done in a checkpoint, which must come from the same recipe."""
    import torch

    if not last.is_file():
        raise CheckpointError(f"no checkpoint at {last}: there is nothing to resume; leave --resume out")
    stored = read_weights(last, model=recipe.model)
    for name in ("model", "data", *OVERRIDABLE):
        value = getattr(recipe, name)
        if stored.origin.get(name) != str(value):
            raise CheckpointError(
                f"{last} was trained with {name}={stored.origin.get(name)}, now {name}={value}; "
                "resume with the same recipe"
            )
    return int(torch.load(last, map_location="cpu", weights_only=True)["global_step"])
