"""A deck of slides made of executed notebooks: one HTML file with its pictures inside, which loads nothing."""

import base64
import binascii
import re
import struct
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path

from markdown_it import MarkdownIt

from offseg_viz.course.exercises import text_of
from offseg_viz.course.formulas import formula_html

TITLE = "Offset learning: aligning features and classes in segmentation"
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
_LONGEST_TEXT, _LONGEST_BEGINNING = 14, 600
"""Lines that are shown of what a cell printed; letters of the text of a heading."""
_CAVEAT = re.compile(r"^\*\*(What this does not show)\.?\*\*\s*", re.M)
_ROOM, _ROOM_BESIDE_FIGURES, _LETTERS_A_LINE = 1000, 620, 50
"""Letters on a slide, on one with figures, and how many a printed line counts as."""
_WIDE = 1.75
"""Figures narrower than this many times their height stand beside their text, wider ones below it."""
_PLAIN_POWER = re.compile(r"(?<=[\w)])\^(T|\+|-1)(?!\w)")
_FORMULA = re.compile(r"(?<![\\$])(\$\$?)(?=\S)([^$]+?)(?<=\S)\1(?![\d$])")
_CODE = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.M | re.S)


def deck_html(notebooks: Mapping[str, dict], *, title: str = TITLE) -> str:
    """One self-contained HTML page with a slide after the other, of cells that say they are slides.

    A cell whose metadata has ``slideshow.slide_type`` "slide" begins a slide, and one with "fragment" joins it, shown
    at the next key; of markdown cells the text is taken, of code cells what they printed and the figures. Text before
    a heading in the same cell joins the slide before, or follows with its figures once more where that slide is full.

    Of a notebook without such cells the first figure below every ``##`` heading becomes a slide, with the text before
    it and what was printed with it, and so do every guess, what is printed later below the heading of a guess or a
    figure, every heading with a formula on lines of its own, and the recap.

    *What this does not show* has a slide of its own. Arrow keys, a page number, all slides below each other without
    JavaScript, and a slide a page when printed. Everything from a notebook is escaped; HTML in its text is shown as
    text.

    Parameters
    ----------
    notebooks : mapping of file name to notebook
        With their outputs, in the order of the deck.
    title : str

    Returns
    -------
    str
        The same notebooks give the same page.
    """
    bodies = [(_opening(notebooks, title), "opening", "offseg-viz")]
    for name, notebook in notebooks.items():
        cells = notebook["cells"]
        parts = _told(cells) if any(_kind(cell) for cell in cells) else _headed(cells)
        bodies += [(_body(part), "" if n else "first", name) for n, part in enumerate(parts)]
    slides = [
        f'<section class="{kind}"><div class="body{" beside" if _stands_beside(body) else ""}">{body}</div>'
        f"<footer><span>{escape(source)}</span><span>{number} / {len(bodies)}</span></footer></section>"
        for number, (body, kind, source) in enumerate(bodies, 1)
    ]
    style, script = (Path(__file__).with_name(f"slides.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(slides)
        + '\n</main>\n<nav aria-label="slides"><button id="back" aria-label="back">‹</button>'
        f'<output id="page" aria-live="polite">1 / {len(slides)}</output>'
        f'<button id="on" aria-label="on">›</button></nav>\n<script>\n{script}</script>\n</body>\n</html>\n'
    )


def markdown_html(text: str) -> str:
    """HTML of markdown: no raw HTML, no pictures, links only to the web, formulas as plain letters."""
    formulas = []

    def kept(match: re.Match) -> str:
        formulas.append((len(match[1]) == 2, formula_html(match[2])))
        return f"\ue000{len(formulas) - 1}\ue001"  # private letters, which markdown leaves alone

    pieces = _CODE.split(text.replace("\ue000", "").replace("\ue001", ""))
    text = "".join(
        piece if n % 2 else _FORMULA.sub(kept, _with_powers(_FORMULA.sub(kept, piece)))
        for n, piece in enumerate(pieces)
    )
    parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    parser.add_render_rule("image", _alternative)
    parser.add_render_rule("link_open", _link_open)
    html = parser.render(text)

    def put_back(match: re.Match) -> str:
        display, formula = formulas[int(match[1])]
        return f'<span class="formula{" display" if display else ""}">{formula}</span>'

    return re.sub("\ue000(\\d+)\ue001", put_back, html)


def _with_powers(text: str) -> str:
    return _PLAIN_POWER.sub(lambda match: f"${{}}^{{{match[1]}}}$", text)


def _alternative(self, tokens, index, options, env) -> str:
    return escape(tokens[index].content)


def _link_open(self, tokens, index, options, env) -> str:
    address = str(tokens[index].attrGet("href"))
    return f'<a href="{escape(address)}" rel="noopener">' if address.startswith("https://") else "<a>"


def _kind(cell: dict) -> str:
    kind = cell["metadata"].get("slideshow", {}).get("slide_type", "")
    return kind if kind in ("slide", "subslide", "fragment") else ""


def _told(cells: list[dict]) -> Iterator[list[tuple[bool, str]]]:
    """Slides of the cells that say they are: lists of (whether it waits for a key, HTML)."""
    slide = []
    for cell in cells:
        for kind, html in _pieces(cell):
            if kind in ("slide", "subslide") and slide:
                yield slide
                slide = []
            elif kind == "reading" and _is_full(slide, html):
                yield slide  # and once more what is read: the figures, or else the numbers
                read = [html for _, html in slide if "<figure" in html] or [
                    html for _, html in slide if "<pre>" in html
                ]
                slide, kind = [(False, html) for html in read], "slide"
            slide.append((kind not in ("slide", "subslide") and bool(slide), html))
    if slide:
        yield slide


def _pieces(cell: dict) -> Iterator[tuple[str, str]]:
    """Kind and HTML of a cell; text before the heading of a slide is the reading of the slide before."""
    kind = _kind(cell)
    if kind and cell["cell_type"] == "markdown":
        before, heading = _split_at_heading(text_of(cell))
        if before and (heading or kind == "fragment"):
            yield "reading", _text_html(before)
        elif before:
            yield kind, _text_html(before)
        if heading and (kind != "fragment" or not before):
            for text in _without_caveat(heading):
                yield kind, _text_html(text)
    elif kind:
        for html in _shown(cell):
            yield kind, html
            kind = "fragment"


def _is_full(slide: list[tuple[bool, str]], reading: str) -> bool:
    """Whether a slide has no room for one more text, in letters that can be read from the last row."""
    parts = [*(html for _, html in slide), reading]
    letters = sum(len(re.sub("<[^>]*>", "", html)) for html in parts if "<pre>" not in html)
    lines = sum(html.count("\n") + 1 for html in parts if "<pre>" in html)
    most = _ROOM_BESIDE_FIGURES if any("<figure" in html for html in parts) else _ROOM
    return bool(slide) and letters + _LETTERS_A_LINE * lines > most


def _split_at_heading(text: str) -> tuple[str, str]:
    """What stands before the last ``##`` heading of a text, and the rest."""
    starts = [match.start() for match in re.finditer(r"^## ", text, re.M)]
    return (text[: starts[-1]].strip(), text[starts[-1] :]) if starts else (text, "")


def _without_caveat(text: str) -> list[str]:
    """A recap without what the page does not show, and that for a slide of its own."""
    found = _CAVEAT.search(text)
    return [text[: found.start()], f"## {found[1]}\n\n{text[found.end() :]}"] if found else [text]


def _headed(cells: list[dict]) -> Iterator[list[tuple[bool, str]]]:
    """Slides of a notebook that tells nothing: title, guesses and answers, formulas, first figures and the recap."""
    yield [(False, _text_html(text_of(cells[0])))]
    heading, text, silent, begun, has_figure = "", "", True, False, False
    for cell in cells[1:]:
        if cell["cell_type"] == "markdown":
            found = _split_at_heading(text_of(cell))[1]
            text = found.partition("\n")[2] if found else text_of(cell)
            if found:
                heading, begun, has_figure = found.partition("\n")[0], False, False
                silent = heading.startswith(("## Exercise", "## The claims"))
            if found and (heading.startswith("## Recap") or "$$" in text):
                yield from ([(False, _text_html(part))] for part in _without_caveat(f"{heading}\n\n{text}"))
            continue
        told = (False, _text_html(f"{heading}\n\n{_beginning(text)}"))
        figure = next(_figures(cell), "")
        printed = _printed(cell, streams_only=bool(figure))
        if guess := _guess(cell):
            yield [told, (True, guess)]
            begun = True
        elif not silent and (begun and printed or figure and not has_figure):
            shown = [printed] + [figure] * (not has_figure)
            yield [told, *((True, html) for html in shown if html)]
            begun, has_figure = True, has_figure or bool(figure)


def _beginning(text: str) -> str:
    """The first paragraphs of a text, as many as a slide has room for beside something else."""
    paragraphs, kept = text.strip().split("\n\n"), []
    for paragraph in paragraphs:
        if kept and sum(map(len, kept)) + len(paragraph) > _LONGEST_BEGINNING:
            break
        kept.append(paragraph)
    return "\n\n".join(kept)


def _shown(cell: dict) -> list[str]:
    """HTML of a code cell: what it printed, and its figures; without a figure, what the last line gave."""
    if cell["cell_type"] != "code":
        return []
    figures = "".join(_figures(cell))
    return [html for html in (_printed(cell, streams_only=bool(figures)), figures) if html]


def _text_html(text: str) -> str:
    return f'<div class="text">{markdown_html(text)}</div>'


def _figures(cell: dict) -> Iterator[str]:
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        picture = re.sub(r"\s", "", _joined(data.get("image/png", "")))
        try:
            is_picture = base64.b64decode(picture, validate=True).startswith(b"\x89PNG")
        except binascii.Error:
            is_picture = False
        if is_picture:
            told = escape(_joined(data.get("text/plain", "")), quote=True)
            width, height = struct.unpack(">II", base64.b64decode(picture[:32])[16:24])
            kind = ' class="tall"' if width < _WIDE * height else ""
            yield f'<figure{kind}><img src="data:image/png;base64,{picture}" alt="{told}"></figure>'


def _printed(cell: dict, *, streams_only: bool) -> str:
    texts = [
        _joined(output.get("text", "") or ("" if streams_only else output.get("data", {}).get("text/plain", "")))
        for output in cell.get("outputs", [])
    ]
    lines = "".join(text if text.endswith("\n") else f"{text}\n" for text in texts if text.strip()).splitlines()
    if not lines:
        return ""
    if lines[0].startswith("Guess: "):
        question, *choices = (re.sub("`([^`]+)`", r"<code>\1</code>", escape(line)) for line in lines)
        items = "".join(f"<li>{choice.strip()[4:]}</li>" for choice in choices)
        return f'<div class="guess"><p>{question[7:]}</p><ul>{items}</ul></div>'
    shown = lines[:_LONGEST_TEXT] + ["…"] * (len(lines) > _LONGEST_TEXT)
    return f"<pre>{escape(chr(10).join(shown))}</pre>"


def _guess(cell: dict) -> str:
    html = _printed(cell, streams_only=False)
    return html if html.startswith('<div class="guess"') else ""


def _joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)


def _body(parts: list[tuple[bool, str]]) -> str:
    """Text first, in a column of its own; each figure is a part that may wait for a key."""
    shown = [f'<div class="part{" waits" if waits else ""}">{html}</div>' for waits, html in parts]
    told = "".join(html for html in shown if "<figure" not in html)
    return (f'<div class="told">{told}</div>' if told else "") + "".join(html for html in shown if "<figure" in html)


def _stands_beside(body: str) -> bool:
    return body.count("<figure") == 1 and '<figure class="tall"' in body and 'class="told"' in body


def _opening(notebooks: Mapping[str, dict], title: str) -> str:
    titles = (text_of(notebook["cells"][0]).splitlines()[0].removeprefix("# ") for notebook in notebooks.values())
    parts = "".join(f"<li>{escape(text)}</li>" for text in titles)
    return (
        f'<div class="told"><h1>{escape(title)}</h1><ul>{parts}</ul>'
        "<p>The method is that of OffSeg, ICCV 2025 "
        '(<a href="https://arxiv.org/abs/2508.08811" rel="noopener">arXiv 2508.08811</a>). '
        "Arrow keys turn the slides; a figure that answers a question waits for its own key. "
        "Printing gives one slide a page.</p></div>"
    )
