import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from offseg_viz.analyze.pixels import sample_pixels
from offseg_viz.analyze.projection import project
from offseg_viz.errors import RecordError, UnknownNameError
from offseg_viz.plot import plot_classes, plot_matrix, plot_scatter, theme


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


def quality_note(figure):
    (text,) = (text for text in [*figure.findobj(Text)] if "labelled pixels shown" in text.get_text())
    return text.get_text()


def test_umap_coordinates_stay_out_of_the_summary(projection):
    """So do the last digits of its figures, which differ between machines; those of the feature space do not."""
    moved = projection.assign_attrs(method="umap", trustworthiness=0.912, continuity=0.96, null_drift_95=0.004)
    other = moved.assign(pixel_projection=moved["pixel_projection"] * 1.3)
    other = other.assign_attrs(trustworthiness=0.914, continuity=0.97, null_drift_95=0.005)
    del moved.attrs["explained_variance"], other.attrs["explained_variance"]
    assert plot_scatter(moved).summary == plot_scatter(other).summary
    assert "trustworthiness over 0.90; continuity over 0.95; neighbours kept" in plot_scatter(moved).summary
    assert f"kept from initial to aligned {moved.attrs['stage_overlap']:.2f}" in plot_scatter(moved).summary
    assert "null drift" not in plot_scatter(moved).summary
    assert "trustworthiness 0.91 · continuity 0.96" in quality_note(plot_scatter(moved))
    assert "null drift 0.40% of the diagonal" in quality_note(plot_scatter(moved))


def test_quality_stands_under_every_projection(projection):
    attrs = projection.assign_attrs(stability=0.725).attrs
    shown = f"{projection.sizes['pixel']} of {attrs['labelled_pixels']} labelled pixels shown"
    parts = [
        f"trustworthiness {attrs['trustworthiness']:.2f}",
        f"continuity {attrs['continuity']:.2f}",
        f"neighbours kept by the plane {attrs['plane_overlap']:.2f}",
        f"kept from initial to aligned {attrs['stage_overlap']:.2f}",
        f"null drift {100 * attrs['null_drift_95']:.2f}% of the diagonal",
        shown,
    ]
    assert plot_scatter(projection).summary.endswith("; ".join(parts))
    assert quality_note(plot_scatter(projection)).replace("\n", " · ") == " · ".join(parts)
    assert quality_note(plot_scatter(projection, facet=None)).replace("\n", " · ") == " · ".join(parts)
    assert quality_note(plot_scatter(projection, color="sample")).replace("\n", " · ") == " · ".join(parts)
    note = plot_scatter(projection, interactive=True).layout.annotations[-1].text
    assert note.replace("<br>", " · ") == " · ".join(parts)
    steady = plot_scatter(projection.assign_attrs(attrs))
    assert "between seeds 0.72" in steady.summary and "between seeds 0.72" in quality_note(steady)


def test_a_projection_without_figures_is_drawn(projection):
    bare = projection.drop_attrs(deep=False)
    assert plot_scatter(bare).summary.endswith("in 3 images, coloured by cls")
    assert len(plot_scatter(bare, facet=None).axes) == 1 and plot_scatter(bare, interactive=True).data


def test_points_take_the_colour_of_their_own_distortion(projection):
    for facet in ("stage", None):
        figure = plot_scatter(projection, color="distortion", facet=facet)
        panels = figure.axes[:2] if facet else figure.axes[:1] * 2
        clouds = [c for axes in dict.fromkeys(panels) for c in axes.collections if c.get_array() is not None]
        assert len(clouds) == 2 and figure.axes[-1].get_ylabel() == "share of neighbours lost"
        for cloud, stage in zip(clouds, ("initial", "aligned"), strict=True):
            np.testing.assert_array_equal(cloud.get_array(), projection["distortion"].sel(stage=stage))
            np.testing.assert_allclose(cloud.get_offsets(), projection["pixel_projection"].sel(stage=stage), rtol=1e-6)
            assert cloud.get_clim() == (0, 1)
    figure = plot_scatter(projection, color="distortion", interactive=True)
    np.testing.assert_allclose(figure.data[0].marker.color, projection["distortion"][0], atol=1e-3)
    assert [trace.marker.showscale for trace in figure.data if trace.name == "pixel"] == [False, True]
    with pytest.raises(RecordError, match="distortion to colour by"):
        plot_scatter(projection.drop_vars("distortion"), color="distortion")


def test_lines_that_a_null_change_would_draw_are_pale(projection):
    moves = projection["pixel_projection"].transpose("pixel", "stage", "axis").values
    length = np.linalg.norm(moves[:, 1] - moves[:, 0], axis=1)
    diagonal = np.linalg.norm(np.ptp(moves.reshape(-1, 2), axis=0))
    lines = plot_scatter(projection.assign_attrs(null_drift_95=np.median(length) / diagonal), facet=None).axes[0]
    pale = (lines.collections[0].get_colors()[:, :3] == to_rgb(theme.HAIRLINE)).all(axis=1)
    np.testing.assert_array_equal(pale, length < np.median(length))
    quiet = plot_scatter(projection.assign_attrs(null_drift_95=0), facet=None).axes[0].collections[0].get_colors()
    assert (quiet[:, :3] == to_rgb(theme.QUIET)).all()


def test_an_aligned_class_embedding_is_shown_for_images_with_its_class(projection):
    """`tree` does not occur in image c: its star lies between those of a and b, and c has no diamond for it."""
    aligned = plot_scatter(projection).axes[1]
    places = projection["aligned_class_projection"].values
    (tree,) = (text for text in aligned.texts if text.get_text() == "tree")
    np.testing.assert_allclose(tree.xy, places[:2, 2].mean(axis=0), rtol=1e-5)
    clouds = [points.get_offsets() for points in aligned.collections if points.get_sizes().tolist() == [13]]
    diamonds = np.ma.filled(np.ma.concatenate(clouds).astype(float), np.nan)
    shown = {(name, k) for name, k in zip(projection["sample"].values, projection["label"].values, strict=True)}
    expected = [places["abc".index(name), k] for name, k in shown]
    found = diamonds[np.isfinite(diamonds).all(axis=1)]
    assert ("c", 2) not in shown
    np.testing.assert_allclose(np.sort(found, axis=0), np.sort(expected, axis=0), rtol=1e-5)


def test_unknown_words_are_refused(projection):
    with pytest.raises(UnknownNameError, match="cls, sample, correct, distortion"):
        plot_scatter(projection, color="colour")
    with pytest.raises(UnknownNameError, match="stage, None"):
        plot_scatter(projection, facet="image")
    with pytest.raises(RecordError, match="pixel_projection"):
        plot_scatter(projection.drop_vars("pixel_projection"))
