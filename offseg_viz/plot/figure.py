"""A matplotlib figure that knows its own summary and is shown exactly once."""

from collections.abc import Sequence
from io import BytesIO

from matplotlib.figure import Figure
from PIL import Image

from offseg_viz.plot import theme


class StaticFigure(Figure):
    """A still figure: ``image/png`` for the eye, `summary` as its ``text/plain``.

    It is made without pyplot, so no global list holds it, and nothing shows it a second time at the end of a cell. The
    last expression of a cell shows it; `savefig` writes it. ``repr(figure)`` is the rounded, deterministic summary,
    which Jupyter stores as the text of the output and nbval compares.
    """

    def __init__(self, summary: str, *, figsize: tuple[float, float]):
        self.summary = summary
        super().__init__(figsize=figsize, dpi=theme.DPI, layout="constrained", facecolor="white")

    def __repr__(self) -> str:
        return self.summary

    __str__ = __repr__

    def png(self, *, dpi: int = theme.DPI) -> bytes:
        """The figure as the bytes of a PNG file; the same figure gives the same bytes.

        256 colours, chosen for the figure: a third of the size, so that a notebook full of photographs stays small.
        """
        drawn = BytesIO()
        self.savefig(drawn, format="png", dpi=dpi)
        return _png(Image.open(drawn).convert("RGB"))

    def _repr_png_(self) -> bytes:
        return self.png()


def below_each_other(pictures: Sequence[bytes]) -> bytes:
    """PNG files as one, each below the one before; a single one is returned as it is."""
    if len(pictures) == 1:
        return pictures[0]
    parts = [Image.open(BytesIO(picture)).convert("RGB") for picture in pictures]
    whole = Image.new("RGB", (max(part.width for part in parts), sum(part.height for part in parts)), "white")
    top = 0
    for part in parts:
        whole.paste(part, (0, top))
        top += part.height
    return _png(whole)


def _png(picture: Image.Image) -> bytes:
    file = BytesIO()
    # maximum coverage keeps the rare colours at the ends of a colour bar, which the median cut would lose
    picture.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=1).save(file, "PNG", optimize=True)
    return file.getvalue()
