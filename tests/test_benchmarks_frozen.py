"""The pieces of benchmarks/frozen_features.py on toy features, all sizes different."""

import importlib.util
import json
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from torch import nn
from typer.testing import CliRunner

from offseg_viz.classes import ClassList
from offseg_viz.data.sample import Sample, SampleSet
from offseg_viz.models.zoo import load_model

FILE = Path(__file__).parents[1] / "benchmarks" / "frozen_features.py"
SPEC = importlib.util.spec_from_file_location("frozen_features", FILE)
bench = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(bench)

C, K, STRIDE, GRID = 11, 3, 4, (6, 9)


def toy(images=13, seed=0):
    """Features from which a linear classifier can read the label, and labels in cells of 4 x 4 pixels; some ignored."""
    rng = np.random.default_rng(seed)
    cells = rng.integers(0, K, (images, *GRID))
    directions = np.random.default_rng(99).normal(size=(K, C))
    feature = directions[cells].transpose(0, 3, 1, 2) + 0.3 * rng.normal(size=(images, C, *GRID))
    label = cells.repeat(STRIDE, axis=1).repeat(STRIDE, axis=2).astype(np.uint8)
    label[:, :STRIDE, :STRIDE] = 255
    return bench.Frozen(torch.tensor(feature, dtype=torch.float16), torch.from_numpy(label), STRIDE)


def train(kind, frozen=None, *, steps=40, rate=0.05, seed=3, window=(4, 5), fine=False):
    classifier = bench.build(kind, C, K, seed=seed)
    bench.fit(classifier, frozen or toy(), steps=steps, rate=rate, seed=seed, window=window, fine=fine)
    return classifier


def load_toy(name, sizes):
    number = int(name)
    rng = np.random.default_rng(number)
    shape = sizes[number]
    image = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    return Sample(name, image, rng.integers(0, K, shape, dtype=np.uint8), ClassList.numbered(K), "toy")


def toy_samples(sizes):
    names = tuple(str(n) for n in range(len(sizes)))
    return SampleSet("toy", ClassList.numbered(K), names, partial(load_toy, sizes=sizes))


@pytest.mark.parametrize("kind", bench.KINDS)
@pytest.mark.parametrize("fine", [False, True])
def test_every_kind_learns_what_is_easy(kind, fine):
    classifier, test = train(kind, fine=fine), toy(5, seed=1)
    fresh = bench.build(kind, C, K, seed=3)
    assert bench.mean_loss(classifier, test) < 0.6 * bench.mean_loss(fresh, test)
    result = bench.measure(classifier, test, np.array([True, True, False]))
    assert result["aacc"] > 80 and result["miou"] > 60 and 1 / K < result["top"] <= 1


@pytest.mark.parametrize("kind", bench.KINDS)
def test_a_run_depends_on_its_seed_and_on_nothing_else(kind):
    feature = toy().feature[:1].float()
    first = train(kind, steps=5)(feature)
    torch.rand(3)
    assert torch.equal(first, train(kind, steps=5)(feature))
    assert not torch.equal(first, train(kind, steps=5, seed=4)(feature))


def test_what_is_fixed_at_zero_stays_there():
    for kind, zero in (("offset, class offsets", "feature"), ("offset, feature offsets", "class")):
        classifier = train(kind)
        weights = {part: getattr(classifier, f"{part}_offset_proj").weight for part in ("feature", "class")}
        assert {part for part, weight in weights.items() if not weight.any()} == {zero}
    parameters = train("per-pixel, LayerNorm").named_parameters()
    assert not any(parameter.any() for name, parameter in parameters if "proj" in name)


def test_layer_norm_alone_is_a_linear_classifier_then_the_norm():
    classifier, feature = train("per-pixel, LayerNorm"), toy().feature[:2].float()
    scores = torch.einsum("kc,bchw->bhwk", classifier.class_embedding, feature)
    torch.testing.assert_close(classifier(feature), classifier.norm(scores).permute(0, 3, 1, 2))


def test_gains_start_where_they_should_and_are_read_back():
    starts = {"": 1, ", gain 3": 3, ", gain 10": 10, ", temperature": 1, ", no norm": None}
    assert {kind: bench.gains(bench.build(f"offset{kind}", C, K)) for kind in starts} == starts
    assert bench.gains(bench.build("per-pixel", C, K)) is None
    tempered = bench.build("offset, temperature", C, K)
    feature = toy().feature[:1].float()
    before = tempered(feature)
    nn.init.constant_(tempered.log_factor, math.log(7.0))
    torch.testing.assert_close(tempered(feature), 7 * before)
    assert bench.gains(tempered) == pytest.approx(7)


@pytest.mark.parametrize(("channels", "classes"), [(64, 32), (64, 11), (256, 150)])
def test_the_hidden_layer_has_as_many_parameters_as_offset_learning(channels, classes):
    sizes = [
        sum(p.numel() for p in bench.build(kind, channels, classes).parameters())
        for kind in ("per-pixel, hidden layer", "offset")
    ]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.01)


@pytest.mark.parametrize(("classes", "highest"), [(11, 0.764), (19, 0.830), (150, 0.9993)])
def test_the_bound_of_the_top_probability(classes, highest):
    assert bench.highest_probability(classes) == pytest.approx(highest, abs=5e-4)
    best = nn.functional.layer_norm(torch.eye(classes)[0].double(), (classes,), eps=0)
    assert (3 * best).softmax(0)[0].item() == pytest.approx(bench.highest_probability(classes, 3), rel=1e-9)
    scores = torch.from_numpy(np.random.default_rng(0).standard_cauchy((1000, classes)))
    tops = nn.functional.layer_norm(scores, (classes,), eps=0).softmax(1).amax(1)
    assert tops.max() <= bench.highest_probability(classes)


def test_labels_are_those_in_the_middle_of_the_cells():
    label = torch.arange(1 * 10 * 12).reshape(1, 10, 12).to(torch.uint8)
    middle = bench.middle_labels(label, 4)
    assert middle.tolist() == [[[12 * y + x for x in (2, 6, 10)] for y in (2, 6, 9)]]  # the last row hangs over


def test_windows_of_features_and_labels_lie_on_each_other():
    frozen = toy()
    rng, places = np.random.default_rng(0), set()
    whole = bench.middle_labels(frozen.label, STRIDE)
    for n in range(len(frozen.feature)):
        part = bench.batch(frozen, (4, 5), rng, [n])
        assert part.feature.shape == (1, C, 4, 5) and part.label.shape == (1, 16, 20)
        match = [
            (top, left)
            for top in range(GRID[0] - 3)
            for left in range(GRID[1] - 4)
            if torch.equal(frozen.feature[n, :, top : top + 4, left : left + 5].float(), part.feature[0])
        ]
        (top, left) = match[0]
        assert torch.equal(bench.middle_labels(part.label, STRIDE)[0], whole[n, top : top + 4, left : left + 5])
        places.add((top, left))
    assert len(places) > 5
    assert bench.batch(frozen, (48, 64), rng, [0, 1]).feature.shape == (2, C, *GRID)


def test_measures_of_a_known_classifier():
    """Logits that say class 0 everywhere: its IoU is its share, the others' 0; the ignored cell counts nowhere."""
    frozen = toy(4)
    constant = lambda feature: torch.tensor([2.0, 0, 0])[None, :, None, None].expand(1, K, *GRID)  # noqa: E731
    result = bench.measure(constant, frozen, np.array([True, False, False]))
    labelled = frozen.label[frozen.label != 255].double()
    share = 100 * (labelled == 0).double().mean().item()
    assert result["frequent"] == pytest.approx(share) and result["rare"] == 0
    assert result["miou"] == pytest.approx(share / 3) and result["aacc"] == pytest.approx(share)
    assert result["macc"] == pytest.approx(100 / 3)
    top = math.exp(2) / (math.exp(2) + 2)
    assert result["top"] == pytest.approx(top)
    cells = share / 100
    assert bench.mean_loss(constant, frozen) == pytest.approx(-math.log(top) + 2 * (1 - cells), rel=1e-5)


def test_frequent_classes_are_the_larger_half():
    label = torch.tensor([[[0, 2, 2, 2], [1, 1, 255, 255], [3, 3, 3, 255]]], dtype=torch.uint8)
    assert bench.frequent_classes(label, 5).tolist() == [False, True, True, True, False]


def test_the_interval_is_that_of_students_t():
    mean, half = bench.mean_and_interval([1.0, 2.0, 4.0, 5.0, 8.0])
    assert mean == 4 and half == pytest.approx(2.776445 * math.sqrt(7.5 / 5), rel=1e-5)
    assert math.isnan(bench.mean_and_interval([1.0])[1])


def test_frozen_features_are_what_the_classifier_sees(tmp_path):
    samples = toy_samples([(40, 64)] * 2)
    model = load_model("nano", num_classes=K)
    classifier = model.decode_head.classifier
    logits = model(model.normalize(samples[1].image))
    frozen = bench.freeze(model, samples, tmp_path)
    assert frozen.feature.shape == (2, 64, 10, 16) and frozen.stride == 4
    torch.testing.assert_close(classifier(frozen.feature[1:].float()), logits, rtol=5e-3, atol=5e-3)
    assert torch.equal(frozen.label[1], torch.from_numpy(samples[1].label))
    (file,) = tmp_path.iterdir()
    written = file.stat().st_mtime_ns
    again = bench.freeze(model, samples, tmp_path)
    assert torch.equal(again.feature, frozen.feature) and file.stat().st_mtime_ns == written
    bench.freeze(load_model("nano", num_classes=K, seed=1), samples, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2, "other weights have other features"


def test_images_of_several_sizes_are_refused(tmp_path):
    with pytest.raises(typer.BadParameter, match="2 sizes"):
        bench.freeze(load_model("nano", num_classes=K), toy_samples([(40, 64), (64, 40)]), tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_table_keeps_the_reading_and_pairs_the_seeds(tmp_path):
    run = {name: 1.0 for name in bench.COLUMNS}
    rows = {
        "per-pixel": {"params": 36, "rate": 0.016, "runs": [run | {"miou": m, "gain": None} for m in (30.0, 40.0)]},
        "offset": {"params": 281, "rate": 0.004, "runs": [run | {"miou": m} for m in (31.0, 42.0)]},
    }
    names = ("num_classes", "channels", "steps", "batch_size", "window", "loss", "rates", "seeds")
    settings = {name: 3 for name in names} | {"title": "toy"}
    cells = {"toy": {"command": "python benchmarks/frozen_features.py", "settings": settings, "kinds": rows}}
    text = bench.markdown(json.loads(json.dumps(cells)), "Read.")
    half = 12.7062 * math.sqrt(0.5) / math.sqrt(2)
    assert "| per-pixel | 36 | 0.016 | 35.00 ± 7.07 |  |" in text
    assert f"| offset | 281 | 0.004 | 36.50 ± 7.78 | +1.50 ± {half:.2f} |" in text
    file = tmp_path / "table.md"
    file.write_text(text)
    assert bench.kept_reading(file).strip() == "Read." and bench.kept_reading(tmp_path / "none.md") == ""


def test_commands_do_not_tell_where_a_machine_keeps_its_files():
    given = ["/here/x.py", "--weights", "/there/runs/nano-seed0/model.safetensors", "--kind", "offset, gain 3"]
    shown = "python benchmarks/frozen_features.py --weights nano-seed0/model.safetensors --kind 'offset, gain 3'"
    assert bench.command(given) == shown


@pytest.mark.parametrize("rates", [(), ("--rate", "0.05")])
def test_the_whole_command_resumes_and_repeats(tmp_path, monkeypatch, rates):
    splits = {"train": [(192, 256)] * 3, "val": [(64, 96)], "test": [(64, 96)] * 2}
    monkeypatch.setattr(bench, "load_samples", lambda data, split, root: toy_samples(splits[split]))
    monkeypatch.setattr(bench, "RESULTS", tmp_path)
    app = typer.Typer()
    app.command()(bench.main)
    options = ["--seeds", "2", "--steps", "3", "--runs", str(tmp_path / "runs"), "--kind", "offset", *rates]
    done = CliRunner().invoke(app, options, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    first, files = (tmp_path / "frozen-features.json").read_text(), len(list((tmp_path / "runs").glob("*.json")))
    assert files == 2 * (2 + (0 if rates else len(bench.LEARNING_RATES)))  # two kinds, two seeds, the choice of a rate
    monkeypatch.setattr(bench, "fit", None)  # everything is there already
    assert CliRunner().invoke(app, options, catch_exceptions=False).exit_code == 0
    assert (tmp_path / "frozen-features.json").read_text() == first
    (cell,) = json.loads(first).values()
    assert list(cell["kinds"]) == ["per-pixel", "offset"]
    validation = cell["kinds"]["offset"]["validation"]
    assert cell["kinds"]["offset"]["rate"] == (0.05 if rates else float(max(validation, key=validation.get)))
    assert "| offset |" in (tmp_path / "frozen-features.md").read_text()
