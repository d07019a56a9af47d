"""What a check says of an answer: right, or not yet with a diagnosis, never the solution."""

from collections.abc import Mapping
from html import escape

import numpy as np


class Verdict:
    """The outcome of a check; Jupyter shows it, nbval compares its text.

    Attributes
    ----------
    passed : bool
    text : str
        What was found: for a right answer what follows from it, else what a likely mistake is.
    """

    def __init__(self, passed: bool, text: str):
        self.passed, self.text = passed, text

    def __repr__(self) -> str:
        return f"{'right' if self.passed else 'not yet'}: {self.text}"

    def _repr_html_(self) -> str:
        color, mark = ("#1c5a96", "✓") if self.passed else ("#b8571b", "…")
        style = f"border-left:3px solid {color};padding:3px 10px;margin:4px 0;display:inline-block"
        return f'<div style="{style}">{mark} {escape(repr(self))}</div>'

    def __bool__(self) -> bool:
        return self.passed


def compare(
    answer,
    truth,
    *,
    wrong: Mapping[str, object] | None = None,
    praise: str,
    what: str = "the answer",
    atol: float = 1e-4,
) -> Verdict:
    """Compare an answer with what it should be, and with what typical mistakes give.

    Parameters
    ----------
    answer : what the student has; ``...`` or None for nothing yet. Numbers, arrays, DataArrays and tensors.
    truth : number or array (any shape).
    wrong : diagnosis to the value that the mistake gives; the first that equals the answer and not the truth is told.
    praise : what a right answer shows, in a sentence.
    what : how the answer is called in a diagnosis.
    atol : largest difference, as a part of the largest absolute value of `truth`.

    Returns
    -------
    Verdict
        Of an answer of another shape the shapes are told, and where it is that of the transposed truth, that.
    """
    if answer is ... or answer is None:
        hint = "" if answer is ... else ", or see that the function returns something"
        return Verdict(False, f"{what} is still empty: replace the ... by your own code{hint}")
    if callable(answer):
        return Verdict(False, f"{what} is a function; needed its result: call it")
    try:
        plain = answer.detach().cpu() if hasattr(answer, "detach") else answer  # of a tensor that has a gradient
        found = np.asarray(plain, dtype=np.float64)
    except (TypeError, ValueError):
        return Verdict(False, f"{what} is {type(answer).__name__}; needed a number or an array of numbers")
    needed = np.asarray(truth, dtype=np.float64)
    if found.shape != needed.shape:
        wanted = needed.shape if needed.ndim else "a single number"
        shapes = f"{what} has shape {found.shape}, needed {wanted}"
        if found.ndim >= 2 and found.shape == needed.shape[::-1]:
            return Verdict(False, f"{shapes}: it is transposed")
        return Verdict(False, shapes)
    if _equal(found, needed, atol):
        return Verdict(True, praise)
    for diagnosis, value in (wrong or {}).items():
        value = np.asarray(value, dtype=np.float64)
        if value.shape == found.shape and _equal(found, value, atol) and not _equal(value, needed, atol):
            return Verdict(False, diagnosis)
    if digits := _rounded_to(found, needed):
        return Verdict(False, f"{what} seems rounded to {digits} digits behind the point: give all of them")
    if needed.ndim == 2 and found.shape == found.shape[::-1] and _equal(found.T, needed, atol):
        return Verdict(False, f"{what} is transposed")
    missing = int(np.isnan(found).sum() - np.isnan(needed).sum())
    if missing > 0:
        holes = f"{missing} entries that are" if found.ndim else "a value that is"
        return Verdict(
            False, f"{what} has {holes} no number (NaN): is something divided by zero, or a mean taken over nothing?"
        )
    if np.size(found) and _proportional(found, needed):
        return Verdict(
            False, f"{what} is right but for a constant factor: is something not normalised, or summed twice?"
        )
    if found.ndim == 0:
        return Verdict(False, f"{what} is not the right number")
    return Verdict(False, f"{what} has the right shape but not the right values")


def _equal(one: np.ndarray, other: np.ndarray, atol: float) -> bool:
    scale = float(np.abs(other[np.isfinite(other)]).max(initial=0)) or 1.0
    return bool(np.allclose(one, other, rtol=0, atol=atol * scale, equal_nan=True))


def _rounded_to(found: np.ndarray, needed: np.ndarray) -> int:
    """How many digits an answer has behind the point, where it is the right one with fewer than five; else 0.

    One digit of a single number says too little: a wrong one may have it too.
    """
    finite = np.isfinite(needed)
    scale = np.abs(needed[finite]).max(initial=0)
    for digits in range(1 if needed.ndim else 2, 5):
        step, off = 10.0**-digits, np.abs(found - needed)[finite]
        is_round = np.allclose(found, found.round(digits), rtol=0, atol=1e-3 * step, equal_nan=True)
        if is_round and step <= 0.2 * scale and (off <= 0.501 * step).all():
            return digits
    return 0


def _proportional(one: np.ndarray, other: np.ndarray) -> bool:
    one, other = one[np.isfinite(one) & np.isfinite(other)], other[np.isfinite(one) & np.isfinite(other)]
    lengths = np.linalg.norm(one), np.linalg.norm(other)
    if one.size < 2 or not min(lengths) or abs(lengths[0] / lengths[1] - 1) < 0.01:  # a rounded answer is no factor off
        return False
    return bool(one.ravel() @ other.ravel() > (1 - 1e-9) * lengths[0] * lengths[1])
