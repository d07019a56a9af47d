"""The two stages of a record: features, class embeddings, scores, logits and predictions before and after alignment.

Equations (1), (8), (12) and (13) of arXiv 2508.08811. For a per-pixel record the aligned stage is the initial one.
"""

import numpy as np
import xarray as xr

from offseg_viz.errors import UnknownNameError
from offseg_viz.record import has_offsets
from offseg_viz.terms import STAGES


def aligned_feature(record: xr.Dataset) -> xr.DataArray:
    """E + dE, eq. (12), dims (y, x, channel); E itself for a per-pixel record."""
    feature = record["feature"]
    if has_offsets(record):
        feature = feature + record["feature_offset"]
    return _named(feature, "aligned_feature", stage="aligned", long_name="aligned feature")


def aligned_class_embedding(record: xr.Dataset) -> xr.DataArray:
    """W + dW, eq. (8), dims (cls, channel); W itself for a per-pixel record.

    dW comes from a softmax over the positions of one window, so this belongs to that window, not to the model.
    """
    class_embedding = record["class_embedding"]
    if has_offsets(record):
        class_embedding = class_embedding + record["class_offset"]
    return _named(class_embedding, "aligned_class_embedding", stage="aligned", long_name="aligned class embedding")


def scores(record: xr.Dataset, stage: str = "aligned") -> xr.DataArray:
    """Inner products of class embeddings and features, dims (cls, y, x), without unit.

    W E^T, eq. (1), at the stage `initial`; (W + dW)(E + dE)^T, eq. (13), at the stage `aligned`. No bias and no
    LayerNorm: see `logits` for what the model returns.

    Raises
    ------
    UnknownNameError
        If `stage` is neither ``"initial"`` nor ``"aligned"``.
    """
    if stage not in STAGES:
        raise UnknownNameError("stage", stage, STAGES)
    if stage == "aligned":
        class_embedding, feature = aligned_class_embedding(record), aligned_feature(record)
    else:
        class_embedding, feature = record["class_embedding"], record["feature"]
    product = xr.dot(class_embedding, feature, dim="channel", optimize=True)
    return _named(product.transpose("cls", "y", "x"), "scores", stage=stage, long_name=f"{stage} scores")


def logits(record: xr.Dataset, stage: str = "aligned") -> xr.DataArray:
    """What the model's last layer makes of the scores of a stage, dims (cls, y, x).

    With `logit_gain` in the record: LayerNorm over the classes of one pixel, then gain and bias of every class. The
    LayerNorm is in the released code and not in eq. (13); its gain and bias can change which class wins. Without
    `logit_gain`: scores plus the bias of the 1x1 convolution. A missing `logit_bias` counts as zero.
    The initial logits pass W E^T through that same last layer.

    Raises
    ------
    UnknownNameError
        If `stage` is neither ``"initial"`` nor ``"aligned"``.
    """
    result = scores(record, stage)
    if "logit_gain" in record:
        centred = result - result.mean("cls")
        variance = (centred**2).mean("cls")  # divided by K, not K - 1, as torch's LayerNorm does
        result = centred / np.sqrt(variance + record.attrs["logit_norm_eps"]) * record["logit_gain"]
    if "logit_bias" in record:
        result = result + record["logit_bias"]
    return _named(result.transpose("cls", "y", "x"), "logits", stage=stage, long_name=f"{stage} logits")


def prediction(record: xr.Dataset, stage: str = "aligned") -> xr.DataArray:
    """Class number of the largest logit of every pixel, dims (y, x), uint8 as labels are; the first of equal ones.

    Raises
    ------
    UnknownNameError
        If `stage` is neither ``"initial"`` nor ``"aligned"``.
    """
    winner = logits(record, stage).argmax("cls").astype(np.uint8)
    return _named(winner, "prediction", stage=stage, long_name=f"{stage} prediction")


def _named(array: xr.DataArray, name: str, **attrs: str) -> xr.DataArray:
    return array.rename(name).drop_attrs().assign_attrs(attrs)
