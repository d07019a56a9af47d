import gc
import re
import weakref

import numpy as np
import pytest
from mask_records import build_query_record

from offseg_viz.analyze.align import aligned_class_embedding, aligned_feature, prediction
from offseg_viz.analyze.offsets import offset_direction, offset_magnitude
from offseg_viz.analyze.pixel_similarity import pixel_similarity, unit_vectors
from offseg_viz.analyze.similarity import cosine_similarity
from offseg_viz.errors import RecordError, UnknownNameError
from offseg_viz.widgets.pixel_map import cell_bytes
from offseg_viz.widgets.pixel_probe import MAPS, PixelProbe

CLICKED = ("photograph", *MAPS)


@pytest.fixture
def probe(offset_record):
    return PixelProbe(offset_record, pixel=(14, 18))


def many_classes(record, count=150):
    """`record` with as many classes, all but the first ones new."""
    names, random = [f"class {k}" for k in range(count)], np.random.default_rng(0)
    channels, grid = record.sizes["channel"], (record.sizes["y"], record.sizes["x"])
    wide = record.drop_dims("cls").assign(
        class_embedding=(("cls", "channel"), random.normal(size=(count, channels)).astype(np.float32)),
        class_offset=(("cls", "channel"), 0.1 * random.normal(size=(count, channels)).astype(np.float32)),
        logits=(("cls", "y", "x"), np.zeros((count, *grid), np.float32)),
    )
    wide.attrs.pop("logit_norm_eps", None)
    return wide.assign_coords(cls=names, color=("cls", [f"#{k:02x}80{255 - k:02x}" for k in range(count)]))


def rows(probe):
    return re.findall(r"<tr[^>]*><td><s [^>]*></s>(.*?)<td>", probe._numbers.value)


def test_nothing_is_chosen_at_first(offset_record):
    probe = PixelProbe(offset_record)
    assert (probe.pixel, probe.cls, probe.follow, probe.colored_by) == (None, None, False, "label")
    assert all(panel.cells == b"" and panel.selected == [] for name, panel in probe._maps.items() if name in MAPS)
    assert "No pixel selected" in probe._numbers.value and probe._projection.arrows == []
    assert probe.summary.startswith("PixelProbe: a, pixel none, class that of the pixel, coloured by label\n")
    assert probe.still().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", CLICKED)
def test_a_click_in_any_map_selects_in_all(offset_record, name):
    probe = PixelProbe(offset_record)
    probe._maps[name].selected = [2, 5]
    assert probe.pixel == (10, 22)
    assert all(panel.selected == [2, 5] for panel in probe._maps.values())
    probe._maps[name].selected = []
    assert probe.pixel is None and all(panel.selected == [] for panel in probe._maps.values())


def test_the_maps_are_the_analyses(probe, offset_record):
    initial, aligned = pixel_similarity(unit_vectors(offset_record), (3, 4))
    own = offset_record["cls"].values[int(prediction(offset_record)[3, 4])]
    to_class = cosine_similarity(aligned_feature(offset_record), aligned_class_embedding(offset_record)).sel(cls=own)
    shown, reach = {name: probe._maps[name] for name in MAPS}, probe._views.reach
    expected = {"initial": initial, "aligned": aligned, "difference": aligned - initial.values, "class": to_class}
    limits = {"initial": 1, "aligned": 1, "difference": reach.difference, "class": reach.classes}
    for name, panel in shown.items():
        assert panel.limits == [-limits[name], limits[name]]
        wanted = cell_bytes(expected[name], (-limits[name], limits[name]))
        gap = np.frombuffer(panel.cells, np.uint8).astype(int) - np.frombuffer(wanted, np.uint8)
        assert np.abs(gap).max() <= 1  # a rounding apart
    assert shown["class"].title == f"cosine to {own}, aligned"


def test_scales_are_the_same_for_all_pixels(probe):
    before = {name: list(probe._maps[name].limits) for name in MAPS}
    for pixel in ((2, 2), (18, 26), (10, 10)):
        probe.pixel = pixel
        assert {name: list(probe._maps[name].limits) for name in MAPS} == before


def test_the_class_follows_the_pixel_until_one_is_set(probe, offset_record):
    predicted = prediction(offset_record).values
    other = np.argwhere(predicted != predicted[3, 4])[0]
    name = str(offset_record["cls"].values[predicted[tuple(other)]])
    probe._maps["class"].selected = other.tolist()
    assert probe._maps["class"].title == f"cosine to {name}, aligned"
    probe.cls = "tree"
    probe.pixel = (2, 2)
    assert probe._maps["class"].title == "cosine to tree, aligned" and probe._cls_picker.value == "tree"
    probe._cls_picker.value = ""
    assert probe.cls is None
    probe.pixel = None
    assert probe._maps["class"].cells == b""
    probe.cls = "sky"
    assert len(probe._maps["class"].cells) == 35


def test_the_table_and_the_offset(probe, offset_record):
    html, at = probe._numbers.value, dict(y=3, x=4)
    aligned = cosine_similarity(aligned_feature(offset_record), aligned_class_embedding(offset_record)).isel(at)
    assert rows(probe) == offset_record["cls"].values[np.argsort(-aligned.values)].tolist()
    facts = dict(re.findall(r'<dd data-fact="(.*?)">(.*?)</dd>', html))
    assert facts["pixel"] == "y 14, x 18 (row 3, col 4)"
    assert facts["label"] == offset_record["cls"].values[int(offset_record["label"][3, 4])]
    length, relative = (float(offset_magnitude(offset_record, relative=flag).isel(at)) for flag in (False, True))
    found = re.fullmatch(r"\|dE\| (.*), \|dE\| / \|E\| (.*)", facts["offset"])
    assert [float(text) for text in found.groups()] == pytest.approx([length, relative], rel=0.01)
    assert f"cosine of dE {float(offset_direction(offset_record).isel(at)):+.2f} to E" in facts["direction"]


def test_following_the_pointer(offset_record):
    probe = PixelProbe(offset_record)
    photograph, other = probe._maps["photograph"], probe._maps["aligned"]
    photograph.hovered = [1, 1]
    assert probe.pixel is None and not photograph.hover
    probe.follow = True
    assert all(panel.hover for panel in probe._maps.values()) and probe._follow_box.value
    photograph.hovered = [2, 5]
    assert probe.pixel == (10, 22)
    assert photograph.selected == [] and other.selected == [2, 5]  # no ring below the pointer itself
    photograph.hovered = []
    assert probe.pixel == (10, 22) and photograph.selected == [2, 5]
    other.hovered = [0, 1]
    other.selected = [0, 1]  # a click holds
    assert not probe.follow and probe.pixel == (2, 6) and photograph.selected == [0, 1]
    other.hovered = [4, 4]
    assert probe.pixel == (2, 6)
    assert PixelProbe(offset_record, follow=True)._maps["class"].hover


def test_the_arrow_leads_from_the_initial_to_the_aligned_place(probe):
    before, after = probe._cloud.places[:, 3, 4]
    assert probe._projection.arrows == [pytest.approx([*before, *after], abs=0.06)]
    probe.pixel = None
    assert probe._projection.arrows == []
    assert re.fullmatch(r"PCA \d+%: E pale, E \+ dE full", probe._projection.title)


def test_colours_of_the_photograph_and_of_the_projection(probe, offset_record):
    picture = probe._projection.image
    assert probe._maps["photograph"].cells == offset_record["label"].values.tobytes()
    probe._color_picker.value = "prediction"
    assert probe.colored_by == "prediction" and probe._projection.image != picture
    assert probe._maps["photograph"].cells == prediction(offset_record).values.tobytes()
    assert probe._maps["photograph"].selected == [3, 4] and len(probe._projection.arrows) == 1


def test_bad_values_list_the_valid_ones_and_change_nothing(probe, offset_record):
    before = probe.summary
    with pytest.raises(UnknownNameError, match="Did you mean 'road'"):
        probe.cls = "rood"
    with pytest.raises(UnknownNameError, match="Valid: label, prediction"):
        probe.colored_by = "mistakes"
    with pytest.raises(RecordError, match="outside of a; needed 0 <= y < 20 and 0 <= x < 28"):
        probe.pixel = (20, 3)
    with pytest.raises(RecordError, match="needed .y, x."):
        probe.pixel = "middle"
    assert probe.summary == before
    with pytest.raises(RecordError, match="outside of a"):
        PixelProbe(offset_record, pixel=(-1, 0))
    probe.pixel = (19.999999, 27.999999)
    assert probe._maps["photograph"].selected == [4, 6]


def test_a_per_pixel_record_says_what_it_has_not(per_pixel_record):
    probe = PixelProbe(per_pixel_record, pixel=(14, 18))
    for name in ("aligned", "difference"):
        assert "per-pixel" in probe._maps[name].message and probe._maps[name].cells == b""
    assert len(probe._maps["initial"].cells) == len(probe._maps["class"].cells) == 35
    assert "none (per-pixel model)" in probe._numbers.value and "→" not in probe._numbers.value
    assert "one stage" in probe._projection.title and "A_pos" not in probe._numbers.value
    assert "offset: none (per-pixel model)" in probe.summary and probe.still().startswith(b"\x89PNG")


def test_a_record_without_label_and_photograph(offset_record):
    probe = PixelProbe(offset_record.drop_vars(["label", "image"]), pixel=(14, 18))
    assert probe.colored_by == "prediction" and probe._color_picker.disabled
    assert "no photograph" in probe._maps["photograph"].message and "no label" in probe.summary
    assert any("the record has no label" in part.value for part in probe.children[0].children if hasattr(part, "value")
               and isinstance(part.value, str))  # fmt: skip
    with pytest.raises(UnknownNameError, match="Valid: prediction"):
        probe.colored_by = "label"
    assert probe.still().startswith(b"\x89PNG")


def test_150_classes_and_few(offset_record, probe):
    wide = PixelProbe(many_classes(offset_record), pixel=(14, 18))
    assert 10 <= len(rows(wide)) <= 14 and not wide._every_box.disabled
    cosine = wide._views.facts((3, 4)).measures["cosine"].values[1]
    assert rows(wide)[:10] == [f"class {k}" for k in np.argsort(-cosine)[:10]]
    wide._every_box.value = True
    assert rows(wide) == [f"class {k}" for k in np.argsort(-cosine)]
    assert len(wide._numbers.value) < 48_000
    assert probe._every_box.disabled and "all 3 classes are shown" in probe._every_box.description


def test_odd_grids(make_record):
    for size in ((2, 9), (1, 4), (9, 2)):
        record = make_record(size=size, label=np.zeros(size, int))
        probe = PixelProbe(record, pixel=(2, 5))
        assert probe._maps["initial"].shape == list(size) and probe._maps["initial"].selected == [0, 1]


def test_names_are_escaped(offset_record):
    name = "<script>alert(1)</script>"
    probe = PixelProbe(offset_record.assign_coords(cls=[name, "road", "tree"]), pixel=(14, 18))
    probe.cls = name
    assert "<script" not in probe._numbers.value and "&lt;script&gt;" in probe._numbers.value


def test_a_record_of_queries_is_refused():
    with pytest.raises(RecordError, match="the record of a is of mask classification.*the pixel probe needs"):
        PixelProbe(build_query_record())


def test_an_error_is_shown_until_the_next_success(probe, monkeypatch):
    def fail(cell):
        raise RecordError("lost <b>")

    with monkeypatch.context() as patch:
        patch.setattr(probe._views, "facts", fail)
        with pytest.raises(RecordError, match="lost"):
            probe._maps["class"].selected = [1, 1]
    assert "RecordError: lost &lt;b&gt;" in probe._problem.value
    probe._maps["class"].selected = [1, 2]
    assert probe._problem.value == ""


def test_closing_frees_the_record(make_record):
    record = make_record()
    probe = PixelProbe(record, pixel=(14, 18))
    gone = [weakref.ref(one) for one in (record, probe, probe._views, probe._numbers)]
    links = list(probe._links)
    assert probe.comm is not None and all(link.comm is not None for link in links)
    probe.close()
    assert probe.comm is None and all(link.comm is None for link in links)
    del record, probe, links
    gc.collect()
    assert [one() for one in gone] == [None] * 4


def test_three_lives_and_an_unchanged_record(offset_record):
    before = offset_record.copy(deep=True)
    probe = PixelProbe(offset_record, pixel=(14, 18))
    bundle = probe._repr_mimebundle_()
    assert set(bundle) == {"application/vnd.jupyter.widget-view+json", "image/png", "text/plain"}
    assert bundle["text/plain"] == PixelProbe(offset_record, pixel=(13, 17)).summary.replace("y 13, x 17", "y 14, x 18")
    assert re.search(r"\n  nearest classes: \w+ [+-]0\.\d\d -> [+-]0\.\d\d, ", bundle["text/plain"])
    assert offset_record.identical(before)
    moved = offset_record.assign(feature_offset=offset_record["feature_offset"] * np.float32(1.1))
    assert PixelProbe(moved, pixel=(14, 18)).summary != bundle["text/plain"]
