"""Stores: what a stopped extraction leaves, two processes that write one store, and settings that do not fit."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from noise import CLASSES, noise_sample, noise_samples, trained_looking
from two_extractors import extraction

from offseg_viz.errors import DataError, ModelError, RecordError, UnknownNameError
from offseg_viz.extract import extract as module
from offseg_viz.extract import settings
from offseg_viz.extract.extract import extract, extract_many
from offseg_viz.extract.processes import Share
from offseg_viz.extract.store import RecordStore, open_store
from offseg_viz.models.zoo import load_model

SCRIPT = Path(__file__).parents[1] / "two_extractors.py"
QUIET = {"progress": False}
STARTED_BY = ("RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS")


@pytest.fixture
def samples():
    return noise_samples(3)


@pytest.fixture
def model():
    return trained_looking("nano-offset")


def start(*arguments, **environment):
    """One process of an extraction."""
    variables = {name: value for name, value in os.environ.items() if name not in STARTED_BY}
    variables |= {"OMP_NUM_THREADS": "1"} | {name: str(value) for name, value in environment.items()}
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(*processes, well=True):
    """What they wrote to their error streams."""
    written = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode == 0 for process in processes] == [well] * len(processes), "\n".join(written)
    return written


def content(folder):
    """Every file of a store and its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# One process


def test_a_store_holds_every_record_and_a_second_run_makes_what_is_missing(tmp_path, samples, model, monkeypatch):
    store = extract_many(model, samples[:2], tmp_path / "run.zarr", **QUIET)
    assert store.ids == ("a", "b")
    xr.testing.assert_identical(store["b"], extract(model, samples["b"]))
    first = content(tmp_path / "run.zarr")
    (tmp_path / "run.zarr" / ".c.partial").mkdir()  # as a killed run would leave it
    assert store.unfinished == ("c",)
    made, whole = [], module.window_record

    def counted(model, sample, *rest, **options):
        made.append(sample.id)
        return whole(model, sample, *rest, **options)

    monkeypatch.setattr(module, "window_record", counted)
    store = extract_many(model, samples, tmp_path / "run.zarr", **QUIET)
    assert made == ["c"] and store.ids == ("a", "b", "c") and store.unfinished == ()
    assert not list((tmp_path / "run.zarr").glob(".*.partial"))
    after = content(tmp_path / "run.zarr")
    assert {name: after[name] for name in first} == first, "finished groups should stay as they were"
    assert [record.attrs["sample"] for record in store] == ["a", "b", "c"]
    assert store[-1].attrs["sample"] == "c" and len(store[1:]) == 2


def test_memory_holds_one_record_at_a_time(tmp_path, samples, model, monkeypatch):
    """The record that was written is gone, and its image too, when the next one is made."""
    alive, seen = [], []
    whole = module.window_record

    def watched(*arguments, **options):
        seen.append(sum(reference() is not None for reference in alive))
        record = whole(*arguments, **options)
        alive.append(weakref.ref(record["feature"].values.base))
        return record

    monkeypatch.setattr(module, "window_record", watched)
    extract_many(model, samples, tmp_path / "s", window=(64, 96), stride=(64, 96), **QUIET)
    assert len(seen) == 12 and max(seen) == 0


def test_a_list_of_samples_will_do_too(tmp_path, model):
    store = extract_many(model, [noise_sample(name="z"), noise_sample(name="y", label=False)], tmp_path / "s", **QUIET)
    assert store.ids == ("y", "z") and "label" not in store["y"] and "label" in store["z"]


def test_half_the_space_in_float16(tmp_path, samples, model):
    whole = extract_many(model, samples[:1], tmp_path / "32", **QUIET)
    half = extract_many(model, samples[:1], tmp_path / "16", dtype="float16", **QUIET)
    sizes = [sum(len(data) for data in content(tmp_path / name).values()) for name in ("32", "16")]
    assert sizes[1] < 0.62 * sizes[0], "the image is in both"
    assert half[0].feature.dtype == np.float32
    for name in ("feature", "feature_offset", "class_offset", "class_embedding", "logits"):
        exact = whole[0][name]
        np.testing.assert_allclose(half[0][name], exact, rtol=1e-3, atol=1e-3 * float(np.abs(exact).max()))


def test_a_store_of_windows_by_name_and_image(tmp_path, samples, model):
    store = extract_many(model, samples[:2], tmp_path / "s", window=(64, 96), stride=(64, 40), **QUIET)
    assert store.ids == tuple(f"{name}@{top}-{left}" for name in "ab" for top in (0, 32) for left in (0, 32))
    window = store["b@32-32"]
    assert window.attrs["window"] == [32, 32, 64, 96] and window.attrs["image_size"] == [96, 128]
    assert window.attrs["sample"] == "b"
    np.testing.assert_array_equal(window.image, samples["b"].image[32:, 32:])
    assert isinstance(store.of_image("b"), RecordStore) and store.of_image("b").ids == store.ids[4:]
    with pytest.raises(UnknownNameError, match="unknown image of s 'c'.*Valid: a, b"):
        store.of_image("c")
    whole = extract_many(model, samples[:2], tmp_path / "whole", **QUIET)
    assert whole.of_image("a").ids == ("a",)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"seed": 2}, r"records of checkpoint \w{12}, not of checkpoint \w{12}; choose another path"),
        ({"dtype": "float16"}, "records of dtype float32, not of dtype float16"),
        ({"window": (64, 64), "stride": (32, 32)}, r"window None, stride None, not of window \[64, 64\], stride"),
        ({"name": "nano"}, r"model nano-offset, checkpoint \w{12}, not of model nano, checkpoint \w{12}"),
        ({"dataset": "other"}, "records of dataset noise, not of dataset other"),
    ],
)
@pytest.mark.parametrize("begun", [0, 1])
def test_a_store_that_was_begun_otherwise_is_refused(tmp_path, samples, other, words, begun):
    """Also before its first record is finished."""
    other = dict(other)
    extract_many(trained_looking("nano-offset"), samples[:begun], tmp_path / "s", **QUIET)
    before = content(tmp_path / "s")
    model = trained_looking(other.pop("name", "nano-offset"), other.pop("seed", 1))
    given = type(samples)(other.pop("dataset", "noise"), CLASSES, samples.ids, samples.load)
    with pytest.raises(RecordError, match=words):
        extract_many(model, given, tmp_path / "s", **other, **QUIET)
    assert content(tmp_path / "s") == before


def test_a_store_without_settings_or_with_damaged_ones_is_refused(tmp_path, samples, model):
    extract_many(model, samples[:1], tmp_path / "s", **QUIET)
    (tmp_path / "s" / "extraction.json").write_text("{")
    with pytest.raises(RecordError, match="extraction.json cannot be read"):
        extract_many(model, samples, tmp_path / "s", **QUIET)
    (tmp_path / "s" / "extraction.json").unlink()
    with pytest.raises(RecordError, match="holds records but no extraction.json"):
        extract_many(model, samples, tmp_path / "s", **QUIET)


def test_settings_are_written_once_and_whole_also_without_hard_links(tmp_path, monkeypatch):
    settings.agree_on({"dtype": "float32", "window": (1, 2)}, tmp_path)
    settings.agree_on({"dtype": "float32", "window": (1, 2)}, tmp_path)
    assert json.loads((tmp_path / "extraction.json").read_text())["window"] == [1, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["extraction.json"]
    (tmp_path / "extraction.json").unlink()

    def refused(*_):
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refused)
    settings.agree_on({"dtype": "float16"}, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["extraction.json"]


@pytest.mark.parametrize("theirs", ["float32", "float16"])
def test_a_process_that_comes_second_compares_its_settings(tmp_path, monkeypatch, theirs):
    """The other one writes its settings between this one's look and its own attempt."""

    def late(source, target):
        Path(target).write_text(json.dumps({"dtype": theirs}))
        raise FileExistsError

    monkeypatch.setattr(os, "link", late)
    if theirs == "float32":
        settings.agree_on({"dtype": "float32"}, tmp_path)
    else:
        with pytest.raises(RecordError, match="records of dtype float16, not of dtype float32"):
            settings.agree_on({"dtype": "float32"}, tmp_path)


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"dtype": "float8"}, UnknownNameError, "unknown dtype 'float8'.*Valid: float32, float16"),
        ({"window": (64, 64)}, ModelError, "needed both"),
        ({"window": (64, 64), "stride": (99, 64)}, ModelError, "leaves gaps"),
        ({"window": 64, "stride": 32}, ModelError, r"window is 64; needed \(height, width\)"),
        ({"window": (64.0, 64), "stride": (32, 32)}, ModelError, "in whole pixels"),
        ({"window": (64, 0), "stride": (32, 0)}, ModelError, "needed 1 pixel or more"),
        ({"layer": 2}, ModelError, "classifies pixels, once"),
        ({"classifier": "head"}, ModelError, "no module 'head'"),
    ],
)
def test_wrong_options_leave_no_store_behind(tmp_path, samples, model, options, kind, words):
    with pytest.raises(kind, match=words):
        extract_many(model, samples, tmp_path / "s", **options, **QUIET)
    assert not (tmp_path / "s").exists()


def test_a_model_without_a_classifier_leaves_no_store_behind(tmp_path, samples):
    with pytest.raises(ModelError, match="no classifier found"):
        extract_many(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3)), samples, tmp_path / "s", **QUIET)
    assert not (tmp_path / "s").exists()


def test_ids_that_cannot_be_groups(tmp_path, model):
    with pytest.raises(DataError, match="needs a Sample, found ndarray"):
        extract_many(model, [np.zeros((64, 64, 3), np.uint8)], tmp_path / "s", **QUIET)
    with pytest.raises(RecordError, match="ids of samples must differ, found twice: a"):
        extract_many(model, [noise_sample(name="a"), noise_sample(name="a")], tmp_path / "s", **QUIET)
    for name in ("../outside", "a/b", ".hidden"):
        with pytest.raises(RecordError, match="cannot name a record"):
            extract_many(model, [noise_sample(name=name)], tmp_path / "s", **QUIET)
    assert not (tmp_path / "outside").exists()


def test_a_sample_that_fails_is_named_and_what_was_done_before_is_kept(tmp_path, model):
    given = [noise_sample(name="a"), noise_sample(name="b", size=(20, 64))]
    with pytest.raises(DataError, match="sample 'b' of noise is 20 high"):
        extract_many(model, given, tmp_path / "s", **QUIET)
    assert open_store(tmp_path / "s").ids == ("a",)


def test_absent_store_and_unknown_record(tmp_path, samples, model):
    with pytest.raises(RecordError, match="no record store"):
        open_store(tmp_path / "absent.zarr")
    store = extract_many(model, samples[:1], tmp_path / "run.zarr", **QUIET)
    with pytest.raises(ValueError, match="unknown record of run.zarr 'z'"):
        store["z"]


def test_progress_is_shown_on_the_error_stream(tmp_path, samples, model, capsys):
    extract_many(model, samples[:2], tmp_path / "a", **QUIET)
    assert capsys.readouterr() == ("", "")
    extract_many(model, samples[:2], tmp_path / "b")
    out, err = capsys.readouterr()
    assert out == "" and "extracting with nano-offset" in err and "100%" in err


# Several processes


def test_two_processes_give_the_store_of_one(tmp_path):
    options = ("dtype=float16", "window=64x64")
    extraction(tmp_path / "one", *options)
    pair = [start(tmp_path / "two", *options, RANK=rank, WORLD_SIZE=2) for rank in (0, 1)]
    shown = finished(*pair)
    assert "process 1 of 2" in shown[0] and shown[1] == "", "progress is shown by the first only"
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert len(open_store(tmp_path / "two")) == 5 * 2 * 4


def test_each_process_does_every_nth_image(tmp_path, samples, model, monkeypatch):
    for rank, expected in ((1, ("b",)), (0, ("a", "b", "c"))):
        monkeypatch.setenv("SLURM_PROCID", str(rank))
        monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
        assert extract_many(model, samples, tmp_path / "s", **QUIET).ids == expected


def test_two_processes_with_other_weights_do_not_share_a_store(tmp_path):
    pair = [start(tmp_path / "s", f"seed={rank}", "wait=1", RANK=rank, WORLD_SIZE=2) for rank in (0, 1)]
    written = [process.communicate(timeout=300)[1] for process in pair]
    assert sorted(process.returncode != 0 for process in pair) == [False, True], written
    assert sum("choose another path" in text for text in written) == 1
    assert len({record.attrs["checkpoint"] for record in RecordStore(tmp_path / "s")}) == 1


def test_a_killed_extraction_is_finished_and_gives_the_same_store(tmp_path):
    extraction(tmp_path / "whole")
    first = start(tmp_path / "s", "wait=0.5")
    end = time.monotonic() + 120
    while not (tmp_path / "s" / "b").exists() and time.monotonic() < end:
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    left = {path.name for path in (tmp_path / "s").iterdir()}
    assert {"a", "b"} <= left and "e" not in left, "it should have been stopped half-way"
    half = tmp_path / "s" / ".c.partial"  # as one that is killed while it writes leaves it
    half.mkdir(exist_ok=True)
    (half / ".zattrs").write_text("{")
    kept = {name: (tmp_path / "s" / name).stat().st_mtime_ns for name in ("a", "b")}
    with pytest.raises(RecordError, match="half-written records: c"):
        open_store(tmp_path / "s")
    extraction(tmp_path / "s")
    assert {name: (tmp_path / "s" / name).stat().st_mtime_ns for name in kept} == kept
    assert content(tmp_path / "s") == content(tmp_path / "whole")


@pytest.mark.parametrize(
    ("environment", "share"),
    [
        ({}, (0, 1)),
        ({"RANK": "3", "WORLD_SIZE": "4"}, (3, 4)),
        ({"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2"}, (1, 2)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, (0, 1)),  # a batch script, which runs once
        ({"WORLD_SIZE": "2", "LOCAL_RANK": "1"}, (0, 1)),
        ({"RANK": "0", "WORLD_SIZE": "2", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}, (0, 2)),
    ],
)
def test_the_share_comes_from_the_environment(monkeypatch, environment, share):
    for name in (*STARTED_BY, "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert Share.of_this_process() == share


@pytest.mark.parametrize("numbers", [("2", "2"), ("x", "2"), ("-1", "2"), ("0", "")])
def test_nonsense_in_the_environment_is_told(monkeypatch, numbers):
    monkeypatch.setenv("RANK", numbers[0])
    monkeypatch.setenv("WORLD_SIZE", numbers[1])
    with pytest.raises(RecordError, match=re.escape(f"RANK={numbers[0]} and WORLD_SIZE={numbers[1]}")):
        Share.of_this_process()


def test_where_torch_distributed_is_initialised_it_tells_the_share_and_all_wait(tmp_path, samples, model, monkeypatch):
    waited = []
    monkeypatch.setenv("RANK", "5")
    monkeypatch.setenv("WORLD_SIZE", "9")
    for name, value in {"is_initialized": True, "get_rank": 1, "get_world_size": 3}.items():
        monkeypatch.setattr(torch.distributed, name, lambda value=value: value)
    monkeypatch.setattr(torch.distributed, "barrier", lambda: waited.append(1))
    assert extract_many(model, samples, tmp_path / "s", **QUIET).ids == ("b",)
    assert waited == [1]


def test_processes_of_torchrun_that_are_one_group_see_the_whole_store_when_they_return(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, torch\n"
        f"sys.path.insert(0, {str(SCRIPT.parent)!r})\n"
        "from two_extractors import extraction\n"
        "torch.distributed.init_process_group('gloo')\n"
        "found = len(extraction(sys.argv[1]))\n"
        "open(f'{sys.argv[1]}-{torch.distributed.get_rank()}', 'w').write(str(found))\n"
        "torch.distributed.destroy_process_group()\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", str(program), str(tmp_path / "s")]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    assert [(tmp_path / f"s-{rank}").read_text() for rank in (0, 1)] == ["5", "5"]
    extraction(tmp_path / "one")
    assert content(tmp_path / "s") == content(tmp_path / "one")


def test_a_model_of_load_model_alone_is_enough(tmp_path, samples):
    assert len(extract_many(load_model("nano", classes=CLASSES), samples, tmp_path / "s", **QUIET)) == 3
