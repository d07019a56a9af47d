"""Records and the report: ``offseg-viz extract``, ``offseg-viz report``."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from offseg_viz.cli import app
from offseg_viz.cli.options import (
    DataName,
    Limit,
    ModelOfWeights,
    Root,
    Split,
    Weights,
    console,
    model_and_samples,
    parse_size,
    without_paths,
)
from offseg_viz.errors import DataError, ModelError


@app.command()
def extract(
    data: DataName,
    out: Annotated[Path, typer.Option(help="Zarr store to write, one group an image; a stopped run goes on.")],
    model: ModelOfWeights = None,
    weights: Weights = None,
    root: Root = None,
    split: Split = "val",
    limit: Limit = None,
    dtype: Annotated[str, typer.Option(help="Stored as float32, or as float16: features of half the size.")] = (
        "float32"
    ),
    window: Annotated[
        str | None,
        typer.Option(help="Sliding window as HEIGHTxWIDTH, one record each. Default: one record of the whole image."),
    ] = None,
    stride: Annotated[str | None, typer.Option(help="Of the window; by default two thirds of it.")] = None,
    layer: Annotated[
        int, typer.Option(help="Of Mask2Former, which prediction of its decoder: 0 to 9, -1 for the last.")
    ] = -1,
    device: Annotated[
        str | None,
        typer.Option(
            help="cpu, cuda or cuda:N. Default: the GPU with the number of the process, without GPUs the CPU."
        ),
    ] = None,
) -> None:
    """Write the AlignmentRecords of images: features and class embeddings before and after the refinement.

    The same command goes on with an extraction that was stopped. Of several processes each takes its part:

    torchrun --nproc-per-node 4 -m offseg_viz.cli extract ... (or srun offseg-viz extract ...)
    """
    from offseg_viz.extract.extract import extract_many
    from offseg_viz.extract.processes import Share

    if stride is not None and window is None:
        raise ModelError(f"--stride {stride} is that of a sliding window; needed --window HEIGHTxWIDTH too")
    sizes = {}
    if window is not None:
        size = parse_size(window)
        sizes = {"window": size, "stride": parse_size(stride) if stride else tuple(2 * side // 3 for side in size)}
    network, samples = model_and_samples(model, weights, data, split, root)
    _move(network, device)
    store = extract_many(network, samples[:limit], out, dtype=dtype, layer=layer, **sizes)
    share = Share.of_this_process()
    if share.processes == 1:
        typer.echo(f"{len(store)} records in {out}")
    else:
        typer.echo(f"process {share.rank + 1} of {share.processes} is done; now {len(store)} records in {out}")


def _move(network, device: str | None) -> None:
    """To a device by name, or to the GPU that is this process's on its machine."""
    import torch

    if device is None and torch.cuda.is_available():
        number = int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", 0)))
        device = f"cuda:{number % torch.cuda.device_count()}"  # SLURM may show each process one GPU only
    try:
        network.to(device or "cpu")
    except (RuntimeError, AssertionError) as cause:
        there = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
        raise ModelError(
            f"--device {device}: {str(cause).splitlines()[0]}; there are {', '.join(['cpu', *there])}"
        ) from cause


@app.command()
def report(
    data: DataName,
    out: Annotated[Path, typer.Option(help="HTML file to write; everything is inside it.")],
    model: ModelOfWeights = None,
    weights: Weights = None,
    root: Root = None,
    split: Split = "val",
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Images, evenly spaced through the split; 24, or 4 (12 at most) with --interactive."),
    ] = None,
    interactive: Annotated[
        bool,
        typer.Option(
            "--interactive", help="Write the page to explore by hand, with the mouse, in place of the report."
        ),
    ] = False,
    umap: Annotated[bool, typer.Option("--umap", help="Add a UMAP projection to the PCA.")] = False,
) -> None:
    """Write the story of a model on a data set as one HTML file that needs no notebook and no network.

    With --interactive a page to explore by hand: hovering over a pixel shows what it is similar to, sliders scale the
    offsets, all computed in the browser.
    """
    import tempfile

    from offseg_viz.export.page import MOST_IMAGES, write_interactive
    from offseg_viz.extract.extract import extract_many
    from offseg_viz.report import write_report

    if interactive and umap:
        raise DataError("found both --interactive and --umap; the page to explore has no projection: give one of them")
    fewest, most, usual = (1, MOST_IMAGES, 4) if interactive else (2, None, 24)
    limit = usual if limit is None else limit
    if limit < fewest or most is not None and limit > most:
        needed = f"1 to {most} for a page to explore" if most else "2 or more"
        raise DataError(f"--limit is {limit}; needed {needed}")
    network, samples = model_and_samples(model, weights, data, split, root)
    samples = samples[:: -(-len(samples) // limit)]  # neighbours in a video show the same street
    title = f"{network.name} on {data}" + (f" {split}" if samples.classes else "")
    with tempfile.TemporaryDirectory() as folder:
        records = extract_many(network, samples, Path(folder) / "records.zarr")
        if interactive:
            with console.status("compressing and writing"):
                write_interactive(records, out, title=title)
            typer.echo(f"page: {out}")
            return
        with console.status("analysing and drawing"):
            command = " ".join(("offseg-viz", *without_paths(sys.argv[1:])))
            write_report(records, out, title=title, umap=umap, command=command)
    typer.echo(f"report: {out}")
