"""Ideal class embeddings of labelled images (eq. 2 of arXiv 2508.08811) and how much they differ between images."""

from collections.abc import Iterable
from functools import partial

import numpy as np
import xarray as xr

from offseg_viz.analyze.collection import over_records
from offseg_viz.analyze.similarity import cosine_similarity
from offseg_viz.classes import IGNORE_INDEX
from offseg_viz.errors import RecordError
from offseg_viz.record import class_list

RCOND = 1e-6
"""Singular values of E below this fraction of the largest count as zero, unless told otherwise.

Features are float32, so directions below about 1e-7 of the largest are rounding noise. The Gram matrix E^T E has the
squares of the singular values as its eigenvalues, so there the cut-off is 1e-12, well above float64 rounding.
"""


def ideal_class_embedding(record: xr.Dataset, *, rcond: float = RCOND) -> xr.DataArray:
    """W* = M (E^T)^+, eq. (2): the class embeddings that suit this one image best, dims (cls, channel), float64.

    M (K x P) is the one-hot label and E (P x C) the initial feature of the pixels that are not ignored. Among the
    least-squares solutions of W* E^T = M it is the one of least norm, so it also exists for fewer pixels than
    channels. It is computed as (M E)(E^T E)^+, which needs a C x C matrix only and gives the same: `rcond` on the
    singular values of E is its square on the eigenvalues of E^T E. Rows of classes that do not occur are NaN.

    Parameters
    ----------
    record : xarray.Dataset
        With a label.
    rcond : float
        Singular values of E below this fraction of the largest count as zero, as in `numpy.linalg.pinv`.

    Raises
    ------
    RecordError
        If the record has no label, or every pixel is ignored: extract it from a labelled sample.
    """
    feature, label = _labelled_pixels(record)
    one_hot = label == np.arange(record.sizes["cls"])[:, None]
    gram = feature.T @ feature
    values, vectors = np.linalg.eigh(gram)
    kept = values > rcond**2 * values[-1]
    inverse = (vectors[:, kept] / values[kept]) @ vectors[:, kept].T
    embedding = one_hot.astype(np.float64) @ feature @ inverse
    embedding[~one_hot.any(axis=1)] = np.nan
    return xr.DataArray(
        embedding,
        dims=("cls", "channel"),
        coords={"cls": record["cls"], "color": record["color"]},
        name="ideal_class_embedding",
        attrs={"long_name": "ideal class embedding"},
    )


def ideal_prediction(record: xr.Dataset) -> xr.DataArray:
    """Arg max of W* E^T over the classes that occur in the label, dims (y, x), uint8; ignored pixels too get a class.

    The label itself made W*, so this is no result of a model: it is about the best that one linear classifier a
    class can do on these features.

    Raises
    ------
    RecordError
        If the record has no label, or every pixel is ignored: extract it from a labelled sample.
    """
    embedding = ideal_class_embedding(record)
    present = np.flatnonzero(embedding.notnull().all("channel"))
    feature = record["feature"].transpose("y", "x", "channel")
    ideal_scores = feature.values.astype(np.float64) @ embedding.values[present].T
    winner = present[ideal_scores.argmax(axis=-1)].astype(np.uint8)
    attrs = {"stage": "ideal", "long_name": "ideal prediction"}
    return feature.isel(channel=0, drop=True).copy(data=winner).rename("prediction").drop_attrs().assign_attrs(attrs)


def ideal_similarity(records: Iterable[xr.Dataset], *, cls: str, rcond: float = RCOND) -> xr.DataArray:
    """Cosines between the ideal embeddings of one class in different images (Fig. 3): dims (image, image_2).

    Low values say that no single class embedding can suit all images, which is what offset learning answers.
    Images without the class are left out; the coordinates are the ids of the others.

    Least squares gives large weights to directions in which the features hardly vary, such as a channel that a ReLU
    opens at a few pixels only. They change W* E^T little but can rule its cosines, up to +-1 between unrelated images.
    Cosines that are to be read are better made with an `rcond` around 1e-2, which drops those directions.

    Parameters
    ----------
    records : iterable of xarray.Dataset
        Labelled records of one model and data set, read one at a time.
    cls : str
        Name of the class.
    rcond : float
        Singular values of E below this fraction of the largest count as zero, as in `numpy.linalg.pinv`.

    Returns
    -------
    xarray.DataArray
        With the attributes `cls`, `images` (their number), `mean_similarity` and `spread` (mean and standard
        deviation over the pairs of different images).

    Raises
    ------
    RecordError
        If fewer than two images hold the class, or the records do not fit each other.
    UnknownNameError
        If there is no such class.
    """
    ids, rows = [], []
    for name, row in over_records(records, partial(_ideal_of_class, cls=cls, rcond=rcond)):
        if row is not None:
            ids.append(name)
            rows.append(row)
    if len(ids) < 2:
        found = f"{len(ids)} image{'s' if len(ids) != 1 else ''} with the class {cls!r}"
        raise RecordError(f"found {found}; needed at least 2 to compare: give more records or choose another class")
    stacked = xr.DataArray(np.stack(rows), dims=("image", "channel"), coords={"image": ids})
    matrix = cosine_similarity(stacked, stacked.rename(image="image_2"))
    pairs = matrix.values[np.triu_indices(len(ids), k=1)]
    return matrix.rename("ideal_similarity").assign_attrs(
        long_name="similarity of ideal class embeddings",
        cls=cls,
        images=len(ids),
        mean_similarity=float(pairs.mean()),
        spread=float(pairs.std()),
    )


def _ideal_of_class(record: xr.Dataset, *, cls: str, rcond: float) -> np.ndarray | None:
    number = class_list(record).index(cls)
    return ideal_class_embedding(record, rcond=rcond).values[number] if (record["label"] == number).any() else None


def _labelled_pixels(record: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Features (P, C) float64 and labels (P,) of the pixels that are not ignored."""
    if "label" not in record:
        raise RecordError("the record has no label, needed for ideal class embeddings; extract a labelled sample")
    label = record["label"].transpose("y", "x").values
    counted = label != IGNORE_INDEX
    if not counted.any():
        raise RecordError(f"every pixel of {record.attrs.get('sample')} is ignored; needed at least one labelled pixel")
    return record["feature"].transpose("y", "x", "channel").values[counted].astype(np.float64), label[counted]
