"""Unpacking: what is taken and what is refused, with archives made to measure, member by member and byte by byte."""

import gzip
import io
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib

import numpy as np
import pytest

from offseg_viz.data.unpacking import unpack
from offseg_viz.errors import DataError

KINDS = ("zip", "tar", "tar.gz")


def noise(size, seed=0):
    return np.random.default_rng(seed).bytes(size)


FILES = {
    "repo-main/README": b"read me",
    "repo-main/set/train/a.png": noise(700, 1),
    "repo-main/set/train/b.png": noise(1024, 2),
    "repo-main/set/val/c.png": b"",
    "repo-main/setting/d.png": noise(5, 3),
}
BELOW = {"train/a.png": FILES["repo-main/set/train/a.png"], "train/b.png": noise(1024, 2), "val/c.png": b""}


def packed(path, kind, files, *, folders=(), special=()):
    """An archive of `files`, a mapping or pairs of name and bytes; `special` are TarInfo or ZipInfo objects as such."""
    pairs = files.items() if isinstance(files, dict) else files
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.comment = b"0123456789abcdef"  # as the archives of a code host have one
            for name in folders:
                archive.writestr(f"{name}/", b"")
            for name, data in pairs:
                archive.writestr(name, data)
            for info in special:
                archive.writestr(info, b"elsewhere")
    else:
        with tarfile.open(path, "w:gz" if kind == "tar.gz" else "w") as archive:
            for name in folders:
                info = tarfile.TarInfo(name)
                info.type = tarfile.DIRTYPE
                archive.addfile(info)
            for name, data in pairs:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
            for info in special:
                archive.addfile(info)
    return path


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(archive, message, **settings):
    into = archive.parent / "into"
    before = set(archive.parent.rglob("*"))
    with pytest.raises(DataError, match=message):
        unpack(archive, into, **settings)
    assert set(archive.parent.rglob("*")) == before, "something was left behind"


# --- what is taken ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["archive", "misleading.zip"])
def test_files_below_a_folder_without_it(tmp_path, kind, name):
    archive = packed(tmp_path / name, kind, FILES, folders=("repo-main", "repo-main/set", "repo-main/set/empty"))
    assert unpack(archive, tmp_path / "new" / "into", below="repo-main/set") == tmp_path / "new" / "into"
    assert content(tmp_path / "new" / "into") == BELOW


@pytest.mark.parametrize("kind", KINDS)
def test_all_files(tmp_path, kind):
    archive = packed(tmp_path / "archive", kind, FILES)
    assert content(unpack(str(archive), str(tmp_path / "into"))) == FILES


@pytest.mark.parametrize("below", ["set", "./set", "set/"])
def test_names_that_begin_with_a_dot(tmp_path, below):
    archive = packed(tmp_path / "archive", "tar", {"./set/a": b"1", "./other": b"2"})
    assert content(unpack(archive, tmp_path / "into", below=below)) == {"a": b"1"}


def test_permissions_of_the_archive_do_not_count(tmp_path):
    info = tarfile.TarInfo("a")
    info.mode = 0o6777
    archive = packed(tmp_path / "archive", "tar", {}, special=[info])
    mode = (unpack(archive, tmp_path / "into") / "a").stat().st_mode
    (tmp_path / "own").touch()
    assert mode == (tmp_path / "own").stat().st_mode


def test_members_that_are_not_taken_may_be_anything(tmp_path):
    link = tarfile.TarInfo("other/link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    archive = packed(tmp_path / "archive", "tar.gz", {"set/a": b"1", "../out": b"2", "/abs": b"3"}, special=[link])
    assert content(unpack(archive, tmp_path / "into", below="set")) == {"a": b"1"}
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_size_up_to_the_limit(tmp_path, kind):
    archive = packed(tmp_path / "archive", kind, {"set/a": noise(600), "set/b": noise(400), "other": noise(9999)})
    assert len(content(unpack(archive, tmp_path / "into", below="set", largest=1000))) == 2


# --- names and kinds that are refused --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["/abs", "../out", "set/../../out", "set/..", "C:/out", "set\\..\\out"])
def test_names_that_lead_out(tmp_path, kind, name):
    archive = packed(tmp_path / "archive", kind, [("set/a", b"1"), (name, b"2")])
    refused(archive, "has a name that may lead out of the folder")


def test_a_name_that_leads_out_below_the_folder(tmp_path):
    refused(packed(tmp_path / "archive", "zip", {"set/../../out": b"1"}), "set/../../out.*lead out", below="set")


@pytest.mark.parametrize(
    ("type_", "kind"),
    [
        (tarfile.SYMTYPE, "link"),
        (tarfile.LNKTYPE, "link"),
        (tarfile.CHRTYPE, "special file"),
        (tarfile.FIFOTYPE, "special file"),
    ],
)
def test_links_and_devices_in_a_tar(tmp_path, type_, kind):
    info = tarfile.TarInfo("set/odd")
    info.type, info.linkname = type_, "set/a"
    refused(packed(tmp_path / "archive", "tar", {"set/a": b"1"}, special=[info]), f"'set/odd' is a {kind}")


@pytest.mark.parametrize(("type_", "kind"), [(stat.S_IFLNK, "symbolic link"), (stat.S_IFIFO, "special file")])
def test_links_and_pipes_in_a_zip(tmp_path, type_, kind):
    info = zipfile.ZipInfo("set/odd")
    info.create_system, info.external_attr = 3, (type_ | 0o777) << 16
    refused(packed(tmp_path / "archive", "zip", {"set/a": b"1"}, special=[info]), f"'set/odd' is a {kind}")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "names", [("set/a", "set/a"), ("set/a", "set//a"), ("set/a", "set/a/b"), ("set/a/b", "set/a")], ids=str
)
def test_a_name_that_comes_twice(tmp_path, kind, names):
    archive = packed(tmp_path / "archive", kind, [(names[0], b"1"), (names[1], b"2")])
    refused(archive, f"{names[1]}' comes twice, or once as a file", below="set")


# --- sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_size_above_the_limit(tmp_path, kind):
    archive = packed(tmp_path / "archive", kind, {"a": bytes(600), "b": bytes(401)})
    refused(archive, "'b' brings the unpacked size to 1001 bytes; at most 1000", largest=1000)


def claims(archive, offset, size):
    """Change what the only member of a zip claims to have unpacked: `offset` is that in both of its headers."""
    data = bytearray(archive.read_bytes())
    for start in (data.index(b"PK\x03\x04") + offset, data.index(b"PK\x01\x02") + offset + 2):
        data[start : start + 4] = struct.pack("<I", size)
    archive.write_bytes(data)


@pytest.mark.parametrize("size", [0, 50, 999, 1001, 5000])
@pytest.mark.parametrize("right_sum", [False, True])
def test_a_zip_member_that_holds_more_or_less_than_it_claims(tmp_path, size, right_sum):
    data = noise(1000)
    archive = packed(tmp_path / "archive", "zip", {"a": data})
    claims(archive, 22, size)
    if right_sum and size < 1000:  # the sum of just what will be read, so that only the size can tell
        claims(archive, 14, zlib.crc32(data[:size]))
        into = unpack(archive, tmp_path / "into")
        assert (into / "a").stat().st_size == size, "more was written than was claimed and allowed"
    else:
        refused(archive, "member 'a'")


def test_a_zip_member_that_claims_more_is_not_padded(tmp_path):
    archive = packed(tmp_path / "archive", "zip", {"a": noise(1000)})
    claims(archive, 22, 1700)
    refused(archive, "member 'a' claims 1700 bytes but holds 1000")


# --- damage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_archive(tmp_path, kind):
    whole = packed(tmp_path / "archive", kind, FILES).read_bytes()
    end = len(whole) if kind != "tar" else 512 * 10  # behind that there is nothing but the zeros that fill it up
    for size in range(0, end, 97):
        archive = tmp_path / "archive"
        archive.write_bytes(whole[:size])
        refused(archive, "archive", below="repo-main/set")


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_flipped_byte_never_gives_other_files(tmp_path, kind):
    # Whatever is damaged: the error is a DataError, or the damage is where nothing of the files is.
    whole = packed(tmp_path / "archive", kind, FILES).read_bytes()
    for position in range(0, len(whole), 31):
        damaged = bytearray(whole)
        damaged[position] ^= 0x55
        (tmp_path / "archive").write_bytes(damaged)
        try:
            into = unpack(tmp_path / "archive", tmp_path / "into")
        except DataError:
            assert not (tmp_path / "into").exists()
            continue
        assert content(into) == FILES
        shutil.rmtree(into)


def test_a_tar_with_an_unreadable_header_in_the_middle(tmp_path):
    archive = packed(tmp_path / "archive", "tar", {"a": noise(600, 1), "b": noise(600, 2), "c": noise(600, 3)})
    data = bytearray(archive.read_bytes())
    data[data.index(b"b\0\0\0")] = ord("x")  # the check sum of the header no longer fits
    archive.write_bytes(data)
    refused(archive, "a header in it is unreadable")


def test_a_gzip_file_with_a_wrong_sum_at_its_end(tmp_path):
    archive = packed(tmp_path / "archive", "tar.gz", FILES)
    data = bytearray(archive.read_bytes())
    data[-8] ^= 1
    archive.write_bytes(data)
    refused(archive, "cannot be read .CRC check failed")


def test_a_zip_whose_list_lacks_a_member(tmp_path):
    archive = packed(tmp_path / "archive", "zip", FILES)
    data = bytearray(archive.read_bytes())
    start = data.rindex(b"PK\x01\x02", 0, data.rindex(b"PK\x01\x02"))
    # The comment of the last entry but one swallows the last entry.
    data[start + 32 : start + 34] = struct.pack("<H", data.index(b"PK\x05\x06") - data.rindex(b"PK\x01\x02"))
    archive.write_bytes(data)
    with zipfile.ZipFile(archive) as opened:
        assert len(opened.infolist()) == len(FILES) - 1
    refused(archive, "claims 5 members but lists 4")


def test_an_encrypted_zip(tmp_path):
    archive = packed(tmp_path / "archive", "zip", {"a": b"1"})
    data = bytearray(archive.read_bytes())
    for start in (data.index(b"PK\x03\x04") + 6, data.index(b"PK\x01\x02") + 8):
        data[start] |= 1
    archive.write_bytes(data)
    refused(archive, "member 'a' cannot be read .*password")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"<!DOCTYPE html><html>", "begins with b'<!DOCTYPE html"),
        (b"", "archive is empty; needed a zip, tar or tar.gz"),
        (gzip.compress(b"no tar"), "cannot be read"),
        (b"\x1f\x8b", "cannot be read"),
    ],
)
def test_what_is_no_archive(tmp_path, data, message):
    (tmp_path / "archive").write_bytes(data)
    refused(tmp_path / "archive", message)


# --- folders ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("below", ["repo-master/set", "repo-main/set/train/a.png", "set"])
def test_nothing_below_the_folder(tmp_path, kind, below):
    archive = packed(tmp_path / "archive", kind, FILES)
    refused(archive, f"has no file below {below}; it holds repo-main", below=below)


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_without_files(tmp_path, kind):
    refused(packed(tmp_path / "archive", kind, {}), "has no file below its top; it holds nothing")
    refused(packed(tmp_path / "archive", kind, {}, folders=["set"]), "has no file below set; it", below="set")


def test_a_folder_that_is_there_already(tmp_path):
    archive = packed(tmp_path / "archive", "zip", FILES)
    (tmp_path / "into").mkdir()
    refused(archive, "into exists already")
    (tmp_path / "into").rmdir()
    (tmp_path / "into").symlink_to(tmp_path / "nowhere")
    refused(archive, "into exists already")


def test_an_archive_that_is_not_there(tmp_path):
    refused(tmp_path / "archive", "archive cannot be read .*No such file")
