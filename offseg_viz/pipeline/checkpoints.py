"""Checkpoints that are whole or not there: the state to resume from, and the best one so far."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from offseg_viz.errors import CheckpointError, OffsegVizError


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the old file and moves the new one into its place when it is on the disk."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        path = Path(path)
        passing = path.with_name(f".{path.name}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(passing, "wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(passing, path)
        except (OSError, RuntimeError) as cause:  # torch wraps a failed write into a RuntimeError
            with suppress(OSError):
                passing.unlink()
            step = checkpoint.get("global_step")
            left = f"the previous one is intact: {path}" if path.is_file() else "there is no previous one"
            raise CheckpointError(
                f"the checkpoint of step {step} could not be written to {path.parent} ({cause}); {left}. "
                "Make room on the disk and go on with --resume"
            ) from cause


class LastCheckpoint(ModelCheckpoint):
    """``last.ckpt`` every so many steps, and when the run is interrupted by anything but an error that we foresaw."""

    def __init__(self, folder: Path, every: int):
        super().__init__(
            folder, "last", every_n_train_steps=every, enable_version_counter=False, save_on_exception=True
        )

    def on_exception(self, trainer, pl_module, exception) -> None:
        if not isinstance(exception, OffsegVizError):  # not the state that made the loss NaN, nor onto a full disk
            super().on_exception(trainer, pl_module, exception)


class BestCheckpoint(ModelCheckpoint):
    """``best.ckpt``: the one with the highest mIoU of validation."""

    def __init__(self, folder: Path):
        super().__init__(
            folder, "best", monitor="miou", mode="max", save_top_k=1, enable_version_counter=False,
            save_on_train_epoch_end=False,
        )  # fmt: skip
