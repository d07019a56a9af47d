"""The explanation of a record follows its variables and the glossary."""

from offseg_viz.analyze.describe import describe
from offseg_viz.terms import TERMS


def test_describe(offset_record, per_pixel_record):
    table = describe(offset_record)
    assert table.columns.tolist() == ["variable", "symbol", "dims", "shape", "meaning", "equation"]
    assert set(table["variable"]) == set(offset_record.data_vars)
    row = table.set_index("variable").loc["feature_offset"]
    assert row["symbol"] == "dE" and row["dims"] == "y, x, channel" and row["shape"] == "5 x 7 x 11"
    assert row["meaning"] == TERMS["feature_offset"].meaning and row["equation"] == "(10, 11)"
    assert set(describe(per_pixel_record)["variable"]) == set(per_pixel_record.data_vars)
