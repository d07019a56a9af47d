"""Per-pixel classification against offset learning: the same recipe, data and seeds, trained from scratch.

    python benchmarks/compare_heads.py --model nano --data scenes --seeds 5 --jobs 2
    python benchmarks/compare_heads.py --model segformer-b0 --also offseg-t --data camvid --root path/to/camvid

Trains every pair through the command line of the package (a run that is there already is kept, one that was stopped
goes on), measures it on a split that training never saw, and writes table, numbers and logs to benchmarks/results/.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.progress import track
from scipy import stats

from offseg_viz.data import load_samples
from offseg_viz.metrics import confusion_matrix, segmentation_metrics
from offseg_viz.models.weights import read_weights
from offseg_viz.models.zoo import load_model
from offseg_viz.pipeline.evaluate import mode_of
from offseg_viz.pipeline.inference import predicted_classes

HERE = Path(__file__).parent
RESULTS = HERE / "results"
MEASURES = {"miou": "mIoU", "macc": "mAcc", "aacc": "aAcc", "boundary_iou": "boundary IoU", "small_recall": "small"}


def cli(threads: int, *arguments: str) -> None:
    """Run offseg-viz on so many threads, with its progress on the terminal."""
    command = [sys.executable, "-m", "offseg_viz.cli", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": str(threads)})


def measure(model: str, seed: int, *, data: str, split: str, runs: Path, root: list, more: list, jobs: int) -> dict:
    """Train one run where it is not there yet and measure it; figures in percent."""
    out = runs / f"{data}-{model}-seed{seed}"
    threads = max(1, os.cpu_count() // jobs)
    workers = ["--workers", str(max(1, 2 // jobs))]
    if not (out / "model.safetensors").is_file():
        resume = ["--resume"] if (out / "last.ckpt").is_file() else []
        recipe = ["--recipe", f"{model}/{data}", "--seed", str(seed), "--validate-on", "none", *more]
        cli(threads, "train", *recipe, "--out", str(out), *root, *workers, *resume)
    if not (out / split / "metrics.json").is_file():
        weights = ["--weights", str(out / "model.safetensors"), "--data", data, "--split", split]
        cli(threads, "evaluate", *weights, "--out", str(out / split), *root, *workers)
    found = json.loads((out / split / "metrics.json").read_text())
    notes = json.loads((out / "run.json").read_text())
    row = {name: 100 * found[name] if found[name] is not None else float("nan") for name in MEASURES}
    return {"model": model, "seed": seed} | row | {"seconds": notes["seconds"], "command": " ".join(notes["command"])}


def interval(differences: list[float]) -> tuple[float, float]:
    """95 % confidence interval of the mean of paired differences, by Student's t."""
    mean, count = statistics.mean(differences), len(differences)
    half = stats.t.ppf(0.975, count - 1) * statistics.stdev(differences) / count**0.5
    return mean - half, mean + half


def confusions(out: Path, data: str, split: str, root: Path | None) -> np.ndarray:
    """Confusion matrix of every image of a split by the network of a run, (images, K, K)."""
    kept = out / split / "confusions.npy"
    if not kept.is_file():
        weights = read_weights(out / "model.safetensors")
        model = load_model(weights.model, weights=out / "model.safetensors")
        mode, found = mode_of(model.name, data), []
        for sample in track(load_samples(data, split=split, root=root), f"{out.name}, image by image"):
            prediction = predicted_classes(model, sample.image, mode).numpy()
            found.append(confusion_matrix(sample.label, prediction, len(model.classes)))
        np.save(kept, np.array(found))
    return np.load(kept)


def resampled_gain(plain: np.ndarray, other: np.ndarray, *, draws: int = 2000, seed: int = 0) -> tuple[float, float]:
    """95 % interval of the gain in mIoU (percent) of two trained networks over the choice of test images.

    A bootstrap: images are drawn with replacement, the same for both networks. It says nothing of other seeds.
    """
    random, gains = np.random.default_rng(seed), []
    for _ in range(draws):
        weights = np.bincount(random.integers(0, len(plain), len(plain)), minlength=len(plain))
        a, b = (segmentation_metrics(np.tensordot(weights, one, 1))["miou"] for one in (plain, other))
        gains.append(100 * (b - a))
    return tuple(np.percentile(gains, (2.5, 97.5)))


def differences(rows: list[dict], plain: str, other: str, name: str) -> list[float]:
    """Other minus plain, seed by seed."""
    by_seed = [{row["seed"]: row[name] for row in rows if row["model"] == model} for model in (plain, other)]
    return [by_seed[1][seed] - by_seed[0][seed] for seed in by_seed[0]]


def markdown(rows: list[dict], plain: str, data: str, split: str, recipe: dict, command: str) -> str:
    """A row a run, mean and spread of every network, and the paired differences to the plain one."""
    shown = ("steps", "batch_size", "crop", "scale", "learning_rate", "head_multiplier", "weight_decay", "warmup_steps")
    models = list(dict.fromkeys(row["model"] for row in rows))
    lines = [
        f"# {', '.join(models)} on {data}, {split} split",
        "",
        f"`{command}`. Same recipe, data, order of crops and seeds for all: "
        + ", ".join(f"{name} {recipe[name]}" for name in shown)
        + ". Percent; small: share of the objects below 32 x 32 pixels that are found.",
        "",
        f"| network | seed | {' | '.join(MEASURES.values())} | training, s |",
        "|---|---|" + "---:|" * (len(MEASURES) + 1),
    ]
    for row in sorted(rows, key=lambda row: (models.index(row["model"]), row["seed"])):
        cells = " | ".join(f"{row[name]:.2f}" for name in MEASURES)
        lines.append(f"| {row['model']} | {row['seed']} | {cells} | {row['seconds']:.0f} |")
    for model in models:
        cells = []
        for name in MEASURES:
            values = [row[name] for row in rows if row["model"] == model]
            cells.append(f"{np.mean(values):.2f}" + (f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""))
        lines.append(f"| **{model}** | mean of {len(values)} | {' | '.join(cells)} | |")
    for other in models[1:]:
        cells = []
        for name in MEASURES:
            found = differences(rows, plain, other, name)
            text = f"{statistics.mean(found):+.2f}"
            cells.append(text + ("" if len(found) < 2 else " [{:+.2f}, {:+.2f}]".format(*interval(found))))
        lines.append(f"| **{other} - {plain}** | paired, 95 % interval | {' | '.join(cells)} | |")
    return "\n".join(lines) + "\n"


def main(
    model: Annotated[str, typer.Option(help="The network without -offset.")] = "nano",
    also: Annotated[list[str] | None, typer.Option(help="Further networks to train beside the pair.")] = None,
    data: Annotated[str, typer.Option(help="scenes or camvid.")] = "scenes",
    root: Annotated[Path | None, typer.Option(help="Folder of camvid.")] = None,
    split: Annotated[str, typer.Option(help="Split to measure on.")] = "test",
    seeds: Annotated[int, typer.Option(min=1, help="Seeds 0 .. SEEDS - 1.")] = 5,
    steps: Annotated[int | None, typer.Option(help="Instead of the recipe's.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at a time, which share the cores.")] = 1,
    runs: Annotated[Path, typer.Option(help="Where the runs are kept.")] = Path("runs"),
) -> None:
    """Train and measure all, print and write the table."""
    options = {"data": data, "split": split, "runs": runs, "jobs": jobs}
    options |= {"root": ["--root", str(root)] if root else [], "more": ["--steps", str(steps)] if steps else []}
    models = [model, f"{model}-offset", *(also or [])]
    with ThreadPoolExecutor(jobs) as pool:
        waiting = [pool.submit(measure, name, seed, **options) for seed in range(seeds) for name in models]
        rows = [future.result() for future in waiting]
    intervals = {}
    if seeds == 1:
        found = {name: confusions(runs / f"{data}-{name}-seed0", data, split, root) for name in models}
        intervals = {name: resampled_gain(found[model], found[name]) for name in models[1:]}
    recipe = json.loads((runs / f"{data}-{model}-seed0" / "run.json").read_text())["recipe"]
    command = f"python benchmarks/compare_heads.py --model {model} --data {data} --seeds {seeds}"
    command += "".join(f" --also {name}" for name in also or []) + (f" --steps {steps}" if steps else "")
    table = markdown(rows, model, data, split, recipe, command)
    for name, (low, high) in intervals.items():
        table += (
            f"\nGain of {name} over {model} in mIoU, 95 % interval over the test images: [{low:+.2f}, {high:+.2f}].\n"
        )
    (RESULTS / "logs").mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{model}-{data}.md").write_text(table)
    (RESULTS / f"{model}-{data}.json").write_text(json.dumps({"recipe": recipe, "runs": rows}, indent=1) + "\n")
    for row in rows:
        name = f"{data}-{row['model']}-seed{row['seed']}"
        log = sorted((runs / name / "log").glob("*/metrics.csv"))
        shutil.copy(log[-1], RESULTS / "logs" / f"{name}.csv")
    print(table)


if __name__ == "__main__":
    typer.run(main)
