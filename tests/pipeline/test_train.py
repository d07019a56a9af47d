"""Training through Lightning: it learns, it repeats, it resumes to the same weights, and it loses nothing."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from offseg_viz.classes import ClassList
from offseg_viz.data.sample import Sample, SampleSet
from offseg_viz.data.transforms import TrainTransform
from offseg_viz.errors import CheckpointError, DataError, ModelError
from offseg_viz.metrics import confusion_matrix, segmentation_metrics
from offseg_viz.models.weights import read_weights
from offseg_viz.models.zoo import load_model
from offseg_viz.pipeline.batches import TrainStream, train_loader
from offseg_viz.pipeline.evaluate import evaluate
from offseg_viz.pipeline.recipes import recipe
from offseg_viz.pipeline.train import train

CLASSES = ClassList(("blue", "green", "red"), ("#0000ff", "#00ff00", "#ff0000"))
QUIET = {"workers": 0, "progress": False}


def block_sample(name):
    """Blocks of three noisy colours: a task that a few steps can learn."""
    random = np.random.default_rng(int(name))
    label = random.integers(0, 3, (6, 8), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
    colors = np.array([[40, 60, 200], [50, 180, 60], [200, 50, 40]])
    image = np.clip(colors[label] + random.normal(0, 20, (96, 128, 3)), 0, 255).astype(np.uint8)
    label[:8] = 255
    return Sample(name, image, label, CLASSES, "blocks")


@pytest.fixture
def samples():
    return SampleSet("blocks", CLASSES, tuple(map(str, range(12))), block_sample)


def blocks_recipe(model="nano-offset", **overrides):
    return recipe(model, "camvid", crop=(64, 96), batch_size=4, **overrides)


@pytest.mark.parametrize("model", ["nano", "nano-offset"])
def test_it_learns_and_writes_a_run_that_can_be_used(model, samples, tmp_path):
    row = blocks_recipe(model, steps=60)
    trained = train(
        row, samples[:8], tmp_path / "run", validation=samples[8:], command=("offseg-viz", "train"), **QUIET
    )
    result = evaluate(trained, samples[8:], **QUIET)
    assert result.miou > 0.8 and result.images == 4
    assert result.miou > evaluate(load_model(model, classes=CLASSES), samples[8:], **QUIET).miou + 0.3
    again = load_model(model, weights=tmp_path / "run" / "model.safetensors")
    assert again.fingerprint() == trained.fingerprint()
    notes = json.loads((tmp_path / "run" / "run.json").read_text())
    assert notes["recipe"]["steps"] == 60 and notes["versions"]["torch"] and notes["seconds"] > 0
    log = pd.read_csv(next((tmp_path / "run" / "log").glob("*/metrics.csv")))
    assert log.loss.dropna().iloc[-1] < log.loss.dropna().iloc[0]
    assert log.miou.dropna().iloc[-1] == pytest.approx(result.miou, abs=1e-6)
    assert read_weights(tmp_path / "run" / "model.safetensors").origin["command"] == "offseg-viz train"


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(samples, tmp_path):
    prints = [
        train(blocks_recipe(steps=4, seed=seed), samples, tmp_path / str(n), **QUIET).fingerprint()
        for n, seed in enumerate((0, 0, 1))
    ]
    assert prints[0] == prints[1] != prints[2]


def test_a_run_stopped_in_the_middle_resumes_to_the_same_weights(samples, tmp_path, monkeypatch):
    row = blocks_recipe("nano", steps=7)  # nano drops channels at random, so the random state has to be resumed too
    whole = train(row, samples, tmp_path / "whole", **QUIET)

    steps = []

    def stop_after_four(self, *args):
        steps.append(1)
        if len(steps) == 5:
            raise KeyboardInterrupt
        return real_step(self, *args)

    from offseg_viz.pipeline.task import SegmentationTask

    real_step = SegmentationTask.training_step
    monkeypatch.setattr(SegmentationTask, "training_step", stop_after_four)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(row, samples, tmp_path / "run", checkpoint_every=2, **QUIET)
    monkeypatch.setattr(SegmentationTask, "training_step", real_step)
    assert torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["global_step"] == 4
    resumed = train(row, samples, tmp_path / "run", resume=True, **QUIET)
    assert resumed.fingerprint() == whole.fingerprint()
    assert len(list((tmp_path / "run" / "log").iterdir())) == 2


def test_a_run_is_neither_overwritten_nor_resumed_by_mistake(samples, tmp_path):
    train(blocks_recipe(steps=2, learning_rate=0.001), samples, tmp_path / "run", checkpoint_every=2, **QUIET)
    with pytest.raises(CheckpointError, match="holds a run already; pass --resume"):
        train(blocks_recipe(steps=2), samples, tmp_path / "run", **QUIET)
    with pytest.raises(CheckpointError, match="learning_rate=0.001, now learning_rate=0.5"):
        train(blocks_recipe(steps=2, learning_rate=0.5), samples, tmp_path / "run", resume=True, **QUIET)
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        train(blocks_recipe(steps=2), samples, tmp_path / "other", resume=True, **QUIET)


def test_bad_data_is_found_before_the_first_step(samples, tmp_path):
    def spoiled(name):
        good = block_sample(name)
        return good if name != "11" else Sample(name, good.image, good.label[:-1], CLASSES, "blocks")

    broken = SampleSet("blocks", CLASSES, samples.ids, spoiled)
    with pytest.raises(DataError, match="11"):
        train(blocks_recipe(steps=2), broken, tmp_path / "run", **QUIET)
    assert not (tmp_path / "run").exists()


def test_stream_visits_every_sample_once_a_round_and_depends_on_its_number_only(samples):
    seen = []
    counted = SampleSet("blocks", CLASSES, samples.ids, lambda name: seen.append(name) or block_sample(name))
    stream = TrainStream(counted, TrainTransform(crop=(64, 96)), seed=3)
    items = [stream[n] for n in range(24)]
    assert sorted(seen[:12]) == sorted(seen[12:]) == sorted(samples.ids) and seen[:12] != seen[12:]
    torch.testing.assert_close(stream[17], items[17])
    resumed = list(train_loader(samples, blocks_recipe(steps=6), start_step=4, workers=0))
    whole = list(train_loader(samples, blocks_recipe(steps=6), workers=0))
    assert len(resumed) == 2
    torch.testing.assert_close(resumed, whole[4:])


def test_evaluation_equals_prediction_by_hand_and_ignores_255(samples):
    model = load_model("nano", classes=CLASSES, seed=2)
    confusion = np.zeros((3, 3), dtype=np.int64)
    for sample in samples[:3]:
        prediction = model.predict(model.normalize(sample.image))[0].numpy()
        confusion += confusion_matrix(sample.label, prediction, 3)
    expected = segmentation_metrics(confusion)
    result = evaluate(model, samples[:3], **QUIET)
    assert (result.miou, result.macc, result.aacc) == pytest.approx(
        (expected["miou"], expected["macc"], expected["aacc"]), abs=1e-6
    )
    np.testing.assert_allclose(result.classes.iou, expected["iou"], atol=1e-6)


def test_evaluating_on_other_classes_is_refused(samples):
    with pytest.raises(ModelError, match="choose weights trained on blocks"):
        evaluate(load_model("nano", num_classes=3), samples, **QUIET)
