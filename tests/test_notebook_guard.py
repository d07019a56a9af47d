"""The guard of `make test` around notebooks: no network, no files left behind; see `tests/notebook_guard`."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).parent / "notebook_guard"
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def guard():
    spec = importlib.util.spec_from_file_location("notebook_guard", FOLDER / "sitecustomize.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_guarded(program: str, folder: Path, *, guarded=True) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(FOLDER)} | ({"OFFSEG_VIZ_NOTEBOOK_GUARD": "on"} if guarded else {})
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


OUTSIDE = ROOT / "build" / "written-by-a-guarded-notebook"
VICTIM = ROOT / "build" / "not-a-notebook-s.txt"


@pytest.fixture
def victim():
    VICTIM.parent.mkdir(exist_ok=True)
    VICTIM.write_text("whole", encoding="utf-8")
    yield
    VICTIM.unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("open(outside, 'w')", "PermissionError: a notebook writes to {outside}"),
        ("open(outside, 'ab')", "PermissionError: a notebook writes to {outside}"),
        ("os.close(os.open(outside, os.O_CREAT | os.O_WRONLY))", "PermissionError: a notebook writes to {outside}"),
        ("os.mkdir(outside)", "PermissionError: a notebook makes the folder {outside}"),
        ("os.rename(inside, outside)", "PermissionError: a notebook writes to {outside}"),
        ("os.symlink(inside, outside)", "PermissionError: a notebook writes to {outside}"),
        ("os.rename('{victim}', 'mine')", "PermissionError: a notebook moves {victim}"),
        ("os.remove('{victim}')", "PermissionError: a notebook removes {victim}"),
        ("os.truncate('{victim}', 0)", "PermissionError: a notebook cuts {victim}"),
        ("os.symlink('{root}', 'link'); open('link/new', 'w')", "PermissionError: a notebook writes to {root}/new"),
        ("urlopen('http://example.org', timeout=9)", "a notebook asks the network for 'example.org'"),
        ("socket.create_connection(('192.0.2.1', 9), 9)", "ConnectionRefusedError: a notebook asks the network"),
        ("socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 9))", "asks the network for '192.0.2.1'"),
        ("subprocess.run([sys.executable, '-c', f'open({{outside!r}}, chr(119))'], check=True)", "writes to {outside}"),
    ],
)
def test_what_reaches_out_is_refused_by_name(line, said, tmp_path, victim):
    names = {"outside": OUTSIDE, "victim": VICTIM, "root": ROOT}
    program = f"""
import os, socket, subprocess, sys
from urllib.request import urlopen
inside, outside = {str(tmp_path / "inside")!r}, {str(OUTSIDE)!r}
open(inside, "w").close()
{line.format(**names)}
"""
    done = run_guarded(program, tmp_path)
    assert done.returncode != 0 and said.format(**names) in done.stderr, done.stderr
    assert not OUTSIDE.exists() and VICTIM.read_text(encoding="utf-8") == "whole"


def test_what_a_notebook_needs_goes_through(tmp_path):
    program = f"""
import os, shutil, socket, tempfile
from pathlib import Path
with tempfile.TemporaryDirectory() as folder:
    Path(folder, "a", "b").mkdir(parents=True)
    Path(folder, "a", "b", "c.txt").write_text("text")
    os.replace(Path(folder, "a", "b", "c.txt"), Path(folder, "d.txt"))
    shutil.rmtree(Path(folder, "a"))
assert open({str(ROOT / "README.md")!r}).read()
open(os.devnull, "w").write("nothing")
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname()).close()
socket.create_connection(("localhost", server.getsockname()[1])).close()
"""
    done = run_guarded(program, tmp_path)
    assert done.returncode == 0, done.stderr


def test_without_the_mark_and_outside_a_kernel_it_does_nothing(tmp_path):
    OUTSIDE.parent.mkdir(exist_ok=True)
    try:
        done = run_guarded(f"open({str(OUTSIDE)!r}, 'w')", tmp_path, guarded=False)
        assert done.returncode == 0 and OUTSIDE.exists(), done.stderr
    finally:
        OUTSIDE.unlink(missing_ok=True)


def test_the_most_specific_folder_decides(guard):
    allowed = {Path("/tmp"), Path("/repository/build/tmp")}

    def may(path):
        return guard.may_write(Path(path), allowed, Path("/repository"))

    assert may("/tmp/x") and may("/repository/build/tmp/x")
    assert not may("/repository/build/x") and not may("/elsewhere/x") and not may("/tmpx")
    assert may("/repository/offseg_viz/__pycache__/record.cpython-311.pyc")
    assert not guard.may_write(Path("/tmp/clone/x"), {Path("/tmp")}, Path("/tmp/clone")), "a clone in /tmp is no /tmp"


@pytest.mark.parametrize("host", [None, "localhost", "127.0.0.1", "127.8.8.8", b"::1", "", "::ffff:127.0.0.1"])
def test_this_machine_is_no_network(guard, host):
    assert guard.is_local(host)


@pytest.mark.parametrize("host", ["example.org", "10.0.0.1", "192.168.1.1", "::2", "local.host"])
def test_any_other_machine_is(guard, host):
    assert not guard.is_local(host)


def test_kernels_that_nbval_starts_are_guarded(tmp_path):
    source = """from pathlib import Path
try:
    Path("left.txt").write_text("x")
except PermissionError as refused:
    print("refused:", Path(str(refused).split(";")[0].split()[-1]).name)"""
    stored = nbformat.v4.new_output("stream", text="refused: left.txt\n")
    cells = [
        nbformat.v4.new_code_cell(source, execution_count=1, outputs=[stored]),
        nbformat.v4.new_code_cell("import matplotlib.pyplot, offseg_viz", execution_count=2),
    ]
    folder = ROOT / "build" / "guarded"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "writes.ipynb"
    try:
        nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "--nbval",
            "--nbval-current-env",
            str(path),
        ]
        environment = os.environ | {"PYTHONPATH": str(FOLDER)}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0 and "2 passed" in done.stdout, done.stdout
        assert not (folder / "left.txt").exists()
    finally:
        path.unlink(missing_ok=True)
        folder.rmdir()
