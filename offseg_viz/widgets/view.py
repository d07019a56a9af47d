"""What all explorers share: three lives (widget, still picture, text), errors that are seen, and an end."""

from collections.abc import Callable, Iterator
from functools import wraps
from html import escape

import ipywidgets


class View(ipywidgets.VBox):
    """A live view with a still picture and a text of the same state, which shows its errors and can be closed.

    Jupyter stores all three: the widget where a kernel runs, the picture for a code host or a static page, the text for
    reading aloud and for `pytest --nbval`. A subclass gives `summary`, `still` and `_release`, wraps what it does on a
    change in `shown_errors`, and sets `_ready` at the end of its `__init__`.

    Parameters
    ----------
    parts : what is shown, from top to bottom; a line for errors follows.
    """

    _ready = False

    def __init__(self, parts: list[ipywidgets.Widget]):
        self._problem = ipywidgets.HTML()
        self._problem.layout.display = "none"
        super().__init__(children=[*parts, self._problem])

    @property
    def summary(self) -> str:
        """The state in a few lines of text, rounded: what nbval compares."""
        raise NotImplementedError

    def still(self) -> bytes:
        """The view as it is now, as the bytes of a PNG file."""
        raise NotImplementedError

    def _release(self) -> None:
        """Let go of records and everything made of them."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the view with all its parts and free the records that it holds; it cannot be shown again."""
        if self._ready:
            self._ready = False
            for part in list(_parts(self)):
                part.close()
            self._release()
        super().close()

    def __repr__(self) -> str:
        return self.summary if self._ready else type(self).__name__

    def _repr_mimebundle_(self, **kwargs) -> dict:
        bundle = super()._repr_mimebundle_(**kwargs) or {}
        return bundle | {"image/png": self.still(), "text/plain": self.summary}

    def _show_problem(self, problem: Exception | None) -> None:
        text = "" if problem is None else escape(f"{type(problem).__name__}: {problem}")
        style = "border-left:3px solid #b8571b;padding:2px 8px;margin:6px 0;white-space:pre-wrap"
        self._problem.value = text and f'<div class="offseg-problem" role="alert" style="{style}">{text}</div>'
        self._problem.layout.display = None if text else "none"


def shown_errors(method: Callable) -> Callable:
    """Show in the view what `method` raises, and raise it: in a browser nobody would see it, from code one should."""

    @wraps(method)
    def run(self, *args):
        try:
            result = method(self, *args)
        except Exception as problem:
            self._show_problem(problem)
            raise
        self._show_problem(None)
        return result

    return run


def _parts(widget: ipywidgets.Widget) -> Iterator[ipywidgets.Widget]:
    """All widgets that `widget` is made of, layouts and styles too."""
    for name in widget.keys:
        value = getattr(widget, name)
        for part in value if isinstance(value, list | tuple) else [value]:
            if isinstance(part, ipywidgets.Widget):
                yield part
                yield from _parts(part)
