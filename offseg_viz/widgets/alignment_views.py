"""What the explorer shows of the records of a model: computed when asked for, kept for the last few images only."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import pandas as pd
import xarray as xr

from offseg_viz.analyze.align import aligned_class_embedding, aligned_feature, prediction
from offseg_viz.analyze.alignment import alignment
from offseg_viz.analyze.attention import class_attention
from offseg_viz.analyze.changes import changed_prediction
from offseg_viz.analyze.offsets import offset_magnitude
from offseg_viz.analyze.quality import class_iou
from offseg_viz.analyze.similarity import cosine_similarity
from offseg_viz.classes import IGNORE_INDEX
from offseg_viz.errors import RecordError
from offseg_viz.plot import grid
from offseg_viz.record import has_offsets, refuse_queries
from offseg_viz.terms import STAGES

DIFFERENCE = "aligned - initial"
STAGE_CHOICES = (*STAGES, DIFFERENCE)
PER_PIXEL = "none: the record is of a per-pixel model"
_KEPT_IMAGES = 2


class Panel(NamedTuple):
    """A map (None where there is nothing to show, which `message` explains) and how to draw it."""

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
        self.attention = lru_cache(maxsize=_KEPT_IMAGES)(self._attention)
        self.limits = lru_cache(maxsize=_KEPT_IMAGES)(self._limits)
        self.measures = lru_cache(maxsize=_KEPT_IMAGES)(self._measures)

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
        initial, aligned = (self.prediction(image, stage) for stage in STAGES)
        return changed_prediction(self.record(image), initial=initial, predicted=aligned)

    def _offset(self, image: str, relative: bool) -> xr.DataArray:
        return offset_magnitude(self.record(image), "feature", relative=relative)

    def _attention(self, image: str) -> xr.DataArray:
        return class_attention(self.record(image))

    def _limits(self, image: str) -> tuple[float, float]:
        """One colour scale for all classes, both stages and their difference."""
        low, high = grid.color_limits([self.similarity(image, stage) for stage in STAGE_CHOICES])
        reach = max(abs(low), abs(high))
        return -reach, reach

    def _measures(self, image: str) -> tuple[pd.DataFrame, pd.DataFrame] | None:
        """`class_iou` and `alignment` of this image alone; None without labelled pixels."""
        record = self.record(image)
        if "label" not in record or (record["label"] == IGNORE_INDEX).all():
            return None
        return class_iou([record]), alignment([record])

    def panels(self, image: str, stage: str, cls: str) -> dict[str, Panel]:
        """The six panels, by what they show: photograph, label, prediction, similarity, offset, attention."""
        record = self.record(image)
        found = {"photograph": Panel("photograph", None), "label": Panel("label", record.get("label"))}
        for name, variable in (("photograph", "image"), ("label", "label")):
            if variable not in record:
                found[name] = Panel(name, None, message=f"the record has no {name}")
        title = "prediction, where it changed" if stage == DIFFERENCE else f"prediction, {stage}"
        found["prediction"] = Panel(title, self.prediction(image, stage))
        of_class = {
            "similarity": f"cosine to {cls}, {stage}",
            "attention": f"class attention of {cls}",
        }
        if cls not in record["cls"].values:
            none = f"none: {record.attrs['model']} has no class {cls}"
            found |= {name: Panel(title, None, message=none) for name, title in of_class.items()}
        else:
            similarity = self.similarity(image, stage).sel(cls=cls, drop=True)
            found["similarity"] = Panel(of_class["similarity"], similarity, self.limits(image))
        offsets = {"offset": "feature offset |dE| / |E|", "attention": of_class["attention"]}
        if not has_offsets(record):
            return found | {name: Panel(title, None, message=PER_PIXEL) for name, title in offsets.items()}
        found["offset"] = Panel(offsets["offset"], self.offset(image, True))
        if "attention" not in found:
            found["attention"] = Panel(of_class["attention"], self.attention(image).sel(cls=cls, drop=True))
        return found


def views_by_model(records: Iterable[xr.Dataset] | Mapping[str, Iterable[xr.Dataset]]) -> dict[str, AlignmentViews]:
    """The views of every model: of a mapping of names to records, or of the records of one, named after it."""
    if isinstance(records, Mapping) and not isinstance(records, xr.Dataset):
        if not records:
            raise RecordError("found no model, needed at least one: a mapping of names to records")
        return {str(name): AlignmentViews(of_one) for name, of_one in records.items()}
    views = AlignmentViews(records)
    return {str(views.record(views.ids[0]).attrs["model"]): views}


def _numbered(names: list[str]) -> tuple[str, ...]:
    """`names` as they are where they differ; the second and later ones of a name get `` (2)`` and so on."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return tuple(result)
