"""The report: complete, self-contained, safe, and written whole or not at all."""

import os
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from conftest import build_record
from lab import needs_chromium
from mask_records import of_queries

from offseg_viz.analyze.quality import class_iou, predicted_shares
from offseg_viz.errors import DataError, RecordError
from offseg_viz.report import report_html, write_report

NASTY_CLASS, NASTY_SAMPLE = '<b>&"', "<script>alert(1)</script>"
PLOTLY_BEGINS = "plotly.js v"


class Page(HTMLParser):
    """What a browser would find: tags with attributes, and the text outside of scripts and styles."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self._inside = [], "", []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside.append(tag)

    def handle_endtag(self, tag):
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()

    def handle_data(self, data):
        if not self._inside:
            self.text += data

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def nasty_records():
    records = [build_record(NASTY_SAMPLE if seed == 1 else f"s{seed}", seed=seed) for seed in (1, 2, 3)]
    return [record.assign_coords(cls=["sky", NASTY_CLASS, "tree"]) for record in records]


@pytest.fixture(scope="module")
def records():
    return nasty_records()


@pytest.fixture(scope="module")
def html(records):
    return report_html(
        records, title="A <title>", notes="trained\n<i>long</i>", command="offseg-viz report --x '<y>'", examples=2
    )


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def test_nothing_is_loaded(html, page):
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'") and "http" not in policy
    assert not page.all("link") and not page.all("iframe")
    assert not [script for script in page.all("script") if "src" in script]
    assert [image["src"][:22] for image in page.all("img")] == ["data:image/png;base64,"] * 3
    assert [link["href"] for link in page.all("a")] == ["https://arxiv.org/abs/2508.08811"]
    assert html.count(PLOTLY_BEGINS) == 1
    assert not re.search(r"url\(|@import", html[: html.index("</style>")])


def test_names_are_text(html, page):
    assert page.text.count(NASTY_SAMPLE) == 1 and NASTY_CLASS in page.text
    assert NASTY_SAMPLE not in html and "&lt;script&gt;alert(1)" in html
    assert not page.all("b") and not page.all("i")
    assert "A <title>" in page.text and "<i>long</i>" in page.text and "'<y>'" in page.text
    charts = html[html.rindex("Plotly.newPlot") :]
    assert NASTY_CLASS not in charts


def test_the_numbers_are_those_of_the_analysis(records, page):
    mean = class_iou(records).mean() * 100
    row = f"mean{mean['initial']:.1f}{mean['aligned']:.1f}{mean['ideal']:.1f}{mean['aligned'] - mean['initial']:+.1f}"
    assert row in page.text


def test_every_figure_has_words(page):
    assert all(len(image["alt"]) > 30 for image in page.all("img"))
    groups = [figure for figure in page.all("figure") if "role" in figure]
    assert len(groups) == 2 and all(len(figure["aria-label"]) > 30 for figure in groups)
    assert len(page.all("figcaption")) == len(page.all("figure")) == 5
    assert "arg max of the logits" in page.text and "neither scores nor logits" in page.text


def test_the_footer_says_whose_method_it_is(page, records):
    assert "arXiv 2508.08811" in page.text
    assert "patent" in page.text and "non-commercial use only" in page.text
    assert records[0].attrs["model"] in page.text and "offseg_viz 0." in page.text


def test_the_same_records_give_the_same_page(records, html):
    options = dict(title="A <title>", notes="trained\n<i>long</i>", command="offseg-viz report --x '<y>'", examples=2)
    assert report_html(iter(records), **options) == html


def test_a_per_pixel_model_has_no_offset_parts(per_pixel_records):
    page = Page(report_html(per_pixel_records, examples=1))
    assert "per-pixel model" in page.text and "learns no offsets" in page.text
    assert "|dE|" not in page.text and "change" not in page.text[page.text.index("IoU in percent") :][:60]
    assert not any("|dE|" in image["alt"] for image in page.all("img"))


def test_records_without_labels(records):
    page = Page(report_html([record.drop_vars("label") for record in records], examples=1))
    assert "no labels, so no IoU" in page.text and "needs labelled records" in page.text
    shares = predicted_shares(records)
    assert f"changes the prediction of {100 * shares.attrs['changed']:.1f} percent of the grid cells" in page.text
    for name, row in shares.iterrows():
        assert re.search(rf"{name}\s*{100 * row.initial:.1f}\s*{100 * row.aligned:.1f}", page.text)
    assert len(page.all("img")) == 1


def test_one_image_has_nothing_to_compare_with(records):
    page = Page(report_html(records[:1], examples=0))
    assert "at least two images" in page.text and "1 image, 3 classes" in page.text


def test_records_that_do_not_fit_are_refused(records, per_pixel_records):
    with pytest.raises(RecordError, match="found no record"):
        report_html([])
    with pytest.raises(RecordError, match=r"\[record\]"):
        report_html(records[0])
    with pytest.raises(RecordError, match="some have none"):
        report_html([records[0], per_pixel_records[0]])


def test_a_report_is_written_whole_or_not_at_all(records, tmp_path, monkeypatch):
    path = tmp_path / "new" / "report.html"
    assert write_report(records[:2], path, title="first", examples=0) == path
    first = path.read_text(encoding="utf-8")
    assert "<title>first</title>" in first and os.listdir(path.parent) == ["report.html"]

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(DataError, match=r"report\.html.*No space left"):
        write_report(records[:2], path, title="second", examples=0)
    assert path.read_text(encoding="utf-8") == first and os.listdir(path.parent) == ["report.html"]


def test_a_place_that_cannot_be_written_is_named(records, tmp_path):
    with pytest.raises(DataError, match="is a folder"):
        write_report(records, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file/report\.html"):
        write_report(records[:1], tmp_path / "file" / "report.html", examples=0)


@needs_chromium
def test_a_browser_shows_it_without_a_request_or_complaint(html, tmp_path, window):
    path = tmp_path / "report.html"
    path.write_text(html, encoding="utf-8")
    complaints, requests = [], []
    page = window.new_page()
    try:
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: (complaints.append("a script ran"), dialog.dismiss()))
        page.on(
            "request", lambda request: requests.append(request.url) if not request.url.startswith("data:") else None
        )
        page.goto(path.as_uri())
        page.wait_for_function("() => document.querySelectorAll('.chart .main-svg .trace').length > 6")
        sizes = page.eval_on_selector_all("img", "images => images.map(image => image.naturalWidth)")
    finally:
        page.close()
    assert complaints == [] and requests == [path.as_uri()]
    assert len(sizes) == 3 and np.min(sizes) > 100


def test_records_of_mask_classification_are_refused(records):
    with pytest.raises(
        RecordError, match="is of mask classification.*the report needs a record of a per-pixel network"
    ):
        report_html([records[0], of_queries(records[1])], title="queries")
