"""Checks of the notebook about similarity maps: the centred cosine, one pixel against all others, the nearest class."""

import numpy as np
import xarray as xr

from offseg_viz.analyze.align import aligned_class_embedding, aligned_feature, prediction, scores
from offseg_viz.course.verdict import Verdict, compare

_ROUNDED = 1e-3
"""Share of the pixels whose nearest class may differ by rounding."""


def check_centred_cosine(answer, record: xr.Dataset, cls: str) -> Verdict:
    """Asked: the map (y, x) of the cosine of E + dE to the centred W + dW of a class, at the aligned stage.

    Diagnoses an embedding that was not centred, centred over channels, features that were centred in its place or with
    it, lengths that are missing or those from before centring, the initial stage, and all classes in place of one.
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
    wrong = {
        "that is the plain cosine: take the mean over classes off the class embeddings first": _cosine(
            feature, embedding
        )[..., number],
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


def check_pixel_cosine(answer, record: xr.Dataset, row: int, col: int) -> Verdict:
    """Asked: the map (y, x) of the cosine of one pixel's initial feature to those of all pixels.

    Diagnoses inner products, a length that is missing, row and column exchanged, the aligned stage, a flat vector, and
    lengths taken along the wrong axis.
    """
    feature = record["feature"].values.astype(np.float64)
    moved = aligned_feature(record).values.astype(np.float64)
    length = np.linalg.norm(feature, axis=-1)
    dots = feature @ feature[row, col]
    truth = dots / (length * length[row, col])
    over_positions = np.linalg.norm(feature, axis=(0, 1))
    by_channel = feature / np.where(over_positions > 0, over_positions, 1)
    wrong = {
        "these are inner products: divide by both lengths": dots,
        "still to be divided by the length of the chosen feature": dots / length,
        "still to be divided by the lengths of the other features": dots / length[row, col],
        "the feature was divided by its squared length: divide by the lengths of both": dots / length**2,
        "the lengths were taken over positions; needed: over channels, one a pixel": by_channel @ by_channel[row, col],
        "that is the aligned stage: take E alone": _cosine(moved, moved[row, col][None])[..., 0],
        "one feature is E, the other E + dE: take E for both": _cosine(moved, feature[row, col][None])[..., 0],
    }
    if col < feature.shape[0] and row < feature.shape[1]:
        exchanged = "that is another pixel: row (y) comes first, then column (x)"
        wrong[exchanged] = _cosine(feature, feature[col, row][None])[..., 0]
    if np.shape(answer) == (truth.size,):
        return Verdict(False, f"the map is a row of {truth.size} numbers: bring it to the shape {truth.shape}")
    praise = "one product of a matrix with a vector compares a pixel with all others"
    return compare(answer, truth, wrong=wrong, praise=praise, what="the map")


def check_nearest_changed(answer, record: xr.Dataset) -> Verdict:
    """Asked: where the class of the largest plain cosine differs between the stages, a boolean map (y, x).

    Diagnoses the winner of scores or logits, of centred cosines, stages that were mixed, the smallest cosine, an arg
    max over positions, the pixels that stay, and class numbers in place of a comparison.
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


def _number(record: xr.Dataset, cls: str) -> int:
    return record["cls"].values.tolist().index(cls)


def _shape(answer) -> tuple[int, ...] | None:
    """None where there is no answer yet."""
    return None if answer is ... or answer is None or callable(answer) else np.shape(answer)
