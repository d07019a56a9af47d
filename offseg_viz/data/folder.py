"""Images of one's own: with label maps and a list of classes, or photographs alone.

The folder lies like this, or as ``offseg-viz scenes --out FOLDER`` writes it::

    root/images/NAME.jpg       an image; any of the suffixes of `PHOTOGRAPH_SUFFIXES`
    root/labels/NAME.png       its label map: class numbers from 0 in one channel, 255 for what does not count
    root/classes.txt           the names of the classes in the order of their numbers, or root/classes.json

Where ``images`` and ``labels`` hold folders ``train``, ``val`` and ``test``, of which some may lack, these are the
splits. Without them there is one set of images, which every split stands for.

``classes.txt`` has one name a line and, if wanted, a colour ``#rrggbb`` behind it; empty lines do not count.
``classes.json`` is ``{"names": [...], "colors": [...]}``, the colours of which may be left out. Without colours the
classes get evenly spread hues.
"""

import json
from pathlib import Path

from offseg_viz.classes import ClassList
from offseg_viz.data.pairs import FilePairs, Files, match
from offseg_viz.data.sample import IMAGE_SUFFIXES, SampleSet, files_by_name, label_table
from offseg_viz.errors import DataError, UnknownNameError

PHOTOGRAPH_SUFFIXES = (*IMAGE_SUFFIXES, ".bmp", ".tif", ".tiff", ".webp")
LABEL_SUFFIXES = (".png", ".bmp", ".tif", ".tiff")
"""Of lossless formats; those of `PHOTOGRAPH_SUFFIXES` otherwise. Both in lower or upper case."""

SPLITS = ("train", "val", "test")
LAYOUT = "root/images/NAME.jpg, root/labels/NAME.png and root/classes.txt with one class name a line"


def folder_samples(root: str | Path, *, split: str | None = None, unpaired: list[str] | None = None) -> SampleSet:
    """The images of one's own folder, with label maps where it has them, in the order of their names.

    Parameters
    ----------
    root
        The folder with ``images``, ``labels`` and ``classes.txt`` or ``classes.json``; see the head of this module.
        Without ``labels`` it may also hold the images themselves.
    split
        "train", "val" or "test"; needed where the images lie in folders of these names.
    unpaired
        See `load_samples`.

    Returns
    -------
    SampleSet
        Ids are file names without suffix. Without ``labels`` the samples have neither labels nor classes, and the
        name of the data set is "photographs", as of `photograph_samples`.

    Raises
    ------
    UnknownNameError
        If there is no such split.
    DataError
        If a folder is missing or empty, an image or label map has no partner, or the classes cannot be read. Files are
        read when their sample is asked for: one that is unreadable, or a label map of another size or with a number
        that is no class, raises it then.
    """
    root = _existing(root, "images/, labels/ and classes.txt lie")
    if not (root / "labels").is_dir():
        return _photographs(_split_folder(root / "images", split) if (root / "images").is_dir() else root)
    if not (root / "images").is_dir():
        raise DataError(f"{root} holds labels but no folder images; needed {LAYOUT}")
    classes = read_classes(root)
    images = _split_folder(root / "images", split)
    labels = root / "labels" / images.relative_to(root / "images")
    if not labels.is_dir():
        raise DataError(f"no folder {labels} for the label maps of {images}; needed one of the same name")
    pairs = match(
        Files(images, ".jpg (or .png)", files_by_name(images, PHOTOGRAPH_SUFFIXES)),
        Files(labels, ".png", files_by_name(labels, LABEL_SUFFIXES)),
        unpaired,
    )
    return FilePairs("folder", classes, pairs, label_table({k: k for k in range(len(classes))})).samples()


def photograph_samples(root: str | Path) -> SampleSet:
    """The .jpg, .jpeg and .png files that lie in the folder `root` itself, in the order of their names.

    They have no labels and belong to no list of classes, so any model can be run on them; what needs labels (IoU,
    ideal class embeddings) cannot be computed. A file is read when its item is asked for.

    Raises
    ------
    DataError
        If there is no such folder, no image in it, or two of the same name.
    """
    return _photographs(_existing(root, "the photographs lie"), IMAGE_SUFFIXES)


def read_classes(root: str | Path) -> ClassList:
    """The classes that ``classes.json`` in the folder `root` lists, or else ``classes.txt``.

    Raises
    ------
    DataError
        If there is neither, or the file is not written as the head of this module says.
    """
    paths = [Path(root) / name for name in ("classes.json", "classes.txt")]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise DataError(f"{root} has label maps but no classes.txt or classes.json; needed {LAYOUT}")
    try:
        text = path.read_text(encoding="utf-8-sig")
        names, colors = _from_json(text) if path.suffix == ".json" else _from_lines(text)
        if not names:
            raise DataError("no class name")
        hues = ClassList.numbered(len(names)).colors
        return ClassList(names, tuple(color or hue for color, hue in zip(colors or hues, hues, strict=True)))
    except (OSError, ValueError) as cause:
        needed = 'one class name a line and, if wanted, #rrggbb behind it, or JSON {"names": [...], "colors": [...]}'
        raise DataError(f"{path} is no list of classes ({cause}); needed {needed}") from cause


def _from_json(text: str) -> tuple[list[str], list[str] | None]:
    table = json.loads(text)
    if not isinstance(table, dict) or "names" not in table:
        raise DataError("it has no names")
    names, colors = table["names"], table.get("colors")
    for values in (names, [] if colors is None else colors):
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise DataError(f"found {str(values)[:40]!r} for a list of text")
    if colors is not None and len(colors) != len(names):
        raise DataError(f"{len(names)} names but {len(colors)} colours")
    return names, colors


def _from_lines(text: str) -> tuple[list[str], list[str | None]]:
    names, colors = [], []
    for line in filter(None, map(str.strip, text.splitlines())):
        name, tab, color = line.partition("\t")
        if not tab and line.split()[-1].startswith("#"):
            name, _, color = line.rpartition(" ")
        names.append(name.strip())
        colors.append(color.strip() or None)
    return names, colors


def _photographs(folder: Path, suffixes: tuple[str, ...] = PHOTOGRAPH_SUFFIXES) -> SampleSet:
    paths = {name: (path, None) for name, path in files_by_name(folder, suffixes).items()}
    return FilePairs("photographs", None, paths).samples()


def _split_folder(images: Path, split: str | None) -> Path:
    """The folder of a split below `images`, or `images` where it has none of the three."""
    found = [name for name in SPLITS if (images / name).is_dir()]
    if split not in (found or (None, *SPLITS)):
        raise UnknownNameError(f"split of {images}", split, found or SPLITS)
    if not found:
        return images
    for entry in sorted(images.iterdir()):
        if entry.suffix.lower() in PHOTOGRAPH_SUFFIXES and not entry.name.startswith("."):
            raise DataError(f"{entry} lies beside the folders {', '.join(found)}; move it into one of them")
    return images / split


def _existing(root: str | Path, what: str) -> Path:
    root = Path(root).expanduser()
    if not root.is_dir():
        raise DataError(f"{root} is no folder; needed the folder in which {what}")
    return root
