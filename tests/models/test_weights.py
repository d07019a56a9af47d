"""Weights on disk: round trip, strictness, damage, and files that would execute code."""

import pytest
import torch
from safetensors.torch import save_file

from offseg_viz.classes import ClassList
from offseg_viz.errors import CheckpointError, ModelError
from offseg_viz.models.weights import BUNDLED, read_weights, save_weights
from offseg_viz.models.zoo import load_model

CLASSES = ClassList(("sky", "road", "tree"), ("#112233", "#445566", "#778899"))


@pytest.fixture
def saved(tmp_path):
    model = load_model("nano-offset", classes=CLASSES, seed=3)
    return model, save_weights(model, tmp_path / "weights.safetensors", origin={"data": "made up", "steps": "0"})


def test_round_trip_keeps_weights_classes_and_origin(saved):
    model, path = saved
    loaded = load_model("nano-offset", weights=path)
    assert loaded.fingerprint() == model.fingerprint()
    assert loaded.classes == CLASSES
    assert read_weights(path).origin == {"data": "made up", "steps": "0"}
    assert [file.name for file in path.parent.iterdir()] == [path.name]  # nothing half-written is left


def test_weights_of_another_model_or_class_count_are_refused(saved):
    _, path = saved
    with pytest.raises(CheckpointError, match="'nano-offset', not of 'nano'"):
        load_model("nano", weights=path)
    with pytest.raises(ModelError, match="3 classes"):
        load_model("nano-offset", weights=path, num_classes=4)


def test_missing_tensor_is_named(saved, tmp_path):
    model, path = saved
    stored = read_weights(path)
    stored.state_dict.pop("decode_head.classifier.class_embedding")
    with pytest.raises(CheckpointError, match="1 missing, such as decode_head.classifier.class_embedding"):
        stored.load_into(model)


def test_truncated_and_foreign_files_are_refused(saved, tmp_path):
    _, path = saved
    (tmp_path / "cut.safetensors").write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="cut.safetensors is damaged"):
        read_weights(tmp_path / "cut.safetensors")
    save_file({"x": torch.zeros(2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match="not written by offseg_viz"):
        read_weights(tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        read_weights(tmp_path / "absent.ckpt")


def test_a_checkpoint_that_would_execute_code_is_not_loaded(tmp_path):
    marker = tmp_path / "executed"

    class Trap:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    torch.save({"state_dict": {}, "offseg_viz": Trap()}, tmp_path / "trap.ckpt")
    with pytest.raises(CheckpointError, match="holds more than weights"):
        read_weights(tmp_path / "trap.ckpt")
    assert not marker.exists()


def test_unknown_bundled_weights_list_those_there_are():
    with pytest.raises(
        CheckpointError, match="nano has no bundled weights .*bundled: nano on scenes, nano-offset on scenes"
    ):
        load_model("nano", weights="no-such-weights")


@pytest.mark.parametrize("name", ["nano", "nano-offset"])
def test_bundled_weights_are_small_and_say_how_they_were_made(name):
    path = BUNDLED / f"{name}_scenes.safetensors"
    assert path.stat().st_size < 3_000_000
    origin = read_weights(path, model=name).origin
    assert origin["command"].startswith("offseg-viz train") and origin["data"] == "scenes"
    assert load_model(name, weights="scenes").classes.names == read_weights(path).classes.names
