"""The checks of notebook 03: right answers, blanks, and the diagnoses of typical mistakes."""

import re

import numpy as np
import pytest
from noise import noise_sample, trained_looking

from offseg_viz.course.checks.by_hand import check_class_attention, check_class_offset, check_feature_offset
from offseg_viz.extract.extract import extract


def softmax(values, axis):
    powers = np.exp(values - values.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


class Case:
    """One image as matrices, and the answers from the equations."""

    def __init__(self):
        model = trained_looking("nano-offset")
        self.head, self.record = model.decode_head.classifier, extract(model, noise_sample())
        self.e = self.record.feature.values.reshape(-1, self.record.sizes["channel"])
        self.w, self.dw = self.record.class_embedding.values, self.record.class_offset.values
        self.to_class = self.head.class_offset_proj.weight.detach().numpy()
        self.to_feature = self.head.feature_offset_proj.weight.detach().numpy()
        self.coupled = self.w @ self.e.T
        self.a_cls, self.a_pos = softmax(self.coupled, 1), softmax(self.coupled, 0).T

    def check(self, question, answer):
        checks = {
            "class attention": lambda: check_class_attention(answer, self.record),
            "class offset": lambda: check_class_offset(answer, self.record, self.head),
            "feature offset": lambda: check_feature_offset(answer, self.record, self.head),
        }
        return checks[question]()


PRAISE = {
    "class attention": "spreads a weight of one",
    "class offset": "that the network itself formed",
    "feature offset": "never forms as one array",
}
SOLUTIONS = {
    "class attention": lambda c: c.a_cls,
    "class offset": lambda c: c.a_cls @ c.e @ c.to_class.T,
    "feature offset": lambda c: c.a_pos @ c.w @ c.to_feature.T,
}
MISTAKES = [
    ("class attention", lambda c: softmax(c.coupled, 0), "over classes, not over positions"),
    ("class attention", lambda c: c.a_cls.T, "it is transposed"),
    ("class attention", lambda c: c.a_pos, "it is transposed"),
    ("class attention", lambda c: np.exp(c.coupled), "not normalised: these are the powers of e, which"),
    ("class attention", lambda c: np.exp(c.coupled - c.coupled.max(1, keepdims=True)), "less the largest entry"),
    ("class attention", lambda c: softmax(c.coupled.ravel(), 0).reshape(c.coupled.shape), "all weights of the matrix"),
    ("class attention", lambda c: c.coupled, "the softmax is missing"),
    ("class attention", lambda c: c.coupled / c.coupled.sum(1, keepdims=True), "divided by their sum"),
    ("class attention", lambda c: softmax(c.coupled / c.w.shape[1] ** 0.5, 1), "by the root of C"),
    ("class attention", lambda c: np.full_like(c.a_cls, 1 / c.a_cls.shape[1]), "not the right values"),
    ("class attention", lambda c: c.a_cls / 2, "constant factor"),
    ("class offset", lambda c: c.a_cls @ c.e, r"the projection of eq. \(7\) is missing"),
    ("class offset", lambda c: c.a_cls @ c.e @ c.to_class, "projected by the transposed matrix"),
    ("class offset", lambda c: c.a_cls @ c.e @ c.to_feature.T, "belongs to the features"),
    ("class offset", lambda c: c.a_pos.T @ c.e @ c.to_class.T, "sum to one over classes"),
    ("class offset", lambda c: c.coupled @ c.e @ c.to_class.T, r"the softmax of eq. \(5\) is missing"),
    ("class offset", lambda c: c.w + c.dw, r"W was added already"),
    ("class offset", lambda c: c.dw.T, "it is transposed"),
    ("feature offset", lambda c: c.a_pos @ (c.w + c.dw) @ c.to_feature.T, r"W \+ dW was mixed"),
    ("feature offset", lambda c: c.a_pos @ c.w, r"the projection of eq. \(11\) is missing"),
    ("feature offset", lambda c: c.a_pos @ c.w @ c.to_feature, "projected by the transposed matrix"),
    ("feature offset", lambda c: c.a_pos @ c.w @ c.to_class.T, "belongs to the classes"),
    ("feature offset", lambda c: c.a_cls.T @ c.w @ c.to_feature.T, "sum to one over positions"),
    ("feature offset", lambda c: c.coupled.T @ c.w @ c.to_feature.T, r"the softmax of eq. \(9\) is missing"),
    ("feature offset", lambda c: c.e + c.a_pos @ c.w @ c.to_feature.T, "E was added already"),
    ("feature offset", lambda c: (c.a_pos @ c.w @ c.to_feature.T).T, "it is transposed"),
]


@pytest.fixture(scope="module")
def case():
    return Case()


@pytest.mark.parametrize("question", SOLUTIONS)
def test_the_equations_pass_and_a_blank_does_not(case, question):
    verdict = case.check(question, SOLUTIONS[question](case))
    assert verdict and PRAISE[question] in verdict.text
    for blank in (..., None):
        assert not case.check(question, blank) and "still empty" in case.check(question, blank).text


def test_class_attention_may_be_rounded_or_exact(case):
    for answer in (case.a_cls.astype(np.float16), softmax(case.coupled.astype(np.float64), 1)):
        assert case.check("class attention", answer)


@pytest.mark.parametrize(("question", "mistake", "diagnosis"), MISTAKES)
def test_a_mistake_is_told_and_the_answer_is_not(case, question, mistake, diagnosis):
    verdict = case.check(question, mistake(case))
    assert not verdict and PRAISE[question] not in verdict.text
    assert re.search(diagnosis, verdict.text), verdict.text
