"""Photographs of one's own: the images of a folder, without labels."""

from functools import partial
from pathlib import Path

from offseg_viz.data.sample import IMAGE_SUFFIXES, Sample, SampleSet, files_by_name, read_image
from offseg_viz.errors import DataError


def photograph_samples(root: str | Path) -> SampleSet:
    """The .jpg, .jpeg and .png files that lie in the folder `root` itself, in the order of their names.

    They have no labels and belong to no list of classes, so any model can be run on them; what needs labels (IoU,
    ideal class embeddings) cannot be computed. A file is read when its item is asked for.

    Raises
    ------
    DataError
        If there is no such folder, no image in it, or two of the same name.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise DataError(f"{root} is no folder; needed the folder in which the photographs lie")
    paths = files_by_name(root, IMAGE_SUFFIXES)
    return SampleSet("photographs", None, tuple(paths), partial(_load, paths))


def _load(paths: dict[str, Path], name: str) -> Sample:
    # A module-level function, so that a SampleSet can be pickled for data loading in other processes.
    return Sample(name, read_image(paths[name]), None, None, "photographs")
