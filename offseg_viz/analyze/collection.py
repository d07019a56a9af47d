"""Records taken together: their ids, and the check that they fit each other."""

from collections.abc import Iterable, Iterator

import numpy as np
import xarray as xr

from offseg_viz.errors import RecordError


def named_records(records: Iterable[xr.Dataset], *, labelled: bool = True) -> Iterator[tuple[str, xr.Dataset]]:
    """Yield (id, record) one at a time; the id is the collection's own (`records.ids`) or the record's sample.

    Raises
    ------
    RecordError
        If there is no record, a single record stands where several belong, a record has no label (unless `labelled` is
        False), or its classes or channels differ from those of the first.
    """
    if isinstance(records, xr.Dataset):
        raise RecordError("found one record where several belong; put it in a list: [record]")
    ids = getattr(records, "ids", None)
    first = None
    for number, record in enumerate(records):
        name = str(record.attrs["sample"] if ids is None else ids[number])
        if labelled and "label" not in record:
            raise RecordError(f"the record of {name} has no label; extract it from a sample with a label map")
        first = record if first is None else first
        if not np.array_equal(record["cls"], first["cls"]):
            raise RecordError(f"the record of {name} has other classes than the first; take records of one data set")
        if record.sizes["channel"] != first.sizes["channel"]:
            sizes = f"{record.sizes['channel']} channels, the first {first.sizes['channel']}"
            raise RecordError(f"the record of {name} has {sizes}; take records of one model")
        yield name, record
    if first is None:
        raise RecordError("found no record; needed at least one: extract() or extract_many() makes them")
