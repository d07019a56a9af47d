"""Ideal class embeddings from sums over pixels against the pseudo-inverse that eq. (2) of arXiv 2508.08811 asks for.

    python benchmarks/ideal_embeddings.py              # as many threads as there are cores; OMP_NUM_THREADS=1 for one

W* = M (E^T)^+ of one image with random features of full rank: ours, `ideal_class_embedding` on float32 features with
its sums in float64, and `M @ torch.linalg.pinv(E.T)` in float32, the equation as it is written. LAPACK decomposes the
tall E much quicker than the wide E^T, so `M @ torch.linalg.pinv(E).T`, which is the same, is measured too; and the
equation in float64, in which ours adds up. All take
turns; a time is the shortest of all turns, the one that the rest of the machine disturbed least. Run this on a quiet
machine: other programs disturb the long turns of the pseudo-inverse and the short ones of ours to different degrees.
Written to benchmarks/results/ideal-embeddings.md.
"""

import os
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
import xarray as xr
from processor import processor
from rich.progress import track

from offseg_viz.analyze.ideal import ideal_class_embedding

RESULTS = Path(__file__).parent / "results" / "ideal-embeddings.md"
SIDES, CHANNELS, NUM_CLASSES = (64, 128), 256, 150
GOAL, MOST_DIFFERENCE = 20, 1e-4
"""At 128 x 128 positions: how many times faster than the equation as it is written, and how far from it at most."""


def labelled_features(side: int, seed: int = 0) -> xr.Dataset:
    """What eq. (2) needs of a record: ReLU features of a random mixture of channels, and a label of all classes."""
    random = np.random.default_rng(seed)
    mixture = random.normal(size=(CHANNELS, CHANNELS)) / CHANNELS**0.5
    feature = np.maximum(random.normal(size=(side, side, CHANNELS)) @ mixture, 0).astype(np.float32)
    label = random.integers(0, NUM_CLASSES, (side, side)).astype(np.uint8)
    names, colors = [f"class {number}" for number in range(NUM_CLASSES)], ["#000000"] * NUM_CLASSES
    return xr.Dataset(
        {"feature": (("y", "x", "channel"), feature), "label": (("y", "x"), label)},
        coords={"cls": names, "color": ("cls", colors)},
        attrs={"sample": "random"},
    )


def measured(side: int, turns: int) -> dict[str, float]:
    """Shortest milliseconds of all ways, and the relative difference (Frobenius) of ours from each other."""
    record = labelled_features(side)
    feature = torch.from_numpy(record["feature"].values.reshape(-1, CHANNELS))
    one_hot = torch.nn.functional.one_hot(torch.from_numpy(record["label"].values.ravel()).long(), NUM_CLASSES)
    one_hot = one_hot.T.float().contiguous()
    ways = {
        "ours": lambda: ideal_class_embedding(record).values,
        "written": lambda: (one_hot @ torch.linalg.pinv(feature.T)).numpy(),
        "exact": lambda: (one_hot.double() @ torch.linalg.pinv(feature.T.double())).numpy(),
        "tall": lambda: (one_hot @ torch.linalg.pinv(feature).T).numpy(),
    }
    times, results = {name: [] for name in ways}, {}
    for turn in range(turns + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            results[name] = way()
            if turn:  # the first one warms up
                times[name].append(1e3 * (time.perf_counter() - start))
    found = {name: min(values) for name, values in times.items()}
    for name in ("written", "exact", "tall"):
        difference = np.linalg.norm(results["ours"] - results[name]) / np.linalg.norm(results[name])
        found |= {f"{name}_faster": found[name] / found["ours"], f"{name}_difference": difference}
    return found


def markdown(rows: list[tuple[int, dict[str, float]]], setting: str) -> str:
    """The table, a row a size, and what it was measured on."""
    words = (
        f"Made by `python benchmarks/ideal_embeddings.py`, which says how: {setting}. Features of {CHANNELS} channels "
        f"and {NUM_CLASSES} classes; milliseconds an image. *Faster* is theirs / ours, *difference* the relative one "
        "(Frobenius norm) between the embeddings; goals in brackets."
    )
    lines = [
        *("# Ideal class embeddings: sums over pixels against the pseudo-inverse", "", words, ""),
        "| positions | ours | `M @ pinv(E.T)` | faster | difference | in float64 | faster | difference "
        "| `M @ pinv(E).T` | faster | difference |",
        "|---|" + "---:|" * 10,
    ]
    for side, row in rows:
        goals = (f" ({GOAL})", f" ({MOST_DIFFERENCE:.0e})") if side == max(SIDES) else ("", "")
        cells = [f"{row['ours']:.1f}"]
        for name, (speed, difference) in (("written", goals), ("exact", ("", "")), ("tall", ("", ""))):
            cells += [f"{row[name]:.0f}", f"{row[f'{name}_faster']:.1f}{speed}"]
            cells += [f"{row[f'{name}_difference']:.0e}{difference}"]
        lines.append(f"| {' | '.join([f'{side} x {side}', *cells])} |")
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
    text = markdown(rows, setting)
    print(text)
    if write:
        RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
