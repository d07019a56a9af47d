"""Ideal class embeddings from sums over pixels against the pseudo-inverse that eq. (2) of arXiv 2508.08811 asks for.

    python benchmarks/ideal_embeddings.py              # as many threads as there are cores; OMP_NUM_THREADS=1 for one

W* = M (E^T)^+ of one image with random features of full rank: ours, `ideal_class_embedding`, and the equation as it is
written, `M @ torch.linalg.pinv(E.T)`, in float64, by which the tests define W*, and in float32. LAPACK decomposes the
tall E much quicker than the wide E^T, so `M @ torch.linalg.pinv(E).T` in float32, which is the same, is measured too;
and the matrix product E^T E alone, in float64. All take turns, with a pause in front of each; a time is the shortest of
all turns, the one that the rest of the machine disturbed least. Run this on a quiet machine: other programs disturb the
long turns of the pseudo-inverse and the short ones of ours to different degrees.

A second table is about sums in float32, with labels of many classes and of few. Written to
benchmarks/results/ideal-embeddings.md.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
import xarray as xr
from processor import processor
from rich.progress import track
from scipy.sparse import csc_array

from offseg_viz.analyze.ideal import IdealSums, ideal_class_embedding, ideal_sums

RESULTS = Path(__file__).parent / "results" / "ideal-embeddings.md"
SIDES, CHANNELS, NUM_CLASSES = (64, 128), 256, 150
GOAL, MOST_DIFFERENCE = 20, 1e-4
"""At 128 x 128 positions: how many times faster than the equation as it is written, and how far from it at most."""


PAUSE = 0.05
"""Seconds in front of each turn: the threads of another library keep turning for a while when their work is done."""

FEW = (1, 2, NUM_CLASSES)
"""Numbers of classes that are in the image, for the second table."""


def labelled_features(side: int, present: int = NUM_CLASSES, seed: int = 0) -> xr.Dataset:
    """What eq. (2) needs of a record: ReLU features of a random mixture of channels, and a label of `present` classes.

    ReLU features have means that are not zero, as those of trained networks.
    """
    random = np.random.default_rng(seed)
    mixture = random.normal(size=(CHANNELS, CHANNELS)) / CHANNELS**0.5
    feature = np.maximum(random.normal(size=(side, side, CHANNELS)) @ mixture, 0).astype(np.float32)
    label = random.integers(0, present, (side, side)).astype(np.uint8)
    names, colors = [f"class {number}" for number in range(NUM_CLASSES)], ["#000000"] * NUM_CLASSES
    return xr.Dataset(
        {"feature": (("y", "x", "channel"), feature), "label": (("y", "x"), label)},
        coords={"cls": names, "color": ("cls", colors)},
        attrs={"sample": "random"},
    )


def without_centre(record: xr.Dataset) -> np.ndarray:
    """W* (K, C) from sums in float32 of the features as they are; what follows is in float64, as ours."""
    feature = record["feature"].values.reshape(-1, CHANNELS)
    label = record["label"].values.ravel()
    one_hot = csc_array((np.ones(len(label), np.float32), label, np.arange(len(label) + 1)))
    sums = IdealSums(np.bincount(label), (one_hot @ feature).astype(float), (feature.T @ feature).astype(float))
    return sums.class_embedding()


def of_few_classes(turns: int) -> list[str]:
    """Rows of the second table: milliseconds, and the largest relative difference of a class from sums in float64."""
    rows = []
    for present in FEW:
        record = labelled_features(max(SIDES), present)
        ways = {
            "exact": lambda r=record: ideal_sums(r).class_embedding(),
            "ours": lambda r=record: ideal_class_embedding(r).values,
            "plain": lambda r=record: without_centre(r),
        }
        times, results = shortest(ways, turns)
        exact = results["exact"][:present]
        worst = {
            name: (np.linalg.norm(results[name][:present] - exact, axis=1) / np.linalg.norm(exact, axis=1)).max()
            for name in ("ours", "plain")
        }
        cells = f"{times['exact']:.1f} | {times['ours']:.1f} | {worst['ours']:.0e} | {worst['plain']:.0e}"
        rows.append(f"| {present} | {cells} |")
    return rows


def shortest(ways: dict[str, Callable], turns: int) -> tuple[dict[str, float], dict]:
    """Milliseconds of the shortest turn of each way, and the last results."""
    times, results = {name: [] for name in ways}, {}
    for turn in range(turns + 1):
        for name, way in ways.items():
            time.sleep(PAUSE)
            start = time.perf_counter()
            results[name] = way()
            if turn:  # the first one warms up
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: min(values) for name, values in times.items()}, results


def measured(side: int, turns: int) -> dict[str, float]:
    """Shortest milliseconds of all ways, and the relative difference (Frobenius) of ours from each other."""
    record = labelled_features(side)
    feature = torch.from_numpy(record["feature"].values.reshape(-1, CHANNELS))
    one_hot = torch.nn.functional.one_hot(torch.from_numpy(record["label"].values.ravel()).long(), NUM_CLASSES)
    one_hot = one_hot.T.float().contiguous()
    exact = feature.numpy().astype(np.float64)
    ways = {
        "ours": lambda: ideal_class_embedding(record).values,
        "gram": lambda: exact.T @ exact,
        "written": lambda: (one_hot @ torch.linalg.pinv(feature.T)).numpy(),
        "exact": lambda: (one_hot.double() @ torch.linalg.pinv(feature.T.double())).numpy(),
        "tall": lambda: (one_hot @ torch.linalg.pinv(feature).T).numpy(),
    }
    found, results = shortest(ways, turns)
    for name in ("written", "exact", "tall"):
        difference = np.linalg.norm(results["ours"] - results[name]) / np.linalg.norm(results[name])
        found |= {f"{name}_faster": found[name] / found["ours"], f"{name}_difference": difference}
    return found


def markdown(rows: list[tuple[int, dict[str, float]]], few: list[str], setting: str) -> str:
    """The table, a row a size, and what it was measured on."""
    words = (
        f"Made by `python benchmarks/ideal_embeddings.py`, which says how: {setting}. Features of {CHANNELS} channels "
        f"and {NUM_CLASSES} classes; milliseconds an image. *Faster* is theirs / ours, *difference* the relative one "
        "(Frobenius norm) between the embeddings; goals in brackets."
    )
    lines = [
        *("# Ideal class embeddings: sums over pixels against the pseudo-inverse", "", words, ""),
        "| positions | ours | E^T E, float64 | `M @ pinv(E.T)`, float64 | faster | difference "
        "| in float32 | faster | difference | `M @ pinv(E).T` | faster | difference |",
        "|---|" + "---:|" * 11,
    ]
    for side, row in rows:
        goals = (f" ({GOAL})", f" ({MOST_DIFFERENCE:.0e})") if side == max(SIDES) else ("", "")
        cells = [f"{row['ours']:.1f}", f"{row['gram']:.1f}"]
        for name, (speed, difference) in (("exact", goals), ("written", goals), ("tall", ("", ""))):
            cells += [f"{row[name]:.0f}", f"{row[f'{name}_faster']:.1f}{speed}"]
            cells += [f"{row[f'{name}_difference']:.0e}{difference}"]
        lines.append(f"| {' | '.join([f'{side} x {side}', *cells])} |")
    lines += [
        "",
        "## Sums in float32",
        "",
        f"The same {max(SIDES)} x {max(SIDES)} features of full rank, with labels of many classes and of few. Ours "
        "sums in float32 where the features are well-conditioned (`offseg_viz/analyze/single_precision.py`), less a "
        "centre; *difference* is the largest of a class from sums in float64, which all other features get, such as "
        "those of trained networks, mostly of less than full rank.",
        "",
        "| classes in the image | sums in float64, ms | ours, ms | difference | without a centre |",
        "|---:|---:|---:|---:|---:|",
        *few,
    ]
    return "\n".join(lines) + "\n"


def main(
    turns: Annotated[int, typer.Option(min=1, help="Turns of each way.")] = 15,
    write: Annotated[bool, typer.Option(help="Write the results, beside printing them.")] = True,
) -> None:
    """Measure ideal class embeddings against torch's pseudo-inverse."""
    load = os.getloadavg()[0]
    rows = [(side, measured(side, turns)) for side in track(SIDES, "measuring")]
    versions = f"numpy {np.__version__}, torch {torch.__version__}"
    threads = f"{torch.get_num_threads()} threads"
    setting = f"{versions}, {threads}, {processor()}, load {load:.1f} before the start, {turns} turns"
    text = markdown(rows, of_few_classes(turns), setting)
    print(text)
    if write:
        RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
