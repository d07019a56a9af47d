"""Offset learning with another last step: does the LayerNorm over classes hold it back on few classes?

    python benchmarks/norm_variants.py --seeds 2

Trains nano-offset on scenes by its recipe with a classifier whose LayerNorm is left out or starts at a larger gain, and
puts the results beside those of benchmarks/compare_heads.py for the same seeds. Writes results/norm-variants.md.
"""

import json
from pathlib import Path
from typing import Annotated
from unittest.mock import patch

import numpy as np
import torch
import typer
from compare_heads import MEASURES, RESULTS, differences, interval

from offseg_viz.data import load_samples
from offseg_viz.data.scenes import cache_scenes
from offseg_viz.models.offset_learning import OffsetLearning
from offseg_viz.models.zoo import load_model
from offseg_viz.pipeline.evaluate import evaluate
from offseg_viz.pipeline.recipes import find_recipe
from offseg_viz.pipeline.train import train

VARIANTS = {"nano-offset, no norm": None, "nano-offset, gain 3": 3.0}
"""What stands for the LayerNorm: the gain it starts at, or None for a bias a class."""


def variant(name: str, gain: float | None, *, seed: int, **options):
    """`load_model` of nano-offset, with another last step of its classifier; all other weights start the same."""
    model = load_model(name, seed=seed, **options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        old = model.decode_head.classifier
        classes, channels = old.class_embedding.shape
        new = OffsetLearning(channels, classes, norm=gain is not None, bias=gain is None)
    new.load_state_dict({k: v for k, v in old.state_dict().items() if not k.startswith("norm")}, strict=False)
    if gain is not None:
        torch.nn.init.constant_(new.norm.weight, gain)
    model.decode_head.classifier = new
    return model


def measure(title: str, gain: float | None, seed: int, runs: Path, workers: int) -> dict:
    """Train and measure one run, or read what it gave."""
    out = runs / f"scenes-{title.replace(', ', '-').replace(' ', '-')}-seed{seed}"
    kept = out / "test.json"
    if not kept.is_file():
        resume = (out / "last.ckpt").is_file()
        recipe = find_recipe("nano-offset", "scenes", seed=seed)
        build = lambda name, *, classes, seed: variant(name, gain, seed=seed, classes=classes)  # noqa: E731
        with patch("offseg_viz.pipeline.train.load_model", build):
            model = train(recipe, load_samples("scenes", split="train"), out, resume=resume, workers=workers)
        found = evaluate(model, load_samples("scenes", split="test"), workers=workers)
        row = {name: 100 * getattr(found, name) for name in MEASURES}
        kept.write_text(json.dumps({"model": title, "seed": seed} | row, indent=1) + "\n")
    return json.loads(kept.read_text())


def main(
    seeds: Annotated[int, typer.Option(min=1, help="Seeds 0 .. SEEDS - 1.")] = 2,
    runs: Annotated[Path, typer.Option(help="Where the runs are kept.")] = Path("runs"),
    workers: Annotated[int, typer.Option(help="Reading processes.")] = 2,
    only: Annotated[str | None, typer.Option(help="Train and measure this variant alone; write nothing.")] = None,
) -> None:
    """Train, measure, print and write the table."""
    cache_scenes()
    cache_scenes(split="test")
    if only is not None:
        for seed in range(seeds):
            print(measure(only, VARIANTS[only], seed, runs, workers))
        return
    rows = json.loads((RESULTS / "nano-scenes.json").read_text())["runs"]
    rows = [row for row in rows if row["seed"] < seeds]
    rows += [measure(title, gain, seed, runs, workers) for title, gain in VARIANTS.items() for seed in range(seeds)]
    lines = [
        "# The last step of offset learning on scenes",
        "",
        f"`python benchmarks/norm_variants.py --seeds {seeds}`: nano-offset by its recipe, whole network trained, with a "
        "bias a class instead of the LayerNorm over classes, or with the LayerNorm starting at gain 3. Test split, "
        "percent; the rows of nano and nano-offset are those of nano-scenes.md for the same seeds.",
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
