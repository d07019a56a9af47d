"""The command line: ``offseg-viz train | evaluate | extract | report | models | scenes | convert``."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from offseg_viz.errors import ModelError, OffsegVizError

app = typer.Typer(
    help="See, measure and teach feature / class alignment in segmentation (offset learning, arXiv 2508.08811).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console(stderr=True)

ModelName = Annotated[str, typer.Option(help="Network, one of those that `offseg-viz models` lists.")]
ModelOfWeights = Annotated[
    str | None,
    typer.Option("--model", help="Network, as `offseg-viz models` lists them. Default: that of the file WEIGHTS."),
]
DataName = Annotated[
    str,
    typer.Option(help="Data set: scenes (generated, nothing to download), camvid, or photographs (of your own)."),
]
Root = Annotated[Path | None, typer.Option(help="Folder of camvid or of the photographs; scenes need none.")]
Split = Annotated[str, typer.Option(help="Part of the data set: train, val or test.")]
Weights = Annotated[
    str | None,
    typer.Option(
        help="A .safetensors or .ckpt file, or the name of bundled weights. Default: the bundled ones of the data set."
    ),
]
Workers = Annotated[int, typer.Option(help="Processes that read and augment images; 0 does it in the main process.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Use only the first LIMIT images.")]


@app.command()
def train(
    model: ModelName,
    data: DataName,
    out: Annotated[Path, typer.Option(help="Folder of the run: weights, checkpoint to resume from, log, recipe.")],
    root: Root = None,
    validate_on: Annotated[str, typer.Option(help="Split to measure after training, or 'none'.")] = "val",
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=2, help="Crops a step.")] = None,
    crop: Annotated[str | None, typer.Option(help="Crop as HEIGHTxWIDTH, such as 256x320.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of the backbone; the head's is larger.")] = None,
    head_multiplier: Annotated[
        float | None, typer.Option(help="Learning rate of the head over the backbone's.")
    ] = None,
    weight_decay: Annotated[float | None, typer.Option(help="AdamW's, on weights; norms and biases have none.")] = None,
    warmup_steps: Annotated[int | None, typer.Option(min=0, help="Steps of linear warm-up.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, order and augmentation.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in OUT from its last checkpoint.")
    ] = False,
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 250,
    workers: Workers = 2,
) -> None:
    """Train a network from scratch. What is not given comes from the recipe of the model and the data set."""
    from offseg_viz.data import load_samples
    from offseg_viz.pipeline.recipes import recipe as find_recipe
    from offseg_viz.pipeline.train import train as run

    chosen = find_recipe(
        model,
        data,
        steps=steps,
        batch_size=batch_size,
        crop=parse_size(crop) if crop else None,
        learning_rate=learning_rate,
        head_multiplier=head_multiplier,
        weight_decay=weight_decay,
        warmup_steps=warmup_steps,
        seed=seed,
    )
    validation = None if validate_on == "none" else load_samples(data, split=validate_on, root=root)
    if data == "scenes":
        from offseg_viz.data.scenes import cache_scenes

        cache_scenes()
    run(
        chosen,
        load_samples(data, split="train", root=root),
        out,
        validation=validation,
        resume=resume,
        workers=workers,
        checkpoint_every=checkpoint_every,
        command=("offseg-viz", *without_paths(sys.argv[1:])),
    )
    console.print(f"weights: {out / 'model.safetensors'}")


@app.command()
def evaluate(
    data: DataName,
    model: ModelOfWeights = None,
    weights: Weights = None,
    root: Root = None,
    split: Split = "val",
    limit: Limit = None,
    out: Annotated[Path | None, typer.Option(help="Also write the table as CSV.")] = None,
    workers: Workers = 2,
) -> None:
    """Measure mIoU, IoU of every class, mAcc and aAcc of a network on a labelled data set."""
    from offseg_viz.pipeline.evaluate import evaluate as run

    network, samples = model_and_samples(model, weights, data, split, root)
    result = run(network, samples[:limit], workers=workers)
    table = Table("class", "IoU", "accuracy", title=f"{network.name} on {data} {split}, {result.images} images")
    for name, row in result.classes.iterrows():
        table.add_row(str(name), f"{100 * row.iou:.1f}", f"{100 * row.accuracy:.1f}")
    Console().print(table)
    typer.echo(
        f"mIoU {100 * result.miou:.2f}  mAcc {100 * result.macc:.2f}  aAcc {100 * result.aacc:.2f}  "
        f"({result.images} images, {result.seconds:.1f} s)"
    )
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        result.classes.to_csv(out)


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


@app.command()
def models(
    num_classes: Annotated[int, typer.Option(min=1, help="Classes to count for; Cityscapes has 19.")] = 150,
    size: Annotated[str, typer.Option(help="Input as HEIGHTxWIDTH; 1024x2048 for Cityscapes.")] = "512x512",
) -> None:
    """List the networks with their parameters and multiply-adds, beside the paper's figures."""
    from offseg_viz.models.cost import HEADINGS, available_models, shown_figures

    with console.status("counting"):
        table = available_models(num_classes, size=parse_size(size))
    notes = [remark for remark in dict.fromkeys(table.remark) if remark]
    shown = Table(title=f"{num_classes} classes, {size.lower()}; parameters in millions, multiply-adds in billions")
    shown.add_column("name", no_wrap=True)
    for heading in (*HEADINGS.values(), "gain", "note"):
        shown.add_column(heading.replace(" ", "\n", 1), justify="right", no_wrap=True)
    for name, row in table.iterrows():
        gain = "" if row.paper_gain_ade20k != row.paper_gain_ade20k else f"{row.paper_gain_ade20k:.1f}"
        shown.add_row(str(name), *shown_figures(row), gain, str(notes.index(row.remark) + 1) if row.remark else "")
    Console(width=max(Console().width, 140)).print(shown)  # in a narrow place lines wrap, but no figure is cut
    typer.echo(
        "published: with the 1x1 convolution that the release keeps unused, and with the equations as they are "
        "written; paper: arXiv 2508.08811, tables 2 to 5; gain: mIoU on ADE20K by offset learning, in the paper"
    )
    for count, remark in enumerate(notes, start=1):
        typer.echo(f"{count}: {remark}")


@app.command()
def scenes(
    out: Annotated[Path, typer.Option(help="Folder to write images/ and labels/ into.")],
    count: Annotated[int, typer.Option(min=1, help="Number of scenes.")] = 24,
    size: Annotated[str, typer.Option(help="HEIGHTxWIDTH in pixels.")] = "256x384",
    first_seed: Annotated[int, typer.Option(min=0, help="Seed of the first scene; the next ones follow.")] = 0,
) -> None:
    """Write generated street and park scenes with their label maps as PNG files."""
    from offseg_viz.data.scenes import write_scenes

    write_scenes(out, count=count, size=parse_size(size), first_seed=first_seed)
    typer.echo(f"{count} scenes in {out}")


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Checkpoint of the OffSeg release, a .pth file.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File of ours to write; ends in .safetensors.")],
    model: Annotated[str | None, typer.Option(help="Network. Default: told from the tensors.")] = None,
    classes: Annotated[
        str | None, typer.Option(help="Class list, such as ade20k. Default: the file's, else by the number of classes.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over OUT.")] = False,
) -> None:
    """Make a checkpoint of the OffSeg release into a file of ours; nothing in it is executed."""
    from offseg_viz.models.official.conversion import convert as run

    done = run(source, out, model=model, classes=classes, force=force)
    ignored = [f"{count} ignored ({reason})" for reason, count in done.ignored.items()]
    typer.echo(f"network: {done.model}")
    first = ", ".join(done.classes.names[:3])
    typer.echo(f"classes: {len(done.classes)} ({first}, ...), names from {done.class_source}")
    typer.echo(f"tensors: {', '.join([f'{done.used} used', *ignored])}")
    for key, value in done.origin.items():
        typer.echo(f"{key}: {value}")
    typer.echo(f"weights: {out}")
    typer.echo(
        f"look at them: offseg-viz report --weights {out} --data photographs --root FOLDER_OF_IMAGES --out report.html"
    )


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


def main() -> None:
    """Run the command line; an error that we foresaw is one line, without a traceback."""
    try:
        app()
    except OffsegVizError as error:
        console.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
