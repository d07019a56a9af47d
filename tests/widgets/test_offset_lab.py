"""OffsetLab: what it shows is what the analyses say, for every kind of record, by hand and from code."""

import gc
import re
import weakref

import ipywidgets
import numpy as np
import pytest
from ipywidgets.widgets.widget import _instances
from mask_records import of_queries

from offseg_viz.analyze.align import prediction, winning_class
from offseg_viz.analyze.changes import change_counts, change_map, changed_prediction
from offseg_viz.analyze.interventions import intervene
from offseg_viz.analyze.quality import image_miou
from offseg_viz.errors import RecordError, UnknownNameError
from offseg_viz.extract.store import create_store, open_store
from offseg_viz.record import save_record
from offseg_viz.widgets.offset_lab import OffsetLab


@pytest.fixture
def lab(records):
    return OffsetLab(records[0], donors=records)


def cells(lab, panel):
    return np.frombuffer(lab._panels[panel].cells, np.uint8).reshape(5, 7)


def chosen(record, s, t, donor=None):
    offset = None if donor is None else donor["class_offset"].drop_vars("cls")
    return winning_class(record, intervene(record, class_strength=s, feature_strength=t, class_offset=offset))


def test_it_begins_as_the_model_is(lab, records):
    assert (lab.class_strength, lab.feature_strength, lab.class_on, lab.feature_on) == (1, 1, True, True)
    assert (lab.together, lab.donor, lab.selected, lab.strengths) == (False, None, [], (1, 1))
    np.testing.assert_array_equal(cells(lab, "prediction"), prediction(records[0]))
    np.testing.assert_array_equal(cells(lab, "change"), change_map(records[0]))


@pytest.mark.parametrize(("s", "t"), [(0, 0), (0.5, 1), (1, 0), (2, 0.25)])
def test_sliders_give_the_intervention(lab, records, s, t):
    lab._inputs["class_strength"].value, lab._inputs["feature_strength"].value = s, t
    assert (lab.class_strength, lab.feature_strength) == (s, t)
    predicted = chosen(records[0], s, t)
    np.testing.assert_array_equal(cells(lab, "prediction"), predicted)
    changed = change_map(records[0], predicted=predicted)
    np.testing.assert_array_equal(cells(lab, "change"), changed)
    shown = dict(re.findall(r'data-kind="(\w+)">(\d+)<', lab._numbers.value))
    assert {name: int(count) for name, count in shown.items()} == change_counts(changed).to_dict()


def test_the_miou_is_that_of_the_analyses(records):
    table = image_miou(records).set_index(["image", "stage"])["value"]
    for record in records:
        lab, name = OffsetLab(record), record.attrs["sample"]
        assert lab._trial().quality["miou"].tolist() == [
            table[name, stage] for stage in ("initial", "aligned", "aligned")
        ]
        lab.class_strength = lab.feature_strength = 0
        assert lab._trial().quality["miou"].tolist() == [
            table[name, stage] for stage in ("initial", "initial", "aligned")
        ]
        gain = 100 * (table[name, "initial"] - table[name, "aligned"])
        figures = re.findall(r'data-figure="miou">([^<]*)<', lab._numbers.value)
        assert figures == [f"{100 * table[name, 'initial']:.1f} %", "+0.0", f"{gain:+.1f}"]


def test_switched_off_is_zero_and_keeps_the_slider(lab, records):
    lab.class_strength = 1.5
    lab._inputs["class_on"].value = False
    assert (lab.class_on, lab.class_strength, lab.strengths) == (False, 1.5, (0, 1))
    assert lab._inputs["class_strength"].disabled and not lab._inputs["feature_strength"].disabled
    np.testing.assert_array_equal(cells(lab, "prediction"), chosen(records[0], 0, 1))
    assert "class offsets x 0.00 (off)" in lab.summary
    lab.class_on = True
    np.testing.assert_array_equal(cells(lab, "prediction"), chosen(records[0], 1.5, 1))


def test_both_move_together(lab):
    lab.class_strength = 0.5
    lab.together = True
    assert lab.feature_strength == 0.5
    lab._inputs["feature_strength"].value = 1.75
    assert (lab.class_strength, lab._inputs["class_strength"].value, lab.strengths) == (1.75, 1.75, (1.75, 1.75))
    lab.together = False
    lab.class_strength = 0
    assert lab.feature_strength == 1.75


def test_moving_together_shows_once(lab, monkeypatch):
    lab.together, shown = True, []
    monkeypatch.setattr(lab, "_show", lambda: shown.append(lab.strengths))
    lab.class_strength = 0.25
    assert shown == [(0.25, 0.25)]


def test_class_offsets_of_another_image(lab, records):
    options = [value for _, value in lab._inputs["donor"].options]
    assert options == ["", "b", "c"] and lab._inputs["donor"].label == "its own"
    lab._inputs["donor"].value = "b"
    assert lab.donor == "b" and "those of b" in lab.summary
    np.testing.assert_array_equal(cells(lab, "prediction"), chosen(records[0], 1, 1, records[1]))
    assert (cells(lab, "prediction") != prediction(records[0]).values).any()
    lab.donor = None
    assert lab._inputs["donor"].label == "its own"
    np.testing.assert_array_equal(cells(lab, "prediction"), prediction(records[0]))


def test_of_donors_in_a_store_class_offsets_alone_are_read(records, tmp_path, monkeypatch):
    store = create_store(tmp_path / "store")
    for record in records:
        save_record(record, store.path_of(record.attrs["sample"]))
    store, read = open_store(store.path), []
    load = type(store).load
    monkeypatch.setattr(
        type(store), "load", lambda self, name, **kw: (read.append((name, kw)), load(self, name, **kw))[1]
    )
    lab = OffsetLab(records[0], donors=store)
    assert read == []
    lab.donor = "c"
    assert [name for name, _ in read] == ["c"] and {"feature", "feature_offset"} <= set(read[0][1]["leave_out"])
    np.testing.assert_array_equal(cells(lab, "prediction"), chosen(records[0], 1, 1, records[2]))


def test_without_donors_the_choice_is_greyed_with_the_reason(records):
    for lab in (OffsetLab(records[0]), OffsetLab(records[0], donors=records[:1])):
        assert lab._inputs["donor"].disabled and not lab._inputs["class_strength"].disabled
        assert "give donors=" in html_of(lab)


def html_of(lab):
    """All that is written in the widget."""
    found, waiting = [], [lab]
    while waiting:
        part = waiting.pop()
        waiting += getattr(part, "children", ())
        found += [part.value] if isinstance(part, ipywidgets.HTML) else []
    return "\n".join(found)


def test_reset(lab, records):
    lab.together, lab.class_strength, lab.feature_on, lab.donor = True, 0.25, False, "b"
    lab._inputs["reset"].click()
    assert (lab.strengths, lab.donor, lab.together, lab.feature_on) == ((1, 1), None, False, True)
    np.testing.assert_array_equal(cells(lab, "prediction"), prediction(records[0]))


def test_a_click_marks_the_cell_in_all_panels(lab):
    lab._panels["change"].selected = [2, 5]
    assert lab.selected == [2, 5] and all(panel.selected == [2, 5] for panel in lab._panels.values())
    lab.selected = []
    assert all(panel.selected == [] for panel in lab._panels.values())


def test_bad_values_say_what_is_needed_and_change_nothing(lab):
    before = lab.summary
    for value in (-0.1, 2.1, float("nan")):
        with pytest.raises(RecordError, match="class_strength is .*needed 0 .off. to 2"):
            lab.class_strength = value
    with pytest.raises(UnknownNameError, match="Valid: b, c"):
        lab.donor = "a"
    with pytest.raises(RecordError, match="below 5 and 7"):
        lab.selected = [5, 0]
    assert lab.summary == before


def test_a_donor_that_does_not_fit_is_named_and_not_taken(records):
    lab = OffsetLab(records[0], donors=[records[1].assign_attrs(checkpoint="<b>other</b>"), records[2]])
    with pytest.raises(RecordError, match="same model"):
        lab._inputs["donor"].value = "b"
    assert lab.donor is None and lab._inputs["donor"].value == ""
    assert "&lt;b&gt;other" in lab._problem.value and "<b>other" not in lab._problem.value
    lab._inputs["donor"].value = "c"
    assert lab.donor == "c" and lab._problem.value == ""


def test_an_error_of_a_step_is_shown(lab, monkeypatch):
    def fails(*args):
        raise ValueError("no <i>luck</i>")

    with monkeypatch.context() as patched:
        patched.setattr(lab._trials, "trial", fails)
        with pytest.raises(ValueError, match="luck"):
            lab._inputs["class_strength"].value = 0.5
        assert "no &lt;i&gt;luck" in lab._problem.value
    lab.class_strength = 0.75
    assert lab._problem.value == ""


def test_a_record_without_label_shows_what_changed_in_the_prediction(records):
    record = records[0].drop_vars("label")
    lab = OffsetLab(record, donors=records)
    lab.class_strength = 0.5
    predicted = chosen(record, 0.5, 1)
    np.testing.assert_array_equal(cells(lab, "prediction"), predicted)
    np.testing.assert_array_equal(cells(lab, "change"), changed_prediction(record, predicted=predicted))
    assert lab._panels["change"].empty_name == "unchanged" and lab._numbers.value == lab._curve.value == ""
    assert "no label" in html_of(lab) and "no label" in lab.summary and "changed to" in lab.summary
    assert "no label" in lab._panels["label"].message and not lab._inputs["class_strength"].disabled
    assert lab.still().startswith(b"\x89PNG")


def test_a_per_pixel_record_is_shown_with_its_controls_greyed(per_pixel_records):
    lab = OffsetLab(per_pixel_records[0], donors=per_pixel_records)
    assert all(control.disabled for control in lab._inputs.values())
    assert "per-pixel model" in html_of(lab) and "per-pixel" in lab._panels["change"].message
    np.testing.assert_array_equal(cells(lab, "prediction"), prediction(per_pixel_records[0]))
    assert re.search(r"mIoU \d+\.\d %, pixel accuracy", lab._numbers.value) and lab._panels["change"].cells == b""
    assert "per-pixel model" in lab.summary and lab.still().startswith(b"\x89PNG")
    bare = OffsetLab(per_pixel_records[0].drop_vars(["label", "image"]))
    assert "no label" in html_of(bare) and bare.still().startswith(b"\x89PNG")


def test_records_of_many_classes_odd_grids_and_ignored_labels(make_record, offset_record):
    narrow = OffsetLab(make_record(size=(2, 9)))
    narrow.class_strength = 0.3
    assert narrow.still().startswith(b"\x89PNG")
    ignored = OffsetLab(make_record(label=np.full((5, 7), 255)))
    assert "n/a" in ignored._numbers.value and "mIoU n/a" in ignored.summary and ignored._curve.value == ""
    many = OffsetLab(of_many_classes(offset_record, 150))
    many.feature_strength = 0
    assert many._classes.value.count('scope="row"') <= 6 and many.still().startswith(b"\x89PNG")


def of_many_classes(record, count):
    """`record` with `count` classes in place of three; the label as it is."""
    rng = np.random.default_rng(0)
    wide = record.drop_vars([name for name in record if "cls" in record[name].dims]).drop_vars(["cls", "color"])
    for name in ("class_embedding", "class_offset"):
        wide[name] = ("cls", "channel"), rng.normal(size=(count, record.sizes["channel"])).astype(np.float32)
    wide["logits"] = ("cls", "y", "x"), np.zeros((count, record.sizes["y"], record.sizes["x"]), np.float32)
    names = [f"class {k}" for k in range(count)]
    return wide.assign_coords(cls=names, color=("cls", ["#336699"] * count))


def test_names_are_escaped(offset_record):
    name = '<img src=x onerror="alert(1)">'
    lab = OffsetLab(offset_record.assign_coords(cls=[name, "road", "tree"]))
    lab.class_strength = 0
    assert "<img" not in html_of(lab) and "&lt;img" in html_of(lab)


def test_records_of_mask_classification_are_refused(records):
    with pytest.raises(RecordError, match="of mask classification.*OffsetLab needs"):
        OffsetLab(of_queries(records[0]))


def test_a_cell_stores_widget_picture_and_summary(lab, records):
    lab.class_strength, lab.selected = 0.5, [2, 5]
    bundle = lab._repr_mimebundle_()
    assert set(bundle) == {"application/vnd.jupyter.widget-view+json", "image/png", "text/plain"}
    text = bundle["text/plain"]
    assert text.startswith("OffsetLab: image a, class offsets x 0.50 (its own), feature offsets x 1.00\n  prediction: ")
    assert re.search(r"\n  mIoU \d+\.\d % \([+-]\d+\.\d against none, [+-]\d+\.\d against the model\)\n", text)
    assert "0x" not in text and bundle["image/png"].startswith(b"\x89PNG")
    again = OffsetLab(records[0])
    again.class_strength = 0.5
    assert again.summary == text == repr(lab) and len(text.splitlines()) == 6


def test_inputs_are_not_changed(records):
    before = [record.copy(deep=True) for record in records]
    lab = OffsetLab(records[0], donors=records)
    lab.donor, lab.class_strength = "b", 0.3
    lab.still()
    assert all(record.identical(old) for record, old in zip(records, before, strict=True))


def test_every_control_is_labelled(lab):
    words = [part.description for part in lab._inputs.values()]
    assert all(words) and len(set(words)) == len(words)


def test_closing_frees_everything(records):
    open_before = set(_instances)
    lab = OffsetLab(records[0].copy(), donors=[record.copy() for record in records])
    lab.donor, lab.class_strength = "b", 0.5
    lab.still()
    held = [weakref.ref(lab._trials.record), weakref.ref(lab._trials), weakref.ref(lab._trials._receiver("b")[1])]
    lab.close()
    gc.collect()
    assert [ref() for ref in held] == [None] * 3
    assert repr(lab) == "OffsetLab" and set(_instances) == open_before
