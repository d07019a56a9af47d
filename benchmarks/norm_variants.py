"""Offset learning without its last step: does the LayerNorm over classes hold it back on few classes?

    python benchmarks/norm_variants.py --seeds 2

Trains nano-offset on scenes by its recipe with a bias a class instead of the LayerNorm, and puts the results beside
those of benchmarks/compare_heads.py for the same seeds. Writes results/norm-variants.md.
"""

import json
from pathlib import Path
from typing import Annotated
from unittest.mock import patch

import numpy as np
import typer
from compare_heads import MEASURES, RESULTS, differences, interval

from offseg_viz.data import load_samples
from offseg_viz.data.scenes import cache_scenes
from offseg_viz.models.offset_learning import OffsetLearning
from offseg_viz.models.zoo import load_model
from offseg_viz.pipeline.evaluate import evaluate
from offseg_viz.pipeline.recipes import find_recipe
from offseg_viz.pipeline.train import train

TITLE = "nano-offset, no norm"


def without_norm(name: str, *, seed: int, **options):
    """`load_model`, with a bias a class instead of the LayerNorm over classes; all other weights start the same."""
    model = load_model(name, seed=seed, **options)
    old = model.decode_head.classifier
    classes, channels = old.class_embedding.shape
    new = OffsetLearning(channels, classes, norm=False, bias=True)
    new.load_state_dict({k: v for k, v in old.state_dict().items() if not k.startswith("norm")}, strict=False)
    model.decode_head.classifier = new
    return model


def measure(seed: int, runs: Path, workers: int) -> dict:
    """Train and measure one run, or read what it gave."""
    out = runs / f"scenes-nano-offset-no-norm-seed{seed}"
    kept = out / "test.json"
    if not kept.is_file():
        resume = (out / "last.ckpt").is_file()
        recipe = find_recipe("nano-offset", "scenes", seed=seed)
        with patch("offseg_viz.pipeline.train.load_model", without_norm):
            model = train(recipe, load_samples("scenes", split="train"), out, resume=resume, workers=workers)
        found = evaluate(model, load_samples("scenes", split="test"), workers=workers)
        row = {name: 100 * getattr(found, name) for name in MEASURES}
        kept.write_text(json.dumps({"model": TITLE, "seed": seed} | row, indent=1) + "\n")
    return json.loads(kept.read_text())


def main(
    seeds: Annotated[int, typer.Option(min=1, help="Seeds 0 .. SEEDS - 1.")] = 2,
    runs: Annotated[Path, typer.Option(help="Where the runs are kept.")] = Path("runs"),
    workers: Annotated[int, typer.Option(help="Reading processes.")] = 2,
) -> None:
    """Train, measure, print and write the table."""
    cache_scenes()
    cache_scenes(split="test")
    rows = json.loads((RESULTS / "nano-scenes.json").read_text())["runs"]
    rows = [row for row in rows if row["seed"] < seeds]
    rows += [measure(seed, runs, workers) for seed in range(seeds)]
    lines = [
        "# The last step of offset learning on scenes",
        "",
        f"`python benchmarks/norm_variants.py --seeds {seeds}`: nano-offset by its recipe, whole network trained, "
        "with a bias a class instead of the LayerNorm over classes. Test split, percent; the rows of "
        "nano and nano-offset are those of nano-scenes.md for the same seeds.",
        "",
        f"| network | seeds | {' | '.join(MEASURES.values())} |",
        "|---|---:|" + "---:|" * len(MEASURES),
    ]
    titles = list(dict.fromkeys(row["model"] for row in rows))
    for title in titles:
        own = [row for row in rows if row["model"] == title]
        cells = " | ".join(f"{np.mean([row[name] for row in own]):.2f}" for name in MEASURES)
        lines.append(f"| {title} | {len(own)} | {cells} |")
    for title in titles[1:]:
        found = {name: differences(rows, "nano", title, name) for name in MEASURES}
        shown = {name: f"{np.mean(values):+.2f}" for name, values in found.items()}
        if seeds > 1:
            shown = {name: f"{shown[name]} [{interval(v)[0]:+.2f}, {interval(v)[1]:+.2f}]" for name, v in found.items()}
        lines.append(f"| {title} - nano | {seeds} | {' | '.join(shown.values())} |")
    table = "\n".join(lines) + "\n"
    (RESULTS / "norm-variants.md").write_text(table)
    print(table)


if __name__ == "__main__":
    typer.run(main)
