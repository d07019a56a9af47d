import numpy as np
import pandas as pd
import pytest
import xarray as xr

from offseg_viz.analyze.pixels import sample_pixels
from offseg_viz.analyze.projection import project
from offseg_viz.errors import RecordError, UnknownNameError
from offseg_viz.plot import plot_classes, plot_matrix, plot_scatter


@pytest.fixture
def table():
    values = {
        "initial": [0.5, 0.2, np.nan, 0.8],
        "aligned": [0.55, 0.35, np.nan, 0.7],
        "ideal": [0.9, 0.8, np.nan, 0.95],
    }
    return pd.DataFrame(values, index=pd.Index(["road", "<b>&", "bird", "sky"], name="cls"))


@pytest.fixture
def projection(records):
    return project(sample_pixels(records, per_class=9))


def test_bars_are_sorted_and_absent_classes_left_out(table):
    figure = plot_classes(table)
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["sky", "road", "<b>&"]
    aligned = next(container for container in axes.containers if container.get_label() == "aligned")
    assert [bar.get_width() for bar in aligned] == [0.7, 0.55, 0.35]
    assert figure.summary == (
        "IoU of every class: mean over 3 classes in percent: initial 50.0, aligned 53.3, ideal 88.3; "
        "largest change <b>& +15.0, smallest sky -10.0; 1 classes never occur"
    )


def test_interactive_bars_hold_the_numbers(table):
    figure = plot_classes(table, interactive=True)
    initial, aligned, ideal = figure.data
    assert (initial.name, aligned.name, ideal.name) == ("initial", "aligned", "ideal")
    assert list(aligned.x) == [0.7, 0.55, 0.35] and list(aligned.y) == ["sky", "road", "&lt;b&gt;&amp;"]


def test_bars_of_a_per_pixel_model(table):
    figure = plot_classes(table[["initial", "ideal"]])
    assert [container.get_label() for container in figure.axes[0].containers] == ["initial"]
    assert "change" not in figure.summary


def test_a_table_without_numbers_is_refused(table):
    with pytest.raises(RecordError, match=r"needed some of \['initial'"):
        plot_classes(table.rename(columns=str.upper))
    with pytest.raises(RecordError, match="no class of the table has a value"):
        plot_classes(table * np.nan)


def test_a_matrix_is_named_by_its_coordinates():
    values = np.array([[1, -0.5, 0.25], [-0.5, 1, np.nan]])
    matrix = xr.DataArray(
        values, dims=("cls", "image"), coords={"cls": ["a", "b"], "image": ["p", "q", "r"]}, name="cosine"
    )
    figure = plot_matrix(matrix, title="cosines")
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b"]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["p", "q", "r"]
    assert axes.collections[0].get_clim() == (-1, 1)
    assert [text.get_text() for text in axes.texts] == ["1.00", "-0.50", "0.25", "-0.50", "1.00"]
    assert figure.summary == "cosines: cosine (cls 2, image 3) min -0.50 mean 0.25 max 1.00; 1 without a value"


def test_a_square_matrix_tells_its_mean_off_the_diagonal():
    matrix = xr.DataArray(np.array([[1, 0.25], [0.75, 1]]), dims=("image", "image_2"))
    assert plot_matrix(matrix).summary.endswith("mean off the diagonal 0.500")
    with pytest.raises(RecordError, match="two dims"):
        plot_matrix(matrix[0])


def test_a_panel_a_stage_with_the_points_of_that_stage(projection):
    figure = plot_scatter(projection)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["initial", "aligned"]
    for axes, stage in zip(figure.axes, ("initial", "aligned"), strict=True):
        road = next(points for points in axes.collections if points.get_label() == "road")
        chosen = projection["pixel_projection"].sel(stage=stage).values[projection["label"].values == 1]
        np.testing.assert_allclose(road.get_offsets(), chosen, rtol=1e-6)
        assert {text.get_text() for text in axes.texts} == {"sky", "road", "tree"}
    assert f"pca of {projection.sizes['pixel']} pixels of 3 classes in 3 images" in figure.summary
    assert "explained variance" in figure.summary and "mean step initial to aligned" in figure.summary


def test_correct_uses_the_prediction_of_the_stage(projection):
    figure = plot_scatter(projection, color="correct")
    label = projection["label"].values
    for axes, stage in zip(figure.axes, ("initial", "aligned"), strict=True):
        right = next(points for points in axes.collections if points.get_label() == "predicted right")
        assert len(right.get_offsets()) == (projection[f"{stage}_prediction"].values == label).sum()


def test_one_panel_joins_the_stages(projection):
    axes = plot_scatter(projection, facet=None, color="sample").axes[0]
    lines = axes.collections[0].get_segments()
    pixel = 4
    np.testing.assert_allclose(
        lines[pixel], projection["pixel_projection"].transpose("pixel", "stage", "axis")[pixel], rtol=1e-6
    )


def test_interactive_points_tell_what_they_are(projection):
    figure = plot_scatter(projection, interactive=True)
    names = [trace.name for trace in figure.data]
    assert names == ["sky", "road", "tree", "class embedding"] * 2
    road = figure.data[1]
    assert len(road.x) == (projection["label"].values == 1).sum()
    assert road.text[0].startswith("road, predicted ")


def test_a_per_pixel_model_has_one_panel(per_pixel_records):
    projection = project(sample_pixels(per_pixel_records, per_class=9))
    assert len(plot_scatter(projection).axes) == 1
    assert len(plot_scatter(projection, interactive=True).data) == 4


def test_umap_coordinates_stay_out_of_the_summary(projection):
    moved = projection.drop_attrs(deep=False).assign_attrs(method="umap", trustworthiness=0.91)
    other = moved.assign(pixel_projection=moved["pixel_projection"] * 1.3)
    assert plot_scatter(moved).summary == plot_scatter(other).summary


def test_unknown_words_are_refused(projection):
    with pytest.raises(UnknownNameError, match="cls, sample, correct"):
        plot_scatter(projection, color="colour")
    with pytest.raises(UnknownNameError, match="stage, None"):
        plot_scatter(projection, facet="image")
    with pytest.raises(RecordError, match="pixel_projection"):
        plot_scatter(projection.drop_vars("pixel_projection"))
