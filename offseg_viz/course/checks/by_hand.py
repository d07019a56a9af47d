"""Checks of notebook 03, offset learning by hand: equations (5) to (11) of arXiv 2508.08811 in plain numpy.

Arrays are matrices of K classes, P positions and C channels; positions are the cells of the feature grid, row by row.
"""

import numpy as np
import xarray as xr

from offseg_viz.analyze.attention import class_attention, coupled_attention, position_attention
from offseg_viz.course.verdict import Verdict, compare


def check_class_attention(answer, record: xr.Dataset) -> Verdict:
    """Eq. (5): the softmax of A_c = W E^T over positions, K x P.

    Diagnosed: a softmax over classes, over all of the matrix at once, or of a scaled A_c; powers that nothing divides;
    products divided by their sum; A_c itself; a transposed matrix.
    """
    coupled = _rows(coupled_attention(record))
    with np.errstate(over="ignore"):  # the mistake itself
        powers = np.exp(coupled)
    shifted = np.exp(coupled - coupled.max(axis=1, keepdims=True))
    together = np.exp(coupled - coupled.max())
    scaled = np.exp((coupled - coupled.max(axis=1, keepdims=True)) / np.sqrt(record.sizes["channel"]))
    wrong = {
        "softmax over classes, not over positions: here the weights of a pixel sum to one, not those of a class": _rows(
            position_attention(record).transpose("cls", "y", "x")
        ),
        "softmax over classes and positions together: all weights of the matrix sum to one": together / together.sum(),
        "not normalised: these are the powers of e, which no sum has divided yet": powers,
        "not normalised: these are the powers of e, less the largest entry, which no sum has divided yet": shifted,
        "these are the products themselves: the softmax is missing": coupled,
        "the products were divided by their sum; a softmax divides their powers of e": coupled
        / coupled.sum(axis=1, keepdims=True),
        "A_c was divided by the root of C first, as many other attentions do; eq. (5) takes it as it is": scaled
        / scaled.sum(axis=1, keepdims=True),
    }
    return compare(
        answer,
        _rows(class_attention(record)),
        wrong=wrong,
        what="the class attention",
        praise="every class spreads a weight of one over the positions of this image, and the model's own agree",
        atol=1e-3,
    )


def check_class_offset(answer, record: xr.Dataset, head) -> Verdict:
    """Eqs. (6) and (7): dW, the projected mean features of the classes, K x C. `head` is the model's `OffsetLearning`.

    Diagnosed: no projection, the transposed one, that of the features; attention over classes, or no softmax; W added.
    """
    feature, coupled = _cells(record.feature), _rows(coupled_attention(record))
    own, other = _projection(head.class_offset_proj), _projection(head.feature_offset_proj)
    mixed = _rows(class_attention(record)) @ feature
    over_classes = _rows(position_attention(record).transpose("cls", "y", "x"))
    wrong = {
        "these are the mean features of eq. (6): the projection of eq. (7) is missing": mixed,
        "projected by the transposed matrix: a linear layer of torch multiplies by its weight transposed": mixed @ own,
        "projected by the matrix that belongs to the features": mixed @ other.T,
        "the weights sum to one over classes; needed those of eq. (5), which sum to one over positions": over_classes
        @ feature
        @ own.T,
        "A_c itself was used as weights: the softmax of eq. (5) is missing": coupled @ feature @ own.T,
        "W was added already: that is eq. (8), and needed here is what is added": mixed @ own.T
        + record.class_embedding.values,
    }
    return compare(
        answer,
        record.class_offset.values,
        wrong=wrong,
        what="the class offset",
        praise="these are the class offsets that the network itself formed for this image",
        atol=1e-3,
    )


def check_feature_offset(answer, record: xr.Dataset, head) -> Verdict:
    """Eqs. (9) to (11): dE, the projected mixture of class embeddings of every pixel, P x C. `head` as above.

    Diagnosed: W + dW in place of W; no projection, the transposed one, that of the classes; attention over positions,
    or no softmax; E added.
    """
    embedding, coupled = record.class_embedding.values, _rows(coupled_attention(record))
    own, other = _projection(head.feature_offset_proj), _projection(head.class_offset_proj)
    attention = _cells(position_attention(record))
    mixed = attention @ embedding
    wrong = {
        "W + dW was mixed; needed W, the class embeddings before they are moved": attention
        @ (embedding + record.class_offset.values)
        @ own.T,
        "these are the mixtures of eq. (10): the projection of eq. (11) is missing": mixed,
        "projected by the transposed matrix: a linear layer of torch multiplies by its weight transposed": mixed @ own,
        "projected by the matrix that belongs to the classes": mixed @ other.T,
        "the weights sum to one over positions; needed those of eq. (9), which sum to one over classes": _rows(
            class_attention(record)
        ).T
        @ embedding
        @ own.T,
        "A_c itself was used as weights: the softmax of eq. (9) is missing": coupled.T @ embedding @ own.T,
        "E was added already: that is eq. (12), and needed here is what is added": mixed @ own.T
        + _cells(record.feature),
    }
    return compare(
        answer,
        _cells(record.feature_offset),
        wrong=wrong,
        what="the feature offset",
        praise="these are the feature offsets of the record, which the network itself never forms as one array",
        atol=1e-3,
    )


def _rows(array: xr.DataArray) -> np.ndarray:
    """(cls, y, x) as K x P."""
    return array.values.reshape(len(array), -1)


def _cells(array: xr.DataArray) -> np.ndarray:
    """(y, x, channel) as P x C."""
    return array.values.reshape(-1, array.shape[-1])


def _projection(layer) -> np.ndarray:
    """Weight of a linear layer, C x C, as torch keeps it: rows are outputs."""
    return layer.weight.detach().cpu().numpy()
