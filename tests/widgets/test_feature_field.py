"""FeatureField: its colours are those of the analysis, for every kind of record, by hand and from code."""

import gc
import re
import weakref

import numpy as np
import pytest
from ipywidgets.widgets.widget import _instances
from mask_records import of_queries

from offseg_viz.analyze.feature_colors import feature_axis_places, feature_color_basis, feature_colors, visible_offset
from offseg_viz.errors import RecordError, UnknownNameError
from offseg_viz.extract.store import create_store, open_store
from offseg_viz.record import save_record
from offseg_viz.widgets.feature_field import FeatureField
from offseg_viz.widgets.pixel_map import cell_bytes


@pytest.fixture
def field(records):
    return FeatureField(records)


@pytest.fixture
def basis(records):
    return feature_color_basis(records)


def colors(field, panel):
    return np.frombuffer(field._panels[panel].cells, np.uint8).reshape(5, 7, 3)


def test_the_panels_show_the_analysis(field, records, basis):
    assert field.basis.identical(basis) and (field.image, field.stage) == ("a", "aligned")
    for image in ("a", "c"):
        field.image = image
        record = records["abc".index(image)]
        for stage in ("initial", "aligned"):
            np.testing.assert_array_equal(colors(field, stage), feature_colors(record, basis, stage=stage))
        moved = visible_offset(record, basis)
        assert field._panels["offset"].cells == cell_bytes(moved, (0.0, float(moved.max())))
        assert field._panels["photograph"].cells == b"" and field._panels["photograph"].image


def test_the_last_panel_flips_between_the_stages(field):
    np.testing.assert_array_equal(colors(field, "flip"), colors(field, "aligned"))
    field._inputs["stage"].value = "initial"
    assert field.stage == "initial" and field._panels["flip"].title == "flip: initial"
    np.testing.assert_array_equal(colors(field, "flip"), colors(field, "initial"))
    field.image = "b"
    np.testing.assert_array_equal(colors(field, "flip"), colors(field, "initial"))


def test_begin_elsewhere(records, basis):
    field = FeatureField(records, image="b", stage="initial", basis=basis)
    assert (field.image, field.stage, field._inputs["image"].value) == ("b", "initial", "b")
    assert field.basis is basis


def test_a_single_record_and_an_iterator(records):
    assert FeatureField(records[0]).basis.identical(feature_color_basis(records[:1]))
    assert FeatureField(iter(records))._views.ids == ("a", "b", "c")


def test_a_click_marks_the_pixel_everywhere_and_tells_its_places(field, records, basis):
    assert "Click into a panel" in field._readout.value
    field._panels["flip"].selected = [2, 5]
    assert field.selected == [2, 5] and all(panel.selected == [2, 5] for panel in field._panels.values())
    for stage in ("initial", "aligned"):
        places = feature_axis_places(records[0], basis, stage=stage).values[2, 5]
        told = re.search(f'data-stage="{stage}">.*?{stage}: (.*?)</div>', field._readout.value)[1]
        assert told == ", ".join(f"{place:+.2f}" for place in places)
        red, green, blue = feature_colors(records[0], basis, stage=stage).values[2, 5]
        assert f"background:rgb({red},{green},{blue})" in field._readout.value
    name = records[0]["cls"].values[int(records[0]["label"][2, 5])]
    assert f"row 2, col 5, label {name}" in field._readout.value
    field.selected = [1, 2]  # ignored
    assert "<b>row 1, col 2</b>" in field._readout.value
    field._panels["initial"].selected = []
    assert field.selected == [] and "Click into a panel" in field._readout.value


def test_opacity_and_smooth_reach_the_panels(field):
    field._inputs["opacity"].value, field._inputs["smooth"].value = 0.4, True
    assert (field.opacity, field.smooth) == (0.4, True)
    assert all(panel.smooth for panel in field._panels.values())
    assert {name for name, panel in field._panels.items() if panel.opacity == 0.4} == set(field._panels) - {
        "photograph"
    }


def test_the_text_says_how_much_the_colours_show(field, records, basis):
    shares, moved = basis["explained_variance"].values, visible_offset(records[0], basis).attrs["share"]
    for text in (field._readout.value, field.summary):
        assert f"Together {100 * shares.sum():.1f} % of the variance" in text
        assert f"and {100 * moved:.1f} % of the squared length of dE in this image" in text
    assert f"axes: lightness {100 * shares[0]:.1f} %, blue to yellow {100 * shares[1]:.1f} %" in field.summary


def test_bad_values_list_the_valid_ones_and_change_nothing(field, records):
    field.selected = [2, 2]
    before = field.summary
    with pytest.raises(UnknownNameError, match="Valid: a, b, c"):
        field.image = "d"
    with pytest.raises(UnknownNameError, match="initial, aligned"):
        field.stage = "both"
    with pytest.raises(RecordError, match="below 5 and 7"):
        field.selected = [0, 7]
    with pytest.raises(RecordError, match="needed 0"):
        field.opacity = 1.5
    assert field.summary == before
    with pytest.raises(UnknownNameError, match="Valid: a, b, c"):
        FeatureField(records, image="d")
    with pytest.raises(UnknownNameError, match="initial, aligned"):
        FeatureField(records, stage="both")
    with pytest.raises(RecordError, match="found no record"):
        FeatureField([])
    with pytest.raises(RecordError, match="of mask classification"):
        FeatureField([of_queries(records[0])])
    with pytest.raises(RecordError, match="take records of one model"):
        FeatureField([records[0], records[1].isel(channel=slice(7))])


def test_an_image_of_another_size_drops_a_mark_that_lies_outside(make_record):
    field = FeatureField([make_record("large", size=(9, 11)), make_record("small", seed=1)])
    field.selected = [8, 10]
    field.image = "small"
    assert field.selected == [] and field._panels["flip"].shape == [5, 7]
    field.selected = [4, 6]
    field.image = "large"
    assert field.selected == [4, 6] and field._panels["flip"].shape == [9, 11]


def test_a_per_pixel_record_says_that_it_has_no_offsets(per_pixel_records):
    field = FeatureField(per_pixel_records)
    field.selected = [0, 0]
    assert "per-pixel" in field._panels["offset"].message and field._panels["offset"].cells == b""
    assert field._inputs["stage"].disabled and "per-pixel" in field.summary and "dE" not in field._readout.value
    np.testing.assert_array_equal(colors(field, "initial"), colors(field, "aligned"))
    assert field.still().startswith(b"\x89PNG")


def test_records_without_label_and_photograph_and_of_odd_grids(offset_record, make_record):
    field = FeatureField(offset_record.drop_vars(["label", "image"]))
    field.selected = [0, 0]
    assert "no photograph" in field._panels["photograph"].message and "label" not in field._readout.value
    assert field.still().startswith(b"\x89PNG")
    assert FeatureField(make_record(size=(2, 9))).still().startswith(b"\x89PNG")
    two = FeatureField(offset_record.isel(channel=[0, 1]))
    assert "green to red 0.0 %" in two.summary


def test_names_are_escaped(offset_record):
    name = "<script>"
    field = FeatureField(offset_record.assign_coords(cls=[name] * 3))
    field.selected = [0, 0]
    assert "label &lt;script&gt;" in field._readout.value and name not in field._readout.value


def test_an_error_of_a_change_is_shown(field, monkeypatch):
    from offseg_viz.widgets import feature_field

    def fails(*args, **kwargs):
        raise ValueError("no <i>luck</i>")

    with monkeypatch.context() as patched:
        patched.setattr(feature_field, "feature_colors", fails)
        with pytest.raises(ValueError, match="luck"):
            field._inputs["image"].value = "b"
        assert "no &lt;i&gt;luck" in field._problem.value
    field.image = "c"
    assert field._problem.value == ""


def test_a_cell_stores_widget_picture_and_summary(field, records):
    field.selected = [2, 5]
    bundle = field._repr_mimebundle_()
    assert set(bundle) == {"application/vnd.jupyter.widget-view+json", "image/png", "text/plain"}
    text = bundle["text/plain"]
    assert text.startswith("FeatureField: image a (1 of 3), stage aligned, selected row 2, col 5\n  axes: lightness ")
    assert "0x" not in text and bundle["image/png"].startswith(b"\x89PNG") and len(text.splitlines()) == 6
    again = FeatureField(records)
    again.selected = [2, 5]
    assert again.summary == text == repr(field)
    moved = [record.assign(feature_offset=record["feature_offset"] * np.float32(1.05)) for record in records]
    assert FeatureField(moved).summary != FeatureField(records).summary


def test_a_store_is_read_once_for_the_axes_and_then_one_at_a_time(records, tmp_path, monkeypatch):
    store = create_store(tmp_path / "store")
    for record in records:
        save_record(record, store.path_of(record.attrs["sample"]))
    store, read = open_store(store.path), []
    load = type(store).load
    monkeypatch.setattr(
        type(store), "load", lambda self, name, **kw: (read.append((name, bool(kw))), load(self, name, **kw))[1]
    )
    field = FeatureField(store)
    assert sorted(read) == [("a", False), ("a", True), ("b", True), ("c", True)]
    field.stage, field.image = "initial", "c"
    assert read[4:] == [("c", False)]


def test_inputs_are_not_changed(records):
    before = [record.copy(deep=True) for record in records]
    field = FeatureField(records)
    field.image, field.selected = "b", [0, 1]
    field.still()
    assert all(record.identical(old) for record, old in zip(records, before, strict=True))


def test_every_control_is_labelled(field):
    assert all(part.description for part in field._inputs.values())


def test_closing_frees_everything(records):
    open_before = set(_instances)
    field = FeatureField([record.copy() for record in records])
    field.image = "b"
    field.still()
    held = [weakref.ref(field._views.record("b")), weakref.ref(field._views), weakref.ref(field._maps["aligned"][1])]
    field.close()
    gc.collect()
    assert [ref() for ref in held] == [None] * 3
    assert repr(field) == "FeatureField" and set(_instances) == open_before
