"""The features of a record in a few small whole numbers a pixel, for a page that computes with them by itself.

Transform coding in its plainest form: every feature is scaled to length one, taken to a basis in which one rounding
error matters as much as another, and rounded to multiples of one step, which is the coarsest that the asked accuracy
allows. Channels that are zero everywhere after rounding are left out; weak ones are mostly zero and deflate well.
"""

from typing import NamedTuple

import numpy as np
import xarray as xr

from offseg_viz.analyze.align import aligned_class_embedding, aligned_feature, last_layer, prediction
from offseg_viz.errors import RecordError
from offseg_viz.record import has_offsets, refuse_queries
from offseg_viz.terms import STAGES

TOLERANCE = 0.02
AGREEMENT = 0.99
_PAIRS = 20_000
_PIXELS_PER_CLASS = 2_000
_PLAIN_SHARES = (0.03, 1.0)
"""How much plain length counts in the basis beside differences of classes: where many classes are to be told apart the
first takes less room, else the second."""
_CODE_LIMITS = {"int8": 127, "int16": 32767}
_CLASS_LIMIT, _LENGTH_LIMIT = 32767, 65535
_TRIES = 12


class _Stages(NamedTuple):
    """What is compressed: arrays over (stage, ...) in float32, lengths of zero vectors being zero."""

    feature: np.ndarray
    """Of length one, (S, P, C)."""
    length: np.ndarray
    embedding: np.ndarray
    """W, and W + dW, (S, K, C)."""
    names: tuple[str, ...]


def compressed_features(record: xr.Dataset, *, tolerance: float = TOLERANCE, seed: int = 0) -> xr.Dataset:
    """Features and class embeddings of both stages as whole numbers, so few and small as an accuracy allows.

    With `a` and `b` the codes of two pixels (rows of `feature_code` at a stage) the cosine of their features is close
    to ``a @ metric @ b``; the inner product of a pixel of code `a` with class k is close to ``length * (a @ w)`` where
    ``length = feature_length * length_scale`` and ``w = class_code[k] * class_scale[k]``. The codes are those of
    features scaled to length one, so that long and short features have the same error in their cosines.

    Codes are ``round(B^T e / step)``. B is M^(1/2) times the eigenvectors of the uncentred Gram matrix of the features
    of both stages after these were multiplied by M^(1/2). M is the Gram matrix of the class embeddings W and W + dW,
    less their mean over the classes and times the gain of the last layer, plus a share of its trace spread over all
    directions. So errors are small where they would change which class wins, and one step serves all channels. Of the
    shares 0.03 and 1 the one whose codes have less entropy is taken. `step` is the largest found that keeps the
    greatest error of a sample of cosines (20,000 pairs of pixels a stage, and 2,000 pixels with all classes) under
    `tolerance`, and the prediction of 99 percent of the pixels at each stage as it was. Where even 16 bits do not, what
    they reach is given.

    Parameters
    ----------
    record : xarray.Dataset
        With offsets or without; a per-pixel record has the stage `initial` alone.
    tolerance : float
        Greatest error of the sampled cosines.
    seed : int
        Of the sample.

    Returns
    -------
    xarray.Dataset
        `feature_code` (stage, y, x, component) int8, or int16 where 8 bits do not suffice; `feature_length`
        (stage, y, x) uint16 and `length_scale` (stage); `metric` (component, component_2) float32; `class_code`
        (part, cls, component) int16 and `class_scale` (part, cls) for the parts `initial`, W, and, with offsets,
        `offset`, dW; `class_length` (stage, cls), the lengths of W and W + dW.

        Measured on this record: `pixel_error` and `class_error` (statistic, stage), the `mean` and `max` of the
        absolute errors of the sampled cosines; `agreement` (stage), the share of all pixels whose prediction from the
        compressed features is that of the record. Attributes: `channels` of the record, `bits` that
        the largest code needs with its sign, `step`.

        A feature of zeros has the length 0 and codes of 0: its cosines, undefined, come out as 0.

    Raises
    ------
    RecordError
        If the record is of mask classification, has features that are not finite, or `tolerance` is not positive.
    """
    refuse_queries(record, "compression of features")
    if not (np.isfinite(tolerance) and tolerance > 0):
        raise RecordError(f"the tolerance is {tolerance}, needed a number above 0, such as {TOLERANCE}")
    stages = _stages(record)
    sample = _Sample(record, stages, seed)
    tries = [_smallest(record, stages, sample, share, tolerance) for share in _PLAIN_SHARES]
    made = min(tries, key=lambda one: (_rank(one, tolerance), _content(one)))
    return made.assign_attrs(sample=str(record.attrs.get("sample")), tolerance=tolerance, seed=seed)


def _smallest(record: xr.Dataset, stages: _Stages, sample: "_Sample", share: float, tolerance: float) -> xr.Dataset:
    """The codes of the coarsest step that is found to keep the accuracy in the basis of a share of plain length."""
    to_code, to_feature = _bases(record, stages, share)
    places = np.matmul(stages.feature, to_code)
    reach = float(np.abs(places).max()) or 1.0
    step, best = reach / _CODE_LIMITS["int8"], None
    for number in range(_TRIES):
        made = _coded(record, stages, places, to_feature, step)
        made = made.assign(sample.errors(made))
        excess = max(_excess(made, tolerance))
        best = made if best is None or excess <= 1 or _rank(made, tolerance) < _rank(best, tolerance) else best
        if excess <= 1 and (number > 0 or excess > 0.9) or step * _CODE_LIMITS["int16"] <= reach:
            break
        # errors grow with the step: the first try says how far to go, the others come nearer from below
        step *= min(0.95 / max(excess, 0.01), 4) if excess <= 1 else min(max(0.97 / excess, 0.1), 0.95)
        step = max(step, reach / _CODE_LIMITS["int16"])
    return best


def _content(made: xr.Dataset) -> float:
    """Bits of the codes by the entropy of every channel, the second stage as differences: what deflating leaves."""
    codes = made["feature_code"].values.reshape(made.sizes["stage"], -1, made.sizes["component"]).astype(np.int64)
    total = 0.0
    for channel in np.concatenate([codes[:1], np.diff(codes, axis=0)]).transpose(0, 2, 1).reshape(-1, codes.shape[1]):
        counts = np.bincount(channel - channel.min())
        counts = counts[counts > 0]
        total += float((counts * np.log2(len(channel) / counts)).sum())
    return total


def _excess(made: xr.Dataset, tolerance: float) -> tuple[float, float]:
    """The greatest error of a cosine, and the share of changed predictions, as parts of what is allowed."""
    cosine = max(float(made[name].sel(statistic="max").max()) for name in ("pixel_error", "class_error"))
    return cosine / tolerance, (1 - float(made["agreement"].min())) / (1 - AGREEMENT)


def _rank(made: xr.Dataset, tolerance: float) -> tuple[float, float]:
    """Smaller is better: cosines first, then predictions; all that keep the accuracy are equally good."""
    cosine, changed = _excess(made, tolerance)
    return max(1.0, cosine), max(1.0, changed)


def _stages(record: xr.Dataset) -> _Stages:
    names = STAGES if has_offsets(record) else STAGES[:1]
    pairs = [(record["feature"], record["class_embedding"])]
    if len(names) == 2:
        pairs.append((aligned_feature(record), aligned_class_embedding(record)))
    channels = record.sizes["channel"]
    feature = np.stack([feature.values.reshape(-1, channels) for feature, _ in pairs]).astype(np.float32)
    embedding = np.stack([embedding.values for _, embedding in pairs]).astype(np.float32)
    if not (np.isfinite(feature).all() and np.isfinite(embedding).all()):
        raise RecordError(
            f"the record of {record.attrs.get('sample')} has features or class embeddings that are not finite; "
            "extract it again, or leave it out"
        )
    length = np.linalg.norm(feature, axis=-1)
    return _Stages(feature / np.where(length > 0, length, 1)[..., None], length, embedding, names)


def _bases(record: xr.Dataset, stages: _Stages, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Features to places (C, C), whose every unit weighs the same, and back."""
    channels = stages.feature.shape[-1]
    gain = record["logit_gain"].values[:, None] if "logit_gain" in record else 1.0
    differences = (stages.embedding - stages.embedding.mean(axis=1, keepdims=True)) * gain
    flat = differences.reshape(-1, channels).astype(np.float64)
    weight = flat.T @ flat
    plain = np.trace(weight) * share / channels or 1.0  # a single class differs from none
    weight = (weight + plain * np.eye(channels)) / plain
    values, vectors = np.linalg.eigh(weight)
    root, inverse = ((vectors * values**power) @ vectors.T for power in (0.5, -0.5))
    gram = sum(feature.T @ feature for feature in stages.feature).astype(np.float64)
    _, axes = np.linalg.eigh(root @ gram @ root)
    axes = axes[:, ::-1]  # strong ones first
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(channels)])
    return (root @ axes).astype(np.float32), (axes.T @ inverse).astype(np.float32)


def _coded(record: xr.Dataset, stages: _Stages, places: np.ndarray, to_feature: np.ndarray, step: float) -> xr.Dataset:
    codes = np.rint(places / np.float32(step))
    kept = np.flatnonzero(codes.any(axis=(0, 1)))
    kept = kept if kept.size else np.array([0])
    codes, back = codes[..., kept], to_feature[kept] * np.float32(step)  # (k, C)
    dtype = next(name for name, limit in _CODE_LIMITS.items() if np.abs(codes).max() <= limit)
    height, width = record.sizes["y"], record.sizes["x"]
    parts = [stages.embedding[0], *(stages.embedding[1:] - stages.embedding[0])]
    rows = np.stack(parts) @ back.T  # (part, K, k)
    class_scale = np.abs(rows).max(axis=-1) / _CLASS_LIMIT
    length_scale = stages.length.max(axis=1) / _LENGTH_LIMIT
    lengths = np.rint(stages.length / np.where(length_scale > 0, length_scale, 1)[:, None])
    lengths = np.where(stages.length > 0, np.maximum(lengths, 1), 0)
    variables = {
        "feature_code": (("stage", "y", "x", "component"), codes.reshape(len(codes), height, width, -1).astype(dtype)),
        "feature_length": (("stage", "y", "x"), lengths.reshape(-1, height, width).astype(np.uint16)),
        "length_scale": ("stage", length_scale.astype(np.float32)),
        "metric": (("component", "component_2"), back @ back.T),
        "class_code": (
            ("part", "cls", "component"),
            np.rint(rows / np.where(class_scale > 0, class_scale, 1)[..., None]).astype(np.int16),
        ),
        "class_scale": (("part", "cls"), class_scale.astype(np.float32)),
        "class_length": (("stage", "cls"), np.linalg.norm(stages.embedding, axis=-1)),
    }
    coords = {"stage": list(stages.names), "part": ["initial", "offset"][: len(parts)], "cls": record["cls"]}
    coords |= {dim: record[dim] for dim in ("y", "x")}
    needed = 1 + int(np.abs(codes).max()).bit_length()
    attrs = {"channels": record.sizes["channel"], "bits": needed, "step": float(step)}
    return xr.Dataset(variables, coords, attrs)


class _Sample:
    """The pairs whose cosines are compared, and what the record itself says of them."""

    def __init__(self, record: xr.Dataset, stages: _Stages, seed: int):
        self._record, self._stages = record, stages
        self._predictions = [prediction(record, name).values.ravel() for name in stages.names]
        random = np.random.default_rng(seed)
        present = np.flatnonzero((stages.length > 0).all(axis=0))  # a zero vector has no cosine
        self._pairs = random.choice(present, (2, _PAIRS)) if present.size else np.zeros((2, 0), int)
        few = random.permutation(present)[:_PIXELS_PER_CLASS]
        self._some, one = few, stages.feature
        lengths = np.linalg.norm(stages.embedding, axis=-1, keepdims=True)
        unit = stages.embedding / np.where(lengths > 0, lengths, 1)
        self._cosines = [_paired(feature, feature, self._pairs) for feature in one]
        self._class_cosines = [embedding @ feature[few].T for embedding, feature in zip(unit, one)]

    def errors(self, made: xr.Dataset) -> xr.Dataset:
        """`pixel_error`, `class_error` and `agreement` of compressed features."""
        metric, pixel_errors, class_errors, agreement = made["metric"].values, [], [], []
        parts = made["class_code"].values * made["class_scale"].values[..., None]
        for number in range(len(self._stages.names)):
            code = made["feature_code"].values[number].reshape(-1, made.sizes["component"]).astype(np.float32)
            cosine = _paired(code @ metric, code, self._pairs).clip(-1, 1)
            pixel_errors.append(np.abs(cosine - self._cosines[number]))
            rows = parts[: number + 1].sum(axis=0)
            products = rows @ code.T  # (K, P)
            lengths = made["class_length"].values[number]
            cosines = products[:, self._some] / np.where(lengths > 0, lengths, 1)[:, None]
            class_errors.append(np.abs(cosines - self._class_cosines[number]).ravel())
            length = made["feature_length"].values[number].ravel() * made["length_scale"].values[number]
            agreement.append(
                (last_layer(self._record, products * length).argmax(0) == self._predictions[number]).mean()
            )
        variables = {
            "pixel_error": (("statistic", "stage"), _mean_and_max(pixel_errors)),
            "class_error": (("statistic", "stage"), _mean_and_max(class_errors)),
            "agreement": ("stage", np.array(agreement)),
        }
        return xr.Dataset(variables, {"statistic": ["mean", "max"], "stage": made["stage"]})


def _paired(one: np.ndarray, other: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    return np.vecdot(one[pairs[0]], other[pairs[1]])


def _mean_and_max(errors: list[np.ndarray]) -> np.ndarray:
    return np.array(
        [[error.mean() if error.size else 0.0 for error in errors], [error.max(initial=0) for error in errors]]
    )
