"""Cityscapes: its layout written by hand; raw and converted label maps agree pixel by pixel."""

import numpy as np
import pytest
from image_files import facts_on, plain_label, raw_to_train, write_image, write_label
from PIL import Image

from offseg_viz.data.cityscapes import RAW, cityscapes_samples
from offseg_viz.errors import DataError

IDS = ("frankfurt_000000_000294", "frankfurt_000001_007973", "lindau_000000_000019")
ULM = "ulm_000000_000019"


def pair(root, name, split="val"):
    """The paths of image, raw and converted label map."""
    city = name.partition("_")[0]
    labels = root / "gtFine" / split / city
    return (
        root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png",
        labels / f"{name}_gtFine_labelIds.png",
        labels / f"{name}_gtFine_labelTrainIds.png",
    )


@pytest.fixture
def root(tmp_path):
    """Two cities in val and one in train, raw label maps of all 34 values, and the other files of the release."""
    for seed, name in enumerate((IDS[2], IDS[0], IDS[1], ULM)):
        image, raw, converted = pair(tmp_path, name, "train" if name == ULM else "val")
        write_image(image, seed)
        write_label(raw, range(34), seed)
        write_image(converted.with_name(f"{name}_gtFine_color.png"), seed)
        write_label(converted.with_name(f"{name}_gtFine_instanceIds.png"), (7, 26), seed)
        converted.with_name(f"{name}_gtFine_polygons.json").write_text("{}")
    return tmp_path


def convert(root, name):
    """Write the converted label map of a raw one, by a plain loop over the facts."""
    _, raw, converted = pair(root, name)
    Image.fromarray(plain_label(raw, raw_to_train("cityscapes"))).save(converted)


def test_all_cities_in_the_order_of_their_names(root):
    samples = cityscapes_samples(root)
    assert samples.ids == IDS and samples.dataset == "cityscapes" and len(samples.classes) == 19
    assert cityscapes_samples(str(root), split="train").ids == (ULM,)
    assert samples.where(IDS[2]) == str(pair(root, IDS[2])[0])
    root.rename(root.with_name("cityscapes"))
    assert cityscapes_samples(root.parent).ids == IDS


def test_raw_and_converted_label_maps_agree_pixel_by_pixel(root):
    raw = cityscapes_samples(root)
    assert all(raw.load.files(name)[1].endswith("_labelIds.png") for name in IDS)
    for name in IDS:
        convert(root, name)
    converted = cityscapes_samples(root)
    assert all(converted.load.files(name)[1].endswith("_labelTrainIds.png") for name in IDS)
    for one, other in zip(raw, converted, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.label, other.label)
        assert set(np.unique(one.label)) == {*range(19), 255}
    for name in IDS:
        pair(root, name)[1].unlink()
    np.testing.assert_array_equal(cityscapes_samples(root)[1].label, converted[1].label)


def test_some_raw_numbers_known_by_heart(root):
    samples = cityscapes_samples(root)
    with Image.open(pair(root, IDS[0])[1]) as image:
        raw = np.asarray(image)
    for value, name in ((7, "road"), (24, "person"), (26, "car"), (31, "train"), (32, "motorcycle"), (33, "bicycle")):
        assert (samples[0].label[raw == value] == samples.classes.index(name)).all()


def test_the_raw_numbers_are_those_of_the_facts():
    rows = facts_on("cityscapes")["raw_labels"]["raw_classes"]
    classes = facts_on("cityscapes")["classes"]
    used = {row["name"]: row["id"] for row in rows if row["train_id"] in range(19)}
    assert used == dict(zip(classes, RAW, strict=True))


def test_a_half_finished_conversion_reads_the_raw_ones_and_a_mixture_is_refused(root):
    convert(root, IDS[0])
    assert cityscapes_samples(root).load.files(IDS[0])[1].endswith("_labelIds.png")
    pair(root, IDS[0])[1].unlink()
    with pytest.raises(DataError, match=r"mixture: of 3 images 1 have .*TrainIds.png and 2 one \*_gtFine_labelIds"):
        cityscapes_samples(root)


def test_a_value_that_is_no_class(root):
    write_label(pair(root, IDS[0])[1], (7, 34, 45))
    with pytest.raises(DataError, match=r"labelIds.png holds .* \[34, 45\]; needed 7 to 8, 11 to 13, 17,"):
        cityscapes_samples(root)[0]
    for name in IDS:
        write_label(pair(root, name)[2], (0, 19, 255))
    with pytest.raises(DataError, match=r"labelTrainIds.png holds the label values \[19\]; needed 0 to 18 or"):
        cityscapes_samples(root)[0]


def test_a_photograph_without_label_map_and_the_reverse(root):
    pair(root, IDS[1])[1].unlink()
    with pytest.raises(DataError, match=f"{IDS[1]}_leftImg8bit.png has no label map: .*furt/{IDS[1]}_gtFine_l"):
        cityscapes_samples(root)
    pair(root, IDS[1])[0].unlink()
    pair(root, IDS[2])[0].unlink()
    (root / "leftImg8bit" / "val" / "lindau").rmdir()
    with pytest.raises(DataError, match=f"{IDS[2]}_gtFine_labelIds.png has no image: .*lindau/{IDS[2]}_left"):
        cityscapes_samples(root)


def test_bad_folders(root):
    image, raw, _ = pair(root, IDS[2])
    write_image(image.parent.with_name("lindau2") / image.name)
    write_label(raw.parent.with_name("lindau2") / raw.name, (7,))
    with pytest.raises(DataError, match="lindau/lindau_000000_000019_leftImg8bit.png lies in another city too"):
        cityscapes_samples(root)
    pair(root, ULM, "train")[0].rename(root / "leftImg8bit" / "train" / "ulm" / "ulm.png")
    with pytest.raises(DataError, match=r"no \*_leftImg8bit.png in the folders of .*train; needed the root"):
        cityscapes_samples(root, split="train")
    (root / "gtFine").rename(root / "gtCoarse")
    with pytest.raises(DataError, match=r"no folder .*gtFine/val \(.* holds: gtCoarse, leftImg8bit\)"):
        cityscapes_samples(root)
