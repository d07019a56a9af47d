"""What keeping freed memory saves (`offseg_viz.models.memory`): forward passes and training steps with and without it.

    python benchmarks/memory.py            # two threads of the CPU, about five minutes
    python benchmarks/memory.py --write    # also writes benchmarks/results/memory.md

Every figure is a median over turns, and then over fresh processes with and without, which take turns; page faults are
those of a turn. Forward is of one image of 512 x 512; a training step (forward, cross entropy, backward, AdamW) of
several crops. Run it on a quiet machine.
"""

import os
import resource
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import torch
import typer
from processor import processor
from rich.progress import track
from torch.nn import functional as F

from offseg_viz.models.memory import keep_freed_memory
from offseg_viz.models.zoo import load_model

RESULTS = Path(__file__).parent / "results"
CASES = {
    "forward, 512 x 512": [("nano-offset", 1, 512), ("segformer-b0-offset", 1, 512), ("offseg-t", 1, 512)],
    "training step": [("nano-offset", 8, 128), ("segformer-b0-offset", 2, 256), ("offseg-t", 2, 256)],
}
FIGURES = (("time", 1), ("faults", 0), ("memory", 0))
"""What is measured, and with how many digits it is shown."""

NUM_CLASSES = 150


def usage() -> tuple[float, int]:
    """Milliseconds and page faults until now."""
    return 1e3 * time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def measured(what: str, name: str, images: int, side: int, turns: int, threads: int, keep: bool) -> dict[str, float]:
    """Median milliseconds and page faults of a turn, and the most memory in MB, in a process of its own."""
    torch.set_num_threads(threads)
    if not keep:
        os.environ["MALLOC_TRIM_THRESHOLD_"] = ""  # glibc read it at the start: only we look now, and change nothing
    assert keep_freed_memory() == keep
    model = load_model(name, num_classes=NUM_CLASSES)
    batch = torch.randn(images, 3, side, side)
    label = torch.randint(NUM_CLASSES, (images, side, side))
    optimizer = torch.optim.AdamW(model.parameters())

    def forward() -> None:
        with torch.no_grad():
            model(batch)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model.upsampled_logits(batch), label).backward()
        optimizer.step()

    run = step if what == "training step" else forward
    marks = []
    for turn in range(turns + 3):  # three warm up
        before = usage()
        run()
        if turn >= 3:
            marks.append([after - start for after, start in zip(usage(), before, strict=True)])
    times, faults = map(statistics.median, zip(*marks, strict=True))
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"time": times, "faults": faults, "memory": most}


def main(
    turns: Annotated[int, typer.Option(min=1, help="In each process.")] = 15,
    processes: Annotated[int, typer.Option(min=1, help="Fresh processes of each kind.")] = 5,
    threads: Annotated[int, typer.Option(min=1, help="Threads on the CPU.")] = 2,
    write: Annotated[bool, typer.Option("--write", help="Write the table, beside printing it.")] = False,
) -> None:
    """Measure what keeping freed memory saves."""
    load, rows = os.getloadavg()[0], []
    cases = [(what, *case) for what, several in CASES.items() for case in several]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as fresh:
        tasks = {
            case: [(keep, fresh.submit(measured, *case, turns, threads, keep)) for keep in (False, True) * processes]
            for case in cases
        }
        for case in track(cases, "measuring"):
            found = {False: [], True: []}
            for keep, task in tasks[case]:
                found[keep].append(task.result())
            back, kept = (
                {key: statistics.median(result[key] for result in found[keep]) for key in found[keep][0]}
                for keep in (False, True)
            )
            what, name, images, side = case
            crops = f"{images} of {side} x {side}" if what == "training step" else "1"
            cells = (f"{given[key]:,.{digits}f}" for key, digits in FIGURES for given in (back, kept))
            rows.append(f"| {what} | {name} | {crops} | {' | '.join(cells)} | {back['time'] / kept['time']:.2f} |")
    table = [
        "# Keeping freed memory",
        "",
        f"Made by `python benchmarks/memory.py --write`, which says how: torch {torch.__version__}, {threads} threads, "
        f"{processor()}, load {load:.1f} before the start, medians of {turns} turns in each of {processes} processes. "
        "*Back*: the C library gives memory back as it sees fit; *kept*: `keep_freed_memory`, as the package has it. "
        "*Faster* is time back / kept.",
        "",
        "| what | network | images | ms, back | ms, kept | page faults, back | kept | most MB, back | kept | faster |",
        "|---|---|---|" + "---:|" * 7,
        *rows,
    ]
    print("\n".join(table))
    if write:
        (RESULTS / "memory.md").write_text("\n".join(table) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
