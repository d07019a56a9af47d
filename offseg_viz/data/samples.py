"""Data sets by name, and the check that a set can be trained and evaluated on."""

from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import numpy as np

from offseg_viz.classes import IGNORE_INDEX
from offseg_viz.data.published import PUBLISHED
from offseg_viz.data.sample import Sample, SampleSet
from offseg_viz.errors import DataError, UnknownNameError

DATASETS = (
    "scenes", "camvid", "ade20k", "cityscapes", "coco_stuff164k", "pascal_context", "folder", "photographs",
)  # fmt: skip


class SampleCheck(NamedTuple):
    """What `check_samples` counted: pixels of each class, (K,) int64 without ignored pixels, and samples."""

    pixels: np.ndarray
    samples: int


def load_samples(
    name: str,
    *,
    split: str = "val",
    root: str | Path | None = None,
    size: tuple[int, int] | None = None,
    unpaired: list[str] | None = None,
) -> SampleSet:
    """The images of a data set.

    Parameters
    ----------
    name
        "scenes" (generated street and park scenes; nothing to download); "ade20k", "cityscapes", "coco_stuff164k",
        "pascal_context" or "camvid" (published, see `offseg_viz.data.published.PUBLISHED`); "folder" (images and label
        maps of one's own, see `offseg_viz.data.folder`); or "photographs" (the unlabelled images that lie in the
        folder `root`).
    split
        "train", "val" or, of scenes, camvid and folder, "test"; photographs have no splits, all of them come.
    root
        Folder of a data set that lies on disk; needed for all but scenes, which take none.
    size
        Height and width of the scenes in pixels, by default those of the split; a set of files comes in its own size
        and takes none.
    unpaired
        A list to note images without label map, and label maps without image, in, a line each; they are left out. By
        default the first of them raises.

    Returns
    -------
    SampleSet
        Lazy: an image is read or drawn when it is asked for.

    Raises
    ------
    UnknownNameError
        If there is no such data set or split; the message lists the valid ones.
    DataError
        If `root` or `size` is missing or does not apply, or the folder is not laid out as the data set is.
    """
    if name not in DATASETS:
        raise UnknownNameError("data set", name, DATASETS)
    if name == "scenes":
        if root is not None:
            raise DataError(f"scenes are generated and have no folder, found root={str(root)!r}; leave root out")
        from offseg_viz.data.scenes import scene_samples

        return scene_samples(split, size=size)
    if size is not None:
        raise DataError(f"{name} come in the size of their files, found size={size!r}; leave size out")
    if root is None:
        raise DataError(_needed_root(name))
    if name == "photographs":
        from offseg_viz.data.folder import photograph_samples

        return photograph_samples(root)
    reader = import_module(f"offseg_viz.data.{name}")
    return getattr(reader, f"{name}_samples")(root, split=split, unpaired=unpaired)


def check_samples(samples: SampleSet, *, progress: bool = False) -> SampleCheck:
    """Read every sample once; stop at the first that cannot be trained or evaluated on.

    Parameters
    ----------
    samples
        The set to walk.
    progress
        Show a progress bar on the error stream.

    Returns
    -------
    SampleCheck
        `pixels`, the number of labelled pixels of each class, (K,) int64, zero for a class that never occurs; and
        `samples`, the number of samples.

    Raises
    ------
    DataError
        If the set is empty, a file is unreadable, a sample has no label map, image and label disagree in size, a
        label value is out of range, or every pixel of the whole set is ignored. The message names the sample or file.
    """
    if len(samples) == 0:
        raise DataError(f"the set of {samples.dataset} samples is empty; needed at least one")
    if samples.classes is None:
        raise DataError(f"{samples.dataset} have no label maps; training and evaluation need a labelled data set")
    walk = samples
    if progress:
        from rich.console import Console
        from rich.progress import track

        walk = track(
            samples, f"checking {samples.dataset}", total=len(samples), console=Console(stderr=True), transient=True
        )
    pixels = np.zeros(len(samples.classes), dtype=np.int64)
    for sample in walk:
        pixels += _count_pixels(sample, len(samples.classes))
    if not pixels.any():
        raise DataError(f"every pixel of the {len(samples)} {samples.dataset} samples is ignored; needed some labels")
    return SampleCheck(pixels, len(samples))


def _needed_root(name: str) -> str:
    path, rest = f"path/to/{name}", "the one in which the images lie"
    if name == "folder":
        path, rest = "path/to/folder", "the one with images/, labels/ and classes.txt in it"
    if name in PUBLISHED:
        layout, obtain = PUBLISHED[name].layout, PUBLISHED[name].obtain
        path, rest = f"path/to/{layout.splitlines()[0].strip('/')}", f"laid out as\n{layout}\n{obtain}"
    return f'{name} needs its folder: load_samples("{name}", root="{path}") or --root {path}, {rest}'


def _count_pixels(sample: Sample, num_classes: int) -> np.ndarray:
    where = f"sample {sample.id!r} of {sample.dataset}"
    image, label = sample.image, sample.label
    if label is None:
        raise DataError(f"{where} has no label map; training and evaluation need one for each image")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise DataError(f"{where}: the image is {image.dtype} {image.shape}, needed uint8 (height, width, 3)")
    if label.dtype != np.uint8 or label.shape != image.shape[:2]:
        raise DataError(f"{where}: the label is {label.dtype} {label.shape}, needed uint8 {image.shape[:2]}")
    count = np.bincount(label.ravel(), minlength=256)
    wrong = [int(value) for value in np.flatnonzero(count[num_classes:IGNORE_INDEX]) + num_classes]
    if wrong:
        raise DataError(f"{where} holds the label values {wrong[:8]}; needed 0 to {num_classes - 1}, or {IGNORE_INDEX}")
    return count[:num_classes]
