"""Training through Lightning: it learns, it repeats, it resumes to the same weights, and it loses nothing."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from blocks import CLASSES, block_sample, block_samples, blocks_recipe, spoiled_samples
from shared_data import reference_state_dict

from offseg_viz.data.sample import Sample, SampleSet
from offseg_viz.data.transforms import TrainTransform
from offseg_viz.errors import CheckpointError, DataError, ModelError
from offseg_viz.metrics import confusion_matrix, segmentation_metrics
from offseg_viz.models.weights import read_weights
from offseg_viz.models.zoo import load_model
from offseg_viz.pipeline.batches import TrainStream, train_loader
from offseg_viz.pipeline.evaluate import evaluate
from offseg_viz.pipeline.machine import Machine
from offseg_viz.pipeline.recipes import find_recipe
from offseg_viz.pipeline.schedule import schedule
from offseg_viz.pipeline.train import train

QUIET = {"workers": 0, "progress": False}


@pytest.fixture
def samples():
    return block_samples()


@pytest.mark.parametrize("model", ["nano", "nano-offset"])
def test_it_learns_and_writes_a_run_that_can_be_used(model, samples, tmp_path):
    row = blocks_recipe(model, steps=120)
    trained = train(
        row, samples[:8], tmp_path / "run", validation=samples[8:], command=("offseg-viz", "train"), **QUIET
    )
    result = evaluate(trained, samples[8:], **QUIET)
    assert result.miou > 0.8 and result.images == 4
    assert result.miou > evaluate(load_model(model, classes=CLASSES), samples[8:], **QUIET).miou + 0.3
    again = load_model(model, weights=tmp_path / "run" / "model.safetensors")
    assert again.fingerprint() == trained.fingerprint()
    notes = json.loads((tmp_path / "run" / "run.json").read_text())
    assert notes["recipe"]["steps"] == 120 and notes["versions"]["torch"] and notes["seconds"] > 0
    assert notes["hardware"]["cores"] and "code" in notes
    again = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert (again.pop("model"), again.pop("data")) == (model, "camvid")
    assert find_recipe(model, "camvid", **{name: "none" if v is None else v for name, v in again.items()}) == row
    assert list((tmp_path / "run" / "tensorboard").glob("*/events.out.tfevents.*"))
    log = pd.read_csv(next((tmp_path / "run" / "log").glob("*/metrics.csv")))
    assert log.loss.dropna().iloc[-1] < log.loss.dropna().iloc[0]
    rates = log[["step", "lr-AdamW/decode_head, decay"]].dropna().to_numpy()
    assert len(rates) == 12
    assert all(rate == pytest.approx(10 * row.learning_rate * schedule(step, row), rel=1e-6) for step, rate in rates)
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
    with pytest.raises(KeyboardInterrupt, match="stopped; --resume goes on"):
        train(row, samples, tmp_path / "run", checkpoint_every=2, **QUIET)
    monkeypatch.setattr(SegmentationTask, "training_step", real_step)
    assert torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["global_step"] == 4
    resumed = train(row, samples, tmp_path / "run", resume=True, **QUIET)
    assert resumed.fingerprint() == whole.fingerprint()
    notes = (tmp_path / "run" / "run.json").read_text()
    assert [session["first_step"] for session in json.loads(notes)["sessions"]] == [4]
    ended = train(row, samples, tmp_path / "run", resume=True, **QUIET)
    assert ended.fingerprint() == whole.fingerprint() and (tmp_path / "run" / "run.json").read_text() == notes
    assert len(list((tmp_path / "run" / "log").iterdir())) == 2
    assert not list((tmp_path / "run").glob(".*"))


def test_a_run_is_neither_overwritten_nor_resumed_by_mistake(samples, tmp_path):
    train(blocks_recipe(steps=2, learning_rate=0.001), samples, tmp_path / "run", checkpoint_every=2, **QUIET)
    with pytest.raises(CheckpointError, match="holds a run already; pass --resume"):
        train(blocks_recipe(steps=2), samples, tmp_path / "run", **QUIET)
    with pytest.raises(CheckpointError, match="learning_rate=0.001, now learning_rate=0.5"):
        train(blocks_recipe(steps=2, learning_rate=0.5), samples, tmp_path / "run", resume=True, **QUIET)
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        train(blocks_recipe(steps=2), samples, tmp_path / "other", resume=True, **QUIET)


def test_bad_data_is_found_before_the_first_step(tmp_path):
    broken = spoiled_samples(12, "11", without_last_row)
    with pytest.raises(DataError, match="11"):
        train(blocks_recipe(steps=2), broken, tmp_path / "run", **QUIET)
    unlabelled = SampleSet("photographs", None, ("1",), without_label)
    for training, validation in ((unlabelled, None), (block_samples(), unlabelled)):
        with pytest.raises(DataError, match="photographs .* has no label maps"):
            train(blocks_recipe(steps=2), training, tmp_path / "run", validation=validation, **QUIET)
    assert not (tmp_path / "run").exists()


def without_last_row(sample):
    return Sample(sample.id, sample.image, sample.label[:-1], CLASSES, "blocks")


def without_label(name):
    return Sample(name, np.zeros((64, 64, 3), np.uint8), None, None, "photographs")


def test_the_best_and_the_last_state_are_kept_and_can_be_used(samples, tmp_path):
    row = blocks_recipe("nano", steps=30, validate_every=6)
    train(row, samples[:8], tmp_path / "run", validation=samples[8:], checkpoint_every=10, **QUIET)
    log = pd.read_csv(next((tmp_path / "run" / "log").glob("*/metrics.csv")))
    measured = log.dropna(subset="miou")
    assert len(measured) == 5
    best = torch.load(tmp_path / "run" / "best.ckpt", weights_only=True)
    last = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 30
    assert best["global_step"] - 1 == measured.step.loc[measured.miou.idxmax()]
    result = evaluate(load_model("nano", weights=tmp_path / "run" / "best.ckpt"), samples[8:], **QUIET)
    assert result.miou == pytest.approx(measured.miou.max(), abs=1e-6)


def test_accumulated_batches_make_the_step_of_the_joint_batch(samples, tmp_path):
    row = blocks_recipe("segformer-b0", steps=1, warmup_steps=0, mean_over_ignored=True, batch_size=4)
    one = train(row, samples, tmp_path / "one", **QUIET).state_dict()
    parts = train(row, samples, tmp_path / "parts", machine=Machine(accumulate=2), **QUIET).state_dict()
    start = load_model("segformer-b0", classes=CLASSES).state_dict()
    changed = [name for name in one if not torch.equal(one[name], start[name])]
    assert len(changed) > 100
    # only the decode head has BatchNorm, which sees two images or four
    moved = {name: (one[name] - start[name], parts[name] - start[name]) for name in changed if "classifier" in name}
    for step, other in moved.values():
        agreement = torch.nn.functional.cosine_similarity(step.flatten(), other.flatten(), dim=0)
        assert agreement > 0.9


def test_the_backbone_starts_from_a_published_checkpoint(samples, tmp_path):
    published = reference_state_dict("segformer-b0_ade20k")
    backbone = {name.removeprefix("backbone."): t for name, t in published.items() if name.startswith("backbone.")}
    torch.save(backbone, tmp_path / "mit_b0.pth")
    row = blocks_recipe("segformer-b0", steps=1, learning_rate=1e-12)
    trained = train(row, samples, tmp_path / "run", backbone_weights=tmp_path / "mit_b0.pth", **QUIET)
    expected = published["backbone.layers.0.0.projection.weight"]
    torch.testing.assert_close(trained.state_dict()["backbone.stages.0.patch_embeddings.proj.weight"], expected)
    notes = json.loads((tmp_path / "run" / "run.json").read_text())
    assert notes["backbone_weights"]["file"] == "mit_b0.pth"
    (tmp_path / "run" / "model.safetensors").unlink()
    resumed = {"resume": True, "backbone_weights": tmp_path / "mit_b0.pth"}
    with pytest.raises(CheckpointError, match="was trained without --official-param-groups"):
        train(row, samples, tmp_path / "run", official_param_groups=True, **resumed, **QUIET)
    train(row, samples, tmp_path / "run", resume=True, **QUIET)
    again = json.loads((tmp_path / "run" / "run.json").read_text())
    assert again["backbone_weights"] == notes["backbone_weights"] and len(again["sessions"]) == 2


def test_released_names_decide_over_rate_and_decay_when_asked(samples, tmp_path):
    row = blocks_recipe("segformer-b0-offset", steps=2, weight_decay=50.0, learning_rate=1e-3)
    ours = train(row, samples, tmp_path / "ours", **QUIET).state_dict()
    theirs = train(row, samples, tmp_path / "theirs", official_param_groups=True, **QUIET).state_dict()
    norm = "decode_head.classifier.norm.weight"  # decays in the release, since its name has "head" in it
    assert theirs[norm].mean() < ours[norm].mean() - 0.1


def test_clipping_and_mixed_precision_train(samples, tmp_path):
    row = blocks_recipe(steps=40, clip_norm=1.0)
    trained = train(row, samples, tmp_path / "run", machine=Machine(precision="bf16"), **QUIET)
    assert evaluate(trained, samples, **QUIET).miou > 0.6


def test_mask2former_trains_by_its_own_loss(samples, tmp_path, monkeypatch):
    from offseg_viz.models.heads import mask2former

    class Short(mask2former.Mask2FormerConfig):
        def __init__(self, **options):
            super().__init__(**options, encoder_layers=1, decoder_layers=3, num_queries=8)

    monkeypatch.setattr(mask2former, "Mask2FormerConfig", Short)
    row = blocks_recipe("mask2former-swin-t-offset", steps=3, batch_size=2)
    train(row, samples[:4], tmp_path / "run", **QUIET)
    log = pd.read_csv(next((tmp_path / "run" / "log").glob("*/metrics.csv")))
    log = log.dropna(subset="loss")
    parts = [name for name in log.columns if name.startswith("loss_")]
    assert len(parts) == 3
    np.testing.assert_allclose(log[parts].sum(axis=1), log.loss, rtol=1e-4)


def test_stream_visits_every_sample_once_a_round_and_depends_on_its_number_only(samples):
    seen = []
    counted = block_samples(12, lambda name: seen.append(name) or block_sample(name))
    stream = TrainStream(counted, TrainTransform(crop=(64, 96)), seed=3)
    items = [stream[n] for n in range(24)]
    assert sorted(seen[:12]) == sorted(seen[12:]) == sorted(samples.ids) and seen[:12] != seen[12:]
    assert same(stream[17], items[17]) and not same(stream[17], items[16])
    resumed = list(train_loader(samples, blocks_recipe(steps=6), start_step=4, workers=0))
    whole = list(train_loader(samples, blocks_recipe(steps=6), workers=0))
    assert len(resumed) == 2
    assert all(map(same, resumed, whole[4:])) and not same(whole[0], whole[1])


def same(one, other):
    return one.ids == other.ids and torch.equal(one.image, other.image) and torch.equal(one.label, other.label)


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
