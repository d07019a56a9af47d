import numpy as np
import pytest
import xarray as xr

from offseg_viz.classes import ClassList
from offseg_viz.plot.summary import class_shares, literal, rounded, summarize, value_range


@pytest.mark.parametrize(
    ("value", "scale", "text"),
    [
        (0.12345, 0.9, "0.123"),
        (-1e-9, 0.9, "0.000"),
        (12.345, 50, "12.3"),
        (1234.5, 1234.5, "1230"),
        (0.5, 0, "0"),
        (np.nan, 1, "nan"),
    ],
)
def test_three_digits_counted_from_the_scale(value, scale, text):
    assert rounded(value, scale) == text


def test_noise_below_the_digits_does_not_change_the_text():
    values = np.linspace(-0.4, 0.7, 35).reshape(5, 7)
    assert value_range(values) == value_range(values * (1 + 1e-7)) == "min -0.400 mean 0.150 max 0.700"
    assert value_range(values) != value_range(values * 1.05)


def test_values_that_are_not_finite_are_counted_apart():
    assert value_range(np.array([1.0, np.nan, 3.0, np.inf])) == "min 1.00 mean 2.00 max 3.00; 2 without a value"
    assert value_range(np.array([np.nan])) == "no finite value"


def test_the_three_largest_classes_of_those_not_ignored():
    classes = ClassList.numbered(5)
    values = np.array([0] * 1 + [1] * 4 + [2] * 2 + [4] * 3 + [255] * 6, dtype=np.uint8)
    assert class_shares(values, classes) == "class 1 40.0%, class 4 30.0%, class 2 20.0%; 6 ignored"
    assert class_shares(values, classes, empty_name="unchanged").endswith("6 unchanged")
    assert class_shares(values[-6:], classes) == "all cells ignored"


def test_a_line_names_the_result_and_its_sizes():
    result = xr.DataArray(np.zeros((5, 7)), dims=("y", "x"), name="offset_magnitude")
    assert summarize(result) == "offset_magnitude (y 5, x 7) min 0 mean 0 max 0"


def test_names_are_literal_in_plotly():
    assert literal('<b>&"') == '&lt;b&gt;&amp;"'
