"""The two stages of a record: features, class embeddings, scores, logits and predictions before and after alignment.

Equations (1), (8), (12) and (13) of arXiv 2508.08811. For a per-pixel record the aligned stage is the initial one.
"""

import numpy as np
import xarray as xr

from offseg_viz.errors import RecordError, UnknownNameError
from offseg_viz.record import has_offsets, has_queries
from offseg_viz.terms import STAGES

_BLOCK = 2048
"""Pixels predicted at a time: the logits of so few stay in the processor's cache."""


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
    LayerNorm: see `logits` for what the model returns. Of mask classification: mask logits, dims (query, y, x).

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
    height, width, channels = feature.shape
    product = class_embedding.values @ feature.values.reshape(-1, channels).T  # (K, P)
    dims = (class_embedding.dims[0], "y", "x")
    coords = {**class_embedding.coords, **feature.coords}
    result = xr.DataArray(product.reshape(-1, height, width), dims=dims, coords=coords)
    return _named(result, "scores", stage=stage, long_name=f"{stage} scores")


def logits(record: xr.Dataset, stage: str = "aligned") -> xr.DataArray:
    """What the model's last layer makes of the scores of a stage, dims (cls, y, x).

    With `logit_gain` in the record: LayerNorm over the classes of one pixel, then gain and bias of every class. The
    LayerNorm is in the released code and not in eq. (13); its gain and bias can change which class wins. Without
    `logit_gain`: scores plus the bias of the 1x1 convolution. A missing `logit_bias` counts as zero.
    The initial logits pass W E^T through that same last layer. Of mask classification: the scores, dims (query, y, x).

    Raises
    ------
    UnknownNameError
        If `stage` is neither ``"initial"`` nor ``"aligned"``.
    """
    result = scores(record, stage)
    last_layer(record, result.values)
    return _named(result, "logits", stage=stage, long_name=f"{stage} logits")


def last_layer(record: xr.Dataset, scores: np.ndarray) -> np.ndarray:
    """Scores (K, ...) to logits **in their place**, the shape kept: LayerNorm over classes or bias, as in `logits`."""
    column = (-1, *[1] * (scores.ndim - 1))
    if "logit_gain" in record:
        scores -= scores.mean(axis=0)
        variance = np.square(scores).mean(axis=0)  # divided by K, not K - 1, as torch's LayerNorm does
        scores /= np.sqrt(variance + np.asarray(record.attrs["logit_norm_eps"], scores.dtype))
        scores *= record["logit_gain"].values.reshape(column)
    if "logit_bias" in record:
        scores += record["logit_bias"].values.reshape(column)
    return scores


def class_maps(record: xr.Dataset, stage: str = "aligned") -> xr.DataArray:
    """What classes are compared by, dims (cls, y, x): the logits of a stage.

    Of mask classification: class probability times mask probability (the sigmoid of the mask logit), summed over the
    queries, from 0 to their number (arXiv 2107.06278, section 3.4).

    Raises
    ------
    UnknownNameError
        If `stage` is neither ``"initial"`` nor ``"aligned"``.
    """
    result = _class_maps(record, logits(record, stage))
    return _named(result, "class_maps", stage=stage, long_name=f"{stage} class maps")


def prediction(record: xr.Dataset, stage: str = "aligned") -> xr.DataArray:
    """Class number of the largest logit (see `class_maps`) of every pixel, dims (y, x), uint8 as labels are.

    The first of equal ones.

    Raises
    ------
    UnknownNameError
        If `stage` is neither ``"initial"`` nor ``"aligned"``.
    RecordError
        If a logit is NaN.
    """
    if stage not in STAGES:
        raise UnknownNameError("stage", stage, STAGES)
    if has_queries(record):
        winner = winning_class(record, logits(record, stage))
    else:
        names = ("feature", *(("feature_offset",) if stage == "aligned" and has_offsets(record) else ()))
        parts = [record[name].values.reshape(-1, record.sizes["channel"]) for name in names]
        embedding = (aligned_class_embedding(record) if stage == "aligned" else record["class_embedding"]).values
        found = np.empty(len(parts[0]), np.uint8)
        for start in range(0, len(found), _BLOCK):
            block = slice(start, start + _BLOCK)
            pixels = parts[0][block] + parts[1][block] if len(parts) == 2 else parts[0][block]
            values = last_layer(record, embedding @ pixels.T)  # (K, block)
            found[block] = values.argmax(axis=0)  # numpy takes the first NaN for the largest value
            if np.isnan(values.max()):
                _refuse_lost(record, int(np.isnan(values).any(axis=0).sum()))
        winner = record["feature"].isel(channel=0, drop=True).copy(data=found.reshape(record["feature"].shape[:2]))
    return _named(winner, "prediction", stage=stage, long_name=f"{stage} prediction")


def winning_class(record: xr.Dataset, logits: xr.DataArray) -> xr.DataArray:
    """The prediction that follows from logits of a record, however they were made: dims (y, x), uint8 class numbers.

    Parameters
    ----------
    record : xarray.Dataset
    logits : dims (cls, y, x); of mask classification (query, y, x), which become class maps first, as in `class_maps`.

    Raises
    ------
    RecordError
        If a value to be compared is NaN.
    """
    maps = _class_maps(record, logits)
    winner = maps.values.argmax(axis=0)  # numpy takes the first NaN for the largest value
    lost = int(np.isnan(np.take_along_axis(maps.values, winner[None], axis=0)).sum())
    if lost:
        _refuse_lost(record, lost)
    result = maps.isel(cls=0, drop=True).copy(data=winner.astype(np.uint8))
    return _named(result, "prediction", long_name="prediction")


def _refuse_lost(record: xr.Dataset, pixels: int) -> None:
    raise RecordError(
        f"the record of {record.attrs.get('sample')} gives NaN at {pixels} pixels or more: its features, class "
        "embeddings or offsets are not finite; extract it again, or leave it out"
    )


def _class_maps(record: xr.Dataset, logits: xr.DataArray) -> xr.DataArray:
    if has_queries(record):
        with np.errstate(over="ignore"):  # exp of a large number is inf, and 1 / inf the 0 that is meant
            masks = 1 / (1 + np.exp(-logits))
        logits = xr.dot(record["query_class"], masks, dim="query")
    return logits.transpose("cls", "y", "x")


def _named(array: xr.DataArray, name: str, **attrs: str) -> xr.DataArray:
    return array.rename(name).drop_attrs().assign_attrs(attrs)


def require_grid(found: xr.DataArray, shape: tuple[int, int], what: str) -> None:
    """Raise `RecordError` unless `found`, called `what`, has the dims (y, x) and a shape."""
    if found.dims != ("y", "x") or found.shape != shape:
        raise RecordError(
            f"found {what} of dims {found.dims} and shape {found.shape}, needed ('y', 'x') and {shape}: "
            "one of the same record"
        )
