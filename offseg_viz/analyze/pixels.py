"""A table of sampled pixels: the bridge from records to projections and statistics."""

from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np
import xarray as xr

from offseg_viz.analyze.align import last_layer
from offseg_viz.analyze.collection import UNREAD, over_records
from offseg_viz.classes import IGNORE_INDEX
from offseg_viz.errors import RecordError
from offseg_viz.record import has_offsets

_NOT_LABEL = (*UNREAD, "feature", "feature_offset", "class_offset")

Key = tuple
"""What a record is known by where it is read: its sample and window. Records of equal keys are told apart by number."""


def sample_pixels(
    records: Iterable[xr.Dataset], *, per_class: int = 200, interior: bool = True, seed: int = 0
) -> xr.Dataset:
    """Up to `per_class` pixels of every class, drawn at random from the labelled pixels of all records together.

    Records are read twice, one at a time: first the labels, to draw; then the features of the drawn pixels.

    Parameters
    ----------
    records : iterable of xarray.Dataset
        Labelled records of one model and data set.
    per_class : int
        Pixels a class; all of them where a class has fewer. Ignored pixels are never drawn.
    interior : bool
        Leave out cells whose label at full resolution may be mixed. A record knows one label a cell, not what it was
        made of, so these are the cells that have another label, or an ignored one, among their eight neighbours on the
        grid; beyond the edge of the grid there is no neighbour. A thin thing inside a cell goes unnoticed. Where a
        class has no cell left, all of its cells are drawn from, and `boundary_classes` names it.
    seed : int
        Seed of the draw; the same records in the same order and the same seed give the same table.

    Returns
    -------
    xarray.Dataset
        `feature` and `aligned_feature` (pixel, channel), `class_embedding` (cls, channel), `aligned_class_embedding`
        (image, cls, channel). Coordinates along `pixel`: `sample` (id of its image), `y`, `x` (in pixels of the
        window), `label`, `initial_prediction`, `aligned_prediction` (class numbers); along `cls`: names and `color`;
        along `image`: ids. Pixels are in the order of the records, then of rows and columns. Attributes: model,
        checkpoint, dataset, `per_class`, `interior`, `seed`, `labelled_pixels`, how many labelled pixels the records
        have, `interior_pixels`, how many of them are no boundary cells, and `boundary_classes`, names of the classes
        that occur at boundaries only (empty without `interior`).

    Raises
    ------
    RecordError
        If there is no labelled pixel, `per_class` is below one, a drawn feature or a class embedding is not finite, the
        records are not of one model and data set, or are of mask classification, whose embeddings are of queries.
    """
    if per_class < 1:
        raise RecordError(f"per_class is {per_class}; needed 1 or more")
    if isinstance(records, Iterator):
        records = list(records)
    owner, position, counts = _draw(records, per_class, interior, seed)
    wanted: dict[Key, np.ndarray] = {}
    for number, key in enumerate(counts["keys"]):
        wanted[key] = np.union1d(wanted.get(key, []), position[owner == number]).astype(np.int64)
    parts, embeddings, ids = [], [], []
    for number, (name, found) in enumerate(over_records(records, partial(_gather, wanted=wanted), leave_out=UNREAD)):
        if number == 0:
            first = found
        if not np.array_equal(found["class_embedding"], first["class_embedding"]):
            who = f"the record of {name} has other class embeddings than the first"
            raise RecordError(f"{who}; take records of one model")
        if not all(
            np.isfinite(values).all() for values in (*found["pixels"].values(), found["aligned_class_embedding"])
        ):
            raise RecordError(
                f"the record of {name} has features or class embeddings that are not finite; leave it out"
            )
        ids.append(name)
        embeddings.append(found["aligned_class_embedding"])
        own = np.isin(found["position"], position[owner == number])
        parts.append(
            {key: values[own] for key, values in found["pixels"].items()} | {"sample": np.full(own.sum(), name)}
        )
    pixels = {key: np.concatenate([part[key] for part in parts if len(part["sample"])]) for key in parts[0]}
    variables = {key: (("pixel", "channel"), pixels.pop(key)) for key in ("feature", "aligned_feature")}
    names = first["cls"]
    return xr.Dataset(
        variables
        | {
            "class_embedding": (("cls", "channel"), first["class_embedding"]),
            "aligned_class_embedding": (("image", "cls", "channel"), np.stack(embeddings)),
        },
        coords={key: ("pixel", pixels[key]) for key in ("sample", *_COORDINATES)}
        | {"cls": names, "color": ("cls", first["color"]), "image": ids},
        attrs=first["attrs"]
        | {"per_class": per_class, "interior": interior, "seed": seed}
        | {key: counts[key] for key in ("labelled_pixels", "interior_pixels")}
        | {"boundary_classes": [str(names[k]) for k in counts["boundary_classes"]]},
    )


_COORDINATES = ("y", "x", "label", "initial_prediction", "aligned_prediction")


def _draw(records: Iterable[xr.Dataset], per_class: int, interior: bool, seed: int) -> tuple:
    """Record number and flat position of the drawn pixels, in that order, and counts over all records.

    Every pixel gets a random key and each class keeps its `per_class` smallest, so only those are ever in memory: of
    its interior and, for classes that have none, of all its pixels.
    """
    rng = np.random.default_rng(seed)
    pools: dict[bool, dict[int, np.ndarray]] = {True: {}, False: {}}
    labelled, inside_total, keys = 0, 0, []
    for number, (_, (key, label, inside)) in enumerate(over_records(records, _labels, leave_out=_NOT_LABEL)):
        keys.append(key)
        order = rng.random(label.size)
        labelled += int((label != IGNORE_INDEX).sum())
        inside_total += int(inside.sum())
        for within, pool in pools.items():
            drawable = label[inside] if within else label
            for value in np.unique(drawable[drawable != IGNORE_INDEX]):
                found = np.flatnonzero((label == value) & inside if within else label == value)
                rows = np.column_stack([order[found], np.full(found.size, number), found])
                pool_of_class = np.concatenate([pool[value], rows]) if value in pool else rows
                pool[value] = pool_of_class[np.argsort(pool_of_class[:, 0], kind="stable")[:per_class]]
    if not labelled:
        raise RecordError("every pixel of the records is ignored; needed at least one labelled pixel to draw")
    chosen = pools[False] | pools[True] if interior else pools[False]
    drawn = np.concatenate([chosen[value] for value in sorted(chosen)])[:, 1:].astype(np.int64)
    drawn = drawn[np.lexsort((drawn[:, 1], drawn[:, 0]))]
    counts = {
        "keys": keys,
        "labelled_pixels": labelled,
        "interior_pixels": inside_total,
        "boundary_classes": sorted(pools[False].keys() - pools[True].keys()) if interior else [],
    }
    return drawn[:, 0], drawn[:, 1], counts


def _key(record: xr.Dataset) -> Key:
    return str(record.attrs["sample"]), tuple(int(edge) for edge in record.attrs["window"])


def _labels(record: xr.Dataset) -> tuple[Key, np.ndarray, np.ndarray]:
    """Flat label of a record, and which of its cells are labelled as all of their eight neighbours on the grid are."""
    label = record["label"].values
    height, width = label.shape
    padded = np.pad(label, 1, mode="edge")  # beyond the edge there is nothing that could differ
    inside = label != IGNORE_INDEX
    for down in range(3):
        for right in range(3):
            inside &= padded[down : down + height, right : right + width] == label
    return _key(record), label.ravel(), inside.ravel()


def _gather(record: xr.Dataset, wanted: dict[Key, np.ndarray]) -> dict:
    """What the table needs of one record: its class embeddings, and the columns for the pixels wanted of it."""
    position = wanted[_key(record)]
    row, column = np.unravel_index(position, record["label"].shape)
    feature, embedding = record["feature"].values[row, column], record["class_embedding"].values
    aligned_feature, aligned_embedding = feature, embedding
    if has_offsets(record):
        aligned_feature = feature + record["feature_offset"].values[row, column]
        aligned_embedding = embedding + record["class_offset"].values
    return {
        "position": position,
        "class_embedding": embedding,
        "aligned_class_embedding": aligned_embedding,
        "cls": record["cls"].values,
        "color": record["color"].values,
        "attrs": {key: record.attrs[key] for key in ("model", "checkpoint", "dataset")},
        "pixels": {
            "feature": feature,
            "aligned_feature": aligned_feature,
            "y": record["y"].values[row],
            "x": record["x"].values[column],
            "label": record["label"].values[row, column],
            "initial_prediction": _prediction(record, embedding, feature),
            "aligned_prediction": _prediction(record, aligned_embedding, aligned_feature),
        },
    }


def _prediction(record: xr.Dataset, embedding: np.ndarray, feature: np.ndarray) -> np.ndarray:
    """Class of the largest logit of some pixels, as `prediction` has it of all."""
    return last_layer(record, embedding @ feature.T).argmax(axis=0).astype(np.uint8)
