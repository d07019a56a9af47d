"""All numbers of one pixel against every class: cosine, scores, logits, position attention, where its offset points."""

import numpy as np
import xarray as xr

from offseg_viz.analyze.align import last_layer
from offseg_viz.analyze.one_thread import one_thread
from offseg_viz.analyze.pixel_similarity import checked_cell
from offseg_viz.metrics import ratio_or_nan
from offseg_viz.record import has_offsets, refuse_queries
from offseg_viz.terms import STAGES


def pixel_measures(record: xr.Dataset, cell: tuple[int, int]) -> xr.Dataset:
    """What `cosine_similarity`, `scores`, `logits` and `position_attention` say of one pixel, without the other pixels.

    Computed from the vectors of that pixel alone, in well under a millisecond.

    Parameters
    ----------
    record : xarray.Dataset
    cell : (row, col)
        The pixel, as a cell of the grid, counted from 0.

    Returns
    -------
    xarray.Dataset
        `cosine`, `scores` (eqs. 1 and 13) and `logits`, all (stage, cls); the stages of a record without offsets are
        equal. `position_attention` (cls), eq. (9), sums to one. With offsets `offset_direction` (stage, cls), the
        cosine of dE to W and to W + dW. Without unit; a cosine is NaN where a vector is zero.

    Raises
    ------
    RecordError
        If the cell lies outside of the grid, or the record is of mask classification.
    """
    refuse_queries(record, "the numbers of a pixel against classes")
    row, col = checked_cell(record, cell)
    feature, embedding = record["feature"].values[row, col], record["class_embedding"].values
    pairs, offset = [(feature, embedding)] * len(STAGES), None
    if has_offsets(record):
        offset = record["feature_offset"].values[row, col]
        pairs[1] = feature + offset, embedding + record["class_offset"].values  # eqs. (12) and (8)
    with one_thread():
        scores = np.stack([embedding @ feature for feature, embedding in pairs])
        cosines = np.stack([_cosines(embedding, feature) for feature, embedding in pairs])
        directions = None if offset is None else np.stack([_cosines(embedding, offset) for _, embedding in pairs])
    powers = np.exp(scores[0] - scores[0].max())
    by_class = ("stage", "cls")
    variables = {
        "cosine": (by_class, cosines),
        "scores": (by_class, scores),
        "logits": (by_class, last_layer(record, scores.T.copy()).T),
        "position_attention": ("cls", powers / powers.sum()),
    }
    if directions is not None:
        variables["offset_direction"] = (by_class, directions)
    return xr.Dataset(variables, {"stage": list(STAGES), "cls": record["cls"], "color": record["color"]})


def _cosines(embedding: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Cosine of `vector` (C,) to each row of `embedding` (K, C)."""
    lengths = np.sqrt(np.vecdot(embedding, embedding) * (vector @ vector))
    return ratio_or_nan(embedding @ vector, lengths).clip(-1, 1)
