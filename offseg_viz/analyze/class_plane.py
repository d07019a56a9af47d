"""Pixels of two classes in the plane of their scores for these classes, where arrows are true."""

from collections.abc import Iterable
from functools import partial
from zlib import crc32

import numpy as np
import xarray as xr

from offseg_viz.analyze.collection import over_records
from offseg_viz.analyze.offsets import require_offsets
from offseg_viz.errors import RecordError
from offseg_viz.record import class_list

STEPS = ("initial", "+ E dW", "+ dE W", "aligned")
"""The way of a score from W E^T, term by term; the last step adds dW dE^T."""


def class_plane(
    records: xr.Dataset | Iterable[xr.Dataset], a: str, b: str, *, per_class: int = 200, seed: int = 0
) -> xr.Dataset:
    """Pixels of two classes in the plane of their scores for these two classes, term by term.

    The axes are scores, before the LayerNorm: x is the score for `a`, y that for `b`. A step adds one term to every
    score, so in this plane arrows are true, which they are in no projection of the features. Below the diagonal a pixel
    scores higher for `a`; a third class may score higher than both.

    Parameters
    ----------
    records : xarray.Dataset or iterable of them
        One labelled record, or many, of a model with offset learning; read one at a time, once.
    a, b : str
        Names of the classes.
    per_class : int
        Pixels drawn at random from the labelled ones of each class, of all records together; all where there are fewer.
    seed : int
        Seed of the draw; the same records and seed give the same pixels.

    Returns
    -------
    xarray.Dataset
        `score` (step, pixel, axis). Along `step`: ``"initial"`` (E W), ``"+ E dW"``, ``"+ dE W"`` and ``"aligned"``,
        which adds dE dW; along `axis`: the two names and their `color`; along `pixel`: `cls` (name of its class, by
        label), `sample`, `y` and `x` (in pixels of the window), in the order of the records.

    Raises
    ------
    RecordError
        If no pixel is labelled as either class, `a` is `b`, `per_class` is below one, or a record has no label, no
        offsets, NaN in its scores, or is of mask classification.
    UnknownNameError
        If there is no such class.
    """
    if a == b:
        raise RecordError(f"found {a!r} twice; needed two different classes to compare")
    if per_class < 1:
        raise RecordError(f"per_class is {per_class}; needed 1 or more")
    records = [records] if isinstance(records, xr.Dataset) else records
    pool, first = None, None
    for number, (name, found) in enumerate(
        over_records(records, partial(_pixels_of_two, names=(a, b), per_class=per_class, seed=seed))
    ):
        about, columns = found
        first = about if first is None else first
        columns |= {"sample": np.full(columns["key"].size, name), "record": np.full(columns["key"].size, number)}
        pool = columns if pool is None else {key: np.concatenate([pool[key], columns[key]]) for key in pool}
        kept = _smallest_keys(pool["key"], pool["own"], per_class)
        pool = {key: values[kept] for key, values in pool.items()}
    if not pool["key"].size:
        raise RecordError(
            f"no pixel is labelled {a!r} or {b!r}; needed at least one: give more records or other classes"
        )
    order = np.lexsort((pool["position"], pool["record"]))
    pool = {key: values[order] for key, values in pool.items()}
    return xr.Dataset(
        {"score": (("step", "pixel", "axis"), pool["score"].transpose(1, 0, 2))},
        coords={
            "step": list(STEPS),
            "axis": [a, b],
            "color": ("axis", first.pop("colors")),
            "cls": ("pixel", np.array([a, b])[pool["own"]]),
            **{key: ("pixel", pool[key]) for key in ("sample", "y", "x")},
        },
        attrs=first | {"per_class": per_class, "seed": seed},
    )


def _pixels_of_two(record: xr.Dataset, *, names: tuple[str, str], per_class: int, seed: int) -> tuple[dict, dict]:
    """What the plane needs to know of a record, and columns of up to `per_class` drawn pixels of each of two classes.

    Every pixel has a random key, and the draw from all records is the smallest keys. The keys are seeded by the name of
    the record, so that each can be drawn from where it lies.
    """
    require_offsets(record)
    numbers = [class_list(record).index(name) for name in names]
    label = record["label"].values.ravel()
    source = f"{record.attrs.get('sample')} {record.attrs.get('window')}"
    key = np.random.default_rng([seed, crc32(source.encode())]).random(label.size)
    position = np.flatnonzero(np.isin(label, numbers))
    own = (label[position] == numbers[1]).astype(np.int64)
    kept = _smallest_keys(key[position], own, per_class)
    position, own = position[kept], own[kept]
    row, column = np.unravel_index(position, record["label"].shape)
    terms = [
        record[feature].values[row, column] @ record[embedding].values[numbers].T
        for feature in ("feature", "feature_offset")
        for embedding in ("class_embedding", "class_offset")
    ]
    score = np.cumsum(terms, axis=0).transpose(1, 0, 2)  # (pixel, step, axis)
    if not np.isfinite(score).all():
        raise RecordError(
            f"the record of {record.attrs.get('sample')} gives scores that are not finite; extract it again"
        )
    about = {name: record.attrs[name] for name in ("model", "checkpoint", "dataset")}
    columns = {"key": key[position], "own": own, "position": position, "score": score}
    columns |= {"y": record["y"].values[row], "x": record["x"].values[column]}
    return about | {"colors": record["color"].values[numbers].astype(str).tolist()}, columns


def _smallest_keys(key: np.ndarray, group: np.ndarray, most: int) -> np.ndarray:
    """Places of the `most` smallest keys of each of the groups 0 and 1."""
    places = [np.flatnonzero(group == number) for number in (0, 1)]
    return np.concatenate([place[np.argsort(key[place], kind="stable")[:most]] for place in places])
