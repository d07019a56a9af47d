"""Images a second of the loader alone, of a training step and of evaluation, measured in one run.

    python benchmarks/throughput.py                                     # scenes
    python benchmarks/throughput.py --data camvid --root path/to/camvid

A figure of the loader that is at least three times that of the training step means that reading and augmenting never
holds a training up. Writes benchmarks/results/throughput-DATA.md.
"""

import itertools
import time
from pathlib import Path
from typing import Annotated

import torch
import typer

from offseg_viz.data import load_samples
from offseg_viz.data.scenes import cache_scenes
from offseg_viz.models.zoo import load_model
from offseg_viz.pipeline.batches import train_loader
from offseg_viz.pipeline.evaluate import evaluate
from offseg_viz.pipeline.inference import TestMode
from offseg_viz.pipeline.machine import environment
from offseg_viz.pipeline.recipes import find_recipe
from offseg_viz.pipeline.task import SegmentationTask

HERE = Path(__file__).parent
NETWORKS = ("nano", "nano-offset", "segformer-b0", "segformer-b0-offset", "offseg-t")


def loader_rate(samples, recipe, workers: int, seconds: float) -> float:
    """Crops a second of the loader with nobody else at work."""
    batches = iter(train_loader(samples, recipe, workers=workers))
    for _ in range(2 * workers + 2):  # what the workers have made in advance while they started
        next(batches)
    start = time.perf_counter()
    count = 0
    while time.perf_counter() - start < seconds:
        count += len(next(batches).ids)
    return count / (time.perf_counter() - start)


def step_rate(samples, recipe, seconds: float) -> float:
    """Crops a second of forward, backward and optimiser on batches that lie in memory."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    task = SegmentationTask(load_model(recipe.model, classes=samples.classes).to(device), TestMode(), recipe)
    task.log = lambda *_, **__: None
    optimizer = task.configure_optimizers()["optimizer"]
    task.model.train()
    batches = list(itertools.islice(train_loader(samples, recipe, workers=0), 2))
    batches = [batch._replace(image=batch.image.to(device), label=batch.label.to(device)) for batch in batches]

    def step(batch) -> int:
        optimizer.zero_grad()
        task.training_step(batch, 0).backward()
        optimizer.step()
        return len(batch.ids)

    step(batches[0])
    start = time.perf_counter()
    count = 0
    while time.perf_counter() - start < seconds:
        count += sum(map(step, batches))
    return count / (time.perf_counter() - start)


def main(
    data: Annotated[str, typer.Option(help="scenes, or another data set with --root.")] = "scenes",
    root: Annotated[Path | None, typer.Option(help="Folder of the data set.")] = None,
    workers: Annotated[int, typer.Option(help="Reading processes.")] = 2,
    seconds: Annotated[float, typer.Option(help="Length of each measurement.")] = 10.0,
    images: Annotated[int, typer.Option(help="Images of the validation split to evaluate.")] = 16,
) -> None:
    """Measure, print and write the table."""
    if data == "scenes":
        cache_scenes()
    samples = load_samples(data, split="train", root=root)
    validation = load_samples(data, split="val", root=root)[:images]
    rows = []
    for name in NETWORKS:
        recipe = find_recipe(name, data)
        loaded = loader_rate(samples, recipe, workers, seconds)
        stepped = step_rate(samples, recipe, seconds)
        model = load_model(name, classes=samples.classes)
        measured = evaluate(model, validation, workers=workers, progress=False)
        crop = f"{recipe.crop[0]} x {recipe.crop[1]}"
        rate = measured.images / measured.seconds
        rows.append(f"| {name} | {crop} | {loaded:.0f} | {stepped:.1f} | {loaded / stepped:.1f} | {rate:.1f} |")
        print(rows[-1], flush=True)
    hardware = environment()["hardware"]
    where = ", ".join(hardware["gpus"]) or f"{hardware['cores']} CPU cores ({hardware['machine']})"
    size = f"{validation[0].image.shape[0]} x {validation[0].image.shape[1]}"
    table = [
        f"# Images a second on {data}",
        "",
        f"`python benchmarks/throughput.py --data {data}` on {where}, {workers} reading processes. Loader: reading and "
        "augmenting, alone. Step: forward, backward, optimiser on crops in memory, alone. Evaluation: reading, "
        f"predicting whole images of {size}, all metrics.",
        "",
        "| network | crop | loader | step | loader / step | evaluation |",
        "|---|---|---:|---:|---:|---:|",
        *rows,
    ]
    path = HERE / "results" / f"throughput-{data}.md"
    path.write_text("\n".join(table) + "\n")


if __name__ == "__main__":
    typer.run(main)
