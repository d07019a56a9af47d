"""From a click to four repainted maps of `PixelProbe`, in a real JupyterLab and a real browser.

    python benchmarks/explorers.py            # prints
    python benchmarks/explorers.py --write    # and writes benchmarks/results/explorers.md

The record has 128 x 128 positions, 256 channels and 150 classes, and a photograph of 512 x 512. The time runs in the
browser, from the release of the pointer to the animation frame after the last of the four maps was redrawn with the new
pixel. The kernel's time is that of its handler of the browser's message, with everything that it sends: by the clock,
and by the processor time of its thread, which leaves out the waiting for other programs of the machine. Bytes are all
that crosses the websocket in both directions, before compression, the status messages of Jupyter among them. Kernel,
server and browser, which draws in software, share the machine.
"""

import os
import platform
import re
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import lab  # noqa: E402
from analyses import CHANNELS, CLASSES, SIDE, STRIDE, make_record  # noqa: E402

from offseg_viz.models.offset_learning import OffsetLearning  # noqa: E402

RESULTS = Path(__file__).parent / "results"
WARM_UP = 5
SETUP = """
import time
from offseg_viz.record import load_record
from offseg_viz.widgets.pixel_map import PixelMap
from offseg_viz.widgets.pixel_probe import PixelProbe
record = load_record("records/r000")
spent, handle = [], PixelMap._handle_msg

def timed(panel, message):
    start, work = time.perf_counter(), time.thread_time()
    handle(panel, message)
    if message["content"]["data"].get("state", {}).get("selected"):
        spent.append(1000 * (time.perf_counter() - start))
        spent.append(1000 * (time.thread_time() - work))

PixelMap._handle_msg = timed
start = time.perf_counter()
probe = PixelProbe(record)
print("opened", round(1000 * (time.perf_counter() - start)))
"""
PRINT = "print('spent', *(round(value, 3) for value in spent))"
WATCH = """() => {
  const canvases = [...document.querySelectorAll('canvas.offseg-map-canvas')].slice(0, 4);
  let start = 0, left = new Set();
  window.probed = [];
  document.addEventListener('pointerup', (event) => { start = event.timeStamp; left = new Set(canvases); }, true);
  new MutationObserver((changes) => {
    for (const change of changes) {
      if (!left.delete(change.target) || left.size) continue;
      requestAnimationFrame(() => window.probed.push(performance.now() - start));
    }
  }).observe(document.body, { subtree: true, attributeFilter: ['data-drawn'] });
}"""


def measure(clicks: int, *, every: bool) -> dict[str, list[float]]:
    """Milliseconds in the browser and in the kernel, and bytes, of so many clicks into the photograph.

    With `every` the table shows all classes.
    """
    found = {"browser": [], "bytes": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        record = _record()
        with lab.jupyterlab(folder) as address, lab.playwright() as started, lab.browser(started, folder) as window:
            lab.write_notebook(folder / "work" / "n" / "look.ipynb", [SETUP, "probe"], [record])
            sizes = []
            window.on("page", lambda opened: opened.on("websocket", lambda socket: _count(socket, sizes)))
            page = lab.open_page(window, address, "n/look.ipynb")
            page.set_viewport_size({"width": 1400, "height": 1600})  # all maps are in sight
            page.wait_for_function("document.querySelectorAll('canvas.offseg-map-canvas').length == 6")
            page.wait_for_timeout(3000)
            if every:
                page.get_by_label("show all").check()
                page.wait_for_timeout(500)
            canvas = page.locator("canvas.offseg-map-canvas").nth(4)  # its own redraw is not one of the four
            page.evaluate(WATCH)
            cells = np.random.default_rng(0).permutation(SIDE * SIDE)[: clicks + WARM_UP]
            for number, cell in enumerate(cells):
                row, col = divmod(int(cell), SIDE)
                box = canvas.bounding_box()
                sizes.clear()
                page.mouse.click(
                    box["x"] + (col + 0.5) / SIDE * box["width"], box["y"] + (row + 0.5) / SIDE * box["height"]
                )
                page.wait_for_function(f"window.probed.length == {number + 1}")
                page.wait_for_timeout(150)  # what trails behind, such as the state of the kernel, counts too
                found["bytes"].append(sum(sizes))
            found["browser"] = page.evaluate("window.probed")
            spent = _spent(page)
            found["kernel"], found["work"] = spent[::2], spent[1::2]
            found["opened"] = [float(re.search(r"opened (\d+)", page.inner_text(".jp-Notebook"))[1])]
            if page.problems:
                sys.exit(f"the browser's console: {page.problems}")
            lab.stop_kernel(page)
    if len(found["work"]) != clicks + WARM_UP:
        sys.exit(f"the kernel saw {len(found['kernel'])} clicks of {clicks + WARM_UP}")
    return {name: values[WARM_UP:] if len(values) > 1 else values for name, values in found.items()}


def _record():
    head = OffsetLearning(CHANNELS, len(CLASSES)).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    record = make_record(0, head)
    edge = SIDE * STRIDE
    shade = np.add.outer(np.arange(edge), np.arange(edge)) // 4 % 256
    image = np.stack([shade, shade.T[::-1], 255 - shade], axis=-1).astype(np.uint8)
    return record.assign(image=(("row", "col", "rgb"), image))


def _count(socket, sizes: list[int]) -> None:
    for direction in ("framesent", "framereceived"):
        socket.on(
            direction, lambda payload: sizes.append(len(payload.encode() if isinstance(payload, str) else payload))
        )


def _spent(page) -> list[float]:
    """What the kernel wrote down."""
    page.evaluate(
        """async (code) => {
          const kernel = window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel;
          const future = kernel.requestExecute({ code });
          window.answer = '';
          future.onIOPub = (message) => { window.answer += message.content.text || ''; };
          await future.done;
        }""",
        PRINT,
    )
    return [float(value) for value in page.evaluate("window.answer").split()[1:]]


def main(
    clicks: Annotated[int, typer.Option(help="Different pixels.")] = 60,
    write: Annotated[bool, typer.Option("--write", help="Write benchmarks/results/explorers.md.")] = False,
) -> None:
    """Measure, print and write the table."""
    lines = [
        "| classes in the table | browser, median ms | 95 % | kernel, median ms | 95 % "
        "| its processor time, median ms | 95 % | KB, largest |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    opened, load = 0.0, os.getloadavg()[0]
    for name, every in {"the first ten": False, "all": True}.items():
        found = measure(clicks, every=every)
        numbers = [figure for key in ("browser", "kernel", "work") for figure in _median_and_95(found[key])]
        lines.append(
            f"| {name} | " + " | ".join(f"{n:.1f}" for n in numbers) + f" | {max(found['bytes']) / 1000:.0f} |"
        )
        opened = found["opened"][0]
    table = "\n".join(lines) + "\n"
    if write:
        (RESULTS / "explorers.md").write_text(
            "# From a click to four repainted maps\n\n"
            f"`python benchmarks/explorers.py --write`; `PixelProbe` of {SIDE} x {SIDE} positions, {CHANNELS} "
            f"channels, {len(CLASSES)} classes; clicks on {clicks} different pixels; {os.cpu_count()} cores, chromium "
            f"with software rendering, Python {platform.python_version()}. Load of the machine by other "
            f"programs: {load:.1f}. Goals: median under 100 ms, 95 % under 200 ms, kernel under 10 ms, under 128 KB."
            f"\n\n{table}\nThe probe itself is made in {opened:.0f} ms.\n",
            encoding="utf-8",
        )
    print(table)


def _median_and_95(values: list[float]) -> tuple[float, float]:
    return statistics.median(values), float(np.quantile(values, 0.95))


if __name__ == "__main__":
    typer.run(main)
