"""SampleSet: slices, ids, laziness; readers of single files: every kind of bad file gives one error naming it."""

import pickle
from functools import partial

import numpy as np
import pytest
from PIL import Image

from offseg_viz.classes import ClassList
from offseg_viz.data import Sample, SampleSet, check_samples
from offseg_viz.data.sample import check_same_size, read_image, read_label
from offseg_viz.errors import DataError, UnknownNameError

CLASSES = ClassList(("road", "tree", "bird"), ("#804080", "#808000", "#0080c0"))
IDS = ("north", "east", "south", "west")


def make(name: str, *, label: np.ndarray | None = None) -> Sample:
    image = np.full((5, 7, 3), IDS.index(name), np.uint8)
    return Sample(name, image, np.zeros((5, 7), np.uint8) if label is None else label, CLASSES, "winds")


class Counting:
    """Loads samples and remembers which."""

    def __init__(self):
        self.loaded = []

    def __call__(self, name):
        self.loaded.append(name)
        return make(name)


@pytest.fixture
def load():
    return Counting()


@pytest.fixture
def samples(load):
    return SampleSet("winds", CLASSES, IDS, load)


def test_items_by_number_and_by_id(samples):
    assert len(samples) == 4
    assert [samples[k].id for k in range(4)] == list(IDS)
    assert samples[-1].id == samples["west"].id == samples[np.int64(3)].id == "west"
    assert [sample.id for sample in samples] == list(IDS)


def test_a_slice_is_a_sample_set_that_has_read_nothing(samples, load):
    part = samples[1:3]
    assert isinstance(part, SampleSet)
    assert (part.ids, part.dataset, part.classes) == (("east", "south"), "winds", CLASSES)
    assert samples[::-2].ids == ("west", "east")
    assert samples[4:].ids == ()
    assert load.loaded == []
    assert part[0].image[0, 0, 0] == 1
    assert load.loaded == ["east"]


def test_membership_looks_at_ids_and_reads_nothing(samples, load):
    assert "south" in samples and "up" not in samples
    assert "north" not in samples[1:]
    assert load.loaded == []


def test_iteration_is_lazy(samples, load):
    next(iter(samples))
    assert load.loaded == ["north"]


def test_unknown_id_lists_the_valid_ones_and_the_nearest(samples, load):
    with pytest.raises(UnknownNameError, match="sample of winds 'nort'.*'north'.*north, east, south, west"):
        samples["nort"]
    with pytest.raises(UnknownNameError, match="Valid: east, south"):
        samples[1:3]["north"]
    assert load.loaded == []


def test_number_out_of_range_is_an_index_error(samples):
    with pytest.raises(IndexError):
        samples[4]


def test_a_sample_set_travels_to_another_process():
    samples = SampleSet("winds", CLASSES, IDS, partial(make, label=None))
    again = pickle.loads(pickle.dumps(samples))
    np.testing.assert_array_equal(again["south"].image, samples["south"].image)


def test_where_without_files_names_sample_and_data_set_and_reads_nothing(samples, load):
    assert samples.where("east") == "sample 'east' of winds"
    with pytest.raises(UnknownNameError, match="Valid: east, south"):
        samples[1:3].where("north")
    assert load.loaded == []


def test_an_unknown_id_of_a_large_set_is_answered_with_the_nearest():
    samples = SampleSet("COCO", CLASSES, tuple(f"{number:012d}" for number in range(500)), make)
    with pytest.raises(UnknownNameError) as error:
        samples["00000000499"]
    assert "Did you mean '000000000499'" in str(error.value) and "... (500 in all)" in str(error.value)
    assert len(str(error.value)) < 300
    with pytest.raises(UnknownNameError, match=r"Valid: 000000000000, .* \(500 in all\)"):
        samples["street"]


# --- check_samples ---------------------------------------------------------------------------------------------------


def set_of(**labels):
    return SampleSet("winds", CLASSES, tuple(labels), lambda name: make(name, label=labels[name]))


def test_check_counts_the_pixels_of_each_class():
    first = np.array([[0, 0, 2, 255, 0, 0, 0]] * 5, np.uint8)
    second = np.full((5, 7), 2, np.uint8)
    found = check_samples(set_of(north=first, south=second))
    assert found.samples == 2
    assert found.pixels.dtype == np.int64
    assert found.pixels.tolist() == [25, 0, 5 + 35]


def test_check_shows_a_bar_only_when_asked(samples, capsys):
    check_samples(samples)
    assert capsys.readouterr() == ("", "")
    assert check_samples(samples, progress=True).samples == 4
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (np.full((5, 7), 3, np.uint8), r"'east' of winds holds the label values \[3\]; needed 0 to 2, or 255"),
        (np.zeros((7, 5), np.uint8), r"'east' of winds: the label is uint8 \(7, 5\), needed uint8 \(5, 7\)"),
        (np.zeros((5, 7), np.int64), r"'east' of winds: the label is int64"),
    ],
)
def test_check_names_the_first_bad_sample(label, message):
    good = np.zeros((5, 7), np.uint8)
    with pytest.raises(DataError, match=message):
        check_samples(set_of(north=good, east=label, south=np.full((5, 7), 9, np.uint8)))


def test_check_of_a_set_without_labels_or_without_samples():
    image = np.zeros((5, 7, 3), np.uint8)
    bare = SampleSet("winds", CLASSES, IDS, lambda name: Sample(name, image, None, CLASSES, "winds"))
    with pytest.raises(DataError, match="'north' of winds has no label map"):
        check_samples(bare)
    with pytest.raises(DataError, match="the set of winds samples is empty"):
        check_samples(bare[:0])
    with pytest.raises(DataError, match="every pixel of the 1 winds samples is ignored"):
        check_samples(set_of(north=np.full((5, 7), 255, np.uint8)))


# --- files -----------------------------------------------------------------------------------------------------------


def test_an_image_is_rgb_whatever_the_file_holds(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    Image.fromarray(rgb).save(tmp_path / "rgb.png")
    Image.fromarray(rgb[..., 0]).save(tmp_path / "grey.png")
    Image.fromarray(np.dstack([rgb, rgb[..., :1]])).save(tmp_path / "alpha.png")
    np.testing.assert_array_equal(read_image(tmp_path / "rgb.png"), rgb)
    np.testing.assert_array_equal(read_image(tmp_path / "alpha.png"), rgb)
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), np.repeat(rgb[..., :1], 3, axis=2))
    assert read_image(tmp_path / "rgb.png").flags.writeable


@pytest.mark.parametrize("mode", ["L", "P", "1", "RGBA", "LA", "CMYK"])
def test_images_of_every_mode_become_rgb(tmp_path, mode):
    rgb = np.random.default_rng(2).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    image = Image.fromarray(rgb).convert(mode)
    path = tmp_path / ("image.jpg" if mode == "CMYK" else "image.png")
    image.save(path)
    with Image.open(path) as written:
        assert written.mode == mode
        np.testing.assert_array_equal(read_image(path), np.asarray(written.convert("RGB")))


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_an_orientation_noted_in_the_file_turns_neither_image_nor_label(tmp_path, suffix):
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, :8] = 200
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.fromarray(pixels).save(tmp_path / f"image{suffix}", exif=exif)
    Image.fromarray(pixels[..., 0] // 100).save(tmp_path / "label.png", exif=exif)
    image = read_image(tmp_path / f"image{suffix}")
    assert image.shape == (8, 16, 3) and image[:, :6].min() > 180 and image[:, 10:].max() < 20
    assert read_label(tmp_path / "label.png", classes=CLASSES).tolist() == [[2] * 8 + [0] * 8] * 8


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9])
def test_a_truncated_image_names_its_file(tmp_path, suffix, kept):
    path = tmp_path / f"street{suffix}"
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 56, 3), dtype=np.uint8)).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(DataError, match=f"street{suffix} cannot be read as an image .*replace or remove"):
        read_image(path)


def test_a_missing_file_and_a_text_file_are_no_images(tmp_path):
    (tmp_path / "note.png").write_text("not a picture")
    for name in ("note.png", "absent.png"):
        with pytest.raises(DataError, match=f"{name} cannot be read as an image"):
            read_image(tmp_path / name)
        with pytest.raises(DataError, match=f"{name} cannot be read as a label map"):
            read_label(tmp_path / name, classes=CLASSES)


def test_a_file_that_claims_an_absurd_size_is_refused(tmp_path, monkeypatch):
    Image.fromarray(np.zeros((50, 60, 3), np.uint8)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match="bomb.png cannot be read as an image"):
        read_image(tmp_path / "bomb.png")


def test_ignored_raw_values_become_255(tmp_path):
    raw = np.array([[0, 1, 2], [11, 255, 0]], np.uint8)
    Image.fromarray(raw).save(tmp_path / "label.png")
    label = read_label(tmp_path / "label.png", classes=CLASSES, ignored=(11,))
    assert label.dtype == np.uint8
    assert label.tolist() == [[0, 1, 2], [255, 255, 0]]
    with pytest.raises(DataError, match=r"label.png holds the label values \[11\]; needed 0 to 2 or ignored \(255\)"):
        read_label(tmp_path / "label.png", classes=CLASSES)


def test_a_16_bit_label_is_read_by_value_and_never_wrapped(tmp_path):
    Image.fromarray(np.array([[0, 1, 2]], np.uint16)).save(tmp_path / "fine.png")
    Image.fromarray(np.array([[0, 1, 256 + 2]], np.uint16)).save(tmp_path / "wide.png")
    assert read_label(tmp_path / "fine.png", classes=CLASSES).tolist() == [[0, 1, 2]]
    with pytest.raises(DataError, match=r"wide.png holds the label values \[258\]"):
        read_label(tmp_path / "wide.png", classes=CLASSES)


def test_a_palette_label_is_read_by_index(tmp_path):
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), mode="L").convert("P")
    image.putpalette([90, 80, 70, 60, 50, 40, 30, 20, 10])
    image.save(tmp_path / "palette.png")
    assert read_label(tmp_path / "palette.png", classes=CLASSES).tolist() == [[0, 1, 2]]


def test_a_colour_image_is_no_label(tmp_path):
    Image.fromarray(np.zeros((5, 7, 3), np.uint8)).save(tmp_path / "colours.png")
    with pytest.raises(DataError, match="colours.png is no label map: needed one channel .*found mode RGB"):
        read_label(tmp_path / "colours.png", classes=CLASSES)


def test_sizes_must_agree(tmp_path):
    image, label = np.zeros((5, 7, 3), np.uint8), np.zeros((5, 6), np.uint8)
    with pytest.raises(DataError, match="b.png is 6x5 but its image .*a.jpg is 7x5"):
        check_same_size(image, label, tmp_path / "a.jpg", tmp_path / "b.png")
