"""All pixels of one record, at both stages, in the plane of their two axes of most variance."""

import numpy as np
import xarray as xr

from offseg_viz.analyze.align import aligned_feature
from offseg_viz.analyze.projection_fit import principal_axes
from offseg_viz.errors import RecordError
from offseg_viz.terms import STAGES


def pixel_plane(record: xr.Dataset, *, fit: int = 4096, seed: int = 0) -> xr.Dataset:
    """Projection of E and E + dE of every pixel by one PCA of both stages together.

    The axes are fitted to pixels drawn at random, each at both stages; all pixels are then placed by that linear map,
    so that the displacement of a pixel is the exact image of its offset dE. Distances are true up to the variance that
    the plane leaves out.

    Parameters
    ----------
    record : xarray.Dataset
        Without offsets both stages coincide.
    fit : int
        Number of pixels of the fit, at most; all where the record has no more.
    seed : int
        Of the choice of those pixels.

    Returns
    -------
    xarray.Dataset
        `place` (stage, y, x, axis), float32 in units of the feature; `explained_variance` (axis), fractions of the
        variance of the fitted pixels, 0 where all are the same.

    Raises
    ------
    RecordError
        If the features have a single channel, which spans no plane, or are not finite.
    """
    initial, aligned = (array.values for array in (record["feature"], aligned_feature(record)))
    *shape, channels = initial.shape
    if channels < 2:
        raise RecordError("found features of one channel; a plane needs two or more")
    stages = [values.reshape(-1, channels) for values in (initial, aligned)]
    chosen = np.random.default_rng(seed).permutation(len(stages[0]))[:fit]
    points = np.concatenate([values[chosen] for values in stages]).astype(np.float64)
    if not np.isfinite(points).all():
        raise RecordError(
            f"the record of {record.attrs.get('sample')} has features that are not finite; extract it again"
        )
    mean, axes, explained = principal_axes(points)
    turn, origin = axes.astype(np.float32), (mean @ axes).astype(np.float32)
    places = np.stack([values @ turn - origin for values in stages]).reshape(len(STAGES), *shape, 2)
    coords = {name: record[name] for name in ("y", "x")} | {"stage": list(STAGES)}
    variables = {"place": (("stage", "y", "x", "axis"), places), "explained_variance": ("axis", explained)}
    return xr.Dataset(variables, coords)
