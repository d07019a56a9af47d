"""The command line as a user calls it: real processes, real files, and errors of one line."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
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
        "evaluate", *data, "--weights", weights, "--split", "test", "--out", tmp_path / "iou.csv", "--workers", 0
    )
    assert "mIoU" in printed.stdout and "Bicyclist" in printed.stdout and "2 images" in printed.stdout
    assert (tmp_path / "iou.csv").read_text().startswith("cls,iou,accuracy\nSky,")
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


def test_a_killed_run_resumes_and_finishes(camvid, tmp_path):
    arguments = ["train", "--model", "nano", "--data", "camvid", "--root", camvid, "--out", tmp_path / "run"]
    arguments += ["--steps", "24", "--checkpoint-every", "2", "--validate-on", "none", *SMALL]
    command = [sys.executable, "-m", "offseg_viz.cli", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "run" / "last.ckpt").exists() and process.poll() is None:
            assert time.monotonic() < deadline, "no checkpoint was written"
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (tmp_path / "run" / "model.safetensors").exists(), "the run ended before it could be killed"
    assert "pass --resume" in run(*arguments, check=False).stderr
    run(*arguments, "--resume")
    assert (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (("evaluate", "--model", "nanno", "--data", "scenes"), "Did you mean 'nano'"),
        (("evaluate", "--model", "nano", "--data", "scene"), "Did you mean 'scenes'"),
        (("train", "--model", "nano", "--data", "camvid", "--out", "run"), "root="),
        (("evaluate", "--model", "nano", "--data", "camvid", "--root", "/nowhere"), "error:"),
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


def test_help_of_every_command_names_its_options():
    top = run("--help").stdout
    for command in ("train", "evaluate", "extract", "report", "models", "scenes", "convert"):
        assert command in top
        assert "--" in run(command, "--help").stdout
