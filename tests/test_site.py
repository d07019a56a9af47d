"""The site: it builds without a warning, holds what it promises, and asks the network for nothing."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import lab
import pytest

import offseg_viz

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

missing = [name for name in ("sphinx", "myst_nb", "furo") if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}: pip install 'offseg-viz[docs]'")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """Built under the guard of the notebooks: the network is refused, and writing anywhere but there."""
    folder = tmp_path_factory.mktemp("site") / "site"
    command = [sys.executable, str(ROOT / "docs" / "build_site.py"), str(folder)]
    guard = {"PYTHONPATH": str(ROOT / "tests" / "notebook_guard"), "OFFSEG_VIZ_NOTEBOOK_GUARD": "on"}
    options = dict(cwd=folder.parent, env=os.environ | guard, capture_output=True, text=True, timeout=400)
    done = subprocess.run(command, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    return folder


class Resources(HTMLParser):
    """Everything a page loads by itself, and where its links lead."""

    LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "object": "data"}

    def __init__(self, text: str):
        super().__init__()
        self.loaded, self.links, self.ids = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = {name: value or "" for name, value in attrs}
        self.ids |= {attrs[name] for name in ("id", "name") if name in attrs}
        if attrs.get(self.LOADED.get(tag)):
            self.loaded.append(attrs[self.LOADED[tag]])
        if tag == "link" and attrs.get("rel") not in ("canonical", "author", "license"):
            self.loaded.append(attrs.get("href", ""))
        if tag == "a" and "href" in attrs:
            self.links.append(attrs["href"])


@pytest.fixture(scope="module")
def pages(site) -> dict[str, Resources]:
    return {str(p.relative_to(site)): Resources(p.read_text(encoding="utf-8")) for p in site.rglob("*.html")}


def text_of(path: Path) -> str:
    return re.sub(r"<[^>]+>", "", path.read_text(encoding="utf-8"))


def test_every_page_is_there(pages):
    wanted = {"index.html", "explorer.html", "explorer_page.html", "glossary.html", "validate_your_notebooks.html"}
    wanted |= {"api/index.html", "notebooks/index.html", *(f"notebooks/{path.stem}.html" for path in NOTEBOOKS)}
    assert wanted <= pages.keys()
    assert {"notebooks/index.html", "explorer.html", "api/index.html", "glossary.html"} <= set(
        pages["index.html"].links
    )
    assert "explorer_page.html" in pages["explorer.html"].loaded + pages["explorer.html"].links


def test_no_page_asks_the_network_for_anything(site, pages):
    outside = {name: [url for url in page.loaded if re.match(r"(https?:)?//", url)] for name, page in pages.items()}
    assert {name: urls for name, urls in outside.items() if urls} == {}
    for path in [*site.rglob("*.css"), *site.rglob("*.html")]:
        assert not re.search(r"(?:url\(|@import )\s*[\"']?(?:https?:)?//", path.read_text(encoding="utf-8")), path
    assert not [path.name for path in site.rglob("*") if re.search(r"mathjax|require(\.min)?\.js", path.name, re.I)]


def test_no_link_inside_the_site_is_broken(site, pages):
    broken = []
    for name, page in pages.items():
        for link in page.links + page.loaded:
            if re.match(r"[a-z]+:|//", link) or name == "explorer_page.html":
                continue
            target, _, anchor = link.partition("#")
            path = (site / name).parent / target.partition("?")[0] if target else site / name
            if not path.exists():
                broken.append((name, link))
            elif anchor and path.suffix == ".html" and anchor not in pages[str(path.resolve().relative_to(site))].ids:
                broken.append((name, link))
    assert broken == []


def test_every_public_name_has_an_entry(pages):
    ids = {name for page in pages.values() for name in page.ids}
    assert [name for name in offseg_viz.__all__ if f"offseg_viz.{name}" not in ids] == []


def test_the_glossary_is_the_one_of_the_package(site):
    from offseg_viz.terms import TERMS

    page = text_of(site / "glossary.html")
    assert [term.name for term in TERMS.values() if term.name not in page] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_shown_as_it_was_run(path, site, pages):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    name = f"notebooks/{path.stem}.html"
    page = (site / name).read_text(encoding="utf-8")
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    pictures = sum("image/png" in output.get("data", {}) for output in outputs)
    shown = [source for source in pages[name].loaded if "/_images/" in source]
    assert len(shown) >= pictures, "each picture, those of widgets too"
    assert "widget-view" not in page and "google.colab" not in page and "Only on Colab" not in page
    guesses = [o for o in outputs if "".join(o.get("data", {}).get("text/plain", "")).startswith("Guess: ")]
    assert page.count('<fieldset class="guess">') == len(guesses)
    exercises = [cell for cell in notebook["cells"] if "exercise" in cell["metadata"].get("tags", [])]
    assert page.count("<details") >= len(exercises)
    downloads = [link for link in pages[name].links if link.endswith(".ipynb")]
    assert len(downloads) == 2
    assert ((site / name).parent / downloads[0]).read_bytes() == path.read_bytes()


def test_words_are_told_in_docstrings_as_sphinx_reads_them():
    spec = importlib.util.spec_from_file_location("docstrings", ROOT / "docs" / "docstrings.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    readable, summary = module.readable, module.summary
    lines = """Length |dE|, as ``a | b``.

Parameters
----------
records : labelled records of one model; a window
    counts once.
cls : str
    The class, |W| long.
rcond : as for `ideal_angle`.
stage : {"initial", "aligned"}

Returns
-------
DataFrame : of all.""".splitlines()
    assert (
        readable(lines)
        == r"""Length \|dE\|, as ``a | b``.

Parameters
----------
records
    labelled records of one model; a window
    counts once.
cls : str
    The class, \|W\| long.
rcond
    as for `ideal_angle`.
stage : {"initial", "aligned"}

Returns
-------
DataFrame : of all.""".splitlines()
    )
    assert summary("One\n    two |E|.\n\nMore.") == r"One two \|E\|."


@lab.needs_chromium
def test_pages_open_in_a_browser_from_the_disk(site, window):
    for name in ("index.html", "explorer.html", "notebooks/00_tour.html", "api/analyze.html", "search.html?q=offset"):
        page = window.new_page()
        problems, elsewhere = [], []
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        at_home = ("file:", "data:", "blob:", "about:")
        page.on("request", lambda request: None if request.url.startswith(at_home) else elsewhere.append(request.url))
        page.goto(f"{site.as_uri()}/{name}")
        page.wait_for_load_state("networkidle")
        if name == "explorer.html":
            frame = page.frame_locator("iframe.explorer")
            frame.locator("canvas").first.wait_for()
        if name.startswith("search"):
            page.wait_for_selector("#search-results li a")
        widths = page.evaluate("[...document.querySelectorAll('article img')].map((image) => image.naturalWidth)")
        assert problems == [] and elsewhere == [] and all(widths), name
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"{name} is too wide"
        page.close()
