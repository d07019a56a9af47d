"""The checks of notebook 00: right answers, blanks, and typical mistakes with their diagnosis."""

import re

import numpy as np
import pytest

import offseg_viz as ov
from offseg_viz.course.checks.tour import check_mean_move, check_score


@pytest.fixture(scope="module")
def records():
    model = ov.load_model("nano-offset", weights="scenes")
    return [ov.extract(model, sample) for sample in ov.load_samples("scenes")[:3]]


def parts(record, y=3, x=4):
    here, sky = record.isel(y=y, x=x), record.sel(cls="sky")
    names = ("feature", "feature_offset", "class_embedding", "class_offset")
    return [(sky if name.startswith("class") else here)[name].values.astype(float) for name in names]


def test_the_score(records):
    e, de, w, dw = parts(records[0])
    verdict = check_score(float((e + de) @ (w + dw)), records[0])
    assert verdict and re.search(r"= -4\.9$", verdict.text)
    assert check_score(ov.scores(records[0]).sel(cls="sky").isel(y=3, x=4), records[0])


@pytest.mark.parametrize(
    ("answer", "diagnosis"),
    [
        (lambda e, de, w, dw: ..., "still empty"),
        (lambda e, de, w, dw: e @ w, "left out both offsets"),
        (lambda e, de, w, dw: (e + de) @ w, "moved the feature only"),
        (lambda e, de, w, dw: e @ (w + dw), "moved the class embedding only"),
        (lambda e, de, w, dw: e @ w + de @ dw, "add first, then multiply"),
        (lambda e, de, w, dw: _cosine(e + de, w + dw), "cosine similarity"),
        (lambda e, de, w, dw: (e + de) * (w + dw), r"shape \(64,\)"),
        (lambda e, de, w, dw: 0.0, "not the right number"),
    ],
)
def test_a_wrong_score(records, answer, diagnosis):
    verdict = check_score(answer(*parts(records[0])), records[0])
    assert not verdict and re.search(diagnosis, verdict.text) and "4.9" not in verdict.text


def test_a_score_of_another_kind_or_place(records):
    record = records[0]
    assert "this is the logit" in check_score(ov.logits(record).sel(cls="sky").isel(y=3, x=4), record).text
    assert "row and column" in check_score(ov.scores(record).sel(cls="sky").isel(y=4, x=3), record).text
    assert "counted from 0" in check_score(ov.scores(record).sel(cls="sky").isel(y=2, x=3), record).text


def _cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def moves(records, cls, *, relative=True, chosen=lambda record: record.label):
    number = list(records[0].cls.values).index(cls)
    maps = [ov.offset_magnitude(record, "feature", relative=relative).values for record in records]
    return [each[chosen(record).values == number] for each, record in zip(maps, records)]


def mean_move(records, cls):
    return np.concatenate(moves(records, cls)).mean()


def test_the_mean_move(records):
    verdict = check_mean_move(mean_move, records)
    told = ", ".join(rf"{cls} 0\.\d\d" for cls in ("road", "pole", "trunk", "lane marking"))
    assert verdict and re.fullmatch(f"{told}: the three thin things .*", verdict.text)
    assert check_mean_move(mean_move, iter(records))
    assert check_mean_move(in_xarray, records)


def in_xarray(records, cls):
    moves = []
    for record in records:
        own = record.label == list(record.cls.values).index(cls)
        moves.append(ov.offset_magnitude(record, "feature", relative=True).where(own).values.ravel())
    return np.nanmean(np.concatenate(moves))


def by_label(records, cls, function):
    """`function` of |dE|, |E| and the mask of the class, of all cells of all records."""
    number = list(records[0].cls.values).index(cls)
    lengths = [ov.offset_magnitude(record, "feature").values.ravel() for record in records]
    of_feature = [np.linalg.norm(record.feature.values, axis=-1).ravel() for record in records]
    own = [record.label.values.ravel() == number for record in records]
    return function(*map(np.concatenate, (lengths, of_feature, own)))


def failing(records, cls):
    raise KeyError("sky")


@pytest.mark.parametrize(
    ("answer", "diagnosis"),
    [
        (..., "mean_move is still empty"),
        (lambda records, cls: ..., r"mean_move\(records, 'road'\) is still empty"),
        (0.44, "needed the function itself"),
        (failing, "stopped with KeyError: 'sky'"),
        (lambda r, cls: np.mean([m.mean() for m in moves(r, cls) if m.size]), "every image counts the same"),
        (lambda r, cls: np.concatenate(moves(r, cls, relative=False)).mean(), "length of dE itself"),
        (lambda r, cls: np.mean([ov.offset_magnitude(x, "feature", relative=True) for x in r]), "over all cells"),
        (lambda r, cls: np.concatenate(moves(r, cls, chosen=ov.prediction)).mean(), "by the prediction"),
        (lambda r, cls: moves(r, cls)[0].mean(), "the first image alone"),
        (lambda r, cls: np.concatenate(moves(r, cls)), r"shape \("),
        (
            lambda r, cls: mean_move(r, "road"),
            r"mean_move\(records, 'pole'\)|what holds for road: does the function use",
        ),
        (lambda r, cls: np.mean([m.mean() if m.size else np.nan for m in moves(r, cls)]), "image without the class"),
        (lambda r, cls: np.float64(np.nan), "a label compared with a name"),
        (lambda r, cls: by_label(r, cls, lambda d, e, own: (d / e * own).mean()), "other classes are counted as 0"),
        (lambda r, cls: by_label(r, cls, lambda d, e, own: d[own].sum() / e[own].sum()), "divide in every cell first"),
        (lambda r, cls: by_label(r, cls, lambda d, e, own: np.median((d / e)[own])), "the median"),
        (lambda r, cls: by_label(r, cls, lambda d, e, own: (d / e)[~own].mean()), "the cells that are not road"),
        (lambda r, cls: by_label(r, cls, lambda d, e, own: (d / e)[own].sum()), "the sum over the cells"),
        (lambda r, cls: 0.0, "is not the right number"),
    ],
)
def test_a_wrong_mean_move(records, answer, diagnosis):
    verdict = check_mean_move(answer, records)
    assert not verdict and re.search(diagnosis, verdict.text)
    assert "thin" not in verdict.text and not re.search(r"0\.\d\d", verdict.text)


def test_a_function_that_ignores_its_records(records):
    verdict = check_mean_move(lambda _, cls: mean_move(records, cls), records)
    assert not verdict and "use the argument" in verdict.text and not re.search(r"0\.\d\d", verdict.text)

    def stopping(some, cls):
        return mean_move(some, cls) if len(some) == len(records) else failing(some, cls)

    assert "stopped with KeyError" in check_mean_move(stopping, records).text
