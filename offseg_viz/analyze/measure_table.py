"""The rows of a measure table, the one shape that figures over many records come in."""

from collections.abc import Sequence

import numpy as np
import pandas as pd


def measure_rows(
    group: str,
    names: Sequence[str | float],
    quantity: str,
    figures: Sequence[np.ndarray],
    images: np.ndarray | int,
    *,
    stage: str = "",
) -> pd.DataFrame:
    """Rows of one quantity at one stage, one a group.

    Parameters
    ----------
    group : name of the column that tells the groups apart.
    names : of the groups.
    quantity : name of the figure.
    figures : value, low and high of every group, as `bootstrap_interval` gives them; the value alone has no interval.
        Low and high become NaN for groups of fewer than two images, about which other images say nothing.
    images : how many contribute to each.
    stage : {"initial", "aligned", "ideal", ""}
    """
    value, *ends = figures if len(figures) == 3 else (*figures, np.nan, np.nan)
    low, high = (np.where(np.asarray(images) < 2, np.nan, end) for end in ends)
    columns = {"quantity": quantity, "stage": stage, "value": value, "low": low, "high": high, "images": images}
    return pd.DataFrame({group: list(names)} | columns)
