"""Checks of notebook 01: per-pixel classification, eq. (1) of arXiv 2508.08811, by hand."""

import numpy as np
import xarray as xr

from offseg_viz.course.verdict import Verdict, compare

_MOSTLY = 0.999
"""Share of equal pixels from which two class maps count as the same: rounding may turn near ties."""


def check_pixel_scores(answer, record: xr.Dataset, *, y: int, x: int) -> Verdict:
    """The scores W E^T of one grid cell, (K,): row `y` and column `x` of the feature grid.

    Tells apart: with the bias (logits), cosines, probabilities, row and column exchanged, and the feature of the last
    cell of that row or column.
    """
    embedding = record["class_embedding"].values.astype(np.float64)
    grid = record["feature"].transpose("y", "x", "channel").values.astype(np.float64)
    scores = embedding @ grid[y, x]
    bias = record["logit_bias"].values if "logit_bias" in record else 0
    lengths = np.linalg.norm(embedding, axis=1) * np.linalg.norm(grid[y, x])
    wrong = {
        "these are logits: the scores of eq. (1) are without the bias": scores + bias,
        "these are cosines: eq. (1) has inner products, nothing is divided by a length": scores / lengths,
        "these are probabilities: a softmax comes after the scores, not before": _softmax(scores),
        "these are probabilities: softmax and bias come after the scores": _softmax(scores + bias),
        "you multiplied every entry and did not sum over channels": (embedding * grid[y, x]).mean(axis=1),
    }
    if x < grid.shape[0] and y < grid.shape[1]:
        wrong["row and column are exchanged: isel(y=row, x=column)"] = embedding @ grid[x, y]
    if np.shape(answer) == embedding.shape:
        return Verdict(False, f"found shape {np.shape(answer)}: one number a class and channel; sum over the channels")
    praise = (
        f"one inner product a class. The largest is that of {_name(record, scores.argmax())}, and no other pixel of "
        "the image was needed for it"
    )
    return compare(answer, scores, wrong=wrong, praise=praise, what="pixel_scores")


def check_shifted_rows(score_change, changed_pixels, record: xr.Dataset, *, vector: np.ndarray) -> Verdict:
    """What adding one `vector` to all rows of W changes: the score of a class, (y, x), and the winners, a number.

    Tells apart: the sign, one map for every class, scores in place of their change, a change of the mean only, and
    winners after adding the vector to the features or to one row alone.
    """
    embedding = record["class_embedding"].values.astype(np.float64)
    grid = record["feature"].transpose("y", "x", "channel").values.astype(np.float64)
    bias = record["logit_bias"].values if "logit_bias" in record else 0
    change = grid @ vector  # (y, x)
    if np.ndim(score_change) == 3 and change.size and np.size(score_change) == len(embedding) * change.size:
        return Verdict(False, "score_change holds a map of every class; needed that of one class: select it, (y, x)")
    diagnoses = {
        "score_change has the wrong sign: needed the score afterwards minus the score before": -change,
        "score_change is the mean over all pixels: needed its value at each": np.full(change.shape, change.mean()),
        "score_change is divided by the number of classes: each class gets the whole vector": change / len(embedding),
    }
    for number, row in enumerate(embedding):
        name = _name(record, number)
        diagnoses[f"score_change is the new score of {name} itself: subtract what it was before"] = grid @ (
            row + vector
        )
        diagnoses[f"score_change is the score of {name} as it was before"] = grid @ row
    first = compare(score_change, change, wrong=diagnoses, praise="", what="score_change")
    if not first:
        return first
    before = (grid @ embedding.T + bias).argmax(axis=-1)
    wrong = {
        "changed_pixels counts pixels that keep their class": before.size,
        "changed_pixels is what follows when the vector is added to every feature; it belongs to the rows of W": (
            ((grid + vector) @ embedding.T + bias).argmax(axis=-1) != before
        ).sum(),
        "changed_pixels leaves the bias out on one side of the comparison": (
            (grid @ embedding.T).argmax(axis=-1) != before
        ).sum(),
        "changed_pixels is a share: needed their number": 1.0,
    }
    praise = (
        "the scores of all classes change by the same number at a pixel, v E^T, which is another one at another pixel. "
        "So no winner changes, and no probability: only differences between rows count"
    )
    return compare(changed_pixels, 0, wrong=wrong, praise=praise, what="changed_pixels", atol=0.5)


def check_nearest_by_cosine(function, record: xr.Dataset) -> Verdict:
    """A function of features (P, C) and class embeddings (K, C) that gives the class of the largest cosine, (P,).

    Tells apart: the inner product, the smallest, a length taken over pixels or classes, the cosines themselves, and an
    arg max over pixels. A pixel in a thousand may differ, for near ties.
    """
    if function is ... or (function is not None and not callable(function)):
        return Verdict(False, "nearest_by_cosine is no function; needed the function itself, without brackets")
    feature = record["feature"].values.reshape(-1, record.sizes["channel"]).astype(np.float64)
    embedding = record["class_embedding"].values.astype(np.float64)
    try:
        found = function(feature, embedding)
    except Exception as error:  # the student's own code: whatever it raises is told
        return Verdict(False, f"nearest_by_cosine raises {type(error).__name__}: {error}")
    products = feature @ embedding.T
    cosines = products / np.linalg.norm(feature, axis=1)[:, None] / np.linalg.norm(embedding, axis=1)
    truth = cosines.argmax(axis=1)
    if np.shape(found) == cosines.shape:
        return Verdict(
            False, f"found shape {np.shape(found)}, one value a pixel and class; needed the class, (pixels,)"
        )
    if np.shape(found) == (len(embedding),):
        return Verdict(False, "found one value a class: this is an arg max over pixels; needed one over classes")
    wrong = {
        "this is the arg max of inner products, or of cosines that lack the length of W: every row has its own": (
            products.argmax(axis=1)
        ),
        "this is the class with the smallest cosine": cosines.argmin(axis=1),
        "the lengths are taken over pixels or classes (axis 0); a vector's length is over its channels": (
            (feature / np.linalg.norm(feature, axis=0).clip(1e-12)) @ (embedding / np.linalg.norm(embedding, axis=0)).T
        ).argmax(axis=1),
        "these are the largest cosines; needed the number of the class that has it": cosines.max(axis=1),
        "the rows of W are divided by their squared length, a cosine has the length": (
            (products / (embedding**2).sum(axis=1)).argmax(axis=1)
        ),
    }
    other = (products.argmax(axis=1) != truth).mean()
    praise = (
        f"{other:.0%} of the pixels of this image get another class than by inner products, because the rows of W have "
        "different lengths; those of the features do not matter, they scale all scores of a pixel alike"
    )
    for value in (truth, *wrong.values()):
        if np.shape(found) == value.shape and (np.abs(np.asarray(found, float) - value) < 1e-4).mean() >= _MOSTLY:
            found = value
            break
    return compare(found, truth, wrong=wrong, praise=praise, what="what nearest_by_cosine returns")


def _softmax(scores: np.ndarray) -> np.ndarray:
    values = np.exp(scores - scores.max())
    return values / values.sum()


def _name(record: xr.Dataset, number: int) -> str:
    return str(record["cls"].values[number])
