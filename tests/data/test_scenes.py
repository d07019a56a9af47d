"""The procedural scenes: repeatable, aligned, complete, with a long tail, and colours that mean little alone."""

import json
import multiprocessing
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from offseg_viz.data import scenes
from offseg_viz.data.sample import read_label
from offseg_viz.data.scene_drawing.camera import NEAR, Camera, View, clip_near
from offseg_viz.data.scenes import (
    SCENE_CLASSES,
    cache_folder,
    cache_scenes,
    scene,
    scene_samples,
    write_bundled_scenes,
    write_scenes,
)
from offseg_viz.errors import DataError, UnknownNameError

SMALL = (64, 88)
BUNDLED = Path(__file__).resolve().parents[2] / "data_samples" / "scenes"


@pytest.fixture(scope="module")
def many():
    """The first 140 training scenes, small."""
    return [scene(1_000_000 + k, size=(72, 96)) for k in range(140)]


@pytest.fixture(scope="module")
def brightness(many):
    """Mean grey level of every class in every image, (image, class), NaN where it has fewer than 25 pixels."""
    table = np.full((len(many), len(SCENE_CLASSES)), np.nan)
    for row, sample in zip(table, many):
        grey = sample.image.mean(axis=2)
        for k in np.flatnonzero(np.bincount(sample.label.ravel(), minlength=len(SCENE_CLASSES)) >= 25):
            row[k] = grey[sample.label == k].mean()
    return {name: table[:, k] for k, name in enumerate(SCENE_CLASSES)}


def same(a, b):
    return np.array_equal(a.image, b.image) and np.array_equal(a.label, b.label)


def test_same_seed_gives_same_bytes():
    for seed in (0, 7, 12, 1_000_003):
        assert same(scene(seed, size=SMALL), scene(seed, size=SMALL))
    assert not same(scene(0, size=SMALL), scene(1, size=SMALL))


def test_drawing_is_untouched_by_the_global_random_state():
    np.random.seed(1)
    first = scene(4, size=SMALL)
    np.random.seed(2)
    state = np.random.get_state()[1].copy()
    assert same(first, scene(4, size=SMALL))
    assert np.array_equal(state, np.random.get_state()[1])


@pytest.mark.parametrize("size", [(64, 64), (64, 200), (201, 67), (65, 99), (192, 256)])
def test_sizes_types_and_values(size):
    for seed in range(3):
        sample = scene(seed, size=size)
        assert sample.image.shape == (*size, 3) and sample.image.dtype == np.uint8
        assert sample.label.shape == size and sample.label.dtype == np.uint8
        assert sample.label.max() < len(SCENE_CLASSES)
        assert sample.image.std() > 5
    assert (sample.id, sample.dataset, sample.classes) == ("scene-000002", "scenes", SCENE_CLASSES)


@pytest.mark.parametrize("size", [(63, 64), (64, 63), (0, 0), (64,)])
def test_too_small_a_size_says_what_is_needed(size):
    with pytest.raises(DataError, match="at least 64 pixels"):
        scene(0, size=size)
    with pytest.raises(DataError, match="at least 64 pixels"):
        scene_samples("train", size=size)


def test_wrong_arguments():
    with pytest.raises(DataError, match="negative"):
        scene(-1)
    with pytest.raises(UnknownNameError, match="train, val"):
        scene_samples("trian")
    with pytest.raises(DataError, match="1 or more"):
        scene_samples("train", count=0)


def test_same_seed_shows_the_same_scene_at_every_size():
    for seed in range(6):
        small, large = scene(seed, size=(96, 128)), scene(seed, size=(240, 320))
        shrunk = cv2.resize(large.label, (128, 96), interpolation=cv2.INTER_NEAREST)
        assert (shrunk == small.label).mean() > 0.88, seed
        shrunk = cv2.resize(large.image, (128, 96), interpolation=cv2.INTER_AREA).astype(float)
        assert np.abs(shrunk - small.image).mean() < 16, seed


def test_wider_picture_sees_the_same_middle():
    for seed in range(4):
        narrow, wide = scene(seed, size=(96, 128)), scene(seed, size=(96, 192))
        assert (wide.label[:, 32:-32] == narrow.label).mean() > 0.98


def test_label_lies_on_its_image():
    """Edges of the label map are where the image changes, and not two pixels beside it."""
    gains = []
    for seed in range(10):
        sample = scene(seed, size=(192, 256))
        grey = cv2.GaussianBlur(sample.image, (3, 3), 0).astype(float).mean(axis=2)
        steps = np.abs(np.diff(grey, axis=1))
        edges = np.diff(sample.label.astype(int), axis=1) != 0
        there = steps[:, 8:-8][edges[:, 8:-8]].mean()
        aside = [steps[:, 8:-8][np.roll(edges, shift, axis=1)[:, 8:-8]].mean() for shift in (-3, 3)]
        gains.append(there / max(aside))
    assert np.median(gains) > 1.35
    assert min(gains) > 1.0


def test_every_class_occurs_with_a_long_tail(many):
    counts = sum(np.bincount(sample.label.ravel(), minlength=len(SCENE_CLASSES)) for sample in many)
    missing = [name for name, count in zip(SCENE_CLASSES, counts) if not count]
    assert not missing
    assert counts.max() > 50 * counts.min()
    assert len(SCENE_CLASSES) >= 24
    assert len(set(SCENE_CLASSES.colors)) == len(SCENE_CLASSES)


@pytest.mark.parametrize(
    "darker, lighter, order, overlap",
    [
        ("road", "pavement", 0.95, 0.86),
        ("road", "wall", 0.75, 0.70),
        ("wall", "pavement", 0.90, 0.82),
        ("road", "lane marking", 0.95, 0.93),
    ],
)
def test_brightness_tells_classes_apart_within_an_image_only(brightness, darker, lighter, order, overlap):
    """Within one image the order holds; two images picked at random often show it the other way round."""
    a, b = brightness[darker], brightness[lighter]
    both = ~np.isnan(a) & ~np.isnan(b)
    assert both.sum() >= 25
    within = (b[both] > a[both]).mean()
    across = (b[~np.isnan(b)][:, None] > a[~np.isnan(a)]).mean()
    assert within > order
    assert across < overlap
    assert within - across > 0.10


def test_red_things_share_their_reds(many):
    """Brick and autumn trees overlap in hue over the images, so that no fixed threshold parts them."""
    hues = {"brick": [], "tree": []}
    for sample in many:
        hue, saturation, _ = cv2.split(cv2.cvtColor(sample.image, cv2.COLOR_RGB2HSV))
        for name, found in hues.items():
            here = (sample.label == SCENE_CLASSES.index(name)) & (saturation > 70)
            if here.sum() > 60:
                found.append(np.median((hue[here].astype(int) + 30) % 180))
    low, high = np.percentile(hues["brick"], [5, 95])
    assert sum(low <= hue <= high for hue in hues["tree"]) >= 8


def test_train_split_is_cached_and_read_back(tmp_path):
    samples = scene_samples("train", count=3, size=SMALL, cache=tmp_path)
    assert samples.ids == ("scene-1000000", "scene-1000001", "scene-1000002")
    assert not list(tmp_path.rglob("*.png"))
    drawn = samples[1]
    assert same(drawn, scene(1_000_001, size=SMALL))
    files = list(tmp_path.rglob("*"))
    assert [file.name for file in files if file.is_file()] == ["scene-1000001.png"]
    with_mark = np.array(Image.open(cache_folder(SMALL, tmp_path) / "scene-1000001.png"))
    with_mark[0, 0] = (1, 2, 3, 4)
    Image.fromarray(with_mark).save(cache_folder(SMALL, tmp_path) / "scene-1000001.png")
    again = samples["scene-1000001"]
    assert again.image[0, 0].tolist() == [1, 2, 3] and again.label[0, 0] == 4  # read, not drawn


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "size", "mode", "value", "flip"])
def test_damaged_cache_file_is_drawn_anew(tmp_path, damage):
    samples = scene_samples("train", count=1, size=SMALL, cache=tmp_path)
    good = samples[0]
    path = cache_folder(SMALL, tmp_path) / f"{good.id}.png"
    whole = path.read_bytes()
    if damage == "empty":
        path.write_bytes(b"")
    elif damage == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "text":
        path.write_text("not a picture")
    elif damage == "size":
        Image.new("RGBA", (7, 5)).save(path)
    elif damage == "mode":
        Image.new("RGB", SMALL[::-1]).save(path)
    elif damage == "value":
        Image.new("RGBA", SMALL[::-1], (0, 0, 0, 200)).save(path)
    else:
        middle = len(whole) // 2
        path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 0xFF]) + whole[middle + 1 :])
    assert same(samples[0], good)
    repaired = np.array(Image.open(path))
    assert np.array_equal(repaired[..., :3], good.image) and np.array_equal(repaired[..., 3], good.label)


def test_killed_write_leaves_no_file_of_that_name(tmp_path, monkeypatch):
    def die(self, file, **_):
        file.write(b"half a pic")
        raise KeyboardInterrupt

    samples = scene_samples("train", count=1, size=SMALL, cache=tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr(Image.Image, "save", die)
        with pytest.raises(KeyboardInterrupt):
            samples[0]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert same(samples[0], scene(1_000_000, size=SMALL))


def test_cache_that_cannot_be_written_only_costs_time(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    assert same(scene_samples("train", count=1, size=SMALL, cache=blocked)[0], scene(1_000_000, size=SMALL))


def _read_all(folder):
    samples = scene_samples("train", count=4, size=SMALL, cache=folder)
    return [(sample.image.sum(), sample.label.sum()) for sample in samples]


def test_two_processes_fill_one_cache(tmp_path):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        first, second = pool.map(_read_all, [tmp_path, tmp_path], chunksize=1)
    assert first == second == _read_all(tmp_path)
    assert sorted(path.suffix for path in tmp_path.rglob("*") if path.is_file()) == [".png"] * 4


def test_cache_scenes_fills_what_is_missing(tmp_path):
    folder = cache_scenes(18, size=SMALL, cache=tmp_path, processes=2, progress=False)
    paths = sorted(folder.glob("*.png"))
    assert len(paths) == 18
    times = {path: path.stat().st_mtime_ns for path in paths}
    paths[3].write_bytes(b"broken")
    paths[5].unlink()
    cache_scenes(18, size=SMALL, cache=tmp_path, processes=1, progress=False)
    changed = [path for path in paths if path.stat().st_mtime_ns != times[path]]
    assert changed == [paths[3], paths[5]]


def test_cache_depends_on_size_and_on_the_drawing_code(tmp_path, monkeypatch):
    assert cache_folder((64, 88), tmp_path) != cache_folder((88, 64), tmp_path)
    before = cache_folder(SMALL, tmp_path)
    changed = tmp_path / "drawing"
    changed.mkdir()
    (changed / "__init__.py").write_text("# other code\n")
    monkeypatch.setattr(scenes.scene_drawing, "__file__", str(changed / "__init__.py"))
    scenes.generator_version.cache_clear()
    try:
        assert cache_folder(SMALL, tmp_path) != before
    finally:
        scenes.generator_version.cache_clear()


def test_validation_split_is_bundled_and_complete(tmp_path):
    samples = scene_samples("val", cache=tmp_path)
    assert len(samples) == 24 and samples.ids[0] == "scene-000000"
    counts = np.zeros(len(SCENE_CLASSES), int)
    for sample in samples:
        assert sample.image.shape == (256, 384, 3)
        counts += np.bincount(sample.label.ravel(), minlength=len(SCENE_CLASSES))
    assert counts.min() > 0, [name for name, count in zip(SCENE_CLASSES, counts) if not count]
    assert not list(tmp_path.rglob("*.png"))  # read, not drawn


def test_bundled_files_are_what_the_generator_draws():
    """Exactly, except for rounding in another version of the drawing library."""
    table = json.loads((BUNDLED / "classes.json").read_text(encoding="utf-8"))
    assert tuple(table["names"]) == SCENE_CLASSES.names and tuple(table["colors"]) == SCENE_CLASSES.colors
    assert sum(path.stat().st_size for path in BUNDLED.rglob("*") if path.is_file()) < 8e6
    for sample in scene_samples("val")[::6]:
        drawn = scene(int(sample.id[-6:]), size=(256, 384))
        assert (drawn.label == sample.label).mean() > 0.999
        assert np.abs(drawn.image.astype(int) - sample.image).mean() < 0.5
    with Image.open(BUNDLED / "labels" / "scene-000000.png") as label:
        assert label.mode == "P"
        palette = np.array(label.getpalette()[: 3 * len(SCENE_CLASSES)]).reshape(-1, 3)
    assert np.array_equal(palette, SCENE_CLASSES.palette)


def test_validation_beyond_the_bundled_is_drawn(tmp_path):
    samples = scene_samples("val", count=25, cache=tmp_path)
    assert same(samples[24], scene(24, size=(256, 384)))
    small = scene_samples("val", count=1, size=SMALL, cache=tmp_path)
    assert same(small[0], scene(0, size=SMALL))


def test_written_scenes_read_back(tmp_path):
    folder = write_scenes(tmp_path / "out", count=2, size=SMALL, first_seed=40)
    assert sorted(path.name for path in folder.rglob("*.png")) == ["scene-000040.png"] * 2 + ["scene-000041.png"] * 2
    for seed in (40, 41):
        drawn = scene(seed, size=SMALL)
        assert np.array_equal(np.array(Image.open(folder / "images" / f"{drawn.id}.png")), drawn.image)
        label = read_label(folder / "labels" / f"{drawn.id}.png", classes=SCENE_CLASSES)
        assert np.array_equal(label, drawn.label)
    with pytest.raises(DataError, match="1 or more"):
        write_scenes(tmp_path, count=0)
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(DataError, match="cannot be written"):
        write_scenes(blocked, count=1, size=SMALL)


def test_write_bundled_scenes_writes_the_validation_split(tmp_path, monkeypatch):
    asked = {}
    monkeypatch.setattr(scenes, "write_scenes", lambda folder, **more: asked.update(folder=folder, **more))
    write_bundled_scenes(tmp_path)
    assert asked == {"folder": tmp_path, "count": 24, "size": (256, 384)}


def test_view_against_a_hand_calculation():
    """A level camera: one metre right at two focal lengths' distance, one metre below the eye."""
    view = View(Camera(eye=1.5, x=0.5, focal=1.0, horizon=0.4, shift=0.0, roll=0.0), 100, 160)
    column, row = view.pixels(np.array([[1.5, 0.5, 2.0]]))[0]
    assert column == pytest.approx(80 + 100 * 1.0 * (1.5 - 0.5) / 2)
    assert row == pytest.approx(40 + 100 * 1.0 * (1.5 - 0.5) / 2)


def test_level_coordinates_invert_the_projection():
    view = View(Camera(eye=1.7, x=-0.4, focal=0.9, horizon=0.45, shift=0.2, roll=0.06), 90, 130)
    across, down = view.level()
    z = 0.9 * 1.7 / down[80, 30]
    x = across[80, 30] * z / 0.9 - 0.4
    assert view.pixels(np.array([[x, 0.0, z]]))[0] == pytest.approx([30.5, 80.5], abs=1e-2)


def test_clipping_at_the_near_plane():
    square = np.array([[0, 0, -1.0], [1, 0, -1.0], [1, 0, 3.0], [0, 0, 3.0]])
    clipped = clip_near(square)
    assert len(clipped) == 4 and clipped[:, 2].min() == pytest.approx(NEAR)
    assert len(clip_near(square - (0, 0, 9))) == 0
    assert np.array_equal(clip_near(square + (0, 0, 9)), square + (0, 0, 9))
