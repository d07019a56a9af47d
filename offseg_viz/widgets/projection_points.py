"""What of a projection crosses to the scatter: places of both stages once, then a colour number for every point.

The points are the pixels in the order of the table; then the class embeddings of every image that shows the class,
W + dW; then one for every class, at their mean. At the initial stage all embeddings of a class lie on W. Each of them
is two points at one place, a dark one and before it a smaller one in the colour of the class, so that it has an edge.
"""

from typing import NamedTuple

import numpy as np
import xarray as xr

from offseg_viz.analyze.table_pixels import image_numbers, pixel_offsets, shown_classes
from offseg_viz.classes import ClassList
from offseg_viz.plot import grid, theme
from offseg_viz.plot.scatter import SAMPLE_PALETTE, different_stages
from offseg_viz.plot.summary import rounded
from offseg_viz.terms import STAGES

COLORS = {
    "cls": "class of the label",
    "correct": "correctness",
    "offset": "offset magnitude",
    "sample": "image",
    "distortion": "distortion",
}
"""What points can be coloured by, and how it is called; the words of `plot_scatter`, and the offset."""

SCALE_STEPS = 255
_MARGIN = 0.92
"""Share of the height of the picture that the points fill; and of its width, where that is as large."""


class Coloring(NamedTuple):
    """A palette (``#rrggbb``), the number in it of every point, and the legend: names, or name and ends of a scale."""

    palette: list[str]
    codes: np.ndarray
    names: list[str]
    colors: list[str]
    limits: tuple[float, float] | None = None


class ProjectionPoints:
    """The points of a `project` result in the square from -1 to 1, with equal units along both axes.

    `places` (stage, point, axis) float32; `kinds` (point,) uint8: 0 for pixels, 1 and 2 for edge and middle of the
    class embedding of an image, 3 and 4 for those of a class; `cls` and `image` (point,) int32, the latter -1 for a
    class. `reasons` says, by colour, why points cannot be coloured so.
    """

    def __init__(self, table: xr.Dataset, records):
        self._table, self._records = table, records
        self.classes = ClassList(tuple(table["cls"].values), tuple(table["color"].values))
        self.images = [str(name) for name in table["image"].values]
        self.pixels = table.sizes["pixel"]
        self.pixel_image = image_numbers(table)
        self.one_stage = len(different_stages(table)) == 1
        numbers, self.kinds, places = _embeddings(table)
        label = table["label"].values.astype(np.int32)
        self.cls = np.concatenate([label, numbers[:, 1]])
        self.image = np.concatenate([self.pixel_image, numbers[:, 0]])
        self.kinds = np.concatenate([np.zeros(self.pixels, np.uint8), self.kinds])
        pixels = table["pixel_projection"].transpose("stage", "pixel", "axis").sel(stage=list(STAGES)).values
        self.places = _fitted(np.concatenate([pixels, places], axis=1))
        self.reasons: dict[str, str] = {}
        if self.one_stage:
            self.reasons["offset"] = "no offset magnitude: a per-pixel model has no offsets"
        if "distortion" not in table:
            self.reasons["distortion"] = "no distortion: the table has none, project() gives it"
        self._offset: np.ndarray | None = None

    def coloring(self, color: str, stage: str) -> Coloring:
        """Colours of all points; class embeddings always have that of their class."""
        table, names, limits = self._table, [], None
        if color == "cls":
            palette, codes = [], table["label"].values
            shown = np.unique(codes[codes < len(self.classes)])
            names, colors = ([values[k] for k in shown] for values in (self.classes.names, self.classes.colors))
        elif color == "correct":
            wrong = table[f"{stage}_prediction"].values != table["label"].values
            names, palette, codes = ["predicted right", "predicted wrong"], [theme.RIGHT, theme.WRONG], wrong
            colors = palette
        elif color == "sample":
            count = len(SAMPLE_PALETTE)
            names, palette, codes = self.images, list(SAMPLE_PALETTE), self.pixel_image % count
            colors = [SAMPLE_PALETTE[k % count] for k in range(len(names))]
        else:
            values, limits = self._measured(color, stage)
            names = ["|dE|" if color == "offset" else "share of neighbours lost"]
            codes = np.round((values - limits[0]) / (limits[1] - limits[0]) * (SCALE_STEPS - 1)).clip(
                0, SCALE_STEPS - 1
            )
            palette = colors = _hexadecimal(theme.lookup_table(theme.SEQUENTIAL)[:SCALE_STEPS])
        own = np.where(self.kinds % 2, len(self.classes), self.cls)[self.pixels :] + len(palette)
        everything = np.concatenate([codes.astype(np.uint16), own.astype(np.uint16)])
        return Coloring(
            [*palette, *self.classes.colors, theme.INK], everything, list(map(str, names)), list(colors), limits
        )

    def _measured(self, color: str, stage: str) -> tuple[np.ndarray, tuple[float, float]]:
        if color == "distortion":
            return self._table["distortion"].sel(stage=stage).values, (0.0, 1.0)
        if self._offset is None:
            self._offset = np.nan_to_num(pixel_offsets(self._table, self._records))
        return self._offset, grid.color_limits([xr.DataArray(self._offset)])

    def about(self, point: int) -> str:
        """What a point is, in a line of text."""
        name = self.classes.names[self.cls[point]] if self.cls[point] < len(self.classes) else "ignored"
        if self.kinds[point] > 2:
            return f"class embedding of {name}: W at the initial stage, at the aligned one the mean of W + dW"
        image = self.images[self.image[point]]
        if self.kinds[point]:
            return f"class embedding of {name} in {image}, W + dW"
        table = self._table
        first, second = (self.classes.names[int(table[f"{stage}_prediction"].values[point])] for stage in STAGES)
        place = f"y {float(table['y'].values[point]):.0f}, x {float(table['x'].values[point]):.0f}"
        return f"pixel {point} of {image}, {place}: label {name}, predicted {first} → {second}"


def _embeddings(table: xr.Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers (point, [image, class]), kinds and places (stage, point, axis) of class embeddings; -1 for no image."""
    if not {"class_projection", "aligned_class_projection"} <= set(table):
        return np.zeros((0, 2), np.int32), np.zeros(0, np.uint8), np.zeros((2, 0, 2), np.float32)
    initial = table["class_projection"].transpose("cls", "axis").values
    aligned = table["aligned_class_projection"].transpose("image", "cls", "axis").values
    known = shown_classes(table) & np.isfinite(aligned).all(-1) & np.isfinite(initial).all(-1)
    image, cls = np.nonzero(known)
    of_class = np.flatnonzero(known.any(axis=0))
    mean = np.where(known[..., None], aligned, 0).sum(axis=0)[of_class] / known.sum(axis=0)[of_class, None]
    numbers = np.concatenate([np.column_stack([image, cls]), np.column_stack([np.full_like(of_class, -1), of_class])])
    kinds = np.concatenate([np.tile([1, 2], len(image)), np.tile([3, 4], len(of_class))]).astype(np.uint8)
    places = [np.concatenate([initial[cls], initial[of_class]]), np.concatenate([aligned[image, cls], mean])]
    return np.repeat(numbers, 2, axis=0).astype(np.int32), kinds, np.repeat(places, 2, axis=1).astype(np.float32)


def _fitted(places: np.ndarray) -> np.ndarray:
    """Places (stage, point, axis) moved and scaled, alike along both axes, into the square from -1 to 1."""
    low, high = places.min(axis=(0, 1)), places.max(axis=(0, 1))
    reach = max(float((high - low).max()) / 2, np.finfo(np.float32).tiny)
    return ((places - (low + high) / 2) * (_MARGIN / reach)).astype(np.float32)


def _hexadecimal(table: np.ndarray) -> list[str]:
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue, _ in table.tolist()]


def scale_ends(coloring: Coloring) -> tuple[str, str]:
    """The ends of a scale, rounded."""
    low, high = (rounded(end, coloring.limits[1]) for end in coloring.limits)
    return low, high
