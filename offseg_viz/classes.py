"""A list of classes: names and colours in label order, the same in every plot."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources

import numpy as np

from offseg_viz.errors import DataError, UnknownNameError

IGNORE_INDEX = 255
"""The label value that counts nowhere: not in the loss, not in a metric, not in an analysis."""

CLASS_LISTS = {"ade20k": 150, "cityscapes": 19, "coco_stuff164k": 171, "pascal_context59": 59, "camvid": 11}
"""The lists that `ClassList.of` knows, and how many classes each has."""


@dataclass(frozen=True)
class ClassList:
    """Class names and colours (``#rrggbb``), in the order of the label values 0 .. K-1.

    Raises
    ------
    DataError
        If the lengths differ, a name occurs twice, a colour is not ``#rrggbb``, or there are more than 255 classes.
    """

    names: tuple[str, ...]
    colors: tuple[str, ...]

    def __post_init__(self):
        object.__setattr__(self, "names", tuple(map(str, self.names)))
        object.__setattr__(self, "colors", tuple(map(str, self.colors)))
        if len(self.names) != len(self.colors):
            raise DataError(f"{len(self.names)} class names but {len(self.colors)} colours; give one colour a class")
        if len(set(self.names)) != len(self.names):
            twice = sorted({name for name in self.names if self.names.count(name) > 1})
            raise DataError(f"class names must be unique, found twice: {', '.join(twice)}")
        wrong = [color for color in self.colors if not re.fullmatch("#[0-9a-fA-F]{6}", color)]
        if wrong:
            raise DataError(f"colours must be written as #rrggbb, found {', '.join(map(repr, wrong))}")
        if not 0 < len(self.names) <= IGNORE_INDEX:
            raise DataError(f"{len(self.names)} classes; needed 1 to {IGNORE_INDEX}, {IGNORE_INDEX} means ignored")

    @classmethod
    def of(cls, name: str) -> "ClassList":
        """The classes of a published data set with its own colours, by name (see `CLASS_LISTS`).

        Two classes may share a colour: those of ADE20K, COCO-Stuff and Pascal Context do not all differ.

        Raises
        ------
        UnknownNameError
            If `name` is none of them.
        """
        if name not in CLASS_LISTS:
            raise UnknownNameError("class list", name, CLASS_LISTS)
        text = resources.files("offseg_viz").joinpath("class_lists", f"{name}.json").read_text(encoding="utf-8")
        names, colors = zip(*json.loads(text)["classes"], strict=True)
        return cls(names, colors)

    @classmethod
    def numbered(cls, count: int) -> "ClassList":
        """Names ``class 0`` .. and evenly spread hues, for a model whose data set is not known."""
        import colorsys

        rgb = [colorsys.hsv_to_rgb(0.618034 * k % 1, 0.65, 0.6 + 0.35 * (k % 2)) for k in range(count)]
        colors = ["#" + "".join(f"{round(255 * channel):02x}" for channel in color) for color in rgb]
        return cls(tuple(f"class {k}" for k in range(count)), tuple(colors))

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def index(self, name: str) -> int:
        """Label value of a class; an unknown name raises `UnknownNameError` listing the valid ones."""
        if name not in self.names:
            raise UnknownNameError("class", name, self.names)
        return self.names.index(name)

    @property
    def palette(self) -> np.ndarray:
        """Colours as (K, 3) uint8."""
        return np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in self.colors], dtype=np.uint8)
