"""Per-pixel classification against offset learning: the same recipe, data and seeds, trained from scratch.

    python benchmarks/compare_heads.py --model nano --data scenes --seeds 3

Trains every pair through the command line of the package (a run that is there already is kept, one that was stopped
goes on), measures it on a split that training never saw, and writes the table to benchmarks/results/.
"""

import json
import re
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

HERE = Path(__file__).parent


def cli(*arguments: str) -> str:
    """Run offseg-viz with progress on the terminal and return what it printed."""
    command = [sys.executable, "-m", "offseg_viz.cli", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def measure(model: str, data: str, split: str, seed: int, runs: Path, extra: list[str]) -> dict[str, float]:
    """mIoU, mAcc and aAcc in percent and the seconds of training of one run."""
    out = runs / f"{data}-{model}-seed{seed}"
    if not (out / "model.safetensors").is_file():
        resume = ["--resume"] if (out / "last.ckpt").is_file() else []
        cli("train", "--model", model, "--data", data, "--out", str(out), "--seed", str(seed), *extra, *resume)
    root = extra[extra.index("--root") : extra.index("--root") + 2] if "--root" in extra else []
    weights = str(out / "model.safetensors")
    printed = cli("evaluate", "--model", model, "--data", data, "--split", split, "--weights", weights, *root)
    values = re.search(r"mIoU ([\d.]+)\s+mAcc ([\d.]+)\s+aAcc ([\d.]+)", printed).groups()
    seconds = json.loads((out / "run.json").read_text())["seconds"]
    return dict(zip(("miou", "macc", "aacc"), map(float, values), strict=True)) | {"seconds": seconds, "seed": seed}


def markdown(model: str, data: str, split: str, recipe: dict, results: dict[str, list[dict]]) -> str:
    """The results as a Markdown table: a row a seed and a head, then mean and sample standard deviation."""
    shown = ("steps", "batch_size", "crop", "scale", "learning_rate", "head_multiplier", "weight_decay", "warmup_steps")
    lines = [
        f"# {model} and {model}-offset on {data}, {split} split",
        "",
        "Same recipe, data, order of crops and seeds for both: " + ", ".join(f"{k} {recipe[k]}" for k in shown) + ".",
        "",
        "| head | seed | mIoU | mAcc | aAcc | training, s |",
        "|---|---|---|---|---|---|",
    ]
    for name, rows in results.items():
        for row in rows:
            cells = (f"{row[key]:.2f}" for key in ("miou", "macc", "aacc"))
            lines.append(f"| {name} | {row['seed']} | {' | '.join(cells)} | {row['seconds']:.0f} |")
    for name, rows in results.items():
        cells = []
        for key in ("miou", "macc", "aacc"):
            values = [row[key] for row in rows]
            spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.2f}{spread}")
        lines.append(f"| **{name}** | mean of {len(rows)} | {' | '.join(cells)} | |")
    plain, offset = results.values()
    gains = [b["miou"] - a["miou"] for a, b in zip(plain, offset, strict=True)]
    text = ", ".join(f"{gain:+.2f}" for gain in gains)
    spread = f" (standard deviation {statistics.stdev(gains):.2f})" if len(gains) > 1 else ""
    lines += ["", f"Gain of offset learning in mIoU, seed by seed: {text}; mean {statistics.mean(gains):+.2f}{spread}."]
    return "\n".join(lines) + "\n"


def main(
    model: Annotated[str, typer.Option(help="The network without -offset.")] = "nano",
    data: Annotated[str, typer.Option(help="scenes or camvid.")] = "scenes",
    root: Annotated[Path | None, typer.Option(help="Folder of camvid.")] = None,
    split: Annotated[str, typer.Option(help="Split to measure on.")] = "test",
    seeds: Annotated[int, typer.Option(min=1, help="Seeds 0 .. SEEDS - 1.")] = 3,
    steps: Annotated[int | None, typer.Option(help="Instead of the recipe's.")] = None,
    runs: Annotated[Path, typer.Option(help="Where the runs are kept.")] = Path("runs"),
) -> None:
    """Train and measure all pairs, print and write the table."""
    extra = (
        ["--validate-on", "none"] + (["--root", str(root)] if root else []) + (["--steps", str(steps)] if steps else [])
    )
    results = {name: [] for name in (model, f"{model}-offset")}
    for seed in range(seeds):
        for name, rows in results.items():
            rows.append(measure(name, data, split, seed, runs, extra))
    recipe = json.loads((runs / f"{data}-{model}-seed0" / "run.json").read_text())["recipe"]
    table = markdown(model, data, split, recipe, results)
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / f"{model}-{data}.md").write_text(table)
    (HERE / "results" / f"{model}-{data}.json").write_text(
        json.dumps({"recipe": recipe, "runs": results}, indent=2) + "\n"
    )
    print(table)


if __name__ == "__main__":
    typer.run(main)
