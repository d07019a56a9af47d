"""What `PixelProbe` shows of one record: what is the same for all pixels once, the rest when a pixel is asked for."""

from typing import NamedTuple

import numpy as np
import xarray as xr

from offseg_viz.analyze.align import prediction
from offseg_viz.analyze.offsets import offset_direction, offset_magnitude
from offseg_viz.analyze.pixel_measures import pixel_measures
from offseg_viz.analyze.pixel_plane import pixel_plane
from offseg_viz.analyze.pixel_similarity import class_similarity, pixel_similarity, similarity_reach, unit_vectors
from offseg_viz.classes import IGNORE_INDEX
from offseg_viz.plot import grid
from offseg_viz.plot.cloud import Cloud, pixel_cloud
from offseg_viz.record import class_list, has_offsets, refuse_queries
from offseg_viz.widgets.alignment_views import PER_PIXEL, Panel

COLOR_CHOICES = ("label", "prediction")
_COSINES = (-1.0, 1.0)
_CLOUD_WIDTH = 480
_WITHOUT_CLASS = np.uint8([150, 155, 162])


class PixelFacts(NamedTuple):
    """Names and numbers at one cell: `names` of all classes in label order, `measures` of `pixel_measures`.

    Those of the offset are None without offsets.
    """

    row: int
    col: int
    label: str
    initial: str
    aligned: str
    names: list[str]
    measures: xr.Dataset
    offset: float | None
    relative_offset: float | None
    offset_direction: float | None


class ProbeViews:
    """The maps, the numbers and the projection of one record, addressed by grid cell and class."""

    def __init__(self, record: xr.Dataset):
        refuse_queries(record, "the pixel probe", name=record.attrs.get("sample"))
        self.record = record
        self.names = list(class_list(record).names)
        self.predicted = {stage: prediction(record, stage) for stage in ("initial", "aligned")}
        self._grid = record["feature"].isel(channel=0, drop=True).drop_attrs()
        self._units = unit_vectors(record)
        self.reach = similarity_reach(self._units)
        self._plane = pixel_plane(record)
        self._offset = {}
        if has_offsets(record):
            self._offset = {
                "offset": offset_magnitude(record).values,
                "relative_offset": offset_magnitude(record, relative=True).values,
                "offset_direction": offset_direction(record).values,
            }

    def own_class(self, cell: tuple[int, int]) -> str:
        """Name of the class that a cell is predicted as with the offsets."""
        return self.names[int(self.predicted["aligned"].values[cell])]

    def maps(self, cell: tuple[int, int] | None, cls: str | None) -> dict[str, Panel]:
        """The four maps of a cell: initial, aligned, difference and class; without one, only that of a class."""
        similar, reach = dict.fromkeys(("initial", "aligned", "difference")), self.reach.difference
        if cell is not None:
            initial, aligned = pixel_similarity(self._units, cell).values
            similar["initial"] = self._grid.copy(deep=False, data=initial)
            if has_offsets(self.record):
                similar["aligned"] = self._grid.copy(deep=False, data=aligned)
                similar["difference"] = self._grid.copy(deep=False, data=aligned - initial)
        lacking = "" if cell is None else PER_PIXEL
        panels = {
            "initial": Panel("cosine to the pixel, E", similar["initial"], _COSINES),
            "aligned": Panel("cosine to the pixel, E + dE", similar["aligned"], _COSINES),
            "difference": Panel("change of the cosine", similar["difference"], (-reach, reach)),
        }
        for name, panel in panels.items():
            if panel.map is None:
                panels[name] = panel._replace(limits=None, message=lacking)
        stage = ", aligned" if has_offsets(self.record) else ""
        if cls is None:
            return panels | {"class": Panel(f"cosine to its class{stage}", None)}
        limits = (-self.reach.classes, self.reach.classes)
        return panels | {"class": Panel(f"cosine to {cls}{stage}", class_similarity(self._units, cls), limits)}

    def classes(self, colored_by: str) -> xr.DataArray:
        """The class map that the photograph and the projection are coloured by."""
        return self.record["label"] if colored_by == "label" else self.predicted["aligned"]

    def cloud(self, colored_by: str) -> Cloud:
        """All pixels of both stages in one plane."""
        palette = np.concatenate([class_list(self.record).palette, _WITHOUT_CLASS[None]])
        numbers = self.classes(colored_by).values
        colors = palette[np.where(numbers == IGNORE_INDEX, len(self.names), numbers)]
        height, width = grid.picture_size(self.record["feature"].isel(channel=0), self.record)
        share = min(1.0, max(0.5, height / width))
        return pixel_cloud(self._plane, colors, size=(round(_CLOUD_WIDTH * share), _CLOUD_WIDTH))

    @property
    def explained(self) -> float:
        """Share of the variance of both stages that the plane shows."""
        return float(self._plane["explained_variance"].sum())

    def facts(self, cell: tuple[int, int]) -> PixelFacts:
        """Names and numbers at a cell."""
        number = int(self.record["label"].values[cell]) if "label" in self.record else None
        label = "no label" if number is None else "ignored" if number == IGNORE_INDEX else self.names[number]
        before, after = (self.names[int(self.predicted[stage].values[cell])] for stage in ("initial", "aligned"))
        offset = {name: float(values[cell]) for name, values in self._offset.items()}
        offset = offset or dict.fromkeys(("offset", "relative_offset", "offset_direction"))
        return PixelFacts(*cell, label, before, after, self.names, pixel_measures(self.record, cell), **offset)
