"""Checks of notebook 08: the learning rate over a run, mIoU of a confusion matrix, a paired interval over images."""

import numpy as np

from offseg_viz.course.verdict import Verdict, compare

STEPS, WARMUP, POWER = 300, 30, 0.9
CHECKED_STEPS = (0, 10, 29, 30, 31, 120, 210, 298, 299)
OTHER_STEPS, OTHER_WARMUP, OTHER_POWER = 80, 8, 2.0
"""A second run, on which a function with the numbers of the first one in it is wrong."""
OTHER_CHECKED = (0, 3, 7, 8, 9, 40, 78, 79)

IMAGES, DRAWS = 6, 1000
ENDS = (2.5, 97.5)
"""In percent: the ends of what holds the middle 95 % of the draws."""


def check_learning_rate_factor(function) -> Verdict:
    """The factor on the learning rate at a step: linear warm-up to 1, then polynomial decay to 0 at the last step.

    Asked is ``function(step, steps, warmup, power)``; called for two runs. Told are a missing warm-up, a decay that
    starts at step 0, a forgotten power or one at the wrong place, a decay that is missing, a warm-up that is one step
    too long, counting that is off by one step, numbers that stand in the function, and rounding.
    """
    what = "the list of factors"
    runs = ((STEPS, WARMUP, POWER, CHECKED_STEPS), (OTHER_STEPS, OTHER_WARMUP, OTHER_POWER, OTHER_CHECKED))
    calls = [(step, steps, warmup, power) for steps, warmup, power, checked in runs for step in checked]
    found = _called(function, calls, what)
    if isinstance(found, Verdict):
        return found
    step, steps, warmup, power = np.array(calls, dtype=float).T
    warm = step < warmup
    rise = step / (warmup - 1)
    done = np.clip((step - warmup) / (steps - 1 - warmup), 0, 1)
    decay, from_start = (1 - done) ** power, (1 - step / (steps - 1)) ** power
    truth = np.where(warm, rise, decay)
    late = (1 - np.clip((step - warmup) / (steps - warmup), 0, 1)) ** power
    from_start_late = (1 - step / steps) ** power
    jumps = "the decay is counted from step 0, so that the rate jumps down where the warm-up ends"
    nowhere = "there is no warm-up, and the decay is counted from step 0, not from the end of the warm-up"
    wrong = {
        "there is no warm-up: the first steps already have the full rate": decay,
        "there is no warm-up: the first steps have more than the full rate": (
            1 - (step - warmup) / (steps - 1 - warmup)
        )
        ** power,
        nowhere: from_start,
        f"{nowhere}; nor does it reach 0 at the last step": from_start_late,
        jumps: np.where(warm, rise, from_start),
        f"{jumps}; nor does it reach 0 at the last step": np.where(warm, rise, from_start_late),
        "power is not used: the decay is a straight line": np.where(warm, rise, 1 - done),
        "the rate never falls: the second part, the decay, is missing": np.where(warm, rise, 1.0),
        "the warm-up rises by the power too; only the decay has it": np.where(warm, rise**power, decay),
        "after the warm-up the rate rises from 0, and ends at 1: that is what is done of the decay, not what is left": (
            np.where(warm, rise, done**power)
        ),
        "the power was taken of what is done of the decay, and subtracted then: subtract first": np.where(
            warm, rise, 1 - done**power
        ),
        "step `warmup` still has the warm-up here, and a factor above 1: it is the first step of the decay": (
            np.where(step <= warmup, rise, decay)
        ),
    }
    praise = (
        "a rise, a fall, and 0 at the last step; power below 1 keeps the rate high for longer, 1 is a straight line"
    )
    verdict = compare(found, truth, wrong=wrong, praise=praise, what=what)
    rises = (rise, step / warmup, (step + 1) / warmup)
    off = [np.where(warm, one, other) for one in rises for other in (decay, late)][1:]
    if not verdict and any(compare(found, other, praise="", atol=1e-6) for other in off):
        near = "look at the two steps around the end of the warm-up and at the last step of the run"
        return Verdict(False, f"the shape is right, but it is off by one step somewhere: {near}")
    first_run = len(CHECKED_STEPS)
    if not verdict and compare(found[:first_run], truth[:first_run], praise=""):
        given = f"{STEPS} steps, a warm-up of {WARMUP} and a power of {POWER}"
        return Verdict(False, f"right for {given}, but not for other numbers: use the arguments of the function")
    return verdict


def check_mean_iou(function) -> Verdict:
    """The mean IoU of a confusion matrix whose rows are labels and whose columns are predictions.

    Asked is ``function(confusion)``, as a fraction; a class that is neither labelled nor predicted has no IoU. Called
    on three matrices: in the second a class is absent, in the third two are never predicted and one never labelled.
    Told are the accuracies of classes and of pixels, precision, a union that counts pixels twice, the IoU of all pixels
    together, an absent class taken as zero, classes that were left out though they count, a mean weighted by frequency,
    percent, and rounding.
    """
    confusions = _confusions()[:3].copy()
    confusions[1, 3, :] = confusions[1, :, 3] = 0
    confusions[2][:, [1, 3]] = confusions[2, 4, :] = 0
    what = "the list of the three means"
    found = _called(function, [(confusion.copy(),) for confusion in confusions], what)
    if isinstance(found, Verdict):
        return found

    def means(figure, mean=np.nanmean) -> list[float]:
        values = []
        for c in confusions.astype(float):
            with np.errstate(invalid="ignore"):
                values.append(float(mean(figure(np.diag(c), c.sum(1), c.sum(0)))))
        return values

    def those(counted) -> list[float]:
        """The means over the classes for which `counted` of right, labelled and predicted pixels is above zero."""
        return means(lambda *pixels: np.where(counted(*pixels) > 0, _iou(*pixels), np.nan))

    truth, never = means(_iou), "leave out a class only where it is neither labelled nor predicted"
    wrong = {
        "that is right over labelled, the accuracy of a class (mAcc): pixels of other classes that were predicted as "
        "this one do not count against it yet": means(lambda right, label, said: right / label),
        "that is right over predicted, the precision of a class: its pixels that were missed do not count against it "
        "yet": means(lambda right, label, said: right / said),
        "the pixels that are right stand twice in your union: once as labelled, once as predicted": means(
            lambda right, label, said: right / (label + said)
        ),
        "that is the F score (Dice), twice the intersection over the sum of both": means(
            lambda right, label, said: 2 * right / (label + said)
        ),
        "that is the share of all pixels that are right (aAcc): one number, in which frequent classes decide": means(
            lambda right, label, said: np.array([right.sum() / label.sum()])
        ),
        "intersections and unions were added up over the classes: divide class by class, then take the mean": means(
            lambda right, label, said: right.sum() / (label + said - right).sum()
        ),
        "a class that is neither labelled nor predicted counted as zero: it has no IoU and no place in the mean": means(
            _iou, lambda values: np.nan_to_num(values).mean()
        ),
        f"a class that is labelled but never predicted right has IoU 0, and counts: {never}": those(
            lambda right, label, said: right
        ),
        f"a class that is predicted but nowhere labelled has IoU 0, and counts: {never}": those(
            lambda right, label, said: label
        ),
        f"a class that is labelled but never predicted has IoU 0, and counts: {never}": those(
            lambda right, label, said: said
        ),
        "every class is weighted by how frequent it is; here each one counts the same": [
            float(np.nansum(_iou(np.diag(c), c.sum(1), c.sum(0)) * c.sum(1) / c.sum()))
            for c in confusions.astype(float)
        ],
        "a percentage? asked is a fraction, from 0 to 1": 100 * np.array(truth),
    }
    praise = "every class counts the same, however rare it is, and an absent class counts nowhere"
    return compare(found, truth, wrong=wrong, praise=praise, what=what)


def check_gain_interval(function) -> Verdict:
    """The 95 % interval over images of the gain in mIoU of a second network over a first one, paired, in points.

    Asked is ``function(first, second, weights)`` with the confusion matrices of every image (images, K, K) of both and
    how often each image is in each draw (draws, images); the result is (low, high). Every way to take a quantile of the
    draws is right: an end may be one draw further in or out. Told are other pairs of ends, a mean with standard
    deviations in place of quantiles, a gain the wrong way round, fractions, draws that are not shared, intervals that
    are taken apart first, an mIoU that is averaged over images, weights that are not used, and rounding.
    """
    what = "the interval (low, high)"
    first, second, weights = _confusions(), _confusions(better=2), _weights()
    found = _called(function, [(first.copy(), second.copy(), weights.copy())], what)
    if isinstance(found, Verdict):
        return found
    if np.shape(found[0]) != (2,):
        return Verdict(False, f"{what} has shape {np.shape(found[0])}, needed two numbers: its lower and its upper end")
    one, other = (_drawn(confusions, weights) for confusions in (first, second))
    gain = 100 * (other - one)
    needed = np.percentile(gain, ENDS)
    try:
        low_high = np.asarray(found[0], dtype=np.float64)
    except (TypeError, ValueError):
        return compare(found[0], needed, praise=_FAIR, what=what)
    if _is_interval(low_high, gain):
        return Verdict(True, _FAIR)
    for digits in (1, 2, 3):
        if np.array_equal(low_high.round(digits), low_high) and _is_interval(low_high, gain, slack=0.5 * 0.1**digits):
            return Verdict(False, f"rounded to {digits} digits behind the point? give all of them")
    shifted = _drawn(second, np.roll(weights, 1, axis=0))
    before, after = (_drawn(confusions, np.eye(len(first))) for confusions in (first, second))
    draws = {
        "that is the gain of the first network over the second": -gain,
        "these are fractions; asked are points, hundredths of mIoU": gain / 100,
        "the two networks got different draws: that some images are hard for both no longer cancels": (
            100 * (shifted - one)
        ),
        "mIoU was taken of every image and averaged: add up the confusion matrices of a draw first, then take it": (
            100 * (weights @ (after - before)) / len(first)
        ),
    }
    if _is_interval(low_high[::-1], gain):
        return Verdict(False, "the two ends are the wrong way round")
    if _is_interval(low_high, gain, ends=(5, 95)):
        return Verdict(False, "from the 5th to the 95th percentile there are 90 % of the draws")
    for diagnosis, values in draws.items():
        if _is_interval(low_high, values):
            return Verdict(False, diagnosis)
    whole = 100 * (_drawn(second, np.ones((1, len(first)))) - _drawn(first, np.ones((1, len(first)))))[[0, 0]]
    error = gain.std() / np.sqrt(len(gain))
    wrong = {
        "the smallest and the largest draw hold all of them between them, not 95 %": [gain.min(), gain.max()],
        "that is the difference of the ends of two intervals: take the difference in every draw first": (
            100 * (np.percentile(other, ENDS) - np.percentile(one, ENDS))
        ),
        "the weights are not used: every draw is the whole data set": whole,
    }
    for factor in (1.96, 2):
        wrong[f"that is the mean and {factor} standard deviations of the draws; needed: their quantiles"] = (
            gain.mean() + np.array([-1, 1]) * factor * gain.std()
        )
        wrong[f"that is {factor} standard errors about the mean of the draws: more draws would make it narrower"] = (
            gain.mean() + np.array([-1, 1]) * factor * error
        )
    return compare(low_high, needed, wrong=wrong, praise=_FAIR, what=what, atol=1e-3)


_FAIR = "both networks met the same images in every draw, so the interval is about their difference alone"


def _is_interval(found: np.ndarray, draws: np.ndarray, slack: float = 1e-6, ends: tuple = ENDS) -> bool:
    """Whether both ends lie where they may, as quantiles are taken in several ways: between the neighbouring draws."""
    ranked = np.sort(draws)
    for value, end in zip(found, ends, strict=True):
        place = end / 100 * (len(ranked) - 1)
        low, high = ranked[int(np.floor(place)) - 1], ranked[int(np.ceil(place)) + 1]
        if not low - slack <= value <= high + slack:
            return False
    return True


def _called(function, calls: list[tuple], what: str) -> list | Verdict:
    """The results of a student's function, or what is wrong with it."""
    if function is ... or function is None:
        return compare(None, 0, praise="", what="the function")
    if not callable(function):
        return Verdict(False, f"found {type(function).__name__}, needed the function itself, not what it returns")
    results = []
    for arguments in calls:
        try:
            results.append(function(*arguments))
        except Exception as cause:  # whatever a student's code raises is an answer, and shall be told as one
            return Verdict(False, f"your function raised {type(cause).__name__}: {cause}")
    if any(result is None or result is ... for result in results):
        return compare(None, 0, praise="", what=f"{what} (a function without return gives None)")
    return results


def _iou(right: np.ndarray, label: np.ndarray, said: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return right / (label + said - right)


def _drawn(confusions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """mIoU of every draw of images, (draws,)."""
    pooled = np.tensordot(weights, confusions, 1).astype(float)
    return np.array([np.nanmean(_iou(np.diag(c), c.sum(1), c.sum(0))) for c in pooled])


def _weights() -> np.ndarray:
    """How often each image is in each draw, (draws, images)."""
    return np.random.default_rng(8).multinomial(IMAGES, np.full(IMAGES, 1 / IMAGES), DRAWS)


def _confusions(better: int = 0) -> np.ndarray:
    """Confusion matrices of six images and five classes, (6, 5, 5) int64; `better` adds right pixels."""
    image, label, said = np.ogrid[:IMAGES, :5, :5]
    counts = (7 * image + 5 * label * label + 3 * said + image * label * said) % 11 + 1
    right = np.eye(5, dtype=int) * (10 + (image * label + 3 * label) % 17 + better * ((2 * image + label) % 5))
    return counts + right
