"""The report on a data set: its counts against plain loops over the files, and every kind of damage named."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from shared_data import shared

from offseg_viz.data import load_samples
from offseg_viz.data.inspection import MOST_LISTED, inspect_data_set
from offseg_viz.data.published import PUBLISHED
from offseg_viz.errors import DataError, UnknownNameError

SIZES = ((10, 14), (12, 9), (7, 31))


def save(path, values, **settings):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, **settings)


def image_of(seed, size):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.fixture
def root(tmp_path):
    """Three pairs of different sizes in val, one in train; Bicyclist (10) nowhere, Fence (7) in train alone."""
    folder = tmp_path / "camvid"
    for split, name, seed in (("val", "a", 0), ("val", "b", 1), ("val", "c", 2), ("train", "d", 3)):
        label = np.random.default_rng(seed).choice([0, 1, 3, 5, 8, 11], SIZES[seed % 3]).astype(np.uint8)
        if name == "b":
            label[2, 1:5] = 9
        if name == "d":
            label[:] = 7
        save(folder / split / f"{name}.png", image_of(seed, label.shape))
        save(folder / f"{split}annot" / f"{name}.png", label)
    return folder


def inspect(root, name="camvid", **settings):
    return inspect_data_set(name, root, progress=False, **settings)


def of_split(report, split):
    return next(found for found in report.splits if found.split == split)


def val(root):
    return of_split(inspect(root), "val")


def counted(root, split, *, ignored=(11, 255), classes=11):
    """Pixels and images of each class, and ignored pixels, by loops over the files."""
    pixels, images, nothing = [0] * classes, [set() for _ in range(classes)], 0
    for path in (root / f"{split}annot").iterdir():
        for value in np.asarray(Image.open(path)).ravel().tolist():
            if value in ignored:
                nothing += 1
            else:
                pixels[value] += 1
                images[value].add(path)
    return pixels, [len(found) for found in images], nothing


# --- counts ----------------------------------------------------------------------------------------------------------


def test_counts_of_a_split(root):
    found = val(root)
    pixels, images, ignored = counted(root, "val")
    assert found.pixels.tolist() == pixels and found.images.tolist() == images and found.ignored == ignored > 0
    assert (found.samples, found.published, found.is_missing, found.problems) == (3, 101, False, ())
    assert found.values == [0, 1, 3, 5, 8, 9]
    assert found.absent == ["Pole", "Pavement", "SignSymbol", "Fence", "Bicyclist"]
    assert found.heights == (7, 12) and found.widths == (9, 31)


def test_the_table_of_classes(root):
    table = inspect(root).classes
    assert list(table.index.names) == ["split", "class"] and list(table.columns) == ["pixels", "share", "images"]
    assert list(table.index.unique("split")) == ["train", "val"], "a missing split has no rows"
    pixels, images, _ = counted(root, "val")
    np.testing.assert_allclose(table.loc["val"].share, np.array(pixels) / sum(pixels))
    assert table.loc[("val", "Pedestrian"), "images"] == images[9] == 1
    assert table.loc["train"].share["Fence"] == 1 and table.loc["train"].share.sum() == 1


def test_a_split_in_which_all_is_ignored_has_no_shares(root):
    for path in (root / "valannot").iterdir():
        save(path, np.full(np.asarray(Image.open(path)).shape, 11, np.uint8))
    found = val(root)
    assert found.classes.share.isna().all() and found.values == [] and len(found.absent) == 11
    assert "0 of 11 classes occur, 100.0 % of the pixels ignored" in found.summary()


def test_more_samples_than_are_handed_out_at_a_time(tmp_path):
    for k in range(70):
        save(tmp_path / "test" / f"{k:02d}.png", image_of(k, (4, 6)))
        save(tmp_path / "testannot" / f"{k:02d}.png", np.full((4, 6), k % 11, np.uint8))
    for k in (3, 40, 69):
        (tmp_path / "test" / f"{k:02d}.png").write_bytes(b"broken")
    found = of_split(inspect(tmp_path), "test")
    whole = [k % 11 for k in range(70) if k not in (3, 40, 69)]
    assert found.pixels.tolist() == [24 * whole.count(c) for c in range(11)]
    assert [line.split(" ")[0][-6:] for line in found.problems] == ["03.png", "40.png", "69.png"], "in their order"
    assert found.samples == 70


def test_the_summary(root):
    (root / "trainannot" / "d.png").write_bytes(b"broken")
    lines = inspect(root).summary().splitlines()
    assert lines[:2] == [f"camvid in {root}: problems: 1", "train: 1 pairs of 367 published"]
    assert lines[2].startswith(f"  problem: {root}/trainannot/d.png cannot be read as a label map")
    ignored = counted(root, "val")[2] / sum(height * width for height, width in SIZES)
    assert lines[3:] == [
        "val: 3 pairs of 101 published",
        "  9 to 31 wide, 7 to 12 high",
        f"  6 of 11 classes occur, {100 * ignored:.1f} % of the pixels ignored",
        "  never occur: Pole, Pavement, SignSymbol, Fence, Bicyclist",
        "test: missing",
    ]


def test_a_summary_lists_the_first_of_many_problems(tmp_path):
    for k in range(MOST_LISTED + 3):
        save(tmp_path / "val" / f"{k:02d}.png", image_of(k, (4, 6)))
        save(tmp_path / "valannot" / f"{k:02d}.png", np.full((4, 6), 99, np.uint8))
    report = inspect(tmp_path)
    assert len(report.problems) == MOST_LISTED + 3
    assert report.summary().count("holds the label values [99]") == MOST_LISTED
    assert "  problem: and 3 more\n" in report.summary()


# --- problems --------------------------------------------------------------------------------------------------------


def spoilt(path, change):
    data = path.read_bytes()
    path.write_bytes(change(data))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: (root / "val/b.png").write_bytes(b""), "val/b.png cannot be read as an image"),
        (lambda root: spoilt(root / "val/b.png", lambda data: data[: len(data) // 2]), "val/b.png cannot be read"),
        (lambda root: spoilt(root / "valannot/b.png", lambda data: data[:-30]), "valannot/b.png cannot be read"),
        (lambda root: save(root / "valannot/b.png", np.zeros((9, 12), np.uint8)), "b.png is 12x9 but its image"),
        (lambda root: save(root / "valannot/b.png", np.full((12, 9), 200, np.uint8)), r"holds the label values [200]"),
        (lambda root: save(root / "valannot/b.png", image_of(0, (12, 9))), "found mode RGB"),
    ],
    ids=["empty", "truncated", "label truncated", "size", "value", "mode"],
)
def test_a_bad_pair_is_named_and_the_others_counted(root, spoil, message):
    spoil(root)
    report = inspect(root)
    found = of_split(report, "val")
    assert len(found.problems) == 1 and message in found.problems[0] and "\n" not in found.problems[0]
    assert not report.ok and report.problems == [f"val: {found.problems[0]}"]
    (root / "valannot" / "b.png").unlink()
    assert found.pixels.tolist() == counted(root, "val")[0], "of the other two"
    assert found.samples == 3 and found.heights == (7, 10)


@pytest.mark.parametrize("lost", [1, 2, 3, 10, 200, 1000])
def test_a_jpeg_is_decoded_to_its_end(root, lost):
    (root / "val" / "b.png").unlink()
    save(root / "val" / "b.jpg", image_of(1, (120, 90)), quality=95)
    save(root / "valannot" / "b.png", np.zeros((120, 90), np.uint8))
    assert inspect(root).ok
    spoilt(root / "val" / "b.jpg", lambda data: data[:-lost])
    assert ["val/b.jpg cannot be read" in line for line in val(root).problems] == [True]


@pytest.mark.parametrize("folder", ["val", "valannot"])
def test_a_png_with_a_wrong_sum_is_found_though_it_can_be_decoded(root, folder):
    path = root / folder / "b.png"
    data = bytearray(path.read_bytes())
    start = data.index(b"IDAT")
    data[start + 4 + int.from_bytes(data[start - 4 : start], "big")] ^= 1
    path.write_bytes(data)
    assert load_samples("camvid", root=root)["b"].label.shape == SIZES[1]
    (problem,) = val(root).problems
    assert problem.startswith(f"{path} is damaged (broken PNG file") and "replace or remove it" in problem


def test_an_error_of_another_kind_does_not_stop_it(root, monkeypatch):
    # Some decoder raises something that no reader expects.
    whole = Image.Image.convert

    def convert(image, *mode):
        if image.size == (9, 12):
            raise ZeroDivisionError("odd\nfile")
        return whole(image, *mode)

    save(root / "val" / "b.png", image_of(1, (12, 9))[..., 0])  # one channel, hence converted
    monkeypatch.setattr(Image.Image, "convert", convert)
    found = val(root)
    assert found.problems == (f"{root}/val/b.png: odd file (ZeroDivisionError)",)
    assert found.pixels.sum() > 0


def test_files_without_a_partner_are_all_listed_and_the_others_looked_at(root):
    (root / "valannot" / "b.png").unlink()
    (root / "val" / "c.png").unlink()
    save(root / "valannot" / "e.png", np.zeros((4, 5), np.uint8))
    damaged = root / "val" / "a.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    report = inspect(root)
    found = of_split(report, "val")
    assert len(found.problems) == 4
    for problem, name in zip(
        found.problems, ("val/b.png", "valannot/c.png", "valannot/e.png", "val/a.png"), strict=True
    ):
        assert name in problem
    assert "has no label map: needed" in found.problems[0] and "has no image: needed" in found.problems[1]
    assert found.samples == 1 and found.heights is None and not report.ok
    assert of_split(report, "train").samples == 1 and of_split(report, "train").heights is not None


def test_a_split_without_its_label_maps_is_a_problem_of_one_line(root):
    (root / "valannot").rename(root / "elsewhere")
    (problem,) = val(root).problems
    assert problem.startswith(f"no folder {root}/valannot (") and "\n" not in problem


# --- splits ----------------------------------------------------------------------------------------------------------


def test_a_missing_split_is_no_problem_unless_it_was_asked_for(root):
    report = inspect(root)
    assert [(found.split, found.is_missing) for found in report.splits] == [
        ("train", False), ("val", False), ("test", True),
    ]  # fmt: skip
    assert report.ok and report.problems == []
    asked = inspect(root, splits=["test", "val"])
    assert [found.split for found in asked.splits] == ["test", "val"]
    assert not asked.ok and asked.problems == [f"test: {root} has no test split"]
    assert inspect(root, splits=("val",)).ok


def test_a_folder_with_nothing_of_the_set_in_it(tmp_path):
    report = inspect(tmp_path)
    assert not report.ok and all(found.is_missing for found in report.splits) and report.problems == []
    assert report.classes.empty and "none of it is there; needed the root of camvid" in report.summary()
    assert PUBLISHED["camvid"].layout in report.summary()


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_split_is_missing_when_its_reader_misses_the_same(name, tmp_path):
    # What marks a split as there is the very thing without which its reader says that it is missing.
    report = inspect(tmp_path, name)
    assert [found.split for found in report.splits if found.is_missing] == list(PUBLISHED[name].splits)
    for split in PUBLISHED[name].splits:
        with pytest.raises(DataError) as error:
            load_samples(name, split=split, root=tmp_path)
        missed = next(Path(word) for word in str(error.value).split() if word.startswith(str(tmp_path)))
        if missed.suffix:
            missed.parent.mkdir(parents=True, exist_ok=True)
            missed.touch()
        else:
            missed.mkdir(parents=True)
        (tmp_path / "SegmentationClassContext").mkdir(exist_ok=True)
        assert not of_split(inspect(tmp_path, name), split).is_missing


@pytest.mark.parametrize(("name", "split"), [("camvid", "vall"), ("ade20k", "test"), ("folder", "all")])
def test_unknown_names(root, name, split):
    with pytest.raises(UnknownNameError, match=f"split of {name}"):
        inspect(root, name, splits=["val", split])
    with pytest.raises(UnknownNameError, match="data set 'camvit'.*camvid"):
        inspect(root, "camvit")


@pytest.mark.parametrize(("folder", "found"), [(None, "no folder was given"), ("nowhere", "nowhere is no folder")])
def test_no_folder(folder, found):
    with pytest.raises(DataError, match=f"{found}; needed the root folder of camvid"):
        inspect(folder)


# --- one's own folder, photographs, scenes ---------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path):
    """Images and labels without splits, three classes of which `tree` does not occur."""
    for k in range(2):
        save(tmp_path / "images" / f"{k}.jpg", image_of(k, SIZES[k]))
        label = np.resize(np.array([0, 2, 255], np.uint8), SIZES[k])
        save(tmp_path / "labels" / f"{k}.png", label)
    (tmp_path / "classes.txt").write_text("sky\ntree\nroad\n")
    return tmp_path


def test_a_folder_without_splits(own):
    report = inspect(own, "folder")
    (found,) = report.splits
    assert report.ok and (found.split, found.samples, found.published) == ("all", 2, None)
    assert found.absent == ["tree"] and found.class_names == ("sky", "tree", "road")
    assert report.summary().splitlines()[1] == "all: 2 pairs"


def test_a_folder_with_splits(own):
    for kind in ("images", "labels"):
        for k, split in enumerate(("train", "test")):
            (own / kind / split).mkdir()
            name = f"{k}.{'jpg' if kind == 'images' else 'png'}"
            (own / kind / name).rename(own / kind / split / name)
    report = inspect(own, "folder")
    assert report.ok
    assert [(found.split, found.samples, found.is_missing) for found in report.splits] == [
        ("train", 1, False), ("val", 0, True), ("test", 1, False),
    ]  # fmt: skip


def test_a_folder_without_classes(own):
    (own / "classes.txt").unlink()
    report = inspect(own, "folder")
    assert not report.ok and "no classes.txt" in report.problems[0]


@pytest.mark.parametrize("name", ["photographs", "folder"])
def test_photographs_are_opened_too(tmp_path, name):
    save(tmp_path / "a.jpg", image_of(0, SIZES[0]))
    report = inspect(tmp_path, name)
    assert report.ok and report.classes.empty and list(report.classes.columns) == ["pixels", "share", "images"]
    assert report.summary().splitlines()[1:] == [
        "all: 1 images", "  size 14x10", "  no label maps: nothing to train or evaluate on",
    ]  # fmt: skip
    (tmp_path / "b.jpg").write_bytes(b"broken")
    assert len(inspect(tmp_path, name).problems) == 1


def test_scenes():
    report = inspect(None, "scenes", splits=["val"])
    assert report.ok and report.root is None and report.splits[0].samples == 24
    assert report.summary().startswith("scenes: ok\nval: 24 pairs\n  size 384x256\n")


# --- real files ------------------------------------------------------------------------------------------------------


def test_a_bar_on_the_error_stream_of_a_terminal_only(root, capfd, monkeypatch):
    inspect_data_set("camvid", root)
    assert capfd.readouterr() == ("", "")
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes any stream for a terminal then
    inspect_data_set("camvid", root)
    out, err = capfd.readouterr()
    assert out == "" and "inspecting camvid val" in err
    inspect(root)
    assert capfd.readouterr() == ("", "")


def test_real_camvid():
    root = shared("data/camvid")
    facts = json.loads(shared("facts/camvid.json").read_text())["statistics"]
    report = inspect(root)
    assert report.ok
    for found in report.splits:
        assert [*found.pixels.tolist(), found.ignored] == facts[found.split]["pixels"]
        assert found.samples == found.published == facts[found.split]["n"]
        assert (found.heights, found.widths) == ((360, 360), (480, 480))
        assert f"{found.split}: {found.samples} pairs, as published" in report.summary()


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("ade20k", {"train": None, "val": 33}),
        ("coco_stuff164k", {"train": 13, "val": 43}),
        ("pascal_context", {"train": 9, "val": 5}),
    ],
)
def test_real_samples_of_the_others(name, counts):
    report = inspect(shared(f"data/{name}"), name)
    assert report.ok
    assert {found.split: None if found.is_missing else found.samples for found in report.splits} == counts
    for found in report.splits:
        if not found.is_missing:
            samples = load_samples(name, split=found.split, root=report.root)
            labels = pd.Series(np.concatenate([sample.label.ravel() for sample in samples])).value_counts()
            expected = [int(labels.get(k, 0)) for k in range(len(samples.classes))]
            assert found.pixels.tolist() == expected and found.ignored == labels.get(255, 0)
