"""A record explained: what each of its variables is, in the words of the glossary."""

import pandas as pd
import xarray as xr

from offseg_viz.terms import TERMS


def describe(record: xr.Dataset) -> pd.DataFrame:
    """The variables of a record, one a row, in the order of the glossary.

    Returns
    -------
    pandas.DataFrame
        Columns `variable`, `symbol` (in the paper, arXiv 2508.08811), `dims`, `shape`, `meaning` and `equation`, all
        text; empty where the paper has no symbol or number.
    """
    rows = [
        {
            "variable": name,
            "symbol": term.symbol,
            "dims": ", ".join(record[name].dims),
            "shape": " x ".join(map(str, record[name].shape)),
            "meaning": term.meaning,
            "equation": term.equation,
        }
        for name, term in TERMS.items()
        if name in record.data_vars
    ]
    return pd.DataFrame(rows, columns=["variable", "symbol", "dims", "shape", "meaning", "equation"])
