import gc
import re
import weakref
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from offseg_viz.analyze.pixels import sample_pixels
from offseg_viz.analyze.projection import project
from offseg_viz.classes import ClassList
from offseg_viz.errors import RecordError, UnknownNameError
from offseg_viz.extract.store import RecordStore, create_store
from offseg_viz.plot.points import SIDE, point_picture
from offseg_viz.record import save_record
from offseg_viz.widgets import projection_still
from offseg_viz.widgets.projection_explorer import ProjectionExplorer
from offseg_viz.widgets.projection_points import COLORS, ProjectionPoints


def projected(records, **options):
    return project(sample_pixels(records, per_class=30, interior=False), **options)


@pytest.fixture
def table(records):
    return projected(records)


@pytest.fixture
def explorer(table, records):
    return ProjectionExplorer(table, records)


def maps(explorer):
    return {map.title.split(" · ")[0]: map for map in explorer._maps.box.children if map.layout.display != "none"}


def codes(explorer):
    return np.frombuffer(explorer._scatter.codes, dtype=np.uint16)


def hues(explorer):
    """Colour of every pixel as the browser is told."""
    return [explorer._scatter.palette[code] for code in codes(explorer)[: explorer.pixel_count]]


def cells(table, name, chosen):
    """Cells of the chosen pixels of an image, in plain loops, as bytes."""
    lit = [0] * 35
    for pixel in chosen:
        if table["sample"].values[pixel] == name:
            row, col = ((float(table[dim].values[pixel]) - 2) / 4 for dim in ("y", "x"))
            lit[int(row) * 7 + int(col)] = 1
    return bytes(lit)


# What crosses to the scatter


def test_points_are_pixels_then_embeddings_of_images_then_of_classes(table, records):
    points = ProjectionPoints(table, records)
    count = points.pixels
    shown = [(i, k) for i, name in enumerate("abc") for k in range(3) if (name, k) != ("c", 2)]
    assert points.kinds.tolist() == [0] * count + [1, 2] * len(shown) + [3, 4] * 3
    assert points.image[count : count + 16 : 2].tolist() == [i for i, _ in shown]
    assert points.cls[count : count + 16 : 2].tolist() == [k for _, k in shown]
    assert points.cls[count + 16 :].tolist() == [0, 0, 1, 1, 2, 2]
    # one zoom and one move for all of them
    places = table["pixel_projection"].values
    zoom = np.ptp(points.places[0, :count, 0]) / np.ptp(places[0, :, 0])
    move = points.places[0, 0] - zoom * places[0, 0]
    np.testing.assert_allclose(points.places[:, :count], zoom * places + move, atol=1e-5)
    initial, aligned = table["class_projection"].values, table["aligned_class_projection"].values
    for at, (i, k) in enumerate(shown):
        for point in (count + 2 * at, count + 2 * at + 1):
            np.testing.assert_allclose(points.places[0, point], zoom * initial[k] + move, atol=1e-5)
            np.testing.assert_allclose(points.places[1, point], zoom * aligned[i, k] + move, atol=1e-5)
    mean = (aligned[0, 2] + aligned[1, 2]) / 2  # the third image shows no tree
    np.testing.assert_allclose(points.places[1, -1], zoom * mean + move, atol=1e-5)
    assert np.abs(points.places).max() == pytest.approx(0.92, abs=1e-5)


def test_embeddings_without_a_place_are_left_out(table, records):
    table["class_projection"][1] = np.nan
    points = ProjectionPoints(table, records)
    assert np.isfinite(points.places).all() and 1 not in points.cls[points.pixels :]
    bare = ProjectionPoints(table.drop_vars(["class_projection", "aligned_class_projection"]), records)
    assert not bare.kinds.any() and bare.places.shape == (2, bare.pixels, 2)


def test_colours(explorer, table, records):
    label = table["label"].values
    assert hues(explorer) == [str(table["color"].values[k]) for k in label]
    explorer.color = "correct"
    right = table["aligned_prediction"].values == label
    assert len(set(hues(explorer))) == 2
    assert [hue == explorer._scatter.palette[0] for hue in hues(explorer)] == right.tolist()
    explorer.stage = "initial"
    right = table["initial_prediction"].values == label
    assert [hue == explorer._scatter.palette[0] for hue in hues(explorer)] == right.tolist()
    explorer.color = "sample"
    assert len(set(zip(hues(explorer), table["sample"].values))) == len(set(hues(explorer))) == 3
    explorer.color = "distortion"
    expected = np.round(table["distortion"].sel(stage="initial").values * 254)
    np.testing.assert_array_equal(codes(explorer)[: explorer.pixel_count], expected)
    explorer.color = "offset"
    lengths = []
    for name, y, x in zip(*(table[key].values for key in ("sample", "y", "x"))):
        lengths.append(np.linalg.norm(records["abc".index(name)]["feature_offset"].sel(y=y, x=x).values))
    low, high = min(lengths), max(lengths)
    expected = np.round((np.array(lengths) - low) / (high - low) * 254)
    np.testing.assert_allclose(codes(explorer)[: explorer.pixel_count], expected, atol=1)
    assert "|dE|" in explorer._controls._legend.value


@pytest.mark.parametrize("color", COLORS)
def test_class_embeddings_always_have_the_colour_of_their_class(explorer, table, color):
    explorer.color = color
    points, scatter = explorer._points, explorer._scatter
    for point in np.flatnonzero(points.kinds):
        own = table["color"].values[points.cls[point]] if points.kinds[point] in (2, 4) else scatter.palette[-1]
        assert scatter.palette[codes(explorer)[point]] == own


def test_geometry_crosses_once(explorer):
    sent = []
    explorer._scatter.observe(lambda change: sent.append(change.name))
    explorer.stage, explorer.color, explorer.selection = "initial", "correct", [3, 4]
    assert sent and "places" not in sent and "points" not in sent and "bundle" not in sent
    places = np.frombuffer(explorer._scatter.places, dtype=np.float32).reshape(2, -1, 2)
    np.testing.assert_array_equal(places, explorer._points.places)


# The scatter and the images, both ways


def test_a_lasso_lights_its_pixels_on_the_images_that_hold_most(explorer, table):
    own = [np.flatnonzero(table["sample"].values == name) for name in "abc"]
    chosen = np.concatenate([own[2][:9], own[1][:5]])
    embedding, told = explorer.pixel_count + 1, []
    explorer._scatter.observe(lambda change: told.append(len(change.new)), names="selection")
    explorer._scatter.selection = np.append(chosen[::-1], embedding).astype(np.uint32)
    assert explorer.selection.tolist() == sorted(chosen)
    assert explorer.images == ("c", "b") and list(maps(explorer)) == ["c", "b"]
    for name, map in maps(explorer).items():
        assert map.lit == cells(table, name, chosen)
    assert maps(explorer)["c"].title == f"c · 9 of {len(own[2])}"
    assert "14 pixels selected" in explorer._controls._count.value
    # what came from the scatter does not go back to it
    assert told == [15]
    explorer._scatter.selection = np.zeros(0, np.uint32)
    assert explorer.selection.size == 0 and all(map.lit == b"" for map in maps(explorer).values())
    assert "No pixel selected" in explorer._controls._count.value


def test_a_selection_from_code_reaches_scatter_and_images(explorer, table):
    explorer.selection = [9, 2, 2]
    assert explorer.selection.tolist() == [2, 9] and explorer.selection.dtype == np.uint32
    scattered = explorer._scatter.selection
    assert sorted(scattered[scattered < explorer.pixel_count]) == [2, 9]
    assert set(np.flatnonzero(explorer._points.kinds)) < set(scattered)  # class embeddings stay in sight
    assert all(map.lit == cells(table, name, [2, 9]) for name, map in maps(explorer).items())
    with pytest.raises(ValueError, match="read-only"):
        explorer.selection[0] = 1
    explorer.selection = []
    assert explorer._scatter.selection.size == 0


def test_a_region_on_an_image_selects_its_pixels(explorer, table):
    shown = explorer.images
    region = np.zeros(35, np.uint8)
    region[7:21] = 1
    maps(explorer)["b"].region = region.tobytes()
    expected = [
        pixel
        for pixel in range(explorer.pixel_count)
        if table["sample"].values[pixel] == "b" and table["y"].values[pixel] in (6, 10)
    ]
    assert explorer.selection.tolist() == expected and expected
    assert explorer.images == shown
    scattered = explorer._scatter.selection
    assert sorted(scattered[scattered < explorer.pixel_count]) == expected
    assert maps(explorer)["a"].lit == bytes(35)
    maps(explorer)["a"].region = bytes([1] * 35)
    assert set(table["sample"].values[explorer.selection]) == {"a"} and maps(explorer)["b"].region == b""
    maps(explorer)["a"].region = b""
    assert explorer.selection.size == 0


def test_a_new_selection_takes_regions_away_and_keeps_itself(explorer):
    maps(explorer)["a"].region = bytes([1] * 35)
    explorer._scatter.selection = np.array([0, 1], np.uint32)
    assert maps(explorer)["a"].region == b"" and explorer.selection.tolist() == [0, 1]


def test_controls(explorer, table):
    controls = explorer._controls
    controls.cls.value = "tree"
    assert explorer.selection.tolist() == np.flatnonzero(table["label"].values == 2).tolist()
    assert controls.cls.value == "" and explorer.images == ("a", "b") or explorer.images == ("b", "a")
    controls.image.value = "c"
    assert explorer.images[0] == "c" and len(explorer.images) == 3 and controls.image.value == ""
    controls.region.value = True
    assert all(map.drawing for map in maps(explorer).values())
    controls.clear.click()
    assert explorer.selection.size == 0 and controls.clear.disabled
    controls.stage.value, controls.color.value = "initial", "correct"
    assert (explorer.stage, explorer.color, explorer._scatter.stage) == ("initial", "correct", "initial")
    explorer.stage = "aligned"
    assert controls.stage.value == "aligned"
    for part in (controls.stage, controls.color, controls.cls, controls.image, controls.region, controls.clear):
        assert part.description


def test_the_point_under_the_pointer_is_described(explorer, table):
    explorer._scatter.hovering = 5
    place = f"y {table['y'].values[5]:.0f}, x {table['x'].values[5]:.0f}"
    name = table["cls"].values[table["label"].values[5]]
    assert f"pixel 5 of a, {place}: label {name}, predicted" in explorer._controls._point.value
    explorer._scatter.hovering = explorer.pixel_count
    assert "class embedding of sky in a, W + dW" in explorer._controls._point.value
    explorer._scatter.hovering = len(explorer._points.kinds) - 1
    assert "class embedding of tree: W at the initial stage" in explorer._controls._point.value
    explorer._scatter.hovering = None
    assert "lasso" in explorer._controls._point.value


def test_at_most_six_images(make_record):
    records = [make_record(f"image {k}", seed=k) for k in range(9)]
    explorer = ProjectionExplorer(projected(records), records)
    explorer.selection = np.arange(explorer.pixel_count)
    assert len(explorer.images) == 6
    explorer._controls.image.value = left = next(n for n in explorer._points.images if n not in explorer.images)
    assert explorer.images[0] == left and len(explorer.images) == 6 and len(maps(explorer)) == 6
    with pytest.raises(RecordError, match="needed 1 to 6 different ids"):
        explorer.images = explorer._points.images
    explorer.images = "image 7"
    assert explorer.images == ("image 7",) and list(maps(explorer)) == ["image 7"]


# Records of all kinds


def test_a_per_pixel_model_has_one_stage(per_pixel_records):
    table = projected(per_pixel_records)
    explorer = ProjectionExplorer(table, per_pixel_records)
    assert explorer._controls.stage.disabled
    notes = explorer._controls._notes.value
    assert "one stage: a per-pixel model moves no feature" in notes and "no offset magnitude" in notes
    assert "offset" not in dict(explorer._controls.color.options).values()
    with pytest.raises(RecordError, match="a per-pixel model has no offsets"):
        explorer.color = "offset"
    assert explorer.color == "cls" and "one stage" in explorer.summary
    assert explorer.still().startswith(b"\x89PNG")


def test_without_photographs(records):
    bare = [record.drop_vars("image") for record in records]
    explorer = ProjectionExplorer(projected(bare), bare)
    assert all("no photograph" in map.message and map.names for map in maps(explorer).values())
    explorer.selection = [1]
    assert any(any(map.lit) for map in maps(explorer).values())


def test_without_distortion(table, records):
    explorer = ProjectionExplorer(table.drop_vars("distortion"), records)
    assert "no distortion" in explorer._controls._notes.value
    with pytest.raises(RecordError, match="project.. gives it"):
        explorer.color = "distortion"


def test_many_classes_and_names_that_are_markup(table, records):
    names = ["<script>alert(1)</script>", *(f"class {k}" for k in range(1, 150))]
    more = ClassList.numbered(150)
    grown = table.drop_vars(["class_projection", "aligned_class_projection", "cls", "color"])
    grown = grown.assign_coords(cls=names, color=("cls", list(more.colors)))
    explorer = ProjectionExplorer(grown, records)
    for color in COLORS:
        explorer.color = color
    explorer.color, explorer.selection = "cls", [0, 1, 2, 3, 4, 5]
    explorer._scatter.hovering = int(np.flatnonzero(table["label"].values == 0)[0])
    shown = [part.value for part in vars(explorer._controls).values() if type(part).__name__ == "HTML"]
    assert not any("<script" in value for value in shown) and "&lt;script" in "".join(shown)
    assert explorer.still().startswith(b"\x89PNG")


def test_only_photographs_and_labels_are_read_of_a_store(records, table, tmp_path, monkeypatch):
    store = create_store(tmp_path / "store")
    for record in records:
        save_record(record, store.path_of(record.attrs["sample"]))
    store = RecordStore(tmp_path / "store")
    read, load = [], RecordStore.load
    monkeypatch.setattr(
        RecordStore,
        "load",
        lambda self, name, **options: (read.append((name, options)), load(self, name, **options))[1],
    )
    explorer = ProjectionExplorer(table, store)
    assert [name for name, _ in read] == ["a", "b", "c"]
    assert all({"feature", "feature_offset", "logits"} <= set(options["leave_out"]) for _, options in read)
    explorer.selection = [0, 1]
    explorer.stage, explorer.color = "initial", "correct"
    assert len(read) == 3
    explorer.color = "offset"
    assert len(read) == 6 and all("feature_offset" not in options["leave_out"] for _, options in read[3:])
    explorer.color = "cls"
    explorer.color = "offset"
    assert len(read) == 6


# Bad input, errors, text, picture, end


def test_bad_input(table, records, explorer, make_record):
    with pytest.raises(RecordError, match="needed the variable pixel_projection"):
        ProjectionExplorer(sample_pixels(records), records)
    with pytest.raises(RecordError, match=r"\[record\]"):
        ProjectionExplorer(table, records[0])
    with pytest.raises(RecordError, match="found no record of b, c"):
        ProjectionExplorer(table, records[:1])
    with pytest.raises(RecordError, match="lie on no cell of a"):
        ProjectionExplorer(table, [make_record(name, size=(2, 3)) for name in "abc"])
    with pytest.raises(UnknownNameError, match="initial, aligned"):
        ProjectionExplorer(table, records, stage="before")
    before = explorer.summary
    with pytest.raises(UnknownNameError, match="Valid: cls, correct, offset, sample, distortion"):
        explorer.color = "class"
    with pytest.raises(UnknownNameError, match="Valid: a, b, c"):
        explorer.images = ["d"]
    with pytest.raises(RecordError, match=f"the pixels 0 to {explorer.pixel_count - 1}"):
        explorer.selection = [0, explorer.pixel_count]
    with pytest.raises(RecordError, match="needed a list of pixel numbers"):
        explorer.selection = [0.5]
    assert explorer.summary == before


def test_an_error_is_shown(explorer, monkeypatch):
    def fail(selection):
        raise RecordError("the <disk> is gone")

    monkeypatch.setattr(explorer._maps, "light", fail)
    with pytest.raises(RecordError):
        explorer._scatter.selection = np.array([1], np.uint32)
    assert "RecordError: the &lt;disk&gt; is gone" in explorer._problem.value
    monkeypatch.undo()
    explorer.selection = [2]
    assert explorer._problem.value == ""


def test_a_cell_stores_widget_picture_and_summary(explorer, table, records):
    explorer.selection = np.flatnonzero(table["sample"].values == "c")
    bundle = explorer._repr_mimebundle_()
    assert set(bundle) == {"application/vnd.jupyter.widget-view+json", "image/png", "text/plain"}
    other = ProjectionExplorer(table, records)
    other.selection = explorer.selection
    text = bundle["text/plain"]
    assert text == other.summary and "0x" not in text
    assert text.startswith(
        f"ProjectionExplorer: pca of {explorer.pixel_count} pixels of 3 images with 3 class embeddings, "
    )
    assert "trustworthiness 0." in text and re.search(r"selection: \d+ pixels of 1 images, most of c \d+\n", text)


def test_the_summary_tells_other_states(explorer):
    seen = {explorer.summary}
    for name, value in (("stage", "initial"), ("color", "sample"), ("selection", [1, 2]), ("images", ["b"])):
        setattr(explorer, name, value)
        seen.add(explorer.summary)
    assert len(seen) == 5


@pytest.mark.parametrize("color", COLORS)
def test_the_still_picture_of_many_pixels(explorer, color, monkeypatch):
    monkeypatch.setattr(projection_still, "MOST_SCATTERED", 10)
    explorer.color = color
    picture = Image.open(BytesIO(explorer.still()))
    assert picture.size[0] > picture.size[1] > 300


def test_a_picture_of_points():
    places = np.array([[-1, 1], [-1, 0.999], [0.5, 0.501], [1.2, 0]])
    colors = np.array([[200, 0, 0], [100, 0, 50], [0, 250, 0], [0, 0, 250]], np.uint8)
    places[0] = [-0.9999, 0.9999]
    picture = point_picture(places, colors)
    expected = np.full((SIDE, SIDE, 3), 255)
    expected[0, 0] = [150, 0, 25]
    expected[SIDE // 4 - 1, 3 * SIDE // 4] = [0, 250, 0]
    np.testing.assert_array_equal(picture, expected)


def test_closing_frees_table_and_records(records, table):
    explorer = ProjectionExplorer(table, records)
    explorer.selection = [1, 2]
    explorer.images = ["a"]
    watched = [weakref.ref(explorer._points), weakref.ref(explorer._maps), weakref.ref(records[0])]
    every = [*explorer._maps._maps, explorer._scatter]
    explorer.close()
    assert all(part.comm is None for part in every)
    explorer.close()
    records.clear()
    del every
    gc.collect()
    assert [ref() for ref in watched] == [None, None, None]


def test_inputs_are_not_changed(records, table):
    before = [record.copy(deep=True) for record in [*records, table]]
    explorer = ProjectionExplorer(table, records)
    for color in COLORS:
        explorer.color = color
    explorer.selection = [1, 5]
    assert all(one.identical(old) for one, old in zip([*records, table], before, strict=True))
