"""Two processes compute what one does: the same gradient, the same evaluation, a run that ends."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from offseg_viz.errors import ModelError
from offseg_viz.models.conv_block import ConvBlock
from offseg_viz.models.zoo import load_model
from offseg_viz.pipeline.batches import Share, StepSampler
from offseg_viz.pipeline.machine import Machine
from offseg_viz.pipeline.recipes import find_recipe
from offseg_viz.pipeline.synchronised_norm import CPUSync, SynchronisedBatchNorm2d

SCRIPT = Path(__file__).parents[1] / "two_processes.py"


def compute(*arguments):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RANK", "LOCAL_RANK"))}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_two_processes_have_the_gradient_of_one_with_the_joint_batch(tmp_path):
    found = {}
    for devices in (1, 2):
        compute("gradient", devices, tmp_path / f"{devices}.pt", 1)
        found[devices] = torch.load(tmp_path / f"{devices}.pt", weights_only=True)
    (one, one_stats), (two, two_stats) = found[1], found[2]
    assert one.keys() == two.keys() and len(one) > 50
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=2e-3, atol=2e-5, msg=lambda text, name=name: name + text)
    assert any(name.endswith("running_var") for name in one_stats)
    for name in one_stats:
        torch.testing.assert_close(two_stats[name], one_stats[name], rtol=1e-4, atol=1e-6)


def test_two_processes_measure_what_one_does_each_image_once(tmp_path):
    results = []
    for devices in (1, 2):
        compute("evaluate", devices, tmp_path / f"{devices}.pt")
        results.append(torch.load(tmp_path / f"{devices}.pt", weights_only=False))
    (one, one_classes, one_miou, images), (two, two_classes, two_miou, _) = results
    np.testing.assert_array_equal(one, two)
    np.testing.assert_equal(one_classes, two_classes)
    assert one_miou == two_miou and images == 7 and one.sum() > 0


def test_a_run_of_two_processes_with_an_odd_validation_set_ends_and_writes_once(tmp_path):
    compute("train", 2, tmp_path / "run")
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"model.safetensors", "last.ckpt", "best.ckpt", "recipe.yaml", "run.json"} <= names
    model = load_model("nano-offset", weights=tmp_path / "run" / "model.safetensors")
    assert not any(type(module) is SynchronisedBatchNorm2d for module in model.modules())


def test_every_crop_of_a_step_is_computed_once_however_it_is_spread():
    recipe = find_recipe("offseg-t", "ade20k", steps=3, batch_size=8, warmup_steps=0)
    whole = list(StepSampler(recipe, Share()))
    assert whole == [list(range(8 * step, 8 * step + 8)) for step in range(3)]
    for processes, accumulate in ((2, 1), (4, 2), (1, 8), (2, 2)):
        parts = [list(StepSampler(recipe, Share(processes, p, accumulate))) for p in range(processes)]
        for step in range(3):
            batches = [part[step * accumulate : (step + 1) * accumulate] for part in parts]
            assert sorted(n for part in batches for batch in part for n in batch) == whole[step]
    resumed = list(StepSampler(recipe, Share(2, 1, 2), start=2))
    assert resumed == list(StepSampler(recipe, Share(2, 1, 2)))[4:] and len(resumed) == 2


def test_a_batch_that_cannot_be_divided_is_refused():
    recipe = find_recipe("offseg-t", "ade20k")
    with pytest.raises(ModelError, match="a step has 16 crops, found 3 processes"):
        Share(3).batch_size(recipe)
    assert Share(8).batch_size(recipe) == 2 and Share(1, 0, 16).batch_size(recipe) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"devices": 0}, "devices is 0"),
        ({"accumulate": 0}, "accumulate is 0"),
        ({"precision": "8"}, "needed one of 32, bf16, 16"),
        ({"accelerator": "tpu"}, "needed auto, cpu or gpu"),
    ],
)
def test_bad_machines_say_what_is_needed(options, message):
    with pytest.raises(ModelError, match=message):
        Machine(**options)


def test_norms_are_exchanged_and_back_with_their_statistics():
    block = ConvBlock(3, 5)
    before = dict(block.state_dict())
    CPUSync().apply(block)
    assert any(type(module) is SynchronisedBatchNorm2d for module in block.modules())
    CPUSync().revert(block)
    assert not any(type(module) is SynchronisedBatchNorm2d for module in block.modules())
    assert all(torch.equal(block.state_dict()[name], before[name]) for name in before)
