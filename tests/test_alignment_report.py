"""Models compared by their alignment: the table holds what the analyses say of each, and its figure shows it."""

import numpy as np
import pandas as pd
import pytest

import offseg_viz as ov
from offseg_viz.errors import DataError, RecordError, UnknownNameError
from offseg_viz.plot.models import plot_models
from offseg_viz.report.alignment import alignment_report


@pytest.fixture(scope="module")
def samples():
    return ov.load_samples("scenes")[:3]


@pytest.fixture(scope="module")
def report(samples, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    models = {name: ov.load_model(name, weights="scenes") for name in ("nano", "nano-offset")}
    return alignment_report(models, samples, stores=folder, progress=False), folder


def value(table, quantity, stage=""):
    group = table.columns[0]
    rows = table[(table["quantity"] == quantity) & (table["stage"] == stage)]
    rows = rows[rows[group] == "all"] if group != "model" else rows
    assert len(rows) == 1
    return rows[["value", "low", "high"]].to_numpy(float)[0]


def test_every_figure_is_that_of_its_analysis(report):
    table, folder = report
    assert list(table.index) == ["nano", "nano-offset"] and (table["images"] == 3).all()
    store = ov.open_store(folder / "nano-offset.zarr")
    stages = {
        "miou": ov.image_miou(store),
        "ideal_angle": ov.alignment(store, by="model"),
        "centred_class_cosine": ov.alignment(store, by="model"),
        "across_images": ov.class_scatter(store),
    }
    for quantity, found in stages.items():
        for stage in ("initial", "aligned"):
            name = f"{quantity}_{stage}"
            shown = table.loc["nano-offset", [name, f"{name}_low", f"{name}_high"]].to_numpy(float)
            np.testing.assert_array_equal(shown, value(found, quantity, stage))
    offsets = ov.offset_measures(store)
    for name in ("feature_offset_relative", "class_offset_relative"):
        assert table.loc["nano-offset", name] == value(offsets, name)[0]
    assert table.loc["nano-offset", "miou_ideal"] > table.loc["nano-offset", "miou_aligned"]


def test_a_per_pixel_model_has_one_stage_and_no_offsets(report):
    nano = report[0].loc["nano"]
    assert nano["miou_initial"] == nano["miou_aligned"] and nano["ideal_angle_initial"] == nano["ideal_angle_aligned"]
    assert np.isnan(nano["feature_offset_relative"]) and np.isnan(nano["class_offset_relative_high"])
    assert nano["parameters"] == sum(p.numel() for p in ov.load_model("nano", weights="scenes").parameters())


def test_stores_stand_in_for_models_and_are_kept(report):
    table, folder = report
    stores = {path.stem: ov.open_store(path) for path in sorted(folder.glob("*.zarr"))}
    again = alignment_report(stores).loc[table.index]
    assert again["parameters"].isna().all()
    pd.testing.assert_frame_equal(again.drop(columns="parameters"), table.drop(columns="parameters"))


def test_what_is_missing_is_told(report):
    with pytest.raises(RecordError, match="found no model"):
        alignment_report({})
    with pytest.raises(DataError, match="mine is a model, and there is no data"):
        alignment_report({"mine": ov.load_model("nano", weights="scenes")})


def test_models_have_names_of_their_own_and_are_compared_on_the_same_images(report, samples, tmp_path):
    nano = ov.load_model("nano", weights="scenes")
    table = alignment_report([nano], samples, progress=False)
    pd.testing.assert_series_equal(table.loc["nano"], report[0].loc["nano"])
    with pytest.raises(RecordError, match="several of the models are called nano"):
        alignment_report([nano, nano], samples, progress=False)
    fewer = ov.extract_many(nano, samples[:2], tmp_path / "few.zarr", progress=False)
    whole = ov.open_store(report[1] / "nano.zarr")
    with pytest.raises(RecordError, match="the store of few is of other images: 2 records, those of all 3"):
        alignment_report({"all": whole, "few": fewer})


def test_the_figure_shows_sizes_values_and_intervals(report):
    table = report[0]
    figure = plot_models(table, figure="across_images")
    lines = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [list(line.get_xdata()) for line in lines] == [list(table["parameters"] / 1e6)] * 2
    np.testing.assert_array_equal(lines[1].get_ydata(), table["across_images_aligned"])
    assert repr(figure).startswith("across images by size of 2 models: initial nano 0.")
    alone = plot_models(table, figure="feature_offset_relative")
    assert "1 model:" in repr(alone) and "1 left out" in repr(alone)


def test_an_unknown_figure_and_another_table_are_told(report):
    with pytest.raises(UnknownNameError, match="unknown figure 'angle'.*miou, centred_class_cosine, ideal_angle"):
        plot_models(report[0], figure="angle")
    with pytest.raises(RecordError, match="needed the columns of alignment_report"):
        plot_models(pd.DataFrame({"a": [1]}))
    with pytest.raises(RecordError, match="no model has both"):
        plot_models(report[0].assign(parameters=np.nan))
