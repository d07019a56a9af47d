"""Checks of the notebook about similarity maps: the centred cosine, one pixel against all others, the nearest class."""

from collections.abc import Callable

import numpy as np
import xarray as xr

from offseg_viz.analyze.align import aligned_class_embedding, aligned_feature, prediction, scores
from offseg_viz.analyze.similarity import cosine_similarity
from offseg_viz.course.verdict import Verdict, compare

_ROUNDED = 1e-3
"""Share of the pixels whose nearest class may differ by rounding."""
_DIFFERENCE = "that is the difference of class numbers, which measures nothing: ask only whether the classes differ"


def check_centred_cosine(answer, record: xr.Dataset, cls: str) -> Verdict:
    """Asked: the map (y, x) of the cosine of E + dE to the centred W + dW of a class, at the aligned stage.

    Diagnoses an embedding that was not centred, centred over channels, cosines that were centred in its place, features
    that were, or were too, lengths that are missing or those from before centring, the initial stage, all classes in
    place of one, and the map of the package in place of a computation.
    """
    feature, embedding, number = *_stage(record, "aligned"), _number(record, cls)
    centred = embedding - embedding.mean(axis=0)
    around = feature - feature.mean(axis=(0, 1))
    over_channels = embedding - embedding.mean(axis=1, keepdims=True)
    initial, before = _stage(record, "initial")
    dots = feature @ centred[number]
    lengths = np.linalg.norm(feature, axis=-1)
    truth = _cosine(feature, centred)[..., number]
    if np.ndim(answer) == 3:
        return Verdict(False, f"the map has shape {np.shape(answer)}, needed {truth.shape}: choose the one class")
    if _is_of_package(answer, record, cls):
        return Verdict(False, "that map was made by the package: write the formula in numpy, from the arrays above")
    plain = _cosine(feature, embedding)
    wrong = {
        "that is the plain cosine: take the mean over classes off the class embeddings first": plain[..., number],
        "the mean was taken off the cosines; needed: off the class embeddings, before any product": plain[..., number]
        - plain.mean(axis=-1),
        "the map's own mean was taken off the cosines; needed: the mean over classes, off the class embeddings": plain[
            ..., number
        ]
        - plain[..., number].mean(),
        "the mean was taken over channels; needed: over classes, so that one vector is taken off all of them": _cosine(
            feature, over_channels
        )[..., number],
        "the features were centred; needed: the class embeddings": _cosine(around, embedding)[..., number],
        "the features were centred too; needed: only the class embeddings": _cosine(around, centred)[..., number],
        "these are inner products: divide by both lengths": dots,
        "still to be divided by the length of the class embedding": dots / lengths,
        "still to be divided by the lengths of the features": dots / np.linalg.norm(centred[number]),
        "divided by the length that the class embedding had before it was centred": dots
        / (lengths * np.linalg.norm(embedding[number])),
        "that is the initial stage: take E + dE and W + dW": _cosine(initial, before - before.mean(axis=0))[
            ..., number
        ],
        "E + dE with W: take the aligned class embeddings too": _cosine(feature, before - before.mean(axis=0))[
            ..., number
        ],
        "W + dW with E: take the aligned features too": _cosine(initial, centred)[..., number],
    }
    praise = "without what all classes share, the map is about this class again"
    return compare(answer, truth, wrong=wrong, praise=praise, what="the map")


def check_pixel_cosine(function: Callable, record: xr.Dataset, row: int, col: int) -> Verdict:
    """Asked: ``pixel_cosine(feature, row, col)``, the map (y, x) of the cosine of one pixel's feature to those of all.

    It is called for two pixels and at both stages, each time on a copy of the features. Diagnoses arguments that are
    ignored, features that are changed in place, inner products, a length that is missing or one for all, row and column
    exchanged, a flat vector, and lengths taken along the wrong axis.
    """
    if function is ... or function is None or not callable(function):
        return Verdict(False, f"pixel_cosine is {type(function).__name__}; needed the function itself, without a call")
    features = [record["feature"].values, aligned_feature(record).values]
    there = (row + len(features[0]) // 3) % len(features[0]), (col + features[0].shape[1] // 3) % features[0].shape[1]
    first, moved = (_cosine(feature, feature[row, col][None])[..., 0] for feature in features)
    same = "the map of another pixel is asked for, and the same map comes back: use the `row` and `col` that are given"
    given = "use the `feature` that is given: these are the numbers of another stage"
    mixed = "one of the two features is of another stage: use the `feature` that is given for both"
    crossed = _cosine(features[1], features[0][row, col][None])[..., 0]
    for feature, place, wrong in (
        (features[0], (row, col), {given: moved, mixed: crossed}),
        (features[0], there, {same: first}),
        (features[1], (row, col), {given: first, mixed: crossed}),
    ):
        verdict = _verdict_of_call(function, feature, place, wrong)
        if not verdict:
            return verdict
    return verdict


def _verdict_of_call(function: Callable, feature: np.ndarray, place: tuple[int, int], wrong: dict) -> Verdict:
    """Of one call of a student's function; `wrong` are the mistakes that this call in particular can show."""
    own = feature.copy()
    try:
        with np.errstate(all="ignore"):
            found = function(own, *place)
    except Exception as problem:  # of the student's function, whatever it is
        return Verdict(False, f"pixel_cosine raised {type(problem).__name__}: {problem}")
    length = np.linalg.norm(feature.astype(np.float64), axis=-1)
    dots = feature.astype(np.float64) @ feature[place]
    if np.shape(found) == (dots.size,):
        return Verdict(False, f"the map is a row of {dots.size} numbers: bring it to the shape {dots.shape}")
    verdict = compare(
        found,
        dots / (length * length[place]),
        wrong=wrong | _wrong_pixel_cosines(feature.astype(np.float64), place, length, dots),
        what=f"the map of the pixel in row {place[0]}, column {place[1]}",
        praise="one product of a matrix with a vector compares a pixel with all others",
    )
    if verdict and not np.array_equal(own, feature, equal_nan=True):
        changed = "the map is as it should be, but the features it is made of were changed in place, and so the record"
        return Verdict(False, f"{changed}: `/=` writes into its array, `=` with `/` makes a new one")
    return verdict


def _wrong_pixel_cosines(feature, place, length, dots) -> dict[str, np.ndarray]:
    whole = np.linalg.norm(length)
    over_positions = np.linalg.norm(feature, axis=(0, 1))
    by_channel = feature / np.where(over_positions > 0, over_positions, 1)
    single = "features were divided by one and the same length: each has its own, over its channels"
    wrong = {
        "these are inner products: divide by both lengths": dots,
        "still to be divided by the length of the chosen feature": dots / length,
        "still to be divided by the lengths of the other features": dots / length[place],
        "the feature was divided by its squared length: divide by the lengths of both": dots / length**2,
        "the lengths were taken over positions; needed: over channels, one a pixel": by_channel @ by_channel[place],
        f"all {single}": dots / whole**2,
        f"all other {single}": dots / (whole * length[place]),
        f"the products of all {single}": dots / whole,
    }
    row, col = place
    if col < feature.shape[0] and row < feature.shape[1]:
        exchanged = "that is another pixel: row (y) comes first, then column (x)"
        wrong[exchanged] = _cosine(feature, feature[col, row][None])[..., 0]
    return wrong


def check_nearest_changed(answer, record: xr.Dataset) -> Verdict:
    """Asked: where the class of the largest plain cosine differs between the stages, a boolean map (y, x).

    Diagnoses the winner of scores or logits, of centred cosines, stages that were mixed, the smallest cosine, an arg
    max over positions, the pixels that stay, and class numbers or their difference in place of a comparison.
    """
    pairs = {stage: _stage(record, stage) for stage in ("initial", "aligned")}
    (feature, embedding), (moved_feature, moved_embedding) = pairs["initial"], pairs["aligned"]
    cosines = {stage: _cosine(*pair) for stage, pair in pairs.items()}
    before, after = (cosines[stage].argmax(axis=-1) for stage in pairs)
    centred = [_cosine(e, w - w.mean(axis=0)).argmax(axis=-1) for e, w in pairs.values()]
    truth = before != after
    found = _shape(answer)
    if found not in (None, truth.shape):
        if found == (record.sizes["cls"],):
            return Verdict(False, "one value a class: that is an arg max over positions; needed: over classes")
        if found == ():
            return Verdict(False, "the answer is one number; needed: a map that says of every pixel whether it changed")
    wrong = {
        "these are the pixels that keep their nearest class": ~truth,
        "that is the nearest class, before: compare it with the one after": before,
        "that is the nearest class, after: compare it with the one before": after,
        _DIFFERENCE: after - before,
        f"{_DIFFERENCE} (here with the signs turned)": before - after,
        f"{_DIFFERENCE} (here without its sign)": abs(after - before),
        "that is where the scores change their winner: divide by the lengths": np.not_equal(
            *(scores(record, stage).values.argmax(axis=0) for stage in pairs)
        ),
        "that is where the prediction changes: compare the cosines, not the logits": np.not_equal(
            *(prediction(record, stage).values for stage in pairs)
        ),
        "that is the nearest class by the centred cosine; needed: the plain one": np.not_equal(*centred),
        "after the refinement compare E + dE with W + dW; here it was W": np.not_equal(
            before, _cosine(moved_feature, embedding).argmax(axis=-1)
        ),
        "after the refinement compare E + dE with W + dW; here it was E": np.not_equal(
            before, _cosine(feature, moved_embedding).argmax(axis=-1)
        ),
        "that is the class of the smallest cosine: the nearest has the largest": np.not_equal(
            *(cosines[stage].argmin(axis=-1) for stage in pairs)
        ),
    }
    if found == truth.shape:  # where two cosines are equal but for rounding, the winner is anyone's
        close = [value for value in (truth, *wrong.values()) if np.mean(np.asarray(answer) != value) < _ROUNDED]
        answer = close[0] if close else answer
    praise = "a nearest class is a question about all classes at once, which no map of one class answers"
    return compare(answer, truth, wrong=wrong, praise=praise, what="the map")


def _stage(record: xr.Dataset, stage: str) -> tuple[np.ndarray, np.ndarray]:
    """Features (y, x, C) and class embeddings (K, C) of a stage."""
    if stage == "aligned":
        pair = aligned_feature(record), aligned_class_embedding(record)
    else:
        pair = record["feature"], record["class_embedding"]
    return tuple(array.values.astype(np.float64) for array in pair)


def _cosine(feature: np.ndarray, embedding: np.ndarray) -> np.ndarray:
    """(y, x, K)"""
    unit = feature / np.linalg.norm(feature, axis=-1, keepdims=True)
    return unit @ (embedding / np.linalg.norm(embedding, axis=-1, keepdims=True)).T


def _is_of_package(answer, record: xr.Dataset, cls: str) -> bool:
    """Whether it is what `cosine_similarity` returns for the centred class embedding, name and every bit."""
    if not (isinstance(answer, xr.DataArray) and answer.name == "cosine_similarity"):
        return False
    embedding = aligned_class_embedding(record)
    maps = cosine_similarity(aligned_feature(record), embedding - embedding.mean("cls"))
    return np.array_equal(answer, maps.sel(cls=cls))


def _number(record: xr.Dataset, cls: str) -> int:
    return record["cls"].values.tolist().index(cls)


def _shape(answer) -> tuple[int, ...] | None:
    """None where there is no answer yet."""
    return None if answer is ... or answer is None or callable(answer) else np.shape(answer)
