import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex

from offseg_viz.analyze.class_plane import STEPS, class_plane
from offseg_viz.errors import RecordError
from offseg_viz.plot.plane import plot_plane
from offseg_viz.plot.terms import COLORS


@pytest.fixture
def plane():
    """Two pixels of road, one of sky: axes are (road, sky)."""
    road = [[(0, 1), (1, 1), (1, 0), (2, 0)], [(3, 1), (3, 1), (3, 2), (4, 2)]]
    sky = [[(1, 0), (9, 9), (0, 2), (0, 1)]]
    score = np.array(road + sky, dtype=np.float32).transpose(1, 0, 2)
    return xr.Dataset(
        {"score": (("step", "pixel", "axis"), score)},
        {"step": list(STEPS), "axis": ["road", "sky"], "color": ("axis", ["#804040", "#ffffff"])}
        | {"cls": ("pixel", ["road", "road", "sky"])},
    )


def lines(figure):
    return [one for one in figure.axes[0].collections if isinstance(one, LineCollection)]


def arrows(figure):
    return [text for text in figure.axes[0].texts if getattr(text, "arrow_patch", None)]


def test_a_line_a_pixel_from_initial_to_aligned(plane):
    figure = plot_plane(plane)
    road, sky = lines(figure)
    np.testing.assert_array_equal(road.get_segments(), [[(0, 1), (2, 0)], [(3, 1), (4, 2)]])
    np.testing.assert_array_equal(sky.get_segments(), [[(1, 0), (0, 1)]])
    dots = [one for one in figure.axes[0].collections if not isinstance(one, LineCollection)]
    np.testing.assert_array_equal(dots[0].get_offsets(), [(2, 0), (4, 2)])
    assert to_hex(dots[0].get_facecolor()[0]) == "#804040"
    assert to_hex(road.get_color()[0]) == "#804040" and to_hex(sky.get_color()[0]) != "#ffffff", "white is not seen"


def test_axes_are_named_equal_and_hold_the_diagonal(plane):
    axes = plot_plane(plane).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("score of road", "score of sky")
    assert axes.get_aspect() == 1 and axes.get_xlim() == axes.get_ylim()
    x, y = axes.lines[0].get_data()
    np.testing.assert_array_equal(x, y)
    texts = {text.get_text(): text.get_position() for text in axes.texts}
    assert texts["road scores higher"][0] > 0.9 and texts["sky scores higher"][1] > 0.9


def test_mean_arrows(plane):
    straight = arrows(plot_plane(plane))
    np.testing.assert_allclose([(*one.xyann, *one.xy) for one in straight], [(1.5, 1, 3, 1), (1, 0, 0, 1)])
    figure = plot_plane(plane, steps=True)
    path = arrows(figure)
    assert len(path) == 6
    np.testing.assert_allclose([one.xy for one in path[:3]], [(2, 1), (2, 1), (3, 1)])
    np.testing.assert_allclose([one.xyann for one in path[3:]], [(1, 0), (9, 9), (0, 2)])
    colors = [to_hex(one.arrow_patch.get_facecolor()) for one in path[:3]]
    assert colors == [COLORS[term] for term in ("E dW", "dE W", "dE dW")]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["E dW", "dE W", "dE dW"]
    assert figure.axes[0].get_xlim()[1] > 9, "the way of a mean is not cut off"


def test_summary(plane):
    assert plot_plane(plane, title="plane").summary == (
        "plane: road 2 pixels, scores higher than the other 50.0% to 100.0%, mean arrow (1.50, 0.00); "
        "sky 1 pixels, scores higher than the other 0.0% to 100.0%, mean arrow (-1.00, 1.00)"
    )


def test_planes_of_records(records):
    plane = class_plane(records, "sky", "tree", per_class=20)
    figure = plot_plane(plane)
    assert sum(len(one.get_segments()) for one in lines(figure)) == plane.sizes["pixel"] == 40
    assert figure.axes[0].get_title(loc="left") == "Scores of sky and tree, initial (line) to aligned (dot)"
    assert plot_plane(plane).png() == figure.png()
    one_sided = plot_plane(class_plane(records[2], "tree", "sky"), steps=True)
    assert len(lines(one_sided)) == 1 and "tree 0 pixels" in one_sided.summary


def test_another_dataset_is_refused(records):
    with pytest.raises(RecordError, match="as class_plane"):
        plot_plane(records[0])
