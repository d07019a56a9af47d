"""Data sets that lie on disk as files in pairs: a photograph and its label map, matched by their names.

What the modules of the single data sets share. Only folders are read to build a set, never a file.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from offseg_viz.classes import ClassList
from offseg_viz.data.published import PUBLISHED
from offseg_viz.data.sample import (
    Sample,
    SampleSet,
    check_same_size,
    label_table,
    read_image,
    read_mapped_label,
)
from offseg_viz.errors import DataError, UnknownNameError


@dataclass(frozen=True, eq=False)
class FilePairs:
    """Makes the sample of an id from two files: the `load` of a `SampleSet`. It can be pickled.

    `paths` maps an id to the paths of its image and its label map, or None in place of the latter; `table`, as
    `label_table` makes it, gives the class number of each value in a label map. Calling it raises a `DataError` that
    names the file if one is unreadable, their sizes differ or a value is not in the table.
    """

    dataset: str
    classes: ClassList | None
    paths: Mapping[str, tuple[str, str | None]] = field(repr=False)
    table: np.ndarray | None = field(default=None, repr=False)

    def __call__(self, name: str) -> Sample:
        image_path, label_path = self.files(name)
        image = read_image(image_path)
        if label_path is None:
            return Sample(name, image, None, None, self.dataset)
        label = read_mapped_label(label_path, self.table)
        check_same_size(image, label, image_path, label_path)
        return Sample(name, image, label, self.classes, self.dataset)

    def files(self, name: str) -> tuple[str, str | None]:
        """The paths of an id's image and label map."""
        return self.paths[name]

    def samples(self) -> SampleSet:
        """All of them, in the order of `paths`."""
        return SampleSet(self.dataset, self.classes, tuple(self.paths), self)


class Files(NamedTuple):
    """Files of one kind by name; a missing one would be called ``folder/name`` + `ending`."""

    folder: Path
    ending: str
    paths: Mapping[str, str]

    def expected(self, name: str) -> str:
        return f"{self.folder / name}{self.ending}"


def match(images: Files, labels: Files, unpaired: list[str] | None = None) -> dict[str, tuple[str, str]]:
    """The paths of image and label map by name, in the order of the images.

    Where `unpaired` is given, a file without a partner is left out and noted there, a line each, and nothing raises.

    Raises
    ------
    DataError
        If an image has no label map or a label map no image: names the first, and how many more there are.
    """
    for here, there, kind, partner in (
        (images, labels, "image", "label map"),
        (labels, images, "label map", "image"),
    ):
        alone = sorted(here.paths.keys() - there.paths.keys())
        if unpaired is not None:
            unpaired += [f"{here.paths[name]} has no {partner}: needed {there.expected(name)}" for name in alone]
        elif alone:
            more = f" ({len(alone) - 1} more {kind}s have none)" if alone[1:] else ""
            raise DataError(
                f"{here.paths[alone[0]]} has no {partner}{more}: needed {there.expected(alone[0])}; "
                f"add it or remove the {kind}"
            )
    return {name: (path, labels.paths[name]) for name, path in images.paths.items() if name in labels.paths}


def match_either(
    images: Files, mapped: Files, raw: Files, unpaired: list[str] | None = None
) -> tuple[dict[str, tuple[str, str]], bool]:
    """Match images with label maps of which there are two kinds: class numbers as they are, or raw values.

    `unpaired` is as in `match`.

    Returns
    -------
    pairs
        As `match` gives them.
    is_mapped
        Whether those are the label maps of class numbers, which are taken where every image has one.

    Raises
    ------
    DataError
        As `match`, and if both kinds are there but neither for every image.
    """
    missing = [images.paths.keys() - labels.paths.keys() for labels in (mapped, raw)]
    if all(missing) and mapped.paths and raw.paths:
        with_mapped, with_raw = (len(images.paths) - len(names) for names in missing)
        raise DataError(
            f"{raw.folder} holds a mixture: of {len(images.paths)} images {with_mapped} have a label map "
            f"*{mapped.ending} and {with_raw} one *{raw.ending}; needed one of the two kinds for all of them"
        )
    is_mapped = not missing[0] or (bool(missing[1]) and bool(mapped.paths))
    return match(images, mapped if is_mapped else raw, unpaired), is_mapped


def check_split(dataset: str, split: str) -> None:
    """Raise `UnknownNameError`, listing those that there are, for a split without public labels."""
    if split not in PUBLISHED[dataset].splits:
        raise UnknownNameError(f"split of {dataset}", split, PUBLISHED[dataset].splits)


def find_root(dataset: str, root: str | Path, marker: str) -> Path:
    """`root` if it holds the folder `marker`, else the folder in it with which the published layout begins, if any."""
    root = Path(root).expanduser()
    top = PUBLISHED[dataset].layout.splitlines()[0].strip("/").split("/")
    if (root / marker).is_dir():
        return root
    inner = (root.joinpath(*top[first:]) for first in range(len(top)))
    return next((place for place in inner if place.is_dir()), root)


def folder_of(dataset: str, root: Path, name: str) -> Path:
    """A folder below the root; one that is not there raises a `DataError` with the layout of the data set."""
    folder = root / name
    if not folder.is_dir():
        found = f"{root} is no folder"
        if root.is_dir():
            found = f"{root} holds: {', '.join(sorted(os.listdir(root))[:8]) or 'nothing'}"
        raise DataError(f"no folder {folder} ({found}); {needed_layout(dataset)}")
    return folder


def needed_layout(dataset: str) -> str:
    """For messages: how the folders of a published data set lie."""
    return f"needed the root of {dataset}, laid out as\n{PUBLISHED[dataset].layout}"


def published_samples(
    dataset: str, pairs: Mapping[str, tuple[str, str]], raw_to_class: Mapping[int, int], *, ignored: Iterable[int] = ()
) -> SampleSet:
    """The samples of a published data set; `raw_to_class` and `ignored` as in `label_table`."""
    classes = ClassList.of(PUBLISHED[dataset].class_list)
    return FilePairs(dataset, classes, pairs, label_table(raw_to_class, ignored=ignored)).samples()
