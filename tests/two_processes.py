"""What one and two processes compute, written to a file: ``two_processes.py gradient|evaluate|train DEVICES OUT``.

The second process is started by Lightning, which runs this script again.
"""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

from blocks import CLASSES, block_samples, blocks_recipe  # noqa: E402
from lightning.pytorch.callbacks import Callback  # noqa: E402

from offseg_viz.models.zoo import load_model  # noqa: E402
from offseg_viz.pipeline.batches import train_loader  # noqa: E402
from offseg_viz.pipeline.evaluate import evaluate  # noqa: E402
from offseg_viz.pipeline.inference import TestMode  # noqa: E402
from offseg_viz.pipeline.machine import Machine, first_process  # noqa: E402
from offseg_viz.pipeline.task import SegmentationTask  # noqa: E402
from offseg_viz.pipeline.train import train  # noqa: E402


class Keep(Callback):
    """Saves the gradients of the first step and the running statistics after it."""

    def __init__(self, out):
        self.out = out

    def on_before_optimizer_step(self, trainer, task, optimizer):
        if trainer.is_global_zero:
            names = {name: parameter.grad.clone() for name, parameter in task.model.named_parameters()}
            torch.save((names, dict(task.model.named_buffers())), self.out)


def gradient(devices, accumulate, out):
    machine = Machine(devices=devices, accelerator="cpu", accumulate=accumulate)
    recipe = blocks_recipe(steps=1, warmup_steps=0)
    model = load_model("nano-offset", classes=CLASSES, seed=3)
    trainer = machine.trainer(
        max_steps=1, max_epochs=-1, accumulate_grad_batches=accumulate, logger=False, enable_checkpointing=False,
        callbacks=[Keep(out)], enable_progress_bar=False,
    )  # fmt: skip
    task = SegmentationTask(model, TestMode(), recipe, share=machine.share)
    trainer.fit(task, train_loader(block_samples(), recipe, share=machine.share, workers=0))


def measure(devices, out):
    model = load_model("nano-offset", classes=CLASSES, seed=3)
    result = evaluate(
        model, block_samples(7), machine=Machine(devices=devices, accelerator="cpu"), workers=0, progress=False
    )
    if result is not None:
        torch.save((result.confusion, result.classes.to_dict(), result.miou, result.images), out)


def run(devices, out):
    recipe = blocks_recipe(steps=4, validate_every=2)
    train(
        recipe, block_samples(), out, validation=block_samples(3), checkpoint_every=2,
        machine=Machine(devices=devices, accelerator="cpu"), workers=0, progress=False,
    )  # fmt: skip
    assert first_process() == (Path(out) / "model.safetensors").exists() or not first_process()


if __name__ == "__main__":
    torch.set_num_threads(1)
    what, devices, out = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    if what == "gradient":
        gradient(devices, int(sys.argv[4]), out)
    elif what == "evaluate":
        measure(devices, out)
    else:
        run(devices, out)
