"""Checks of notebook 00: the score of one class at one pixel, and how far the features of a class move."""

from collections.abc import Callable, Iterable
from typing import NamedTuple, Self

import numpy as np
import xarray as xr

from offseg_viz.analyze.align import logits, prediction
from offseg_viz.analyze.offsets import offset_magnitude
from offseg_viz.course.verdict import Verdict, compare

ROW, COLUMN, SCORED = 3, 4, "sky"
MOVED = ("road", "pole", "trunk", "lane marking")


def check_score(answer: float, record: xr.Dataset) -> Verdict:
    """The score of `sky` in row 3, column 4 of the grid, with both offsets: (E + dE) (W + dW)^T, before the LayerNorm.

    It tells an offset that was left out, a cosine similarity or a logit in place of the score, row and column
    exchanged, and a cell counted from one.
    """
    here, there, before = (record.isel(y=y, x=x) for y, x in ((ROW, COLUMN), (COLUMN, ROW), (ROW - 1, COLUMN - 1)))
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
            f"this is row {ROW - 1}, column {COLUMN - 1}: rows and columns are counted from 0": (
                (before["feature"] + before["feature_offset"]) @ (w + dw)
            ),
        },
        praise=f"E W + E dW + dE W + dE dW = {terms} = {truth:+.1f}",
        what="the score",
        atol=1e-3,
    )


def check_mean_move(answer: Callable[[Iterable[xr.Dataset], str], float], records: Iterable[xr.Dataset]) -> Verdict:
    """A function of (records, class name): the mean of |dE| / |E| over all cells of a class by label, in all records.

    It tells a mean of the means of images, the absolute length of dE, a quotient of two sums, a median, a mean over all
    cells, over the other cells, or with the other cells as zeros, cells chosen by the prediction in place of the label,
    an empty mask, the first record alone, and a function that does not use what it is given; and of an answer that
    raises, what it raised.
    """
    if answer is ... or answer is None:
        return compare(answer, 0.0, praise="", what="mean_move")
    if not callable(answer):
        return Verdict(False, "mean_move is a result; needed the function itself: def mean_move(records, cls)")
    records, found = list(records), {}
    maps = [_Maps.of(record) for record in records]
    for cls in MOVED:
        value, stopped = _called(answer, records, cls)
        verdict = _check_one(value, maps, cls) if stopped is None else stopped
        if not verdict:
            return verdict
        found[cls] = float(value)
    verdict = _check_with_fewer(answer, records, maps)
    if not verdict:
        return verdict
    told = ", ".join(f"{cls} {value:.2f}" for cls, value in found.items())
    return Verdict(True, f"{told}: the three thin things move further than the road")


class _Maps(NamedTuple):
    """What the answers to the second exercise are made of, for one record."""

    label: np.ndarray
    predicted: np.ndarray
    length: np.ndarray
    relative: np.ndarray
    names: list[str]

    @classmethod
    def of(cls, record: xr.Dataset) -> Self:
        length, relative = (offset_magnitude(record, "feature", relative=part).values for part in (False, True))
        return cls(record["label"].values, prediction(record).values, length, relative, list(record["cls"].values))

    def own(self, cls: str, which: str = "relative", by: str = "label") -> np.ndarray:
        """The values in the cells of a class."""
        return getattr(self, which)[getattr(self, by) == self.names.index(cls)]


def _called(answer: Callable, records: list[xr.Dataset], cls: str) -> tuple[object, Verdict | None]:
    """What the student's function returns, or a verdict on what it raised."""
    try:
        return answer(list(records), cls), None
    except Exception as problem:  # whatever a student's code may raise
        return None, Verdict(False, f"mean_move(records, {cls!r}) stopped with {type(problem).__name__}: {problem}")


def _check_with_fewer(answer: Callable, records: list[xr.Dataset], maps: list[_Maps]) -> Verdict:
    """A second call, with one image less: a function that uses other records than it is given is found out."""
    for cls in MOVED:
        kept = [number for number, each in enumerate(maps) if each.own(cls).size][1:]
        if kept:
            whole, part = (_mean([each.own(cls) for each in some]) for some in (maps, [maps[n] for n in kept]))
            if abs(part - whole) > 0.002 * whole:
                break
    else:
        return Verdict(True, "")
    value, stopped = _called(answer, [records[number] for number in kept], cls)
    if stopped is not None:
        return stopped
    return compare(
        value,
        part,
        wrong={"of fewer records it says the same: use the argument, not a list from outside the function": whole},
        praise="",
        what=f"mean_move of fewer records, {cls!r},",
        atol=1e-3,
    )


def _check_one(value, maps: list[_Maps], cls: str) -> Verdict:
    what, own = f"mean_move(records, {cls!r})", [each.own(cls) for each in maps]
    if np.shape(value) == () and isinstance(value, float | np.floating | np.ndarray | xr.DataArray) and np.isnan(value):
        return Verdict(
            False,
            f"{what} is NaN, as a mean over no cells is: an image without the class, or a label compared with a name?",
        )
    lengths, joined = np.concatenate([each.own(cls, "length") for each in maps]), np.concatenate(own)
    everywhere = np.concatenate([each.relative.ravel() for each in maps])
    of_feature = lengths[joined > 0] / joined[joined > 0]
    wrong = {
        "every image counts the same here, however many cells of the class it has; put all cells together": np.mean(
            [move.mean() for move in own if move.size]
        ),
        "this is the length of dE itself; needed is the length relative to that of E": lengths.mean(),
        "this is all length of dE over all length of E; divide in every cell first, then take the mean": (
            lengths.sum() / of_feature.sum()
        ),
        "this is the median; needed the mean": np.median(joined),
        "this is the mean over all cells, whatever their class": everywhere.mean(),
        f"these are the cells that are not {cls}": (everywhere.sum() - joined.sum()) / (everywhere.size - joined.size),
        "cells of other classes are counted as 0 here; leave them out": joined.sum() / everywhere.size,
        "you chose the cells by the prediction; the label says what is really there": _mean(
            [each.own(cls, by="predicted") for each in maps]
        ),
        "this is the first image alone": _mean(own[:1]),
        "this is the sum over the cells; needed their mean": joined.sum(),
    }
    wrong |= {
        f"this is what holds for {other}: does the function use its argument cls?": _mean(
            [each.own(other) for each in maps]
        )
        for other in MOVED
        if other != cls
    }
    return compare(value, _mean(own), wrong=wrong, praise="", what=what, atol=1e-3)


def _mean(parts: list[np.ndarray]) -> float:
    joined = np.concatenate(parts)
    return float(joined.mean()) if joined.size else float("nan")
