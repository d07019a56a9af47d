"""The student version of every notebook, run from top to bottom with open exercises: it ends, and no blank passes."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from offseg_viz.course.exercises import check_call, checks_of, tags_of

FOLDER = Path(__file__).parents[1] / "notebooks" / "exercises"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LONGEST = 180
"""Seconds that a cell may take."""


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_open_exercises_stop_no_page_and_pass_no_check(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    cells = notebook.cells
    NotebookClient(notebook, timeout=LONGEST, resources={"metadata": {"path": str(tmp_path)}}).execute()
    exercises = [number for number, cell in enumerate(cells) if "exercise" in tags_of(cell)]
    checks = {last for number in exercises for last in checks_of(cells, number)}
    assert len(checks) >= len(exercises) >= 2
    told = {number: cells[number].outputs[-1].data["text/plain"] for number in checks}
    assert all("still empty" in text and text.startswith("not yet") for text in told.values()), told
    passed = [number for number, cell in enumerate(cells) if cell.cell_type == "code" and check_call(cell.source)]
    assert set(passed) == checks, "a check without an exercise"
    assert list(tmp_path.iterdir()) == []
