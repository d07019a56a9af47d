"""Checks of notebook 00: the score of one class at one pixel, and how far the features of a class move."""

from collections.abc import Callable, Iterable

import numpy as np
import xarray as xr

from offseg_viz.analyze.align import logits, prediction
from offseg_viz.analyze.offsets import offset_magnitude
from offseg_viz.course.verdict import Verdict, compare

ROW, COLUMN, SCORED = 3, 4, "sky"
MOVED = ("road", "trunk", "lane marking")


def check_score(answer: float, record: xr.Dataset) -> Verdict:
    """The score of `sky` in row 3, column 4 of the grid, with both offsets: (E + dE) (W + dW)^T, before the LayerNorm.

    It tells an offset that was left out, a cosine similarity or a logit in place of the score, and row and column
    exchanged.
    """
    here, there = (record.isel(y=y, x=x) for y, x in ((ROW, COLUMN), (COLUMN, ROW)))
    cls = record.sel(cls=SCORED)
    w, dw, e, de = cls["class_embedding"], cls["class_offset"], here["feature"], here["feature_offset"]
    truth = float((e + de) @ (w + dw))
    terms = " ".join(f"{float(term):+.1f}" for term in (e @ w, e @ dw, de @ w, de @ dw))
    return compare(
        answer,
        truth,
        wrong={
            "you left out both offsets: this is the initial score": e @ w,
            "you moved the feature only; the class embedding has an offset too": (e + de) @ w,
            "you moved the class embedding only; the feature has an offset too": e @ (w + dw),
            "the products of an offset with an offset, or the crossed ones, are missing: add first, then multiply": e
            @ w
            + de @ dw,
            "this is the cosine similarity; the score is the dot product, not divided by the lengths": truth
            / float(np.linalg.norm(e + de) * np.linalg.norm(w + dw)),
            "this is the logit, after the LayerNorm over classes; the score is what goes into it": logits(record)
            .sel(cls=SCORED)
            .isel(y=ROW, x=COLUMN),
            "row and column are exchanged: y counts rows, x columns": (there["feature"] + there["feature_offset"])
            @ (w + dw),
        },
        praise=f"E W + E dW + dE W + dE dW = {terms} = {truth:+.1f}",
        what="the score",
        atol=1e-3,
    )


def check_mean_move(answer: Callable[[Iterable[xr.Dataset], str], float], records: Iterable[xr.Dataset]) -> Verdict:
    """A function of (records, class name): the mean of |dE| / |E| over all cells of a class by label, in all records.

    It tells a mean of the means of images, the absolute length of dE, a mean over all cells, cells chosen by the
    prediction in place of the label, and the first record alone; and of an answer that raises, what it raised.
    """
    if answer is ... or answer is None:
        return compare(answer, 0.0, praise="", what="mean_move")
    if not callable(answer):
        return Verdict(False, "mean_move is a result; needed the function itself: def mean_move(records, cls)")
    records, found = list(records), {}
    for cls in MOVED:
        try:
            value = answer(records, cls)
        except Exception as problem:  # whatever a student's code may raise
            return Verdict(False, f"mean_move(records, {cls!r}) stopped with {type(problem).__name__}: {problem}")
        verdict = _check_one(value, records, cls)
        if not verdict:
            return verdict
        found[cls] = float(value)
    told = ", ".join(f"{cls} {value:.2f}" for cls, value in found.items())
    return Verdict(True, f"{told}: the two thin things move further than the road")


def _check_one(value, records: list[xr.Dataset], cls: str) -> Verdict:
    number = list(records[0]["cls"].values).index(cls)
    labelled = [record["label"].values == number for record in records]
    relative = [offset_magnitude(record, "feature", relative=True).values for record in records]
    absolute = [offset_magnitude(record, "feature").values for record in records]
    predicted = [prediction(record).values == number for record in records]
    own = [move[cells] for move, cells in zip(relative, labelled)]
    return compare(
        value,
        _mean(own),
        wrong={
            "every image counts the same here, however many cells of the class it has; put all cells together": np.mean(
                [move.mean() for move in own if move.size]
            ),
            "this is the length of dE itself; needed is the length relative to that of E": _mean(
                [move[cells] for move, cells in zip(absolute, labelled)]
            ),
            "this is the mean over all cells, whatever their class": _mean([move.ravel() for move in relative]),
            "you chose the cells by the prediction; the label says what is really there": _mean(
                [move[cells] for move, cells in zip(relative, predicted)]
            ),
            "this is the first image alone": _mean(own[:1]),
        },
        praise="",
        what=f"mean_move(records, {cls!r})",
        atol=1e-3,
    )


def _mean(parts: list[np.ndarray]) -> float:
    joined = np.concatenate(parts)
    return float(joined.mean()) if joined.size else float("nan")
