"""ADE20K, the scene parsing benchmark: 20,210 and 2,000 photographs of all kinds of places, 150 classes.

The release read here is ADEChallengeData2016. Label maps hold 1 .. 150 for the classes and 0 for all else, which
becomes 255 here; the classes count from 0.

Zhou, Zhao, Puig, Fidler, Barriuso and Torralba, "Scene parsing through ADE20K dataset", CVPR 2017.
"""

from pathlib import Path

from offseg_viz.data.pairs import Files, check_split, find_root, folder_of, match, published_samples
from offseg_viz.data.sample import SampleSet, files_by_name

FOLDERS = {"train": "training", "val": "validation"}
OTHER = 0
"""Raw value of what is none of the classes."""


def ade20k_samples(root: str | Path, *, split: str = "val", unpaired: list[str] | None = None) -> SampleSet:
    """The photographs of one split with their label maps, in the order of their names.

    Parameters
    ----------
    root
        ``ADEChallengeData2016``, or the folder in which it lies.
    split
        "train" or "val".
    unpaired
        See `load_samples`.

    Returns
    -------
    SampleSet
        Ids are file names without suffix, such as ``ADE_val_00000001``.

    Raises
    ------
    UnknownNameError
        If `split` is neither; the labels of the test photographs are not public.
    DataError
        If a folder is missing or empty, or a photograph or label map has no partner. Files are read when their sample
        is asked for: one that is unreadable, or a label map of another size or with a wrong value, raises it then.
    """
    check_split("ade20k", split)
    images, annotations = (f"{kind}/{FOLDERS[split]}" for kind in ("images", "annotations"))
    root = find_root("ade20k", root, images)
    images, annotations = (folder_of("ade20k", root, folder) for folder in (images, annotations))
    pairs = match(
        Files(images, ".jpg", files_by_name(images, (".jpg",))),
        Files(annotations, ".png", files_by_name(annotations, (".png",))),
        unpaired,
    )
    return published_samples("ade20k", pairs, {raw: raw - 1 for raw in range(1, 151)}, ignored=(OTHER,))
