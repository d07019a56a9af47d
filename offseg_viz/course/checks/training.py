"""Checks of notebook 08: the learning rate over a run, mIoU of a confusion matrix, a paired interval over images."""

import numpy as np

from offseg_viz.course.verdict import Verdict, compare

STEPS, WARMUP, POWER = 300, 30, 0.9
CHECKED_STEPS = (0, 10, 29, 30, 31, 120, 210, 298, 299)

_WEIGHTS = np.array(
    [
        [1, 1, 1, 1, 1, 1],
        [2, 0, 1, 1, 0, 2],
        [0, 3, 0, 1, 2, 0],
        [1, 0, 0, 2, 1, 2],
        [3, 1, 1, 0, 1, 0],
        [0, 0, 2, 2, 2, 0],
    ]
)
"""How often each of six images is in each of six draws: few enough to see through."""


def check_learning_rate_factor(function) -> Verdict:
    """The factor on the learning rate at a step: linear warm-up to 1, then polynomial decay to 0 at the last step.

    Asked is ``function(step, steps, warmup, power)``. Told are a missing warm-up, a decay that starts at step 0, a
    forgotten power, a decay that is missing, and counting that is off by one step.
    """
    what = "the list of factors"
    found = _called(function, [(step, STEPS, WARMUP, POWER) for step in CHECKED_STEPS], what)
    if isinstance(found, Verdict):
        return found
    step = np.array(CHECKED_STEPS, dtype=float)
    warm = step < WARMUP
    rise = step / (WARMUP - 1)
    done = np.clip((step - WARMUP) / (STEPS - 1 - WARMUP), 0, None)
    decay, from_start = (1 - done) ** POWER, (1 - step / (STEPS - 1)) ** POWER
    near = (
        "the shape is right, but it is off by one step somewhere: look at the two steps around the end of the warm-up"
    )
    near += " and at the last step of the run"
    late, end = (1 - np.clip((step - WARMUP) / (STEPS - WARMUP), 0, None)) ** POWER, decay
    wrong = {
        "there is no warm-up: the first steps already have the full rate": decay,
        "there is no warm-up, and the decay is counted from step 0, not from the end of the warm-up": from_start,
        "the decay is counted from step 0, so that the rate jumps down where the warm-up ends": np.where(
            warm, rise, from_start
        ),
        "power is not used: the decay is a straight line": np.where(warm, rise, 1 - done),
        "the rate never falls: the second part, the decay, is missing": np.where(warm, rise, 1.0),
        "the warm-up rises by the power too; only the decay has it": np.where(warm, rise**POWER, decay),
    }
    rises = (rise, step / WARMUP, (step + 1) / WARMUP)
    off = [np.where(warm, one, other) for one in rises for other in (end, late)][1:]
    praise = (
        "a rise, a fall, and 0 at the last step; power below 1 keeps the rate high for longer, 1 is a straight line"
    )
    verdict = compare(found, np.where(warm, rise, decay), wrong=wrong, praise=praise, what=what)
    if not verdict and any(np.allclose(found, other, atol=1e-6) for other in off):
        return Verdict(False, near)
    return verdict


def check_mean_iou(function) -> Verdict:
    """The mean IoU of a confusion matrix whose rows are labels and whose columns are predictions.

    Asked is ``function(confusion)``, as a fraction; a class that is neither labelled nor predicted has no IoU. Called
    on two matrices, one of which has such a class. Told are the accuracies of classes and of pixels, precision, a
    union that counts pixels twice, an absent class taken as zero, and a mean weighted by frequency.
    """
    confusions = _confusions()[:2].copy()
    confusions[1, 3, :] = confusions[1, :, 3] = 0
    what = "the list of the two means"
    found = _called(function, [(confusion.copy(),) for confusion in confusions], what)
    if isinstance(found, Verdict):
        return found

    def means(figure, mean=np.nanmean) -> list[float]:
        values = []
        for c in confusions.astype(float):
            with np.errstate(invalid="ignore"):
                values.append(float(mean(figure(np.diag(c), c.sum(1), c.sum(0)))))
        return values

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
        "a class that is neither labelled nor predicted counted as zero: it has no IoU and no place in the mean": means(
            _iou, lambda values: np.nan_to_num(values).mean()
        ),
        "every class is weighted by how frequent it is; here each one counts the same": [
            float(np.nansum(_iou(np.diag(c), c.sum(1), c.sum(0)) * c.sum(1) / c.sum()))
            for c in confusions.astype(float)
        ],
    }
    praise = "every class counts the same, however rare it is, and an absent class counts nowhere"
    return compare(found, means(_iou), wrong=wrong, praise=praise, what=what)


def check_gain_interval(function) -> Verdict:
    """The 95 % interval over images of the gain in mIoU of a second network over a first one, paired, in points.

    Asked is ``function(first, second, weights)`` with the confusion matrices of every image (images, K, K) of both and
    how often each image is in each draw (draws, images); the result is (low, high). Told are other pairs of ends, a
    gain the wrong way round, fractions, draws that are not shared, intervals that are taken apart first, a mean over
    the draws alone, and an mIoU that is averaged over images.
    """
    what = "the interval (low, high)"
    first, second = _confusions(), _confusions(better=2)
    found = _called(function, [(first.copy(), second.copy(), _WEIGHTS.copy())], what)
    if isinstance(found, Verdict):
        return found
    if np.shape(found[0]) != (2,):
        return Verdict(False, f"{what} has shape {np.shape(found[0])}, needed two numbers: its lower and its upper end")
    one, other = (_drawn(confusions, _WEIGHTS) for confusions in (first, second))
    shifted = _drawn(second, np.roll(_WEIGHTS, 1, axis=0))
    by_image = [_drawn(confusions, np.eye(len(first))) for confusions in (first, second)]
    gain = 100 * (other - one)
    averaged = 100 * (_WEIGHTS @ (by_image[1] - by_image[0])) / len(first)
    ends = (2.5, 97.5)
    wrong = {
        "the two ends are the wrong way round": np.percentile(gain, ends)[::-1],
        "that is the gain of the first network over the second": np.percentile(-gain, ends),
        "these are fractions; asked are points, hundredths of mIoU": np.percentile(gain / 100, ends),
        "from the 5th to the 95th percentile there are 90 % of the draws": np.percentile(gain, (5, 95)),
        "the smallest and the largest draw hold all of them between them, not 95 %": [gain.min(), gain.max()],
        "the two networks got different draws: that some images are hard for both no longer cancels": (
            np.percentile(100 * (shifted - one), ends)
        ),
        "that is the difference of the ends of two intervals: take the difference in every draw first": (
            100 * (np.percentile(other, ends) - np.percentile(one, ends))
        ),
        "mIoU was taken of every image and averaged: add up the confusion matrices of a draw first, then take it": (
            np.percentile(averaged, ends)
        ),
        "the weights are not used: every draw is the whole data set": [gain[0], gain[0]],
    }
    praise = "both networks met the same images in every draw, so the interval is about their difference alone"
    return compare(found[0], np.percentile(gain, ends), wrong=wrong, praise=praise, what=what)


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


def _confusions(better: int = 0) -> np.ndarray:
    """Confusion matrices of six images and five classes, (6, 5, 5) int64; `better` adds right pixels."""
    image, label, said = np.ogrid[:6, :5, :5]
    counts = (7 * image + 5 * label * label + 3 * said + image * label * said) % 11 + 1
    right = np.eye(5, dtype=int) * (10 + (image * label + 3 * label) % 17 + better * ((2 * image + label) % 5))
    return counts + right
