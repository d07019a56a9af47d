import numpy as np
import pandas as pd
import pytest

from offseg_viz.errors import RecordError, UnknownNameError
from offseg_viz.plot import theme
from offseg_viz.plot.figure import StaticFigure
from offseg_viz.plot.measures import plot_measures


def measures(group, rows):
    """A measure table of rows (group, quantity, stage, value, low, high), each over 4 images."""
    table = pd.DataFrame(rows, columns=[group, "quantity", "stage", "value", "low", "high"])
    return table.assign(images=4)


@pytest.fixture
def by_class():
    nan = np.nan
    return measures(
        "cls",
        [
            ("all", "cosine", "initial", 0.4, 0.35, 0.45),
            ("all", "cosine", "aligned", 0.6, 0.55, 0.65),
            ("road", "cosine", "initial", 0.3, 0.2, 0.4),
            ("road", "cosine", "aligned", 0.5, nan, nan),
            ("<b>&", "cosine", "initial", 0.7, 0.6, 0.75),
            ("<b>&", "cosine", "aligned", 0.8, 0.7, 0.85),
            ("bird", "cosine", "initial", nan, nan, nan),
            ("bird", "cosine", "aligned", nan, nan, nan),
            ("road", "cosine_change", "", 0.2, 0.1, 0.25),
        ],
    )


@pytest.fixture
def by_distance():
    rows = [
        (4, "ideal_angle", "", 30, 28, 33),
        (1, "ideal_angle", "", 60, 55, 64),
        (2, "ideal_angle", "", np.nan, 0, 1),
    ]
    return measures("distance", rows)


def names(axes):
    return [text.get_text() for text in axes.get_yticklabels()]


def test_names_are_rows_sorted_by_their_aligned_value_with_all_on_top(by_class):
    figure = plot_measures(by_class, quantity="cosine")
    axes = figure.axes[0]
    assert isinstance(figure, StaticFigure) and names(axes) == ["all", "<b>&", "road"]
    dots = {line.get_label(): line for line in axes.lines if line.get_marker() == "o"}
    assert list(dots["aligned"].get_xdata()) == [0.6, 0.8, 0.5] and list(dots["initial"].get_xdata()) == [0.4, 0.7, 0.3]
    assert dots["aligned"].get_color() == theme.STAGE_COLORS["aligned"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1], "the first row is on top"


def test_bars_are_the_intervals_also_where_they_do_not_hold_the_value():
    table = measures("cls", [("road", "cosine", "aligned", 0.5, 0.55, 0.6)])  # percentile intervals may be like that
    bars = plot_measures(table).axes[0].collections[0]
    np.testing.assert_allclose(bars.get_segments()[0][:, 0], [0.55, 0.6])


def test_the_summary_is_rounded_and_counts_what_is_left_out(by_class):
    assert repr(plot_measures(by_class, quantity="cosine")) == (
        "cosine by class, 3 groups: initial all 0.400 [0.350, 0.450], highest <b>& 0.700 [0.600, 0.750], lowest road "
        "0.300 [0.200, 0.400]; aligned all 0.600 [0.550, 0.650], highest <b>& 0.800 [0.700, 0.850], lowest road 0.500; "
        "1 without a value"
    )
    change = plot_measures(by_class, quantity="cosine_change", title="what changed")
    assert repr(change) == "what changed, 1 group: only road 0.200 [0.100, 0.250]"
    assert not change.legends


def test_numbers_are_a_line_with_a_band_and_a_gap_where_a_stage_has_no_value(by_distance):
    extra = by_distance.assign(stage="aligned", value=[20.0, 50.0, 40.0])
    figure = plot_measures(pd.concat([by_distance, extra]))
    axes = figure.axes[0]
    aligned, neutral = (line for line in axes.lines if line.get_marker() == "o")
    assert list(neutral.get_xdata()) == [1, 2, 4]
    np.testing.assert_array_equal(neutral.get_ydata(), [60, np.nan, 30])
    assert list(aligned.get_ydata()) == [50, 40, 20] and len(axes.collections) == 2
    assert axes.get_ylabel() == "ideal angle (degrees)" and axes.get_xscale() == "linear"
    alone = plot_measures(by_distance)
    assert repr(alone) == (
        "ideal angle by distance, 2 groups: 60.0 [55.0, 64.0] at 1, 30.0 [28.0, 33.0] at 4; 1 without a value"
    )


def test_positive_groups_of_a_wide_range_are_spread(by_distance):
    assert plot_measures(by_distance.assign(distance=[1, 64, 8])).axes[0].get_xscale() == "log"
    assert plot_measures(by_distance.assign(distance=[0, 64, 8])).axes[0].get_xscale() == "linear"


def test_groups_that_are_not_finite_are_left_out(by_distance):
    figure = plot_measures(by_distance.assign(distance=[np.inf, 1, 2]))
    assert repr(figure) == "ideal angle by distance, 1 group: 60.0 [55.0, 64.0] at 1; 2 without a value"


def test_many_rows_are_smaller_and_very_many_have_no_names():
    heights = []
    for count in (40, 120, 500):
        table = measures("image", [(f"im {k}", "cosine", "aligned", k / count, 0, 1) for k in range(count)])
        figure = plot_measures(table)
        assert len(names(figure.axes[0])) == (count if count < 500 else 0)
        heights.append(figure.get_figheight())
        figure.png()
    assert heights[1] < 3 * heights[0] and heights[2] < heights[1]


def test_numbers_written_as_names_stay_names_and_stages_may_be_read_from_a_file():
    table = measures("cls", [("2", "cosine", np.nan, 0.1, 0, 1), ("1", "cosine", np.nan, 0.2, 0, 1)])
    assert names(plot_measures(table).axes[0]) == ["1", "2"]


def test_interactive_holds_the_numbers(by_class, by_distance):
    figure = plot_measures(by_class, quantity="cosine", interactive=True)
    bars, dots = figure.data[2:]
    assert dots.name == "aligned" and list(dots.y) == ["all", "&lt;b&gt;&amp;", "road"]
    assert list(dots.x) == [0.6, 0.8, 0.5]
    assert dots.text[1] == "class &lt;b&gt;&amp;<br>aligned 0.800 [0.700, 0.850]<br>4 images"
    assert dots.text[2] == "class road<br>aligned 0.500<br>4 images"
    assert list(bars.x) == [0.55, 0.65, None, 0.7, 0.85, None]
    assert list(figure.layout.yaxis.categoryarray) == ["all", "&lt;b&gt;&amp;", "road"]
    band, line = plot_measures(by_distance, interactive=True).data
    assert list(line.x) == [1, 4] and list(line.y) == [60, 30] and list(band.y) == [55, 28, 33, 64]


def test_the_table_is_not_changed(by_class):
    before = by_class.copy(deep=True)
    plot_measures(by_class, quantity="cosine"), plot_measures(by_class, quantity="cosine", interactive=True)
    pd.testing.assert_frame_equal(by_class, before)


def test_refusals(by_class):
    with pytest.raises(UnknownNameError, match="unknown quantity 'cosin'. Did you mean 'cosine'.*cosine_change"):
        plot_measures(by_class, quantity="cosin")
    with pytest.raises(RecordError, match="say which to draw: quantity='cosine' or another of cosine_change"):
        plot_measures(by_class)
    with pytest.raises(RecordError, match="needed one that names the groups"):
        plot_measures(by_class.drop(columns="images"))
    with pytest.raises(RecordError, match="needed one that names the groups"):
        plot_measures(by_class.drop(columns="cls"), quantity="cosine")
    with pytest.raises(RecordError, match="no cls of the table has a value of 'cosine'"):
        plot_measures(by_class.assign(value=np.nan), quantity="cosine")
    with pytest.raises(RecordError, match="cls 'all' has 'cosine' twice at one stage"):
        plot_measures(pd.concat([by_class, by_class]), quantity="cosine")
    with pytest.raises(UnknownNameError, match="Valid: none"):
        plot_measures(by_class[:0])
