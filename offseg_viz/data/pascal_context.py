"""PASCAL Context: 4,996 and 5,104 photographs of VOC 2010 with every pixel labelled, 59 classes.

Label maps hold 1 .. 59 for the most frequent classes in the alphabetical order of their names and 0 for all else,
which becomes 255 here; the classes count from 0. These are the files that the converter of mmsegmentation writes. The
label maps of 59 classes on the site of the data set number the same classes in another order and are not for this.

Mottaghi et al., "The role of context for object detection and semantic segmentation in the wild", CVPR 2014.
"""

from pathlib import Path

from offseg_viz.data.pairs import check_split, find_root, folder_of, needed_layout, published_samples
from offseg_viz.data.sample import SampleSet, files_by_name
from offseg_viz.errors import DataError

OTHER = 0
"""Raw value of what is none of the classes."""


def pascal_context_samples(root: str | Path, *, split: str = "val", unpaired: list[str] | None = None) -> SampleSet:
    """The photographs that the list of a split names, with their label maps, in the order of the list.

    Parameters
    ----------
    root
        ``VOC2010``, or a folder with ``VOC2010`` or ``VOCdevkit/VOC2010`` in it.
    split
        "train" or "val".
    unpaired
        See `load_samples`.

    Returns
    -------
    SampleSet
        Ids are file names without suffix, such as ``2008_000009``.

    Raises
    ------
    UnknownNameError
        If `split` is neither.
    DataError
        If a folder or the list is missing or empty, the list names a photograph twice, or one that is not there or
        has no label map. Files are read when their sample is asked for: one that is unreadable, or a label map of
        another size or with a wrong value, raises it then.
    """
    check_split("pascal_context", split)
    root = find_root("pascal_context", root, "SegmentationClassContext")
    list_path = root / "ImageSets" / "SegmentationContext" / f"{split}.txt"
    names = _read_list(list_path)
    paths = []
    for kind, folder, suffix in (("image", "JPEGImages", ".jpg"), ("label map", "SegmentationClassContext", ".png")):
        folder = folder_of("pascal_context", root, folder)
        files = files_by_name(folder, (suffix,))
        alone = [name for name in names if name not in files]
        if unpaired is not None:
            unpaired += [f"{list_path} names {name}, which has no {kind}" for name in alone]
        elif alone:
            more = f" ({len(alone) - 1} more have none)" if alone[1:] else ""
            raise DataError(
                f"{list_path} names {alone[0]}, which has no {kind}{more}: needed {folder / alone[0]}{suffix}; "
                "add it or remove the name from the list"
            )
        paths.append(files)
    images, labels = paths
    pairs = {name: (images[name], labels[name]) for name in names if name in images and name in labels}
    return published_samples("pascal_context", pairs, {raw: raw - 1 for raw in range(1, 60)}, ignored=(OTHER,))


def _read_list(path: Path) -> list[str]:
    try:
        names = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as cause:
        raise DataError(f"the list {path} cannot be read ({cause}); {needed_layout('pascal_context')}") from cause
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice or not names:
        found = f"names {twice[0]} twice" if twice else "is empty"
        raise DataError(f"the list {path} {found}; needed one image name a line, each once")
    return names
