"""Verdicts and guesses: right, empty, transposed, typical mistakes, and nothing of the solution."""

import re

import numpy as np
import pytest
import torch
import xarray as xr

from offseg_viz.course import Guess, Verdict
from offseg_viz.course.verdict import compare
from offseg_viz.errors import RecordError

TRUTH = np.arange(6.0).reshape(2, 3)


def verdict(answer, **options):
    return compare(answer, TRUTH, praise="well done", what="the matrix", **options)


def test_a_right_answer_of_any_kind_passes():
    for answer in (TRUTH, TRUTH.tolist(), xr.DataArray(TRUTH, dims=("a", "b")), TRUTH.astype(np.float32) + 1e-6):
        assert verdict(answer) and repr(verdict(answer)) == "right: well done"
    assert compare(3, 3, praise="three")
    assert repr(compare(6, 3, praise="three", what="it")) == "not yet: it is not the right number"
    assert verdict(torch.tensor(TRUTH, requires_grad=True) * 1)


def test_a_rounded_answer_is_told():
    truth = np.array([0.0831, 0.5641, 2.0317])
    for digits in (1, 2, 3):
        told = compare(truth.astype(np.float32).round(digits), truth, praise="yes", what="it", atol=1e-5)
        assert repr(told) == f"not yet: it seems rounded to {digits} digits behind the point: give all of them"
    assert "seems rounded to 2" in compare(0.56, truth[1], praise="yes").text
    assert "seems rounded" not in compare(0.6, truth[1], praise="yes").text
    assert "seems rounded" not in compare(0 * truth[:1], truth[:1], praise="yes").text


@pytest.mark.parametrize(
    ("answer", "diagnosis"),
    [
        (..., "still empty"),
        (None, "still empty"),
        (lambda: TRUTH, "is a function"),
        ("six", "needed a number"),
        (TRUTH.T, r"shape \(3, 2\), needed \(2, 3\): it is transposed"),
        (TRUTH[0], r"shape \(3,\), needed \(2, 3\)"),
        (np.where(TRUTH == 3, np.nan, TRUTH), "1 entries that are no number"),
        (3 * TRUTH, "constant factor"),
        (1.001 * TRUTH, "^the matrix has the right shape but not the right values"),
        (-TRUTH, "^the matrix has the right shape but not the right values"),
        (TRUTH + 1, "you added one"),
        (TRUTH - 0.0321, "^the matrix has the right shape but not the right values"),
        (TRUTH + 0.01, "^the matrix has the right shape but not the right values"),
    ],
)
def test_a_wrong_answer_gets_a_diagnosis(answer, diagnosis):
    found = verdict(answer, wrong={"you added one": TRUTH + 1, "the same": TRUTH})
    assert not found and not found.passed

    assert re.search(diagnosis, found.text) and "well done" not in repr(found)


def test_square_matrices_can_be_transposed_too():
    square = np.arange(4.0).reshape(2, 2)
    assert "is transposed" in compare(square.T, square, praise="").text


def test_a_verdict_is_escaped():
    assert "<b>" not in Verdict(False, "<b>")._repr_html_()


def test_a_guess_is_locked_once():
    guess = Guess("wider or <b>narrower</b>?", ["wider", "narrower"])
    assert repr(guess) == "Guess: wider or <b>narrower</b>?\n  ( ) wider\n  ( ) narrower"
    assert "<b>narrower</b>" not in guess.children[0].value.replace("<b>wider or", "")
    guess._radio.value = "narrower"
    guess._button.click()
    guess.lock("wider")
    assert guess.choice == "narrower" and guess._radio.disabled
    assert repr(guess).endswith("(x) narrower")
    assert guess._repr_mimebundle_()["text/plain"] == repr(guess)
    with pytest.raises(RecordError, match="needed one of wider, narrower"):
        guess.lock("neither")
    with pytest.raises(RecordError, match="two or more"):
        Guess("only one?", ["yes"])
