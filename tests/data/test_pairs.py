"""Pairs of files: matching by name, the loader that travels, and label maps through a table of 8 and 16 bits."""

import pickle

import numpy as np
import pytest
from image_files import write_image, write_label
from PIL import Image

from offseg_viz.classes import ClassList
from offseg_viz.data.pairs import FilePairs, Files, match, match_either
from offseg_viz.data.sample import SampleSet, label_table, read_mapped_label
from offseg_viz.errors import DataError, UnknownNameError

CLASSES = ClassList(("road", "tree", "bird"), ("#804080", "#808000", "#0080c0"))
TABLE = label_table({7: 0, 3: 1, 200: 2}, ignored=(0, 8, 9))


def files(tmp_path, ending, names):
    return Files(tmp_path, ending, {name: f"{tmp_path}/{name}{ending}" for name in names})


# --- matching --------------------------------------------------------------------------------------------------------


def test_pairs_keep_the_order_of_the_images(tmp_path):
    pairs = match(files(tmp_path, ".jpg", "cab"), files(tmp_path, ".png", "abc"))
    assert list(pairs) == ["c", "a", "b"]
    assert pairs["a"] == (f"{tmp_path}/a.jpg", f"{tmp_path}/a.png")


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        ("abcd", "ad", r"/b.jpg has no label map \(1 more images have none\): needed .*/b.png; add it or rem"),
        ("abcd", "abc", r"/d.jpg has no label map: needed .*/d.png"),
        ("c", "cabd", r"/a.png has no image \(2 more label maps have none\): needed .*/a.jpg; add it or"),
        ("ab", "bc", r"/a.jpg has no label map: needed"),
    ],
)
def test_the_first_without_a_partner_is_named_and_the_others_counted(tmp_path, images, labels, message):
    with pytest.raises(DataError, match=message):
        match(files(tmp_path, ".jpg", images), files(tmp_path, ".png", labels))


@pytest.mark.parametrize(
    ("mapped", "raw", "taken"),
    [("abc", "", "mapped"), ("abc", "abc", "mapped"), ("", "abc", "raw"), ("a", "abc", "raw"), ("abc", "a", "mapped")],
)
def test_converted_label_maps_are_taken_where_every_image_has_one(tmp_path, mapped, raw, taken):
    kinds = files(tmp_path, "_ids.png", mapped), files(tmp_path, "_raw.png", raw)
    pairs, is_mapped = match_either(files(tmp_path, ".jpg", "abc"), *kinds)
    assert is_mapped == (taken == "mapped")
    assert pairs["b"][1] == f"{tmp_path}/b{'_ids' if is_mapped else '_raw'}.png"


@pytest.mark.parametrize(
    ("mapped", "raw", "message"),
    [
        ("ab", "c", "mixture: of 3 images 2 have a label map [*]_ids.png and 1 one [*]_raw.png; needed one of"),
        ("ab", "", "c.jpg has no label map: needed .*/c_ids.png"),
        ("", "b", r"a.jpg has no label map \(1 more images have none\): needed .*/a_raw.png"),
        ("", "", "a.jpg has no label map .*/a_raw.png"),
        ("abcd", "abc", "d_ids.png has no image"),
    ],
)
def test_a_mixture_and_a_lack_of_label_maps(tmp_path, mapped, raw, message):
    kinds = files(tmp_path, "_ids.png", mapped), files(tmp_path, "_raw.png", raw)
    with pytest.raises(DataError, match=message):
        match_either(files(tmp_path, ".jpg", "abc"), *kinds)


# --- label maps ------------------------------------------------------------------------------------------------------


def test_every_value_of_8_bits_is_mapped_or_refused(tmp_path):
    expected = {7: 0, 3: 1, 200: 2, 0: 255, 8: 255, 9: 255, 255: 255}
    for value in range(256):
        Image.fromarray(np.full((2, 3), value, np.uint8)).save(tmp_path / "label.png")
        if value in expected:
            assert read_mapped_label(tmp_path / "label.png", TABLE).tolist() == [[expected[value]] * 3] * 2
        else:
            with pytest.raises(DataError, match=rf"label.png holds the label values \[{value}\]; needed"):
                read_mapped_label(tmp_path / "label.png", TABLE)


def test_the_message_lists_known_values_in_spans(tmp_path):
    Image.fromarray(np.array([[1, 7, 254]], np.uint8)).save(tmp_path / "label.png")
    with pytest.raises(DataError, match=r"values \[1, 254\]; needed 3, 7, 200 or ignored \(0, 8 to 9, 255\)"):
        read_mapped_label(tmp_path / "label.png", TABLE)


@pytest.mark.parametrize(("dtype", "suffix"), [(np.uint16, ".png"), (np.uint16, ".tif"), (np.int32, ".tif")])
def test_wide_label_maps_go_by_value(tmp_path, dtype, suffix):
    table = label_table({40_000: 1, 2: 2}, ignored=(65_535,))
    path = tmp_path / f"label{suffix}"
    Image.fromarray(np.array([[40_000, 2, 65_535, 255]], dtype)).save(path)
    assert read_mapped_label(path, table).tolist() == [[1, 2, 255, 255]]
    Image.fromarray(np.array([[40_000, 2 + 256]], dtype)).save(path)
    with pytest.raises(DataError, match=r"holds the label values \[258\]"):
        read_mapped_label(path, table)


def test_values_beyond_16_bits_are_not_wrapped(tmp_path):
    Image.fromarray(np.array([[2, 65_536 + 2, -65_534]], np.int32)).save(tmp_path / "label.tif")
    with pytest.raises(DataError, match=r"holds the label values \[-65534, 65538\]"):
        read_mapped_label(tmp_path / "label.tif", label_table({2: 2}))


def test_a_label_map_of_one_bit(tmp_path):
    Image.fromarray(np.array([[0, 1, 1], [1, 0, 0]], bool)).save(tmp_path / "label.png")
    assert read_mapped_label(tmp_path / "label.png", label_table({0: 5, 1: 6})).tolist() == [[5, 6, 6], [6, 5, 5]]


# --- the loader ------------------------------------------------------------------------------------------------------


@pytest.fixture
def samples(tmp_path):
    paths = {name: (str(tmp_path / f"{name}.png"), str(tmp_path / f"{name}_raw.png")) for name in ("north", "south")}
    for seed, (image, label) in enumerate(paths.values()):
        write_image(tmp_path / image, seed)
        write_label(tmp_path / label, (7, 3, 200, 0, 9), seed)
    return FilePairs("winds", CLASSES, paths, TABLE).samples()


def test_a_set_of_pairs_travels_to_another_process(samples):
    again = pickle.loads(pickle.dumps(samples))
    assert isinstance(again, SampleSet) and again.ids == ("north", "south") and again.classes == CLASSES
    for one, other in zip(again, samples, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.label, other.label)
    assert set(np.unique(again[0].label)) == {0, 1, 2, 255}


def test_where_a_sample_lies(samples, tmp_path):
    assert samples.where("south") == samples[1:].where("south") == str(tmp_path / "south.png")
    with pytest.raises(UnknownNameError, match="sample of winds 'sout'.*'south'"):
        samples.where("sout")


def test_a_representation_does_not_list_the_files(samples):
    assert "north_raw" not in repr(samples.load) and "tmp" not in repr(samples)


def test_a_bad_pair_names_its_file(samples, tmp_path):
    write_label(tmp_path / "north_raw.png", (7, 77))
    with pytest.raises(DataError, match=r"north_raw.png holds the label values \[77\]"):
        samples["north"]
    Image.fromarray(np.zeros((14, 10), np.uint8)).save(tmp_path / "north_raw.png")
    with pytest.raises(DataError, match="north_raw.png is 10x14 but its image .*north.png is 14x10"):
        samples["north"]
    (tmp_path / "north_raw.png").unlink()
    with pytest.raises(DataError, match="north_raw.png cannot be read as a label map"):
        samples["north"]
    assert samples["south"].id == "south"
