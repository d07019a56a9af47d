"""The explorer in a real JupyterLab and browser: clicks, keys and pickers do what they say."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import nbformat
import pytest

from offseg_viz.record import save_record

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium: apt-get install chromium")

QUIET_BROWSER = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync""".split()
CODE = """
from pathlib import Path
from offseg_viz.record import load_record
from offseg_viz.widgets import AlignmentExplorer
explorer = AlignmentExplorer([load_record(path) for path in sorted(Path("records").iterdir())], cls="road")
explorer
"""


@pytest.fixture
def lab(tmp_path, records):
    """Address of a JupyterLab of its own with a notebook `look.ipynb`; killed afterwards whatever happens."""
    work = tmp_path / "work"
    for record in records:
        save_record(record, work / "records" / record.attrs["sample"])
    cells = [nbformat.v4.new_code_cell(CODE.strip()), nbformat.v4.new_markdown_cell("A cell below.")]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), work / "look.ipynb")
    home = tmp_path / "home"
    folders = {f"JUPYTER_{name}_DIR": str(home / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0"),
        *("--LabApp.expose_app_in_browser=True", "--LabApp.news_url=None", "--LabApp.collaborative=False"),
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        *("--IdentityProvider.token=for-this-test", f"--ServerApp.root_dir={work}"),
    ]
    environment = os.environ | folders | {"HOME": str(home), "IPYTHONDIR": str(home / "ipython")}
    log = (tmp_path / "lab.log").open("w")
    server = subprocess.Popen(command, env=environment, cwd=work, stdout=log, stderr=log, start_new_session=True)
    try:
        yield _address(server, home / "runtime", tmp_path / "lab.log")
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait(10)
        log.close()


def _address(server, runtime, log) -> str:
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline and server.poll() is None:
        for path in runtime.glob("jpserver-*.json"):
            try:
                return json.loads(path.read_text())["url"]
            except (json.JSONDecodeError, KeyError):  # being written
                pass
        time.sleep(0.1)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")


@pytest.fixture
def page(lab, tmp_path):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            tmp_path / "browser", executable_path=CHROMIUM, args=QUIET_BROWSER, viewport={"width": 1400, "height": 1100}
        )
        try:
            page = browser.new_page()
            page.set_default_timeout(30_000)
            page.elsewhere = []
            page.on(
                "request", lambda r: None if r.url.startswith((lab, "data:", "blob:")) else page.elsewhere.append(r.url)
            )
            page.goto(f"{lab}lab/tree/look.ipynb?token=for-this-test")
            page.wait_for_selector(".jp-Notebook .jp-CodeCell")
            page.wait_for_function(
                "() => window.jupyterapp?.shell.currentWidget?.context?.sessionContext?.session?.kernel"
            )
            page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
            yield page
        finally:
            browser.close()


def test_click_keys_and_pickers(page, records, tmp_path):
    from playwright.sync_api import expect

    canvases = page.locator("canvas.offseg-map-canvas")
    expect(canvases).to_have_count(5)
    photograph, label, prediction, similarity, offset = (canvases.nth(k) for k in range(5))
    readout = page.locator(".offseg-readout")
    expect(readout).to_contain_text("No pixel selected")

    def pixels(canvas):
        return canvas.evaluate("canvas => canvas.toDataURL()")

    def changes(canvas, act):
        """Do `act` and wait until what the canvas shows differs."""
        before = pixels(canvas)
        act()
        page.wait_for_function(
            "([canvas, before]) => canvas.toDataURL() !== before", arg=[canvas.element_handle(), before]
        )

    # A click selects the cell under the pointer, in every panel.
    record = records[0]
    row, col = 2, 5
    place = photograph.bounding_box()
    click = {"x": (col + 0.5) / 7 * place["width"], "y": (row + 0.5) / 5 * place["height"]}
    changes(offset, lambda: label.click(position=click))
    name = str(record["cls"].values[int(record["label"][row, col])])
    expect(readout.locator('[data-fact="label"]')).to_have_text(name)
    expect(readout.locator('[data-fact="pixel"]')).to_have_text("y 10, x 22 (row 2, col 5)")
    for canvas in canvases.all():
        expect(canvas).to_have_attribute("aria-label", re.compile(f"selected row {row}, col {col}"))

    # Class and stage pickers repaint the similarity panel, and only the stage the prediction.
    title = page.locator(".offseg-map-title").nth(3)
    expect(title).to_have_text("cosine similarity to road, aligned")
    shown = pixels(prediction)
    changes(similarity, lambda: page.get_by_label("Class").select_option("tree"))
    expect(title).to_have_text("cosine similarity to tree, aligned")
    assert pixels(prediction) == shown
    changes(similarity, lambda: page.get_by_role("button", name="aligned - initial", exact=True).click())
    expect(title).to_have_text("cosine similarity to tree, aligned - initial")
    page.screenshot(path=tmp_path / "explorer.png")

    # Arrow keys move, JupyterLab does not take them; Escape clears.
    similarity.focus()
    changes(photograph, lambda: page.keyboard.press("ArrowDown"))
    expect(readout.locator('[data-fact="pixel"]')).to_have_text("y 14, x 22 (row 3, col 5)")
    page.keyboard.press("ArrowLeft")
    expect(readout.locator('[data-fact="pixel"]')).to_have_text("y 14, x 18 (row 3, col 4)")
    expect(similarity).to_be_focused()
    expect(page.locator(".jp-Cell.jp-mod-active")).to_have_class(re.compile("jp-CodeCell"))
    page.keyboard.press("Shift+ArrowDown")
    expect(readout.locator('[data-fact="pixel"]')).to_have_text("y 18, x 18 (row 4, col 4)")
    changes(photograph, lambda: page.keyboard.press("Escape"))
    expect(readout).to_contain_text("No pixel selected")

    # Another image changes the photograph; everything is reachable with the keyboard alone.
    changes(photograph, lambda: page.get_by_label("Image").select_option("b"))
    page.get_by_label("Image").focus()
    page.keyboard.press("Tab")
    expect(page.get_by_label("Class")).to_be_focused()
    assert page.elsewhere == []
