"""A joint UMAP with its quality figures against a bare UMAP of the same points, and the time of finding it again.

    python benchmarks/projection.py --write

Both are compiled first. They take turns, so that whatever else the machine does falls on both alike; times are of the
clock, and beside them the processor's, which other programs do not stretch. Writes results/projection.md.
"""

import os
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
import xarray as xr

from offseg_viz.analyze.neighbors import EXACT, nearest_among, nearest_neighbors, shared_neighbors
from offseg_viz.analyze.projection import project

RESULTS = Path(__file__).parent / "results" / "projection.md"
CHANNELS, CLASSES, IMAGES = 256, 20, 24


def pixel_table(pixels: int, seed: int = 0) -> xr.Dataset:
    """Pixels as a network might give them: classes on sheets of 12 dimensions, noise, and offsets of rank 20."""
    random = np.random.default_rng(seed)
    label = random.integers(0, CLASSES, pixels)
    means = random.normal(size=(CLASSES, CHANNELS))
    feature = means[label] + 0.5 * random.normal(size=(pixels, 12)) @ random.normal(size=(12, CHANNELS))
    feature += 0.1 * random.normal(size=(pixels, CHANNELS))
    offset = 0.5 * random.dirichlet(np.full(CLASSES, 0.1), pixels) @ random.normal(size=(CLASSES, CHANNELS))
    aligned_class_embedding = means + 0.2 * random.normal(size=(IMAGES, CLASSES, CHANNELS))
    variables = {
        "feature": (("pixel", "channel"), feature),
        "aligned_feature": (("pixel", "channel"), feature + offset),
        "class_embedding": (("cls", "channel"), means),
        "aligned_class_embedding": (("image", "cls", "channel"), aligned_class_embedding),
    }
    images = np.arange(IMAGES)
    coords = {"label": ("pixel", label), "sample": ("pixel", random.integers(0, IMAGES, pixels)), "image": images}
    return xr.Dataset({name: (dims, values.astype(np.float32)) for name, (dims, values) in variables.items()}, coords)


def seconds(function: Callable[[], object]) -> tuple[float, float]:
    """By the clock and by the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - clock, time.process_time() - processor


def main(
    pixels: Annotated[int, typer.Option(help="Pixels of each of the two stages.")] = 20_000,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each.")] = 3,
    write: Annotated[bool, typer.Option("--write", help="Write results/projection.md.")] = False,
) -> None:
    """Measure, print and perhaps write."""
    from umap import UMAP

    warnings.filterwarnings("ignore", category=UserWarning)
    table = pixel_table(pixels)
    points = np.concatenate([table["feature"], table["aligned_feature"]])

    def bare() -> None:
        UMAP().fit_transform(points)

    def seeded() -> None:
        UMAP(random_state=0, n_jobs=1).fit_transform(points)

    def ours() -> None:
        project(table, method="umap", cache=False)

    ways = {
        "`umap.UMAP().fit_transform`": bare,
        "the same with a seed": seeded,
        "`project`, seeded, with figures": ours,
    }
    small = pixel_table(EXACT // 2 + 50)  # just more than is searched exactly, so that all is compiled
    UMAP().fit_transform(small["feature"].values[:5000])
    UMAP(random_state=0, n_jobs=1).fit_transform(small["feature"].values[:5000])
    project(small, method="umap", cache=False)
    taken = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            taken[name].append(seconds(way))
            print(name, taken[name][-1], flush=True)
    clock, processor = (np.array([[turn[k] for turn in turns] for turns in taken.values()]) for k in (0, 1))
    ratio = clock[2] / clock[0]
    with tempfile.TemporaryDirectory() as folder:
        first = seconds(lambda: project(table, method="umap", cache=folder))[0]
        second = seconds(lambda: project(table, method="umap", cache=folder))[0]
    found = project(table, method="umap", cache=False)
    chosen = np.random.default_rng(0).choice(len(points), 1000, replace=False)
    exact, _ = nearest_among(points[chosen], points, 16)
    recall = shared_neighbors(exact[:, 1:], nearest_neighbors(points, 15)[0][chosen]).mean()
    lines = [
        "# A UMAP with its quality figures",
        "",
        f"`python benchmarks/projection.py --pixels {pixels} --rounds {rounds} --write`: {pixels} pixels of two "
        f"stages, {CHANNELS} channels, {len(points)} points; {os.cpu_count()} cores, load average "
        f"{os.getloadavg()[1]:.1f} over five minutes; umap-learn {version('umap-learn')}, pynndescent "
        f"{version('pynndescent')}, numba {version('numba')}. All compiled before; least of {rounds} turns.",
        "",
        "| | seconds by the clock | of the processor |",
        "|---|---:|---:|",
        *(f"| {name} | {a.min():.1f} | {b.min():.1f} |" for name, a, b in zip(ways, clock, processor, strict=True)),
        f"| `project` again, from the cache (first {first:.1f}) | {second:.2f} | |",
        "",
        f"Ratio of `project` to the bare UMAP, turn by turn, by the clock: {', '.join(f'{r:.2f}' for r in ratio)}; "
        f"least to least {clock[2].min() / clock[0].min():.2f}, by the processor "
        f"{processor[2].min() / processor[0].min():.2f} (goal: at most 1.50). Were the bare one to use two cores fully "
        f"and nothing of ours more than one, it would be {2 * processor[2].min() / processor[0].min():.2f}.",
        "",
        f"The one neighbour graph, of an approximate search, holds {100 * recall:.1f} % of the true 15 nearest. "
        f"Trustworthiness {found.attrs['trustworthiness']:.3f}, continuity {found.attrs['continuity']:.3f}, neighbours "
        f"kept by the plane {found.attrs['plane_overlap']:.3f}, by the refinement {found.attrs['stage_overlap']:.3f}, "
        f"null drift (95th percentile) {100 * found.attrs['null_drift_95']:.2f} % of the diagonal.",
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if write:
        RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
