"""How soon `ProjectionExplorer` shows 200,000 pixels, and how soon a lasso of a third of them lights their images.

    python benchmarks/projection_explorer.py            # JupyterLab and Debian's chromium, two minutes or so
    python benchmarks/projection_explorer.py --write    # also writes benchmarks/results/projection-explorer.md

Table and records are synthetic: 20 images of 400 x 400 pixels on a grid of 100 x 100, all cells sampled, 32 classes, a
plane of normal clouds. In a process of its own: the explorer's constructor, its mimebundle with still picture and text,
and the selection of a third of the pixels from code. In the browser: from the request to run the cell that shows it
until the scatter has drawn; a lasso, dragged for real with shift and the mouse, from the release of the button until
all images shown have been drawn with it; changes of stage and colour. Bytes are those of all websocket frames. Errors
on the page's console, and requests to any other host, are errors of this script. Run it on a quiet machine.
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
import xarray as xr
from processor import processor

RESULTS = Path(__file__).parent / "results"
PIXELS, IMAGES, SIDE, STRIDE, CLASSES = 200_000, 20, 100, 4, 32


def write_records(folder: Path) -> None:
    """A store of records without features, which the explorer does not read."""
    from offseg_viz.extract.store import create_store
    from offseg_viz.record import save_record

    store, random = create_store(folder), np.random.default_rng(0)
    names = [f"class {k}" for k in range(CLASSES)]
    colors = [f"#{value:06x}" for value in random.integers(0, 1 << 24, CLASSES)]
    centres = (np.arange(SIDE) + 0.5) * STRIDE
    for number in range(IMAGES):
        coarse = random.integers(0, 256, (9, 9, 3)).astype(np.float32)
        photograph = np.clip(np.kron(coarse, np.ones((45, 45, 1)))[: STRIDE * SIDE, : STRIDE * SIDE], 0, 255)
        record = xr.Dataset(
            {
                "feature": (("y", "x", "channel"), random.normal(size=(SIDE, SIDE, 4)).astype(np.float32)),
                "class_embedding": (("cls", "channel"), np.ones((CLASSES, 4), np.float32)),
                "logits": (("cls", "y", "x"), np.zeros((CLASSES, SIDE, SIDE), np.float32)),
                "logit_bias": ("cls", np.zeros(CLASSES, np.float32)),
                "label": (("y", "x"), random.integers(0, CLASSES, (SIDE, SIDE)).astype(np.uint8)),
                "image": (("row", "col", "rgb"), photograph.astype(np.uint8)),
            },
            coords={"cls": names, "color": ("cls", colors), "y": centres, "x": centres},
            attrs={
                "schema_version": 1, "model": "nano", "checkpoint": "", "dataset": "synthetic",
                "sample": f"image-{number:02d}", "window": [0, 0, STRIDE * SIDE, STRIDE * SIDE], "stride": STRIDE,
                "library_version": "0.1.0", "seed": 0,
            },
        )  # fmt: skip
        save_record(record, store.path_of(record.attrs["sample"]))


def synthetic_table(folder: Path) -> xr.Dataset:
    """A projection of all cells of the store: clouds around the class embeddings, nearer to them when aligned."""
    from offseg_viz.extract.store import open_store

    store, random = open_store(folder), np.random.default_rng(1)
    first = store.load(store.ids[0])
    labels = [store.load(name, leave_out=("feature", "logits", "image"))["label"].values.ravel() for name in store.ids]
    label = np.concatenate(labels)
    centres = random.normal(size=(CLASSES, 2)) * 4
    noise = random.normal(size=(2, PIXELS, 2))
    y, x = (grid.ravel() for grid in np.meshgrid(first["y"].values, first["x"].values, indexing="ij"))
    aligned = centres + random.normal(size=(IMAGES, CLASSES, 2)) * 0.3
    figures = {"trustworthiness": 0.9, "continuity": 0.9, "plane_overlap": 0.2, "stage_overlap": 0.8}
    return xr.Dataset(
        {
            "pixel_projection": (
                ("stage", "pixel", "axis"),
                np.stack([centres[label] + noise[0], 1.1 * centres[label] + 0.6 * noise[1]]).astype(np.float32),
            ),
            "distortion": (("stage", "pixel"), random.random((2, PIXELS), np.float32)),
            "class_projection": (("cls", "axis"), centres.astype(np.float32)),
            "aligned_class_projection": (("image", "cls", "axis"), aligned.astype(np.float32)),
        },
        coords={
            "stage": ["initial", "aligned"], "cls": first["cls"].values, "color": ("cls", first["color"].values),
            "image": list(store.ids), "sample": ("pixel", np.repeat(store.ids, SIDE * SIDE)), "label": ("pixel", label),
            "y": ("pixel", np.tile(y, IMAGES)), "x": ("pixel", np.tile(x, IMAGES)),
            "aligned_prediction": ("pixel", label),
            "initial_prediction": ("pixel", np.where(noise[0, :, 0] > 1, 0, label).astype(np.uint8)),
        },
        attrs=figures | {"method": "pca", "explained_variance": [0.3, 0.2], "null_drift_95": 1e-4,
                         "labelled_pixels": PIXELS, "model": "nano-offset", "seed": 0},
    )  # fmt: skip


def in_kernel(folder: Path, turns: int) -> dict[str, list[float]]:
    """Milliseconds of constructor, and of the mimebundle with the still picture, in this process."""
    from offseg_viz.extract.store import open_store
    from offseg_viz.widgets.projection_explorer import ProjectionExplorer

    table, store = synthetic_table(folder), open_store(folder)
    ProjectionExplorer(table.isel(pixel=slice(None, None, 100)), store)._repr_mimebundle_()  # imports, fonts
    found = {"constructor": [], "mimebundle": [], "a third selected": []}
    for _ in range(turns):
        start = time.perf_counter()
        explorer = ProjectionExplorer(table, store)
        made = time.perf_counter()
        explorer._repr_mimebundle_()
        shown = time.perf_counter()
        explorer.selection = np.arange(0, PIXELS, 3)
        selected = time.perf_counter()
        explorer.close()
        for name, (begin, end) in zip(found, ((start, made), (made, shown), (shown, selected)), strict=True):
            found[name].append(1e3 * (end - begin))
    return found


CELLS = [
    """
import sys, time
sys.path[:0] = [{here!r}]
from projection_explorer import synthetic_table
from pathlib import Path
from offseg_viz.extract.store import open_store
from offseg_viz.widgets.projection_explorer import ProjectionExplorer
import offseg_viz.widgets.projection_scatter
store = open_store({folder!r})
table = synthetic_table(Path({folder!r}))
go = False
print("ready")
""",
    """
if go:
    explorer = ProjectionExplorer(table, store)
    display(explorer)
""",
]

RUN = """async (number) => {
  const content = window.jupyterapp.shell.currentWidget.content;
  content.activeCellIndex = number;
  content.deselectAll();
  window.began = performance.now();
  await window.jupyterapp.commands.execute('notebook:run-cell');
}"""

WAIT = """([selector, before]) => {
  const canvas = document.querySelector(selector);
  if (!canvas || Number(canvas.dataset.drawn || 0) <= before) return null;
  return performance.now();
}"""

LIT = """() => {
  const titles = [...document.querySelectorAll(".offseg-map-title")].filter((each) => each.offsetParent);
  if (!titles.length || !titles.every((each) => / of /.test(each.textContent))) return null;
  window.frames_lit = (window.frames_lit || 0) + 1; // they are drawn in the frame after their titles changed
  return window.frames_lit > 2 ? performance.now() : null;
}"""

SCATTER = "canvas[role=img]"
LASSO_END = (
    "() => window.addEventListener('mouseup', () => { window.began = performance.now(); }, {capture: true, once: true})"
)


def in_browser(folder: Path, scratch: Path, picture: Path | None) -> dict[str, float]:
    """Milliseconds in the page, and bytes that crossed for each step."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    import lab

    found, crossed = {}, {"in": 0, "out": 0}
    with lab.jupyterlab(scratch) as address, lab.playwright() as started, lab.browser(started, scratch) as window:
        values = {"here": str(Path(__file__).parent), "folder": str(folder)}
        cells = [
            cell.replace("{here!r}", repr(values["here"])).replace("{folder!r}", repr(values["folder"]))
            for cell in CELLS
        ]
        lab.write_notebook(scratch / "work" / "n" / "look.ipynb", cells)
        window.on("page", lambda page: page.on("websocket", lambda socket: _count(socket, crossed)))
        page = lab.open_page(window, address, "n/look.ipynb")
        page.locator(".jp-OutputArea-output", has_text="ready").wait_for()
        page.wait_for_timeout(1000)
        lab.run_in_kernel(page, "go = True")

        def drawn() -> int:
            return int(page.locator(SCATTER).get_attribute("data-drawn") or 0)

        def timed(name: str, act, *, lit: bool = False) -> None:
            before = drawn() if page.locator(SCATTER).count() else 0
            page.evaluate("() => { window.began = performance.now(); }")
            start = dict(crossed)
            act()
            done = page.wait_for_function(LIT if lit else WAIT, arg=[SCATTER, before], polling="raf").json_value()
            found[name] = done - page.evaluate("() => window.began")
            page.wait_for_timeout(2500)
            found[f"{name}, bytes"] = crossed["in"] - start["in"]
            found[f"{name}, bytes back"] = crossed["out"] - start["out"]

        timed("first picture", lambda: page.evaluate(RUN, 1))
        box = page.locator(SCATTER).bounding_box()

        def lasso() -> None:
            page.evaluate(LASSO_END)
            place = lambda across, down: (box["x"] + across * box["width"], box["y"] + down * box["height"])  # noqa: E731
            page.keyboard.down("Shift")
            page.mouse.move(*place(0.02, 0.02))
            page.mouse.down()
            for corner in ((0.52, 0.02), (0.52, 0.98), (0.02, 0.98), (0.02, 0.1)):
                page.mouse.move(*place(*corner), steps=6)
            page.mouse.up()
            page.keyboard.up("Shift")

        timed("lasso", lasso, lit=True)
        found["selected"] = int(lab.run_in_kernel(page, "print(len(explorer.selection))"))
        if picture:
            page.screenshot(path=picture)
        timed("stage", lambda: page.get_by_role("button", name="initial", exact=True).click())
        timed("colour", lambda: page.get_by_label("Colour").select_option("correctness"))
        if page.problems or page.elsewhere:
            raise RuntimeError(f"errors in the page: {page.problems}; requests to elsewhere: {page.elsewhere}")
        lab.stop_kernel(page)
    return found


def _count(socket, crossed: dict[str, int]) -> None:
    socket.on("framereceived", lambda data: crossed.update({"in": crossed["in"] + len(data)}))
    socket.on("framesent", lambda data: crossed.update({"out": crossed["out"] + len(data)}))


GOALS = {
    "in the kernel: constructor": None, "in the kernel: mimebundle with still picture and text": None,
    "in the kernel: both": 500, "in the kernel: a third selected from code": None,
    "request to first picture": 3000, "end of the lasso to lit images": 1000,
    "change of stage, to the end of the movement": None, "change of colour": None,
}  # fmt: skip


def main(
    turns: Annotated[int, typer.Option(min=1, help="Of each measurement; the median counts.")] = 5,
    write: Annotated[bool, typer.Option("--write", help="Write the table, beside printing it.")] = False,
    picture: Annotated[Path | None, typer.Option(help="Also write a picture of the page after the lasso.")] = None,
) -> None:
    """Measure the projection explorer with 200,000 pixels."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        write_records(store)
        kernel = {name: statistics.median(times) for name, times in in_kernel(store, turns).items()}
        pages = []
        for turn in range(turns):
            scratch = Path(folder) / f"lab{turn}"
            scratch.mkdir()
            pages.append(in_browser(store, scratch, picture))
    median = {name: statistics.median(page[name] for page in pages) for name in pages[0]}
    made, bundle, third = kernel.values()
    steps = ("first picture", "lasso", "stage", "colour")
    times = [made, bundle, made + bundle, third, *(median[step] for step in steps)]
    rows = [
        f"| {name} | {time:.0f} | {'' if goal is None else f'{goal}'} |"
        for (name, goal), time in zip(GOALS.items(), times, strict=True)
    ]
    bytes_of = [f"| {s} | {median[f'{s}, bytes'] / 1e3:.0f} | {median[f'{s}, bytes back'] / 1e3:.0f} |" for s in steps]
    table = [
        "# The projection explorer with 200,000 pixels",
        "",
        "Made by `python benchmarks/projection_explorer.py --write`, which says how: JupyterLab and chromium with "
        f"software WebGL on one {processor()} of {os.cpu_count()} threads, load {load:.1f} before the start, "
        f"medians of {turns} turns, milliseconds. The lasso, dragged with the mouse, holds {median['selected']:,.0f} "
        "pixels.",
        "",
        "| step | ms | goal, at most |",
        "|---|---:|---:|",
        *rows,
        "",
        "What crosses between kernel and page, in kB (JupyterLab's own messages counted too). The first picture's are "
        "the places of both stages, a colour number a point, and jupyter-scatter's JavaScript, packed; the lasso's are "
        "the numbers of its points, which the kernel echoes, lit cells and photographs.",
        "",
        "| step | to the page | to the kernel |",
        "|---|---:|---:|",
        *bytes_of,
    ]
    print("\n".join(table))
    if write:
        (RESULTS / "projection-explorer.md").write_text("\n".join(table) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
