"""One file from the web to the disk, going on where an earlier attempt was cut off."""

import hashlib
import json
import re
import time
from pathlib import Path

import requests
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from offseg_viz.errors import DataError

ATTEMPTS = 5
TIMEOUT = 30.0
"""Seconds to wait for a connection, and for the next bytes of one that stands."""

_BUSY = (408, 425, 429, 500, 502, 503, 504)  # statuses after which the same request may succeed
_BLOCK = 1 << 13  # bytes read at a time; what came of a block is lost when the connection is cut within it


def fetch(
    url: str,
    target: str | Path,
    *,
    sha256: str | None = None,
    progress: bool = True,
    pause: float = 1.0,
    timeout: float = TIMEOUT,
) -> Path:
    """Download a file, unless it is there already.

    What has come so far lies in ``target.partial`` and takes the name `target` when it is complete. Beside it
    ``target.partial.json`` notes which state of the file on the server it belongs to (its ETag, or when it was last
    modified), and the rest is asked for with Range and If-Range (RFC 9110, sections 13.1.5 and 14.2), so that two
    states are never mixed: a changed file starts over, as does everything from a server that knows no ranges. A
    connection that is cut is taken up again, `ATTEMPTS` times in all, with growing pauses.

    Parameters
    ----------
    url
        Where the file is, http or https.
    target
        Where it shall lie; its folder must exist.
    sha256
        Its SHA-256 in hexadecimal digits, if known.
    progress
        Show a progress bar on the error stream.
    pause
        Seconds before the second attempt, twice as many before each further one.
    timeout
        Seconds to wait for a connection, and for the next bytes.

    Returns
    -------
    Path
        `target`.

    Raises
    ------
    DataError
        If the server cannot be reached, refuses, or cuts the connection too often; the disk is full or cannot be
        written; or the file has another SHA-256. What has come so far is kept for the next call except in the last
        case, in which the file is removed unless it was there before.
    """
    target = Path(target)
    was_there = target.exists()
    if not was_there:
        partial = target.with_name(f"{target.name}.partial")
        _complete(url, partial, progress, pause, timeout)
        partial.replace(target)
        _note_of(partial).unlink(missing_ok=True)
    if sha256 is not None:
        with target.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256.lower():
            if not was_there:
                target.unlink()
            source = target if was_there else url
            raise DataError(f"{source} has the SHA-256 {found}, needed {sha256}: it is not the expected file")
    return target


class _Interrupted(Exception):
    """A transfer that did not come to its end and may be taken up again; the message says why."""


def _complete(url: str, partial: Path, progress: bool, pause: float, timeout: float) -> None:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    bar = Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not (progress and console.is_terminal)
    )
    with bar:
        bar.add_task(f"downloading {url.rpartition('/')[2]}", total=None)
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(pause * 2 ** (attempt - 1))
            try:
                return _attempt(url, partial, bar, timeout, is_first=attempt == 0)
            except _Interrupted as cause:
                last = cause
    kept = partial.stat().st_size if partial.exists() else 0
    raise DataError(
        f"{url} did not come to its end in {ATTEMPTS} attempts ({last}); {kept} bytes are kept in {partial}, "
        "the same call goes on from there"
    )


def _attempt(url: str, partial: Path, bar: Progress, timeout: float, *, is_first: bool) -> None:
    start, validator = _resume_point(url, partial)
    # Ranges and lengths count the bytes on the wire, so those must be the bytes of the file.
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": validator}
    try:
        response = requests.get(url, headers=headers, stream=True, timeout=timeout)
    except requests.RequestException as cause:
        if is_first:
            raise DataError(f"{url} cannot be reached ({_reason(cause)})") from cause
        raise _Interrupted(_reason(cause)) from cause
    with response:
        status = f"{response.status_code} {response.reason}"
        if response.status_code in _BUSY:
            raise _Interrupted(f"the server answered {status}")
        if response.status_code == 206:
            span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
            if not start or not span or int(span[1]) != start or _validator(response) not in ("", validator):
                partial.unlink(missing_ok=True)
                raise _Interrupted("the server sent another part of the file than was asked for")
            length = int(span[2]) if span[2] != "*" else None
        elif response.status_code == 416 and start:
            partial.unlink()
            raise _Interrupted("the file on the server is shorter than what has come of it")
        elif response.status_code == 200:
            start, length = 0, response.headers.get("Content-Length", "")
            length = int(length) if length.isdecimal() else None
            _start_over(url, partial, _validator(response))
        else:
            raise DataError(f"{url} was refused: the server answered {status}")
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise DataError(f"{url} comes packed as {response.headers['Content-Encoding']}, which was not asked for")
        bar.update(bar.task_ids[0], total=length, completed=start)
        _receive(response, partial, bar)
    size = partial.stat().st_size
    if length is not None and size != length:
        raise _Interrupted(f"{size} of {length} bytes came")


def _receive(response: requests.Response, partial: Path, bar: Progress) -> None:
    """Append the body to the file; all that came before an interruption is in it."""
    try:
        with partial.open("ab") as file:
            for block in response.iter_content(_BLOCK):
                file.write(block)
                bar.advance(bar.task_ids[0], len(block))
    except requests.RequestException as cause:  # an OSError too, hence first
        raise _Interrupted(_reason(cause)) from cause
    except OSError as cause:
        raise _unwritable(partial, cause) from cause


def _resume_point(url: str, partial: Path) -> tuple[int, str]:
    """How many bytes are there, and the validator of the state they are of; 0 where that is not known for sure."""
    try:
        size = partial.stat().st_size
        note = json.loads(_note_of(partial).read_text(encoding="utf-8"))
        return (size, note["validator"]) if note["url"] == url and note["validator"] else (0, "")
    except (OSError, ValueError, KeyError, TypeError):
        return 0, ""


def _validator(response: requests.Response) -> str:
    """What If-Range may name: an ETag that is strong, else the time of the last change."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _start_over(url: str, partial: Path, validator: str) -> None:
    try:
        partial.unlink(missing_ok=True)  # before the note on what follows, which would be wrong of what was there
        _note_of(partial).write_text(json.dumps({"url": url, "validator": validator}), encoding="utf-8")
    except OSError as cause:
        raise _unwritable(partial, cause) from cause


def _note_of(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.json")


def _unwritable(partial: Path, cause: OSError) -> DataError:
    return DataError(
        f"{partial} cannot be written ({cause.strerror or cause}); make room or choose another folder, "
        "the same call goes on with what has come so far"
    )


def _reason(cause: Exception) -> str:
    """The innermost of the errors that a failed connection is wrapped in, which is the one that says something."""
    while (inner := cause.__cause__ or cause.__context__) is not None:
        cause = inner
    return f"{type(cause).__name__}: {cause}"
