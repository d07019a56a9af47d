import numpy as np
import pytest

from offseg_viz.analyze.align import prediction
from offseg_viz.analyze.offsets import offset_magnitude
from offseg_viz.analyze.similarity import cosine_similarity
from offseg_viz.errors import RecordError
from offseg_viz.plot import plot_map, plot_panels
from offseg_viz.plot.grid import color_limits, extent


@pytest.fixture
def similarity(offset_record):
    return cosine_similarity(offset_record["feature"], offset_record["class_embedding"]).sel(cls="road")


def drawn(axes):
    """The map on `axes`, which lies over the photograph."""
    return axes.images[1]


def test_a_map_lies_on_its_photograph(offset_record, similarity):
    axes = plot_map(similarity, over=offset_record).axes[0]
    photograph, overlay = axes.images
    assert photograph.get_extent() == [0, 28, 20, 0]
    assert list(overlay.get_extent()) == [0, 28, 20, 0]
    assert photograph.get_array().shape == (20, 28)
    np.testing.assert_array_equal(overlay.get_array(), similarity.values)
    assert overlay.get_interpolation() == "nearest" and 0 < overlay.get_alpha() < 1


def test_the_place_comes_from_the_coordinates(offset_record, similarity):
    moved = similarity.assign_coords(y=similarity["y"] * 2 + 100, x=similarity["x"] + 3)
    assert extent(moved, None) == (100, 3, 140, 31)
    assert extent(similarity[:1, :1], offset_record) == (0, 0, 4, 4)


def test_signed_values_are_centred_on_zero(offset_record, similarity):
    axes = plot_map(similarity - 0.3, over=offset_record).axes[0]
    low, high = drawn(axes).get_clim()
    assert low == -high and high == pytest.approx(np.abs(similarity.values - 0.3).max())
    assert drawn(axes).get_cmap().name == "blue-orange"
    positive = offset_magnitude(offset_record)
    axes = plot_map(positive, over=offset_record).axes[0]
    assert drawn(axes).get_clim() == (positive.min(), positive.max())
    assert drawn(axes).get_cmap().name == "viridis"


def test_classes_take_the_colours_of_the_record_and_ignored_cells_are_hatched(offset_record):
    figure = plot_map(offset_record["label"], over=offset_record)
    _, classes, hatching = figure.axes[0].images
    colors = classes.cmap(classes.norm(offset_record["label"].values))
    sky = colors[offset_record["label"].values == 0]
    np.testing.assert_allclose(sky[:, :3], np.tile(np.array([0x44, 0x77, 0xAA]) / 255, (len(sky), 1)))
    ignored = (offset_record["label"].values == 255).repeat(8, 0).repeat(8, 1)
    assert (hatching.get_array()[..., 3] > 0).tolist() == ignored.tolist()
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {"sky", "road", "tree", "ignored"}


def test_only_present_classes_are_in_the_legend(records):
    figure = plot_map(records[2]["label"], over=records[2])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["sky", "road"]


def test_a_true_false_map_says_no_and_yes(offset_record, similarity):
    figure = plot_map((similarity > 0).rename("above"), over=offset_record)
    share = 100 * float((similarity > 0).mean())
    assert f"yes {share:.1f}%" in figure.summary and "classes" not in figure.legends[0].get_title().get_text()
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {"no", "yes"}
    np.testing.assert_array_equal(drawn(figure.axes[0]).get_array(), similarity.values > 0)
    assert plot_panels({"above": similarity > 0}, over=offset_record).axes[0].images


def test_cells_that_are_empty_on_purpose_stay_bare(offset_record):
    changed = offset_record["label"].assign_attrs(empty_name="unchanged")
    figure = plot_map(changed, over=offset_record)
    assert len(figure.axes[0].images) == 2
    assert "2 unchanged" in figure.summary


def test_nan_is_hatched_and_counted(offset_record, similarity):
    holed = similarity.where(similarity["x"] > 4)
    figure = plot_map(holed, over=offset_record, title="holed")
    assert len(figure.axes[0].images) == 3
    assert (
        figure.summary.startswith("holed: cosine_similarity (y 5, x 7) min ") and "5 without a value" in figure.summary
    )


def test_a_map_alone_needs_no_record(similarity):
    assert len(plot_map(similarity.drop_vars("cls")).axes[0].images) == 1
    assert "class 1 100.0%" in plot_map((similarity * 0 + 1).astype(int)).summary


def test_panels_share_a_scale_where_asked(offset_record, similarity):
    panels = {
        "photograph": offset_record["image"],
        "label": offset_record["label"],
        "a": similarity,
        "b": similarity / 2,
        "c": similarity / 3,
    }
    figure = plot_panels(panels, over=offset_record, shared=("a", "b"), limits={"c": (-2, 2)}, mark=(10, 6))
    by_title = {axes.get_title(loc="left"): axes for axes in figure.axes if axes.get_title(loc="left")}
    assert list(by_title) == list(panels)
    assert drawn(by_title["a"]).get_clim() == drawn(by_title["b"]).get_clim() == color_limits([similarity])
    assert drawn(by_title["c"]).get_clim() == (-2, 2)
    for axes in by_title.values():
        assert [line.get_xydata().tolist() for line in axes.lines] == [[[6, 10]]] * 2
    assert figure.summary.splitlines()[0] == "photograph: photograph, 20 x 28 pixels"
    assert len(figure.summary.splitlines()) == 5


def test_inputs_are_not_changed(offset_record, similarity):
    before, record = similarity.copy(deep=True), offset_record.copy(deep=True)
    plot_panels({"a": similarity, "label": offset_record["label"]}, over=offset_record)
    assert similarity.identical(before) and offset_record.identical(record)


def test_a_map_that_does_not_fit_is_refused(offset_record, make_record, similarity):
    all_classes = cosine_similarity(offset_record["feature"], offset_record["class_embedding"])
    with pytest.raises(RecordError, match=r"dims \('cls', 'y', 'x'\).*sel\(cls="):
        plot_map(all_classes, over=offset_record)
    with pytest.raises(RecordError, match="another grid"):
        plot_map(similarity, over=make_record(size=(6, 8)))
    with pytest.raises(RecordError, match=r"holds \[9\].*astype\(float\)"):
        plot_map(offset_record["label"] * 0 + 9, over=offset_record)
    with pytest.raises(RecordError, match="at least one panel"):
        plot_panels({})
    with pytest.raises(RecordError, match=r"\['after'\].*\['before'\]"):
        plot_panels({"before": similarity}, over=offset_record, shared=("after",))


def test_a_prediction_is_drawn_too(per_pixel_record):
    assert "prediction (y 5, x 7)" in plot_map(prediction(per_pixel_record), over=per_pixel_record).summary


def test_of_very_many_classes_the_legend_names_the_most_frequent(similarity):
    numbers = np.minimum(np.arange(35).reshape(5, 7), 33).astype(np.uint8)  # 34 classes, the last one twice
    legend = [text.get_text() for text in plot_map(similarity.copy(data=numbers)).legends[0].get_texts()]
    assert legend[:2] == ["class 33", "class 0"] and len(legend) == 34
    wide = similarity.isel(x=[0] * 14).assign_coords(x=np.arange(14.0)).copy(data=np.arange(70).reshape(5, 14) % 60)
    legend = [text.get_text() for text in plot_map(wide.astype(np.uint8)).legends[0].get_texts()]
    assert legend[0] == "class 0" and legend[-1] == "and 24 more" and len(legend) == 37
