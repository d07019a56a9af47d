"""The networks: ``offseg-viz models``, ``offseg-viz convert``."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from offseg_viz.cli import app
from offseg_viz.cli.options import console, parse_size


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
