"""The command line.

``offseg-viz train | evaluate | recipes | data | extract | report | models | scenes | convert | course``
"""

import typer
from rich.markup import escape

from offseg_viz.cli.options import console
from offseg_viz.errors import OffsegVizError

app = typer.Typer(
    help="See, measure and teach feature / class alignment in segmentation (offset learning, arXiv 2508.08811).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line; an error that we foresaw is one line, without a traceback."""
    try:
        app()
    except OffsegVizError as error:
        console.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        raise SystemExit(2) from None
    except KeyboardInterrupt as stop:
        console.print(str(stop) or "stopped", highlight=False, soft_wrap=True)
        raise SystemExit(130) from None


from offseg_viz.cli import course, data, networks, records, training  # noqa: E402, F401  (each adds its commands to `app`)
