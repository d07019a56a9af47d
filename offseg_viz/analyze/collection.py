"""Records taken one after the other: the one loop of every analysis of many records, here or on a dask cluster.

An analysis is a function of one record, whose result is small, and a sum over those results. So memory does not grow
with the size of the records' store, and the function can run wherever the store can be read.
"""

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, TypeVar

import xarray as xr

from offseg_viz.errors import RecordError
from offseg_viz.record import has_queries, refuse_queries

Result = TypeVar("Result")

UNREAD = ("logits", "image")
"""Variables that analyses do not need: logits are recomputed from the scores, for both stages."""

AHEAD = 2
"""Records that a dask cluster works on before the first of them is waited for, for each of its threads."""


class Kind(NamedTuple):
    """What records that are taken together must have in common, and whether one has a label."""

    classes: tuple[str, ...]
    channels: int
    queries: bool
    labelled: bool

    @classmethod
    def of(cls, record: xr.Dataset) -> "Kind":
        names = tuple(map(str, record["cls"].values))
        return cls(names, record.sizes["channel"], has_queries(record), "label" in record)


def over_records(
    records: Iterable[xr.Dataset],
    function: Callable[[xr.Dataset], Result],
    *,
    labelled: bool = True,
    queries: bool = False,
    leave_out: Iterable[str] = UNREAD,
) -> Iterator[tuple[str, Result]]:
    """Yield (id, ``function(record)``) in the order of the records.

    Of a store one record is in memory, and the next is being read.

    The id is the collection's own (`records.ids`) or the record's sample. Where `records` is a `RecordStore` and a dask
    client is connected (``dask.distributed.Client(...)``), the cluster's workers read the records themselves and only
    results travel: `function` must be one that can be pickled (of a module, or a `functools.partial` of one), and the
    store must lie where the workers can read it. Results are the same, and come in the same order.

    Parameters
    ----------
    records : records of one model and data set.
    function : record to a small result.
    labelled : whether every record needs a label.
    queries : whether records of mask classification will do; their embeddings are of queries, not of classes.
    leave_out : variables that `function` does not need, which are not read.

    Raises
    ------
    RecordError
        If there is no record, a single record stands where several belong, one has no label, is of mask classification,
        is damaged, or has other classes or channels than the first.
    """
    if isinstance(records, xr.Dataset):
        raise RecordError("found one record where several belong; put it in a list: [record]")
    leave_out, first = tuple(leave_out), None
    for name, kind, result in _results(records, function, leave_out, labelled, queries):
        first = kind if first is None else first
        if kind.classes != first.classes:
            raise RecordError(f"the record of {name} has other classes than the first; take records of one data set")
        if kind[1:3] != first[1:3]:
            what = [f"{k.channels} channels{' of queries' if k.queries else ''}" for k in (kind, first)]
            raise RecordError(f"the record of {name} has {what[0]}, the first {what[1]}; take records of one model")
        yield name, result
    if first is None:
        raise RecordError("found no record; needed at least one: extract() or extract_many() makes them")


def _results(
    records: Iterable[xr.Dataset], function: Callable, leave_out: tuple[str, ...], labelled: bool, queries: bool
) -> Iterator[tuple[str, Kind, Result]]:
    from_store = hasattr(records, "load")
    if not from_store:
        ids = getattr(records, "ids", None)
        for number, record in enumerate(records):
            name = str(record.attrs["sample"] if ids is None else ids[number])
            yield name, *_checked(name, record.drop_vars(leave_out, errors="ignore"), function, labelled, queries)
        return
    client, arguments = _dask_client(), (function, leave_out, labelled, queries)
    if client is None:
        with ThreadPoolExecutor(1) as reader:  # the next record is read while one is worked on
            for name, record in _ahead(records.ids, partial(reader.submit, records.load, leave_out=leave_out), 2):
                yield name, *_checked(name, record.result(), function, labelled, queries)
        return
    most = AHEAD * max(1, sum(client.nthreads().values()))

    def on_cluster(name: str) -> Future:  # with a store of that record alone, or the ids of all would travel every time
        return client.submit(_of_store, records.only(name), name, *arguments, pure=False)

    for name, result in _ahead(records.ids, on_cluster, most):
        yield name, *result.result()


def _ahead(names: Iterable[str], submit: Callable[[str], Future], most: int) -> Iterator[tuple[str, Future]]:
    """Every name with its future, in order, `most` of them submitted before the first is waited for."""
    waiting = deque()
    for name in names:
        waiting.append((name, submit(name)))
        if len(waiting) == most:
            yield waiting.popleft()
    yield from waiting


def _of_store(records, name: str, function: Callable, leave_out, labelled: bool, queries: bool) -> tuple[Kind, Result]:
    return _checked(name, records.load(name, leave_out=leave_out), function, labelled, queries)


def _checked(name: str, record: xr.Dataset, function: Callable, labelled: bool, queries: bool) -> tuple[Kind, Result]:
    kind = Kind.of(record)
    if labelled and not kind.labelled:
        raise RecordError(f"the record of {name} has no label; extract it from a sample with a label map")
    if not queries:
        refuse_queries(record, "this analysis", name=name)
    return kind, function(record)


def _dask_client():
    """The connected dask client, if dask is in use at all."""
    if "distributed" not in sys.modules:
        return None
    try:
        return sys.modules["distributed"].get_client()
    except ValueError:
        return None
