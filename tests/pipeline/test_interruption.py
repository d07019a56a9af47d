"""What happens to a run that is killed, meets a full disk, a loss that is no number, or a reader that dies."""

import os
import random
import resource
import signal
import subprocess
import sys
import time

import pytest
import torch
from blocks import block_samples, blocks_recipe, spoiled_samples, write_blocks
from torch.utils.data import get_worker_info

from offseg_viz.errors import CheckpointError, DataError, ModelError
from offseg_viz.models.weights import read_weights
from offseg_viz.pipeline.checkpoints import AtomicCheckpointIO
from offseg_viz.pipeline.train import train

QUIET = {"progress": False}
STEPS = 40
"""So many that a run which is to be killed has not ended by itself before."""


def command(folder, out, *more):
    words = ["train", "--recipe", "nano/folder", "--root", folder, "--out", out, "--validate-on", "none"]
    words += ["--steps", STEPS, "--crop", "64x96", "--batch-size", 4, "--checkpoint-every", 1, "--workers", 1, *more]
    return [sys.executable, "-m", "offseg_viz.cli", *map(str, words)]


ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def step_of(path):
    return torch.load(path, weights_only=True)["global_step"] if path.is_file() else 0


def test_a_run_killed_anywhere_resumes_to_the_weights_of_one_that_was_not(tmp_path):
    folder = write_blocks(tmp_path / "own")
    subprocess.run(command(folder, tmp_path / "whole"), check=True, capture_output=True, env=ENVIRONMENT)
    killed_at, resume = [], []
    for _ in range(2):
        run = subprocess.Popen(
            command(folder, tmp_path / "run", *resume), env=ENVIRONMENT, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        already = step_of(tmp_path / "run" / "last.ckpt")
        while step_of(tmp_path / "run" / "last.ckpt") < already + 2 and run.poll() is None:
            time.sleep(0.1)
        time.sleep(random.uniform(0, 0.4))
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        killed_at.append(step_of(tmp_path / "run" / "last.ckpt"))
        resume = ["--resume"]
    assert 2 <= killed_at[0] <= killed_at[1] < STEPS, killed_at
    done = subprocess.run(command(folder, tmp_path / "run", *resume), capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    whole, resumed = (read_weights(tmp_path / name / "model.safetensors").state_dict for name in ("whole", "run"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole) and len(whole) > 50, killed_at


def test_a_full_disk_leaves_the_previous_checkpoint_and_says_so(tmp_path):
    folder = write_blocks(tmp_path / "own")
    # A file may grow to less than a checkpoint: for the writer the same as a disk without room.
    few = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))  # noqa: E731
    run = subprocess.Popen(
        command(folder, tmp_path / "run"), env=ENVIRONMENT, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    last = tmp_path / "run" / "last.ckpt"
    while step_of(last) < 2 and run.poll() is None:
        time.sleep(0.1)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    before = last.read_bytes()
    full = subprocess.run(
        command(folder, tmp_path / "run", "--resume"), env=ENVIRONMENT, preexec_fn=few, capture_output=True, text=True
    )
    assert full.returncode == 2, full.stderr
    assert "could not be written" in full.stderr and "the previous one is intact" in full.stderr
    assert "Traceback" not in full.stderr
    assert last.read_bytes() == before and not list((tmp_path / "run").glob(".*"))
    again = subprocess.run(
        command(folder, tmp_path / "run", "--resume"), env=ENVIRONMENT, capture_output=True, text=True
    )
    assert again.returncode == 0, again.stderr


def test_a_checkpoint_that_cannot_be_written_says_whether_there_is_an_older_one(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="checkpoint of step 7 could not be written .* there is no previous one"):
        AtomicCheckpointIO().save_checkpoint({"global_step": 7}, tmp_path / "file" / "last.ckpt")


@pytest.mark.parametrize("checkpoint_every", [1, 100])
def test_a_loss_that_is_no_number_stops_the_run_with_step_files_and_last_loss(tmp_path, checkpoint_every, monkeypatch):
    from offseg_viz.pipeline import task

    real, seen = task.segmentation_loss, []

    def spoil(logits, label, **options):
        seen.append(real(logits, label, **options))
        return seen[-1] * (float("nan") if len(seen) == 4 else 1)

    monkeypatch.setattr(task, "segmentation_loss", spoil)
    with pytest.raises(ModelError) as error:
        train(
            blocks_recipe("nano", steps=9), block_samples(), tmp_path / "run", workers=0,
            checkpoint_every=checkpoint_every, **QUIET,
        )  # fmt: skip
    message = str(error.value)
    assert "the loss is nan at step 3" in message
    assert f"the last finite loss was {seen[2].item():.4g} at step 2" in message
    names = message.partition("the batch: ")[2].partition(".")[0].split(", ")
    assert len(names) == 4 and set(names) <= set(block_samples().ids)
    assert step_of(tmp_path / "run" / "last.ckpt") == (3 if checkpoint_every == 1 else 0)


def test_a_learning_rate_that_is_absurd_is_told(tmp_path):
    with pytest.raises(ModelError, match="the loss is (nan|inf) at step"):
        train(blocks_recipe(steps=30, learning_rate=1e30), block_samples(), tmp_path / "run", workers=0, **QUIET)


def die(sample):
    if get_worker_info() is not None:  # the check before the first step reads it well
        os.kill(os.getpid(), signal.SIGKILL)
    return sample


def test_a_reading_process_that_dies_names_the_file(tmp_path):
    samples = spoiled_samples(12, "7", die)
    with pytest.raises(DataError, match="a process that reads images died while it read .*'7'"):
        train(blocks_recipe(steps=30), samples, tmp_path / "run", workers=1, checkpoint_every=1, **QUIET)


def fail(sample):
    if get_worker_info() is not None:
        raise DataError("path/of/7.png cannot be read as an image; replace or remove it")
    return sample


def test_an_error_in_a_reading_process_arrives_as_it_is(tmp_path):
    samples = spoiled_samples(12, "7", fail)
    with pytest.raises(DataError) as error:
        train(blocks_recipe(steps=30), samples, tmp_path / "run", workers=1, **QUIET)
    assert str(error.value) == "path/of/7.png cannot be read as an image; replace or remove it"
