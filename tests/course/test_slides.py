"""The deck: what becomes a slide, formulas and escaping, and how it behaves in a real browser."""

import base64
import io
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from offseg_viz.course.exercises import read_notebook
from offseg_viz.course.formulas import formula_html
from offseg_viz.course.slides import deck_html, markdown_html
from offseg_viz.course.writing import SLIDES_OF

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
NASTY = '<script>alert(1)</script> <img src=x onerror=alert(1)> "quoted" & </pre></section>'


def picture(width=400, height=100):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "#1c5a96").save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def markdown(source, kind=""):
    return {"cell_type": "markdown", "metadata": {"slideshow": {"slide_type": kind}}, "source": source}


def code(*outputs, kind=""):
    metadata = {"slideshow": {"slide_type": kind}} if kind else {}
    return {"cell_type": "code", "metadata": metadata, "source": "secret = 1", "outputs": [*outputs]}


def shown(text="a figure", **size):
    return {"output_type": "display_data", "data": {"image/png": picture(**size) + "\n", "text/plain": [text]}}


def said(text):
    return {"output_type": "stream", "name": "stdout", "text": text}


def deck(*cells, title="A deck"):
    return deck_html(
        {"00_x.ipynb": {"cells": [*cells], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}}, title=title
    )


class Tags(HTMLParser):
    """The tags of a page as a browser sees them, with their attributes."""

    def __init__(self, html):
        super().__init__()
        self.found = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def sections(html):
    return re.findall(r"<section.*?</section>", html, re.S)


def test_cells_that_say_so_become_slides():
    html = deck(
        markdown("# 00 · One\n\nAim.", "slide"),
        code(said("not shown")),
        markdown("## Two", "slide"),
        code(said("42 %\n"), shown(), kind="fragment"),
        markdown("not shown"),
        markdown("*Read the figure.* Blue.\n\n## Three\n\nText.", "slide"),
        code(
            {"output_type": "execute_result", "data": {"text/plain": "Guess: `a` or b?\n  ( ) a\n  ( ) b"}},
            kind="fragment",
        ),
        markdown("The end of three.\n\n## Untold", "fragment"),
    )
    opening, one, two, three = sections(html)
    assert "A deck" in opening and "<li>00 · One</li>" in opening and "2508.08811" in opening and "1 / 4" in opening
    assert '<section class="first">' in one and "<h1>00 · One</h1>" in one and "waits" not in one
    assert "<h2>Two</h2>" in two and '<div class="part waits"><pre>42 %</pre></div>' in two
    assert '<div class="part waits"><figure>' in two and two.index("42 %") < two.index("<figure")
    assert "<em>Read the figure.</em> Blue." in two and "<h2>Three</h2>" not in two
    assert (
        "<h2>Three</h2>" in three
        and "<li>a</li><li>b</li>" in three
        and "<code>a</code> or b?" in three
        and "4 / 4" in three
    )
    assert "The end of three" in three and "Untold" not in html
    assert "not shown" not in html and "secret" not in html


def test_a_notebook_that_says_nothing_gives_its_headings_with_figures():
    html = deck(
        markdown("# 00 · One\n\nAim."),
        markdown("## Without\n\nA text."),
        code(said("3")),
        markdown("*Read.*\n\n## With\n\nFirst.\n\n" + "long " * 200),
        code({"output_type": "execute_result", "data": {"text/plain": "Guess: a?\n  ( ) a\n  ( ) b"}}),
        markdown("Now look."),
        code(shown("the first")),
        markdown("More."),
        code(shown("the second")),
        markdown("## Exercise 1 · x"),
        code(shown("of an exercise")),
        markdown("## Recap\n\n- one"),
    )
    opening, title, guess, figure, recap = sections(html)
    assert "<h2>With</h2>" in guess and "First." in guess and "long" not in guess and "Read." not in guess
    assert "<h2>With</h2>" in figure and "Now look." in figure and 'alt="the first"' in figure
    assert "the second" not in html and "of an exercise" not in html and "<li>one</li>" in recap


def test_what_is_read_in_a_figure_follows_with_it_where_its_slide_is_full():
    reading = markdown("*Read the figure.* " + "long " * 100 + "\n\n## Next\n\nText.", "slide")
    cells = markdown("## One\n\n" + "long " * 60, "slide"), code(said("42 %\n"), shown(), kind="fragment"), reading
    _, one, read, following = sections(deck(*cells))
    assert "42 %" in one and "Read" not in one and "<h2>Next</h2>" in following
    assert "42 %" not in read and "<figure" in read and "Read the figure" in read and "waits" not in read
    numbers = code(said("42 %\n" * 20), kind="fragment")
    _, one, read, following = sections(deck(cells[0], numbers, markdown(reading["source"], "slide")))
    assert "Read" not in one and "42 %" in read and "<h2>One</h2>" not in read


def test_what_a_page_does_not_show_has_a_slide_of_its_own():
    recap = "## Recap\n\n- one\n\n**What this does not show.** That it helps."
    for cells in ([markdown("# x"), markdown(recap)], [markdown("# x", "slide"), markdown(recap, "slide")]):
        _, _, one, caveat = sections(deck(*cells))
        assert "<li>one</li>" in one and "helps" not in one
        assert "<h2>What this does not show</h2>" in caveat and "<p>That it helps.</p>" in caveat


def test_an_untold_notebook_shows_what_answers_its_guesses():
    guess = {"output_type": "execute_result", "data": {"text/plain": "Guess: a?\n  ( ) a\n  ( ) b"}}
    _, _, asked, answer, table = sections(
        deck(
            markdown("# x"),
            markdown("## y"),
            code(said("before")),
            code(guess),
            markdown("Now look."),
            code(said("answer"), shown("a figure")),
            markdown("And count."),
            code(said("table")),
            markdown("## Exercise 1"),
            code(said("of an exercise")),
        )
    )
    assert "a?" in asked and "Now look." in answer and "answer" in answer and 'alt="a figure"' in answer
    assert "And count." in table and "<pre>table</pre>" in table


def test_narrow_figures_stand_beside_their_text():
    def body(*outputs):
        return sections(deck(markdown("# x", "slide"), markdown("## y", "slide"), code(*outputs, kind="fragment")))[2]

    assert 'class="body beside"' in body(shown(width=120, height=100))
    assert 'class="body beside"' not in body(shown(width=300, height=100))
    assert 'class="body beside"' not in body(shown(width=120, height=100), shown(width=120, height=100))
    broken = {"output_type": "display_data", "data": {"image/png": '"><script>', "text/plain": "told"}}
    assert "<figure" not in body(broken) and "<pre>told</pre>" in body(broken)


def test_everything_is_escaped():
    html = deck(
        markdown(f"# {NASTY}\n\n{NASTY} $a<b$ ${NASTY[:25]}$", "slide"),
        code(said(NASTY), kind="slide"),
        code(shown(NASTY), kind="slide"),
        code({"output_type": "execute_result", "data": {"text/plain": f"Guess: {NASTY}\n  ( ) {NASTY}"}}, kind="slide"),
        title=NASTY,
    )
    assert html.count("<script>") == 1 and "<img src=x" not in html and "onerror=alert(1)>" not in html
    assert html.count("</section>") == len(sections(html)) == 5
    policy = re.search('Content-Security-Policy" content="([^"]*)"', html)[1]
    assert policy.startswith("default-src 'none'") and "http" not in policy
    tags = Tags(html).found
    assert {"script", "img", "section"} <= {tag for tag, _ in tags}
    assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]
    addresses = [value for _, attributes in tags for name, value in attributes.items() if name in ("src", "href")]
    assert all(address.startswith(("data:image/png", "https://arxiv.org/abs/")) for address in addresses)


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("[a](https://x.y/b) [c](../d.md)", '<p><a href="https://x.y/b" rel="noopener">a</a> <a>c</a></p>\n'),
        ("![alt <b>](http://x.y/z.png)", "<p>alt &lt;b&gt;</p>\n"),
        ("[a](javascript:alert(1))", "<p>[a](javascript:alert(1))</p>\n"),
        ("W E^T, `E^T` and (E^T)^+", "<p>W E^T, <code>E^T</code> and (E^T)^+</p>\n"),
        ("5 $ and 6 $", "<p>5 $ and 6 $</p>\n"),
        ("`$x$` $x_k$", '<p><code>$x$</code> <span class="formula">x<sub>k</sub></span></p>\n'),
    ],
)
def test_markdown(text, html):
    power = '<span class="formula"><sup>{}</sup></span>'
    html = html.replace("W E^T", "W E" + power.format("T")).replace(
        "(E^T)^+", "(E{})".format(power.format("T")) + power.format("+")
    )
    assert markdown_html(text) == html


@pytest.mark.parametrize(
    ("formula", "html"),
    [
        (r"W^* = M (E^T)^+", "W<sup>*</sup> = M (E<sup>T</sup>)<sup>+</sup>"),
        (r"A_{\mathrm{cls}} E", "A<sub>cls</sub> E"),
        (r"\Delta W \in \mathbb{R}^{K \times C}", "Δ W ∈ ℝ<sup>K × C</sup>"),
        (r"\frac{1}{P} \sum_p \lVert E_p \rVert^2", "1/P ∑<sub>p</sub> ‖ E<sub>p</sub> ‖<sup>2</sup>"),
        (r"\hat{W} - \overline{ab}", 'W\u0302 − <span class="over">ab</span>'),
        (r"\left( a \right) \operatorname{softmax}(x), \; b", "( a ) softmax(x), b"),
        (r"\begin{aligned} a &= b \\ c \end{aligned}", "a &ensp;= b <br> c"),
        (r"\unknown{x} < {y", "unknownx &lt; y"),
        ("", ""),
        ("^", "<sup></sup>"),
    ],
)
def test_formulas(formula, html):
    assert formula_html(formula) == html


@pytest.fixture(scope="module")
def page(tmp_path_factory, request):
    """The deck of the notebooks 00 to 03 in a browser; complaints and requests must have been none."""
    if shutil.which("chromium") is None:
        pytest.skip("needs Debian's chromium: apt-get install chromium")
    playwright = request.getfixturevalue("playwright")  # not where there is no browser
    paths = [path for path in sorted(NOTEBOOKS.glob("*.ipynb")) if path.name[:2] in SLIDES_OF]
    file = tmp_path_factory.mktemp("deck") / "slides.html"
    file.write_text(deck_html({path.name: read_notebook(path) for path in paths}), encoding="utf-8")
    arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
    page = browser.new_page(viewport={"width": 1024, "height": 700})
    complaints = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda r: None if r.url.startswith(("data:", "file:")) else complaints.append(r.url))
    page.goto(file.as_uri())
    page.wait_for_selector("body[data-ready]", timeout=10_000)
    yield page
    browser.close()
    assert complaints == []


def number(page):
    return page.inner_text("#page").split(" / ")[0]


def test_keys_turn_the_slides(page):
    page.evaluate("show(0, false)")
    last = page.inner_text("#page").split(" / ")[1]
    assert number(page) == "1"
    page.keyboard.press("ArrowRight")
    assert number(page) == "2" and page.url.endswith("#2")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert number(page) == "1"
    page.keyboard.press("End")
    page.keyboard.press("PageDown")
    assert number(page) == last and int(last) > 10
    page.click("#back")
    page.click("#on")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Home")
    assert number(page) == "1"


def test_an_answer_waits_for_its_own_key(page):
    page.evaluate("show(slides.findIndex((slide) => slide.querySelector('.waits')), false)")
    here = number(page)
    waiting = page.locator("section.now .waits").first
    assert not waiting.is_visible()
    page.keyboard.press(" ")
    assert waiting.is_visible() and number(page) == here
    page.keyboard.press("ArrowLeft")
    assert not waiting.is_visible() and number(page) == here


def test_every_slide_has_room_for_its_text_and_its_figure(page):
    too_much = page.evaluate(
        """slides.map((slide) => slide.querySelector(".body"))
           .map((body, n) => [n + 1, body.scrollHeight - body.clientHeight])
           .filter(([n, beyond]) => beyond > 1)"""
    )
    assert too_much == [], "shorten the text of these slides"
    small = page.evaluate(
        """[...document.querySelectorAll("figure")].filter((f) => f.offsetWidth < 300 || f.offsetHeight < 200).length"""
    )
    assert small == 0


def test_text_can_be_read_from_the_last_row(page):
    too_wide = "[...document.querySelectorAll('pre')].filter((pre) => pre.scrollWidth > pre.clientWidth).length"
    assert page.evaluate(too_wide) == 0
    sizes = page.evaluate(
        """[...document.querySelectorAll("section .text, section pre")]
           .map((e) => [parseFloat(getComputedStyle(e).fontSize), e.innerText.slice(0, 60)])"""
    )
    assert [size for size in sizes if size[0] < 15] == [], "shorten these texts or lines"


def test_guesses_are_answered():
    """After every guess of 01 and 02 the deck shows something that was computed, before it asks again."""
    paths = [path for path in sorted(NOTEBOOKS.glob("*.ipynb")) if path.name[:2] in ("01", "02")]
    html = deck_html({path.name: read_notebook(path) for path in paths})
    questions = html.split('<div class="guess">')[1:]
    assert len(questions) == 4
    for following, answer in zip(questions, ("same numbers, shuffled alike: True", "0.23", "W* of other side", "0.14")):
        printed = re.search("<pre>.*?</pre>", following, re.S)
        assert printed and answer in printed[0]


def test_it_prints_a_slide_a_page(page):
    pages = len(re.findall(rb"/Type\s*/Page\b(?!s)", page.pdf(prefer_css_page_size=True, print_background=True)))
    assert pages == page.evaluate("slides.length")
