"""The parts of the page in their order, each a piece of HTML; every name in them is escaped."""

from html import escape

from offseg_viz.plot import theme

_MAPS = {
    "initial": "cosine at E (initial)",
    "aligned": "cosine at E + dE (aligned)",
    "difference": "difference, aligned − initial",
}
_CHOICES = {
    "0 0": "no offsets",
    "1 0": "class offsets only",
    "0 1": "feature offsets only",
    "1 1": "as the model has them",
}
_SYMBOLS = {"initial": "E, W", "aligned": "E + dE, W + dW"}


def opening(page: dict, facts: tuple, title: str, notes: str | None) -> str:
    model, _, dataset, _, classes, channels, stride = facts
    cell = " x ".join(dict.fromkeys(f"{step:g}" for step in stride))
    what = (
        "Offset learning moves the feature E of every pixel by dE and the embedding W of every class by dW before they "
        "are compared: this page lets you feel what that does."
        if page["offsets"]
        else "This model is per-pixel: it compares the feature E of every pixel with the embedding W of every class, "
        "and learns no offsets, so there is one stage only."
    )
    return (
        f"<h1>{escape(title)}</h1>\n"
        f'<p class="facts">Model <code>{escape(model)}</code> on <code>{escape(dataset)}</code>: {classes} classes, '
        f"features of {channels} channels, one for every {cell} pixels.</p>\n<p>{what}</p>"
        + (f'\n<p class="notes">{escape(notes)}</p>' if notes else "")
        + '\n<noscript><p class="problem">This page computes in the browser and needs JavaScript.</p></noscript>'
        '\n<p class="problem" id="problem" role="alert" hidden></p>'
    )


def images(buttons: list[tuple[str, str]]) -> str:
    rows = "".join(
        f'<button type="button" data-image="{number}" aria-pressed="false" title="{escape(name)}">'
        f'<img alt="" src="{thumb}"><span>{escape(name)}</span></button>'
        for number, (name, thumb) in enumerate(buttons)
    )
    return f'<nav class="images" aria-label="Images">{rows}</nav>'


def similarity(page: dict) -> str:
    overlays = {"none": "none", "label": "label", "initial": "prediction, initial", "aligned": "prediction, aligned"}
    choices = "".join(
        f'<label><input type="radio" name="overlay" value="{value}"{" checked" if value == "none" else ""}>'
        f"{text}</label>"
        for value, text in overlays.items()
    )
    maps = "".join(_panel(name, text, _scale(name)) for name, text in _MAPS.items())
    stages = "".join(
        f' <i style="background:{theme.STAGE_COLORS[stage]}"></i> {stage} ({symbols})'
        for stage, symbols in _SYMBOLS.items()
        if stage == "initial" or page["offsets"]
    )
    return (
        '<section aria-labelledby="similarity"><h2 id="similarity">One pixel against all others</h2>\n'
        "<p>Move the mouse over any picture. The maps show how similar that pixel’s feature is to every other pixel’s: "
        "1 is the same direction, 0 unrelated, −1 the opposite.</p>\n"
        '<p class="hint">A click pins the pixel, the pointer then reads values; Escape releases. With the keyboard: '
        "Tab to a picture, arrow keys move (with Shift by 5).</p>\n"
        f'<div class="controls"><fieldset><legend>On the photograph:</legend>{choices}</fieldset>'
        '<label>opacity <input type="range" id="opacity" min="0" max="1" step="0.05" value="0.6"></label></div>\n'
        '<div class="panels">'
        + _panel(
            "photograph", "photograph", '<div class="hint" id="no-photograph" hidden>the record has no photograph</div>'
        )
        + f'{maps}</div>\n<div class="legend" id="legend" aria-label="Classes"></div>\n'
        '<div class="pixel"><div id="pinned" role="status"></div><dl><dt>pixel</dt><dd id="fact-place"></dd>'
        '<dt>label</dt><dd id="fact-label"></dd><dt>prediction</dt><dd id="fact-prediction"></dd>'
        '<dt>feature offset</dt><dd id="fact-offset"></dd></dl>\n'
        f"<table><caption>cosine to the nearest classes, −1 to 1:{stages}</caption>"
        '<tbody id="bars"></tbody></table></div></section>'
    )


def strengths(page: dict) -> str:
    off = "" if page["offsets"] else " disabled"
    reason = (
        "The class embeddings become W + s dW and the features E + t dE; 0 is without offsets, 1 as the model learnt "
        "them, 2 doubled. The rest of the network stays as it is."
        if page["offsets"]
        else "Disabled: a per-pixel model learns no offsets, so there is nothing to scale."
    )
    sliders = "".join(
        f'<label class="slider"><span>{text}</span>'
        f'<input type="range" id="{name}" min="0" max="2" step="0.05" value="1"{off}>'
        f'<output id="{name}-value" for="{name}"></output></label>'
        for name, text in (("class-strength", "class offsets, s"), ("feature-strength", "feature offsets, t"))
    )
    buttons = "".join(
        f'<button type="button" data-strengths="{pair}" aria-pressed="false"{off}>{text}</button>'
        for pair, text in _CHOICES.items()
    )
    figures = "".join(
        f'<div><dt>{text}</dt><dd id="figure-{name}"></dd><dd id="figure-{name}-change"></dd></div>'
        for name, text in (("miou", "mIoU of this image"), ("accuracy", "pixel accuracy"))
    )
    return (
        '<section aria-labelledby="strengths"><h2 id="strengths">How strong should the offsets be?</h2>\n'
        f'<div class="bench"><form onsubmit="return false"><p>{reason}</p><fieldset>{sliders}</fieldset>'
        f'<div class="choices">{buttons}</div><div id="progress" role="status"></div>'
        f'<dl class="figures" id="figures" aria-live="polite">{figures}</dl>'
        '<p class="hint" id="no-figures" hidden></p>'
        '<p class="hint">mIoU is the mean over the classes labelled in this image; changes are from the initial '
        "prediction (s = t = 0). Both are counted on the grid of the features.</p></form>"
        + _panel("prediction", "prediction", "")
        + _panel("changes", "changed from the initial prediction", '<div class="legend" id="change-legend"></div>')
        + "</div></section>"
    )


def _panel(name: str, title: str, below: str) -> str:
    return (
        f'<figure data-panel="{name}"><figcaption>{escape(title)}</figcaption><canvas></canvas>'
        f'<span class="reason"></span>{below}<output class="readout"></output></figure>'
    )


def _scale(name: str) -> str:
    table = theme.lookup_table(theme.DIVERGING)
    stops = ",".join("rgb({},{},{})".format(*table[round(254 * step / 16), :3]) for step in range(17))
    ends = ("", "") if name == "difference" else ("−1", "1")
    low, high = (f'<span id="{name}-{end}">{text}</span>' for end, text in zip(("low", "high"), ends))
    return f'<div class="scale">{low}<i style="background:linear-gradient(to right,{stops})"></i>{high}</div>'


def footer() -> str:
    from offseg_viz import __version__

    return (
        '<footer><p id="exactness"></p><p>What was labelled, predicted and photographed is exact (predictions before '
        "the first move of a slider, the photograph up to JPEG). Made with offseg_viz "
        f"{escape(__version__)}; offset learning is the method of <a href='https://arxiv.org/abs/2508.08811'>arXiv "
        "2508.08811</a>, whose authors hold a patent on it and allow non-commercial use only.</p></footer>\n</main>"
    )
