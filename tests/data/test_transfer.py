"""Downloading: every way in which a server can fail on the way, against a real one on the loopback address."""

import hashlib
import json
import resource
import socket

import numpy as np
import pytest
from file_server import serving

from offseg_viz.data.transfer import ATTEMPTS, fetch
from offseg_viz.errors import DataError

DATA = np.random.default_rng(0).bytes(300_000)
OTHER = np.random.default_rng(1).bytes(310_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
BLOCK = 8192  # bytes that are written at a time
DATE = "Tue, 24 Nov 2020 19:00:00 GMT"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")


@pytest.fixture
def target(tmp_path):
    return tmp_path / "set.archive"


def get(service, target, **settings):
    """`fetch` without pauses; then nothing but the file lies there."""
    assert fetch(service.url, target, **({"pause": 0, "progress": False} | settings)) == target
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    return target.read_bytes()


def fail(service, target, message, **settings):
    """A `fetch` that fails; gives what is kept of the file."""
    with pytest.raises(DataError, match=message):
        fetch(service.url, target, **({"pause": 0, "progress": False} | settings))
    assert not target.exists()
    partial = target.with_name("set.archive.partial")
    return partial.read_bytes() if partial.exists() else None


def cut_once(service, target):
    """Leave the first nine blocks of the file on the disk."""
    service.cuts, service.statuses = [9 * BLOCK], [None, 404]
    assert fail(service, target, "refused: the server answered 404 Not Found") == service.data[: 9 * BLOCK]


# --- all goes well ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("data", [DATA, b""], ids=["full", "empty"])
def test_a_file_in_one_go(target, is_chunked, data):
    with serving(data, is_chunked=is_chunked) as service:
        assert get(service, target, sha256=hashlib.sha256(data).hexdigest().upper()) == data
        assert service.ranges == [None]
        assert service.asked[0]["Accept-Encoding"] == "identity"


def test_what_is_there_is_not_downloaded_again(target):
    target.write_bytes(DATA)
    with serving(OTHER) as service:
        assert get(service, target, sha256=SHA256) == DATA
        assert service.asked == []


# --- cut off on the way ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_cut_connection_is_taken_up_where_it_was(target, is_chunked):
    with serving(DATA, cuts=[9 * BLOCK, 0, 12 * BLOCK], is_chunked=is_chunked) as service:
        assert get(service, target) == DATA
        assert service.ranges == [None, f"bytes={9 * BLOCK}-", f"bytes={9 * BLOCK}-", f"bytes={21 * BLOCK}-"]
        assert service.asked[1]["If-Range"] == service.validators()["ETag"]


@pytest.mark.parametrize("cut", [1, BLOCK - 1, BLOCK + 1, 100_000, len(DATA) - 1])
def test_wherever_the_cut_is_less_than_a_block_comes_twice(target, cut):
    with serving(DATA, cuts=[cut]) as service:
        assert get(service, target) == DATA
        kept = cut // BLOCK * BLOCK
        assert service.ranges == [None, f"bytes={kept}-" if kept else None]


def test_after_too_many_cuts_the_next_call_goes_on(target):
    with serving(DATA, cuts=[BLOCK] * ATTEMPTS) as service:
        message = f"did not come to its end in {ATTEMPTS} attempts .*{BLOCK * ATTEMPTS} bytes are kept in .*partial"
        assert fail(service, target, message) == DATA[: BLOCK * ATTEMPTS]
        assert get(service, target, sha256=SHA256) == DATA
        assert service.ranges[ATTEMPTS:] == [f"bytes={BLOCK * ATTEMPTS}-"]


def test_pauses_grow(target, monkeypatch):
    slept = []
    monkeypatch.setattr("time.sleep", slept.append)
    with serving(DATA, statuses=[503] * (ATTEMPTS - 1)) as service:
        get(service, target, pause=0.75)
    assert slept == [0.75, 1.5, 3, 6]


def test_a_server_that_falls_silent(target):
    with serving(DATA, cuts=[6 * BLOCK], stall=5.0) as service:
        assert get(service, target, timeout=0.3) == DATA
        assert service.ranges == [None, f"bytes={6 * BLOCK}-"]


def test_a_server_that_sends_less_than_was_asked_for(target):
    # It may: RFC 9110, section 14.2.
    with serving(DATA, cuts=[9 * BLOCK], longest_part=100_000) as service:
        assert get(service, target) == DATA
        assert service.ranges == [None] + [f"bytes={9 * BLOCK + k}-" for k in (0, 100_000, 200_000)]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(target, status):
    with serving(DATA, statuses=[status, None, status], cuts=[BLOCK]) as service:
        assert get(service, target) == DATA
        assert service.ranges == [None, None, f"bytes={BLOCK}-", f"bytes={BLOCK}-"]


def test_a_server_that_stays_busy(target):
    with serving(DATA, statuses=[503] * ATTEMPTS) as service:
        assert fail(service, target, "the server answered 503 Service Unavailable.*0 bytes are kept") is None


def test_a_server_that_refuses_after_a_cut(target):
    with serving(DATA) as service:
        cut_once(service, target)
        assert get(service, target) == DATA
        assert service.ranges[-1] == f"bytes={9 * BLOCK}-"


# --- when starting over is the only right thing ----------------------------------------------------------------------


def test_a_server_that_knows_no_ranges_starts_over(target):
    with serving(DATA, cuts=[9 * BLOCK, 2 * BLOCK], knows_ranges=False) as service:
        assert get(service, target) == DATA
        assert service.ranges == [None, f"bytes={9 * BLOCK}-", f"bytes={2 * BLOCK}-"]


def test_a_file_that_changed_starts_over(target):
    with serving(DATA) as service:
        cut_once(service, target)
        service.data = OTHER
        assert get(service, target) == OTHER
        assert service.ranges[-1] is not None


def test_a_file_that_changed_on_a_server_that_heeds_no_condition(target):
    # It sends the rest of the other file, with its own ETag.
    with serving(DATA, heeds_if_range=False) as service:
        cut_once(service, target)
        service.data = OTHER
        assert get(service, target) == OTHER
        assert service.ranges[-2:] == [f"bytes={9 * BLOCK}-", None]


def test_a_file_that_became_shorter(target):
    with serving(DATA, heeds_if_range=False) as service:
        cut_once(service, target)
        service.data = OTHER[:500]
        assert get(service, target) == OTHER[:500]


def test_a_part_that_begins_elsewhere(target):
    with serving(DATA, cuts=[9 * BLOCK, None], shift=10) as service:
        assert get(service, target) == DATA
        assert service.ranges == [None, f"bytes={9 * BLOCK}-", None]


def test_the_time_of_change_where_the_tag_is_weak(target):
    with serving(DATA, cuts=[9 * BLOCK], etag='W/"1"', last_modified=DATE) as service:
        assert get(service, target) == DATA
        assert service.asked[1]["If-Range"] == DATE and service.ranges[1] == f"bytes={9 * BLOCK}-"


@pytest.mark.parametrize("etag", ["", 'W/"1"'])
def test_without_a_strong_validator_no_part_is_asked_for(target, etag):
    with serving(DATA, cuts=[9 * BLOCK], etag=etag) as service:
        assert get(service, target) == DATA
        assert service.ranges == [None, None]


@pytest.mark.parametrize("spoil", ["missing", "no JSON", "a list", "another url", "no validator"])
def test_a_part_of_unknown_origin_is_not_continued(target, spoil):
    with serving(DATA) as service:
        cut_once(service, target)
        note = target.with_name("set.archive.partial.json")
        known = json.loads(note.read_text())
        texts = {"no JSON": "{", "a list": "[1]", "no validator": json.dumps({"url": service.url})}
        texts["another url"] = json.dumps(known | {"url": service.url + "2"})
        note.write_text(texts[spoil]) if spoil != "missing" else note.unlink()
        assert get(service, target) == DATA
        assert service.ranges[-1] is None


# --- what cannot be had ----------------------------------------------------------------------------------------------


def test_no_server(target):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/set.zip"
    with pytest.raises(DataError, match=r"set.zip cannot be reached .*Connection refused") as error:
        fetch(url, target, pause=0)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("url", ["set.zip", "ftp://127.0.0.1/set.zip", "http://"])
def test_no_address(target, url):
    with pytest.raises(DataError, match=f"{url} cannot be reached"):
        fetch(url, target)


@pytest.mark.parametrize(("status", "reason"), [(404, "Not Found"), (403, "Forbidden"), (410, "Gone")])
def test_a_refusal_is_not_repeated(target, status, reason):
    with serving(DATA, statuses=[status]) as service:
        assert fail(service, target, f"set.zip was refused: the server answered {status} {reason}") is None
        assert len(service.asked) == 1


def test_a_body_that_was_packed_for_the_way(target):
    with serving(DATA, encoding="gzip") as service:
        fail(service, target, "comes packed as gzip")


def test_another_sum(target):
    with serving(DATA) as service:
        assert fail(service, target, f"has the SHA-256 {SHA256}, needed {'0' * 64}", sha256="0" * 64) is None
        target.write_bytes(OTHER)
        with pytest.raises(DataError, match=f"{target} has the SHA-256"):
            fetch(service.url, target, sha256=SHA256)
        assert target.read_bytes() == OTHER, "a file that was there is not removed"


def test_a_full_disk(target):
    # A limit on the size of files stands in for it: writing fails in the same place, with another number.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with serving(DATA) as service:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        try:
            kept = fail(service, target, "partial cannot be written .File too large.*make room")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert kept and kept == DATA[: len(kept)]
        assert get(service, target) == DATA
        assert service.ranges == [None, f"bytes={len(kept)}-"]


def test_a_folder_that_is_not_there(tmp_path):
    with serving(DATA) as service, pytest.raises(DataError, match="partial cannot be written .No such file"):
        fetch(service.url, tmp_path / "nowhere" / "set.zip")
