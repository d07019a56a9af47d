"""Offsets of one record at every pair of strengths, and with the class offsets of another image in place of its own."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from offseg_viz.analyze.align import winning_class
from offseg_viz.analyze.collection import Kind
from offseg_viz.analyze.decomposition import score_terms
from offseg_viz.analyze.interventions import intervene
from offseg_viz.analyze.offsets import require_offsets
from offseg_viz.analyze.prediction_quality import prediction_quality
from offseg_viz.errors import RecordError

GRID = tuple(step / 4 for step in range(9))
"""From 0, without the offset, over 1, as the model has it, to 2."""


def transplanted(record: xr.Dataset, donor: xr.Dataset) -> xr.Dataset:
    """The record with dW of another image (eq. 7 of arXiv 2508.08811), its features and their offsets as they are.

    Of `donor` only `class_offset` and what says where it comes from is read: the rest may be left out.

    Raises
    ------
    RecordError
        If one of them has no offsets, or they are of different models or classes.
    """
    require_offsets(record)
    if "class_offset" not in donor:
        require_offsets(donor)  # raises, in the words that say what to do
    found, needed = ([str(each.attrs.get(key)) for key in ("model", "checkpoint")] for each in (donor, record))
    if Kind.of(donor)[:3] != Kind.of(record)[:3] or found != needed:
        raise RecordError(
            f"the donor is of the model {' '.join(found).strip()} with {donor.sizes['cls']} classes, the record of "
            f"{' '.join(needed).strip()} with {record.sizes['cls']}; take a donor of the same model and data set"
        )
    return record.assign(class_offset=record["class_offset"].copy(data=donor["class_offset"].values))


def strength_miou(
    record: xr.Dataset, *, strengths: Sequence[float] = GRID, terms: xr.DataArray | None = None
) -> xr.DataArray:
    """mIoU of one record with ``W + s dW`` and ``E + t dE`` at every pair of strengths s and t.

    As `prediction_quality` has it, from 0 to 1: over the classes labelled in this image, with its cells alone.

    Parameters
    ----------
    record : xarray.Dataset
        Labelled, of a model with offset learning.
    strengths : sequence of float
        Of both offsets.
    terms : xarray.DataArray, optional
        ``score_terms(record)`` where it is known.

    Returns
    -------
    xarray.DataArray
        Dims (class_strength, feature_strength), both with the strengths as coordinate. NaN where every cell is ignored.

    Raises
    ------
    RecordError
        If the record has no label or no offsets, a strength is not finite, or a logit is NaN.
    """
    terms = score_terms(record) if terms is None else terms
    strengths = [float(strength) for strength in strengths]
    values = []
    for s in strengths:
        row = {}
        for t in strengths:
            row[t] = winning_class(record, intervene(record, class_strength=s, feature_strength=t, terms=terms))
        values.append(prediction_quality(record, row)["miou"].to_numpy())
    dims = ("class_strength", "feature_strength")
    attrs = {"long_name": "mIoU of the image"}
    return xr.DataArray(values, dict.fromkeys(dims, strengths), dims, "miou", attrs)


def strength_lines(grid: xr.DataArray, *, class_strength: float, feature_strength: float) -> pd.DataFrame:
    """mIoU along three lines through a `strength_miou`, index `strength`: what moving one strength, or both, would do.

    ``class_offsets``: s along the line, t at `feature_strength`; ``feature_offsets``: t along the line, s at
    `class_strength`; ``both``: s = t along the line. Between the strengths of the grid, which must rise, the lines are
    interpolated linearly; beyond its ends they keep the value of the end.
    """
    along = grid["class_strength"].values
    values = grid.values
    return pd.DataFrame(
        {
            "class_offsets": [np.interp(feature_strength, along, row) for row in values],
            "feature_offsets": [np.interp(class_strength, along, column) for column in values.T],
            "both": values.diagonal(),
        },
        index=pd.Index(along, name="strength"),
    )
