"""Every notebook in a real JupyterLab: run from top to bottom, without an error, its widgets drawn and photographed."""

import shutil
from pathlib import Path

import lab
import pytest

pytestmark = lab.needs_chromium

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SCREENSHOTS = ROOT / "build" / "screenshots"
LONGEST = 300_000
"""Milliseconds a notebook may take, JupyterLab and browser included, on a machine that does other things as well."""
TALL = {"width": 1600, "height": 2600}
"""A window in which the tallest widget can be seen whole."""

STATE = """() => {
    const panel = window.jupyterapp.shell.currentWidget;
    const cells = [...panel.content.model.cells].filter((cell) => cell.type === "code");
    const outputs = cells.flatMap((cell, number) => cell.outputs.toJSON().map((output) => ({ number, ...output })));
    const errors = outputs.filter((output) => output.output_type === "error");
    const stderr = outputs.filter((output) => output.output_type === "stream" && output.name === "stderr");
    return {
        ran: cells.filter((cell) => cell.executionCount !== null).length,
        of: cells.length,
        idle: panel.sessionContext.session.kernel.status === "idle",
        errors: errors.map((output) => `code cell ${output.number}: ${output.ename}: ${output.evalue}`),
        stderr: stderr.map((output) => `code cell ${output.number}: ${[output.text].flat().join("")}`),
    };
}"""
CLEAR = """() => {
    for (const cell of window.jupyterapp.shell.currentWidget.content.model.cells)
        if (cell.type === "code") { cell.outputs.clear(); cell.executionCount = null; }
}"""
WIDGETS = """() => {
    const cells = window.jupyterapp.shell.currentWidget.content.widgets;
    const view = "application/vnd.jupyter.widget-view+json";
    const outputs = (cell) => cell.model.type === "code" ? cell.model.outputs.toJSON() : [];
    const has = (cell) => outputs(cell).some((output) => output.data && view in output.data);
    return cells.map((cell, number) => has(cell) ? number : -1).filter((number) => number >= 0);
}"""
SHOW = """async (number) => {
    const notebook = window.jupyterapp.shell.currentWidget.content;
    notebook.activeCellIndex = number;
    await notebook.scrollToItem(number, "start");
}"""
DRAWN = """(number) => {
    const cell = window.jupyterapp.shell.currentWidget.content.widgets[number];
    const views = [...cell.node.querySelectorAll(".jp-OutputArea-output .jupyter-widgets")];
    return cell.node.isConnected && views.length > 0 && views.some((view) => view.getBoundingClientRect().height > 10);
}"""


@pytest.fixture
def ran(lab_address, lab_folder, window):
    """A function (path) that opens a copy of a notebook, forgets its outputs, runs all cells and returns the page."""
    pages = []

    def run(path: Path):
        (lab_folder / "work" / "course").mkdir(exist_ok=True)
        shutil.copy(path, lab_folder / "work" / "course")
        page = lab.open_page(window, lab_address, f"course/{path.name}", run=False)
        pages.append(page)
        page.evaluate(CLEAR)
        lab.run_all(page)
        page.wait_for_function(
            f"() => {{ const s = ({STATE})(); return s.errors.length || (s.idle && s.ran === s.of); }}",
            timeout=LONGEST,
            polling=250,
        )
        return page

    yield run
    for page in pages:
        lab.stop_kernel(page)
        page.close()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs_in_jupyterlab_without_an_error(path, ran):
    page = ran(path)
    state = page.evaluate(STATE)
    assert state["errors"] == [] and state["ran"] == state["of"] > 0, state
    folder = SCREENSHOTS / path.stem
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    page.set_viewport_size(TALL)
    widgets = page.evaluate(WIDGETS)
    for number in widgets:
        page.evaluate(SHOW, number)
        page.wait_for_function(DRAWN, arg=number)
        page.wait_for_timeout(300)
        shown = page.evaluate_handle("(n) => window.jupyterapp.shell.currentWidget.content.widgets[n].node", number)
        shown.as_element().screenshot(path=folder / f"cell-{number:02}.png")
    assert page.get_by_text("Error displaying widget").count() == 0
    assert page.problems == [] and page.elsewhere == [] and state["stderr"] == []
    assert len(list(folder.glob("*.png"))) == len(widgets) > 0, "every notebook asks for a guess at least"
