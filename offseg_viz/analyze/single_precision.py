"""Ideal class embeddings from sums in float32, twice as quick, for the features for which that is precise enough."""

import numpy as np
import xarray as xr

from offseg_viz.analyze.class_means import label_counts, sums_and_gram

LEAST_CONDITION = 1e-4
"""Reciprocal condition number of E^T E (1-norm) from which on float32 is enough, and no singular value of E is below a
hundredth of the largest."""

LEAST_WORK = 2**27
"""Positions times channels squared from which on it is worth it: 64 x 64 x 256 have twice as much."""


def single_precision_embedding(record: xr.Dataset, rcond: float) -> np.ndarray | None:
    """W* of `ideal_class_embedding`, (K, C) float64, to four digits at least; None where float32 does not give them.

    The rounding of sums in float32 comes out multiplied by the condition number of E^T E. A sample of pixels tells
    soon whether that can be small; those of trained networks are mostly of less than full rank. Sums are of features
    less a centre: where an image has few classes, W* is the little that remains when their means cancel. What is made
    of the sums is made in float64.
    """
    channels = record.sizes["channel"]
    pixels = record["feature"].transpose("y", "x", "channel").values.reshape(-1, channels)
    if len(pixels) * channels**2 < LEAST_WORK:
        return None
    sample = pixels[:: max(1, len(pixels) // (2 * channels))]
    try:
        with np.errstate(all="ignore"):  # of features that are not finite, or overflow: the condition is NaN
            centre = sample.mean(axis=0, dtype=np.float32)
            spread = sample - centre
            np.linalg.cholesky(spread.T @ spread)
            return _embedding(record, centre, max(LEAST_CONDITION, rcond**2))
    except np.linalg.LinAlgError:
        return None


def _embedding(record: xr.Dataset, centre: np.ndarray, least_condition: float) -> np.ndarray | None:
    counts = label_counts(record)
    sums, gram = sums_and_gram(record, less=centre)
    centre = centre.astype(np.float64)
    crossed = np.outer(centre, sums.sum(axis=0))
    gram += crossed + crossed.T + counts.sum() * np.outer(centre, centre)
    sums += np.outer(counts, centre)
    inverse = np.linalg.inv(gram)
    if not np.abs(gram).sum(axis=0).max() * np.abs(inverse).sum(axis=0).max() <= 1 / least_condition:  # so of NaN too
        return None
    embedding = sums @ inverse
    embedding[counts == 0] = np.nan
    return embedding
