"""A matplotlib figure that knows its own summary and is shown exactly once."""

from io import BytesIO

from matplotlib.figure import Figure

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
        """The figure as the bytes of a PNG file; the same figure gives the same bytes."""
        buffer = BytesIO()
        self.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
        return buffer.getvalue()

    def _repr_png_(self) -> bytes:
        return self.png()
