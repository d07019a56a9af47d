"""Folders of one's own: images, label maps and classes in every way that is read; photographs without labels."""

import json
import pickle

import numpy as np
import pytest
from image_files import write_image, write_label
from PIL import Image

from offseg_viz.classes import ClassList
from offseg_viz.data import check_samples, load_samples
from offseg_viz.data.folder import folder_samples, read_classes
from offseg_viz.data.scenes import SCENE_CLASSES, scene_samples, write_scenes
from offseg_viz.errors import DataError, UnknownNameError

HUES = ClassList.numbered(3).colors


def write_pair(root, name, values=(0, 1, 2, 255), *, seed=0, part="", suffix=".png", label_suffix=".png"):
    image = write_image(root / "images" / part / f"{name}{suffix}", seed)
    return image, write_label(root / "labels" / part / f"{name}{label_suffix}", values, seed)


@pytest.fixture
def root(tmp_path):
    """Two pairs without splits, three classes."""
    folder = tmp_path / "own"
    write_pair(folder, "late", seed=2)
    write_pair(folder, "early", seed=1)
    (folder / "classes.txt").write_text("road\ntree\nbird\n")
    return folder


# --- labelled --------------------------------------------------------------------------------------------------------


def test_pairs_in_the_order_of_their_names_for_every_split(root):
    image, raw = write_pair(root, "early", seed=1)
    for samples in (folder_samples(root), load_samples("folder", root=str(root)), folder_samples(root, split="test")):
        assert (samples.ids, samples.dataset) == (("early", "late"), "folder")
        assert samples.classes == ClassList(("road", "tree", "bird"), HUES)
        np.testing.assert_array_equal(samples["early"].image, image)
        np.testing.assert_array_equal(samples["early"].label, raw)
    again = pickle.loads(pickle.dumps(samples))
    np.testing.assert_array_equal(again[1].label, samples[1].label)
    assert check_samples(samples).pixels.tolist() == [70, 70, 70]


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".png", ".bmp", ".tif", ".TIFF", ".webp"])
@pytest.mark.parametrize("label_suffix", [".png", ".PNG", ".bmp", ".tif", ".tiff"])
def test_every_suffix(root, suffix, label_suffix):
    image, raw = write_pair(root, "one", seed=3, suffix=suffix, label_suffix=label_suffix)
    sample = folder_samples(root)["one"]
    np.testing.assert_array_equal(sample.label, raw)
    assert np.abs(sample.image.astype(int) - image).max() <= (12 if "jp" in suffix.lower() else 0)


def test_a_palette_label_is_read_by_index_in_every_format(root):
    raw = write_label(root / "labels" / "late.png", (0, 1, 2), 5)
    label = Image.fromarray(raw)
    label.putpalette([255, 0, 0, 0, 0, 255, 0, 255, 0])
    for suffix in (".png", ".bmp", ".tif"):
        (root / "labels" / "late.png").unlink(missing_ok=True)
        label.save(root / "labels" / f"late{suffix}")
        np.testing.assert_array_equal(folder_samples(root)["late"].label, raw)
        (root / "labels" / f"late{suffix}").unlink()


def test_folders_of_the_splits(tmp_path):
    for part in ("train", "val"):
        write_pair(tmp_path, f"{part}_1", part=part)
    (tmp_path / "images" / "discarded").mkdir()
    (tmp_path / "classes.txt").write_text("road\ntree\nbird")
    assert load_samples("folder", root=tmp_path).ids == ("val_1",)
    assert load_samples("folder", root=tmp_path, split="train").ids == ("train_1",)
    for split in ("test", None):
        with pytest.raises(UnknownNameError, match=f"unknown split of .*images {split!r}.*Valid: train, val"):
            folder_samples(tmp_path, split=split)
    (tmp_path / "labels" / "val").rename(tmp_path / "labels" / "validation")
    with pytest.raises(DataError, match="no folder .*labels/val for the label maps of .*images/val"):
        folder_samples(tmp_path, split="val")
    write_image(tmp_path / "images" / "loose.jpg")
    with pytest.raises(DataError, match="loose.jpg lies beside the folders train, val; move it"):
        folder_samples(tmp_path, split="train")


def test_what_the_scenes_are_written_as_is_read_as_it_was(tmp_path):
    write_scenes(tmp_path / "scenes", count=2, size=(64, 80))
    samples = load_samples("folder", root=tmp_path / "scenes")
    drawn = scene_samples("val", count=2, size=(64, 80), cache=tmp_path / "cache")
    assert samples.ids == drawn.ids and samples.classes == SCENE_CLASSES
    for one, other in zip(samples, drawn, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.label, other.label)


def test_an_unknown_split_without_folders(root):
    with pytest.raises(UnknownNameError, match="'vall'.*Did you mean 'val'.*train, val, test"):
        folder_samples(root, split="vall")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: (root / "labels" / "late.png").unlink(), "late.png has no label map: needed .*labels/late.png"),
        (lambda root: (root / "images" / "late.png").unlink(), "late.png has no image: needed .*images/late.jpg"),
        (lambda root: write_image(root / "images" / "late.webp"), "late.png and .*late.webp are both named 'late'"),
        (lambda root: write_label(root / "labels" / "late.tif", (0,)), "late.png and .*late.tif are both named"),
        (lambda root: (root / "images").rename(root / "photos"), "own holds labels but no folder images; needed"),
        (lambda root: (root / "classes.txt").unlink(), "own has label maps but no classes.txt or classes.json; needed"),
        (lambda root: (root / "classes.txt").write_text("\n \n"), "classes.txt is no list of classes .no class name"),
        (lambda root: root.rename(root.parent / "moved"), "own is no folder; needed the folder in which images/"),
    ],
)
def test_a_bad_folder(root, spoil, message):
    spoil(root)
    with pytest.raises(DataError, match=message):
        folder_samples(root)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: write_label(path, (0, 3)), r"labels/late.png holds .* \[3\]; needed 0 to 2 or ignored"),
        (lambda path: write_image(path), "labels/late.png is no label map"),
        (lambda path: Image.fromarray(np.zeros((9, 14), np.uint8)).save(path), "labels/late.png is 14x9 but its image"),
        (lambda path: path.write_bytes(b"broken"), "labels/late.png cannot be read as a label map"),
    ],
)
def test_a_bad_label_map(root, spoil, message):
    spoil(root / "labels" / "late.png")
    with pytest.raises(DataError, match=message):
        check_samples(folder_samples(root))


# --- classes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "names", "colors"),
    [
        ("road\ntree\nbird", ("road", "tree", "bird"), HUES),
        ("road #102030\ntree\nbird\t#AABBCC\n", ("road", "tree", "bird"), ("#102030", HUES[1], "#AABBCC")),
        ("\ufeffa wide road   #102030\r\n\r\n  A #1 tree\r\nbird \t #aabbcc \r\n", ("a wide road", "A #1 tree", "bird"),
         ("#102030", HUES[1], "#aabbcc")),
    ],
)  # fmt: skip
def test_classes_of_a_text_file(tmp_path, text, names, colors):
    (tmp_path / "classes.txt").write_text(text, encoding="utf-8", newline="")
    assert read_classes(tmp_path) == ClassList(names, colors)


@pytest.mark.parametrize(
    ("table", "colors"),
    [
        ({"names": ["road", "tree", "bird"]}, HUES),
        ({"names": ["road", "tree", "bird"], "colors": None}, HUES),
        ({"names": ["road", "tree", "bird"], "colors": ["#000000", "#111111", "#222222"], "size": [4, 5]},
         ("#000000", "#111111", "#222222")),
    ],
)  # fmt: skip
def test_classes_of_a_json_file_which_is_preferred(tmp_path, table, colors):
    (tmp_path / "classes.json").write_text(json.dumps(table))
    (tmp_path / "classes.txt").write_text("other")
    assert read_classes(tmp_path) == ClassList(("road", "tree", "bird"), colors)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("classes.txt", "road\ntree\nroad", "found twice: road"),
        ("classes.txt", "road\tred\ntree", "#rrggbb, found 'red'"),
        ("classes.txt", "road #12345\ntree", "#rrggbb, found '#12345'"),
        ("classes.txt", "\n".join(f"c{k}" for k in range(256)), "256 classes; needed 1 to 255"),
        ("classes.json", "{", "Expecting property name"),
        ("classes.json", '["road"]', "it has no names"),
        ("classes.json", '{"colors": []}', "it has no names"),
        ("classes.json", '{"names": "road"}', "found 'road' for a list of text"),
        ("classes.json", '{"names": [1, 2]}', "found '.1, 2.' for a list of text"),
        ("classes.json", '{"names": ["a", "b"], "colors": {"a": 1}}', "for a list of text"),
        ("classes.json", '{"names": ["a", "b"], "colors": ["#000000"]}', "2 names but 1 colours"),
        ("classes.json", '{"names": []}', "no class name"),
    ],
)
def test_a_bad_list_of_classes_names_its_file(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=f"{name} is no list of classes .*{message}.*needed one class name a line"):
        read_classes(tmp_path)


def test_a_list_of_classes_that_is_no_text(tmp_path):
    (tmp_path / "classes.txt").write_bytes(b"\xff\xfe road")
    with pytest.raises(DataError, match="classes.txt is no list of classes"):
        read_classes(tmp_path)


# --- without labels --------------------------------------------------------------------------------------------------


@pytest.fixture
def photographs(tmp_path):
    folder = tmp_path / "photographs"
    folder.mkdir()
    for name, shade in (("b.png", 10), ("a.JPG", 200)):
        Image.new("RGB", (14, 10), (shade, 0, 0)).save(folder / name)
    (folder / "notes.txt").write_text("not a photograph")
    return folder


@pytest.mark.parametrize("name", ["photographs", "folder"])
def test_images_without_labels_in_the_order_of_their_names(photographs, name):
    samples = load_samples(name, root=photographs)
    assert samples.ids == ("a", "b") and samples.classes is None and samples.dataset == "photographs"
    assert samples["b"].image.shape == (10, 14, 3) and (samples["b"].image[:, :, 0] == 10).all()
    assert samples["a"].label is None and samples["a"].classes is None
    assert samples.where("a") == str(photographs / "a.JPG")
    again = pickle.loads(pickle.dumps(samples))
    np.testing.assert_array_equal(again["a"].image, samples["a"].image)


def test_a_folder_without_labels_may_have_images_and_splits(tmp_path):
    image = write_image(tmp_path / "images" / "one.webp")
    write_image(tmp_path / "beside.jpg")
    (tmp_path / "classes.txt").write_text("road")
    samples = folder_samples(tmp_path, split="test")
    assert samples.ids == ("one",) and samples.classes is None
    np.testing.assert_array_equal(samples[0].image, image)
    (tmp_path / "images" / "val").mkdir()
    (tmp_path / "images" / "one.webp").rename(tmp_path / "images" / "val" / "one.webp")
    assert load_samples("folder", root=tmp_path).ids == ("one",)
    with pytest.raises(UnknownNameError, match="'train'. Valid: val"):
        folder_samples(tmp_path, split="train")


def test_training_and_evaluation_say_that_labels_are_missing(photographs):
    for name in ("photographs", "folder"):
        with pytest.raises(DataError, match="photographs have no label maps"):
            check_samples(load_samples(name, root=photographs))


def test_bad_folders_of_photographs(photographs, tmp_path):
    for name in ("photographs", "folder"):
        with pytest.raises(DataError, match=f'{name} needs its folder: load_samples."{name}", root="path/to/{name}"'):
            load_samples(name)
        with pytest.raises(DataError, match="leave size out"):
            load_samples(name, root=photographs, size=(64, 64))
        with pytest.raises(DataError, match="nowhere is no folder"):
            load_samples(name, root=tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty is empty; needed .jpg or .jpeg or .png files"):
        load_samples("photographs", root=tmp_path / "empty")
    with pytest.raises(DataError, match="has no .jpg or .jpeg or .png file but empty, photographs"):
        load_samples("photographs", root=tmp_path)
    Image.new("RGB", (4, 4)).save(photographs / "b.jpg")
    with pytest.raises(DataError, match="both named 'b'"):
        load_samples("photographs", root=photographs)
    (photographs / "b.jpg").unlink()
    (photographs / "b.png").write_bytes(b"broken")
    with pytest.raises(DataError, match="b.png cannot be read"):
        load_samples("photographs", root=photographs)["b"]
