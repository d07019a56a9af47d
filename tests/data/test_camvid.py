"""The CamVid folder: both layouts, every kind of bad folder and file, and the real data where it is at hand."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from offseg_viz.data import check_samples, load_samples
from offseg_viz.data.camvid import CAMVID_CLASSES, camvid_samples
from offseg_viz.errors import DataError, UnknownNameError

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
REAL = SHARED / "data" / "camvid"
HEIGHT, WIDTH = 10, 14


def image_of(seed):
    # Smooth, so that JPEG keeps it almost as it is.
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([9 * y + seed, 7 * x, 5 * (x + y)], axis=-1).astype(np.uint8)


def label_of(seed):
    return np.random.default_rng(seed).integers(0, 12, (HEIGHT, WIDTH), dtype=np.uint8)


def write_pair(root, split, name, seed, *, suffix=".jpg", label_suffix=".png"):
    for folder in (root / split, root / f"{split}annot"):
        folder.mkdir(parents=True, exist_ok=True)
    # Pillow goes by the suffix in lower case, so upper-case suffixes are written in the right format too.
    Image.fromarray(image_of(seed)).save(root / split / f"{name}{suffix}", quality=95)
    Image.fromarray(label_of(seed)).save(root / f"{split}annot" / f"{name}{label_suffix}")


@pytest.fixture
def root(tmp_path):
    """Two pairs in val, one in train, none in test, JPEG photographs."""
    folder = tmp_path / "camvid"
    write_pair(folder, "val", "b_late", 2)
    write_pair(folder, "val", "a_early", 1)
    write_pair(folder, "train", "c", 3)
    return folder


def assert_is_pair(sample, name, seed, *, tolerance):
    assert (sample.id, sample.dataset, sample.classes) == (name, "camvid", CAMVID_CLASSES)
    assert sample.image.dtype == sample.label.dtype == np.uint8
    assert np.abs(sample.image.astype(int) - image_of(seed)).max() <= tolerance
    raw = label_of(seed)
    assert (raw == 11).any()
    np.testing.assert_array_equal(sample.label, np.where(raw == 11, 255, raw))


def test_pairs_in_the_order_of_their_names_with_void_as_255(root):
    samples = camvid_samples(root)
    assert samples.ids == ("a_early", "b_late")
    assert_is_pair(samples[0], "a_early", 1, tolerance=12)
    assert_is_pair(samples["b_late"], "b_late", 2, tolerance=12)
    assert camvid_samples(str(root), split="train").ids == ("c",)


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".JPG", ".jpeg", ".Jpg"])
@pytest.mark.parametrize("label_suffix", [".png", ".PNG"])
def test_the_other_suffixes_of_the_same_layout(tmp_path, suffix, label_suffix):
    write_pair(tmp_path, "test", "only", 5, suffix=suffix, label_suffix=label_suffix)
    write_pair(tmp_path, "test", "other", 6)
    samples = camvid_samples(tmp_path, split="test")
    assert samples.ids == ("only", "other")
    assert_is_pair(samples["only"], "only", 5, tolerance=0 if suffix.lower() == ".png" else 12)


def test_hidden_and_foreign_files_do_not_count(root):
    (root / "val" / "._a_early.jpg").write_bytes(b"resource fork")
    (root / "val" / "Thumbs.db").write_bytes(b"")
    (root / "val" / "list.txt").write_text("a_early")
    (root / "valannot" / "readme").write_text("labels")
    assert camvid_samples(root).ids == ("a_early", "b_late")


def test_nothing_is_read_before_an_item_is_asked_for(root):
    (root / "val" / "b_late.jpg").write_bytes(b"broken")
    samples = camvid_samples(root)
    assert samples["a_early"].id == "a_early"
    with pytest.raises(DataError, match="b_late.jpg cannot be read"):
        samples["b_late"]


def test_a_camvid_set_travels_to_another_process(root):
    samples = pickle.loads(pickle.dumps(camvid_samples(root)))
    assert_is_pair(samples["a_early"], "a_early", 1, tolerance=12)


def test_check_samples_counts_classes(root):
    found = check_samples(camvid_samples(root))
    raw = np.concatenate([label_of(1).ravel(), label_of(2).ravel()])
    assert found.samples == 2
    assert found.pixels.tolist() == [int((raw == k).sum()) for k in range(11)]


# --- bad folders -----------------------------------------------------------------------------------------------------


def test_unknown_split(root):
    with pytest.raises(UnknownNameError, match="'vall'.*'val'.*train, val, test"):
        camvid_samples(root, split="vall")


def test_a_root_that_is_not_there_or_is_another_folder(root, tmp_path):
    with pytest.raises(DataError, match=r"(?s)nowhere is no folder.*needed the root of camvid.* train/.* trainannot/"):
        camvid_samples(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no folder .*val \(.* holds: camvid\)"):
        camvid_samples(tmp_path)


@pytest.mark.parametrize("folder", ["test", "testannot"])
def test_a_missing_split_folder_is_named(root, folder):
    write_pair(root, "test", "d", 4)
    for file in (root / folder).iterdir():
        file.unlink()
    (root / folder).rmdir()
    with pytest.raises(DataError, match=f"no folder .*/{folder} "):
        camvid_samples(root, split="test")


@pytest.mark.parametrize("folder", ["val", "valannot"])
def test_an_empty_folder_is_named(root, folder):
    for file in (root / folder).iterdir():
        file.unlink()
    with pytest.raises(DataError, match=f"/{folder} is empty"):
        camvid_samples(root)


def test_an_image_without_label_map(root):
    (root / "valannot" / "b_late.png").unlink()
    with pytest.raises(DataError, match="val/b_late.jpg has no label map: needed .*valannot/b_late.png"):
        camvid_samples(root)


def test_a_label_map_without_image(root):
    (root / "val" / "a_early.jpg").unlink()
    with pytest.raises(DataError, match="valannot/a_early.png has no image: needed .*val/a_early.jpg"):
        camvid_samples(root)


def test_two_images_of_one_name(root):
    Image.fromarray(image_of(1)).save(root / "val" / "a_early.png")
    with pytest.raises(DataError, match="a_early.jpg and .*a_early.png are both named 'a_early'"):
        camvid_samples(root)


# --- bad files, found by check_samples before any training step ------------------------------------------------------


def save_label(root, values):
    Image.fromarray(values).save(root / "valannot" / "b_late.png")


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: truncate(root / "val" / "b_late.jpg"), "val/b_late.jpg cannot be read as an image"),
        (lambda root: truncate(root / "valannot" / "b_late.png"), "valannot/b_late.png cannot be read as a label map"),
        (lambda root: save_label(root, image_of(0)), "valannot/b_late.png is no label map.*found mode RGB"),
        (lambda root: save_label(root, label_of(0)[:-1]), "b_late.png is 14x9 but its image .*b_late.jpg is 14x10"),
        (lambda root: save_label(root, label_of(0).T), "valannot/b_late.png is 10x14"),
        (
            lambda root: save_label(root, np.where(label_of(0) == 4, 37, label_of(0)).astype(np.uint8)),
            r"valannot/b_late.png holds the label values \[37\]; needed 0 to 10 or ignored \(11, 255\)",
        ),
        (
            lambda root: save_label(root, label_of(0).astype(np.uint16) + 256),
            r"valannot/b_late.png holds the label values \[256, 257",
        ),
    ],
    ids=["truncated image", "truncated label", "RGB label", "smaller label", "transposed label", "value 37", "16 bit"],
)
def test_a_bad_file_is_named_before_training(root, spoil, message):
    spoil(root)
    with pytest.raises(DataError, match=message):
        check_samples(camvid_samples(root))


# --- by name ---------------------------------------------------------------------------------------------------------


def test_load_samples_by_name(root):
    assert load_samples("camvid", root=root).ids == ("a_early", "b_late")
    assert load_samples("camvid", split="train", root=root).ids == ("c",)


def test_load_samples_says_what_to_pass(root):
    with pytest.raises(UnknownNameError, match="'CamVid'.*Did you mean 'camvid'.*scenes, camvid"):
        load_samples("CamVid", root=root)
    with pytest.raises(DataError, match=r'camvid needs its folder: load_samples\("camvid", root='):
        load_samples("camvid")
    with pytest.raises(DataError, match="leave size out"):
        load_samples("camvid", root=root, size=(20, 30))
    with pytest.raises(DataError, match="scenes are generated .* leave root out"):
        load_samples("scenes", root=root)


def test_load_samples_passes_split_and_size_to_the_scenes(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    samples = load_samples("scenes", split="train", size=(64, 80))
    assert samples[0].image.shape == (64, 80, 3)
    assert samples[0].label.shape == (64, 80)
    assert not set(samples.ids) & set(load_samples("scenes").ids), "train and val share scenes"


# --- the real photographs --------------------------------------------------------------------------------------------


@pytest.mark.skipif(not REAL.is_dir(), reason="CamVid, which may not be shipped, is not at ../shared/data/camvid")
@pytest.mark.parametrize(("split", "count"), [("train", 367), ("val", 101), ("test", 233)])
def test_the_real_splits(split, count):
    samples = load_samples("camvid", split=split, root=REAL)
    assert len(samples) == count
    assert samples[0].image.shape == (360, 480, 3)
    facts = json.loads((SHARED / "facts" / "camvid.json").read_text())
    assert list(samples.classes) == facts["classes"]
    assert samples.classes.palette.tolist() == facts["palette"]
    if split == "val":
        assert check_samples(samples).pixels.tolist() == facts["statistics"]["val"]["pixels"][:11]
