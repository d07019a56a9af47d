"""The offset-learning head against a plain transcription of eqs. (4) to (13), and networks with one or the other.

    python benchmarks/offset_head.py                   # two threads of the CPU, about two minutes
    python benchmarks/offset_head.py --device cuda     # float32 and bfloat16

Ours and plain have the same weights and take turns; a time is the shortest of all turns, the one that the rest of the
machine disturbed least (two threads that wait for each other suffer from a third program far beyond its share, so run
this on a quiet machine). Peak memory is what one run needs beside its
input and weights, logits and gradients included: on a CPU the growth of the resident memory of a fresh process to its
highest (Linux only; the kernel's mark is reset just before), with an allocator that gives every block back; on CUDA
torch's own count. Written to benchmarks/results/offset-head.md and .json (offset-head-cuda for CUDA).
"""

import copy
import json
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
import typer
from naive_networks import naive_freqfusion
from plain_offset_learning import PlainOffsetLearning
from processor import processor
from rich.progress import track
from torch import Tensor, nn

from offseg_viz.models.offset_learning import OffsetLearning
from offseg_viz.models.zoo import load_model

RESULTS = Path(__file__).parent / "results"
CHANNELS, NUM_CLASSES = 256, 150
NETWORKS = ("offseg-t", "segformer-b0-offset", "segnext-t-offset")
GOALS = {"inference": 1.6, "training": 1.2, "peak": 0.7, "offseg-t": 1.2}
MIB = 2**20


class Case(NamedTuple):
    """One row: the head alone (`subject` "head") or a whole network, on square maps of `side` cells or pixels."""

    subject: str
    side: int
    batch: int
    training: bool
    device: str
    dtype: str

    @property
    def name(self) -> str:
        return f"{self.subject}, {self.side} x {self.side}, batch {self.batch}, {self.task}"

    @property
    def task(self) -> str:
        return "training" if self.training else "inference"


def runs_of(case: Case) -> dict[str, Callable[[], Tensor]]:
    """A pass of ours, of plain and for a head of plain on copied features: forward, in training also backward."""
    torch.manual_seed(0)
    factory = {"device": case.device, "dtype": getattr(torch, case.dtype)}
    naive = nullcontext
    if case.subject == "head":
        ours = OffsetLearning(CHANNELS, NUM_CLASSES)
        plain, copied = PlainOffsetLearning(ours), PlainOffsetLearning(ours, copied=True)
        x = torch.randn(case.batch, CHANNELS, case.side, case.side).relu().to(**factory)
    else:
        ours = load_model(case.subject, num_classes=NUM_CLASSES).eval()
        plain = copy.deepcopy(ours)
        plain.decode_head.classifier = PlainOffsetLearning(plain.decode_head.classifier)
        copied = None
        if case.subject.startswith("offseg"):
            naive = naive_freqfusion
        x = torch.randn(case.batch, 3, case.side, case.side).to(**factory)
    ours, plain = ours.to(**factory), plain.to(**factory)
    with torch.no_grad():
        upstream = torch.randn_like(ours(x)) if case.training else None
    x.requires_grad_(case.training)

    def run(model: nn.Module, context: Callable) -> Tensor:
        with context(), torch.set_grad_enabled(case.training):
            logits = model(x)
            if case.training:
                logits.backward(upstream)
                x.grad = None
                model.zero_grad()
        if case.device == "cuda":
            torch.cuda.synchronize()
        return logits.detach()

    runs = {"ours": lambda: run(ours, nullcontext), "plain": lambda: run(plain, naive)}
    return runs | ({"copied": lambda: run(copied.to(**factory), nullcontext)} if copied else {})


def times(case: Case, repetitions: int) -> dict[str, float]:
    """Shortest milliseconds, how many times ours is faster, and the largest difference of its logits from plain's."""
    runs = runs_of(case)
    difference = (runs["ours"]() - runs["plain"]()).abs().max().item()
    measured = {name: [] for name in runs}
    for repetition in range(repetitions + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if repetition:  # the first turn warms up
                measured[name].append(1e3 * (time.perf_counter() - start))
    shortest = {f"{name}_ms": min(values) for name, values in measured.items()}
    return shortest | {"faster": shortest["plain_ms"] / shortest["ours_ms"], "difference": difference}


def peak_bytes(case: Case, name: str, threads: int) -> int | None:
    """Highest memory of one run beyond what was there before it, in this process: call it in a fresh one."""
    torch.set_num_threads(threads)
    run = runs_of(case)[name]
    run()  # threads, kernels and the libraries' own workspaces stay
    if case.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    if not Path("/proc/self/clear_refs").exists():
        return None
    Path("/proc/self/clear_refs").write_text("5")  # the highest resident memory is now the present one
    before = _resident("VmRSS")
    run()
    return _resident("VmHWM") - before


def _resident(field: str) -> int:
    """A line of this process's status in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def peaks(case: Case, threads: int) -> dict[str, float | None]:
    """Peak MiB of ours and plain, each from a process of its own, and their ratio."""
    os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"  # for the child: freed blocks go back to the system at once
    found = {}
    for name in ("ours", "plain"):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            found[name] = process.submit(peak_bytes, case, name, threads).result()
    if None in found.values():
        return {"ours_mib": None, "plain_mib": None, "memory": None}
    return {f"{name}_mib": value / MIB for name, value in found.items()} | {"memory": found["ours"] / found["plain"]}


def goals_of(case: Case) -> tuple[float | None, float | None]:
    """Least speed-up and largest share of memory, where there is a goal."""
    if case.subject == "head":
        return GOALS[case.task], GOALS["peak"]
    return (None if case.training else GOALS.get(case.subject)), None


def markdown(rows: list[tuple[Case, dict]], setting: str) -> str:
    """The table, a row a case, and what it was measured on."""
    words = (
        f"Made by `python benchmarks/offset_head.py`, which says how: {setting}. The head has {CHANNELS} channels and "
        f"{NUM_CLASSES} classes and both forms the same weights; whole networks take images of 512 x 512 and differ in "
        "the head alone, OffSeg also in FreqFusion, plain with unfolded windows (`naive_networks.py`). *Faster* is "
        "plain / ours in time, *memory* ours / plain in peak memory; goals in brackets. *Copied* is plain on features "
        "that are first laid out as (B, P, C), *difference* the largest of two logits, of order 1."
    )
    columns = ("", "positions", "batch", "", "dtype", "plain, ms", "copied, ms", "ours, ms", "faster")
    columns += ("plain, MiB", "ours, MiB", "memory", "difference")
    lines = [
        *("# Offset learning: ours against a plain transcription of the equations", "", words, ""),
        f"| {' | '.join(columns)} |",
        "|---|---:|---:|---|---|" + "---:|" * 8,
    ]
    for case, row in rows:
        speed, memory = goals_of(case)
        faster = f"{row['faster']:.2f}" + (f" ({speed})" if speed else "")
        times = (f"{row[name]:.1f}" if name in row else "" for name in ("plain_ms", "copied_ms", "ours_ms"))
        cells = [*times, faster]
        if row["memory"] is None:
            cells += ["", "", ""]
        else:
            share = f"{row['memory']:.2f}" + (f" ({memory})" if memory else "")
            cells += [f"{row['plain_mib']:.0f}", f"{row['ours_mib']:.0f}", share]
        size = f"{case.side} x {case.side}" if case.subject == "head" else ""
        labels = case.subject, size, str(case.batch), case.task, case.dtype
        lines.append(f"| {' | '.join([*labels, *cells, format(row['difference'], '.0e')])} |")
    return "\n".join(lines) + "\n"


def main(
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    dtypes: Annotated[str, typer.Option(help="With commas; default float32, on cuda also bfloat16.")] = "",
    repetitions: Annotated[int, typer.Option(min=1, help="Turns of each of the two.")] = 15,
    threads: Annotated[int, typer.Option(min=1, help="Threads on the CPU.")] = 2,
    heads: Annotated[bool, typer.Option(help="Measure the head alone.")] = True,
    networks: Annotated[bool, typer.Option(help="Measure whole networks.")] = True,
    write: Annotated[bool, typer.Option(help="Write the results, beside printing them.")] = True,
) -> None:
    """Measure the offset-learning head, and networks with it, against the equations as they are written."""
    torch.set_num_threads(threads)
    kinds = (dtypes or ("float32,bfloat16" if device == "cuda" else "float32")).split(",")
    cases = []
    for dtype in kinds:
        if heads:
            sizes = [(side, batch) for side in (64, 128) for batch in (1, 4)]
            cases += [Case("head", *size, training, device, dtype) for size in sizes for training in (False, True)]
        if networks:
            cases += [Case(name, 512, 1, training, device, dtype) for name in NETWORKS for training in (False, True)]
    load = os.getloadavg()[0]
    rows = []
    for case in track(cases, "measuring"):
        rows.append((case, times(case, repetitions) | peaks(case, threads)))
        print(f"{case.name}: {rows[-1][1]['faster']:.2f} times faster")
    where = torch.cuda.get_device_name() if device == "cuda" else f"{threads} threads, {processor()}"
    setting = f"torch {torch.__version__}, {where}, load {load:.1f} before the start, {repetitions} turns"
    text = markdown(rows, setting)
    print(text)
    if write:
        stem = RESULTS / ("offset-head-cuda" if device == "cuda" else "offset-head")
        content = {"setting": setting, "rows": [case._asdict() | row for case, row in rows]}
        stem.with_suffix(".json").write_text(json.dumps(content, indent=2) + "\n")
        stem.with_suffix(".md").write_text(text)


if __name__ == "__main__":
    typer.run(main)
