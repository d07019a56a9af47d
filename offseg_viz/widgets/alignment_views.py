"""What the explorer shows of a collection of records: computed when asked for, kept for the last few images only."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import xarray as xr

from offseg_viz.analyze.align import aligned_class_embedding, aligned_feature, prediction
from offseg_viz.analyze.offsets import offset_magnitude
from offseg_viz.analyze.similarity import cosine_similarity
from offseg_viz.classes import IGNORE_INDEX
from offseg_viz.errors import RecordError
from offseg_viz.plot import grid
from offseg_viz.record import has_offsets, refuse_queries

DIFFERENCE = "aligned - initial"
STAGE_CHOICES = ("initial", "aligned", DIFFERENCE)
_KEPT_IMAGES = 2


class View(NamedTuple):
    """One panel: its map (None where there is nothing to show, which `message` explains) and how to draw it."""

    title: str
    map: xr.DataArray | None
    limits: tuple[float, float] | None = None
    message: str = ""


class AlignmentViews:
    """The panels of the explorer for a store or a list of records, addressed by image, class and stage.

    `ids` are the images in order: the collection's own ids, or the `sample` attribute of each record (numbered where
    one image has several windows).

    Raises
    ------
    RecordError
        If there is no record, or a single record in place of a list of them.
    """

    def __init__(self, records: Iterable[xr.Dataset]):
        if isinstance(records, xr.Dataset):
            raise RecordError("found one record, needed several: put it in a list, [record]")
        self._records: Sequence[xr.Dataset] = records if hasattr(records, "__getitem__") else list(records)
        if len(self._records) == 0:
            raise RecordError("found no record, needed at least one; extract() or extract_many() makes them")
        ids = getattr(records, "ids", None)
        self.ids = tuple(map(str, ids)) if ids is not None else _numbered([r.attrs["sample"] for r in self._records])
        self.record = lru_cache(maxsize=_KEPT_IMAGES)(self._record)
        self.similarity = lru_cache(maxsize=3 * _KEPT_IMAGES)(self._similarity)
        self.prediction = lru_cache(maxsize=3 * _KEPT_IMAGES)(self._prediction)
        self.offset = lru_cache(maxsize=2 * _KEPT_IMAGES)(self._offset)
        self.limits = lru_cache(maxsize=2 * _KEPT_IMAGES)(self._limits)

    def _record(self, image: str) -> xr.Dataset:
        record = self._records[self.ids.index(image)]
        refuse_queries(record, "the explorer", name=image)
        return record

    def _similarity(self, image: str, stage: str) -> xr.DataArray:
        """Cosine of every pixel to every class embedding (cls, y, x) at a stage, or the difference of both."""
        record = self.record(image)
        if stage == "initial":
            return cosine_similarity(record["feature"], record["class_embedding"])
        if stage == "aligned":
            return cosine_similarity(aligned_feature(record), aligned_class_embedding(record))
        return (self.similarity(image, "aligned") - self.similarity(image, "initial")).rename("cosine_difference")

    def _prediction(self, image: str, stage: str) -> xr.DataArray:
        """Predicted class numbers (y, x); for the difference the aligned ones where they changed, else 255."""
        if stage != DIFFERENCE:
            return prediction(self.record(image), stage)
        aligned = self.prediction(image, "aligned")
        changed = aligned.values != self.prediction(image, "initial").values
        shown = aligned.copy(data=np.where(changed, aligned.values, np.uint8(IGNORE_INDEX)))
        return shown.rename("changed_prediction").assign_attrs(empty_name="unchanged")

    def _offset(self, image: str, relative: bool) -> xr.DataArray:
        return offset_magnitude(self.record(image), "feature", relative=relative)

    def _limits(self, image: str, difference: bool) -> tuple[float, float]:
        """One colour scale for all classes and both stages of an image, and one for their differences."""
        stages = (DIFFERENCE,) if difference else ("initial", "aligned")
        low, high = grid.color_limits([self.similarity(image, stage) for stage in stages])
        reach = max(abs(low), abs(high))
        return -reach, reach

    def panels(self, image: str, stage: str, cls: str) -> dict[str, View]:
        """The five panels, by what they show: photograph, label, prediction, similarity, offset."""
        record, difference = self.record(image), stage == DIFFERENCE
        label = record["label"] if "label" in record else None
        similarity = self.similarity(image, stage).sel(cls=cls, drop=True)
        changed = "prediction, where it changed" if difference else f"prediction, {stage}"
        panels = {
            "photograph": View("photograph", None, message="" if "image" in record else "the record has no photograph"),
            "label": View("label", label, message="" if label is not None else "the record has no label"),
            "prediction": View(changed, self.prediction(image, stage)),
            "similarity": View(f"cosine similarity to {cls}, {stage}", similarity, self.limits(image, difference)),
        }
        if has_offsets(record):
            panels["offset"] = View("feature offset |dE| / |E|", self.offset(image, True))
        else:
            panels["offset"] = View("feature offset", None, message="none: the record is of a per-pixel model")
        return panels


def _numbered(names: list[str]) -> tuple[str, ...]:
    """`names` as they are where they differ; the second and later ones of a name get `` (2)`` and so on."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return tuple(result)
