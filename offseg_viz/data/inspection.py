"""What lies in the folder of a data set: every pair of files opened once, counted, and what is wrong with them."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from offseg_viz.classes import IGNORE_INDEX
from offseg_viz.data.ade20k import FOLDERS
from offseg_viz.data.pairs import find_root, needed_layout
from offseg_viz.data.published import PUBLISHED
from offseg_viz.data.sample import UNREADABLE, SampleSet
from offseg_viz.data.samples import DATASETS, load_samples
from offseg_viz.errors import DataError, UnknownNameError

SPLITS = ("train", "val", "test")
WHOLE = "all"
"""What a set without splits, photographs or a folder without ``train`` and so on, is reported as."""

MOST_LISTED = 20
"""Problems, and names of classes, that a summary lists of each split."""

_AT_A_TIME = 32  # handed to the threads: an interrupted walk ends as soon as these are done


@dataclass(frozen=True, eq=False)
class SplitReport:
    """What was found in one split.

    `samples` is the number of images, `published` that of the published split or None; `is_missing` tells that the
    data set lies there without this split. `class_names` are those of the label maps, in label order, empty for images
    without label maps. `pixels` and `images`, both (K,) int64, count the pixels of each class and the images it occurs
    in, `ignored` the pixels of no class. `heights` and `widths` are the least and the greatest in pixels, None where
    no image could be read. `problems` has one line for each file that cannot be used; those count in nothing but
    `samples`.
    """

    split: str
    published: int | None = None
    is_missing: bool = False
    samples: int = 0
    class_names: tuple[str, ...] = ()
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    images: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    ignored: int = 0
    heights: tuple[int, int] | None = None
    widths: tuple[int, int] | None = None
    problems: tuple[str, ...] = ()

    @property
    def values(self) -> list[int]:
        """The class numbers that occur."""
        return np.flatnonzero(self.pixels).tolist()

    @property
    def absent(self) -> list[str]:
        """The names of the classes that occur nowhere, where any label map could be read at all."""
        return [name for name, count in zip(self.class_names, self.pixels, strict=True) if not count and self.heights]

    @property
    def classes(self) -> pd.DataFrame:
        """A row a class: `pixels`; `share` of the labelled pixels, NaN where there are none; `images` that show it."""
        with np.errstate(invalid="ignore"):
            share = self.pixels / np.float64(self.pixels.sum())
        index = pd.Index(self.class_names, name="class")
        return pd.DataFrame({"pixels": self.pixels, "share": share, "images": self.images}, index=index)

    def summary(self) -> str:
        """Some lines of text: size, sizes of the images, label values, classes that lack, problems."""
        lines = [f"{self.split}: {'missing' if self.is_missing else self._size()}"]
        if self.heights:
            (low, high), (narrow, wide) = self.heights, self.widths
            alike = low == high and narrow == wide
            lines.append(f"  size {narrow}x{low}" if alike else f"  {narrow} to {wide} wide, {low} to {high} high")
        total = int(self.pixels.sum()) + self.ignored
        if total:
            share = f"{100 * self.ignored / total:.1f} % of the pixels ignored"
            lines.append(f"  {len(self.values)} of {len(self.class_names)} classes occur, {share}")
        elif self.heights and not self.class_names:
            lines.append("  no label maps: nothing to train or evaluate on")
        if self.absent:
            lines.append(f"  never occur: {', '.join(_shortened(self.absent))}")
        lines += [f"  problem: {line}" for line in _shortened(self.problems)]
        return "\n".join(lines)

    def _size(self) -> str:
        if not self.samples:
            return "cannot be opened"
        size = f"{self.samples} {'pairs' if self.class_names else 'images'}"
        if self.published is None:
            return size
        return f"{size}, as published" if self.samples == self.published else f"{size} of {self.published} published"


@dataclass(frozen=True, eq=False)
class DataReport:
    """What `inspect_data_set` found: the data set, its folder (None for scenes), and a report on each split."""

    dataset: str
    root: Path | None
    splits: tuple[SplitReport, ...]

    @property
    def ok(self) -> bool:
        """Whether any split is there and none has a problem. A number other than the published one is none."""
        return any(not split.is_missing for split in self.splits) and not self.problems

    @property
    def problems(self) -> list[str]:
        """Those of all splits, one line each."""
        return [f"{split.split}: {line}" for split in self.splits for line in split.problems]

    @property
    def classes(self) -> pd.DataFrame:
        """The `classes` of the splits with label maps below one another, by split and class."""
        tables = {split.split: split.classes for split in self.splits if len(split.class_names)}
        return pd.concat(tables, names=["split"]) if tables else SplitReport("").classes

    def summary(self) -> str:
        """The summaries of the splits below a line that says whether all is well."""
        there = [split for split in self.splits if not split.is_missing]
        state = "ok" if self.ok else f"problems: {len(self.problems)}"
        if not there:
            state = "none of it is there"
            if self.dataset in PUBLISHED:
                state += f"; {needed_layout(self.dataset)}"
        head = f"{self.dataset}{'' if self.root is None else f' in {self.root}'}: {state}"
        return "\n".join([head, *(split.summary() for split in self.splits)])


def inspect_data_set(
    name: str, root: str | Path | None, *, splits: Sequence[str] | None = None, progress: bool = True
) -> DataReport:
    """Open every image and label map of a data set and report what is there; nothing wrong with a file stops it.

    Each file is decoded to its end, and of PNG files the check sums are verified. Two threads or more do it, as many as
    there are processors.

    Parameters
    ----------
    name
        A data set, as of `load_samples`. Photographs have no label maps and no splits.
    root
        Its folder; None for scenes.
    splits
        Those to look at, which then have to be there: one that is missing is a problem. By default all; one that is
        missing is reported as such and nothing else.
    progress
        Show a progress bar on the error stream.

    Returns
    -------
    DataReport
        `ok`, `problems`, `classes` (a table) and `summary()`.

    Raises
    ------
    UnknownNameError
        If there is no such data set or split.
    DataError
        If `root` is no folder.
    """
    if name not in DATASETS:
        raise UnknownNameError("data set", name, DATASETS)
    if name != "scenes":
        if root is None or not (root := Path(root).expanduser()).is_dir():
            found = "no folder was given" if root is None else f"{root} is no folder"
            raise DataError(f"{found}; needed the root folder of {name}")
    valid = tuple(PUBLISHED[name].splits) if name in PUBLISHED else SPLITS
    unknown = [split for split in splits or () if split not in valid]
    if unknown:
        raise UnknownNameError(f"split of {name}", unknown[0], valid)
    if name == "photographs" or (name == "folder" and not any(_has_split(name, root, split) for split in valid)):
        return DataReport(name, root, (_inspect(name, root, None, progress),))
    reports = []
    for split in dict.fromkeys(splits or valid):
        if name == "scenes" or _has_split(name, root, split):
            reports.append(_inspect(name, root, split, progress))
        else:
            problems = (f"{root} has no {split} split",) if splits else ()
            published = PUBLISHED[name].splits[split] if name in PUBLISHED else None
            reports.append(SplitReport(split, published, is_missing=True, problems=problems))
    return DataReport(name, root, tuple(reports))


def _has_split(name: str, root: Path, split: str) -> bool:
    """Whether that of a split is there without which nothing of it could be read: its images or its list of images."""
    if name in ("camvid", "folder"):
        return (root / ("images" if name == "folder" else "") / split).is_dir()
    if name == "pascal_context":
        place = find_root(name, root, "SegmentationClassContext")
        return (place / "ImageSets" / "SegmentationContext" / f"{split}.txt").is_file()
    images = {
        "ade20k": f"images/{FOLDERS.get(split)}",
        "cityscapes": f"leftImg8bit/{split}",
        "coco_stuff164k": f"images/{split}2017",
    }[name]
    return (find_root(name, root, images) / images).is_dir()


class _Item(NamedTuple):
    """Of one sample: what is wrong with it, or its size and the number of pixels of each value, (256,)."""

    problem: str | None
    size: tuple[int, int] = (0, 0)
    count: np.ndarray | None = None


def _inspect(name: str, root: Path | None, split: str | None, progress: bool) -> SplitReport:
    published = PUBLISHED[name].splits[split] if name in PUBLISHED else None
    unpaired = []
    try:
        samples = load_samples(name, split=split or "val", root=root, unpaired=unpaired)
    except DataError as cause:
        return SplitReport(split or WHOLE, published, problems=(_one_line(cause),))
    names = () if samples.classes is None else samples.classes.names
    pixels, images = np.zeros((2, len(names)), dtype=np.int64)
    ignored, sizes, problems = 0, [], []
    for item in _items(samples, f"{name} {split or ''}", progress):
        if item.problem is not None:
            problems.append(item.problem)
            continue
        sizes.append(item.size)
        if item.count is not None:
            pixels += item.count[: len(names)]
            images += item.count[: len(names)] > 0
            ignored += int(item.count[IGNORE_INDEX])
    heights, widths = ((min(side), max(side)) for side in zip(*sizes, strict=True)) if sizes else (None, None)
    return SplitReport(
        split or WHOLE,
        published,
        samples=len(samples),
        class_names=names,
        pixels=pixels,
        images=images,
        ignored=ignored,
        heights=heights,
        widths=widths,
        problems=(*unpaired, *problems),
    )


def _items(samples: SampleSet, title: str, progress: bool) -> Iterator[_Item]:
    from rich.console import Console
    from rich.progress import track

    def walk() -> Iterator[_Item]:
        with ThreadPoolExecutor(max(2, os.cpu_count() or 1)) as threads:
            for start in range(0, len(samples), _AT_A_TIME):
                yield from threads.map(partial(_item, samples), samples.ids[start : start + _AT_A_TIME])

    console = Console(stderr=True)
    return track(
        walk(),
        f"inspecting {title}",
        total=len(samples),
        console=console,
        transient=True,
        disable=not (progress and console.is_terminal),  # a bar leaves empty lines in a file
    )


def _item(samples: SampleSet, name: str) -> _Item:
    try:
        sample = samples.load(name)
        count = None if sample.label is None else np.bincount(sample.label.ravel(), minlength=256)
        files = getattr(samples.load, "files", None)
        for path in filter(None, files(name) if files else ()):
            _verify(path)
        return _Item(None, sample.image.shape[:2], count)
    except DataError as cause:
        return _Item(_one_line(cause))
    except Exception as cause:  # a decoder may raise anything on a damaged file, and the walk goes on
        return _Item(f"{samples.where(name)}: {_one_line(cause)} ({type(cause).__name__})")


def _verify(path: str) -> None:
    """Check the sums that a PNG file carries: one that is decoded without complaint may still have changed a little."""
    try:
        with Image.open(path) as image:
            image.verify()
    except UNREADABLE as cause:
        raise DataError(f"{path} is damaged ({cause}); replace or remove it") from cause


def _one_line(cause: Exception) -> str:
    return " ".join(str(cause).split())


def _shortened(lines: Sequence[str]) -> list[str]:
    rest = len(lines) - MOST_LISTED
    return [*lines[:MOST_LISTED], *([f"and {rest} more"] if rest > 0 else [])]
