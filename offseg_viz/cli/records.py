"""Records and the report: ``offseg-viz extract``, ``offseg-viz report``."""

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
    without_paths,
)


@app.command()
def extract(
    data: DataName,
    out: Annotated[Path, typer.Option(help="Zarr store to write, one group an image; a stopped run goes on.")],
    model: ModelOfWeights = None,
    weights: Weights = None,
    root: Root = None,
    split: Split = "val",
    limit: Limit = None,
) -> None:
    """Write the AlignmentRecords of images: features and class embeddings before and after the refinement."""
    from offseg_viz.extract.extract import extract_many

    network, samples = model_and_samples(model, weights, data, split, root)
    store = extract_many(network, samples[:limit], out)
    typer.echo(f"{len(store)} records in {out}")


@app.command()
def report(
    data: DataName,
    out: Annotated[Path, typer.Option(help="HTML file to write; everything is inside it.")],
    model: ModelOfWeights = None,
    weights: Weights = None,
    root: Root = None,
    split: Split = "val",
    limit: Annotated[int, typer.Option(min=2, help="Images to analyse, evenly spaced through the split.")] = 24,
    umap: Annotated[bool, typer.Option("--umap", help="Add a UMAP projection to the PCA.")] = False,
) -> None:
    """Write the story of a model on a data set as one HTML file that needs no notebook and no network."""
    import tempfile

    from offseg_viz.extract.extract import extract_many
    from offseg_viz.report import write_report

    network, samples = model_and_samples(model, weights, data, split, root)
    samples = samples[:: -(-len(samples) // limit)]  # neighbours in a video show the same street
    title = f"{network.name} on {data}" + (f" {split}" if samples.classes else "")
    with tempfile.TemporaryDirectory() as folder:
        records = extract_many(network, samples, Path(folder) / "records.zarr")
        with console.status("analysing and drawing"):
            command = " ".join(("offseg-viz", *without_paths(sys.argv[1:])))
            write_report(records, out, title=title, umap=umap, command=command)
    typer.echo(f"report: {out}")
