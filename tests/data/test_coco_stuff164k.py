"""COCO-Stuff: raw and converted label maps give the same classes, a mixture is refused."""

import numpy as np
import pytest
from image_files import plain_label, raw_to_train, write_image, write_label
from PIL import Image

from offseg_viz.data.coco_stuff164k import UNUSED, coco_stuff164k_samples
from offseg_viz.errors import DataError

IDS = ("000000000139", "000000000285", "000000001503")


@pytest.fixture
def root(tmp_path):
    """Three pairs in val and one in train, raw label maps; together the three hold every raw value."""
    for seed, (name, values) in enumerate(zip(IDS, (range(70), range(70, 140), [*range(140, 182), 255]), strict=True)):
        write_image(tmp_path / "images" / "val2017" / f"{name}.jpg", seed)
        write_label(tmp_path / "annotations" / "val2017" / f"{name}.png", values, seed)
    write_image(tmp_path / "images" / "train2017" / "000000000009.jpg")
    write_label(tmp_path / "annotations" / "train2017" / "000000000009.png", (0,))
    return tmp_path


def convert(root, name):
    """Write the converted label map of a raw one, by a plain loop over the facts."""
    folder = root / "annotations" / "val2017"
    label = plain_label(folder / f"{name}.png", raw_to_train("coco_stuff164k"))
    Image.fromarray(label).save(folder / f"{name}_labelTrainIds.png")


def test_raw_label_maps_of_both_splits(root):
    samples = coco_stuff164k_samples(root)
    assert samples.ids == IDS and coco_stuff164k_samples(str(root), split="train").ids == ("000000000009",)
    for name, sample in zip(IDS, samples, strict=True):
        expected = plain_label(root / "annotations" / "val2017" / f"{name}.png", raw_to_train("coco_stuff164k"))
        np.testing.assert_array_equal(sample.label, expected)
    assert set(np.concatenate([sample.label.ravel() for sample in samples])) == {*range(171), 255}


@pytest.mark.parametrize(
    ("raw", "name"), [(0, "person"), (12, "stop sign"), (26, "backpack"), (89, "toothbrush"), (91, "banner")]
)
def test_some_raw_numbers_known_by_heart(root, raw, name):
    write_label(root / "annotations" / "val2017" / f"{IDS[0]}.png", (raw,))
    samples = coco_stuff164k_samples(root)
    assert (samples[0].label == samples.classes.index(name)).all()


def test_converted_label_maps_give_the_same(root):
    raw = [sample.label for sample in coco_stuff164k_samples(root)]
    for name in IDS:
        convert(root, name)
    both = coco_stuff164k_samples(root)
    assert both.ids == IDS and both.load.files(IDS[0])[1].endswith("139_labelTrainIds.png")
    for name in IDS:
        (root / "annotations" / "val2017" / f"{name}.png").unlink()
    converted = coco_stuff164k_samples(root)
    for k in range(3):
        np.testing.assert_array_equal(both[k].label, raw[k])
        np.testing.assert_array_equal(converted[k].label, raw[k])


def test_a_half_finished_conversion_reads_the_raw_ones_and_a_mixture_is_refused(root):
    convert(root, IDS[0])
    samples = coco_stuff164k_samples(root)
    assert samples.ids == IDS and samples.load.files(IDS[0])[1].endswith("139.png")
    (root / "annotations" / "val2017" / f"{IDS[0]}.png").unlink()
    with pytest.raises(DataError, match=r"mixture: of 3 images 1 have .* \*_labelTrainIds.png and 2 one \*.png"):
        coco_stuff164k_samples(root)


def test_files_of_other_names_do_not_count(root):
    write_label(root / "annotations" / "val2017" / f"{IDS[0]}_instanceTrainIds.png", (1,))
    (root / "annotations" / "val2017" / "list.txt").write_text("none")
    assert coco_stuff164k_samples(root).ids == IDS


def test_a_value_that_is_no_class(root):
    write_label(root / "annotations" / "val2017" / f"{IDS[1]}.png", (0, 182, 254))
    with pytest.raises(DataError, match=r"285.png holds .* \[182, 254\]; needed 0 to 10, 12 to 24, 26 to 27, 30"):
        coco_stuff164k_samples(root)[1]
    for name in IDS:
        (root / "annotations" / "val2017" / f"{name}.png").unlink()
        write_label(root / "annotations" / "val2017" / f"{name}_labelTrainIds.png", (0, 171))
    with pytest.raises(DataError, match=r"139_labelTrainIds.png holds the label values \[171\]; needed 0 to 170 or"):
        coco_stuff164k_samples(root)[0]


def test_unused_numbers_are_those_that_the_facts_map_to_nothing():
    assert [raw for raw, train in raw_to_train("coco_stuff164k").items() if train == 255] == [*UNUSED, 255]


def test_missing_files_and_folders(root):
    (root / "images" / "val2017" / f"{IDS[2]}.jpg").unlink()
    with pytest.raises(DataError, match=f"{IDS[2]}.png has no image: needed .*images/val2017/{IDS[2]}.jpg"):
        coco_stuff164k_samples(root)
    (root / "annotations" / "train2017" / "000000000009.png").unlink()
    (root / "annotations" / "train2017").rmdir()
    with pytest.raises(DataError, match="no folder .*annotations/train2017"):
        coco_stuff164k_samples(root, split="train")


def test_folders_of_a_hundred_thousand_files_are_listed_and_no_file_is_opened(root, monkeypatch):
    for kind, suffix in (("images", ".jpg"), ("annotations", ".png")):
        for number in range(10_000, 12_000):
            (root / kind / "train2017" / f"{number:012d}{suffix}").touch()
    monkeypatch.setattr("builtins.open", None)
    monkeypatch.setattr(Image, "open", None)
    samples = coco_stuff164k_samples(root, split="train")
    assert len(samples) == 2001 and samples.ids[-1] == "000000011999"
