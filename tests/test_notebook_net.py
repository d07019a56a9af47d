"""The net under the notebooks holds: whichever stored number were another one, nbval would notice."""

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from nbval.plugin import IPyNbFile

from offseg_viz.nbval_rules import RULES, refusals

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)

WITH_UMAP = [path for path in NOTEBOOKS if re.search(r"umap\\?[\"']", path.read_text(encoding="utf-8"))]

NUMBER = re.compile(r"\d+(?:\.\d+)?")
VIEW = "application/vnd.jupyter.widget-view+json"
LEAST_TABLES = 3
OFFSETS_COMPARED = "06_offsets.ipynb"
QUICK = "04_hooks_and_records.ipynb"


@pytest.fixture
def cells_of(request, monkeypatch):
    """A function (path) to nbval's own cells of a notebook, with the sanitise rules and without a kernel."""
    monkeypatch.setattr(request.config.option, "nbval_sanitize_with", str(RULES))

    def collected(path: Path):
        file = IPyNbFile.from_parent(request.session, path=path)
        file.setup_sanitize_files()
        file.compare_outputs = True
        return [cell for cell in file.collect() if not cell.options["skip"]]

    return collected


def compared(cell) -> bool:
    return bool(cell.options["check"]) and cell.cell.execution_count is not None


def texts(cell):
    """Where the compared texts of a cell lie, and what they say: (number of the output, key, text)."""
    for number, output in enumerate(cell.cell.outputs):
        if output.output_type == "stream":
            yield number, None, output.text
            continue
        for key, value in output.get("data", {}).items():
            if key not in cell.parent.skip_compare and isinstance(value, str):
                yield number, key, value


def with_text(outputs, number: int, key: str | None, text: str):
    changed = copy.deepcopy(outputs)
    if key is None:
        changed[number].text = text
    else:
        changed[number].data[key] = text
    return changed


def another(number: str) -> str:
    """The number with another last digit."""
    return number[:-1] + str((int(number[-1]) + 1) % 10)


def changes(text: str):
    """The text with one of its numbers changed, for each of them."""
    for found in NUMBER.finditer(text):
        yield text[: found.start()] + another(found[0]) + text[found.end() :]


def is_picture(output) -> bool:
    return "image/png" in output.get("data", {}) or VIEW in output.get("data", {})


@each_notebook
def test_every_stored_number_is_compared(path, cells_of):
    tables = 0
    for cell in filter(compared, cells_of(path)):
        stored = cell.cell.outputs
        assert cell.compare_outputs(copy.deepcopy(stored), stored), f"cell {cell.cell_num} differs from itself"
        seen = set()
        for number, key, text in texts(cell):
            one_off = [with_text(stored, number, key, changed) for changed in changes(text)]
            noticed = [not cell.compare_outputs(changed, stored) for changed in one_off]
            assert all(noticed) or cell.sanitize(text) != text, f"code cell {cell.cell_num}: {text[:200]}"
            assert any(noticed) or not noticed, f"code cell {cell.cell_num}: the rules take every number out: {text}"
            if noticed and not is_picture(stored[number]):
                seen.add(number)
        tables += len(seen)
    assert tables >= LEAST_TABLES, f"{tables} compared outputs with a number that are no picture, needed {LEAST_TABLES}"


@each_notebook
def test_nothing_went_to_stderr(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    said = [
        "".join(output["text"])
        for cell in notebook["cells"]
        for output in cell.get("outputs", [])
        if output["output_type"] == "stream" and output["name"] == "stderr"
    ]
    assert said == [], "a warning would be compared like a result; mend its reason"


@each_notebook
def test_a_notebook_is_one_that_the_rules_let_through(path):
    assert list(refusals(path)) == []


def validate(folder: Path, name: str, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "offseg_viz.nbval_rules", "--nbval"]
    return subprocess.run(
        [*command, "--nbval-current-env", "--rootdir", str(folder), str(folder / name)],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=600,
    )


PATCH = """
import importlib.abc
import importlib.machinery
import sys
from pathlib import Path


class Loader(importlib.machinery.SourceFileLoader):
    def exec_module(self, module):
        super().exec_module(module)
        patch(module)
        Path(__file__).with_name("patched").touch()


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != NAME:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        spec.loader = Loader(name, spec.origin)
        return spec


sys.meta_path.insert(0, Finder())
"""

LONGER_OFFSETS = """
NAME = "offseg_viz.extract.window_record"


def patch(module):
    original = module.window_record

    def window_record(*arguments, **options):
        record = original(*arguments, **options)
        longer = {"feature_offset": record["feature_offset"] * 1.05} if "feature_offset" in record else {}
        return record.assign(longer)

    module.window_record = window_record
"""

ANOTHER_UMAP = """
NAME = "umap.umap_"


def patch(module):
    original = module.UMAP.fit

    def fit(self, *arguments, **options):
        self.random_state = self.random_state + 1 if isinstance(self.random_state, int) else self.random_state
        original(self, *arguments, **options)
        self.embedding_ = -1.5 * self.embedding_[:, ::-1]
        return self

    module.UMAP.fit = fit
"""


def changed_for(folder: Path, program: str) -> dict[str, str]:
    """The environment of processes in which a module is patched as soon as it is imported."""
    (folder / "sitecustomize.py").write_text(program + PATCH, encoding="utf-8")
    return {"PYTHONPATH": str(folder), "XDG_CACHE_HOME": str(folder / "cache")}


def failed_cells(done: subprocess.CompletedProcess) -> set[int]:
    return {int(number) for number in re.findall(r"^FAILED \S+::Cell (\d+)", done.stdout, re.M)}


def test_feature_offsets_that_are_5_percent_longer_turn_a_notebook_red(tmp_path, cells_of):
    shutil.copy(FOLDER / OFFSETS_COMPARED, tmp_path)
    done = validate(tmp_path, OFFSETS_COMPARED, **changed_for(tmp_path, LONGER_OFFSETS))
    failed = failed_cells(done)
    assert done.returncode == 1 and len(failed) >= 3, done.stdout
    assert "Cell outputs differ" in done.stdout
    sources = {cell.cell_num: cell.cell.source for cell in cells_of(FOLDER / OFFSETS_COMPARED)}
    assert any("offset_magnitude" in sources[number] for number in failed), "the lengths of the offsets are compared"


def test_one_changed_number_in_a_copy_turns_it_red_and_nothing_else(tmp_path, cells_of):
    notebook = json.loads((FOLDER / QUICK).read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    number, output = next(
        (number, output)
        for number, cell in enumerate(code)
        for output in cell["outputs"]
        if output["output_type"] == "stream" and re.search(r"0\.\d\d", "".join(output["text"]))
    )
    text = "".join(output["text"])
    output["text"] = re.sub(r"0\.\d\d", lambda found: another(found[0]), text, count=1)
    (tmp_path / "changed.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    done = validate(tmp_path, "changed.ipynb")
    assert done.returncode == 1 and failed_cells(done) == {number}, done.stdout


@pytest.mark.parametrize("path", WITH_UMAP, ids=lambda path: path.name)
def test_the_umap_of_another_machine_is_no_difference(path, tmp_path):
    """Another seed, mirrored and enlarged: what UMAPs of two machines do not share, the outputs do not hold."""
    shutil.copy(path, tmp_path)
    done = validate(tmp_path, path.name, **changed_for(tmp_path, ANOTHER_UMAP))
    assert (tmp_path / "patched").exists() and done.returncode == 0, done.stdout
