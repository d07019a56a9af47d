"""Data sets: ``offseg-viz data check``, ``offseg-viz data get``, ``offseg-viz scenes``."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from offseg_viz.cli import app
from offseg_viz.cli.options import parse_size

data = typer.Typer(help="Look at a data set on disk, or get one.", no_args_is_help=True)
app.add_typer(data, name="data")


@data.command()
def check(
    name: Annotated[str, typer.Argument(help="camvid, ade20k, cityscapes, coco_stuff164k, pascal_context, folder ...")],
    root: Annotated[Path | None, typer.Option(help="Folder of the data set; scenes need none.")] = None,
    split: Annotated[list[str] | None, typer.Option(help="Only this part; may be repeated.")] = None,
    out: Annotated[Path | None, typer.Option(help="Also write the table of classes as CSV.")] = None,
) -> None:
    """Open every file of a data set: counts against the published ones, labels, shares of the classes, bad files."""
    from offseg_viz.data.inspection import inspect_data_set

    report = inspect_data_set(name, root, splits=split or None)
    for part in report.splits:
        if not part.class_names:
            continue
        table = Table("value", "class", "pixels", "share, %", "images", title=f"{name} {part.split}")
        for value, (cls, row) in enumerate(part.classes.iterrows()):
            share = f"{100 * row.share:.3f}" if row.share == row.share else ""
            table.add_row(str(value), escape(str(cls)), f"{row.pixels:.0f}", share, f"{row.images:.0f}")
        Console().print(table)
    typer.echo(report.summary())
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        report.classes.to_csv(out)
    if not report.ok:
        raise typer.Exit(1)


@data.command()
def get(
    name: Annotated[str, typer.Argument(help="camvid; of the others you are told where to ask for them.")],
    root: Annotated[Path | None, typer.Option(help="Folder to make. Default: data/NAME.")] = None,
    url: Annotated[str | None, typer.Option(help="Another place of the same archive.")] = None,
    sha256: Annotated[str | None, typer.Option(help="Checksum of the archive, if you know it.")] = None,
) -> None:
    """Download and unpack CamVid; for the others, which ask for a registration, say where to go."""
    from offseg_viz.data.download import CAMVID_URL, get_camvid, how_to_get

    if name != "camvid":
        typer.echo(how_to_get(name))
        return
    folder = get_camvid(root or Path("data/camvid"), url=url or CAMVID_URL, sha256=sha256)
    typer.echo(f"camvid: {folder}")
    typer.echo(f"train on it: offseg-viz train --recipe nano-offset/camvid --root {folder} --out runs/camvid")


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
