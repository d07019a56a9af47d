"""COCO-Stuff 164k: 118,287 and 5,000 photographs of everyday scenes, 80 classes of things and 91 of stuff.

Raw label maps (stuffthingmaps) hold 0 .. 181; eleven of those numbers were planned and never used, so that the 171
classes count without gaps here. 255 is unlabelled. Label maps that were converted already (``*_labelTrainIds.png``)
hold the class numbers themselves.

Caesar, Uijlings and Ferrari, "COCO-Stuff: thing and stuff classes in context", CVPR 2018.
"""

from pathlib import Path

from offseg_viz.data.pairs import Files, check_split, find_root, folder_of, match_either, published_samples
from offseg_viz.data.sample import SampleSet, files_by_name

NUM_RAW = 182
UNUSED = (11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90)
"""Raw numbers that stand for no class: street sign, hat, shoe, eye glasses, plate, mirror, window, desk, door,
blender, hair brush."""

CONVERTED = "_labelTrainIds"


def coco_stuff164k_samples(root: str | Path, *, split: str = "val", unpaired: list[str] | None = None) -> SampleSet:
    """The photographs of one split with their label maps, in the order of their names.

    Parameters
    ----------
    root
        The folder with ``images/train2017``, ``annotations/train2017`` and so on.
    split
        "train" or "val".
    unpaired
        See `load_samples`.

    Returns
    -------
    SampleSet
        Ids are the twelve digits of the file names.

    Raises
    ------
    UnknownNameError
        If `split` is neither.
    DataError
        If a folder is missing or empty, a photograph or label map has no partner, or some photographs have only a raw
        and others only a converted label map. Files are read when their sample is asked for: one that is unreadable,
        or a label map of another size or with a wrong value, raises it then.
    """
    check_split("coco_stuff164k", split)
    root = find_root("coco_stuff164k", root, f"images/{split}2017")
    images = folder_of("coco_stuff164k", root, f"images/{split}2017")
    annotations = folder_of("coco_stuff164k", root, f"annotations/{split}2017")
    labels = files_by_name(annotations, (".png",))
    converted = {name.removesuffix(CONVERTED): path for name, path in labels.items() if name.endswith(CONVERTED)}
    raw = {name: path for name, path in labels.items() if name.isdigit()}
    pairs, is_mapped = match_either(
        Files(images, ".jpg", files_by_name(images, (".jpg",))),
        Files(annotations, f"{CONVERTED}.png", converted),
        Files(annotations, ".png", raw),
        unpaired,
    )
    if is_mapped:
        return published_samples("coco_stuff164k", pairs, {k: k for k in range(NUM_RAW - len(UNUSED))})
    used = [value for value in range(NUM_RAW) if value not in UNUSED]
    return published_samples("coco_stuff164k", pairs, {value: k for k, value in enumerate(used)}, ignored=UNUSED)
