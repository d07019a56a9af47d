"""What becomes of the prediction of one record at chosen strengths of its offsets, for `OffsetLab`."""

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import pandas as pd
import xarray as xr

from offseg_viz.analyze.align import prediction, winning_class
from offseg_viz.analyze.changes import change_counts, change_map, changed_prediction
from offseg_viz.analyze.decomposition import score_terms
from offseg_viz.analyze.interventions import intervene
from offseg_viz.analyze.prediction_quality import iou_changes, prediction_iou, prediction_quality
from offseg_viz.analyze.strengths import strength_miou, transplanted
from offseg_viz.record import has_offsets, refuse_queries
from offseg_viz.widgets.alignment_views import AlignmentViews

PLACES = ("initial", "chosen", "aligned")
"""Predictions that are compared: without offsets, at the chosen strengths, and as the model has them."""
_UNREAD_OF_DONOR = ("feature", "feature_offset", "class_embedding", "logits", "label", "image")
_KEPT_DONORS = 2


class Trial(NamedTuple):
    """One prediction and what it is worth; `quality`, `counts` and `classes` are None for a record without label."""

    prediction: xr.DataArray
    change: xr.DataArray
    quality: pd.DataFrame | None
    counts: pd.Series | None
    classes: pd.DataFrame | None


class OffsetTrials:
    """Trials of one record; the four terms of its scores are kept for its own class offsets and one donor's.

    Raises
    ------
    RecordError
        If the record is of mask classification, or gives NaN.
    """

    def __init__(self, record: xr.Dataset, donors: Iterable[xr.Dataset] | None):
        refuse_queries(record, "OffsetLab")
        self.record = record
        self.has_offsets, self.has_label = has_offsets(record), "label" in record
        self._donors = None if donors is None else AlignmentViews(donors)
        self._stored = donors if hasattr(donors, "load") else None
        own = record.attrs.get("sample")
        self.donors = () if self._donors is None else tuple(name for name in self._donors.ids if name != own)
        self._initial = prediction(record, "initial")
        self._aligned = prediction(record) if self.has_offsets else self._initial
        self._kept = self._measured({"initial": self._initial, "aligned": self._aligned}) if self.has_label else None
        self._receiver = lru_cache(maxsize=_KEPT_DONORS)(self._with_offsets_of)
        self.miou = lru_cache(maxsize=_KEPT_DONORS)(self._miou)

    def _with_offsets_of(self, donor: str | None) -> tuple[xr.Dataset, xr.DataArray]:
        record = self.record
        if donor is not None:
            if self._stored is not None:
                other = self._stored.load(donor, leave_out=_UNREAD_OF_DONOR)
            else:
                other = self._donors.record(donor)
            record = transplanted(record, other)
        return record, score_terms(record)

    def check(self, donor: str | None) -> None:
        """Raise what `trial` would with that donor."""
        if self.has_offsets:
            self._receiver(donor)

    def _miou(self, donor: str | None) -> xr.DataArray | None:
        """`strength_miou` with the class offsets of a donor; None for a record without label or offsets."""
        if not (self.has_label and self.has_offsets):
            return None
        record, terms = self._receiver(donor)
        return strength_miou(record, terms=terms)

    def trial(self, class_strength: float, feature_strength: float, donor: str | None) -> Trial:
        """The prediction at two strengths; at those of the stages the stage's own, to the last pixel."""
        stages = {(0, 0): self._initial} if self.has_offsets else {}
        stages |= {(1, 1): self._aligned} if donor is None else {}
        predicted = stages.get((class_strength, feature_strength)) if self.has_offsets else self._aligned
        if predicted is None:
            record, terms = self._receiver(donor)
            strengths = dict(class_strength=class_strength, feature_strength=feature_strength)
            predicted = winning_class(record, intervene(record, **strengths, terms=terms))
        pair = dict(initial=self._initial, predicted=predicted)
        if not self.has_label:
            return Trial(predicted, changed_prediction(self.record, **pair), None, None, None)
        change = change_map(self.record, **pair)
        (kept_iou, kept_quality), (iou, quality) = self._kept, self._measured({"chosen": predicted})
        iou, quality = pd.concat([kept_iou, iou], axis=1), pd.concat([kept_quality, quality]).loc[list(PLACES)]
        return Trial(predicted, change, quality, change_counts(change), iou_changes(iou, "initial", "chosen"))

    def _measured(self, predictions: dict[str, xr.DataArray]) -> tuple[pd.DataFrame, pd.DataFrame]:
        return prediction_iou(self.record, predictions), prediction_quality(self.record, predictions)
