"""Data sets: ``offseg-viz data check``, ``offseg-viz data get``, ``offseg-viz scenes``."""

from pathlib import Path
from typing import Annotated

import typer

from offseg_viz.cli import app
from offseg_viz.cli.options import parse_size

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
