"""What extracting a record costs beside the plain forward pass, on images of 512 x 512.

    python benchmarks/extraction.py            # two threads of the CPU, about three minutes
    python benchmarks/extraction.py --write    # also writes benchmarks/results/extraction.md

Forward, extraction and copies take turns, and times are medians over the turns; all of that is done in several fresh
processes, since how a process comes by its memory makes more of a difference than anything else here. Forward is
``model(normalised image)`` with its normalisation. Copies are of the arrays that the record consists of, which any way
of extracting has to make. Ratio is (extraction - copies) / forward; the goal is 1.10 at most. The fingerprint of the
weights is known, as it is for all records but the first of a store. Run it on a quiet machine.
"""

import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.progress import track

from offseg_viz.data.sample import Sample
from offseg_viz.extract.extract import extract
from offseg_viz.models.zoo import load_model

RESULTS = Path(__file__).parent / "results"
CASES = {
    "nano-offset": {"weights": "scenes"},
    "segformer-b0-offset": {"num_classes": 150},
    "offseg-t": {"num_classes": 150},
}
"""Networks, and for how many classes: those of the bundled weights, or of ADE20K."""

SIDE, GOAL = 512, 1.10


def runs_of(name: str) -> tuple[dict[str, Callable], int, str]:
    """What is timed of a network; its number of classes, and the size of its grid in words."""
    model = load_model(name, **CASES[name])
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    label = random.integers(0, len(model.classes), (SIDE, SIDE), dtype=np.uint8)
    sample = Sample("noise", image, label, model.classes, "noise")
    record = extract(model, sample)

    def forward() -> None:
        with torch.no_grad():
            model(model.normalize(image))

    runs = {
        "forward": forward,
        "extraction": lambda: extract(model, sample, checkpoint="known"),
        "copies": lambda: [variable.values.copy() for variable in record.data_vars.values()],
    }
    return runs, len(model.classes), f"{record.sizes['y']} x {record.sizes['x']} x {record.sizes['channel']}"


def medians(runs: dict[str, Callable], turns: int) -> dict[str, float]:
    """Milliseconds of each, which take turns; the first turn warms up."""
    times = {name: [] for name in runs}
    for turn in range(turns + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if turn:
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def measured(name: str, turns: int, threads: int) -> tuple[dict[str, float], int, str]:
    """Milliseconds and the ratio of a network in this process, its number of classes, and the size of its grid."""
    torch.set_num_threads(threads)
    runs, classes, grid = runs_of(name)
    found = medians(runs, turns)
    return found | {"ratio": (found["extraction"] - found["copies"]) / found["forward"]}, classes, grid


def main(
    turns: Annotated[int, typer.Option(min=1, help="Of each measurement.")] = 21,
    processes: Annotated[int, typer.Option(min=1, help="Fresh processes, of a network each.")] = 5,
    threads: Annotated[int, typer.Option(min=1, help="Threads on the CPU.")] = 2,
    write: Annotated[bool, typer.Option("--write", help="Write the table, beside printing it.")] = False,
) -> None:
    """Measure what a record costs beside the forward pass."""
    load, rows = os.getloadavg()[0], []
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as fresh:
        tasks = {name: [fresh.submit(measured, name, turns, threads) for _ in range(processes)] for name in CASES}
        for name in track(CASES, "measuring"):
            results = [task.result() for task in tasks[name]]
            _, classes, grid = results[0]
            times = {column: [found[column] for found, *_ in results] for column in results[0][0]}
            columns = (f"{statistics.median(times[column]):.1f}" for column in ("forward", "extraction", "copies"))
            ratio = statistics.median(times["ratio"])
            span = f"{min(times['ratio']):.2f} to {max(times['ratio']):.2f}"
            rows.append(f"| {name} | {classes} | {grid} | {' | '.join(columns)} | {ratio:.2f} | {span} |")
    table = [
        "# Extraction beside the plain forward pass",
        "",
        f"Made by `python benchmarks/extraction.py --write`, which says how: images of {SIDE} x {SIDE}, torch "
        f"{torch.__version__}, {threads} threads, load {load:.1f} before the start, medians of {turns} turns in "
        f"each of {processes} processes, milliseconds. Ratio: (extraction - copies) / forward, at most {GOAL:.2f} is "
        "the goal.",
        "",
        "| network | classes | feature | forward | extraction | copies | ratio | of the processes |",
        "|---|---:|---|---:|---:|---:|---:|---|",
        *rows,
    ]
    print("\n".join(table))
    if write:
        (RESULTS / "extraction.md").write_text("\n".join(table) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
