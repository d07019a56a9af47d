"""What a record would have given with other offsets: none, one of the two, scaled ones, or those of another image.

Everything is computed from what `extract` kept, by eqs. (8), (12) and (13) of arXiv 2508.08811 with ``W + s dW`` and
``E + t dE`` in place of ``W + dW`` and ``E + dE``, and the model's last layer behind them. The network does not run
again: the offsets themselves stay as they are, whatever is done with them.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import numpy as np
import pandas as pd
import xarray as xr

from offseg_viz.analyze.align import last_layer, logits, winning_class
from offseg_viz.analyze.bootstrap import bootstrap_interval, by_image
from offseg_viz.analyze.collection import UNREAD, over_records
from offseg_viz.analyze.decomposition import score_terms
from offseg_viz.analyze.ideal import ideal_prediction
from offseg_viz.analyze.measure_table import measure_rows
from offseg_viz.analyze.offsets import require_offsets
from offseg_viz.classes import IGNORE_INDEX
from offseg_viz.errors import RecordError, UnknownNameError
from offseg_viz.extract.store import RecordStore, image_of
from offseg_viz.metrics import ratio_or_nan

INTERVENTIONS = (
    *("none", "class offsets only", "feature offsets only", "both"),
    *("transplanted", "mean class offset", "ideal"),
)
STRENGTHS = tuple(step / 4 for step in range(-2, 9))
"""From -0.5 to 2; 0 is without the offset, 1 as the model has it."""
QUANTITIES = ("miou", "macc", "aacc", "miou_change")
SCALED = ("both", "class", "feature")

_DONOR = "donor_class_offset"
"""Variable in which a record brings the class offsets of the next one along."""
_FEATURES = (*UNREAD, "feature", "feature_offset")


def intervene(
    record: xr.Dataset,
    *,
    class_strength: float = 1.0,
    feature_strength: float = 1.0,
    class_offset: xr.DataArray | np.ndarray | None = None,
    terms: xr.DataArray | None = None,
) -> xr.DataArray:
    """Logits with ``W + class_strength dW`` and ``E + feature_strength dE``, dims (cls, y, x), without unit.

    Strengths of 1 give the aligned logits, of 0 the initial ones; what `winning_class` makes of the result is the
    prediction. It equals a forward pass through the head with its two projections scaled by the strengths, in which the
    rest of the network stays as it is. Of mask classification: mask logits, dims (query, y, x), of the recorded decoder
    layer, with the query classes as they are.

    Parameters
    ----------
    record : xarray.Dataset
        A record of a model with offset learning.
    class_strength, feature_strength : float
        Factors of dW and dE; negative ones turn the offsets round.
    class_offset : xarray.DataArray or array, optional
        What takes the place of dW, dims as the record's own (cls, channel): that of another image, or a mean. Of an
        array without dims the shape is all that can be checked.
    terms : xarray.DataArray, optional
        ``score_terms(record)``, where several strengths are tried on one record: with it a strength costs a weighted
        sum of the four terms, ``E W + s E dW + t dE W + s t dE dW``, and no product of matrices.

    Raises
    ------
    RecordError
        If the record is of a per-pixel model, which has no offsets; a strength is not finite; `class_offset` does not
        have the classes and channels of the record; `terms` are not its own, or given together with `class_offset`.
    """
    require_offsets(record)
    if not np.isfinite([class_strength, feature_strength]).all():
        raise RecordError(f"found the strengths {class_strength} and {feature_strength}; needed finite numbers")
    if class_offset is not None:
        if terms is not None:
            raise RecordError(
                "found both class_offset and terms; the terms hold class offsets already: give one of them"
            )
        record = record.assign(class_offset=_fitting(record, class_offset))
    if terms is None:
        moved = {
            "class_embedding": _moved(record["class_embedding"], record["class_offset"], class_strength),
            "feature": _moved(record["feature"], record["feature_offset"], feature_strength),
        }
        result = logits(record.assign(moved), "initial")
    else:
        result = _combined(record, terms, class_strength, feature_strength)
        last_layer(record, result.values)
    attrs = {"class_strength": float(class_strength), "feature_strength": float(feature_strength)}
    return result.rename("logits").drop_attrs().assign_attrs(long_name="logits of an intervention", **attrs)


def interventions(records: Iterable[xr.Dataset]) -> pd.DataFrame:
    """How well images are segmented with one kind of offset, with none, with another image's, or with their mean.

    ======================  ==========================================================================================
    intervention            class embeddings and features behind the last layer
    ======================  ==========================================================================================
    none                    W and E: the initial stage
    class offsets only      W + dW and E
    feature offsets only    W and E + dE
    both                    W + dW and E + dE: the aligned stage
    transplanted            W + dW of the next record of another image (after the last, the first) and E + dE: if class
                            offsets belong to their image, this does worse than `both`; NaN for a single image
    mean class offset       W + the mean of dW over the records and E + dE: what a constant shift of W does
    ideal                   W* of the image (eq. 2) and E, as `ideal_prediction` gives it: a ceiling made from the label
    ======================  ==========================================================================================

    Records are read twice, one at a time and with the class offsets of a second: first for the mean of dW, then for the
    rest.

    Parameters
    ----------
    records : iterable of xarray.Dataset
        Labelled records of one model with offset learning; an iterator is read into a list.

    Returns
    -------
    pandas.DataFrame
        A measure table, group column `intervention`, pixels of all images pooled, fractions from 0 to 1:
        ``miou`` and ``macc``, means over the classes of ``right / (labelled + predicted - right)`` and
        ``right / labelled``; ``aacc``, all right over all labelled pixels; ``miou_change``, miou less that of `both`,
        whose interval is paired: both figures come from the same drawn images. Classes that are labelled nowhere are
        left out of the means, also where they are predicted, so that all rows are means over the same classes; of a
        draw of images, those it does not hold. NaN where no pixel is labelled. `images` counts those with labelled
        pixels.

    Raises
    ------
    RecordError
        If there is no record, or one has no label, no offsets or holds NaN, or records do not fit each other.
    """
    from_store = hasattr(records, "load")
    records = records if from_store or isinstance(records, xr.Dataset) else list(records)
    mean = _mean_class_offset(records)
    with_donors = _StoreWithDonors.of(records) if from_store else _with_donors(records)
    counts = _stacked(over_records(with_donors, partial(_hits, mean=mean), queries=True))
    return _table("intervention", INTERVENTIONS, QUANTITIES, counts)


def strength_curve(
    records: Iterable[xr.Dataset], *, strengths: Sequence[float] = STRENGTHS, of: str = "both"
) -> pd.DataFrame:
    """How well images are segmented with offsets scaled by a strength: 0 without them, 1 as the model has them.

    Parameters
    ----------
    records : iterable of xarray.Dataset
        Labelled records of one model with offset learning, read one at a time, once.
    strengths : sequence of float
    of : {"both", "class", "feature"}
        What is scaled: dW and dE together, or one of them while the other stays as it is.

    Returns
    -------
    pandas.DataFrame
        A measure table, group column `strength`: ``miou`` and ``aacc`` as `interventions` has them.

    Raises
    ------
    RecordError
        If `strengths` are none, not finite or not all different, or as in `interventions`.
    UnknownNameError
        If `of` is another word.
    """
    if of not in SCALED:
        raise UnknownNameError("offset to scale", of, SCALED)
    strengths = [float(strength) for strength in strengths]
    if not strengths or len(set(strengths)) < len(strengths) or not np.isfinite(strengths).all():
        raise RecordError(f"found the strengths {strengths}; needed one or more finite numbers, all different")
    pairs = [(1.0 if of == "feature" else one, 1.0 if of == "class" else one) for one in strengths]
    counts = _stacked(over_records(records, partial(_hits_of_strengths, pairs=pairs), queries=True))
    return _table("strength", strengths, ("miou", "aacc"), counts)


def _moved(place: xr.DataArray, offset: xr.DataArray, strength: float) -> xr.DataArray:
    """`place` + `strength` `offset`; at a strength of 1 and 0 what the stages have, to the last bit."""
    if strength == 0:
        return place
    return place + (offset if strength == 1 else offset * strength)


def _combined(record: xr.Dataset, terms: xr.DataArray, class_strength: float, feature_strength: float) -> xr.DataArray:
    """Scores at two strengths from the four terms."""
    needed = (4, *(record.sizes[dim] for dim in (record["class_embedding"].dims[0], "y", "x")))
    if terms.shape != needed or terms.dims[0] != "term":
        raise RecordError(
            f"found terms of shape {terms.shape}, needed {needed}: score_terms(record) of the same record"
        )
    weights = np.array([1, class_strength, feature_strength, class_strength * feature_strength], terms.dtype)
    return terms[0].drop_vars("term").copy(data=(weights @ terms.values.reshape(4, -1)).reshape(needed[1:]))


def _fitting(record: xr.Dataset, class_offset: xr.DataArray | np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """Class offsets of elsewhere as a variable of `record`."""
    own = record["class_offset"]
    if not isinstance(class_offset, xr.DataArray):
        values = np.asarray(class_offset)
        if values.shape != own.shape or not np.issubdtype(values.dtype, np.number):
            found = f"a class offset of shape {values.shape} and type {values.dtype}"
            raise RecordError(
                f"found {found}, needed numbers of shape {own.shape} ({', '.join(own.dims)}), or a DataArray such as "
                "record.class_offset.copy(data=...)"
            )
        return own.dims, values
    if class_offset.dims != own.dims or class_offset.shape != own.shape:
        found = f"a class offset of dims {class_offset.dims} and shape {class_offset.shape}"
        raise RecordError(f"found {found}, needed {own.dims} and {own.shape}; take one of the same model")
    if "cls" in own.coords and "cls" in class_offset.coords and not class_offset["cls"].equals(own["cls"]):
        raise RecordError("found a class offset of other classes than the record's; take one of the same data set")
    return own.dims, class_offset.values


def _mean_class_offset(records: Iterable[xr.Dataset]) -> np.ndarray:
    total, number = 0.0, 0
    for name, offset in over_records(records, _class_offset, queries=True, leave_out=_FEATURES):
        if number and offset.shape != total.shape:
            raise RecordError(f"the record of {name} has {len(offset)} queries, the first {len(total)}; take one model")
        total, number = total + offset.astype(np.float64), number + 1
    return total / number


def _class_offset(record: xr.Dataset) -> np.ndarray:
    if "class_offset" not in record:
        require_offsets(record)  # raises, in the words that say what to do
    return record["class_offset"].values


def _with_donors(records: Sequence[xr.Dataset]) -> Iterator[xr.Dataset]:
    """The records, each with the class offsets of its donor."""
    donors = _donors([str(record.attrs["sample"]) for record in records])
    for record, donor in zip(records, donors):
        yield record if donor is None else record.assign({_DONOR: records[donor]["class_offset"].variable})


class _StoreWithDonors:
    """A store whose records bring the class offsets of their donors along; it is read where the records are."""

    def __init__(self, store: RecordStore, donors: dict[str, str | None]):
        self.store, self.donors, self.ids = store, donors, tuple(donors)

    @classmethod
    def of(cls, store: RecordStore) -> "_StoreWithDonors":
        names = [None if number is None else store.ids[number] for number in _donors(store.ids)]
        return cls(store, dict(zip(store.ids, names)))

    def only(self, name: str) -> "_StoreWithDonors":
        donor = self.donors[name]
        return _StoreWithDonors(self.store.only(name, donor), {name: donor})

    def load(self, name: str, *, leave_out: Iterable[str] = ()) -> xr.Dataset:
        record, donor = self.store.load(name, leave_out=leave_out), self.donors[name]
        if donor is None:
            return record
        offset = self.store.load(donor, leave_out=(*_FEATURES, "class_embedding", "label"))["class_offset"]
        return record.assign({_DONOR: offset.variable})


def _donors(names: Sequence[str]) -> list[int | None]:
    """For each record the number of the next one, after the last the first, that is of another image; None without."""
    images = [image_of(name) for name in names]
    if len(set(images)) < 2:
        return [None] * len(images)
    found, donor = [], next(number for number, image in enumerate(images) if image != images[-1])
    for number in reversed(range(len(images))):
        if number + 1 < len(images) and images[number] != images[number + 1]:
            donor = number + 1
        found.append(donor)
    return found[::-1]


def _hits(record: xr.Dataset, *, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Right and predicted pixels of each class (7, K) by intervention, and labelled ones (K,)."""
    dims, donor = record["class_offset"].dims, record.get(_DONOR)
    changes = {
        "none": dict(class_strength=0, feature_strength=0),
        "class offsets only": dict(feature_strength=0),
        "feature offsets only": dict(class_strength=0),
        "both": dict(),
        "transplanted": None if donor is None else dict(class_offset=donor.drop_vars("cls", errors="ignore")),
        "mean class offset": dict(class_offset=xr.DataArray(mean.astype(record["class_offset"].dtype), dims=dims)),
    }
    predictions = [
        None if change is None else winning_class(record, intervene(record, **change)).values
        for change in changes.values()
    ]
    # nothing labelled: no ideal class embedding to ask for, and nothing is counted
    labelled = (record["label"].values != IGNORE_INDEX).any()
    predictions.append(ideal_prediction(record).values if labelled else record["label"].values)
    return _counts(record, predictions)


def _hits_of_strengths(record: xr.Dataset, *, pairs: list[tuple[float, float]]) -> tuple[np.ndarray, ...]:
    terms = score_terms(record)
    made = (intervene(record, class_strength=s, feature_strength=t, terms=terms) for s, t in pairs)
    return _counts(record, [winning_class(record, one).values for one in made])


def _counts(record: xr.Dataset, predictions: list[np.ndarray | None]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Right and predicted pixels (predictions, K), NaN for a prediction that is missing, and labelled ones (K,)."""
    classes, label = record.sizes["cls"], record["label"].values
    counted = label != IGNORE_INDEX
    own = label[counted]
    right, predicted = (np.full((len(predictions), classes), np.nan) for _ in range(2))
    for number, prediction in enumerate(predictions):
        if prediction is not None:
            found = prediction[counted]
            right[number] = np.bincount(own[found == own], minlength=classes)
            predicted[number] = np.bincount(found, minlength=classes)
    return right, predicted, np.bincount(own, minlength=classes)


def _stacked(results: Iterable[tuple[str, tuple[np.ndarray, ...]]]) -> list[np.ndarray]:
    """Counts of all images, each (images, ...): 16 bytes a class and prediction of an image."""
    names, counts = zip(*results)
    _, *added = by_image(names, *map(np.stack, zip(*counts)))
    return added


def _table(group: str, names: Sequence, quantities: Sequence[str], counts: list[np.ndarray]) -> pd.DataFrame:
    """The measure table of some of the `QUANTITIES`, from counts of all images."""
    compared = INTERVENTIONS.index("both") if "miou_change" in quantities else 0
    figures = bootstrap_interval(partial(_segmentation, compared=compared), *counts)
    images = int(counts[-1].any(axis=1).sum())
    columns = {name: [ends[:, QUANTITIES.index(name)] for ends in figures] for name in quantities}
    return pd.concat(
        [measure_rows(group, names, name, column, images) for name, column in columns.items()], ignore_index=True
    )


def _segmentation(right: np.ndarray, predicted: np.ndarray, labelled: np.ndarray, *, compared: int) -> np.ndarray:
    """Counts (draws, rows, K) twice and (draws, K) to the `QUANTITIES`, changes from one row: (draws, rows, 4)."""
    labelled = np.broadcast_to(labelled[:, None], right.shape)
    present = labelled > 0
    iou, accuracy = ratio_or_nan(right, labelled + predicted - right), ratio_or_nan(right, labelled)
    classes = present.sum(axis=2)
    miou, macc = (ratio_or_nan(np.where(present, each, 0).sum(axis=2), classes) for each in (iou, accuracy))
    aacc = ratio_or_nan(right.sum(axis=2), labelled.sum(axis=2))
    return np.stack([miou, macc, aacc, miou - miou[:, [compared]]], axis=2)
