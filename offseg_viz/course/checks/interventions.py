"""Checks of notebook 09, interventions: class offsets alone, those of other images, the four terms of one grid cell."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from offseg_viz.analyze.align import scores, winning_class
from offseg_viz.analyze.decomposition import SCORE_TERMS, score_terms
from offseg_viz.analyze.interventions import intervene
from offseg_viz.classes import IGNORE_INDEX
from offseg_viz.course.verdict import Verdict, compare

_THREE_DECIMALS = 5.5e-4
"""Largest difference of a number and itself at three decimals, and a little for the rounding of the computation."""


def check_class_offsets_only(answer, record: xr.Dataset) -> Verdict:
    """Asked: the scores (cls, y, x) with W + dW and E, before the LayerNorm.

    Diagnoses dims in another order, both offsets, that of the features alone, none, dW without W, an offset taken away
    in place of added, and logits.
    """
    each = score_terms(record).values.astype(np.float64)  # E W, E dW, dE W, dE dW
    truth = each[0] + each[1]
    classes, height, width = truth.shape
    by_shape = {
        (height, width, classes): "classes come last; needed dims (cls, y, x): move that axis to the front",
        (height * width, classes): "positions lie in one row, and classes come last; needed dims (cls, y, x)",
        (classes, height * width): "positions lie in one row; needed dims (cls, y, x): reshape",
    }
    if answer is not ... and np.shape(answer) in by_shape:
        return Verdict(False, by_shape[np.shape(answer)])
    wrong = {
        "both offsets are in; the features should stay as they are": each.sum(axis=0),
        "that is the feature offset alone; asked was the class offset alone": each[0] + each[2],
        "no offset is in: these are the initial scores": each[0],
        "that is what dW alone scores: it is added to W, it does not replace W": each[1],
        "dW was taken away; needed: added": each[0] - each[1],
        "these are logits, behind the LayerNorm; asked were scores": intervene(record, feature_strength=0).values,
    }
    praise = "one sum and one product of matrices: all that class offsets do to an image"
    # Half precision rounds by less than 1e-3 of the largest score, two decimals by less still.
    return compare(answer, truth, wrong=wrong, praise=praise, what="the array of scores", atol=1e-3)


def check_kind_mean(answer, records: Sequence[xr.Dataset], cls: str) -> Verdict:
    """Asked: pixel accuracy of the first record with the mean class offset of all *other* records that show `cls`.

    Its feature and feature offset stay. Three decimals are enough; of the truth and the mistakes, which can lie a few
    grid cells apart, the nearest to the answer is told. Diagnoses the sum or the median in place of the mean, the
    record's own class offsets in the mean or alone, the mean of all records or of those without the class, feature
    offsets left out, the offsets of one other record, no class offsets, the arg max of scores in place of logits,
    percentages, the share that is wrong, and fewer than three decimals.
    """
    record = records[0]
    number = record["cls"].values.tolist().index(cls)
    shows = [bool((each["label"].values == number).any()) for each in records]
    kind = [each for each, found in zip(records[1:], shows[1:], strict=True) if found]
    own, mean = record["class_offset"], _mean(kind)
    wrong = {
        "that is the sum of their class offsets; needed their mean: divide by how many they are": _right(
            record, class_offset=mean * len(kind)
        ),
        "that is the median of their class offsets; needed the mean": _right(
            record, class_offset=mean.copy(data=np.median([each["class_offset"].values for each in kind], axis=0))
        ),
        "the image's own class offsets are in the mean; needed: those of the others alone": _right(
            record, class_offset=_mean([record, *kind])
        ),
        "these are the image's own class offsets; needed the mean of the others": _right(record, class_offset=own),
        f"this is the mean of all images; needed those that show {cls}, without the image itself": _right(
            record, class_offset=_mean(records)
        ),
        f"this is the mean of all other images; needed those that show {cls}": _right(
            record, class_offset=_mean(records[1:])
        ),
        f"this is the mean of the images without {cls}": _right(
            record, class_offset=_mean([each for each, found in zip(records, shows, strict=True) if not found])
        ),
        "the feature offsets were left out: keep those of the image": _right(
            record, class_offset=mean, feature_strength=0
        ),
        "no class offsets are in; needed the mean of the others": _right(record, class_strength=0),
        "this is the first other image alone; needed the mean of all of them": _right(
            record, class_offset=kind[0]["class_offset"]
        ),
        "that is the arg max of scores; needed of logits, behind the LayerNorm: intervene() gives them": _share(
            record, scores(record.assign(class_offset=(own.dims, mean.values))).values.argmax(axis=0)
        ),
    }
    truth = _right(record, class_offset=mean)
    wrong["this is the share that is wrong"] = 1 - truth
    wrong["this is a percentage; needed a share from 0 to 1"] = 100 * truth
    praise = f"for this image those of others with {cls} do most of the work: they tell what kind of scene it is"
    what = "the pixel accuracy"
    if isinstance(answer, str):
        return Verdict(False, f"{what} is text; needed a number, without quotation marks")
    if (number := _number(answer)) is None:
        return compare(answer, truth, praise=praise, what=what)
    if _distance(number, truth) >= _THREE_DECIMALS and any(np.isclose(number, np.round(truth, n)) for n in (1, 2)):
        return Verdict(False, f"{what} seems rounded: hand in three decimals or more")
    nearest = min(wrong, key=lambda diagnosis: abs(wrong[diagnosis] - number))
    if _distance(number, wrong[nearest]) < min(_distance(number, truth), _THREE_DECIMALS):
        return Verdict(False, nearest)
    return compare(number, truth, praise=praise, what=what, atol=_THREE_DECIMALS / max(truth, _THREE_DECIMALS))


def check_pixel_terms(contributions, decides, record: xr.Dataset, y: int, x: int) -> Verdict:
    """Asked: what the four terms add to the margin of one grid cell, and the name of the term that decides it.

    The margin is the aligned score of the labelled class less that of its strongest rival; a term decides where the
    margin without it would be negative. Diagnoses the rival by initial scores, the mean of all rivals, scores of the
    labelled class alone, the margin turned round, the label as its own rival, and then a term that helps without
    deciding, or one that harms. Two decimals are enough; a dict with the names of the terms is taken in their order.
    """
    terms = score_terms(record).values[:, :, y, x].astype(np.float64)  # (term, cls)
    own = int(record["label"].values[y, x])
    others = np.delete(np.arange(terms.shape[1]), own)
    total = terms.sum(axis=0)
    rival, initial_rival = others[total[others].argmax()], others[terms[0, others].argmax()]
    truth = terms[:, own] - terms[:, rival]
    if isinstance(contributions, Mapping):
        if set(map(str, contributions)) != set(SCORE_TERMS):
            return Verdict(False, f"a dict; needed four numbers in a list, or under the names {', '.join(SCORE_TERMS)}")
        named = {str(name): value for name, value in contributions.items()}
        contributions = [named[name] for name in SCORE_TERMS]
    shapes = {(): "one number; needed four, one for each term", terms.shape: "that is every class; needed four numbers"}
    if contributions is not ... and contributions is not None and np.shape(contributions) in shapes:
        return Verdict(False, shapes[np.shape(contributions)])
    wrong = {
        "the rival is the strongest by initial scores; needed: by aligned scores, the sum of all four terms": terms[
            :, own
        ]
        - terms[:, initial_rival],
        "all four are zero: the rival is the label itself; leave it out before you look for the largest": np.zeros(4),
        "that is against the mean of the other classes; needed: against the strongest": terms[:, own]
        - terms[:, others].mean(axis=1),
        "these are the scores of the labelled class alone: take away those of its rival": terms[:, own],
        "these are the scores of the rival": terms[:, rival],
        "the signs are turned round: labelled class less rival": -truth,
        "the rival differs from term to term; needed one rival for all four": terms[:, own]
        - terms[:, others].max(axis=1),
        "these are margins on the way, where terms have added up": np.cumsum(truth),
        "row and column were exchanged, or this is another cell": _terms_elsewhere(record, x, y),
    }
    name = _text(decides)
    praise = f"without {name} the sum would be negative: by its scores this cell would be lost"
    what, two_decimals = "the list of contributions", 0.0055 / np.abs(truth).max()
    found = compare(contributions, truth, wrong=wrong, praise=praise, what=what, atol=two_decimals)
    if not found:
        if np.shape(contributions) == truth.shape and compare(contributions, truth.round(1), praise="", atol=1e-6):
            return Verdict(False, f"{what} seems rounded: hand in two decimals or more")
        return found
    if decides is ... or decides is None:
        return Verdict(False, "the four numbers are right; the name of the deciding term is still empty")
    if name is None:
        return Verdict(False, f"the four numbers are right; found {type(decides).__name__} for the name of one term")
    if name.lstrip("-").isdecimal():
        return Verdict(False, f"the four numbers are right; {name} is a number, needed the name of the term")
    if name not in SCORE_TERMS:
        return Verdict(False, f"found the term {name!r}, needed one of {', '.join(SCORE_TERMS)}")
    number = SCORE_TERMS.index(name)
    if truth[number] <= 0:
        return Verdict(False, f"the four numbers are right, but {name} works against this cell")
    if truth.sum() - truth[number] > 0:
        return Verdict(False, f"the four numbers are right, but without {name} the margin would stay positive")
    return found


def _number(answer) -> float | None:
    """A single number of any kind as a float, None for everything else."""
    try:
        return float(answer) if np.shape(answer) == () else None
    except (TypeError, ValueError):
        return None


def _distance(one: float, other: float) -> float:
    """Difference, of numbers above one as a part of the second."""
    return abs(one - other) / max(1.0, abs(other))


def _text(name) -> str | None:
    """A single name as plain text, also one inside an array; None for more than one."""
    try:
        return str(np.asarray(name).item()).strip()
    except ValueError:
        return None


def _mean(records: Sequence[xr.Dataset]) -> xr.DataArray:
    """Mean class offset, dims as the records have it."""
    offset = records[0]["class_offset"]
    return offset.copy(data=np.mean([each["class_offset"].values for each in records], axis=0))


def _right(record: xr.Dataset, **change) -> float:
    """Pixel accuracy after an intervention."""
    return _share(record, winning_class(record, intervene(record, **change)).values)


def _share(record: xr.Dataset, predicted: np.ndarray) -> float:
    """Share of the labelled grid cells that are predicted as their label."""
    counted = record["label"].values != IGNORE_INDEX
    return float((predicted == record["label"].values)[counted].mean())


def _terms_elsewhere(record: xr.Dataset, y: int, x: int) -> np.ndarray:
    """Contributions at another cell; all NaN where there is none or its label is ignored."""
    height, width = record["label"].shape
    if y >= height or x >= width or record["label"].values[y, x] == IGNORE_INDEX:
        return np.full(4, np.nan)
    terms = score_terms(record).values[:, :, y, x].astype(np.float64)
    own = int(record["label"].values[y, x])
    total = terms.sum(axis=0)
    total[own] = -np.inf
    return terms[:, own] - terms[:, total.argmax()]
