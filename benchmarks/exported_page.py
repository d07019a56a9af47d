"""How quick and how large the exported page is: a hover, a step of a slider, opening an image, bytes of the file.

    python benchmarks/exported_page.py            # prints
    python benchmarks/exported_page.py --write    # and writes benchmarks/results/exported-page.md

Two pages: one image of `nano-offset`, and one of 128 x 128 positions, 256 channels and 150 classes of random features
(as `analyses.py` makes them, whose noise fills every channel: harder to compress than features of a network), with a
photograph of 512 x 512 pixels. Debian's chromium opens them headless, drawing in software, and the mouse goes to random
places of the photograph. "Script" is JavaScript's time from the pointer event to three painted maps and the bars;
"frame" also holds the wait for the next frame of the browser.
"""

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
import xarray as xr
from analyses import CHANNELS, CLASSES, make_record
from PIL import Image
from processor import processor

import offseg_viz as ov
from offseg_viz.analyze.compressed_features import compressed_features
from offseg_viz.export import write_interactive
from offseg_viz.models.offset_learning import OffsetLearning

RESULTS = Path(__file__).parent / "results"
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
WIDTH, HEIGHT = 1400, 1000
STRENGTHS = tuple(step / 10 for step in range(21))

_HOVER = (
    """() => { window.spent = []; document.addEventListener('shown', (event) => window.spent.push(event.detail)); }"""
)
_STRENGTH = """async (value) => {
  const seen = new Promise((done) => document.addEventListener("strengths", done, { once: true }));
  const slider = document.getElementById("class-strength");
  slider.value = value;
  const started = performance.now();
  slider.dispatchEvent(new Event("input"));
  const script = (await seen).detail.script;
  return [script, performance.now() - started];
}"""
_OPEN = """async () => { const started = performance.now(); await show(0); return performance.now() - started; }"""


def records() -> dict[str, xr.Dataset]:
    """A real record, and one of full size with a photograph."""
    sample = ov.load_samples("scenes")[0]
    real = ov.extract(ov.load_model("nano-offset", weights="scenes"), sample)
    generator = torch.Generator().manual_seed(0)
    head = OffsetLearning(CHANNELS, len(CLASSES)).eval()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    photograph = np.asarray(Image.fromarray(real["image"].values).resize((512, 512)))
    large = make_record(0, head).assign(image=(("row", "col", "rgb"), photograph))
    return {"nano-offset": real, "full size": large}


def measured(page, hovers: int) -> dict[str, float]:
    """Milliseconds of hovers, slider steps, preparation and opening on an open page."""
    box = page.locator('figure[data-panel="photograph"] canvas').bounding_box()
    places = np.random.default_rng(0).uniform(0.02, 0.98, (hovers + 10, 2))
    page.evaluate(_HOVER)
    for x, y in places:
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        page.wait_for_timeout(25)
    spent = page.evaluate("() => window.spent")[10:]
    script, frame = (np.array([one[name] for one in spent]) for name in ("script", "latency"))
    _, prepared = page.evaluate(_STRENGTH, STRENGTHS[-1])
    steps = [page.evaluate(_STRENGTH, value)[0] for value in STRENGTHS]
    opening = [page.evaluate(_OPEN) for _ in range(3)]
    return {
        "hovers": len(script),
        "hover, script, median": float(np.median(script)),
        "hover, script, 95 %": float(np.quantile(script, 0.95)),
        "hover, to the end of the frame, median": float(np.median(frame)),
        "hover, to the end of the frame, 95 %": float(np.quantile(frame, 0.95)),
        "first use of the sliders (four terms)": prepared,
        "step of a slider, script, median": float(np.median(steps)),
        "choosing an image": float(np.median(opening)),
    }


def row(name: str, record: xr.Dataset, hovers: int, browser, folder: Path) -> tuple[dict, dict]:
    """What the file is like, and what the browser needs."""
    started = time.perf_counter()
    path = write_interactive([record], folder / f"{name}.html")
    seconds = time.perf_counter() - started
    made = compressed_features(record)
    file = {
        "positions": f"{record.sizes['y']} x {record.sizes['x']}",
        "channels kept": f"{made.sizes['component']} of {record.sizes['channel']}",
        "classes": record.sizes["cls"],
        "bits": made.attrs["bits"],
        "MB": f"{path.stat().st_size / 1e6:.2f}",
        "s to write": f"{seconds:.1f}",
        "cosine error, mean": f"{float(made['pixel_error'].sel(statistic='mean').max()):.4f}",
        "largest": f"{float(made['pixel_error'].sel(statistic='max').max()):.4f}",
        "to classes, largest": f"{float(made['class_error'].sel(statistic='max').max()):.4f}",
        "same prediction, 0/0 and 1/1": " and ".join(f"{100 * share:.2f} %" for share in made["agreement"].values),
    }
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
    page.goto(path.as_uri())
    page.wait_for_selector('body[data-shown="0"]', timeout=60_000)
    figures = measured(page, hovers)
    page.close()
    return file, figures


def main(
    hovers: Annotated[int, typer.Option(help="Places the mouse goes to.")] = 200,
    write: Annotated[bool, typer.Option("--write", help="Write benchmarks/results/exported-page.md.")] = False,
) -> None:
    """Measure, print and write the tables."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        found = {name: row(name, record, hovers, browser, Path(folder)) for name, record in records().items()}
        version = browser.version
        browser.close()
    files, figures = ({name: pair[part] for name, pair in found.items()} for part in (0, 1))
    heads = list(next(iter(files.values())))
    lines = [f"| record | {' | '.join(heads)} |", f"|---|{'---:|' * len(heads)}"]
    lines += [f"| {name} | {' | '.join(map(str, one.values()))} |" for name, one in files.items()]
    lines += ["", f"| milliseconds | {' | '.join(figures)} |", f"|---|{'---:|' * len(figures)}"]
    for what in list(next(iter(figures.values())))[1:]:
        lines.append(f"| {what} | {' | '.join(f'{one[what]:.1f}' for one in figures.values())} |")
    table = "\n".join(lines) + "\n"
    if write:
        (RESULTS / "exported-page.md").write_text(
            "# The exported page\n\n`python benchmarks/exported_page.py --write`; chromium "
            f"{version}, headless, drawing in software, {WIDTH} x {HEIGHT} pixels; {processor()}, {os.cpu_count()} "
            "cores. `full size` is of random features, whose noise fills every channel. Goals: a hover under 16 ms of "
            "script, 6 MB an image at full size, cosines within 0.02, 99 % of the predictions the same.\n\n" + table
        )
    print(table)


if __name__ == "__main__":
    typer.run(main)
