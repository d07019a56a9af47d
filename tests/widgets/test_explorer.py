import gc
import re
import weakref
from io import BytesIO

import numpy as np
import pytest
from mask_records import of_queries
from PIL import Image

from offseg_viz.analyze.align import aligned_class_embedding, aligned_feature, prediction
from offseg_viz.analyze.alignment import alignment
from offseg_viz.analyze.offsets import offset_magnitude
from offseg_viz.analyze.similarity import cosine_similarity
from offseg_viz.errors import RecordError, UnknownNameError
from offseg_viz.extract.store import RecordStore, create_store
from offseg_viz.record import save_record
from offseg_viz.widgets import AlignmentExplorer
from offseg_viz.widgets.alignment_views import STAGE_CHOICES, AlignmentViews
from offseg_viz.widgets.class_numbers import class_html, class_numbers
from offseg_viz.widgets.readout import PixelNumbers, pixel_numbers, readout_html


@pytest.fixture
def explorer(records):
    return AlignmentExplorer(records, cls="road")


def panel(explorer, name):
    return explorer._panels[name]


def test_it_begins_with_the_first_image_and_its_most_frequent_class(records):
    label = records[0]["label"].values
    counts = [(label == k).sum() for k in range(3)]
    explorer = AlignmentExplorer(records)
    assert (explorer.image, explorer.stage, explorer.pixel) == ("a", "aligned", None)
    assert explorer.cls == records[0]["cls"].values[int(np.argmax(counts))]
    begun = AlignmentExplorer(records, image="b", cls="sky", stage="initial", pixel=(10, 6))
    assert (begun.image, begun.cls, begun.stage, begun.pixel) == ("b", "sky", "initial", (10, 6))


def test_a_click_in_any_panel_selects_in_all(explorer):
    panel(explorer, "label").selected = [2, 5]
    assert explorer.pixel == (10, 22)
    assert all(each.selected == [2, 5] for each in explorer._panels.values())
    panel(explorer, "offset").selected = []
    assert explorer.pixel is None
    assert all(each.selected == [] for each in explorer._panels.values())


def test_a_position_set_from_code_is_kept_and_marks_its_cell(explorer):
    explorer.pixel = (19.9, 4)
    assert explorer.pixel == (19.9, 4)
    assert all(each.selected == [4, 1] for each in explorer._panels.values())


def test_pickers_and_attributes_follow_each_other(explorer):
    explorer._inputs["cls"].value, explorer._inputs["stage"].value = "tree", "initial"
    assert (explorer.cls, explorer.stage) == ("tree", "initial")
    explorer.image, explorer.cls = "b", "sky"
    assert (explorer._inputs["image"].value, explorer._inputs["cls"].value) == ("b", "sky")
    assert panel(explorer, "similarity").title == "cosine to sky, initial"


def test_the_panels_show_the_analyses(explorer, records):
    record = records[0]
    after = cosine_similarity(aligned_feature(record), aligned_class_embedding(record))
    before = cosine_similarity(record["feature"], record["class_embedding"])
    views = explorer._shown.panels("a", "aligned - initial", "tree")
    np.testing.assert_array_equal(views["similarity"].map, (after - before).sel(cls="tree"))
    np.testing.assert_array_equal(views["offset"].map, offset_magnitude(record, relative=True))
    changed = views["prediction"].map.values
    initial, aligned = (prediction(record, stage).values for stage in ("initial", "aligned"))
    assert (changed != 255).any()
    np.testing.assert_array_equal(changed != 255, initial != aligned)
    np.testing.assert_array_equal(changed[changed != 255], aligned[initial != aligned])


def test_one_scale_for_all_classes_both_stages_and_their_difference(explorer):
    seen = set()
    for stage in STAGE_CHOICES:
        for cls in ("sky", "road", "tree"):
            explorer.stage, explorer.cls = stage, cls
            seen.add(tuple(panel(explorer, "similarity").limits))
    [(low, high)] = seen
    values = [explorer._shown.similarity("a", stage).values for stage in STAGE_CHOICES]
    assert high == -low == pytest.approx(np.abs(values).max())


def test_the_numbers_of_a_pixel(records):
    views, record = AlignmentViews(records), records[1]
    numbers = pixel_numbers(views, "b", (3, 4), "sky")
    feature = record["feature"].values[3, 4]
    moved = feature + record["feature_offset"].values[3, 4]
    for name, color, before, after in numbers.cosines:
        k = list(record["cls"].values).index(name)
        vector = record["class_embedding"].values[k]
        vector_after = vector + record["class_offset"].values[k]
        assert before == pytest.approx(feature @ vector / np.linalg.norm(feature) / np.linalg.norm(vector), abs=1e-5)
        assert after == pytest.approx(
            moved @ vector_after / np.linalg.norm(moved) / np.linalg.norm(vector_after), abs=1e-5
        )
        assert color == record["color"].values[k]
    length = np.linalg.norm(record["feature_offset"].values[3, 4])
    assert numbers.offset == pytest.approx(length, rel=1e-5)
    assert numbers.relative_offset == pytest.approx(length / np.linalg.norm(feature), rel=1e-5)
    assert numbers.label == record["cls"].values[int(record["label"][3, 4])]


def test_an_ignored_pixel_says_so(records):
    assert pixel_numbers(AlignmentViews(records), "a", (1, 2), "sky").label == "ignored"


def test_the_readout_escapes_names():
    name = '<img src=x onerror="alert(1)">'
    numbers = PixelNumbers(0, 0, name, name, name, [(name, "#ff0000", 0.5, np.nan)], 1.0, 0.5)
    html = readout_html(numbers, pixel=(2, 2), cls=name)
    assert "<img" not in html and html.count("&lt;img") == 4
    assert "+0.50 → n/a" in html


def test_bad_values_list_the_valid_ones_and_change_nothing(explorer):
    explorer.pixel = (2, 2)
    before = explorer.summary
    with pytest.raises(UnknownNameError, match="Valid: a, b, c"):
        explorer.image = "d"
    with pytest.raises(UnknownNameError, match="Did you mean 'road'"):
        explorer.cls = "rood"
    with pytest.raises(UnknownNameError, match="initial, aligned, aligned - initial"):
        explorer.stage = "before"
    with pytest.raises(RecordError, match="0 <= y < 20 and 0 <= x < 28"):
        explorer.pixel = (20, 3)
    with pytest.raises(RecordError, match="needed .y, x."):
        explorer.pixel = "middle"
    assert explorer.summary == before
    with pytest.raises(UnknownNameError, match="Valid: a, b, c"):
        AlignmentExplorer(explorer._shown._records, image="d")


def test_no_records_and_one_record_are_refused(offset_record):
    with pytest.raises(RecordError, match="found no record"):
        AlignmentExplorer([])
    with pytest.raises(RecordError, match=r"\[record\]"):
        AlignmentExplorer(offset_record)


def test_an_image_of_another_size(make_record):
    explorer = AlignmentExplorer([make_record("large", size=(9, 11)), make_record("small")], pixel=(34, 6))
    explorer.image = "small"
    assert explorer.pixel is None and panel(explorer, "label").shape == [5, 7]


def test_windows_of_one_image_are_told_apart(make_record):
    explorer = AlignmentExplorer(make_record("a", seed=seed) for seed in (1, 2))
    assert explorer._ids == ("a", "a (2)")


def test_a_per_pixel_record_says_that_it_has_no_offsets(per_pixel_record):
    explorer = AlignmentExplorer([per_pixel_record], pixel=(10, 6))
    assert "per-pixel" in panel(explorer, "offset").message
    assert "none (per-pixel model)" in explorer._readout.value
    explorer.stage = "aligned - initial"
    assert "all cells unchanged" in explorer.summary
    assert explorer.still().startswith(b"\x89PNG")


def test_a_record_without_label_and_photograph(offset_record):
    explorer = AlignmentExplorer([offset_record.drop_vars(["label", "image"])], pixel=(10, 6))
    assert "no label" in panel(explorer, "label").message and "no photograph" in panel(explorer, "photograph").message
    assert "no label" in explorer.summary
    assert explorer.still().startswith(b"\x89PNG")


def test_a_cell_stores_widget_picture_and_summary(explorer):
    explorer.pixel = (10, 22)
    bundle = explorer._repr_mimebundle_()
    assert set(bundle) == {"application/vnd.jupyter.widget-view+json", "image/png", "text/plain"}
    text = bundle["text/plain"]
    assert text == AlignmentExplorer(explorer._shown._records, cls="road", pixel=(10, 22)).summary
    assert text.startswith(
        "AlignmentExplorer: image a (1 of 3), class road, stage aligned, pixel (y 10, x 22), model nano-offset\n"
    )
    assert re.search(
        r"\n  pixel: label \w+, predicted \w+ -> \w+; cosine to road [+-]0\.\d\d -> [+-]0\.\d\d; offset ", text
    )
    assert "0x" not in text and bundle["image/png"].startswith(b"\x89PNG")


@pytest.mark.parametrize("stage", STAGE_CHOICES)
def test_the_summary_tells_a_change_of_the_offsets(records, stage):
    def summary(factor):
        changed = [record.assign(feature_offset=record["feature_offset"] * np.float32(factor)) for record in records]
        return AlignmentExplorer(changed, cls="road", stage=stage).summary

    assert summary(1) == summary(1) != summary(1.05)


def test_a_store_is_read_one_image_at_a_time(records, tmp_path, monkeypatch):
    store = create_store(tmp_path / "store")
    for record in records:
        save_record(record, store.path_of(record.attrs["sample"]))
    store = RecordStore(tmp_path / "store")
    read = []
    load = RecordStore.__getitem__
    monkeypatch.setattr(RecordStore, "__getitem__", lambda self, key: (read.append(key), load(self, key))[1])
    explorer = AlignmentExplorer(store)
    explorer.cls, explorer.stage = "tree", "initial"
    assert read == [0]
    explorer.image = "c"
    explorer.image = "a"
    assert read == [0, 2]


def test_inputs_are_not_changed(records):
    before = [record.copy(deep=True) for record in records]
    explorer = AlignmentExplorer(records, pixel=(2, 2))
    explorer.image, explorer.stage = "b", "aligned - initial"
    explorer.still()
    assert all(record.identical(old) for record, old in zip(records, before, strict=True))


def test_records_of_mask_classification_are_refused(records):
    with pytest.raises(RecordError, match="the record of a is of mask classification.*the explorer needs"):
        AlignmentExplorer([of_queries(records[0])])


# The numbers of a class.


def test_the_numbers_of_a_class_are_those_of_the_analyses(records):
    views, record = AlignmentViews(records), records[0]
    numbers = class_numbers(views, "a", "road")
    assert numbers.pixels == (record["label"].values == 1).sum() and numbers.reason == ""
    rows = {what: (before, after) for what, _, before, after in numbers.rows}
    for stage, value in zip(("initial", "aligned"), rows["IoU"]):
        found, label = prediction(record, stage).values, record["label"].values
        found, label = found[label != 255], label[label != 255]
        assert value == pytest.approx(((found == 1) & (label == 1)).sum() / ((found == 1) | (label == 1)).sum())
    table = alignment([record]).set_index(["cls", "quantity", "stage"])["value"]
    assert rows["cosine of its pixels"] == (
        table["road", "own_class_cosine", "initial"],
        table["road", "own_class_cosine", "aligned"],
    )
    offset = np.linalg.norm(record["class_offset"][1]) / np.linalg.norm(record["class_embedding"][1])
    assert numbers.relative_offset == pytest.approx(offset)


def test_a_class_that_is_not_there_says_so(records, per_pixel_record):
    label = records[0]["label"].where(records[0]["label"] != 1, 0).astype(np.uint8)
    views = AlignmentViews([records[0].assign(label=label)])
    numbers = class_numbers(views, "a", "road")
    assert numbers.pixels == 0 and numbers.reason == "no pixel of this image is labelled road"
    html = class_html(
        {"<m>": numbers, "other": class_numbers(AlignmentViews([per_pixel_record]), "a", "road")},
        cls="<b>",
        image="<i>",
    )
    assert "<m>" not in html and "&lt;m&gt;" in html and "&lt;b&gt;" in html and "&lt;i&gt;" in html
    unlabelled = AlignmentViews([records[0].drop_vars("label")])
    assert "no label" in class_numbers(unlabelled, "a", "road").reason
    assert "has no class moon" in class_numbers(views, "a", "moon").reason


# Two models.


@pytest.fixture
def two_models(make_record):
    def of(offsets, size):
        return [make_record(sample, offsets=offsets, seed=seed, size=size) for seed, sample in enumerate("abc")]

    return {"with": of(True, (5, 7)), "without": of(False, (10, 14))[:2]}


def test_two_models_on_the_same_image(two_models):
    explorer = AlignmentExplorer(two_models, other="without", pixel=(10, 22))
    assert explorer._inputs["image"].options == ("a", "b")
    assert [len(grid.children) for grid in explorer._grids] == [2, 4, 4]
    both = Image.open(BytesIO(explorer.still()))
    assert explorer._other_panels["offset"].message.startswith("none: the record is of a per-pixel model")
    assert explorer._panels["prediction"].title == "with: prediction, aligned"
    assert explorer._panels["similarity"].limits == explorer._other_panels["similarity"].limits
    assert explorer._panels["label"].selected == [2, 5]
    assert explorer._other_panels["prediction"].selected == [2, 5]
    explorer._other_panels["prediction"].selected = [4, 1]
    assert explorer.pixel == (18, 6) and explorer._panels["label"].selected == [4, 1]
    assert "without: prediction, aligned" in explorer.summary and "beside it without" in explorer.summary
    explorer.model = "without"
    assert [len(grid.children) for grid in explorer._grids] == [6, 0, 0] and explorer._panels["offset"].message
    explorer.model, explorer.other = "with", ""
    assert both.height > 1.5 * Image.open(BytesIO(explorer.still())).height  # the second model stands below
    assert "beside it" not in explorer.summary


def test_a_model_without_the_class(two_models):
    renamed = [record.assign_coords(cls=["sky", "way", "tree"]) for record in two_models["without"]]
    explorer = AlignmentExplorer({"with": two_models["with"], "without": renamed}, cls="road", other="without")
    assert explorer._other_panels["similarity"].message == "none: nano has no class road"
    explorer.model = "without"
    assert explorer.cls == "sky"


def test_bad_models(two_models, records):
    with pytest.raises(UnknownNameError, match="Valid: with, without"):
        AlignmentExplorer(two_models, model="neither")
    with pytest.raises(UnknownNameError, match="Valid: with, without"):
        AlignmentExplorer(two_models).other = "neither"
    with pytest.raises(RecordError, match="no image that all of a, b have"):
        AlignmentExplorer({"a": records[:1], "b": records[1:]})
    with pytest.raises(RecordError, match="found no model"):
        AlignmentExplorer({})
    alone = AlignmentExplorer(records)
    assert alone._inputs["model"].disabled and "one model here" in alone.children[1].children[-1].value


def test_saving_writes_the_shown_model_and_the_images_from_the_shown_one_on(two_models, tmp_path):
    explorer = AlignmentExplorer(two_models, image="b", model="with")
    path = explorer.save(tmp_path / "page.html", notes="<mine>")
    assert path == tmp_path / "page.html"
    html = path.read_text(encoding="utf-8")
    assert "with: feature and class alignment" in html and "&lt;mine&gt;" in html
    assert '"image-0"' in html and '"image-1"' not in html  # b is the last that both models have
    explorer.save(path, images=["a", "b"])
    assert '"image-1"' in path.read_text(encoding="utf-8")
    with pytest.raises(UnknownNameError, match="Valid: a, b"):
        explorer.save(path, images=["d"])


# How it looks, what goes wrong, and its end.


def test_opacity_smoothness_and_contours_reach_the_panels(explorer):
    explorer.opacity, explorer.smooth, explorer.contours = 0.25, True, True
    low, high = panel(explorer, "similarity").limits
    assert panel(explorer, "label").opacity == 0.25 and panel(explorer, "offset").smooth
    assert panel(explorer, "similarity").levels == pytest.approx([low / 2, 0, high / 2])
    assert panel(explorer, "label").levels == []
    explorer._inputs["opacity"].value = 0.5
    assert explorer.opacity == 0.5


def test_an_error_of_a_callback_is_shown_until_the_next_choice(explorer, records, monkeypatch):
    def fail(*args):
        raise RecordError("the record of <b> is damaged")

    monkeypatch.setattr(explorer._shown, "record", fail)
    with pytest.raises(RecordError):
        explorer._choice_changed({})
    assert "RecordError: the record of &lt;b&gt; is damaged" in explorer._problem.value
    assert explorer._problem.layout.display is None
    monkeypatch.undo()
    explorer.stage = "initial"
    assert explorer._problem.value == "" and explorer._problem.layout.display == "none"


def test_closing_frees_the_records(make_record):
    records = [make_record("a"), make_record("b")]
    gone = [weakref.ref(record) for record in records]
    explorer = AlignmentExplorer(records)
    explorer.image = "b"
    parts = [*explorer._panels.values(), explorer._inputs["image"]]
    explorer.close()
    del records
    gc.collect()
    assert [ref() for ref in gone] == [None, None]
    assert all(part.comm is None for part in parts) and explorer.comm is None
    explorer.close()  # a second time does nothing
