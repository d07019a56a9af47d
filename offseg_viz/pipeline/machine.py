"""What a run is spread over, and what it ran with: devices, processes, versions."""

import os
import platform
import subprocess
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities import rank_zero_only

from offseg_viz.errors import ModelError
from offseg_viz.pipeline.batches import Share
from offseg_viz.pipeline.synchronised_norm import CPUSync

PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


@dataclass(frozen=True)
class Machine:
    """Devices of a run: `devices` on each of `nodes` machines, `accumulate` batches a step on each.

    `accelerator` is "auto", "cpu" or "gpu"; `precision` is "32", or "bf16" or "16" for mixed precision.

    Raises
    ------
    ModelError
        For a number below 1 or an unknown precision or accelerator.
    """

    devices: int = 1
    nodes: int = 1
    accelerator: str = "auto"
    precision: str = "32"
    accumulate: int = 1

    def __post_init__(self):
        for name in ("devices", "nodes", "accumulate"):
            if getattr(self, name) < 1:
                raise ModelError(f"{name} is {getattr(self, name)}; needed 1 or more")
        if self.precision not in PRECISIONS:
            raise ModelError(f"precision is {self.precision!r}; needed one of {', '.join(PRECISIONS)}")
        if self.accelerator not in ("auto", "cpu", "gpu"):
            raise ModelError(f"accelerator is {self.accelerator!r}; needed auto, cpu or gpu")
        if self.accelerator == "gpu" and not torch.cuda.is_available():
            raise ModelError("accelerator is gpu, but torch finds no GPU here; needed one, or accelerator cpu or auto")
        if self.gpu and self.devices > torch.cuda.device_count():
            raise ModelError(f"devices is {self.devices}, but there are {torch.cuda.device_count()} GPUs here")

    @property
    def gpu(self) -> bool:
        return self.accelerator != "cpu" and torch.cuda.is_available()

    @property
    def share(self) -> Share:
        """The part of this process; the others start the same program with another number in their environment."""
        return Share(self.devices * self.nodes, rank_zero_only.rank or 0, self.accumulate)

    def trainer(self, **options) -> L.Trainer:
        """A Lightning Trainer on these devices."""
        several = self.devices * self.nodes > 1
        if several:
            # Buffers are those of BatchNorm, which are the same everywhere; sending them would also make processes
            # with fewer images to validate wait for ever.
            options["strategy"] = DDPStrategy(
                broadcast_buffers=False, process_group_backend=None if self.gpu else "gloo"
            )
            options["plugins"] = [*options.get("plugins", ()), *([] if self.gpu else [CPUSync()])]
            options["sync_batchnorm"] = self.gpu
        return L.Trainer(
            accelerator=self.accelerator,
            devices=self.devices,
            num_nodes=self.nodes,
            precision=PRECISIONS[self.precision],
            use_distributed_sampler=False,
            enable_model_summary=False,
            **options,
        )


class ProgressBar(RichProgressBar):
    """Batches of the whole run, those before a stop included, with the time that is left, on the error stream."""

    def __init__(self):
        super().__init__(console_kwargs={"stderr": True})

    @property
    def total_train_batches(self) -> int | float:
        return self.trainer.num_training_batches

    def _get_train_description(self, current_epoch: int) -> str:
        return "training"

    def get_metrics(self, trainer, pl_module) -> dict:
        shown = super().get_metrics(trainer, pl_module)
        shown.pop("v_num", None)
        return shown


def first_process() -> bool:
    """Whether this is the only process, or the one that writes files and messages."""
    return (rank_zero_only.rank or 0) == 0


def environment() -> dict:
    """Versions, the state of the code and the hardware, for the notes of a run."""
    names = ("offseg-viz", "torch", "lightning", "transformers", "numpy", "opencv-python-headless")
    return {
        "versions": {name: version(name) for name in names} | {"python": platform.python_version()},
        "code": _revision(),
        "hardware": {
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpus": [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())],
        },
    }


def _revision() -> str | None:
    """The commit of a source checkout, marked where files differ from it; None for an installed package."""
    folder = Path(__file__).parent
    try:
        git = ["git", "-C", str(folder)]
        top = subprocess.run([*git, "ls-files", "--error-unmatch", Path(__file__).name], capture_output=True)
        if top.returncode:
            return None
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+changes" if changed else "")


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
            warnings.filterwarnings("ignore", message="Grad strides do not match")  # of 1x1 weights, channels last
            yield
    finally:
        logger.setLevel(level)
