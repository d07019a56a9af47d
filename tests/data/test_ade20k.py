"""ADE20K: its layout written by hand, 0 as ignored and classes counted from 0, every kind of bad folder."""

import numpy as np
import pytest
from image_files import write_image, write_label
from PIL import Image

from offseg_viz.data.ade20k import ade20k_samples
from offseg_viz.errors import DataError


def write_pair(root, folder, name, values, seed=0):
    write_image(root / "images" / folder / f"{name}.jpg", seed)
    return write_label(root / "annotations" / folder / f"{name}.png", values, seed)


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "data" / "ADEChallengeData2016"
    write_pair(folder, "validation", "ADE_val_00000002", (0, 1, 150), 2)
    write_pair(folder, "validation", "ADE_val_00000001", (0, 255, 30), 1)
    write_pair(folder, "training", "ADE_train_00000001", (5,), 3)
    return folder


def test_both_splits_from_the_root_or_its_parent(root):
    for place in (root, root.parent, str(root.parent)):
        assert ade20k_samples(place).ids == ("ADE_val_00000001", "ADE_val_00000002")
        assert ade20k_samples(place, split="train").ids == ("ADE_train_00000001",)


def test_all_raw_values_one_by_one(tmp_path):
    raw = np.concatenate([write_pair(tmp_path, "validation", f"{k}", range(k, k + 76), k) for k in (0, 75)])
    samples = ade20k_samples(tmp_path)
    label = np.concatenate([samples["0"].label, samples["75"].label])
    assert {(int(a), int(b)) for a, b in zip(raw.ravel(), label.ravel(), strict=True)} == {
        (value, value - 1 if value else 255) for value in range(151)
    }


def test_255_stays_ignored_and_other_values_are_refused(root):
    label = ade20k_samples(root)["ADE_val_00000001"].label
    assert sorted(np.unique(label)) == [29, 255]
    write_label(root / "annotations" / "validation" / "ADE_val_00000001.png", (1, 151, 254))
    with pytest.raises(DataError, match=r"0001.png holds .* \[151, 254\]; needed 1 to 150 or .*\(0, 255"):
        ade20k_samples(root)["ADE_val_00000001"]


def test_the_label_maps_of_the_full_release_are_refused(root):
    Image.fromarray(np.zeros((10, 14, 3), np.uint8)).save(root / "annotations" / "validation" / "ADE_val_00000001.png")
    with pytest.raises(DataError, match="0001.png is no label map: needed one channel"):
        ade20k_samples(root)[0]


def test_missing_files_and_folders(root):
    (root / "annotations" / "validation" / "ADE_val_00000001.png").unlink()
    with pytest.raises(DataError, match="validation/ADE_val_00000001.jpg has no label map: needed .*annotations/valid"):
        ade20k_samples(root)
    (root / "annotations" / "training" / "ADE_train_00000001.png").unlink()
    with pytest.raises(DataError, match="annotations/training is empty; needed .png"):
        ade20k_samples(root, split="train")
    (root / "annotations" / "training").rmdir()
    with pytest.raises(DataError, match=r"no folder .*ADEChallengeData2016/annotations/training \(.* images"):
        ade20k_samples(root.parent, split="train")
