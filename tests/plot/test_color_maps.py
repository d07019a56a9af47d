"""Maps of colours beside other panels: drawn as they are, opaque, without legend or bar."""

import numpy as np
import pytest
import xarray as xr

from offseg_viz.errors import RecordError
from offseg_viz.plot import plot_map, plot_panels
from offseg_viz.plot.grid import is_class_map, is_color_map, is_photograph


@pytest.fixture
def colors(offset_record):
    values = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    return xr.DataArray(values, {dim: offset_record[dim] for dim in ("y", "x")}, ("y", "x", "rgb"), "colors")


def test_it_lies_where_its_coordinates_say(offset_record, colors):
    figure = plot_map(colors, over=offset_record)
    (shown,) = figure.axes[0].images
    np.testing.assert_array_equal(shown.get_array(), colors.values)
    assert list(shown.get_extent()) == [0, 28, 20, 0] and shown.get_alpha() is None
    assert not figure.legends and len(figure.axes) == 1
    red, green, blue = colors.values.reshape(-1, 3).mean(axis=0) / 255
    words = f"red {red:.2f}, green {green:.2f}, blue {blue:.2f}"
    assert figure.summary == f"colors: colours, 5 x 7 cells, on average {words}"
    assert plot_map(colors).png().startswith(b"\x89PNG")


def test_beside_other_panels(offset_record, colors):
    panels = {"photograph": offset_record["image"], "label": offset_record["label"], "colours": colors}
    figure = plot_panels(panels, over=offset_record, mark=(10, 6))
    np.testing.assert_array_equal(figure.axes[2].images[0].get_array(), colors.values)
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {"sky", "road", "tree", "ignored"}
    kinds = [(is_photograph(panel), is_color_map(panel), is_class_map(panel)) for panel in panels.values()]
    assert kinds == [(True, False, False), (False, False, True), (False, True, False)]


def test_refused(offset_record, make_record, colors):
    with pytest.raises(RecordError, match=r"needed \('y', 'x', 'rgb'\), 3 colours, uint8"):
        plot_map(colors.astype(float), over=offset_record)
    with pytest.raises(RecordError, match="needed .* 3 colours"):
        plot_map(colors[..., :2], over=offset_record)
    with pytest.raises(RecordError, match="another grid"):
        plot_map(colors, over=make_record(size=(4, 7)))
