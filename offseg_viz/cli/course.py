"""The course as a folder: ``offseg-viz course``."""

from pathlib import Path
from typing import Annotated

import typer

from offseg_viz.cli import app


@app.command()
def course(
    out: Annotated[Path, typer.Option(help="Folder to write into; made where it is missing.")],
    slides: Annotated[bool, typer.Option("--slides/--no-slides", help="Make slides.html.")] = True,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there with another content.")] = False,
) -> None:
    """Write what a course needs: notebooks, exercises, a plan of two sessions (COURSE.md) and slides."""
    from offseg_viz.course.writing import write_course

    files = write_course(out, slides=slides, force=force)
    for kind, where in {"notebooks with answers": "notebooks", "notebooks for students": "exercises"}.items():
        typer.echo(f"{sum(path.parent.name == where for path in files)} {kind} in {out / where}")
    for path in files:
        if path.parent == out:
            typer.echo(f"{path}")
