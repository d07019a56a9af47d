"""One pass over the records of a report: do they fit each other, and which classes are labelled where."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import xarray as xr

from offseg_viz.classes import IGNORE_INDEX
from offseg_viz.errors import RecordError
from offseg_viz.record import has_offsets, refuse_queries, validate_record


class Survey(NamedTuple):
    """What one pass over the records found out, so that they need not be in memory together."""

    first: xr.Dataset
    labelled: bool
    pixels: np.ndarray
    """Labelled cells (image, cls)."""
    grids: set[tuple[int, int]]
    """Rows and columns of the grids that occur."""


def survey_records(records: Iterable[xr.Dataset]) -> Survey:
    """Read every record once.

    Raises
    ------
    RecordError
        If there is no record or an invalid one, one is of mask classification, some have offsets and some none, or
        their class counts differ.
    """
    first, labelled, pixels, grids = None, True, [], set()
    for record in records:
        validate_record(record)
        refuse_queries(record, "the report")
        first = record if first is None else first
        if has_offsets(record) != has_offsets(first):
            raise RecordError("some records have offsets and some have none; report on the records of one model")
        labelled = labelled and "label" in record
        grids.add((record.sizes["y"], record.sizes["x"]))
        values = record["label"].values if labelled else np.array([], dtype=np.uint8)
        pixels.append(np.bincount(values[values != IGNORE_INDEX], minlength=record.sizes["cls"]))
    if first is None:
        raise RecordError("found no record, needed at least one; extract() or extract_many() makes them")
    if len({len(row) for row in pixels}) > 1:
        raise RecordError("the records have different numbers of classes; report on the records of one data set")
    return Survey(first, labelled, np.array(pixels), grids)
