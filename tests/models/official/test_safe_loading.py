"""Foreign files: none of many traps goes off, logs of training frameworks are passed over, damage is told as such."""

import os
import pickle
import subprocess
import sys
import threading
from collections import OrderedDict
from functools import partial

import pytest
import torch
from published_files import mmengine, write_published

from offseg_viz.errors import CheckpointError
from offseg_viz.models.official.checkpoint import read_foreign
from offseg_viz.models.official.safe_loading import load_inert, names_in

TENSORS = {"backbone.a.weight": torch.arange(6.0).reshape(2, 3), "backbone.a.bias": torch.zeros(2)}


class Reduced:
    """Pickled as a call: `function(*arguments)`, then `state`."""

    def __init__(self, function, *arguments, state=None):
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.reduced


def touch(marker):
    return f"import pathlib; pathlib.Path({str(marker)!r}).touch()"


def looked_up(owner, *path):
    """``getattr(getattr(owner, path[0]), path[1])`` ... as calls that a pickle makes."""
    for name in path:
        owner = Reduced(getattr, owner, name)
    return owner


class Restored:
    """A class of a module that can be imported, here this one, and that acts when its state is restored."""

    def __init__(self, marker):
        self.marker = marker

    def __setstate__(self, state):
        open(state["marker"], "w").close()


TRAPS = {
    "io.open": lambda marker: Reduced(open, str(marker), "w"),
    "builtins.exec": lambda marker: Reduced(exec, touch(marker)),
    "builtins.eval": lambda marker: Reduced(eval, f"open({str(marker)!r}, 'w')"),
    "posix.system": lambda marker: Reduced(os.system, f"touch {marker}"),
    "subprocess.call": lambda marker: Reduced(subprocess.call, ["touch", str(marker)]),
    "functools.partial": lambda marker: Reduced(partial, open, str(marker), "w"),
    f"{__name__}.Restored": Restored,
    "builtins.__import__": lambda marker: Reduced(__import__, "this"),
    "torch.serialization.load": lambda marker: Reduced(torch.load, str(marker)),
    "torch.storage._load_from_bytes": lambda marker: Reduced(
        torch.storage._load_from_bytes, pickle.dumps(Reduced(open, str(marker), "w"))
    ),
}
"""What makes a pickle execute something when it is loaded, by the name that gives it away."""


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or sys.modules[Restored.__module__])


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("name", TRAPS)
def test_a_file_that_would_execute_something_is_refused_naming_it(tmp_path, name, legacy):
    marker, path = tmp_path / "marker", tmp_path / "trap.pth"
    contents = {"state_dict": TENSORS, "meta": {"nested": [TRAPS[name](marker)]}}
    torch.save(contents, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match=rf"is not loaded: it refers to .*{name}.*, which loading would execute"):
        read_foreign(path)
    assert not marker.exists()


def test_the_traps_do_go_off_when_loaded_as_torch_would(tmp_path):
    for name in ("io.open", "builtins.exec", "builtins.eval", "posix.system", f"{__name__}.Restored"):
        marker = tmp_path / name
        torch.save([TRAPS[name](marker)], tmp_path / "trap.pth")
        torch.load(tmp_path / "trap.pth", weights_only=False)
        assert marker.exists(), name


@pytest.mark.parametrize("legacy", [False, True])
def test_traps_among_the_logs_and_under_names_of_mmengine(tmp_path, legacy):
    marker = tmp_path / "marker"
    write = partial(write_published, tmp_path / "trap.pth", TENSORS, legacy=legacy)
    hidden = {
        # in the arguments and in the state of an object that is let pass
        "builtins.exec": lambda modules: Reduced(modules["mmengine"].Anything, Reduced(exec, touch(marker))),
        "posix.system": lambda modules: modules["mmengine"].Anything((os.system, (f"touch {marker}",))),
        "mmengine.Anything": lambda modules: Reduced(modules["mmengine"].Anything, ()),
        "io.open": lambda modules: _with_state(modules, Reduced(open, str(marker), "w")),
    }
    for name, extra in hidden.items():
        write(extra=extra)
        with pytest.raises(CheckpointError, match=f"it refers to .*{name}"):
            read_foreign(tmp_path / "trap.pth")
        assert not marker.exists()
    write()  # and without a trap it is read
    assert set(read_foreign(tmp_path / "trap.pth").state_dict) == set(TENSORS)


def _with_state(modules, state):
    buffer = modules["mmengine.logging.history_buffer"].HistoryBuffer
    made = buffer.__new__(buffer)
    made._statistics_methods = {"min": state}
    return made


@pytest.mark.parametrize(
    "chain",
    [
        lambda buffer: looked_up(buffer, "__init__", "__globals__"),
        lambda buffer: looked_up(buffer, "min", "__globals__"),
        lambda buffer: looked_up(torch.Size, "__subclasses__"),
        lambda buffer: looked_up(OrderedDict, "fromkeys"),
    ],
)
def test_attributes_can_be_looked_up_on_a_log_curve_only(tmp_path, chain):
    path, home = tmp_path / "trap.pth", "mmengine.logging.history_buffer"
    write_published(path, TENSORS, extra=lambda modules: chain(modules[home].HistoryBuffer))
    with pytest.raises(CheckpointError, match="not loaded: it refers to builtins.getattr of something else"):
        read_foreign(path)


def test_what_is_let_pass_leaves_nothing_behind_that_could_act(tmp_path):
    contents = load_inert(write_published(tmp_path / "a.pth", TENSORS), mapped=False)
    curve = contents["message_hub"]["log_scalars"]["train/loss"]
    assert type(curve).__module__.startswith("offseg_viz.") and not vars(curve)
    assert not vars(contents["message_hub"]["hub"]) and not vars(contents["message_hub"]["runtime_info"]["lr"])
    with pytest.raises(TypeError):
        curve()
    assert not any(name.startswith("mmengine") for name in sys.modules)


def test_names_allowed_elsewhere_in_the_process_do_not_count_and_are_kept(tmp_path):
    marker = tmp_path / "marker"
    torch.save({"state_dict": TENSORS, "meta": Reduced(open, str(marker), "w")}, tmp_path / "trap.pth")
    with torch.serialization.safe_globals([(open, "io.open"), OrderedDict]):
        allowed = set(torch.serialization.get_safe_globals())
        with pytest.raises(CheckpointError, match=r"io\.open"):
            read_foreign(tmp_path / "trap.pth")
        assert set(torch.serialization.get_safe_globals()) == allowed
    assert not marker.exists()
    write_published(tmp_path / "a.pth", TENSORS)
    read_foreign(tmp_path / "a.pth")
    with pytest.raises(pickle.UnpicklingError):  # what we let pass is let pass for us alone
        torch.load(tmp_path / "a.pth", weights_only=True)


def test_files_are_read_from_several_threads(tmp_path):
    path, found = write_published(tmp_path / "a.pth", TENSORS), []
    threads = [threading.Thread(target=lambda: found.append(len(read_foreign(path).state_dict))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [2] * 8


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_other_pickle_protocols_are_refused_and_never_run(tmp_path, protocol):
    marker = tmp_path / "marker"
    torch.save([Reduced(os.system, f"touch {marker}")], tmp_path / "trap.pth", pickle_protocol=protocol)
    with pytest.raises(CheckpointError, match=r"it refers to posix\.system"):
        load_inert(tmp_path / "trap.pth", mapped=True)
    torch.save(TENSORS, tmp_path / "plain.pth", pickle_protocol=protocol)
    if protocol > 3:
        with pytest.raises(CheckpointError, match="another pickle protocol than 2"):
            load_inert(tmp_path / "plain.pth", mapped=True)
    assert not marker.exists()


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
def test_a_torchscript_program_is_refused(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "program.pt"))
    with pytest.raises(CheckpointError, match="program.pt is a TorchScript program"):
        read_foreign(tmp_path / "program.pt")


def test_names_are_found_without_loading(tmp_path):
    with mmengine() as modules:
        contents = [modules["mmengine.logging.message_hub"].MessageHub(), torch.zeros(2), OrderedDict()]
        torch.save(contents, tmp_path / "a.pth")
    assert set(names_in(tmp_path / "a.pth")) == {
        *("mmengine.logging.message_hub.MessageHub", "torch._utils._rebuild_tensor_v2"),
        *("torch.FloatStorage", "collections.OrderedDict"),
    }


# Damage


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9, 0.999])
def test_a_file_cut_short_says_so(tmp_path, legacy, share):
    big = {"backbone.a.weight": torch.rand(64, 64)}
    torch.save({"state_dict": big}, tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
    contents = (tmp_path / "a.pth").read_bytes()
    (tmp_path / "a.pth").write_bytes(contents[: int(share * len(contents))])
    with pytest.raises(CheckpointError, match="a.pth cannot be read .*damaged or was cut short: download it again"):
        read_foreign(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        (b"", "a.pth is empty.*download it again"),
        (b"<!DOCTYPE html><html>", "is no checkpoint .a web page.*begins with '<!DOCTYPE html>"),
        (b"version https://git-lfs.github.com/spec/v1", "is no checkpoint; found a file that begins with 'version"),
        (b"\x89PNG\r\n", "is no checkpoint"),
        (pickle.dumps({"a": 1}, protocol=2), "cannot be read"),
        (b"PK\x03\x04 and nothing more", "cannot be read"),
    ],
)
def test_other_files_say_what_they_are(tmp_path, contents, expected):
    (tmp_path / "a.pth").write_bytes(contents)
    with pytest.raises(CheckpointError, match=expected):
        read_foreign(tmp_path / "a.pth")


def test_a_zip_archive_that_is_no_checkpoint_and_no_file_at_all(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(CheckpointError, match="is a zip archive, but no checkpoint: found no data.pkl"):
        read_foreign(tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="no file .*absent.pth"):
        read_foreign(tmp_path / "absent.pth")
    with pytest.raises(CheckpointError, match="no file"):
        read_foreign(tmp_path)


def test_bytes_that_promise_too_much_are_refused(tmp_path):
    torch.save({"state_dict": {"w": Reduced(bytearray, 1 << 62)}}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_foreign(tmp_path / "a.pth")


# Memory


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux counts it")
def test_what_nobody_asks_for_is_not_read_into_memory(tmp_path):
    optimizer = {"state": {i: {"exp_avg": torch.zeros(1 << 20)} for i in range(30)}}  # 120 MB
    path = write_published(tmp_path / "a.pth", TENSORS, optimizer=optimizer)
    assert path.stat().st_size > 120_000_000
    program = f"""
from pathlib import Path
from offseg_viz.models.official.checkpoint import load_inert
resident = lambda: int(Path("/proc/self/statm").read_text().split()[1]) * 4096
load_inert({str(path)!r}, mapped=True)  # what torch itself needs on first use
sizes = []
for mapped in (True, False):
    before = resident()
    contents = load_inert({str(path)!r}, mapped=mapped)
    sizes.append(resident() - before)
    del contents
print(*sizes)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    mapped, read = map(int, done.stdout.split())
    assert mapped < 20_000_000 and read > 100_000_000, done.stderr
