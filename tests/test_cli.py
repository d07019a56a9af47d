"""The command line as a user calls it: real processes, real files, and errors of one line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from published_files import write_published
from shared_data import reference_state_dict

import offseg_viz
from offseg_viz.data.camvid import CAMVID_CLASSES
from offseg_viz.extract.store import open_store
from offseg_viz.models.official.loading import load_official_weights
from offseg_viz.models.zoo import load_model


def run(*arguments, check=True):
    environment = os.environ | {"COLUMNS": "200", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "offseg_viz.cli", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    if check:
        assert result.returncode == 0, result.stderr
    return result


@pytest.fixture
def camvid(tmp_path):
    """A tiny data set in the layout of CamVid, with .png images."""
    root = tmp_path / "camvid"
    random = np.random.default_rng(0)
    palette = CAMVID_CLASSES.palette
    for split, count in (("train", 4), ("val", 2), ("test", 2)):
        (root / split).mkdir(parents=True)
        (root / f"{split}annot").mkdir()
        for n in range(count):
            label = random.integers(0, 12, (6, 8), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
            image = np.vstack([palette, [[0, 0, 0]]])[label].astype(np.uint8)
            Image.fromarray(image).save(root / split / f"{split}{n}.png")
            Image.fromarray(label).save(root / f"{split}annot" / f"{split}{n}.png")
    return root


SMALL = ("--crop", "64x96", "--batch-size", "2", "--workers", "0")


def test_train_evaluate_extract_report(camvid, tmp_path):
    data = ("--model", "nano-offset", "--data", "camvid", "--root", camvid)
    run("train", *data, "--out", tmp_path / "run", "--steps", "3", *SMALL)
    weights = tmp_path / "run" / "model.safetensors"
    origin = json.loads((tmp_path / "run" / "run.json").read_text())
    assert origin["command"][:2] == ["offseg-viz", "train"] and str(tmp_path) not in " ".join(origin["command"])
    printed = run(
        "evaluate", *data, "--weights", weights, "--split", "test", "--out", tmp_path / "test", "--workers", 0
    )
    assert "mIoU" in printed.stdout and "Bicyclist" in printed.stdout and "2 images" in printed.stdout
    assert "boundary IoU" in printed.stdout and "small objects" in printed.stdout
    classes = pd.read_csv(tmp_path / "test" / "classes.csv", index_col="cls")
    assert list(classes.index) == list(CAMVID_CLASSES) and set(classes) >= {"iou", "boundary_iou", "small_recall"}
    metrics = json.loads((tmp_path / "test" / "metrics.json").read_text())
    assert f"mIoU {100 * metrics['miou']:.2f}" in printed.stdout and metrics["model"] == "nano-offset"
    assert metrics["miou"] == pytest.approx(classes.iou.mean())
    confusion = pd.read_csv(tmp_path / "test" / "confusion.csv", index_col="label")
    assert confusion.to_numpy().sum() == sum((label < 11).sum() for label in camvid_labels(camvid, "test"))
    assert Image.open(tmp_path / "test" / "confusion.png").size[0] > 300
    printed = run(
        "extract", *data, "--weights", weights, "--split", "train", "--out", tmp_path / "run.zarr", "--limit", 3
    )
    assert "3 records" in printed.stdout
    run("report", *data, "--weights", weights, "--split", "train", "--out", tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text()
    assert "Bicyclist" in html and "2508.08811" in html


def test_report_on_photographs_without_labels_by_the_weights_alone(tmp_path):
    (tmp_path / "photographs").mkdir()
    for name in "ab":
        noise = np.random.default_rng(ord(name)).integers(0, 256, (70, 96, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "photographs" / f"{name}.png")
    weights = next(Path(offseg_viz.__file__).parent.glob("models/bundled/nano-offset*"))
    data = ("--data", "photographs", "--root", tmp_path / "photographs")
    run("report", *data, "--weights", weights, "--out", tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text()
    assert "nano-offset on photographs" in html and "The refinement changes the prediction of" in html
    assert "no labels, so no IoU" in html
    assert "needed a model" in run("report", *data, "--out", tmp_path / "other.html", check=False).stderr
    assert "no label maps" in run("evaluate", *data, "--weights", weights, check=False).stderr


def test_a_page_to_explore(tmp_path):
    page = tmp_path / "page.html"
    done = run("report", "--model", "nano-offset", "--data", "scenes", "--interactive", "--limit", 2, "--out", page)
    html = page.read_text(encoding="utf-8")
    assert done.stdout == f"page: {page}\n"
    assert "scene-000000" in html and "scene-000012" in html and "scene-000006" not in html
    assert '"image-1"' in html and '"image-2"' not in html
    common = ("report", "--model", "nano-offset", "--data", "scenes", "--out", tmp_path / "other.html")
    assert "--limit is 13; needed 1 to 12" in run(*common, "--interactive", "--limit", 13, check=False).stderr
    assert "--limit is 1; needed 2 or more" in run(*common, "--limit", 1, check=False).stderr
    assert "both --interactive and --umap" in run(*common, "--interactive", "--umap", check=False).stderr
    assert not (tmp_path / "other.html").exists()



def test_the_authors_file_alone_gives_a_report_by_three_commands(tmp_path):
    state_dict = reference_state_dict("segnext-t-ol_ade20k")
    write_published(tmp_path / "segnext.pth", state_dict)
    printed = run("convert", tmp_path / "segnext.pth", tmp_path / "segnext.safetensors").stdout
    assert "segnext-t-offset" in printed and "150" in printed
    run("scenes", "--out", tmp_path / "photographs", "--count", 2, "--size", "96x128")
    photographs = ("--data", "photographs", "--root", tmp_path / "photographs" / "images")
    weights = ("--weights", tmp_path / "segnext.safetensors")
    run("report", *weights, *photographs, "--out", tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text()
    assert "segnext-t-offset on photographs" in html and "2 images, 150 classes" in html
    predicted = run("extract", *weights, *photographs, "--out", tmp_path / "run.zarr").stdout
    assert "2 records" in predicted
    record = open_store(tmp_path / "run.zarr")[0]
    theirs = load_official_weights(load_model("segnext-t-offset", num_classes=150), state_dict)
    with torch.no_grad():
        expected = theirs(theirs.normalize(record["image"].values))[0]
    np.testing.assert_allclose(record["logits"], expected, atol=1e-4)


def camvid_labels(root, split):
    return [np.asarray(Image.open(path)) for path in sorted((root / f"{split}annot").iterdir())]


def test_the_recipe_of_a_run_trains_again_and_is_overridden_in_order(camvid, tmp_path):
    first = ("train", "--recipe", "nano/camvid", "--root", camvid, "--validate-on", "none", *SMALL)
    run(*first, "--out", tmp_path / "one", "--steps", 2, "--set", "power=0.5", "--set", "clip_norm=2")
    again = tmp_path / "one" / "recipe.yaml"
    alone = ("train", "--config", again, "--root", camvid, "--validate-on", "none", "--workers", 0)
    run(*alone, "--out", tmp_path / "two")
    one, two = (tmp_path / name / "model.safetensors" for name in ("one", "two"))
    assert load_model("nano", weights=one).fingerprint() == load_model("nano", weights=two).fingerprint()
    run(*first, "--out", tmp_path / "three", "--config", again, "--steps", 1, "--set", "clip_norm=none")
    recipe = json.loads((tmp_path / "three" / "run.json").read_text())["recipe"]
    assert (recipe["steps"], recipe["power"], recipe["clip_norm"], recipe["crop"]) == (1, 0.5, None, [64, 96])


def test_evaluation_modes_and_processes_from_the_command_line(camvid, tmp_path):
    run("train", "--recipe", "nano/camvid", "--root", camvid, "--out", tmp_path / "run", "--steps", 2, *SMALL)
    command = ("evaluate", "--weights", tmp_path / "run" / "last.ckpt", "--data", "camvid", "--root", camvid)
    plain = run(*command, "--split", "train", "--workers", 0).stdout
    two = run(*command, "--split", "train", "--workers", 0, "--devices", 2, "--accelerator", "cpu").stdout
    numbers = [text.split("(")[0] for out in (plain, two) for text in out.splitlines() if text.startswith("mIoU")]
    assert (
        "Validation" not in plain
        and len(numbers) == 2
        and numbers[0] == numbers[1]
        and two.count("mAcc") == plain.count("mAcc")
    )
    modes = ("--window", "64x64", "--resize", "128x96", "--scales", "0.5,1", "--flip")
    assert "window=(64, 64), stride=(42, 42), pad=False, scales=(0.5, 1.0), flip=True" in run(*command, *modes).stdout
    assert "scales" in run(*command, "--scales", "big", check=False).stderr
    assert "leaves gaps" in run(*command, "--window", "64x64", "--stride", "99x99", check=False).stderr


def test_recipes_are_listed():
    printed = run("recipes", "--data", "ade20k").stdout
    assert "offseg-t/ade20k" in printed and "512x512/480x480" in printed and "160000" in printed
    assert (
        "cityscapes" not in printed and "Did you mean 'ade20k'" in run("recipes", "--data", "ade", check=False).stderr
    )
    assert "nano-offset/scenes" in run("recipes", "--model", "nano-offset").stdout


def test_data_sets_are_checked_and_told_where_to_get(camvid, tmp_path):
    good = run("data", "check", "camvid", "--root", camvid, "--out", tmp_path / "classes.csv")
    assert "train: 4 pairs of 367 published" in good.stdout and "Bicyclist" in good.stdout
    assert len(pd.read_csv(tmp_path / "classes.csv")) == 33
    (camvid / "val" / "val0.png").write_bytes((camvid / "val" / "val0.png").read_bytes()[:100])
    bad = run("data", "check", "camvid", "--root", camvid, check=False)
    assert bad.returncode == 1 and "val0.png" in bad.stdout and "val1.png" not in bad.stdout
    told = run("data", "get", "ade20k").stdout
    assert "http" in told and "annotations" in told
    gone = run("data", "get", "camvid", "--root", tmp_path / "new", "--url", "http://127.0.0.1:9/x.zip", check=False)
    assert gone.returncode == 2 and "127.0.0.1" in gone.stderr and not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (("evaluate", "--model", "nanno", "--data", "scenes"), "Did you mean 'nano'"),
        (("evaluate", "--model", "nano", "--data", "scene"), "Did you mean 'scenes'"),
        (("train", "--model", "nano", "--data", "camvid", "--out", "run"), "root="),
        (("evaluate", "--model", "nano", "--data", "camvid", "--root", "/nowhere"), "error:"),
        (("train", "--recipe", "nano", "--out", "run"), "needed MODEL/DATA"),
        (("train", "--recipe", "nano/scenes", "--data", "scenes", "--out", "run"), "found --recipe together with"),
        (("train", "--out", "run"), "found no recipe"),
        (("train", "--recipe", "nano/scenes", "--out", "run", "--set", "stepps=1"), "Did you mean 'steps'"),
        (("train", "--recipe", "nano/scenes", "--out", "run", "--set", "steps"), "needed NAME=VALUE"),
        (("train", "--recipe", "nano/scenes", "--out", "run", "--config", "/nowhere.yaml"), "cannot be read as YAML"),
        (("train", "--recipe", "nano/scenes", "--out", "run", "--accumulate", "3"), "needed a product that divides 8"),
        (("train", "--recipe", "nano/scenes", "--out", "run", "--set", "model=nano"), "it is set by --recipe"),
        (("train", "--recipe", "nano/scenes", "--out", "run", "--steps", "2", "--set", "steps=3"), "set by --steps"),
        (
            (
                "evaluate",
                "--model",
                "nano",
                "--data",
                "scenes",
                "--limit",
                "2",
                "--devices",
                "3",
                "--accelerator",
                "cpu",
            ),
            "2 images to measure and 3 processes",
        ),
        (("data", "get", "imagenet"), "published data set"),
        (("scenes", "--out", "x", "--size", "12by9"), "HEIGHTxWIDTH"),
    ],
)
def test_mistakes_get_one_clear_error_without_traceback(arguments, expected, tmp_path):
    result = run(*arguments, check=False)
    assert result.returncode == 2
    assert expected in result.stderr and "Traceback" not in result.stderr


def test_damaged_image_is_named_before_training(camvid, tmp_path):
    (camvid / "train" / "train2.png").write_bytes(b"\x89PNG\r\n\x1a\n but then nothing")
    arguments = ("--model", "nano", "--data", "camvid", "--root", camvid, "--out", tmp_path / "run", *SMALL)
    result = run("train", *arguments, check=False)
    assert result.returncode == 2 and "train2.png" in result.stderr
    assert not (tmp_path / "run").exists()


def test_extract_by_windows_and_in_processes_of_torchrun(tmp_path):
    command = (
        "extract",
        "--model",
        "nano-offset",
        "--data",
        "scenes",
        "--limit",
        2,
        "--window",
        "128x192",
        "--device",
        "cpu",
    )
    one = run(*command, "--stride", "128x150", "--dtype", "float16", "--out", tmp_path / "one")
    assert "12 records in" in one.stdout and "100%" in one.stderr
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    torchrun += ["-m", "offseg_viz.cli", *map(str, command), "--stride", "128x150", "--dtype", "float16"]
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run(
        [*torchrun, "--out", str(tmp_path / "two")], capture_output=True, text=True, env=environment, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert all(f"process {number} of 2 is done" in done.stdout for number in (1, 2))
    stores = [open_store(tmp_path / name) for name in ("one", "two")]
    assert stores[0].ids == stores[1].ids and len(stores[0].of_image("scene-000001")) == 6
    for one, two in zip(*stores, strict=True):
        np.testing.assert_allclose(one["logits"], two["logits"], atol=0.02)
        assert one.attrs == two.attrs and one.attrs["window"][2:] == [128, 192]
    again = run(*command, "--out", tmp_path / "one", check=False)
    assert again.returncode == 2 and "dtype float16" in again.stderr


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--dtype", "float8"), "unknown dtype 'float8'"),
        (("--stride", "64x64"), "needed --window HEIGHTxWIDTH too"),
        (("--device", "cuda:99"), "there are cpu"),
        (("--layer", "3"), "classifies pixels, once"),
    ],
)
def test_mistakes_in_extract_leave_no_store_behind(options, expected, tmp_path):
    command = ("extract", "--model", "nano", "--data", "scenes", "--limit", 1, "--out", tmp_path / "s")
    result = run(*command, *options, check=False)
    assert result.returncode == 2 and expected in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "s").exists()


def test_help_of_every_command_names_its_options():
    top = run("--help").stdout
    for command in ("train", "evaluate", "extract", "report", "models", "scenes", "convert"):
        assert command in top
        assert "--" in run(command, "--help").stdout
