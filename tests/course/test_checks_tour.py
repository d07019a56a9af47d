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
        (lambda e, de, w, dw: 0.0, "not the right values"),
    ],
)
def test_a_wrong_score(records, answer, diagnosis):
    verdict = check_score(answer(*parts(records[0])), records[0])
    assert not verdict and re.search(diagnosis, verdict.text) and "4.9" not in verdict.text


def test_a_score_of_another_kind_or_place(records):
    record = records[0]
    assert "this is the logit" in check_score(ov.logits(record).sel(cls="sky").isel(y=3, x=4), record).text
    assert "row and column" in check_score(ov.scores(record).sel(cls="sky").isel(y=4, x=3), record).text


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
    assert verdict and re.fullmatch(r"road 0\.\d\d, trunk 0\.\d\d, lane marking 0\.\d\d: the two .*", verdict.text)
    assert check_mean_move(mean_move, iter(records))


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
        (lambda r, cls: mean_move(r, "road"), r"mean_move\(records, 'trunk'\) has the right shape"),
    ],
)
def test_a_wrong_mean_move(records, answer, diagnosis):
    verdict = check_mean_move(answer, records)
    assert not verdict and re.search(diagnosis, verdict.text)
    assert "thin" not in verdict.text and not re.search(r"0\.\d\d", verdict.text)
