"""Checks of notebook 02: ideal class embeddings, eq. (2) of arXiv 2508.08811, by hand."""

import numpy as np
import xarray as xr

from offseg_viz.analyze.ideal import ideal_class_embedding
from offseg_viz.course.verdict import Verdict, compare


def check_normal_equations(answer, record: xr.Dataset) -> Verdict:
    """W* = (M E)(E^T E)^+ of a labelled record, (K, C), with rows of zeros for classes that do not occur.

    Tells apart: M E without the inverse, class means, the rows of the package (NaN where a class does not occur), a
    cut-off on E^T E that is not squared, weights towards zero, and the scores.
    """
    feature, one_hot = _feature_and_label(record)
    gram, sums = feature.T @ feature, one_hot @ feature
    truth = np.nan_to_num(ideal_class_embedding(record).values)
    absent = one_hot.sum(axis=1) == 0
    if np.shape(answer) == truth.shape and absent.any() and np.isnan(_numbers(answer)[absent]).all():
        answer = np.where(absent[:, None], 0.0, _numbers(answer))
        if np.allclose(answer, truth, atol=1e-4 * np.abs(truth).max()):
            return Verdict(
                False, "the rows of absent classes are NaN, as the package gives them; eq. (2) by itself gives numbers"
            )
    if np.shape(answer) == one_hot.shape:
        return Verdict(False, f"found shape {np.shape(answer)}: these are scores; needed a row of C numbers a class")
    wrong = {
        "this is M E, the sum of the features of each class: the inverse of E^T E is missing": sums,
        "these are the means of the features of each class; E^T E, how the channels go together, is missing": (
            sums / one_hot.sum(axis=1).clip(1)[:, None]
        ),
        "you multiplied by E^T E where its inverse is needed": sums @ gram,
        "the inverse of every entry is no inverse of a matrix": (
            sums @ np.divide(1, gram, out=np.zeros_like(gram), where=gram != 0)
        ),
    }
    wrong |= {
        f"a cut-off of {cut:g} on E^T E is too high: its eigenvalues are the squares of the singular values of E": (
            sums @ np.linalg.pinv(gram, rcond=cut, hermitian=True)
        )
        for cut in (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
    }
    wrong |= {
        f"{ridge:g} was added to the diagonal of E^T E: a remedy for its zeros, but another solution": (
            sums @ np.linalg.inv(gram + ridge * np.eye(len(gram)))
        )
        for ridge in (1e-3, 1e-2, 1e-1, 1.0)
    }
    directions = int((np.linalg.svd(feature, compute_uv=False) > 1e-6 * np.linalg.norm(feature, 2)).sum())
    praise = (
        f"the same as M (E^T)^+, from a {len(gram)} x {len(gram)} matrix in place of one with {len(feature)} rows. It "
        f"has no inverse: features of this image vary in {directions} of {len(gram)} directions"
    )
    return compare(answer, truth, wrong=wrong, praise=praise, what="by_normal_equations")


def check_absent_class(row, wins, winner, record: xr.Dataset, *, cls: str) -> Verdict:
    """For a class `cls` that is not in the label: its row of M (E^T)^+, (C,), and how many pixels it wins by arg max.

    Beside them `winner`, the mean over the pixels of the largest of all scores: 0 wins alone come out of many mistakes.
    Tells apart: the NaN of the package, the learned row, the row of a class that does occur, all of W*, wins and winner
    by the learned scores, wins counted from scores that hold NaN, and means of other scores than the winner's.
    """
    feature, one_hot = _feature_and_label(record)
    names = [str(name) for name in record["cls"].values]
    if one_hot[names.index(cls)].any():
        return Verdict(False, f"{cls} does occur in the label; choose a class that does not")
    ideal = np.nan_to_num(ideal_class_embedding(record).values)
    truth = ideal[names.index(cls)]
    if np.shape(row) == truth.shape and np.isnan(_numbers(row)).all():
        return Verdict(False, "row is the NaN of the package, which marks the class; what does eq. (2) itself give?")
    if np.shape(row) == ideal.shape:
        return Verdict(False, f"row has shape {np.shape(row)}: this is all of W*; needed the row of {cls}")
    wrong = {f"row is the learned class embedding of {cls}, not the ideal one": _row(record, cls)}
    wrong |= {f"row is that of {name}, which does occur": ideal[k] for k, name in enumerate(names) if ideal[k].any()}
    first = compare(row, truth, wrong=wrong, praise="", what="row")
    if not first:
        return first
    scores = ideal @ feature.T
    count = int((scores.argmax(axis=0) == names.index(cls)).sum())
    learned = record["class_embedding"].values @ feature.T
    unset = np.where(one_hot.any(axis=1)[:, None], scores, np.nan)
    wrong = {
        f"wins counts the pixels that {cls} gets by the learned scores": (
            (learned.argmax(axis=0) == names.index(cls)).sum()
        ),
        "wins counts an arg max over NaN: numpy takes the first NaN for the largest value": (
            (unset.argmax(axis=0) == names.index(cls)).sum()
        ),
        "wins counts the pixels that it does not win": scores.shape[1] - count,
        "wins counts pixels where the score is zero; needed those where it is the largest": scores.shape[1],
    }
    second = compare(wins, count, wrong=wrong, praise="", what="wins", atol=0.5)
    if not second:
        return second
    largest = scores.max(axis=0)
    wrong = {
        "winner is by the learned scores, W E^T; needed by the ideal ones": learned.max(axis=0).mean(),
        "winner is the largest score of all pixels; needed the mean of every pixel's largest": largest.max(),
        "winner is the mean over the classes of their largest score; take the largest in every pixel": (
            scores.max(axis=1).mean()
        ),
        "winner is the mean of all scores; needed only that of the class that wins the pixel": scores.mean(),
        "winner is the smallest score of a pixel; needed the largest": scores.min(axis=0).mean(),
        "winner is the score of the class in the label; the winner may be another": scores[one_hot > 0].mean(),
        "winner is a sum over the pixels; needed the mean": largest.sum(),
        "winner is the median; needed the mean": np.median(largest),
    }
    praise = (
        f"a row of zeros, hence a score of 0 everywhere, against {largest.mean():.2f} for the winner of a "
        f"pixel on average: {count} wins. The direction of a zero vector does not exist, so the package writes NaN"
    )
    return compare(winner, largest.mean(), wrong=wrong, praise=praise, what="winner", atol=6e-3)


def check_own_and_other(function, stack: np.ndarray) -> Verdict:
    """A function of ideal embeddings (images, K, C), NaN for absent classes, that gives two mean cosines over images.

    `own` is the mean over all pairs of different images and all classes that both hold; `other` that over all pairs of
    different images and two different classes, one of the first, one of the second image: every cosine counts once.
    Tells apart: pairs of an image with itself, inner products, other classes of the same image, NaN, absent classes
    that count as zero, means of means, lengths along other axes, exchange, and a function that ignores its argument.
    """
    if function is ... or (function is not None and not callable(function)):
        return Verdict(False, "own_and_other is no function; needed the function itself, without brackets")
    stack = np.array(stack, dtype=float)
    unit = _unit(stack)
    truth = _own_and_other(unit)
    fewer = stack[-2::-1, ::-1]  # one image less, images and classes the other way round
    try:
        found = function(stack.copy())
        first = _check_means(found, truth, _wrong_means(stack), function, stack)
        if not first:
            return first
        again = function(fewer.copy())
    except Exception as error:  # the student's own code: whatever it raises is told
        return Verdict(False, f"own_and_other raises {type(error).__name__}: {error}")
    if np.shape(again) != (2,) or not np.allclose(_numbers(again), _own_and_other(_unit(fewer)), rtol=0, atol=_NEAR):
        return Verdict(
            False, "with other class embeddings own_and_other is wrong: it must use its argument, not the stack outside"
        )
    return first


_NEAR = 5e-4
"""Largest difference of two mean cosines that are the same."""


def _check_means(found, truth: np.ndarray, wrong: dict[str, np.ndarray], function, stack: np.ndarray) -> Verdict:
    what = "what own_and_other returns"
    if found is None or found is ...:
        return compare(found, truth, praise="", what=what)
    if np.shape(found) != (2,):
        return Verdict(False, f"own_and_other returns shape {np.shape(found)}; needed two numbers: own, other")
    if np.isnan(_numbers(found)).any():
        return Verdict(False, _why_nan(function, stack))
    praise = (
        f"own {truth[0]:.2f}, other {truth[1]:.2f}: ideal embeddings of one class are more alike than those of two "
        "classes, so there is something that images share, and it is little"
    )
    return compare(found, truth, wrong=wrong, praise=praise, what=what, atol=_NEAR / np.abs(truth).max())


def _wrong_means(stack: np.ndarray) -> dict[str, np.ndarray]:
    """Diagnosis to (own, other) of a mistake."""
    unit = _unit(stack)
    own, other = _own_and_other(unit)
    lengths = "a length is taken along another axis; needed that of every vector, over its channels"
    wrong = {
        "own and other are exchanged": np.array([other, own]),
        "own holds the pairs of an image with itself, whose cosine is one": _own_and_other(unit, own_itself=True),
        "own and other hold the pairs of an image with itself": _own_and_other(unit, own_itself=True, itself=True),
        "other holds the pairs of an image with itself": _own_and_other(unit, itself=True),
        "other holds the own class, too": _own_and_other(unit, all_classes=True),
        "these are means of inner products; a cosine is divided by both lengths": _own_and_other(stack),
        "other compares classes within one image; needed two different images": _own_and_other(unit, only_itself=True),
        "absent classes count here, with a cosine of zero; leave them out": _own_and_other(np.nan_to_num(unit)),
        "every pair of images counts the same here; every cosine should": _own_and_other(unit, within=(2, 3)),
        "every class counts the same here; every cosine should": _own_and_other(unit, within=(0, 1)),
    }
    wrong |= {
        f"{lengths} ({name})": _own_and_other(vectors)
        for name, vectors in _wrong_units(stack).items()
        if np.isfinite(vectors).any()
    }
    # a mistake in one of the two only
    singly = {}
    for diagnosis, value in wrong.items():
        if not diagnosis.startswith(("own", "other")):
            singly[f"own: {diagnosis}"] = np.array([value[0], other])
            singly[f"other: {diagnosis}"] = np.array([own, value[1]])
    return wrong | singly


def _why_nan(function, stack: np.ndarray) -> str:
    """What is behind a NaN, found out with the classes that every image has."""
    complete = stack[:, ~np.isnan(stack).any(axis=(0, 2))]
    told = "a mean over NaN is NaN: leave out classes that one of the two images does not hold"
    if complete.shape[1] < 2:
        return told
    try:
        found = _numbers(function(complete.copy()))
    except Exception:  # the student's own code, on data that the exercise does not name
        return told
    for name, vectors in _wrong_units(complete).items():
        if found.shape == (2,) and np.allclose(found, _own_and_other(vectors), rtol=0, atol=_NEAR / 10):
            return (
                f"NaN: a length is taken along another axis ({name}), so that an absent class makes all vectors NaN; "
                "needed that of every vector, over its channels"
            )
    return told if found.shape == (2,) and np.isfinite(found).all() else f"{told}, and see what is divided by zero"


def _wrong_units(stack: np.ndarray) -> dict[str, np.ndarray]:
    axes = {"classes and channels": (1, 2), "classes": 1, "images": 0, "all axes": (0, 1, 2)}
    with np.errstate(invalid="ignore", divide="ignore"):
        return {name: stack / np.sqrt((stack**2).sum(axis=axis, keepdims=True)) for name, axis in axes.items()}


def _unit(stack: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):  # a vector of zeros has no direction: NaN
        return stack / np.linalg.norm(stack, axis=-1, keepdims=True)


def _own_and_other(
    vectors: np.ndarray,
    *,
    own_itself: bool = False,
    itself: bool = False,
    only_itself: bool = False,
    all_classes: bool = False,
    within: tuple[int, int] | None = None,
) -> np.ndarray:
    """Means of cosines; with `within`, means over those two axes first."""
    images, classes = vectors.shape[:2]
    cosines = np.einsum("ikc,jlc->ijkl", vectors, vectors)  # (images, images, K, K)
    different, same = ~np.eye(images, dtype=bool)[:, :, None, None], np.eye(classes, dtype=bool)
    pairs = ~different if only_itself else different | itself
    chosen = ((different | own_itself) & same, pairs & (~same | all_classes))
    return np.array([_mean(np.where(mask, cosines, np.nan), within) for mask in chosen])


def _mean(values: np.ndarray, within: tuple[int, int] | None) -> float:
    """The mean of what is no NaN, or the mean of such means over two of the axes."""
    there = ~np.isnan(values)
    sums, counts = np.where(there, values, 0).sum(axis=within), there.sum(axis=within)
    return float((sums[counts > 0] / counts[counts > 0]).mean()) if np.any(counts) else float("nan")


def _feature_and_label(record: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """E (P, C) of all pixels and the one-hot M (K, P), a column of zeros where the label is ignored; float64."""
    feature = record["feature"].transpose("y", "x", "channel").values.astype(np.float64)
    label = record["label"].transpose("y", "x").values.ravel()
    feature = feature.reshape(label.size, -1)
    one_hot = (label == np.arange(record.sizes["cls"])[:, None]).astype(np.float64)
    kept = one_hot.any(axis=0)  # an ignored pixel is in neither
    return feature[kept], one_hot[:, kept]


def _numbers(answer) -> np.ndarray:
    """An answer as numbers, also that of a tensor with a gradient; NaN where it is something else."""
    try:
        return np.asarray(answer.detach() if hasattr(answer, "detach") else answer, dtype=float)
    except (TypeError, ValueError):
        return np.full(np.shape(answer), np.nan)


def _row(record: xr.Dataset, cls: str) -> np.ndarray:
    return record["class_embedding"].sel(cls=cls).values
