"""`Guess`: a question to commit to before the answer is seen."""

import re
from collections.abc import Sequence
from html import escape

import ipywidgets

from offseg_viz.errors import RecordError


class Guess(ipywidgets.VBox):
    """A question with choices and a button that locks the choice; whether it was right the next cells will show.

    Without a kernel, and for nbval, it is its question and choices as text. Nothing is marked: the point is to have
    committed.

    Parameters
    ----------
    question : str
    choices : sequence of two or more str

    Attributes
    ----------
    choice : str or None
        What was locked, None before.
    """

    def __init__(self, question: str, choices: Sequence[str]):
        if isinstance(choices, str) or len(choices) < 2:
            raise RecordError(f"found the choices {choices!r}, needed two or more: a list of texts")
        self.question, self.choices, self.choice = question, tuple(choices), None
        self._radio = ipywidgets.RadioButtons(options=self.choices, value=None, layout={"width": "auto"})
        self._button = ipywidgets.Button(description="lock my guess", disabled=True)
        self._told = ipywidgets.HTML()
        super().__init__([ipywidgets.HTML(f"<b>{_with_code(question)}</b>"), self._radio, self._button, self._told])
        self._radio.observe(self._chosen, names="value")
        self._button.on_click(lambda _: self.lock(self._radio.value))

    def _chosen(self, change) -> None:
        self._button.disabled = change.new is None or self.choice is not None

    def lock(self, choice: str) -> None:
        """Commit to a choice; a second time it stays as it was."""
        if choice not in self.choices:
            raise RecordError(f"found the choice {choice!r}, needed one of {', '.join(self.choices)}")
        if self.choice is None:
            self.choice = self._radio.value = choice
            self._radio.disabled = self._button.disabled = True
            self._told.value = f"Your guess: <b>{escape(choice)}</b>. Run the next cell and compare."

    def __repr__(self) -> str:
        lines = [f"Guess: {self.question}", *(f"  ( ) {choice}" for choice in self.choices)]
        return "\n".join(line.replace("( )", "(x)") if line[6:] == self.choice else line for line in lines)

    def _repr_mimebundle_(self, **kwargs) -> dict:
        return (super()._repr_mimebundle_(**kwargs) or {}) | {"text/plain": repr(self)}


def _with_code(text: str) -> str:
    """Escaped text, with what stands between backticks as code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))
