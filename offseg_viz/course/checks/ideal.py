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
    if np.shape(answer) == truth.shape and np.isnan(np.asarray(answer, float)[absent]).all() and absent.any():
        return Verdict(
            False, "the rows of absent classes are NaN, as the package gives them; eq. (2) by itself gives numbers"
        )
    if np.shape(answer) == one_hot.shape:
        return Verdict(False, f"found shape {np.shape(answer)}: these are scores; needed a row of C numbers a class")
    wrong = {
        "this is M E, the sum of the features of each class: the inverse of E^T E is missing": sums,
        "these are the mean features of the classes; the mean ignores how the channels go together": (
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


def check_absent_class(row, wins, record: xr.Dataset, *, cls: str) -> Verdict:
    """For a class `cls` that is not in the label: its row of M (E^T)^+, (C,), and how many pixels it wins by arg max.

    Tells apart: the NaN of the package, the learned row, the row of a class that does occur, all of W*, wins by the
    learned scores, and wins counted from scores that hold NaN.
    """
    feature, one_hot = _feature_and_label(record)
    names = [str(name) for name in record["cls"].values]
    if one_hot[names.index(cls)].any():
        return Verdict(False, f"{cls} does occur in the label; choose a class that does not")
    ideal = np.nan_to_num(ideal_class_embedding(record).values)
    truth = ideal[names.index(cls)]
    if np.shape(row) == truth.shape and np.isnan(np.asarray(row, float)).all():
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
    praise = (
        f"a row of zeros, hence a score of 0 everywhere, against {scores.max(axis=0).mean():.2f} for the winner of a "
        f"pixel on average: {count} wins. The direction of a zero vector does not exist, so the package writes NaN"
    )
    return compare(wins, count, wrong=wrong, praise=praise, what="wins", atol=0.5)


def check_own_and_other(function, stack: np.ndarray) -> Verdict:
    """A function of ideal embeddings (images, K, C), NaN for absent classes, that gives two mean cosines over images.

    `own` is the mean over all pairs of different images and all classes that both hold; `other` that over all pairs of
    different images and two different classes, one of the first, one of the second image.
    Tells apart: pairs of an image with itself, inner products, other classes of the same image, NaN, and exchange.
    """
    if function is ... or (function is not None and not callable(function)):
        return Verdict(False, "own_and_other is no function; needed the function itself, without brackets")
    try:
        found = function(np.array(stack))
    except Exception as error:  # the student's own code: whatever it raises is told
        return Verdict(False, f"own_and_other raises {type(error).__name__}: {error}")
    if found is not None and found is not ... and np.shape(found) != (2,):
        return Verdict(False, f"own_and_other returns shape {np.shape(found)}; needed two numbers: own, other")
    unit = stack / np.linalg.norm(stack, axis=-1, keepdims=True)
    truth = _own_and_other(unit)
    if found is not None and found is not ... and np.isnan(np.asarray(found, float)).any():
        return Verdict(False, "a mean over NaN is NaN: leave out classes that one of the two images does not hold")
    wrong = {
        "own and other are exchanged": truth[::-1],
        "own holds the pairs of an image with itself, whose cosine is one": _own_and_other(unit, own_itself=True),
        "own and other hold the pairs of an image with itself": _own_and_other(unit, own_itself=True, itself=True),
        "other holds the pairs of an image with itself": _own_and_other(unit, itself=True),
        "other holds the own class, too": _own_and_other(unit, all_classes=True),
        "these are means of inner products; a cosine is divided by both lengths": _own_and_other(stack),
        "other compares classes within one image; needed two different images": _own_and_other(unit, only_itself=True),
    }
    praise = (
        f"own {truth[0]:.2f}, other {truth[1]:.2f}: ideal embeddings of one class are more alike than those of two "
        "classes, so there is something that images share, and it is little"
    )
    return compare(found, truth, wrong=wrong, praise=praise, what="what own_and_other returns", atol=2e-3)


def _own_and_other(
    vectors: np.ndarray,
    *,
    own_itself: bool = False,
    itself: bool = False,
    only_itself: bool = False,
    all_classes: bool = False,
) -> np.ndarray:
    images, classes = vectors.shape[:2]
    cosines = np.einsum("ikc,jlc->ijkl", vectors, vectors)  # (images, images, K, K)
    different, same = ~np.eye(images, dtype=bool)[:, :, None, None], np.eye(classes, dtype=bool)
    own = cosines[np.broadcast_to((different | own_itself) & same, cosines.shape)]
    pairs = ~different if only_itself else different | itself
    other = cosines[np.broadcast_to(pairs & (~same | all_classes), cosines.shape)]
    return np.array([np.nanmean(own), np.nanmean(other)])


def _feature_and_label(record: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """E (P, C) of all pixels and the one-hot M (K, P), a column of zeros where the label is ignored; float64."""
    feature = record["feature"].transpose("y", "x", "channel").values.astype(np.float64)
    label = record["label"].transpose("y", "x").values.ravel()
    feature = feature.reshape(label.size, -1)
    one_hot = (label == np.arange(record.sizes["cls"])[:, None]).astype(np.float64)
    kept = one_hot.any(axis=0)  # an ignored pixel is in neither
    return feature[kept], one_hot[:, kept]


def _row(record: xr.Dataset, cls: str) -> np.ndarray:
    return record["class_embedding"].sel(cls=cls).values
