"""How well features and class embeddings fit, before and after the refinement: maps of one record, tables of many.

A pixel's own class is that of its label. The ideal class embedding W* (eq. 2 of arXiv 2508.08811) is made from the
initial features of the image, at both stages: it is what the features asked for before anything was aligned. All of
this is about per-pixel classification; a record of mask classification, whose embeddings are of queries, is refused.
"""

from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np
import pandas as pd
import xarray as xr

from offseg_viz.analyze.align import aligned_class_embedding, last_layer
from offseg_viz.analyze.bootstrap import bootstrap_interval, by_image
from offseg_viz.analyze.collection import over_records
from offseg_viz.analyze.ideal import READABLE_RCOND, ideal_class_embedding
from offseg_viz.analyze.measure_table import measure_rows
from offseg_viz.classes import IGNORE_INDEX
from offseg_viz.errors import RecordError, UnknownNameError
from offseg_viz.metrics import ratio_or_nan
from offseg_viz.record import has_offsets, refuse_queries
from offseg_viz.terms import STAGES

QUANTITIES = (
    *("own_class_cosine", "centred_class_cosine", "logit_margin", "accuracy", "ideal_angle"),
    *("class_embedding_angle", "centred_embedding_angle"),
)
GROUPS = ("cls", "image", "model")
OF = ("logits", "scores")
_BLOCK = 4096
"""Pixels taken at a time: their scores for all classes take little memory, the matrix products are few and large."""


def own_class_cosine(record: xr.Dataset, stage: str = "aligned", *, centred: bool = False) -> xr.DataArray:
    """Cosine of each pixel's feature to the class embedding of its label, both of one stage: dims (y, x), -1 to 1.

    E_p W_k / (|E_p| |W_k|) of a pixel p labelled k; with E + dE and W + dW at the stage `aligned`. NaN at ignored
    pixels and where either vector is zero or the feature NaN.

    What all class embeddings have in common adds the same to the scores of all classes, so that it changes no winner,
    and the LayerNorm takes it off. But it rules the cosine where it is large, as it may be in W + dW.

    Parameters
    ----------
    record : labelled record of a per-pixel classifier, with or without offsets.
    stage : {"initial", "aligned"}
    centred : bool
        Take the mean over all classes off the class embeddings first.

    Raises
    ------
    RecordError
        If the record has no label, is of mask classification, or has class embeddings that are not finite.
    UnknownNameError
        If `stage` is another word.
    """
    embedding = _class_embedding(record, stage)
    embedding, word = (embedding - embedding.mean(axis=0), "centred ") if centred else (embedding, "")
    found, long_name = _own_cosines(record, stage, embedding), f"{stage} cosine to own {word}class embedding"
    return _map(record, found, "own_class_cosine", stage=stage, long_name=long_name)


def class_margin(record: xr.Dataset, stage: str = "aligned", of: str = "logits") -> xr.DataArray:
    """Value of the label's class minus that of the best other class at each pixel: dims (y, x), positive where right.

    S_kp - max over j != k of S_jp for a pixel p labelled k. The learned gain and bias of the LayerNorm over classes
    can change the winner, so margins of `logits` and of `scores` may differ in sign; only those of logits say what the
    model predicts. NaN at ignored pixels, and everywhere where there is no other class.

    Parameters
    ----------
    record : labelled record of a per-pixel classifier, with or without offsets.
    stage : {"initial", "aligned"}
    of : {"logits", "scores"}
        After or before the last layer's LayerNorm or bias.

    Raises
    ------
    RecordError
        If the record has no label, is of mask classification, or has class embeddings that are not finite.
    UnknownNameError
        If `stage` or `of` is another word.
    """
    if of not in OF:
        raise UnknownNameError("margin", of, OF)
    embedding = _class_embedding(record, stage)
    found = [_margin(record, embedding @ feature.T, own, of) for feature, own in _blocks(record, stage)]
    return _map(record, found, "class_margin", stage=stage, of=of, long_name=f"{stage} margin of {of}")


def ideal_angle(record: xr.Dataset, stage: str = "aligned", *, rcond: float = READABLE_RCOND) -> xr.DataArray:
    """Angle between each pixel's feature and its class's ideal embedding of this image: dims (y, x), 0 to 180 degrees.

    Between W* of eq. (2), made from the initial features at both stages, and E or E + dE. NaN at ignored pixels and
    where the feature is zero.

    Parameters
    ----------
    record : labelled record of a per-pixel classifier, with or without offsets.
    stage : {"initial", "aligned"}
    rcond : float
        Singular values of E below this fraction of the largest count as zero. Far smaller ones than the default let
        directions in which the features hardly vary rule the angle: see `ideal_similarity`.

    Raises
    ------
    RecordError
        If the record has no label or no pixel that is not ignored, is of mask classification, or is not finite.
    UnknownNameError
        If `stage` is another word.
    """
    _class_embedding(record, stage)
    ideal = ideal_class_embedding(record, rcond=rcond).values.astype(np.float32)
    found = list(map(_degrees, _own_cosines(record, stage, ideal)))
    return _map(record, found, "ideal_angle", stage=stage, long_name=f"{stage} angle to ideal embedding (degrees)")


def class_embedding_angle(
    record: xr.Dataset, stage: str = "aligned", *, centred: bool = False, rcond: float = READABLE_RCOND
) -> xr.DataArray:
    """Angle between each class embedding and the image's ideal one: dims (cls), 0 to 180 degrees.

    Between W* of eq. (2), made from the initial features at both stages, and W or W + dW. NaN for classes that the
    image does not hold.

    Parameters
    ----------
    record : labelled record of a per-pixel classifier, with or without offsets.
    stage : {"initial", "aligned"}
    centred : bool
        Take off both first their mean over the classes that the image holds, for the reason in `own_class_cosine`; NaN
        where it holds one class only.
    rcond : as for `ideal_angle`.

    Raises
    ------
    RecordError
        If the record has no label or no pixel that is not ignored, is of mask classification, or is not finite.
    UnknownNameError
        If `stage` is another word.
    """
    embedding = _class_embedding(record, stage)
    angle = _embedding_angle(embedding, ideal_class_embedding(record, rcond=rcond).values, centred=centred)
    found = record["class_embedding"].isel(channel=0, drop=True).copy(data=angle).rename("class_embedding_angle")
    long_name = f"{stage} angle of {'centred ' if centred else ''}class embedding to ideal one (degrees)"
    return found.drop_attrs().assign_attrs(stage=stage, long_name=long_name)


def alignment(records: Iterable[xr.Dataset], by: str = "cls", *, rcond: float = READABLE_RCOND) -> pd.DataFrame:
    """How well features and class embeddings fit at both stages, and what the refinement changed: a measure table.

    =========================  ========================================================================================
    `own_class_cosine`         mean over pixels of the cosine to the class embedding of their label (`own_class_cosine`)
    `centred_class_cosine`     the same without what all class embeddings have in common (``centred=True``)
    `logit_margin`             mean over pixels of the logit margin to the best other class (`class_margin`)
    `accuracy`                 share of pixels whose logit margin is positive, so a tie counts as wrong
    `ideal_angle`              mean over pixels of the angle to the ideal embedding of their class, in degrees
    `class_embedding_angle`    mean over images and the classes they hold of the angle from the class embedding to the
                               image's ideal one, in degrees (`class_embedding_angle`)
    `centred_embedding_angle`  the same without what those class embeddings have in common (``centred=True``)
    =========================  ========================================================================================

    Whether the refinement brings features and class embeddings together is for the centred figures to say: the plain
    ones also see what is added to all class embeddings alike, which changes no prediction (see `own_class_cosine`).

    Each is given for the stages `initial` and `aligned`, and as `..._change` (stage ""): aligned minus initial, with an
    interval of its own. It is paired, both stages in the same drawn images, and so much narrower than those of the two
    stages suggest. Pixels are pooled over images: an image counts by its number of labelled pixels of the group.

    Parameters
    ----------
    records : labelled records of one model and data set, with or without offsets, read one at a time. Windows of an
        image count as one image, each with the ideal embeddings of its own.
    by : {"cls", "image", "model"}
        One group a class of the label, one an image, or a single one of all records, named after their model.
    rcond : as for `ideal_angle`.

    Returns
    -------
    DataFrame
        Columns `by`, quantity, stage, value, low, high, images. The interval is a 95 % bootstrap over images
        (`bootstrap_interval`), NaN where fewer than two images hold the group, so always for ``by="image"``. The value
        is NaN for a class that no image holds and for an image whose pixels are all ignored.

    Raises
    ------
    UnknownNameError
        If `by` is another word.
    RecordError
        If a record has no label, is of mask classification, is not finite at labelled pixels, or does not fit the
        others.
    """
    if by not in GROUPS:
        raise UnknownNameError("group", by, GROUPS)
    ids, models, rows, classes = [], [], [], ()
    for name, (classes, model, row) in over_records(records, partial(_of_record, rcond=rcond, by=by)):
        ids.append(name)
        models.append(model)
        rows.append(row)
    if by == "model" and len(set(models)) > 1:
        raise RecordError(f"found records of {', '.join(sorted(set(models)))}; take those of one model at a time")
    ids, rows = by_image(ids, np.stack(rows))
    sums, counts = np.moveaxis(rows, 1, 0)  # each (image, quantity, stage, group)
    held = _with_change(counts > 0, np.logical_and).astype(int)
    if by == "image":  # a group is an image, so that nothing is added up
        sums, counts, held = (np.moveaxis(each, 0, -1)[..., 0, :] for each in (sums, counts, held))
        figures = (_means(sums, counts),)
    else:
        figures, held = bootstrap_interval(_means, sums, counts), held.sum(axis=0)
    names, table = {"cls": classes, "image": ids, "model": models[:1]}[by], []
    for q, quantity in enumerate(QUANTITIES):
        for s, stage in enumerate((*STAGES, "")):
            name = quantity if stage else f"{quantity}_change"
            of_one = [each[q, s] for each in figures]
            table.append(measure_rows(by, names, name, of_one, held[q, s], stage=stage))
    return pd.concat(table, ignore_index=True)


def _of_record(record: xr.Dataset, *, rcond: float, by: str) -> tuple[tuple[str, ...], str, np.ndarray]:
    """Class names, model, and sums and counts (2, quantity, stage, group) of one record; one group unless by class."""
    classes = tuple(map(str, record["cls"].values))
    found = np.zeros((2, len(QUANTITIES), len(STAGES), len(classes)))
    if (record["label"] != IGNORE_INDEX).any():
        ideal = ideal_class_embedding(record, rcond=rcond).values
        for number, stage in enumerate(STAGES):
            if number and not has_offsets(record):
                found[:, :, number] = found[:, :, 0]
            else:
                found[:, :, number] = _of_stage(record, stage, ideal)
    if by != "cls":
        found = found.sum(axis=-1, keepdims=True)
    return classes, str(record.attrs["model"]), found


def _of_stage(record: xr.Dataset, stage: str, ideal: np.ndarray) -> np.ndarray:
    """Sums and counts (2, quantity, class) of the values that are not NaN."""
    embedding, single = _class_embedding(record, stage), ideal.astype(np.float32)
    common, columns, label = embedding.mean(axis=0), [], []
    for feature, own in _blocks(record, stage):
        length, scores, at = _length(feature), embedding @ feature.T, np.arange(len(own))
        if not np.isfinite(length).all():
            raise RecordError(
                f"the {stage} features of {record.attrs.get('sample')} are not finite at labelled pixels; needed "
                "numbers: look for what the network overflows at in this image, or leave it out"
            )
        mine = scores[own, at]
        margin = _margin(record, scores, own, "logits")
        columns.append(
            [
                _cosine(mine, length, _length(embedding)[own]),
                _cosine(mine - feature @ common, length, _length(embedding - common)[own]),
                margin,
                np.where(np.isnan(margin), np.nan, margin > 0),
                _degrees(_cosine(_inner(feature, single[own]), length, _length(single)[own])),
            ]
        )
        label.append(own)
    values, label, classes = np.concatenate(columns, axis=1), np.concatenate(label), len(embedding)
    valued = ~np.isnan(values)
    angles = np.stack([_embedding_angle(embedding, ideal, centred=centred) for centred in (False, True)])
    counts = [np.bincount(label[each], minlength=classes) for each in valued]
    sums = [np.bincount(label[each], row[each], minlength=classes) for row, each in zip(values, valued)]
    return np.array([[*sums, *np.nan_to_num(angles)], [*counts, *~np.isnan(angles)]])


def _means(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Means of both stages and their difference, (..., quantity, 3, group)."""
    return _with_change(ratio_or_nan(sums, counts), np.subtract)


def _with_change(values: np.ndarray, compare) -> np.ndarray:
    """`values` (..., stage, group) with a third row behind the two stages: aligned compared with initial."""
    return np.concatenate([values, compare(values[..., 1:, :], values[..., :1, :])], axis=-2)


def _class_embedding(record: xr.Dataset, stage: str) -> np.ndarray:
    """(K, C) of the stage, after a look at whether this record can be measured at all."""
    if stage not in STAGES:
        raise UnknownNameError("stage", stage, STAGES)
    sample = record.attrs.get("sample")
    refuse_queries(record, "its alignment")
    if "label" not in record:
        raise RecordError(f"the record of {sample} has no label; extract it from a sample with a label map")
    embedding = aligned_class_embedding(record) if stage == "aligned" else record["class_embedding"]
    embedding = embedding.transpose("cls", "channel").values
    if not np.isfinite(embedding).all():
        raise RecordError(f"the {stage} class embeddings of {sample} are not finite; extract it again, or leave it out")
    return embedding


def _labelled(record: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Labels (P,), row by row, and the places among them of those that are not ignored."""
    label = record["label"].transpose("y", "x").values.ravel()
    return label, np.flatnonzero(label != IGNORE_INDEX)


def _blocks(record: xr.Dataset, stage: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Features (block, C) of the stage and labels (block,) of the pixels that are not ignored, in order."""
    label, counted = _labelled(record)
    parts = ["feature", *(["feature_offset"] if stage == "aligned" and has_offsets(record) else [])]
    parts = [record[name].transpose("y", "x", "channel").values.reshape(len(label), -1) for name in parts]
    for start in range(0, len(counted), _BLOCK):
        chosen = counted[start : start + _BLOCK]
        if chosen[-1] - chosen[0] == len(chosen) - 1:
            chosen = slice(chosen[0], chosen[-1] + 1)  # none between is ignored: no copy
        yield sum((offset[chosen] for offset in parts[1:]), start=parts[0][chosen]), label[chosen]


def _own_cosines(record: xr.Dataset, stage: str, vectors: np.ndarray) -> list[np.ndarray]:
    """Cosines of the features of a stage to the row of `vectors` (K, C) of their label, block by block."""
    lengths, found = _length(vectors), []
    for feature, own in _blocks(record, stage):
        found.append(_cosine(_inner(feature, vectors[own]), _length(feature), lengths[own]))
    return found


def _embedding_angle(embedding: np.ndarray, ideal: np.ndarray, *, centred: bool) -> np.ndarray:
    """Degrees between the rows of W and of W* (K, C), in float64; NaN where W* is."""
    embedding, present = embedding.astype(np.float64), ~np.isnan(ideal[:, 0])
    if centred:
        embedding, ideal = (each - each[present].mean(axis=0) for each in (embedding, ideal))
        if present.sum() < 2:  # nothing is left of either
            return np.full(len(ideal), np.nan)
    return _degrees(_cosine(_inner(embedding, ideal), _length(embedding), _length(ideal)))


def _inner(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("nc,nc->n", a, b)


def _length(vectors: np.ndarray) -> np.ndarray:
    return np.sqrt(_inner(vectors, vectors))


def _cosine(inner: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Inner products over both lengths; NaN where either is zero."""
    length = a * b
    cosine = np.divide(inner, length, out=np.full_like(length, np.nan), where=length != 0)
    return cosine.clip(-1, 1)  # rounding can carry it just past one, where arccos has no value


def _degrees(cosine: np.ndarray) -> np.ndarray:
    return np.degrees(np.arccos(cosine))


def _margin(record: xr.Dataset, scores: np.ndarray, own: np.ndarray, of: str) -> np.ndarray:
    """Own value minus the best other one of each column of scores (K, n), which are overwritten."""
    if len(scores) == 1:
        return np.full(len(own), np.nan)
    if of == "logits":
        last_layer(record, scores)
    columns = np.arange(len(own))
    mine = scores[own, columns]
    scores[own, columns] = -np.inf
    return mine - scores.max(axis=0)


def _map(record: xr.Dataset, found: list[np.ndarray], name: str, **attrs: str) -> xr.DataArray:
    """A map (y, x) of values at the pixels that are not ignored."""
    label, counted = _labelled(record)
    values = np.full(label.size, np.nan, dtype=np.float32)
    values[counted] = np.concatenate([*found, values[:0]])
    at = record["label"].transpose("y", "x")
    return at.copy(data=values.reshape(at.shape)).rename(name).drop_attrs().assign_attrs(attrs)
