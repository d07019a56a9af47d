"""The exported page as a file: complete, self-contained, safe, the same every time, small, and whole or not there."""

import base64
import json
import os
import re
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr
from conftest import build_record
from mask_records import of_queries

from offseg_viz.analyze.align import prediction
from offseg_viz.analyze.compressed_features import compressed_features
from offseg_viz.errors import DataError, RecordError, UnknownNameError
from offseg_viz.export import interactive_html, write_interactive
from offseg_viz.export.payload import code_planes, difference_limit
from offseg_viz.extract.store import create_store
from offseg_viz.record import save_record

NASTY_CLASS, NASTY_SAMPLE = "</script><script>alert(1)</script>", 'it\'s "quoted" & <i>so</i>'


class Page(HTMLParser):
    """What a browser would find: tags with attributes, the text outside of scripts, and the data inside of them."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self.data, self._inside = [], "", {}, None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside = dict(attrs).get("id", tag)

    def handle_endtag(self, tag):
        if tag in ("script", "style"):
            self._inside = None

    def handle_data(self, data):
        if self._inside is None:
            self.text += data
        else:
            self.data[self._inside] = data

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def unpacked(text, dtype):
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype)


@pytest.fixture(scope="module")
def nasty():
    records = [build_record(NASTY_SAMPLE if seed == 1 else f"s{seed}", seed=seed) for seed in (1, 2)]
    return [record.assign_coords(cls=["sky", NASTY_CLASS, "tree"]) for record in records]


@pytest.fixture(scope="module")
def html(nasty):
    return interactive_html(nasty, title="A <title>", notes="by hand\n<b>mine</b>")


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


@pytest.fixture
def store(records, tmp_path):
    store = create_store(tmp_path / "run.zarr")
    for record in records:
        save_record(record, store.path / record.attrs["sample"])
    return create_store(store.path)


def test_nothing_is_loaded(html, page):
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'") and "http" not in policy
    assert not page.all("link") and not page.all("iframe")
    assert not [script for script in page.all("script") if "src" in script]
    assert all(image["src"].startswith("data:image/") for image in page.all("img")) and len(page.all("img")) == 2
    assert [link["href"] for link in page.all("a")] == ["https://arxiv.org/abs/2508.08811"]
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|innerHTML|eval\(", html)


def test_names_are_text(html, page):
    assert len(page.all("script")) == 4, "page, two images, the program: no name opens or closes one"
    assert "alert(1)" not in page.text and "<script>alert" not in html
    assert json.loads(page.data["page"])["names"] == ["sky", NASTY_CLASS, "tree"]
    assert NASTY_SAMPLE in page.text and page.all("button")[0]["title"] == NASTY_SAMPLE
    assert not page.all("b") and "<b>mine</b>" in page.text and "A <title>" in page.text


def test_what_travels_is_the_compressed_record(nasty, page):
    image, made = json.loads(page.data["image-0"]), compressed_features(nasty[0])
    rows, count = made.sizes["y"] * made.sizes["x"], made.sizes["component"]
    low = unpacked(image["codes"][0], np.int8).astype(int)
    high = unpacked(image["codes"][1], np.int8) if image["codes"][1] else 0
    planes = (low + 256 * high).reshape(2, count, rows)
    codes = np.stack([planes[0], planes.sum(axis=0)]).transpose(0, 2, 1)
    assert np.array_equal(codes, made["feature_code"].values.reshape(2, rows, count))
    triangle = unpacked(image["metric"], "<f4")
    assert np.array_equal(triangle, made["metric"].values[np.triu_indices(count)])
    for stage, text in zip(("initial", "aligned"), image["predictions"]):
        assert np.array_equal(unpacked(text, np.uint8), prediction(nasty[0], stage).values.ravel())
    assert np.array_equal(unpacked(image["label"], np.uint8), nasty[0]["label"].values.ravel())
    kept, share = made.sizes["component"], 100 * float(made["agreement"][1])
    assert (
        f"travel in {kept} of 11 channels, rounded to whole numbers of {made.attrs['bits']} bits" in image["accuracy"]
    )
    assert f"{share:.1f}\N{NO-BREAK SPACE}% (full offsets)" in image["accuracy"]


def test_codes_survive_bytes_that_wrap_round():
    wide = np.array([[-300, 127, 5, 32767, -32767], [300, -128, 6, -32767, 32767]], np.int16).reshape(2, 1, 1, 5)
    low, high = code_planes(wide, wide=True)
    planes = (low.astype(int) + 256 * high.astype(int)).reshape(2, 5)
    assert np.array_equal(planes[0].astype(np.int16), wide[0].ravel())
    assert np.array_equal(planes.sum(axis=0).astype(np.int16), wide[1].ravel())
    narrow = np.array([[-127, 127], [127, -127]], np.int8).reshape(2, 1, 1, 2)
    low, high = code_planes(narrow, wide=False)
    planes = low.reshape(2, 2)
    assert high.size == 0 and np.array_equal(planes[0] + planes[1], narrow[1].ravel())


def test_the_difference_scale_holds_nearly_all_pairs(offset_record, per_pixel_record):
    limit = difference_limit(compressed_features(offset_record))
    assert limit == pytest.approx(round(limit * 20) / 20) and 0.05 <= limit <= 2
    assert difference_limit(compressed_features(per_pixel_record)) == 1


def test_the_same_records_give_the_same_page(nasty, html):
    before = [record.copy(deep=True) for record in nasty]
    assert interactive_html(iter(nasty), title="A <title>", notes="by hand\n<b>mine</b>") == html
    assert all(one.identical(two) for one, two in zip(before, nasty))


def test_controls_are_labelled(page):
    inputs = page.all("input")
    assert len(inputs) == 7 and len(page.all("label")) == len(inputs)
    assert len(page.all("canvas")) == 6 and len(page.all("figcaption")) == 6
    assert [section["aria-labelledby"] for section in page.all("section")] == ["similarity", "strengths"]
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_a_per_pixel_model_has_disabled_sliders_and_the_reason(per_pixel_records):
    page = Page(interactive_html(per_pixel_records))
    assert "This model is per-pixel" in page.text and "Disabled: a per-pixel model learns no offsets" in page.text
    sliders = [one for one in page.all("input") if "strength" in one.get("id", "")]
    assert len(sliders) == 2 and all("disabled" in one for one in sliders)
    assert len(json.loads(page.data["image-0"])["predictions"]) == 1


def test_without_label_and_photograph(offset_record):
    page = Page(interactive_html([offset_record.drop_vars(["label", "image"])]))
    image = json.loads(page.data["image-0"])
    assert image["label"] is None and image["photograph"] == ""
    assert page.all("img")[0]["src"].startswith("data:image/png")


def test_images_of_a_store_are_chosen_by_id(store, records):
    page = Page(interactive_html(store, images=["c", "a"]))
    assert [button["title"] for button in page.all("button")[:2]] == ["a", "c"] and "image-2" not in page.data
    listed = Page(interactive_html(records, images=["c", "a"]))
    assert listed.data["image-1"] == page.data["image-1"]
    assert [button["title"] for button in Page(interactive_html(store)).all("button")[:3]] == ["a", "b", "c"]


def test_records_that_do_not_fit_are_refused(records, per_pixel_records, store):
    with pytest.raises(RecordError, match="found no record"):
        interactive_html([])
    with pytest.raises(RecordError, match=r"\[record\]"):
        interactive_html(records[0])
    with pytest.raises(RecordError, match="'nano'.*'nano-offset'.*one model"):
        interactive_html([records[0], per_pixel_records[1]])
    other = records[1].assign_attrs(checkpoint="0123")
    with pytest.raises(RecordError, match="checkpoint '0123'.*checkpoint 'none'.*one model"):
        interactive_html([records[0], other])
    with pytest.raises(RecordError, match="mask classification"):
        interactive_html([records[0], of_queries(records[1])])
    with pytest.raises(UnknownNameError, match="unknown image 'd'.*Valid: a, b, c"):
        interactive_html(store, images=["d"])
    with pytest.raises(RecordError, match="found no record"):
        interactive_html(store, images=[])
    with pytest.raises(RecordError, match="found 13 images, needed 12 at most.*images="):
        interactive_html([build_record(f"s{seed}", seed=seed) for seed in range(13)])


def test_a_page_is_written_whole_or_not_at_all(records, tmp_path, monkeypatch):
    path = tmp_path / "new" / "explorer.html"
    assert write_interactive(records[:1], path, title="first") == path
    first = path.read_text(encoding="utf-8")
    assert "<title>first</title>" in first and os.listdir(path.parent) == ["explorer.html"]

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(DataError, match=r"explorer\.html.*No space left"):
        write_interactive(records[:1], path, title="second")
    assert path.read_text(encoding="utf-8") == first and os.listdir(path.parent) == ["explorer.html"]
    with pytest.raises(DataError, match="is a folder"):
        write_interactive(records, tmp_path)


def test_a_full_size_image_stays_below_six_megabytes():
    """128 x 128 positions, 256 channels, 150 classes, features with noise in every channel: little can be left out."""
    random = np.random.default_rng(0)
    side, channels, classes = 128, 256, 150
    label = random.integers(0, 12, (16, 16)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
    centres = random.normal(size=(classes, channels))
    feature = (centres[label] + 1.5 * random.normal(size=(side, side, channels))).astype(np.float32) / 4
    embedding = (centres + random.normal(size=centres.shape)).astype(np.float32) / 16
    offset = 0.01 * (feature @ random.normal(size=(channels, 20)) @ random.normal(size=(20, channels)) / 16)
    smooth = random.integers(0, 256, (32, 32, 3)).astype(np.uint8).repeat(16, 0).repeat(16, 1)
    base = build_record()
    centre = (np.arange(side) + 0.5) * 4
    record = xr.Dataset(
        {
            "feature": (("y", "x", "channel"), feature),
            "feature_offset": (("y", "x", "channel"), offset.astype(np.float32)),
            "class_embedding": (("cls", "channel"), embedding),
            "class_offset": (("cls", "channel"), embedding[::-1] / 4),
            "label": (("y", "x"), label),
            "image": (("row", "col", "rgb"), smooth),
        },
        {
            "cls": [f"class {k}" for k in range(classes)],
            "color": ("cls", ["#336699"] * classes),
            "y": centre,
            "x": centre,
        },
        base.attrs | {"stride": 4},
    )
    html = interactive_html([record])
    assert 1e6 < len(html.encode()) < 6e6
