"""Features as false colours: three axes of most variance, shared by both stages and all images, made into a colour.

A colour means the same wherever it is seen, so two stages, or two images, can be compared by eye. The first axis is
lightness, which every eye sees alike, the second runs from blue to yellow, the third from green to red (OKLab: Ottosson
2020, https://bottosson.github.io/posts/oklab/), so that the distance of two colours grows with that of two features.
"""

from collections.abc import Iterable
from functools import partial
from typing import NamedTuple
from zlib import crc32

import numpy as np
import xarray as xr

from offseg_viz.analyze.align import aligned_feature
from offseg_viz.analyze.collection import UNREAD, over_records
from offseg_viz.analyze.offsets import require_offsets
from offseg_viz.errors import RecordError, UnknownNameError
from offseg_viz.record import has_offsets
from offseg_viz.terms import STAGES

AXES = ("lightness", "blue to yellow", "green to red")
"""What of a colour each axis gives, from its low end to its high one."""
PIXELS = 2048
"""Drawn of every image for the axes."""
KEPT = 4096
"""Drawn pixels of all images of which the ends of the scale are taken: 8 MiB with 256 channels at both stages."""
ENDS = (0.01, 0.99)
"""Quantiles at the ends of the scale; what lies beyond takes the colour of the end."""

_LIGHTNESS, _CHROMA = (0.30, 0.93), 0.15
_TO_CONES = np.array(
    [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]]
)
_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


class _Drawn(NamedTuple):
    """Pixels of one record: their number, mean (C,) and scatter about it (C, C) over both stages, and all of them."""

    count: int
    mean: np.ndarray
    scatter: np.ndarray
    features: np.ndarray  # (n, stage, C) float32
    keys: np.ndarray  # (n,) random


def feature_color_basis(records: Iterable[xr.Dataset], *, pixels: int = PIXELS, seed: int = 0) -> xr.Dataset:
    """The three axes of most variance of the features of all records and both stages, and how they become a colour.

    Every image gives the same number of pixels, drawn at random, each with E and E + dE (eq. 12 of arXiv 2508.08811;
    E twice of a per-pixel model). Mean and covariance are summed over the records in float64, one in memory at a time;
    the axes are the eigenvectors of the three largest eigenvalues, each with the sign that makes its component of
    largest size positive. The ends of a scale are the 1 % and 99 % quantiles of up to 4096 of those pixels.

    Parameters
    ----------
    records : iterable of xarray.Dataset
        Of one model, read one at a time, once; labels are not needed, queries will do.
    pixels : int
        Drawn of every image; of a smaller one all are taken.
    seed : int
        Of the draw, which depends on it and the ids of the records alone.

    Returns
    -------
    xarray.Dataset
        `direction` (axis, channel) of length 1, or 0 where there are fewer channels than axes; `mean` (channel) and
        `low` and `high` (axis), places on the axes, in the unit of the features; `explained_variance` (axis), fractions
        of the whole variance, 0 where nothing varies.

    Raises
    ------
    RecordError
        If there is no record, or they do not fit each other, `pixels` is below 1, or features are not finite.
    """
    if pixels < 1:
        raise RecordError(f"found pixels={pixels}; needed at least 1 of every image")
    count, kept, keys = 0, None, None
    draw = partial(_drawn, pixels=pixels, seed=seed)
    for name, found in over_records(
        records, draw, labelled=False, queries=True, leave_out=(*UNREAD, "label", "class_offset")
    ):
        if not np.isfinite(found.scatter).all():
            raise RecordError(f"the features of {name} are not finite; extract it again, or leave it out")
        if not count:
            count, mean, scatter, kept, keys = found
            continue
        gap, total = found.mean - mean, count + found.count  # joined as Chan, Golub and LeVeque (1979) do
        scatter = scatter + found.scatter + np.outer(gap, gap) * (count * found.count / total)
        mean, count = mean + gap * (found.count / total), total
        kept, keys = np.concatenate([kept, found.features]), np.concatenate([keys, found.keys])
        first = np.argsort(keys, kind="stable")[:KEPT]
        kept, keys = kept[first], keys[first]
    variances, vectors = np.linalg.eigh(scatter)
    number = min(len(AXES), len(mean))
    axes, shares = np.zeros((len(AXES), len(mean))), np.zeros(len(AXES))
    axes[:number] = vectors.T[::-1][:number]
    largest = np.abs(axes).argmax(axis=1)
    axes *= np.where(axes[np.arange(len(AXES)), largest] < 0, -1, 1)[:, None]
    shares[:number] = np.maximum(variances[::-1][:number], 0) / max(scatter.trace(), np.finfo(float).tiny)
    low, high = np.quantile((kept.reshape(-1, len(mean)) - mean) @ axes.T, ENDS, axis=0)
    return xr.Dataset(
        {
            "direction": (("axis", "channel"), axes),
            "mean": ("channel", mean),
            "low": ("axis", low),
            "high": ("axis", high),
            "explained_variance": ("axis", shares),
        },
        coords={"axis": list(AXES)},
        attrs={"pixels": count // len(STAGES), "seed": seed},
    )


def feature_axis_places(record: xr.Dataset, basis: xr.Dataset, *, stage: str = "aligned") -> xr.DataArray:
    """Where the features of a stage lie on the three axes, dims (y, x, axis), float64, in the unit of the features.

    Parameters
    ----------
    record : xarray.Dataset
        Of the model of the basis.
    basis : xarray.Dataset
        As `feature_color_basis` gives it.
    stage : {"initial", "aligned"}
        Both are the same for a per-pixel record.

    Raises
    ------
    UnknownNameError
        If `stage` is neither.
    RecordError
        If the record has other channels than the basis.
    """
    if stage not in STAGES:
        raise UnknownNameError("stage", stage, STAGES)
    feature = aligned_feature(record) if stage == "aligned" else record["feature"]
    return _along(feature, basis, about=basis["mean"].values).rename("feature_axis_places").assign_attrs(stage=stage)


def feature_colors(record: xr.Dataset, basis: xr.Dataset, *, stage: str = "aligned") -> xr.DataArray:
    """The features of a stage as colours, dims (y, x, rgb), uint8 of sRGB.

    Each place of `feature_axis_places` is stretched from `low` .. `high` to -1 .. 1, cut off there (0 where both are
    equal), and gives lightness, blue to yellow and green to red. Colours beyond the screen's are cut off as well; a
    feature that is not finite is black. Parameters and Raises as there.
    """
    places = feature_axis_places(record, basis, stage=stage)
    low, high = basis["low"].values, basis["high"].values
    half = np.where(high > low, (high - low) / 2, np.inf)
    colors = _rgb(np.clip((places.values - (high + low) / 2) / half, -1, 1))
    made = places.rename(axis="rgb").drop_vars("rgb").copy(data=colors)
    return made.rename("feature_colors").assign_attrs(long_name=f"false colours of the {stage} features")


def visible_offset(record: xr.Dataset, basis: xr.Dataset) -> xr.DataArray:
    """Length of the part of dE (eq. 11) that lies along the three axes, dims (y, x), in the unit of the features.

    What a change of colour between the stages can show of the feature offset. The attribute `share` says how much that
    is: the sum of the squares of these lengths over that of the lengths of dE, from 0 to 1, NaN where dE is zero.

    Raises
    ------
    RecordError
        If the record is of a per-pixel model, which has no offsets, or has other channels than the basis.
    """
    require_offsets(record)
    offset = record["feature_offset"]
    squares = np.square(_along(offset, basis).values).sum(axis=-1)
    whole = float(np.square(offset.values, dtype=np.float64).sum())
    share = squares.sum() / whole if whole else float("nan")
    length = offset.isel(channel=0, drop=True).copy(data=np.sqrt(squares))
    attrs = {"long_name": "|dE| along the three axes", "share": float(share)}
    return length.rename("visible_offset").drop_attrs().assign_attrs(attrs)


def _drawn(record: xr.Dataset, *, pixels: int, seed: int) -> _Drawn:
    rng = np.random.default_rng([seed, crc32(str(record.attrs["sample"]).encode())])
    positions, channels = record["feature"].size // record.sizes["channel"], record.sizes["channel"]
    chosen = np.sort(rng.permutation(positions)[:pixels])
    initial = record["feature"].transpose("y", "x", "channel").values.reshape(positions, channels)[chosen]
    moved = initial
    if has_offsets(record):
        offset = record["feature_offset"].transpose("y", "x", "channel").values.reshape(positions, channels)
        moved = initial + offset[chosen]
    features = np.stack([initial, moved], axis=1)
    points = features.reshape(-1, channels).astype(np.float64)
    mean = points.mean(axis=0)
    points -= mean
    kept = slice(KEPT)
    return _Drawn(len(points), mean, points.T @ points, features[kept], rng.random(len(chosen))[kept])


def _along(vectors: xr.DataArray, basis: xr.Dataset, *, about: np.ndarray | None = None) -> xr.DataArray:
    """Components of (y, x, channel) along the axes, less those of `about`."""
    if vectors.sizes["channel"] != basis.sizes["channel"]:
        found = f"a record of {vectors.sizes['channel']} channels and a basis of {basis.sizes['channel']}"
        raise RecordError(f"found {found}; needed a basis made from records of the same model")
    vectors = vectors.transpose("y", "x", "channel")
    axes = basis["direction"].values.T
    places = vectors.values.astype(np.float64) @ axes
    if about is not None:
        places -= about @ axes
    coords = {dim: vectors[dim] for dim in ("y", "x")}
    return xr.DataArray(places, coords | {"axis": basis["axis"].values}, ("y", "x", "axis"))


def _rgb(places: np.ndarray) -> np.ndarray:
    """Places (..., 3) of -1 .. 1 to colours (..., 3) uint8."""
    low, high = _LIGHTNESS
    lightness = low + (places[..., :1] + 1) / 2 * (high - low)
    lab = np.concatenate([lightness, _CHROMA * places[..., :0:-1]], axis=-1)  # lightness, red - green, yellow - blue
    light = np.nan_to_num((lab @ _TO_CONES.T) ** 3 @ _TO_RGB.T).clip(0, 1)
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return (encoded * 255).round().astype(np.uint8)
