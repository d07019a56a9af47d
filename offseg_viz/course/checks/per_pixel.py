"""Checks of notebook 01: per-pixel classification, eq. (1) of arXiv 2508.08811, by hand."""

import numpy as np
import xarray as xr

from offseg_viz.course.verdict import Verdict, compare

_MOSTLY = 0.999
"""Share of equal pixels from which two class maps count as the same: rounding may turn near ties."""


def check_pixel_scores(answer, record: xr.Dataset, *, y: int, x: int) -> Verdict:
    """The scores W E^T of one grid cell, (K,): row `y` and column `x` of the feature grid.

    Tells apart: with the bias (logits), cosines, probabilities, row and column exchanged, and a position of the flat
    list that was counted with rows of another length.
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
    rows, columns, channels = grid.shape
    places = {
        f"a row of the grid has {columns} cells, not {rows}": y * rows + x,
        f"a row of the grid has {columns} cells; {channels} is the number of channels": y * channels + x,
        "it runs along the rows, not down the columns": x * rows + y,
    }
    for reason, place in places.items():
        if place < rows * columns and place != y * columns + x:
            told = f"this is another position of the flat list: {reason}"
            wrong[told] = embedding @ grid.reshape(-1, channels)[place]
    if np.shape(answer) == embedding.shape:
        return Verdict(False, f"found shape {np.shape(answer)}: one number a class and channel; sum over the channels")
    praise = (
        f"one inner product a class. The largest is that of {_name(record, scores.argmax())}, and no other "
        "pixel's feature was needed for it"
    )
    return compare(answer, scores, wrong=wrong, praise=praise, what="pixel_scores")


def check_shifted_rows(score_change, changed_pixels, record: xr.Dataset, *, vector: np.ndarray) -> Verdict:
    """What adding one `vector` to all rows of W changes: the score of a class, (y, x), and the winners, a number.

    Tells apart: the sign, one map for every class, scores in place of their change, a change of the mean only, which
    pixels change in place of how many, pixels whose score changes, and winners after adding the vector to the features.
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
    if np.size(changed_pixels) == before.size and before.size > 1:
        return Verdict(False, "changed_pixels says which pixels change: count them")
    every = "it counts those whose score changes, or that keep their class; needed those whose winner changes"
    wrong = {
        f"changed_pixels, {before.size}, is all pixels: {every}": before.size,
        "changed_pixels counts scores that change, of every class at every pixel; needed pixels whose winner changes": (
            before.size * len(embedding)
        ),
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

    Tells apart: the inner product, the bias, the smallest, the nearest by distance, rows minus their mean, a length
    taken over pixels or classes, the largest values themselves, names of classes, an arg max over pixels, and a
    function that ignores its arguments: it is called with other data as well. A pixel in a thousand may differ, for
    near ties.
    """
    if function is ... or (function is not None and not callable(function)):
        return Verdict(False, "nearest_by_cosine is no function; needed the function itself, without brackets")
    feature = record["feature"].values.reshape(-1, record.sizes["channel"]).astype(np.float64)
    embedding = record["class_embedding"].values.astype(np.float64)
    bias = record["logit_bias"].values.astype(np.float64) if "logit_bias" in record else None
    products, cosines = feature @ embedding.T, _cosines(feature, embedding)
    truth = cosines.argmax(axis=1)
    other = (products.argmax(axis=1) != truth).mean()
    praise = (
        f"{other:.0%} of the pixels of this image get another class than by inner products, because the rows of W have "
        "different lengths; those of the features do not matter, they scale all scores of a pixel alike"
    )
    try:
        found = function(feature.copy(), embedding.copy())
        first = _check_nearest(found, truth, _nearest_mistakes(feature, embedding, bias), cosines.shape, praise)
        if not first:
            return first
        # other data: some of the pixels in another order, and rows of W in another order and of other lengths
        some, rows = feature[::-3], embedding[::-1] * np.linspace(0.5, 2, len(embedding))[:, None]
        again, needed = function(some.copy(), rows.copy()), _cosines(some, rows).argmax(axis=1)
    except Exception as error:  # the student's own code: whatever it raises is told
        return Verdict(False, f"nearest_by_cosine raises {type(error).__name__}: {error}")
    if np.shape(again) != needed.shape or (np.asarray(again) == needed).mean() < _MOSTLY:
        return Verdict(
            False,
            "with other features and class embeddings the function is wrong: it must use its two arguments, and not "
            "E, W, a bias or a number from outside",
        )
    return first


def _check_nearest(found, truth: np.ndarray, wrong: dict, shape: tuple[int, int], praise: str) -> Verdict:
    if np.shape(found) == shape:
        return Verdict(
            False, f"found shape {np.shape(found)}, one value a pixel and class; needed the class, (pixels,)"
        )
    if np.shape(found) == shape[1:]:
        return Verdict(False, "found one value a class: this is an arg max over pixels; needed one over classes")
    what = "what nearest_by_cosine returns"
    if found is ... or found is None or np.shape(found) != truth.shape:
        return compare(found, truth, praise=praise, what=what)
    if any(isinstance(value, str) for value in np.asarray(found).ravel()[:1]):
        return Verdict(False, "these are names of classes; needed their numbers, 0 for the first row of W")
    found = np.asarray(found)
    for diagnosis, value in {"": truth, **wrong}.items():
        if (np.abs(found - value) < 1e-4).mean() >= _MOSTLY:
            return Verdict(False, diagnosis) if diagnosis else Verdict(True, praise)
    if (found != np.round(found)).any():
        return Verdict(
            False, "these are values and no numbers of classes: max gives the largest value, argmax where it stands"
        )
    return compare(found, truth, praise=praise, what=what)


def _nearest_mistakes(feature: np.ndarray, embedding: np.ndarray, bias: np.ndarray | None) -> dict[str, np.ndarray]:
    """Diagnosis to the classes, (P,), that a mistake gives; the first that fits is told."""
    products, cosines = feature @ embedding.T, _cosines(feature, embedding)
    along_classes, along_pixels = np.linalg.norm(embedding, axis=0), np.linalg.norm(feature, axis=0)
    wrong_axis = "the lengths are taken over pixels or classes (axis 0); a vector's length is over its channels"
    rows = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
    wrong = {
        "this is the arg max of inner products, or of cosines that lack the length of W: every row has its own": (
            products.argmax(axis=1)
        ),
        "this is the class with the smallest cosine": cosines.argmin(axis=1),
        wrong_axis: ((feature / along_pixels.clip(1e-12)) @ (embedding / along_classes.clip(1e-12)).T).argmax(axis=1),
        f"{wrong_axis}: here that of W": (feature @ (embedding / along_classes.clip(1e-12)).T).argmax(axis=1),
        f"{wrong_axis}: here that of E": ((feature / along_pixels.clip(1e-12)) @ rows.T).argmax(axis=1),
        "the rows of W are divided by their squared length, a cosine has the length": (
            (products / (embedding**2).sum(axis=1)).argmax(axis=1)
        ),
        "the mean row was subtracted from W; needed W as it is": (
            _cosines(feature, embedding - embedding.mean(axis=0)).argmax(axis=1)
        ),
        "this is the nearest by distance; needed by angle, the largest cosine": (
            (2 * products - (embedding**2).sum(axis=1)).argmax(axis=1)
        ),
        "every pixel gets class 0: is there a NaN among the cosines, or a length that is zero?": np.zeros(len(feature)),
    }
    if bias is not None:
        biased = {
            "to the inner products": products + bias,
            "after the division by the length of W": feature @ rows.T + bias,
            "to the cosines": cosines + bias,
            "before the division by the lengths": _cosines(feature, embedding, bias),
        }
        wrong |= {f"the bias is added {where}; needed without it": x.argmax(axis=1) for where, x in biased.items()}
    return wrong


def _cosines(feature: np.ndarray, embedding: np.ndarray, bias: np.ndarray | float = 0.0) -> np.ndarray:
    """Cosines (P, K); with a `bias`, of the logits divided by both lengths. A vector of length zero has none: zero."""
    lengths = np.linalg.norm(feature, axis=1)[:, None] * np.linalg.norm(embedding, axis=1)
    return (feature @ embedding.T + bias) / np.where(lengths == 0, 1.0, lengths)


def _softmax(scores: np.ndarray) -> np.ndarray:
    values = np.exp(scores - scores.max())
    return values / values.sum()


def _name(record: xr.Dataset, number: int) -> str:
    return str(record["cls"].values[number])
