"""What several commands share: options with their help, sizes, and a network with its samples."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from offseg_viz.errors import ModelError

console = Console(stderr=True)

ModelOfWeights = Annotated[
    str | None,
    typer.Option("--model", help="Network, as `offseg-viz models` lists them. Default: that of the file WEIGHTS."),
]
DataName = Annotated[
    str,
    typer.Option(
        help="Data set: scenes (generated, nothing to download), camvid, ade20k, cityscapes, coco_stuff164k, "
        "pascal_context, folder (labelled images of your own) or photographs (unlabelled ones)."
    ),
]
Root = Annotated[Path | None, typer.Option(help="Folder of the data set; scenes need none.")]
Split = Annotated[str, typer.Option(help="Part of the data set: train, val or test.")]
Weights = Annotated[
    str | None,
    typer.Option(
        help="A .safetensors or .ckpt file, or the name of bundled weights. Default: those bundled for --model."
    ),
]
Workers = Annotated[
    int, typer.Option(min=0, help="Processes that read and augment images; 0 does it in the main process.")
]
Limit = Annotated[int | None, typer.Option(min=1, help="Use only the first LIMIT images.")]
Devices = Annotated[int, typer.Option(min=1, help="GPUs, or processes on CPUs, on each machine.")]
Nodes = Annotated[int, typer.Option(min=1, help="Machines, each started with the same command (torchrun, SLURM).")]
Accelerator = Annotated[str, typer.Option(help="auto, cpu or gpu.")]
Precision = Annotated[str, typer.Option(help="32, or bf16 or 16 for mixed precision.")]


def model_and_samples(model: str | None, weights: str | None, data: str, split: str, root: Path | None):
    """A network with its weights and the samples of a split; a wrong data set is told before weights are looked for."""
    from offseg_viz.data import load_samples
    from offseg_viz.models.weights import read_weights
    from offseg_viz.models.zoo import load_model

    samples = load_samples(data, split=split, root=root)
    if model is None:
        if weights is None:
            raise ModelError("found neither --model nor --weights; needed a model, or a file of weights that names one")
        model = read_weights(weights).model
    return load_model(model, weights=weights or data), samples


def parse_size(text: str) -> tuple[int, int]:
    """``"256x384"`` to (256, 384), height first."""
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise typer.BadParameter(f"{text!r} is no size; needed HEIGHTxWIDTH, such as 256x384")
    return int(parts[0]), int(parts[1])


def without_paths(arguments: list[str]) -> list[str]:
    """Arguments as they are recorded beside weights: the folders of this machine are left out."""
    return [Path(text).name if text.startswith(("/", "~", ".")) else text for text in arguments]
