"""CamVid: 701 labelled photographs from a driving car, 480x360, 11 classes.

The release read here is that of SegNet: a folder of photographs and a folder of label maps for each split::

    root/train  root/trainannot      367 pairs
    root/val    root/valannot        101 pairs
    root/test   root/testannot       233 pairs

A photograph (.jpg, .jpeg or .png) and its label map (.png) share their name up to the suffix. Label maps hold 0 .. 10
for the classes and 11 for unlabelled pixels, which become 255 here.

Brostow, Fauqueur and Cipolla, "Semantic object classes in video: a high-definition ground truth database", 2009.
"""

from pathlib import Path

from offseg_viz.classes import ClassList
from offseg_viz.data.pairs import Files, check_split, folder_of, match, published_samples
from offseg_viz.data.sample import IMAGE_SUFFIXES, SampleSet, files_by_name

CAMVID_CLASSES = ClassList.of("camvid")
"""The 11 classes in label order, with the colours of the SegNet release."""

UNLABELLED = 11


def camvid_samples(root: str | Path, *, split: str = "val", unpaired: list[str] | None = None) -> SampleSet:
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
    unpaired
        See `load_samples`.

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
    check_split("camvid", split)
    root = Path(root).expanduser()
    images, annotations = folder_of("camvid", root, split), folder_of("camvid", root, f"{split}annot")
    pairs = match(
        Files(images, ".jpg (or .png)", files_by_name(images, IMAGE_SUFFIXES)),
        Files(annotations, ".png", files_by_name(annotations, (".png",))),
        unpaired,
    )
    pairs = {name: pairs[name] for name in sorted(pairs)}
    return published_samples("camvid", pairs, {k: k for k in range(len(CAMVID_CLASSES))}, ignored=(UNLABELLED,))
