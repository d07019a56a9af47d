"""``offseg-viz convert``: from a published file to one of ours with the same logits, and nothing half-written."""

import hashlib
import json
import os
import subprocess
import sys

import pytest
import torch
from published_files import write_published
from release_names import release_names, release_tensors
from typer.testing import CliRunner

import offseg_viz as ov
from offseg_viz.classes import ClassList
from offseg_viz.cli import app
from offseg_viz.errors import CheckpointError, ModelError, OffsegVizError, UnknownNameError
from offseg_viz.models.official.checkpoint import read_foreign
from offseg_viz.models.official.conversion import convert
from offseg_viz.models.weights import read_weights

NAME = "segformer-b0-offset"
NAMED = {"classes": ("sky", "road ", "[red]tree\x1b[0m"), "palette": [[1, 2, 3], [40, 50, 60], [255, 0, 16]]}


@pytest.fixture(scope="module")
def tensors():
    return release_tensors(NAME, 3)


@pytest.fixture
def published(tensors, tmp_path):
    return write_published(tmp_path / "iter_160000.pth", tensors, dataset_meta=NAMED)


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def run(*arguments):
    return CliRunner().invoke(app, ["convert", *map(str, arguments)])


def refused(*arguments):
    """The error of the command as its user meets it."""
    result = run(*arguments)
    assert isinstance(result.exception, OffsegVizError), result.output
    return str(result.exception)


def test_the_command_as_a_user_calls_it(published, tensors, tmp_path):
    out = tmp_path / "sub" / "offseg.safetensors"
    environment = os.environ | {"NO_COLOR": "1", "COLUMNS": "200"}
    command = [sys.executable, "-m", "offseg_viz.cli", "convert", str(published), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    digest = hashlib.sha256(published.read_bytes()).hexdigest()
    for line in (
        f"network: {NAME}",
        "classes: 3 (sky, road, [red]tree?[0m, ...), names from the file",
        (
            "tensors: 190 used, 5 ignored (constants and counters), "
            "2 ignored (the convolution that offset learning replaced)"
        ),
        "source: iter_160000.pth",
        f"sha256: {digest}",
        "experiment_name: some_config_20250101_120000",
        "iter: 160000",
    ):
        assert line in done.stdout.splitlines(), done.stdout
    assert files(out.parent) == [out.name] and "\x1b" not in done.stdout

    images = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    direct = ov.load_official_weights(ov.load_model(NAME, num_classes=3), tensors)
    loaded = ov.load_model(NAME, weights=out)
    assert loaded.fingerprint() == direct.fingerprint()
    assert torch.equal(loaded(images), direct(images))
    assert loaded.classes == ClassList(("sky", "road", "[red]tree?[0m"), ("#010203", "#28323c", "#ff0010"))
    assert read_weights(out).origin["sha256"] == digest

    again = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert again.returncode == 2 and "is there already" in again.stderr and "Traceback" not in again.stderr


@pytest.mark.parametrize("name", ["offseg-t", "segnext-t-offset", "segnext-t", "mask2former-swin-t-offset"])
def test_the_other_families_give_the_same_logits(name, tmp_path):
    names, generator = release_names(name, 3), torch.Generator().manual_seed(0)
    tensors = {
        key: torch.zeros(shape, dtype=torch.int64)
        if key in names.whole
        else key.endswith("running_var") + 0.02 * torch.rand(shape, generator=generator)
        for key, shape in names.items()
    }
    path = write_published(tmp_path / "iter_160000.pth", tensors, dataset_meta=NAMED)
    done = convert(path, tmp_path / "a.safetensors")
    assert (done.model, len(done.classes)) == (name, 3)
    assert done.used + done.ignored.total() == len(tensors)
    images = torch.randn(1, 3, 64, 96, generator=generator)
    direct = ov.load_official_weights(ov.load_model(name, num_classes=3), path)
    loaded = ov.load_model(name, weights=tmp_path / "a.safetensors")
    with torch.no_grad():
        logits = direct(images)
        assert logits.isfinite().all() and torch.equal(loaded(images), logits)


@pytest.mark.parametrize(
    ("count", "name"), [(150, "ade20k"), (19, "cityscapes"), (171, "coco_stuff164k"), (59, "pascal_context59")]
)
def test_classes_by_their_number(count, name, tmp_path):
    path = tmp_path / "a.pth"
    torch.save({"state_dict": release_tensors(NAME, count)}, path)
    done = convert(path, tmp_path / "a.safetensors")
    assert (done.classes, done.class_source) == (ClassList.of(name), f"{name}, by their number")
    assert read_weights(tmp_path / "a.safetensors").classes == ClassList.of(name)


def test_classes_as_asked_and_numbered(published, tensors, tmp_path):
    torch.save(tensors, tmp_path / "flat.pth")
    done = convert(tmp_path / "flat.pth", tmp_path / "a.safetensors")
    assert (done.classes, done.class_source) == (ClassList.numbered(3), "nowhere, so numbered")
    torch.save(release_tensors(NAME, 11), tmp_path / "eleven.pth")
    done = convert(tmp_path / "eleven.pth", tmp_path / "b.safetensors")
    assert done.class_source == "nowhere, so numbered"  # CamVid is no data set of the release
    done = convert(tmp_path / "eleven.pth", tmp_path / "b.safetensors", classes="camvid", force=True)
    assert done.classes == ClassList.of("camvid")
    with pytest.raises(ModelError, match="cityscapes has 19 classes, .*iter_160000.pth 3"):
        convert(published, tmp_path / "c.safetensors", classes="cityscapes")
    with pytest.raises(UnknownNameError, match="Did you mean 'cityscapes'"):
        convert(published, tmp_path / "c.safetensors", classes="cityscape")


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (NAMED | {"palette": None}, ClassList.numbered(3).colors),
        (NAMED | {"palette": [[1, 2, 3]]}, ClassList.numbered(3).colors),
        (NAMED | {"palette": [[1, 2, 3], [1, 2, 300], "red"]}, ClassList.numbered(3).colors),
        ({"CLASSES": NAMED["classes"], "PALETTE": NAMED["palette"]}, ("#010203", "#28323c", "#ff0010")),
        ({"classes": ["a", "a", "b"]}, None),
        ({"classes": ["a", 3, "b"]}, None),
        ({"classes": "abc"}, None),
        ({"classes": None}, None),
    ],
)
def test_what_a_file_tells_about_its_classes_is_checked(tensors, tmp_path, told, expected):
    classes = read_foreign(write_published(tmp_path / "a.pth", tensors, dataset_meta=told)).classes()
    assert (classes and classes.colors) == expected


def test_names_without_colours_get_those_of_the_data_set(tensors, tmp_path):
    names = [name + " " for name in ClassList.of("ade20k").names]  # the release writes one with a blank at its end
    path = write_published(tmp_path / "a.pth", tensors, dataset_meta={"classes": names})
    assert read_foreign(path).classes() == ClassList.of("ade20k")


def test_nothing_is_written_over_or_left_half_written(published, tmp_path, monkeypatch):
    out = tmp_path / "a.safetensors"
    out.write_text("precious")
    assert "is there already; choose another name, or --force" in refused(published, out)
    assert out.read_text() == "precious"

    def fails(tensors, path, metadata):
        path.write_text("half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("offseg_viz.models.weights.save_file", fails)
        assert "cannot be written" in refused(published, out, "--force")
    assert out.read_text() == "precious" and files(tmp_path) == ["a.safetensors", "iter_160000.pth"]
    assert run(published, out, "--force").exit_code == 0
    assert read_weights(out).model == NAME


def test_mistakes_are_explained(published, tensors, tmp_path):
    out = tmp_path / "out.safetensors"
    assert "needed a name that ends in .safetensors" in refused(published, tmp_path / "out.pth")
    assert "no file" in refused(tmp_path / "absent.pth", out)
    assert "looks like segformer-b0-offset with 3 classes, not segformer-b0:" in refused(
        published, out, "--model", "segformer-b0"
    )
    assert "Did you mean 'segformer-b0'" in refused(published, out, "--model", "segformer-b00")
    torch.save({"a.weight": torch.zeros(2)}, tmp_path / "odd.pth")
    assert "does not look like a network of the release" in refused(tmp_path / "odd.pth", out)
    backbone = {key: value for key, value in tensors.items() if key.startswith("backbone.")}
    torch.save(backbone, tmp_path / "backbone.pth")
    assert "load_backbone_weights" in refused(tmp_path / "backbone.pth", out)
    assert run(published, out).exit_code == 0
    assert "was written by offseg_viz itself" in refused(out, tmp_path / "b.safetensors")
    assert "is the source itself" in refused(out, out, "--force")
    assert files(tmp_path) == ["backbone.pth", "iter_160000.pth", "odd.pth", "out.safetensors"]


def test_a_trap_is_refused_and_nothing_written(tmp_path):
    class Trap:
        def __reduce__(self):
            return open, (str(tmp_path / "marker"), "w")

    torch.save({"state_dict": {}, "meta": Trap()}, tmp_path / "trap.pth")
    assert "which loading would execute" in refused(tmp_path / "trap.pth", tmp_path / "out.safetensors")
    assert files(tmp_path) == ["trap.pth"]


def test_plain_safetensors_in_the_release_s_names(tensors, tmp_path):
    from safetensors.torch import save_file

    save_file(tensors, tmp_path / "mirror.safetensors")
    assert convert(tmp_path / "mirror.safetensors", tmp_path / "out.safetensors").model == NAME
    (tmp_path / "broken.safetensors").write_bytes(b"\x10")
    with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
        convert(tmp_path / "broken.safetensors", tmp_path / "b.safetensors")


def test_the_header_is_plain_json(published, tmp_path):
    from safetensors import safe_open

    convert(published, tmp_path / "a.safetensors")
    with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        header = json.loads(file.metadata()["offseg_viz"])
    assert header["model"] == NAME and header["classes"][0] == "sky"
    assert header["origin"]["mmengine_version"] == "0.10.4"
