"""A labelled image, and a lazy, indexable set of them; the readers of a single image or label file."""

import difflib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from offseg_viz.classes import IGNORE_INDEX, ClassList
from offseg_viz.errors import DataError, UnknownNameError

UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
"""What Pillow raises for a missing, truncated or damaged file, or one that claims an absurd size."""

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
"""Of photographs, in lower or upper case."""

MOST_LISTED = 24
"""An unknown id is answered with all ids up to this number of them, above it with the nearest."""


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

    `load` makes the sample of an id; nothing is read before an item is asked for. Where samples are files it has a
    method ``files(id)``, the paths of the image and of the label map. `classes` is None for a set without labels.
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
            return self.load(self._known(key))
        return self.load(self.ids[key])

    def __iter__(self) -> Iterator[Sample]:
        return (self.load(name) for name in self.ids)

    def where(self, name: str) -> str:
        """Where a sample comes from, for messages: the path of its image file, else ``sample 'id' of dataset``.

        Nothing is read. An unknown id raises `UnknownNameError`.
        """
        files = getattr(self.load, "files", None)
        name = self._known(name)
        return f"sample {name!r} of {self.dataset}" if files is None else str(files(name)[0])

    def _known(self, name: str) -> str:
        if name in self.ids:
            return name
        valid = self.ids
        if len(valid) > MOST_LISTED:  # COCO-Stuff has 118,287
            near = difflib.get_close_matches(name, valid, n=5) or valid[:5]
            valid = (*near, f"... ({len(valid)} in all)")
        raise UnknownNameError(f"sample of {self.dataset}", name, valid)


def files_by_name(folder: str | Path, suffixes: tuple[str, ...]) -> dict[str, str]:
    """Paths of the files of a folder by name without suffix, in the order of their names.

    Hidden files and those of other suffixes do not count. No file is opened: 100,000 of them take a fraction of a
    second.

    Raises
    ------
    DataError
        If there is none, or two share a name.
    """
    files: dict[str, str] = {}
    entries = sorted(os.listdir(folder))
    for entry in entries:
        name, suffix = os.path.splitext(entry)
        if suffix.lower() not in suffixes or entry.startswith("."):
            continue
        path = os.path.join(folder, entry)
        if name in files:
            raise DataError(f"{files[name]} and {path} are both named {name!r}; keep one of them")
        files[name] = path
    if not files:
        holds = ", ".join(entries[:6])
        found = f"has no {' or '.join(suffixes)} file but {holds}" if holds else "is empty"
        raise DataError(f"{folder} {found}; needed {' or '.join(suffixes)} files in the folder itself")
    return files


def read_image(path: str | Path) -> np.ndarray:
    """Read an image file as (H, W, 3) uint8 RGB; a truncated or unreadable file raises `DataError` naming it.

    Pixels come as they are stored: an orientation that a camera noted in the file (EXIF) is not applied, for a label
    map has none.
    """
    # OpenCV decodes a little faster, but fills up what a truncated JPEG lacks with grey and says nothing.
    try:
        with Image.open(path) as image:
            return np.array(image if image.mode == "RGB" else image.convert("RGB"))
    except UNREADABLE as cause:
        raise DataError(f"{path} cannot be read as an image ({cause}); replace or remove it") from cause


def read_label(path: str | Path, *, classes: ClassList, ignored: tuple[int, ...] = ()) -> np.ndarray:
    """Read a one-channel label file as (H, W) uint8, with the raw values `ignored` mapped to 255.

    Raises
    ------
    DataError
        If the file is unreadable, has colour channels, or holds a value that is neither a class nor ignored.
    """
    return read_mapped_label(path, label_table({k: k for k in range(len(classes))}, ignored=ignored))


def label_table(raw_to_class: Mapping[int, int], *, ignored: Iterable[int] = ()) -> np.ndarray:
    """The table for `read_mapped_label`: (65536,) int16, the class number of each value that a file may hold.

    Values of `ignored`, and 255, become 255; what is in neither is -1, which no file may hold.
    """
    table = np.full(1 << 16, -1, dtype=np.int16)
    table[[*ignored, IGNORE_INDEX]] = IGNORE_INDEX
    table[list(raw_to_class)] = list(raw_to_class.values())
    return table


def read_mapped_label(path: str | Path, table: np.ndarray) -> np.ndarray:
    """Read a one-channel label file of 8 or 16 bits as (H, W) uint8 class numbers, 255 for ignored.

    Of a file with a palette the indices are read, not the colours.

    Raises
    ------
    DataError
        If the file is unreadable, has colour channels, or holds a value that `table` does not know.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in ("L", "P", "I;16", "I;16B", "I", "1"):
                found = f"found mode {image.mode}"
                raise DataError(f"{path} is no label map: needed one channel of class numbers, {found}")
            raw = np.asarray(image)
    except UNREADABLE as cause:
        if isinstance(cause, DataError):
            raise
        raise DataError(f"{path} cannot be read as a label map ({cause}); replace or remove it") from cause
    if raw.dtype == bool:
        raw = raw.astype(np.uint8)
    beyond = (raw < 0) | (raw >= len(table)) if raw.dtype.itemsize > 2 else None
    label = table[raw] if beyond is None else np.where(beyond, -1, table[np.where(beyond, 0, raw)])
    if label.min(initial=0) < 0:
        wrong = np.unique(raw[label < 0])[:8].tolist()
        needed = f"{_spans(table, 0, IGNORE_INDEX)} or ignored ({_spans(table, IGNORE_INDEX, IGNORE_INDEX + 1)})"
        raise DataError(f"{path} holds the label values {wrong}; needed {needed}")
    return label.astype(np.uint8)


def _spans(table: np.ndarray, least: int, end: int) -> str:
    """The raw values whose class number is at least `least` and below `end`, such as ``"0 to 10, 12"``."""
    values = np.flatnonzero((table >= least) & (table < end))
    runs = np.split(values, np.flatnonzero(np.diff(values) > 1) + 1)
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def check_same_size(image: np.ndarray, label: np.ndarray, image_path: str | Path, label_path: str | Path) -> None:
    """Raise `DataError` naming both files unless image and label have the same height and width."""
    if image.shape[:2] != label.shape:
        raise DataError(
            f"{label_path} is {label.shape[1]}x{label.shape[0]} but its image {image_path} is "
            f"{image.shape[1]}x{image.shape[0]}; a label map has the size of its image"
        )
