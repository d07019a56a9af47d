"""Figures inside the page: stills as PNG data, charts with plotly.js once, all with an alternative text."""

import base64
from html import escape

from offseg_viz.plot import StaticFigure

_FIGURE_DPI = 96


class Charts:
    """Turns plotly figures into HTML; the first one brings plotly.js."""

    def __init__(self):
        self._count = 0

    def __call__(self, figure, *, alt: str, caption: str) -> str:
        self._count += 1
        chart = figure.to_html(
            full_html=False,
            include_plotlyjs=self._count == 1,
            include_mathjax=False,
            div_id=f"chart-{self._count}",
            config={"displaylogo": False, "responsive": True},
        )
        return (
            f'<figure role="group" aria-label="{escape(alt)}"><div class="chart">{chart}</div>'
            f"<figcaption>{caption}</figcaption></figure>"
        )


def picture(figure: StaticFigure, caption: str) -> str:
    """A still figure with its summary as the alternative text; `caption` is HTML."""
    data = base64.b64encode(figure.png(dpi=_FIGURE_DPI)).decode()
    return (
        f'<figure><img alt="{escape(figure.summary)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )
