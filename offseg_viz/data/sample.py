"""A labelled image, and a lazy, indexable set of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from offseg_viz.classes import IGNORE_INDEX, ClassList
from offseg_viz.errors import DataError

UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
"""What Pillow raises for a missing, truncated or damaged file, or one that claims an absurd size."""

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
"""Of photographs, in lower or upper case."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One image and, where there is one, its label map.

    `image` is (H, W, 3) uint8 RGB; `label` is (H, W) uint8 with the values 0 .. K-1 and 255 for ignored, or None;
    `classes` are those of the label, None without one.
    """

    id: str
    image: np.ndarray
    label: np.ndarray | None
    classes: ClassList | None
    dataset: str


@dataclass(frozen=True)
class SampleSet(Sequence):
    """A lazy sequence of samples: ``len(samples)``, ``samples[3]``, ``samples["id"]``, ``samples[:4]``.

    `load` makes the sample of an id; nothing is read before an item is asked for. `classes` is None for a set without
    labels.
    """

    dataset: str
    classes: ClassList | None
    ids: tuple[str, ...]
    load: Callable[[str], Sample] = field(repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, name: object) -> bool:
        return name in self.ids

    def __getitem__(self, key: int | str | slice) -> "Sample | SampleSet":
        if isinstance(key, slice):
            return SampleSet(self.dataset, self.classes, self.ids[key], self.load)
        if isinstance(key, str):
            if key not in self.ids:
                from offseg_viz.errors import UnknownNameError

                raise UnknownNameError(f"sample of {self.dataset}", key, self.ids)
            return self.load(key)
        return self.load(self.ids[key])

    def __iter__(self) -> Iterator[Sample]:
        return (self.load(name) for name in self.ids)


def files_by_name(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Files of a folder by name without suffix, in the order of their names; hidden and other files do not count.

    Raises
    ------
    DataError
        If there is none, or two share a name.
    """
    files: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() not in suffixes or file.name.startswith("."):
            continue
        if file.stem in files:
            raise DataError(f"{files[file.stem]} and {file} are both named {file.stem!r}; keep one of them")
        files[file.stem] = file
    if not files:
        holds = ", ".join(sorted(entry.name for entry in folder.iterdir())[:6])
        found = f"has no {' or '.join(suffixes)} file but {holds}" if holds else "is empty"
        raise DataError(f"{folder} {found}; needed {' or '.join(suffixes)} files in the folder itself")
    return files


def read_image(path: str | Path) -> np.ndarray:
    """Read an image file as (H, W, 3) uint8 RGB; a truncated or unreadable file raises `DataError` naming it."""
    try:
        with Image.open(path) as image:
            return np.array(image.convert("RGB"))
    except UNREADABLE as cause:
        raise DataError(f"{path} cannot be read as an image ({cause}); replace or remove it") from cause


def read_label(path: str | Path, *, classes: ClassList, ignored: tuple[int, ...] = ()) -> np.ndarray:
    """Read a one-channel label file as (H, W) uint8, with the raw values `ignored` mapped to 255.

    Raises
    ------
    DataError
        If the file is unreadable, has colour channels, or holds a value that is neither a class nor ignored.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in ("L", "P", "I;16", "I", "1"):
                found = f"found mode {image.mode}"
                raise DataError(f"{path} is no label map: needed one channel of class numbers, {found}")
            label = np.asarray(image)
    except UNREADABLE as cause:
        if isinstance(cause, DataError):
            raise
        raise DataError(f"{path} cannot be read as a label map ({cause}); replace or remove it") from cause
    values = np.unique(label)
    allowed = np.array([*range(len(classes)), *ignored, IGNORE_INDEX])
    wrong = values[~np.isin(values, allowed)]
    if wrong.size:
        needed = f"0 to {len(classes) - 1} or ignored ({', '.join(map(str, (*ignored, IGNORE_INDEX)))})"
        raise DataError(f"{path} holds the label values {wrong[:8].tolist()}; needed {needed}")
    label = label.astype(np.uint8)
    if ignored:
        label = np.where(np.isin(label, ignored), np.uint8(IGNORE_INDEX), label)
    return label


def check_same_size(image: np.ndarray, label: np.ndarray, image_path: Path, label_path: Path) -> None:
    """Raise `DataError` naming both files unless image and label have the same height and width."""
    if image.shape[:2] != label.shape:
        raise DataError(
            f"{label_path} is {label.shape[1]}x{label.shape[0]} but its image {image_path} is "
            f"{image.shape[1]}x{image.shape[0]}; a label map has the size of its image"
        )
