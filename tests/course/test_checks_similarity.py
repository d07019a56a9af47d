"""The checks of notebook 05: solutions pass, blanks and typical mistakes are told what they are."""

import numpy as np
import pytest
import xarray as xr

import offseg_viz as ov
from offseg_viz.course.checks.similarity import check_centred_cosine, check_nearest_changed, check_pixel_cosine

CLS = "window"
ROW, COL = 50, 25
PRAISES = ("about this class again", "one product of a matrix", "all classes at once")


@pytest.fixture(scope="module")
def record():
    return ov.extract(ov.load_model("nano-offset", weights="scenes"), ov.load_samples("scenes")[10])


def vectors(record, stage):
    if stage == "initial":
        return record.feature.values, record.class_embedding.values
    return ov.aligned_feature(record).values, ov.aligned_class_embedding(record).values


def cosine(feature, embedding):
    lengths = np.linalg.norm(feature, axis=-1)[..., None] * np.linalg.norm(embedding, axis=-1)
    return feature @ embedding.T / lengths


def told(verdict, diagnosis):
    """Whether a verdict fails with a diagnosis, without a word of praise."""
    return not verdict and diagnosis in verdict.text and not any(praise in verdict.text for praise in PRAISES)


@pytest.mark.parametrize("blank", [..., None])
def test_blanks_are_still_empty(record, blank):
    for verdict in (
        check_centred_cosine(blank, record, CLS),
        check_pixel_cosine(lambda feature, row, col: blank, record, ROW, COL),
        check_nearest_changed(blank, record),
    ):
        assert told(verdict, "still empty")


def test_a_function_is_to_be_called_where_its_result_is_asked_for(record):
    for answer in (..., None, record.label.values):
        assert told(check_pixel_cosine(answer, record, ROW, COL), "needed the function itself, without a call")
    assert told(check_nearest_changed(lambda: 1, record), "call it")


def test_centred_cosine(record):
    (e, w), (before_e, before_w) = vectors(record, "aligned"), vectors(record, "initial")
    k = record.cls.values.tolist().index(CLS)
    centred, before = w - w.mean(axis=0), before_w - before_w.mean(axis=0)

    def check(answer):
        return check_centred_cosine(answer, record, CLS)

    assert check(cosine(e, centred)[..., k])
    aligned = ov.aligned_class_embedding(record)
    of_package = ov.cosine_similarity(ov.aligned_feature(record), aligned - aligned.mean("cls")).sel(cls=CLS)
    lengths = np.linalg.norm(e, axis=-1)
    around = e - e.mean(axis=(0, 1))
    for answer, diagnosis in (
        (cosine(e, w)[..., k], "plain cosine"),
        (cosine(e, w - w.mean(axis=1, keepdims=True))[..., k], "over channels"),
        (cosine(e, w)[..., k] - cosine(e, w).mean(axis=-1), "taken off the cosines; needed: off the class embeddings"),
        (cosine(e, w)[..., k] - cosine(e, w)[..., k].mean(), "the map's own mean"),
        (cosine(around, w)[..., k], "the features were centred; "),
        (cosine(around, centred)[..., k], "the features were centred too"),
        (e @ centred[k], "inner products"),
        (e @ centred[k] / lengths, "length of the class embedding"),
        (e @ centred[k] / np.linalg.norm(centred[k]), "lengths of the features"),
        (e @ centred[k] / (lengths * np.linalg.norm(w[k])), "before it was centred"),
        (cosine(before_e, before)[..., k], "initial stage"),
        (cosine(e, before)[..., k], "E + dE with W"),
        (cosine(before_e, centred)[..., k], "W + dW with E"),
        (cosine(e, centred), "choose the one class"),
        (cosine(e, centred)[..., k].T, "transposed"),
        (of_package, "made by the package"),
    ):
        assert told(check(answer), diagnosis), diagnosis
    assert check(of_package.copy(data=cosine(e, centred)[..., k])), "a name alone is no fault"


def right(feature, row, col):
    unit = feature / np.linalg.norm(feature, axis=-1, keepdims=True)
    return unit @ unit[row, col]


def in_place(feature, row, col):
    feature /= np.linalg.norm(feature, axis=-1, keepdims=True)
    return feature @ feature[row, col]


def one_length(feature, row, col):
    unit = feature / np.linalg.norm(feature)
    return unit @ unit[row, col]


def over_positions(feature, row, col):
    unit = feature / np.maximum(np.linalg.norm(feature, axis=(0, 1)), 1e-12)
    return unit @ unit[row, col]


def of_product(divisor):
    """Inner products, divided by what `divisor` makes of all lengths and of that of the pixel."""

    def pixel_cosine(feature, row, col):
        length = np.linalg.norm(feature, axis=-1)
        return feature @ feature[row, col] / divisor(length, length[row, col])

    return pixel_cosine


def test_pixel_cosine(record):
    e, moved = record.feature.values, ov.aligned_feature(record).values
    before = e.copy()

    def check(answer):
        return check_pixel_cosine(answer, record, ROW, COL)

    for answer in (
        right,
        of_product(lambda length, own: length * own),
        lambda f, row, col: xr.DataArray(right(f, row, col), dims=("y", "x")),
        lambda feature, row, col: cosine(feature, feature[row, col][None])[..., 0],
    ):
        assert check(answer)
    for answer, diagnosis in (
        (of_product(lambda length, own: 1), "inner products"),
        (of_product(lambda length, own: length), "length of the chosen feature"),
        (of_product(lambda length, own: own), "lengths of the other features"),
        (of_product(lambda length, own: length**2), "squared length"),
        (of_product(lambda length, own: np.linalg.norm(length) * own), "all other features were divided by one"),
        (of_product(lambda length, own: np.linalg.norm(length)), "the products of all features were divided by one"),
        (one_length, "all features were divided by one and the same length"),
        (over_positions, "over positions; needed: over channels"),
        (in_place, "changed in place"),
        (lambda feature, row, col: right(e, 50, 25), "use the `row` and `col` that are given"),
        (lambda feature, row, col: right(feature, 50, 25), "use the `row` and `col` that are given"),
        (lambda feature, row, col: right(e, row, col), "use the `feature` that is given: these"),
        (lambda feature, row, col: right(moved, row, col), "use the `feature` that is given: these"),
        (lambda feature, row, col: cosine(moved, feature[row, col][None])[..., 0], "for both"),
        (lambda feature, row, col: cosine(feature, e[row, col][None])[..., 0], "for both"),
        (lambda feature, row, col: right(feature, col, row), "row (y) comes first"),
        (lambda feature, row, col: right(feature, row, col).ravel(), "a row of 6144 numbers"),
        (lambda feature, row, col: right(feature, row, col).T, "transposed"),
        (lambda feature, row: feature, "raised TypeError"),
    ):
        assert told(check(answer), diagnosis), (diagnosis, check(answer))
    assert np.array_equal(record.feature.values[0], before[0]) and np.array_equal(record.feature, before)


def test_nearest_changed(record):
    (e, w), (moved_e, moved_w) = vectors(record, "initial"), vectors(record, "aligned")
    before, after = (cosine(*pair).argmax(axis=-1) for pair in ((e, w), (moved_e, moved_w)))
    centred = [cosine(f, v - v.mean(axis=0)).argmax(axis=-1) for f, v in ((e, w), (moved_e, moved_w))]
    changed = before != after
    assert check_nearest_changed(changed, record) and check_nearest_changed((after - before).astype(bool), record)
    rounded = changed.copy()
    rounded[0, :3] = ~rounded[0, :3]
    assert check_nearest_changed(rounded, record), "a few ties may fall the other way"

    by_scores = np.not_equal(*(ov.scores(record, stage).argmax("cls").values for stage in ("initial", "aligned")))
    for answer, diagnosis in (
        (~changed, "keep their nearest class"),
        (before, "nearest class, before"),
        (after, "nearest class, after"),
        (by_scores, "scores change their winner"),
        (ov.prediction(record, "initial") != ov.prediction(record), "the prediction changes"),
        (centred[0] != centred[1], "centred cosine"),
        (before != cosine(moved_e, w).argmax(axis=-1), "here it was W"),
        (before != cosine(e, moved_w).argmax(axis=-1), "here it was E"),
        (cosine(e, w).argmin(axis=-1) != cosine(moved_e, moved_w).argmin(axis=-1), "smallest cosine"),
        (after - before, "difference of class numbers"),
        (before - after, "difference of class numbers"),
        (abs(after - before), "difference of class numbers"),
        (np.zeros(32, bool), "arg max over positions"),
        (changed.mean(), "one number"),
        (changed.T, "transposed"),
        (np.zeros_like(changed), "not the right values"),
    ):
        assert told(check_nearest_changed(answer, record), diagnosis), diagnosis
