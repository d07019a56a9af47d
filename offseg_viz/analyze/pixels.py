"""A table of sampled pixels: the bridge from records to projections and statistics."""

from collections.abc import Iterable, Iterator

import numpy as np
import xarray as xr

from offseg_viz.analyze.align import aligned_class_embedding, aligned_feature, prediction
from offseg_viz.analyze.collection import over_records
from offseg_viz.classes import IGNORE_INDEX
from offseg_viz.errors import RecordError


def sample_pixels(records: Iterable[xr.Dataset], *, per_class: int = 200, seed: int = 0) -> xr.Dataset:
    """Up to `per_class` pixels of every class, drawn at random from the labelled pixels of all records together.

    Records are read twice, one at a time: first the labels, to draw; then the features of the drawn pixels.

    Parameters
    ----------
    records : iterable of xarray.Dataset
        Labelled records of one model and data set.
    per_class : int
        Pixels a class; all of them where a class has fewer. Ignored pixels are never drawn.
    seed : int
        Seed of the draw; the same records in the same order and the same seed give the same table.

    Returns
    -------
    xarray.Dataset
        `feature` and `aligned_feature` (pixel, channel), `class_embedding` (cls, channel), `aligned_class_embedding`
        (image, cls, channel). Coordinates along `pixel`: `sample` (id of its image), `y`, `x` (in pixels of the
        window), `label`, `initial_prediction`, `aligned_prediction` (class numbers); along `cls`: names and `color`;
        along `image`: ids. Pixels are in the order of the records, then of rows and columns. Attributes: model,
        checkpoint, dataset, `per_class`, `seed`, and `labelled_pixels`, how many there were to draw from.

    Raises
    ------
    RecordError
        If there is no labelled pixel, `per_class` is below one, or the records are not of one model and data set.
    """
    if per_class < 1:
        raise RecordError(f"per_class is {per_class}; needed 1 or more")
    if isinstance(records, Iterator):
        records = list(records)
    owner, position, total = _draw(records, per_class, seed)
    parts, embeddings, ids = [], [], []
    for number, (name, record) in enumerate(over_records(records, _whole)):
        if number == 0:
            first = record
        if not np.array_equal(record["class_embedding"], first["class_embedding"]):
            found = f"the record of {name} has other class embeddings than the first"
            raise RecordError(f"{found}; take records of one model")
        ids.append(name)
        embeddings.append(aligned_class_embedding(record).values)
        if (owner == number).any():
            parts.append(_gather(record, position[owner == number], name))
    pixels = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    variables = {key: (("pixel", "channel"), pixels.pop(key)) for key in ("feature", "aligned_feature")}
    return xr.Dataset(
        variables
        | {
            "class_embedding": (("cls", "channel"), first["class_embedding"].values),
            "aligned_class_embedding": (("image", "cls", "channel"), np.stack(embeddings)),
        },
        coords={key: ("pixel", values) for key, values in pixels.items()}
        | {"cls": first["cls"].values, "color": ("cls", first["color"].values), "image": ids},
        attrs={key: first.attrs[key] for key in ("model", "checkpoint", "dataset")}
        | {"per_class": per_class, "seed": seed, "labelled_pixels": total},
    )


def _draw(records: Iterable[xr.Dataset], per_class: int, seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Record number and flat position of the drawn pixels, in that order, and the number of labelled pixels.

    Every pixel gets a random key and each class keeps its `per_class` smallest, so only those are ever in memory.
    """
    rng = np.random.default_rng(seed)
    pools: dict[int, np.ndarray] = {}
    total = 0
    unread = ("logits", "image", "class_offset", "feature_offset")
    for number, (_, label) in enumerate(over_records(records, _flat_label, leave_out=unread)):
        keys = rng.random(label.size)
        total += int((label != IGNORE_INDEX).sum())
        for value in np.unique(label[label != IGNORE_INDEX]):
            found = np.flatnonzero(label == value)
            rows = np.column_stack([keys[found], np.full(found.size, number), found])
            pool = np.concatenate([pools[value], rows]) if value in pools else rows
            pools[value] = pool[np.argsort(pool[:, 0], kind="stable")[:per_class]]
    if not pools:
        raise RecordError("every pixel of the records is ignored; needed at least one labelled pixel to draw")
    drawn = np.concatenate(list(pools.values()))[:, 1:].astype(np.int64)
    drawn = drawn[np.lexsort((drawn[:, 1], drawn[:, 0]))]
    return drawn[:, 0], drawn[:, 1], total


def _gather(record: xr.Dataset, position: np.ndarray, name: str) -> dict[str, np.ndarray]:
    """The columns of the table for some flat positions of one record."""
    row, column = np.unravel_index(position, record["label"].shape)
    return {
        "feature": record["feature"].values[row, column],
        "aligned_feature": aligned_feature(record).values[row, column],
        "sample": np.full(position.size, name),
        "y": record["y"].values[row],
        "x": record["x"].values[column],
        "label": record["label"].values[row, column],
        "initial_prediction": prediction(record, "initial").values[row, column],
        "aligned_prediction": prediction(record, "aligned").values[row, column],
    }


def _whole(record: xr.Dataset) -> xr.Dataset:
    return record


def _flat_label(record: xr.Dataset) -> np.ndarray:
    return record["label"].values.ravel()
