"""What a committed notebook looks like: run from top to bottom, small, readable, and really compared by nbval."""

import json
from pathlib import Path

import pytest
from nbval.plugin import find_comment_markers, find_metadata_tags

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))

LONGEST_CELL = 12
LARGEST = 1_000_000
UNCOMPARED_SHARE = 0.1


def code_cells(notebook: dict) -> list[dict]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def text(cell: dict) -> str:
    return "".join(cell["source"])


def is_compared(cell: dict) -> bool:
    """Whether nbval compares this cell's outputs, by its own reading of comments and tags."""
    options = {"check": True, **dict(find_metadata_tags(cell["metadata"])), **dict(find_comment_markers(text(cell)))}
    return bool(options["check"]) and not options.get("skip", False)


def faults(notebook: dict) -> list[str]:
    """What is wrong with a notebook, one sentence a fault; cells are counted from 0."""
    cells, code = notebook["cells"], code_cells(notebook)
    found = []
    if "widgets" in notebook["metadata"]:
        found.append("metadata.widgets holds widget state: run `make notebooks`")
    if notebook["metadata"].get("kernelspec", {}).get("name") != "python3":
        found.append("the kernel is not the one called python3: run `make notebooks`")
    counts = [cell["execution_count"] for cell in code]
    if not code or counts != list(range(1, len(code) + 1)):
        found.append(f"not run once from top to bottom (execution counts {counts}): run `make notebooks`")
    for number, cell in enumerate(cells):
        if cell["cell_type"] != "code":
            continue
        if number == 0 or cells[number - 1]["cell_type"] != "markdown":
            found.append(f"cell {number}: no markdown before this code cell")
        if (length := len([line for line in text(cell).splitlines() if line.strip()])) > LONGEST_CELL:
            found.append(f"cell {number}: {length} lines, at most {LONGEST_CELL}")
        found += [
            f"cell {number}: stored error {output.get('ename')}"
            for output in cell["outputs"]
            if output["output_type"] == "error"
        ]
    skipped = [cell for cell in code if not is_compared(cell)]
    if len(skipped) > UNCOMPARED_SHARE * len(code):
        found.append(f"{len(skipped)} of {len(code)} code cells are kept from nbval, at most {UNCOMPARED_SHARE:.0%}")
    return found


def test_there_is_a_first_notebook():
    assert (FOLDER / "00_tour.ipynb").is_file(), f"`make lab` opens notebooks/00_tour.ipynb; found {NOTEBOOKS}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_is_fit_to_be_read_and_compared(path):
    assert faults(json.loads(path.read_text(encoding="utf-8"))) == []
    assert path.stat().st_size < LARGEST, f"{path.stat().st_size:,} bytes, below {LARGEST:,} needed"


def notebook(*cells: dict, **metadata) -> dict:
    return {"cells": list(cells), "metadata": {"kernelspec": {"name": "python3"}, **metadata}}


def markdown() -> dict:
    return {"cell_type": "markdown", "metadata": {}, "source": ["What do we see?"]}


def code(count, source="1 + 1", *, tags=(), outputs=()) -> dict:
    cell = {"cell_type": "code", "metadata": {"tags": [*tags]}, "source": source}
    return {**cell, "execution_count": count, "outputs": [*outputs]}


def test_a_good_notebook_has_no_faults():
    assert faults(notebook(markdown(), code(1), markdown(), code(2, "\n".join("x = 1" for _ in range(12))))) == []


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        (notebook(markdown(), code(1), widgets={"state": {}}), "widget state"),
        (notebook(markdown(), code(1), kernelspec={"name": "my-kernel"}), "python3"),
        (notebook(markdown()), "not run once"),
        (notebook(markdown(), code(None)), "not run once"),
        (notebook(markdown(), code(2)), "not run once"),
        (notebook(markdown(), code(1), code(2)), "cell 2: no markdown"),
        (notebook(code(1)), "cell 0: no markdown"),
        (notebook(markdown(), code(1, "\n".join("x = 1" for _ in range(13)))), "13 lines"),
        (notebook(markdown(), code(1, outputs=[{"output_type": "error", "ename": "KeyError"}])), "error KeyError"),
        (notebook(markdown(), code(1, "# NBVAL_IGNORE_OUTPUT\nx")), "1 of 1 code cells"),
        (notebook(markdown(), code(1, tags=["nbval-skip"])), "1 of 1 code cells"),
    ],
)
def test_a_fault_is_found(bad, fault):
    found = faults(bad)
    assert len(found) == 1 and fault in found[0]
