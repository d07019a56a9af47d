"""The one loop over many records: lists, stores, a dask cluster of two processes, and records that cannot be taken."""

import functools
import os
import pickle

import numpy as np
import pytest
from mask_records import build_query_record

from offseg_viz.analyze import collection
from offseg_viz.analyze.align import prediction
from offseg_viz.analyze.collection import over_records
from offseg_viz.errors import RecordError, UnknownNameError
from offseg_viz.extract.store import create_store, open_store
from offseg_viz.record import save_record

IDS = tuple("abcdefg")


def class_pixels(record):
    """Predicted pixels of each class, in Python numbers."""
    return np.bincount(prediction(record).values.ravel(), minlength=record.sizes["cls"]).tolist()


def variables(record):
    return sorted(record.data_vars)


def about_the_process(record, *, power=1):
    return os.getpid(), float(record["feature"].sum()) ** power


@pytest.fixture
def store(tmp_path, make_record):
    """Seven records of one model."""
    created = create_store(tmp_path / "run.zarr")
    for seed, name in enumerate(IDS):
        save_record(make_record(name, seed=seed), created.path_of(name))
    return open_store(tmp_path / "run.zarr")


@pytest.fixture(scope="module")
def client():
    """A dask cluster of two processes on this machine."""
    from distributed import Client, LocalCluster

    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with LocalCluster(host="127.0.0.1", **options) as cluster, Client(cluster) as client:
        yield client


@pytest.fixture
def connected(client):
    """The cluster, connected for one test only: `Client` stays the default of its process otherwise."""
    with client.as_current():
        yield client


@pytest.fixture(autouse=True)
def unconnected(request, monkeypatch):
    """Without a cluster, unless the test asks for it."""
    if "connected" not in request.fixturenames:
        monkeypatch.setattr(collection, "_dask_client", lambda: None)


# What comes, and in which order


def test_lists_generators_and_stores_give_the_same(store):
    found = list(over_records(store, class_pixels))
    assert [name for name, _ in found] == list(IDS) and len({tuple(result) for _, result in found}) > 1
    assert list(over_records(list(store), class_pixels)) == found
    assert list(over_records((record for record in store), class_pixels)) == found
    assert list(over_records(store[2:4], class_pixels)) == found[2:4]


def test_a_cluster_gives_the_same_in_the_same_order(store, connected):
    here = [(name, class_pixels(store[name])) for name in store.ids]
    assert list(over_records(store, class_pixels)) == here
    partial = functools.partial(about_the_process, power=2)
    found = dict(over_records(store, partial))
    assert list(found) == list(IDS)
    assert os.getpid() not in {process for process, _ in found.values()}, "the cluster should have done the work"
    assert [value for _, value in found.values()] == [float(record.feature.sum()) ** 2 for record in store]


def test_a_list_is_worked_on_here_also_with_a_cluster(store, connected):
    assert {process for _, (process, _) in over_records(list(store), about_the_process)} == {os.getpid()}


def test_a_cluster_reads_ahead_of_what_is_waited_for_and_no_further(store, connected, monkeypatch):
    submitted = []
    submit = type(connected).submit
    monkeypatch.setattr(
        type(connected), "submit", lambda *args, **kwargs: submitted.append(1) or submit(*args, **kwargs)
    )
    monkeypatch.setattr(collection, "AHEAD", 1)
    results = over_records(store, class_pixels)
    next(results)
    assert len(submitted) == 2, "one a thread"
    assert len(list(results)) == len(IDS) - 1 and len(submitted) == len(IDS)


def test_what_is_not_needed_is_not_read(store):
    assert dict(over_records(store, variables))["a"] == sorted({*store["a"].data_vars} - {"logits", "image"})
    for records in (store, list(store)):
        without = dict(over_records(records, variables, leave_out=("feature", "feature_offset")))["a"]
        assert "feature" not in without and "logits" in without


# What cannot be taken


def damage(store, name, how):
    chunk = store.path / name / "feature" / "0.0.0"
    if how == "truncated":
        chunk.write_bytes(chunk.read_bytes()[: chunk.stat().st_size // 2])
    elif how == "deleted":
        chunk.unlink()
    else:
        (store.path / name / ".zgroup").unlink()
        (store.path / name / ".zmetadata").unlink(missing_ok=True)


@pytest.mark.parametrize("how", ["truncated", "deleted", "no group"])
def test_a_damaged_record_is_named(store, how):
    damage(store, "c", how)
    results = over_records(store, class_pixels)
    assert [next(results)[0], next(results)[0]] == ["a", "b"]
    with pytest.raises(RecordError, match="run.zarr/c cannot be read as a record .*remove that folder"):
        next(results)
    with pytest.warns(UserWarning, match="left out 1 records: c .*run.zarr/c cannot be read"):
        sound = open_store(store.path, skip_damaged=True)
    assert [name for name, _ in over_records(sound, class_pixels)] == list("abdefg")


def test_a_damaged_record_is_named_by_a_cluster_too(store, connected):
    damage(store, "c", "truncated")
    with pytest.raises(RecordError, match="run.zarr/c cannot be read as a record"):
        list(over_records(store, class_pixels))
    with pytest.raises(UnknownNameError, match="unknown record of run.zarr 'z'"):
        store.load("z")


def test_a_half_written_record_is_named_and_skipped_on_request(store):
    (store.path / "d").rename(store.path / ".d.partial")
    with pytest.raises(RecordError, match="holds half-written records: d; finish it by the same extract_many"):
        open_store(store.path)
    with pytest.warns(UserWarning, match=r"left out 1 records: d \(half-written\)"):
        sound = open_store(store.path, skip_damaged=True)
    assert [name for name, _ in over_records(sound, class_pixels)] == list("abcefg")


def narrower(record):
    return record.isel(channel=slice(9))


def renamed(record):
    return record.assign_coords(cls=["sky", "road", "lawn"])


@pytest.mark.parametrize("where", ["list", "store"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (narrower, "the record of b has 9 channels, the first 11 channels; take records of one model"),
        (renamed, "the record of b has other classes than the first; take records of one data set"),
        (lambda record: record.drop_vars("label"), "the record of b has no label; extract it from a sample with"),
    ],
)
def test_records_that_do_not_fit_each_other(tmp_path, make_record, where, change, words):
    records = [make_record("a"), change(make_record("b", seed=1)), make_record("c", seed=2)]
    if where == "store":
        created = create_store(tmp_path / "s")
        for record in records:
            save_record(record, created.path_of(record.attrs["sample"]))
        records = open_store(tmp_path / "s")
    results = over_records(records, variables)
    assert next(results)[0] == "a"
    with pytest.raises(RecordError, match=words):
        next(results)


def test_records_that_do_not_fit_are_told_by_a_cluster_too(tmp_path, make_record, connected):
    created = create_store(tmp_path / "s")
    for record in (make_record("a"), narrower(make_record("b", seed=1))):
        save_record(record, created.path_of(record.attrs["sample"]))
    with pytest.raises(RecordError, match="the record of b has 9 channels, the first 11"):
        list(over_records(open_store(tmp_path / "s"), variables))


def test_no_record_and_one_that_is_no_list(tmp_path, offset_record):
    for nothing in ([], iter(()), create_store(tmp_path / "s")):
        with pytest.raises(RecordError, match="found no record; needed at least one"):
            list(over_records(nothing, variables))
    with pytest.raises(RecordError, match=r"put it in a list: \[record\]"):
        list(over_records(offset_record, variables))


def test_labels_and_queries_are_asked_for_only_where_they_are_needed(offset_record):
    query_record = build_query_record("b")
    without = offset_record.drop_vars("label")
    assert len(list(over_records([without], variables, labelled=False))) == 1
    with pytest.raises(RecordError, match="is of mask classification: its embeddings are of queries"):
        list(over_records([query_record], variables))
    assert len(list(over_records([query_record], variables, queries=True))) == 1
    with pytest.raises(RecordError, match="11 channels of queries, the first 11 channels"):
        list(over_records([offset_record, query_record], variables, queries=True))


def test_a_store_travels_to_a_worker(store):
    again = pickle.loads(pickle.dumps(store))
    assert again.ids == store.ids and again.path == store.path
