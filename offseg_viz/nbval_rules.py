"""A plugin of pytest that makes nbval compare notebooks with offseg_viz in them: ``pytest -p offseg_viz.nbval_rules``.

With ``--nbval`` or ``--nbval-lax`` it

- gives nbval the rules in ``nbval_rules.cfg`` beside this file, which take timings, dates, addresses and temporary
  folders out of both sides, unless ``--nbval-sanitize-with`` names others;
- ends a cell after 120 s, unless ``--nbval-cell-timeout`` says otherwise (nbval itself waits 2000 s);
- keeps the cells of one notebook together where pytest-xdist spreads tests over processes (``--dist loadscope``).

With ``--nbval`` it also refuses, before anything runs, a notebook in which nbval would compare nothing or too much: see
`refusals`. ``--nbval-lax`` only asks that a notebook runs, so there nothing is refused.
"""

import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

RULES = Path(__file__).with_name("nbval_rules.cfg")
"""The rules that take out of an output what differs without meaning, in nbval's own format."""

CELL_TIMEOUT = 120.0
"""Seconds after which a cell is interrupted."""

LARGEST = 1_000_000
"""Bytes a notebook may have."""

SPLITTING = {"load", "loadgroup", "worksteal"}
"""Ways of pytest-xdist that give cells of one notebook to several kernels."""


def pytest_configure(config: pytest.Config) -> None:
    option = config.option
    if not hasattr(option, "nbval"):
        raise pytest.UsageError("offseg_viz.nbval_rules needs the plugin nbval, which is not loaded: pip install nbval")
    if not (option.nbval or option.nbval_lax):
        return
    if option.nbval_sanitize_with is None and option.sanitize_with is None:
        option.nbval_sanitize_with = str(RULES)
    if not _was_given("--nbval-cell-timeout", config):
        option.nbval_cell_timeout = CELL_TIMEOUT
    if getattr(option, "dist", None) in SPLITTING:
        option.dist = "loadscope"


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path: Path, parent: pytest.Collector):
    collected = yield
    if not parent.config.option.nbval or file_path.suffix != ".ipynb" or not collected:
        return collected
    found = list(refusals(file_path))
    return [RefusedNotebook.from_parent(parent, path=file_path, reasons=found)] if found else collected


class RefusedNotebook(pytest.File):
    """Stands in for a notebook that is not fit to be compared; collecting it is an error that says why."""

    def __init__(self, *, reasons: list[str], **place):
        super().__init__(**place)
        self.reasons = reasons

    def collect(self):
        lines = [f"{self.path.name} is not fit to be compared with nbval:", *(f"- {reason}" for reason in self.reasons)]
        raise self.CollectError("\n".join(lines))


def refusals(path: Path) -> Iterator[str]:
    """Why a notebook is not fit for ``pytest --nbval``, one sentence a reason; cells are counted from 0, all kinds.

    - It has a code cell without an execution count: nbval runs it and compares nothing, whatever comes out. Empty cells
      and cells that nbval skips (``nbval-skip``) need none.
    - It has the state of widgets in its metadata: megabytes that differ at every save.
    - It has an error among its stored outputs. A cell tagged ``raises-exception`` may have one.
    - It has more than 1 MB.
    - It is no notebook at all.
    """
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        cells, metadata = notebook["cells"], notebook["metadata"]
    except (OSError, ValueError, KeyError, TypeError) as cause:
        yield f"it is no notebook of format 4 ({type(cause).__name__}: {cause}); open and save it in JupyterLab"
        return
    if (size := path.stat().st_size) > LARGEST:
        yield f"it has {size:,} bytes, at most {LARGEST:,}: store fewer or smaller pictures"
    if "widgets" in metadata:
        remedy = "do not save it (JupyterLab: Settings; nbconvert: --ExecutePreprocessor.store_widget_state=False)"
        yield f"metadata.widgets holds the state of widgets: {remedy}"
    code = {number: cell for number, cell in enumerate(cells) if cell["cell_type"] == "code"}
    options = {number: _options(cell) for number, cell in code.items()}
    unrun = [
        number
        for number, cell in code.items()
        if cell.get("execution_count") is None and _source(cell).strip() and not options[number].get("skip")
    ]
    if unrun:
        yield f"nothing would be compared in {_cells(unrun)}, without execution count: run all cells and save"
    for number, cell in code.items():
        errors = [output.get("ename") for output in cell["outputs"] if output["output_type"] == "error"]
        if errors and not options[number].get("check_exception"):
            yield f"cell {number} stores the error {errors[0]}: mend it, or tag the cell `raises-exception`"


def _options(cell: dict) -> dict:
    """What nbval reads in the tags and comments of a cell."""
    from nbval.plugin import find_comment_markers, find_metadata_tags

    return dict(find_metadata_tags(cell["metadata"])) | dict(find_comment_markers(_source(cell)))


def _source(cell: dict) -> str:
    return "".join(cell["source"])


def _cells(numbers: list[int], most: int = 5) -> str:
    named = ", ".join(map(str, numbers[:most])) + (" ..." if len(numbers) > most else "")
    return f"cell {named}" if len(numbers) == 1 else f"{len(numbers)} cells ({named})"


def _was_given(option: str, config: pytest.Config) -> bool:
    """Whether an option was given: on the command line, in the settings' ``addopts`` or in PYTEST_ADDOPTS."""
    given = [
        *map(str, config.invocation_params.args),
        *config.getini("addopts"),
        *shlex.split(os.environ.get("PYTEST_ADDOPTS", "")),
    ]
    return any(argument == option or argument.startswith(f"{option}=") for argument in given)
