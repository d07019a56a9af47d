"""A real JupyterLab and a real browser for tests: started once, a notebook and a page for every test."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
import xarray as xr

from offseg_viz.record import save_record

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium: apt-get install chromium")

QUIET_BROWSER = """--headless --no-sandbox --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync --use-angle=swiftshader --enable-unsafe-swiftshader""".split()
TOKEN = "for-this-test"


@contextmanager
def jupyterlab(folder: Path) -> Iterator[str]:
    """Address of a JupyterLab that serves `folder` / work, with settings of its own; killed whatever happens."""
    work, home = folder / "work", folder / "home"
    work.mkdir()
    folders = {f"JUPYTER_{name}_DIR": str(home / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0"),
        *("--LabApp.expose_app_in_browser=True", "--LabApp.news_url=None", "--LabApp.collaborative=False"),
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        *(f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={work}"),
    ]
    environment = os.environ | folders | {"HOME": str(home), "IPYTHONDIR": str(home / "ipython")}
    with (folder / "lab.log").open("w") as log:
        server = subprocess.Popen(command, env=environment, cwd=work, stdout=log, stderr=log, start_new_session=True)
        try:
            yield _address(server, home / "runtime", folder / "lab.log")
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait(10)


def _address(server, runtime: Path, log: Path) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        for path in runtime.glob("jpserver-*.json"):
            try:
                return json.loads(path.read_text())["url"]
            except (json.JSONDecodeError, KeyError):  # being written
                pass
        time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")


@contextmanager
def playwright() -> Iterator:
    """Playwright's synchronous interface, of which a process can have only one at a time."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        yield started


@contextmanager
def browser(started, folder: Path) -> Iterator:
    """A browser window of 1400 x 1100 pixels, with software WebGL."""
    window = started.chromium.launch_persistent_context(
        folder / "browser", executable_path=CHROMIUM, args=QUIET_BROWSER, viewport={"width": 1400, "height": 1100}
    )
    try:
        yield window
    finally:
        window.close()


def write_notebook(path: Path, cells: str | list[str], records: Iterable[xr.Dataset] = ()) -> None:
    """A notebook of code cells, with records beside it, each under its sample's name in `records`."""
    for record in records:
        save_record(record, path.parent / "records" / record.attrs["sample"])
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [cells] if isinstance(cells, str) else cells
    made = [nbformat.v4.new_code_cell(code.strip()) for code in cells] + [
        nbformat.v4.new_markdown_cell("A cell below.")
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=made, metadata=kernel), path)


def open_page(window, address: str, notebook: str, *, run: bool = True):
    """A page with the notebook, its cells started: `problems` are console errors, `elsewhere` requests beyond."""
    page = window.new_page()
    page.set_default_timeout(40_000)
    page.problems, page.elsewhere = [], []
    page.on("console", lambda message: page.problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    at_home = (address, "data:", "blob:", "about:")
    page.on("request", lambda r: None if r.url.startswith(at_home) else page.elsewhere.append(r.url))
    page.goto(f"{address}lab/tree/{notebook}?token={TOKEN}&reset")
    page.wait_for_selector(".jp-Notebook .jp-CodeCell")
    page.wait_for_function("() => window.jupyterapp?.shell.currentWidget?.context?.sessionContext?.session?.kernel")
    page.problems.clear()  # what JupyterLab itself says while it starts
    if run:
        run_all(page)
    return page


def run_all(page) -> None:
    """Start all cells of the notebook in the page."""
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")


def stop_kernel(page) -> None:
    """End the kernel of the notebook in the page, so that the next one has the machine for itself."""
    page.evaluate("() => window.jupyterapp.shell.currentWidget?.context?.sessionContext?.shutdown()")


def run_in_kernel(page, code: str) -> str:
    """What `code` prints in the kernel of the notebook in the page."""
    return page.evaluate(
        """async (code) => {
            const kernel = window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel;
            const run = kernel.requestExecute({ code });
            let text = "";
            run.onIOPub = ({ header, content }) => { if (header.msg_type === "stream") text += content.text; };
            const { content } = await run.done;
            if (content.status !== "ok") throw new Error(content.evalue);
            return text;
        }""",
        code,
    )


def becomes(page, expression: str, expected, *, seconds: float = 20) -> None:
    """Wait until an expression has a value in the kernel of the page: what is done in a page arrives there later."""
    end = time.monotonic() + seconds
    while (found := run_in_kernel(page, f"print(repr({expression}))").strip()) != repr(expected):
        assert time.monotonic() < end, f"{expression} is {found} after {seconds} s, and not {expected!r}"
        page.wait_for_timeout(50)


def pixels(canvas) -> str:
    """What a canvas shows, as the text of a PNG file."""
    return canvas.evaluate("canvas => canvas.toDataURL()")


def differs(canvas, before: str) -> None:
    """Wait until a canvas shows something else than before."""
    canvas.page.wait_for_function(
        "([canvas, before]) => canvas.toDataURL() !== before", arg=[canvas.element_handle(), before]
    )


def repaints(canvas, act) -> None:
    """Do `act`, and wait until the canvas shows something else."""
    before = pixels(canvas)
    act()
    differs(canvas, before)


def settled(canvas) -> str:
    """Its pixels once nothing changes them any more: photograph and map are drawn as they come."""
    found = ""
    while (now := pixels(canvas)) != found:
        found = now
        canvas.page.wait_for_timeout(500)
    return found


def page_memory(page) -> int:
    """Bytes of living JavaScript objects in the page, after a garbage collection."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    found = session.send("Runtime.getHeapUsage")["usedSize"]
    session.detach()
    return int(found)
