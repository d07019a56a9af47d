"""`-p offseg_viz.nbval_rules` in a project of its own: what passes, fails, is refused and is left alone."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from offseg_viz import nbval_rules

MEAN = "import offseg_viz\nprint('mean 0.412 of', len(offseg_viz.glossary()) > 0)"


def code(source=MEAN, *outputs, count=1, tags=()):
    cell = nbformat.v4.new_code_cell(source, execution_count=count, outputs=list(outputs))
    cell.metadata["tags"] = list(tags)
    return cell


def printed(text):
    return nbformat.v4.new_output("stream", name="stdout", text=text)


def error(name="KeyError"):
    return nbformat.v4.new_output("error", ename=name, evalue="'x'", traceback=["Traceback"])


def write(path: Path, *cells, **metadata) -> Path:
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=list(cells), metadata=kernel | metadata), path)
    return path


def validate(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """pytest with the plugin, in a folder that knows nothing of this repository."""
    (folder / "pytest.ini").touch()
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "offseg_viz.nbval_rules", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=180)


GOOD = code(MEAN, printed("mean 0.412 of True\n"))
TIMED = code(
    "import time\nprint(f'{time.perf_counter():.2f} s, at', hex(id(time)))", printed("12.00 s, at 0x7f00aa11b0\n")
)
MAGIC = code(
    "%time sum(range(99))\n%timeit -n 2 -r 2 sum(range(99))",
    printed("CPU times: user 2.1 ms, sys: 1e+03 ns, total: 2.1 ms\nWall time: 1min 3s\n"),
    printed("1.1 ns ± 3 ns per loop (mean ± std. dev. of 2 runs, 1,000 loops each)\n"),
)


def test_a_good_notebook_passes_whatever_its_timings_and_a_changed_number_fails(tmp_path):
    write(tmp_path / "good.ipynb", GOOD, TIMED, MAGIC)
    write(tmp_path / "changed.ipynb", code(MEAN, printed("mean 0.413 of True\n")))
    done = validate(tmp_path, "--nbval", "--nbval-current-env")
    assert done.returncode == 1 and "1 failed, 3 passed" in done.stdout, done.stdout
    assert "changed.ipynb::Cell 0" in done.stdout and "Cell outputs differ" in done.stdout and "0.413" in done.stdout


def test_a_notebook_that_nbval_would_not_compare_is_refused_with_its_reasons(tmp_path):
    write(tmp_path / "unrun.ipynb", code(MEAN, count=None), code("", count=None))
    write(tmp_path / "widgets.ipynb", GOOD, widgets={"application/vnd.jupyter.widget-state+json": {"state": {}}})
    write(tmp_path / "error.ipynb", code("{}['x']", error()))
    write(tmp_path / "large.ipynb", GOOD, nbformat.v4.new_markdown_cell("x" * nbval_rules.LARGEST))
    (tmp_path / "broken.ipynb").write_text("no JSON", encoding="utf-8")
    write(tmp_path / "good.ipynb", GOOD)
    done = validate(tmp_path, "--nbval")
    assert done.returncode == 2 and "5 errors" in done.stdout, done.stdout
    for said in (
        "unrun.ipynb is not fit to be compared with nbval:",
        "nothing would be compared in cell 0, without execution count: run all cells and save",
        "widgets.ipynb is not fit",
        "metadata.widgets holds the state of widgets",
        "cell 0 stores the error KeyError: mend it, or tag the cell `raises-exception`",
        "bytes, at most 1,000,000: store fewer or smaller pictures",
        "it is no notebook of format 4 (JSONDecodeError",
    ):
        assert said in done.stdout, done.stdout
    assert "good.ipynb is not fit" not in done.stdout


def test_options_that_were_given_are_left_alone(tmp_path):
    (tmp_path / "own.cfg").write_text("regex: nothing\nreplace: NOTHING\n", encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --nbval-cell-timeout=1\n", encoding="utf-8")
    write(tmp_path / "timed.ipynb", TIMED, code("import time\ntime.sleep(60)", count=2))
    done = validate(tmp_path, "--nbval", "--nbval-current-env", "--nbval-sanitize-with=own.cfg")
    assert done.returncode == 1 and "2 failed" in done.stdout, done.stdout
    assert "Cell outputs differ" in done.stdout and "Timeout of 1 seconds exceeded" in done.stdout


def test_cells_of_a_notebook_stay_together_over_two_processes(tmp_path):
    pytest.importorskip("xdist", reason="needs pytest-xdist")
    cells = [code("x = 1")] + [code("x += 1\nx", count=n, tags=["nbval-ignore-output"]) for n in range(2, 8)]
    for name in ("a", "b"):
        write(tmp_path / f"{name}.ipynb", *cells)
    done = validate(tmp_path, "--nbval", "--nbval-current-env", "-n", "2")
    assert done.returncode == 0 and "14 passed" in done.stdout, done.stdout


def test_it_does_nothing_without_nbval_asked_for_and_names_nbval_where_it_is_missing(tmp_path):
    write(tmp_path / "unrun.ipynb", code(count=None))
    for arguments in ([], ["--nbval-lax", "--collect-only"]):
        assert "not fit" not in validate(tmp_path, *arguments).stdout
    done = validate(tmp_path, "-p", "no:nbval")
    assert done.returncode == 4 and "pip install nbval" in done.stderr


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (code("1 / 0", error("ZeroDivisionError"), tags=["raises-exception"]), None),
        (code("# NBVAL_RAISES_EXCEPTION\n1 / 0", error("ZeroDivisionError")), None),
        (code(count=None, tags=["nbval-skip"]), None),
        (code("  \n", count=None), None),
        (code("1 / 0", error("ZeroDivisionError")), "ZeroDivisionError"),
        (code("# NBVAL_IGNORE_OUTPUT\n1", count=None), "without execution count"),
    ],
)
def test_reasons_follow_the_tags_of_nbval(tmp_path, cell, reason):
    found = list(nbval_rules.refusals(write(tmp_path / "one.ipynb", cell)))
    assert found == [] if reason is None else len(found) == 1 and reason in found[0]


def test_the_timeout_and_the_rules_are_the_ones_of_the_documentation():
    page = (Path(__file__).parents[1] / "docs" / "validate_your_notebooks.md").read_text(encoding="utf-8")
    assert f"{nbval_rules.CELL_TIMEOUT:.0f} s" in page
    for name in ("offseg_viz.nbval_rules", "--nbval-sanitize-with", "--nbval-cell-timeout", "loadscope"):
        assert name in page
