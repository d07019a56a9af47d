"""Records a second and peak memory of every analysis over a store, with 50 records and with 200.

    python benchmarks/analyses.py            # prints
    python benchmarks/analyses.py --write    # and writes benchmarks/results/analyses.md

Records of 128 x 128 positions, 256 channels and 150 classes in float32 are made once, of random features that cluster
by class and the offsets that a random offset learning gives them, 44 MB each. 50 are different; the 200 are those four
times (links to the same files), so that they are read from memory that the operating system keeps: the figures are
about arithmetic and decompression, not about a disk. Each analysis runs in a process of its own, whose peak memory is
that of the process, with Python and its libraries.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
import xarray as xr
from rich.progress import track

from offseg_viz.classes import ClassList
from offseg_viz.extract.store import create_store, open_store
from offseg_viz.models.offset_learning import OffsetLearning
from offseg_viz.record import SCHEMA_VERSION, save_record

RESULTS = Path(__file__).parent / "results"
SIDE, CHANNELS, STRIDE = 128, 256, 4
CLASSES = ClassList.of("ade20k")
CALLS = {
    "1 embedding_similarity": "ov.embedding_similarity(store)",
    "1 image_miou": "ov.image_miou(store)",
    "2 alignment": "ov.alignment(store)",
    "2 class_scatter": "ov.class_scatter(store)",
    "3 offset_measures by class": "ov.offset_measures(store)",
    "3 offset_measures by distance": "ov.offset_measures(store, by='distance')",
    "3 class_offset_agreement": "ov.class_offset_agreement(store)",
    "4 changes": "ov.changes(store)",
    "4 shape_changes": "ov.shape_changes(store)",
    "5 interventions": "ov.interventions(store)",
    "5 strength_curve": "ov.strength_curve(store)",
    "6 decomposition": "ov.decomposition(store)",
}


def make_record(number: int, head: OffsetLearning) -> xr.Dataset:
    """A record as `extract` would give it, of random features around a direction of their class."""
    random = np.random.default_rng(number)
    present = random.choice(len(CLASSES), 12, replace=False)
    label = present[random.integers(0, 12, (SIDE // 8, SIDE // 8))].repeat(8, 0).repeat(8, 1).astype(np.uint8)
    centres = np.random.default_rng(0).normal(size=(len(CLASSES), CHANNELS)) + 0.5 * random.normal(
        size=(len(CLASSES), CHANNELS)
    )
    feature = (centres[label] + 1.5 * random.normal(size=(SIDE, SIDE, CHANNELS))).astype(np.float32) / 4
    label[:8] = 255
    with torch.no_grad():
        seen = head.refinement(torch.from_numpy(feature).permute(2, 0, 1)[None])
    arrays = {
        "feature": (("y", "x", "channel"), feature),
        "class_embedding": (("cls", "channel"), head.class_embedding.detach().numpy()),
        "feature_offset": (("y", "x", "channel"), seen.feature_offset[0].numpy().reshape(feature.shape)),
        "class_offset": (("cls", "channel"), seen.class_offset[0].numpy()),
        "logits": (("cls", "y", "x"), seen.logits[0].numpy()),
        "logit_gain": ("cls", head.norm.weight.detach().numpy()),
        "logit_bias": ("cls", head.norm.bias.detach().numpy()),
        "label": (("y", "x"), label),
    }
    centre = (np.arange(SIDE) + 0.5) * STRIDE
    coords = {"y": centre, "x": centre, "cls": list(CLASSES), "color": ("cls", list(CLASSES.colors))}
    attrs = {
        "schema_version": SCHEMA_VERSION, "library_version": "", "model": "random", "checkpoint": "", "seed": number,
        "dataset": "random", "sample": f"r{number:03d}", "window": [0, 0, SIDE * STRIDE, SIDE * STRIDE],
        "stride": STRIDE, "logit_norm_eps": head.norm.eps,
    }  # fmt: skip
    return xr.Dataset(arrays, coords, attrs)


def make_stores(folder: Path, few: int, many: int) -> tuple[Path, Path]:
    """Two stores, the second of the first one's records over and over."""
    generator = torch.Generator().manual_seed(0)
    head = OffsetLearning(CHANNELS, len(CLASSES)).eval()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    stores = [create_store(folder / f"{count}.zarr").path for count in (few, many)]
    for number in track(range(few), f"{few} records"):
        save_record(make_record(number, head), stores[0] / f"r{number:03d}")
    for number in range(many):
        shutil.copytree(stores[0] / f"r{number % few:03d}", stores[1] / f"r{number:03d}", copy_function=os.link)
    return tuple(stores)


def run_one(call: str, path: Path) -> tuple[float, int]:
    """Seconds of the call alone and the peak memory of its process in MiB."""
    done = subprocess.run(
        [sys.executable, __file__, "--call", call, "--store", str(path)], capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{call} failed:\n{done.stderr}")
    seconds, peak = done.stdout.split()[-2:]
    return float(seconds), int(peak)


def peak_memory() -> int:
    """Peak memory of this process in MiB; that of getrusage is at least what its parent had when it began."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) // 1024


def main(
    few: Annotated[int, typer.Option(help="Different records.")] = 50,
    many: Annotated[int, typer.Option(help="Records in all.")] = 200,
    write: Annotated[bool, typer.Option("--write", help="Write benchmarks/results/analyses.md.")] = False,
    only: Annotated[str, typer.Option(help="Only analyses whose name has this in it.")] = "",
    folder: Annotated[
        Path | None, typer.Option(help="Where the stores are made; by default a folder that goes.")
    ] = None,
    call: Annotated[str, typer.Option(hidden=True)] = "",
    store: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    """Measure, print and write the table."""
    if call:
        import offseg_viz as ov

        records = open_store(store)
        start = time.perf_counter()
        eval(call, {"ov": ov, "store": records})
        seconds = time.perf_counter() - start
        print(seconds, peak_memory())
        return
    with tempfile.TemporaryDirectory(dir=folder) as passing:
        paths = make_stores(Path(passing), few, many)
        lines = [
            f"| analysis | records a second of {many} | of {few} | peak MiB of {many} | of {few} |",
            "|---|---:|---:|---:|---:|",
        ]
        reading = "for name in store.ids: store.load(name, leave_out=('logits', 'image'))"
        calls = {"reading alone": f"exec({reading!r})"} | {k: v for k, v in CALLS.items() if only in k}
        for name, text in track(calls.items(), "analyses"):
            (small, small_peak), (large, large_peak) = (run_one(text, path) for path in paths)
            lines.append(f"| {name} | {many / large:.1f} | {few / small:.1f} | {large_peak} | {small_peak} |")
    table = "\n".join(lines) + "\n"
    if write and not only:
        (RESULTS / "analyses.md").write_text(
            "# Analyses of a store of records\n\n"
            f"`python benchmarks/analyses.py --write`; records of {SIDE} x {SIDE} positions, {CHANNELS} channels, "
            f"{len(CLASSES)} classes, float32; {os.cpu_count()} cores. Goals: 10 records a second for 2 to 4; peak "
            f"memory that does not grow with the number of records.\n\n{table}"
        )
    print(table)


if __name__ == "__main__":
    typer.run(main)
