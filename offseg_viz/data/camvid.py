"""CamVid: 701 labelled photographs from a driving car, 480x360, 11 classes.

The release read here is that of SegNet: a folder of photographs and a folder of label maps for each split::

    root/train  root/trainannot      367 pairs
    root/val    root/valannot        101 pairs
    root/test   root/testannot       233 pairs

A photograph (.jpg, .jpeg or .png) and its label map (.png) share their name up to the suffix. Label maps hold 0 .. 10
for the classes and 11 for unlabelled pixels, which become 255 here.

Brostow, Fauqueur and Cipolla, "Semantic object classes in video: a high-definition ground truth database", 2009.
"""

from functools import partial
from pathlib import Path

from offseg_viz.classes import ClassList
from offseg_viz.data.sample import (
    IMAGE_SUFFIXES,
    Sample,
    SampleSet,
    check_same_size,
    files_by_name,
    read_image,
    read_label,
)
from offseg_viz.errors import DataError, UnknownNameError

CAMVID_CLASSES = ClassList(
    names=(
        "Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist",
    ),
    colors=(
        "#808080", "#800000", "#c0c080", "#804080", "#3c28de", "#808000", "#c08080", "#404080", "#400080", "#404000",
        "#0080c0",
    ),
)  # fmt: skip
"""The 11 classes in label order, with the colours of the SegNet release."""

CAMVID_SPLITS = ("train", "val", "test")
UNLABELLED = 11
LABEL_SUFFIXES = (".png",)


def camvid_samples(root: str | Path, *, split: str = "val") -> SampleSet:
    """The photographs of one split with their label maps, in the order of their names.

    The folder is checked at once by its file names; files are read when an item is asked for. An item whose files
    cannot be read, differ in size or hold a wrong label value raises a `DataError` naming the file;
    `check_samples` finds the first such item before a training starts.

    Parameters
    ----------
    root
        The folder with ``train``, ``trainannot``, ``val``, ``valannot``, ``test``, ``testannot``.
    split
        "train", "val" or "test".

    Returns
    -------
    SampleSet
        Ids are file names without suffix.

    Raises
    ------
    UnknownNameError
        If `split` is not one of the three.
    DataError
        If a folder is missing or empty, a photograph has no label map, or a label map no photograph.
    """
    if split not in CAMVID_SPLITS:
        raise UnknownNameError("split of camvid", split, CAMVID_SPLITS)
    root = Path(root).expanduser()
    images = _files_by_name(root, split, IMAGE_SUFFIXES)
    labels = _files_by_name(root, f"{split}annot", LABEL_SUFFIXES)
    for name in sorted(images.keys() ^ labels.keys()):
        if name in images:
            needed = f"{root / f'{split}annot' / name}.png; add it or remove the image"
            raise DataError(f"{images[name]} has no label map: needed {needed}")
        needed = f"{root / split / name}.jpg (or .png); add it or remove the label map"
        raise DataError(f"{labels[name]} has no image: needed {needed}")
    pairs = {name: (images[name], labels[name]) for name in sorted(images)}
    return SampleSet("camvid", CAMVID_CLASSES, tuple(pairs), partial(_load_pair, pairs))


def _load_pair(pairs: dict[str, tuple[Path, Path]], name: str) -> Sample:
    # A module-level function, so that a SampleSet can be pickled for data loading in other processes.
    image_path, label_path = pairs[name]
    image = read_image(image_path)
    label = read_label(label_path, classes=CAMVID_CLASSES, ignored=(UNLABELLED,))
    check_same_size(image, label, image_path, label_path)
    return Sample(name, image, label, CAMVID_CLASSES, "camvid")


def _files_by_name(root: Path, folder: str, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Files of one folder by name without suffix; hidden files and other suffixes do not count."""
    path = root / folder
    if not path.is_dir():
        if root.is_dir():
            found = ", ".join(sorted(entry.name for entry in root.iterdir())[:8]) or "nothing"
            found = f"{root} holds: {found}"
        else:
            found = f"{root} is no folder"
        raise DataError(
            f"no folder {path} ({found}); needed the CamVid root with train/, trainannot/, val/, valannot/, test/, "
            "testannot/ in it"
        )
    return files_by_name(path, suffixes)
