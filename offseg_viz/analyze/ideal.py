"""Ideal class embeddings of labelled images (eq. 2 of arXiv 2508.08811) and how much they differ between images."""

from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

import numpy as np
import xarray as xr

from offseg_viz.analyze.align import aligned_class_embedding
from offseg_viz.analyze.class_means import (
    feature_class_mean,
    label_counts,
    mean_of_sums,
    refuse_non_finite,
    sums_and_gram,
)
from offseg_viz.analyze.collection import UNREAD, over_records
from offseg_viz.analyze.similarity import cosine_similarity
from offseg_viz.analyze.single_precision import single_precision_embedding
from offseg_viz.errors import RecordError, UnknownNameError
from offseg_viz.record import class_list

RCOND = 1e-6
"""Singular values of E below this fraction of the largest count as zero, unless told otherwise.

Features are float32, so directions below about 1e-7 of the largest are rounding noise. The Gram matrix E^T E has the
squares of the singular values as its eigenvalues, so there the cut-off is 1e-12, well above float64 rounding.
"""

READABLE_RCOND = 1e-2
"""The cut-off where the direction of W* is to be read, as cosine or angle.

Least squares gives large weights to directions in which the features hardly vary. They change the scores W* E^T little
but rule the direction of W*: with the cut-off of rounding noise its angles would be those to a direction that hardly
occurs in the image, near 90 degrees for nearly all features.
"""

VECTORS = {
    "ideal": "ideal class embeddings",
    "class_mean": "feature class means",
    "aligned_class_mean": "aligned feature class means",
    "aligned_class_embedding": "aligned class embeddings",
}
"""What can be compared between images, one vector a class and image: W* (eq. 2), the mean of E or of E + dE over the
pixels of the class, and W + dW (eq. 8), which is the same in every image without offset learning."""


class IdealSums(NamedTuple):
    """All that eq. (2) takes from one image: `counts` (K,), `sums` M E (K, C) and `gram` E^T E (C, C), float64.

    Of the labelled pixels alone. Those of several images add up to those of the images together.
    """

    counts: np.ndarray
    sums: np.ndarray
    gram: np.ndarray

    def class_embedding(self, rcond: float = RCOND) -> np.ndarray:
        """W* = (M E)(E^T E)^+, (K, C); NaN rows for classes without pixels."""
        embedding = self.sums @ _inverse(self.gram, rcond)
        embedding[self.counts == 0] = np.nan
        return embedding

    def class_mean(self) -> np.ndarray:
        """Mean feature of each class, (K, C); NaN rows for classes without pixels."""
        return mean_of_sums(self.counts, self.sums)


def ideal_sums(record: xr.Dataset) -> IdealSums:
    """The sums from which the ideal class embeddings and the class means of a record follow, in one pass over E.

    Raises
    ------
    RecordError
        As `ideal_class_embedding` does.
    """
    counts = label_counts(record)
    if not counts.any():
        raise RecordError(f"every pixel of {record.attrs.get('sample')} is ignored; needed at least one labelled pixel")
    sums, gram = sums_and_gram(record)
    refuse_non_finite(record, sums)
    return IdealSums(counts, sums, gram)


def ideal_class_embedding(record: xr.Dataset, *, rcond: float = RCOND) -> xr.DataArray:
    """W* = M (E^T)^+, eq. (2): the class embeddings that suit this one image best, dims (cls, channel), float64.

    M (K x P) is the one-hot label and E (P x C) the initial feature of the pixels that are not ignored. Among the
    least-squares solutions of W* E^T = M it is the one of least norm, so it also exists for fewer pixels than
    channels. It is computed as (M E)(E^T E)^+, which needs a C x C matrix only and gives the same: `rcond` on the
    singular values of E is its square on the eigenvalues of E^T E. The sums are in float64; of large records in float32
    where the features are so well-conditioned that four digits are sure (`single_precision.py`). Rows of classes that
    do not occur are NaN. Of mask classification: E is the pixel map, the classes are those of the label.

    Parameters
    ----------
    record : xarray.Dataset
        With a label.
    rcond : float
        Singular values of E below this fraction of the largest count as zero, as in `numpy.linalg.pinv`.

    Raises
    ------
    RecordError
        If the record has no label, every pixel is ignored, or the features of labelled pixels are not finite: extract
        it again, from a labelled sample.
    """
    quick = single_precision_embedding(record, rcond)
    return xr.DataArray(
        ideal_sums(record).class_embedding(rcond) if quick is None else quick,
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
        As `ideal_class_embedding` does.
    """
    sums = ideal_sums(record)
    present = np.flatnonzero(sums.counts)
    embedding = sums.class_embedding()[present]
    feature = record["feature"].transpose("y", "x", "channel")
    # float64, a row of pixels at a time: W* can be large where E hardly varies, and its products then cancel
    winner = [(row.astype(np.float64) @ embedding.T).argmax(axis=-1) for row in feature.values]
    attrs = {"stage": "ideal", "long_name": "ideal prediction"}
    data = present[np.stack(winner)].astype(np.uint8)
    return feature.isel(channel=0, drop=True).copy(data=data).rename("prediction").drop_attrs().assign_attrs(attrs)


def ideal_similarity(
    records: Iterable[xr.Dataset], *, cls: str, rcond: float = RCOND, of: str = "ideal"
) -> xr.DataArray:
    """Cosines between the ideal embeddings of one class in different images (Fig. 3): dims (image, image_2).

    Low values say that no single class embedding can suit all images, which is what offset learning answers.
    Images without the class are left out; the coordinates are the ids of the others. `embedding_similarity` sums up
    the same for all classes.

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
    of : {"ideal", "class_mean", "aligned_class_mean", "aligned_class_embedding"}
        Which vectors of the class are compared: ideal embeddings, means of the initial or aligned features, or W + dW.

    Returns
    -------
    xarray.DataArray
        With the attributes `cls`, `images` (their number), `mean_similarity` and `spread` (mean and standard
        deviation over the pairs of different images). NaN where a vector has length zero.

    Raises
    ------
    RecordError
        If fewer than two images hold the class, or the records do not fit each other.
    UnknownNameError
        If there is no such class, or none such as `of`.
    """
    ids, rows = [], []
    function = partial(_vector_of_class, cls=cls, of=of, rcond=rcond)
    for name, row in over_records(records, function, **reading_of(of)):
        if row is not None:
            ids.append(name)
            rows.append(row)
    if len(ids) < 2:
        found = f"{len(ids)} image{'s' if len(ids) != 1 else ''} with the class {cls!r}"
        raise RecordError(f"found {found}; needed at least 2 to compare: give more records or choose another class")
    stacked = xr.DataArray(np.stack(rows), dims=("image", "channel"), coords={"image": ids})
    matrix = cosine_similarity(stacked, stacked.rename(image="image_2"))
    pairs = matrix.values[np.triu_indices(len(ids), k=1)]
    return matrix.rename(f"{of}_similarity").assign_attrs(
        long_name=f"similarity of {VECTORS[of]}",
        cls=cls,
        images=len(ids),
        mean_similarity=float(pairs.mean()),
        spread=float(pairs.std()),
    )


def image_vectors(record: xr.Dataset, *, of: str, rcond: float = RCOND) -> np.ndarray:
    """One vector a class of the kind `of` (see `VECTORS`), (K, C) float64; NaN rows for classes that do not occur."""
    if of == "ideal":
        return ideal_class_embedding(record, rcond=rcond).values
    if of in ("class_mean", "aligned_class_mean"):
        return feature_class_mean(record, "initial" if of == "class_mean" else "aligned").values
    embedding = aligned_class_embedding(record).values.astype(np.float64)
    embedding[label_counts(record) == 0] = np.nan
    return embedding


def reading_of(of: str) -> dict:
    """Keywords of `over_records` for vectors of the kind `of`: the largest variable that they do not need is not read.

    W + dW is refused for records of mask classification, whose embeddings are of queries.

    Raises
    ------
    UnknownNameError
        If there is no such kind.
    """
    if of not in VECTORS:
        raise UnknownNameError("vectors to compare", of, VECTORS)
    unneeded = {"aligned_class_mean": (), "aligned_class_embedding": ("feature",)}.get(of, ("feature_offset",))
    return {"queries": of != "aligned_class_embedding", "leave_out": (*UNREAD, *unneeded)}


def _vector_of_class(record: xr.Dataset, *, cls: str, of: str, rcond: float) -> np.ndarray | None:
    number = class_list(record).index(cls)
    return image_vectors(record, of=of, rcond=rcond)[number] if label_counts(record)[number] else None


def _inverse(gram: np.ndarray, rcond: float) -> np.ndarray:
    """(E^T E)^+ for a cut-off on the singular values of E."""
    values, vectors = np.linalg.eigh(gram)
    kept = values > rcond**2 * values[-1]
    return (vectors[:, kept] / values[kept]) @ vectors[:, kept].T
