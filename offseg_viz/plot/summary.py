"""What a figure shows, in a line or two of text: rounded, the same on every machine, readable aloud.

Jupyter stores the text beside the picture and `pytest --nbval` compares it, so a figure whose numbers change fails.
"""

import html
import math

import numpy as np
import xarray as xr

from offseg_viz.classes import IGNORE_INDEX, ClassList


def literal(name: object) -> str:
    """`name` as plotly must be given it, which reads a little HTML in its labels: ``<`` and ``&`` escaped."""
    return html.escape(str(name), quote=False)


def rounded(value: float, scale: float) -> str:
    """`value` with three digits counted from the size of `scale`, so that noise around zero reads as 0.

    ``nan`` for a value that is not finite.
    """
    if not math.isfinite(value):
        return "nan"
    digits = 2 - math.floor(math.log10(scale)) if math.isfinite(scale) and scale > 0 else 0
    return f"{round(value, digits) + 0.0:.{max(digits, 0)}f}"


def value_range(values: np.ndarray) -> str:
    """``min .. mean .. max ..`` of the finite values, and how many are not; ``no finite value`` where there is none."""
    finite = values[np.isfinite(values)].astype(np.float64)
    if finite.size == 0:
        return "no finite value"
    scale = float(np.abs(finite).max())
    parts = (("min", finite.min()), ("mean", finite.mean()), ("max", finite.max()))
    text = " ".join(f"{name} {rounded(float(value), scale)}" for name, value in parts)
    return text if finite.size == values.size else f"{text}; {values.size - finite.size} without a value"


def class_shares(values: np.ndarray, classes: ClassList, *, empty_name: str = "ignored") -> str:
    """The three largest classes of an integer map with their share of the cells that are not 255, `empty_name`."""
    kept = values[values != IGNORE_INDEX]
    if kept.size == 0:
        return f"all cells {empty_name}"
    counts = np.bincount(kept.ravel(), minlength=len(classes))
    largest = sorted(np.flatnonzero(counts), key=lambda k: (-counts[k], k))[:3]
    text = ", ".join(f"{classes.names[k]} {100 * counts[k] / kept.size:.1f}%" for k in largest)
    return text if kept.size == values.size else f"{text}; {values.size - kept.size} {empty_name}"


def summarize(result: xr.DataArray, classes: ClassList | None = None) -> str:
    """Name, sizes, and range (or the largest classes, for an integer map) of a map or matrix, in one line."""
    sizes = ", ".join(f"{dim} {size}" for dim, size in result.sizes.items())
    named = f"{result.name} ({sizes})" if result.name else f"({sizes})"
    values = np.asarray(result.values)
    if values.dtype.kind in "iub" and classes is not None:
        return f"{named} {class_shares(values, classes, empty_name=result.attrs.get('empty_name', 'ignored'))}"
    return f"{named} {value_range(values.astype(np.float64))}"
