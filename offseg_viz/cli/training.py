"""Train and measure: ``offseg-viz recipes``, ``offseg-viz train``, ``offseg-viz evaluate``."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from offseg_viz.cli import app
from offseg_viz.cli.options import (
    Accelerator,
    DataName,
    Devices,
    Limit,
    ModelOfWeights,
    Nodes,
    Precision,
    Root,
    Split,
    Weights,
    Workers,
    console,
    model_and_samples,
    parse_size,
    without_paths,
)
from offseg_viz.errors import ModelError


@app.command()
def recipes(
    data: Annotated[str | None, typer.Option(help="Only those of this data set.")] = None,
    model: Annotated[str | None, typer.Option(help="Only those of this network.")] = None,
) -> None:
    """List the recipes: how each network is trained and tested on each data set."""
    from offseg_viz.data.samples import DATASETS
    from offseg_viz.errors import UnknownNameError
    from offseg_viz.models.zoo import MODELS
    from offseg_viz.pipeline.recipes import recipes as all_recipes

    for kind, name, valid in (("data set", data, DATASETS), ("model", model, MODELS)):
        if name is not None and name not in valid:
            raise UnknownNameError(kind, name, valid)
    headings = ("recipe", "steps", "batch", "crop", "resize", "rate", "head", "decay", "warm-up", "test", "source")
    table = Table(
        Column(headings[0], no_wrap=True),
        *headings[1:],
        title="TRAIN WITH offseg-viz train --recipe RECIPE --root FOLDER --out FOLDER",
    )
    rows = [row for row in all_recipes() if data in (None, row.data) and model in (None, row.model)]
    for row in rows:
        sides = f"{row.short_sides[0]}..{row.short_sides[-1]}" if row.short_sides else _size(row.resize)
        table.add_row(
            row.name, str(row.steps), str(row.batch_size), _size(row.crop), sides, f"{row.learning_rate:g}",
            f"x{row.head_multiplier:g}", f"{row.weight_decay:g}", str(row.warmup_steps),
            f"{_size(row.window)}/{_size(row.stride)}" if row.window else "whole", row.source,
        )  # fmt: skip
    Console(width=max(Console().width, 160)).print(table)
    typer.echo(
        f"recipes: {len(rows)}; every number can be set: offseg-viz train --config FILE.yaml or --set name=value"
    )


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="Folder of the run: weights, checkpoint to resume from, log, recipe.")],
    recipe: Annotated[
        str | None, typer.Option(metavar="MODEL/DATA", help="One of those that `offseg-viz recipes` lists.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Network, instead of --recipe, together with --data.")] = None,
    data: Annotated[str | None, typer.Option(help="Data set, instead of --recipe, together with --model.")] = None,
    root: Root = None,
    validate_on: Annotated[str, typer.Option(help="Split to measure, or 'none'.")] = "val",
    config: Annotated[
        Path | None, typer.Option(help="YAML file of recipe fields, such as the recipe.yaml of another run.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="One recipe field; may be repeated.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=2, help="Crops a step, over all devices.")] = None,
    crop: Annotated[str | None, typer.Option(help="Crop as HEIGHTxWIDTH, such as 256x320.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of the backbone; the head's is larger.")] = None,
    head_multiplier: Annotated[
        float | None, typer.Option(help="Learning rate of the head over the backbone's.")
    ] = None,
    weight_decay: Annotated[float | None, typer.Option(help="AdamW's, on all parameters but norms.")] = None,
    warmup_steps: Annotated[int | None, typer.Option(min=0, help="Steps of linear warm-up.")] = None,
    validate_every: Annotated[
        int | None, typer.Option(min=0, help="Steps between validations; 0 at the end only.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, order and augmentation.")] = None,
    backbone_weights: Annotated[
        Path | None, typer.Option(help="Published ImageNet checkpoint to start the backbone from.")
    ] = None,
    official_param_groups: Annotated[
        bool, typer.Option("--official-param-groups", help="Match rates and decay to names as the release does.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in OUT from its last checkpoint.")
    ] = False,
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 250,
    workers: Workers = 2,
    devices: Devices = 1,
    nodes: Nodes = 1,
    accelerator: Accelerator = "auto",
    precision: Precision = "32",
    accumulate: Annotated[
        int, typer.Option(min=1, help="Batches a step on every device: less memory; BatchNorm sees one at a time.")
    ] = 1,
) -> None:
    """Train a network by a recipe; what is not given comes from it. Options and --set win over --config."""
    from offseg_viz.data import load_samples
    from offseg_viz.pipeline.machine import Machine, first_process
    from offseg_viz.pipeline.recipes import find_recipe, split_name
    from offseg_viz.pipeline.train import train as run

    if recipe is not None and (model is not None or data is not None):
        raise ModelError("found --recipe together with --model or --data; needed --recipe, or both --model and --data")
    if recipe is not None:
        model, data = split_name(recipe)
    from_yaml = _from_yaml(config)
    named_in_yaml = [from_yaml.pop(name, None) for name in ("model", "data")]
    if recipe is None and model is None and data is None:
        model, data = named_in_yaml
    if model is None or data is None:
        raise ModelError("found no recipe; needed --recipe MODEL/DATA (`offseg-viz recipes`), or --model and --data")
    named = {
        "steps": steps,
        "batch_size": batch_size,
        "crop": parse_size(crop) if crop else None,
        "learning_rate": learning_rate,
        "head_multiplier": head_multiplier,
        "weight_decay": weight_decay,
        "warmup_steps": warmup_steps,
        "validate_every": validate_every,
        "seed": seed,
    }
    given = {name: value for name, value in named.items() if value is not None}
    assigned = _assignments(set_ or [])
    for name in assigned.keys() & {*given, "model", "data"}:
        way = "--recipe" if name in ("model", "data") else f"--{name.replace('_', '-')}"
        raise ModelError(f"found --set {name}=...; it is set by {way} here: needed one of the two")
    chosen = find_recipe(model, data, **from_yaml | assigned | given)
    machine = Machine(devices, nodes, accelerator, precision, accumulate)
    machine.share.batch_size(chosen)
    samples = load_samples(data, split="train", root=root)
    validation = None if validate_on == "none" else load_samples(data, split=validate_on, root=root)
    if validation is not None and validation.ids == samples.ids and first_process():
        console.print("validation is on the training images: this folder has no images/train and images/val")
    if data == "scenes":
        from offseg_viz.data.scenes import cache_scenes

        cache_scenes()
    if chosen.mean_over_ignored and backbone_weights is None and not resume and first_process():
        console.print(
            f"{chosen.name} starts from random weights; published figures start from an ImageNet backbone: "
            "--backbone-weights FILE"
        )
    run(
        chosen,
        samples,
        out,
        validation=validation,
        resume=resume,
        backbone_weights=backbone_weights,
        official_param_groups=official_param_groups,
        machine=machine,
        workers=workers,
        checkpoint_every=checkpoint_every,
        command=("offseg-viz", *without_paths(sys.argv[1:])),
    )
    if first_process():
        console.print(f"weights: {out / 'model.safetensors'}")


@app.command()
def evaluate(
    data: DataName,
    model: ModelOfWeights = None,
    weights: Weights = None,
    root: Root = None,
    split: Split = "val",
    limit: Limit = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for metrics.json, classes.csv, confusion.csv and confusion.png.")
    ] = None,
    window: Annotated[
        str | None, typer.Option(help="Sliding window as HEIGHTxWIDTH, or 'whole'. Default: the recipe's.")
    ] = None,
    stride: Annotated[str | None, typer.Option(help="Of the window; by default two thirds of it.")] = None,
    resize: Annotated[
        str | None, typer.Option(help="Box LONGxSHORT that images are fitted into, or 'none'. Default: the recipe's.")
    ] = None,
    scales: Annotated[str, typer.Option(help="Sizes to average over, such as 0.5,0.75,1,1.25,1.5,1.75.")] = "1",
    flip: Annotated[bool, typer.Option("--flip", help="Average with the mirrored image.")] = False,
    workers: Workers = 2,
    devices: Devices = 1,
    nodes: Nodes = 1,
    accelerator: Accelerator = "auto",
    precision: Precision = "32",
) -> None:
    """Measure a network on a labelled data set: mIoU, mAcc, aAcc, boundary IoU, recall of small objects, confusion."""
    from offseg_viz.pipeline.evaluate import evaluate as run
    from offseg_viz.pipeline.evaluate import mode_of
    from offseg_viz.pipeline.machine import Machine

    network, samples = model_and_samples(model, weights, data, split, root)
    mode = _mode(mode_of(network.name, samples.dataset), window, stride, resize, scales, flip)
    machine = Machine(devices, nodes, accelerator, precision)
    result = run(network, samples[:limit], mode=mode, machine=machine, workers=workers)
    if result is None:  # another process than the first
        return
    table = Table(title=f"{network.name} on {data} {split}, {result.images} images")
    table.add_column("class")
    for heading in ("IoU", "accuracy", "boundary IoU", "small objects", "found"):
        table.add_column(heading, justify="right")
    for name, row in result.classes.iterrows():
        shares = (_percent(row[key]) for key in ("iou", "accuracy", "boundary_iou"))
        table.add_row(escape(str(name)), *shares, f"{row.small_objects:.0f}", _percent(row.small_recall))
    Console().print(table)
    _print_summary(result, network.name, samples.dataset, mode)
    if out is not None:
        about = {"model": network.name, "data": data, "split": split, "mode": str(mode)}
        result.save(out, about=about | {"weights": network.fingerprint()})
        _draw_confusion(result, out / "confusion.png")


def _print_summary(result, model: str, data: str, mode) -> None:
    from offseg_viz.pipeline.evaluate import paper_figure

    paper = paper_figure(model, data)
    table = Table("", "here")
    if paper:
        table.add_column("paper")
    rows = {"mIoU": result.miou, "mAcc": result.macc, "aAcc": result.aacc}
    rows |= {"boundary IoU": result.boundary_iou, "small objects found": result.small_recall}
    for name, value in rows.items():
        table.add_row(name, _percent(value, 2), *([paper if name == "mIoU" else ""] if paper else []))
    Console().print(table)
    typer.echo(
        f"mIoU {100 * result.miou:.2f}  mAcc {100 * result.macc:.2f}  aAcc {100 * result.aacc:.2f}  "
        f"({result.images} images, {result.seconds:.1f} s)  {mode}"
    )


def _draw_confusion(result, path: Path) -> None:
    """Row shares of the confusion matrix as a heat map."""
    import numpy as np
    import xarray as xr

    from offseg_viz.plot import plot_matrix

    labelled = result.confusion.sum(axis=1, keepdims=True)
    shares = np.divide(result.confusion, labelled, out=np.full(result.confusion.shape, np.nan), where=labelled > 0)
    names = list(result.classes.index)
    matrix = xr.DataArray(shares, {"label": names, "prediction": names}, ("label", "prediction"))
    plot_matrix(matrix, title="Share of the pixels of a class (row) that are predicted as another").savefig(path)


def _mode(mode, window: str | None, stride: str | None, resize: str | None, scales: str, flip: bool):
    """The recipe's way of testing with what the options change."""
    from dataclasses import replace

    changes = {"scales": _scales(scales), "flip": flip}
    if resize is not None:
        changes["resize"] = None if resize == "none" else parse_size(resize)
    if window == "whole":
        changes |= {"window": None, "stride": None}
    elif window is not None:
        size = parse_size(window)
        changes |= {"window": size, "stride": parse_size(stride) if stride else tuple(2 * side // 3 for side in size)}
    elif stride is not None:
        changes["stride"] = parse_size(stride)
    return replace(mode, **changes)


def _scales(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r} are no scales; needed numbers with commas, such as 0.5,1,1.5") from None


def _from_yaml(path: Path | None) -> dict:
    import yaml

    if path is None:
        return {}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as cause:
        raise ModelError(f"{path} cannot be read as YAML ({cause}); needed lines such as steps: 1000") from cause
    if not isinstance(content, dict):
        raise ModelError(f"{path} holds {type(content).__name__}; needed recipe fields, lines such as steps: 1000")
    return {str(name): "none" if value is None else value for name, value in content.items()}


def _assignments(texts: list[str]) -> dict:
    import yaml

    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ModelError(f"--set {text}: needed NAME=VALUE, such as --set power=0.9")
        try:
            found[name] = yaml.safe_load(value)
        except yaml.YAMLError as cause:
            raise ModelError(f"--set {text}: {value!r} is no value ({cause})") from cause
        found[name] = "none" if found[name] is None else found[name]
    return found


def _size(size: tuple[int, int] | None) -> str:
    return "" if size is None else f"{size[0]}x{size[1]}"


def _percent(share: float, digits: int = 1) -> str:
    return "" if share != share else f"{100 * share:.{digits}f}"
