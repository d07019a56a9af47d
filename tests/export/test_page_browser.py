"""The exported page in a real browser: what it computes is what the package computes, and nothing is asked for."""

import re
import shutil
from contextlib import contextmanager

import numpy as np
import pytest
from conftest import build_record

from offseg_viz.analyze.align import aligned_class_embedding, aligned_feature, prediction, winning_class
from offseg_viz.analyze.changes import change_map
from offseg_viz.analyze.compressed_features import AGREEMENT, TOLERANCE, compressed_features
from offseg_viz.analyze.interventions import intervene
from offseg_viz.analyze.quality import image_miou
from offseg_viz.analyze.similarity import cosine_similarity
from offseg_viz.classes import IGNORE_INDEX
from offseg_viz.export import write_interactive

pytestmark = pytest.mark.skipif(
    shutil.which("chromium") is None, reason="needs Debian's chromium: apt-get install chromium"
)
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
NASTY_CLASS, NASTY_SAMPLE = "<script>alert(1)</script>", 'it\'s "quoted" & <i>so</i>'
ROWS, COLS = 20, 28


def grown(sample="a", *, offsets=True, seed=0):
    """A record of 20 x 28 cells: enough for shares of pixels to mean something."""
    return build_record(sample, offsets=offsets, seed=seed, size=(ROWS, COLS))


@pytest.fixture(scope="module")
def chromium(playwright):
    browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
    yield browser
    browser.close()


@pytest.fixture
def opened(chromium, tmp_path):
    """A function (records, **options) that writes and opens the page; complaints and requests must have been none."""

    @contextmanager
    def open_page(records, **options):
        path = write_interactive(records, tmp_path / "explorer.html", **options)
        page = chromium.new_page(viewport={"width": 1400, "height": 1000})
        complaints, requests = [], []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: (complaints.append("a script ran"), dialog.dismiss()))
        local = ("data:", "blob:")
        page.on("request", lambda r: None if r.url.startswith(local) else requests.append(r.url))
        try:
            page.goto(path.as_uri())
            page.wait_for_selector('body[data-shown="0"]', timeout=10_000)
            yield page
            assert complaints == [] and requests == [path.as_uri()]
        finally:
            page.close()

    return open_page


def canvas(page, panel):
    return page.locator(f'figure[data-panel="{panel}"] canvas')


def place(page, panel, row, col):
    """Where the cell lies on the panel: the grid of these records covers the whole picture."""
    box = canvas(page, panel).bounding_box()
    return {"x": (col + 0.5) / COLS * box["width"], "y": (row + 0.5) / ROWS * box["height"]}


def after(page, act):
    """Do `act` and wait until the pixel that it asks for is shown."""
    page.evaluate("() => { window.seen = false; document.addEventListener('shown', () => { window.seen = true; }, "
                  "{ once: true }); }")  # fmt: skip
    act()
    page.wait_for_function("() => window.seen")


def strengths(page, s, t):
    """Both sliders set as a person would leave them, and the outcome waited for."""
    page.evaluate(
        "async ([s, t]) => { const seen = new Promise((done) => document.addEventListener('strengths', done, "
        "{ once: true })); for (const [id, value] of [['class-strength', s], ['feature-strength', t]]) "
        "document.getElementById(id).value = value; "
        "document.getElementById('class-strength').dispatchEvent(new Event('input')); await seen; }",
        [s, t],
    )


def picture(page, panel):
    return canvas(page, panel).evaluate("canvas => canvas.toDataURL()")


def text(page, name):
    return page.locator(f"#{name}").text_content()


def number(text):
    return float(re.search(r"[+−]?\d+\.\d+", text)[0].replace("−", "-"))


def miou(label, predicted):
    """Mean IoU of the classes that are labelled, a fraction."""
    counted = label != IGNORE_INDEX
    return np.mean(
        [
            ((predicted == k) & (label == k)).sum() / ((predicted == k) | (label == k))[counted].sum()
            for k in np.unique(label[counted])
        ]
    )


def test_hover_shows_the_cosines_of_that_pixel(opened):
    record = grown()
    with opened([record]) as page:
        before = {name: picture(page, name) for name in ("initial", "aligned", "difference")}
        for row, col, panel in ((3, 5, "photograph"), (17, 20, "difference"), (8, 27, "changes")):
            after(page, lambda: canvas(page, panel).hover(position=place(page, panel, row, col)))
            assert all(picture(page, name) != before[name] for name in before)
            exact = {}
            for stage, feature in (("initial", record["feature"]), ("aligned", aligned_feature(record))):
                pixel = feature.isel(y=row, x=col, drop=True)
                exact[stage] = cosine_similarity(feature, pixel).values.ravel()
            exact["difference"] = exact["aligned"] - exact["initial"]
            for name, values in exact.items():
                found = np.array(page.evaluate(f"() => Array.from(maps.{name})"))
                assert np.abs(found - values).max() <= TOLERANCE * (2 if name == "difference" else 1)
            assert text(page, "fact-place").startswith(f"row {row}, column {col} ")


def test_bars_are_the_classes_nearest_at_the_aligned_stage(opened):
    record = grown()
    names = record["cls"].values
    with opened([record]) as page:
        after(page, lambda: canvas(page, "photograph").hover(position=place(page, "photograph", 4, 9)))
        initial = cosine_similarity(record["feature"], record["class_embedding"]).values[:, 4, 9]
        aligned = cosine_similarity(aligned_feature(record), aligned_class_embedding(record)).values[:, 4, 9]
        order = np.argsort(-aligned)
        assert page.locator("#bars .name").all_text_contents() == names[order].tolist()
        for k, shown in zip(order, page.locator("#bars .numbers").all_text_contents()):
            found = [number(part) for part in shown.split("→")]
            assert np.abs(np.array(found) - [initial[k], aligned[k]]).max() <= TOLERANCE + 0.005
        own = record["label"].values[4, 9]
        assert page.locator("#bars tr.own .name").all_text_contents() == [names[own]]
        both = [names[int(prediction(record, stage)[4, 9])] for stage in ("initial", "aligned")]
        assert text(page, "fact-prediction") == " → ".join(both) and text(page, "fact-label") == names[own]


def test_click_pins_escape_releases_arrows_move(opened):
    record = grown()
    feature = aligned_feature(record)
    with opened([record]) as page:
        photograph = canvas(page, "photograph")
        after(page, lambda: photograph.click(position=place(page, "photograph", 6, 11)))
        assert "Pinned: row 6, column 11" in text(page, "pinned")
        after(page, lambda: photograph.hover(position=place(page, "photograph", 15, 2)))
        assert text(page, "fact-place").startswith("row 6, column 11 ")
        shown = page.locator('figure[data-panel="aligned"] .readout').text_content()
        exact = cosine_similarity(feature.isel(y=6, x=11, drop=True), feature.isel(y=15, x=2, drop=True)).item()
        assert abs(number(shown) - exact) <= TOLERANCE + 0.0005

        photograph.focus()
        for key, expected in (("ArrowDown", (7, 11)), ("ArrowLeft", (7, 10)), ("Shift+ArrowRight", (7, 15))):
            after(page, lambda: page.keyboard.press(key))
            assert text(page, "fact-place").startswith("row {}, column {} ".format(*expected))
        assert "row 7, column 15" in photograph.get_attribute("aria-label")
        after(page, lambda: page.keyboard.press("Escape"))
        assert "Follows the mouse" in text(page, "pinned")
        after(page, lambda: photograph.hover(position=place(page, "photograph", 1, 1)))
        assert text(page, "fact-place").startswith("row 1, column 1 ")


def test_sliders_give_the_predictions_and_figures_of_intervene(opened):
    record = grown()
    label = record["label"].values
    counted = label != IGNORE_INDEX
    allowed = 1 - float(compressed_features(record)["agreement"].min()) + 0.005
    with opened([record]) as page:
        at_rest = text(page, "figure-miou")
        table = image_miou([record]).query("image == 'a'").set_index("stage").value
        assert at_rest == f"{100 * table['aligned']:.1f} %" and not page.evaluate("() => Boolean(state.features.terms)")
        seen = set()
        for s, t in ((0, 0), (1, 1), (1, 0), (0, 1), (0.35, 1.6), (2, 2)):
            strengths(page, s, t)
            exact = winning_class(record, intervene(record, class_strength=s, feature_strength=t)).values
            found = np.array(page.evaluate("() => Array.from(state.after)")).reshape(exact.shape)
            assert (found == exact).mean() >= (AGREEMENT if (s, t) in ((0, 0), (1, 1)) else 0.98)
            right = 100 * (exact == label)[counted].mean()
            assert abs(number(text(page, "figure-accuracy")) - right) <= 100 * allowed + 0.05
            shown = number(text(page, "figure-miou"))
            assert shown == pytest.approx(100 * miou(label, found), abs=0.051)
            assert shown == pytest.approx(100 * miou(label, exact), abs=100 * 3 * allowed)
            seen.add(text(page, "figure-miou"))
            assert text(page, "class-strength-value") == f"{s:.2f}"
        assert len(seen) > 3


def test_the_change_map_is_that_of_the_record(opened):
    record = grown()
    with opened([record]) as page:
        exact = change_map(record).values
        for act in (lambda: None, lambda: strengths(page, 1, 1)):
            act()
            kinds = np.array(page.evaluate("() => Array.from(state.kinds)")).reshape(exact.shape)
            assert (kinds == exact).mean() > 0.97
        mended = 100 * (kinds == 2).sum() / (kinds != IGNORE_INDEX).sum()
        assert f"mended {mended:.1f} %" in page.locator("#change-legend").text_content()
        shown = picture(page, "changes")
        strengths(page, 0, 0)
        assert picture(page, "changes") != shown and "mended 0.0 %" in text(page, "change-legend")
        page.click('button[data-strengths="1 1"]')
        page.wait_for_function("() => state.kinds.includes(2)")
        assert picture(page, "changes") == shown
        assert page.get_attribute('button[data-strengths="1 1"]', "aria-pressed") == "true"


def test_images_are_chosen_and_names_shown_as_text(opened):
    records = [
        grown(name, seed=seed).assign_coords(cls=["sky", NASTY_CLASS, "tree"])
        for seed, name in enumerate((NASTY_SAMPLE, "second"))
    ]
    with opened(records, title="A <title>", notes="<b>mine</b>") as page:
        assert page.title() == "A <title>" and page.locator("h1").text_content() == "A <title>"
        assert page.locator(".notes").text_content() == "<b>mine</b>" and page.locator("main b, main i.so").count() == 0
        buttons = page.locator("button[data-image] span")
        assert buttons.all_text_contents() == [NASTY_SAMPLE, "second"]
        assert NASTY_CLASS in page.locator("#legend .chip span").all_text_contents()
        assert NASTY_CLASS in page.locator("#bars .name").all_text_contents()
        first, said = picture(page, "photograph"), text(page, "exactness")
        page.click("text=second")
        page.wait_for_selector('body[data-shown="1"]')
        assert picture(page, "photograph") != first and text(page, "exactness") != said
        assert page.get_attribute('button[data-image="1"]', "aria-pressed") == "true"
        page.check("input[value=label]")
        labelled = picture(page, "photograph")
        page.fill("#opacity", "1")
        assert picture(page, "photograph") != labelled
        page.click('button[data-image="0"]')  # the newest of several wins, and the overlay stays
        page.click('button[data-image="1"]')
        page.wait_for_selector('body[data-shown="1"]:not(.busy)')
        assert page.is_checked("input[value=label]") and page.evaluate("() => state.number") == 1


def test_a_per_pixel_record_without_label_and_photograph(opened):
    record = grown(offsets=False).drop_vars(["label", "image"])
    with opened([record]) as page:
        for panel in ("aligned", "difference", "changes"):
            reason = page.locator(f'figure[data-panel="{panel}"] .reason').text_content()
            assert "per-pixel model learns no offsets" in reason
        assert page.is_disabled("#class-strength") and page.is_disabled("input[value=label]")
        assert "No figures: the record has no label" in text(page, "no-figures")
        assert page.is_visible("#no-photograph") and page.is_hidden("#figures")
        after(page, lambda: canvas(page, "initial").hover(position=place(page, "initial", 2, 3)))
        pixel = record["feature"].isel(y=2, x=3, drop=True)
        found = np.array(page.evaluate("() => Array.from(maps.initial)"))
        assert np.abs(found - cosine_similarity(record["feature"], pixel).values.ravel()).max() <= TOLERANCE
        assert page.locator("#bars .numbers").count() == 3 and text(page, "fact-label") == "no label"


def test_a_record_without_label_shows_what_changed(opened):
    record = grown().drop_vars("label")
    with opened([record]) as page:
        strengths(page, 2, 1)
        exact = (
            winning_class(record, intervene(record, class_strength=2)).values != prediction(record, "initial").values
        )
        kinds = np.array(page.evaluate("() => Array.from(state.kinds)")).reshape(exact.shape)
        assert set(np.unique(kinds)) <= {0, 4} and ((kinds == 4) == exact).mean() > 0.97
        assert re.fullmatch(r"unchanged [\d.]+ %changed [\d.]+ %", text(page, "change-legend"))


def test_zero_features_have_no_value(opened):
    record = grown()
    for name in ("feature", "feature_offset"):
        record[name][4, 6] = 0
    with opened([record]) as page:
        after(page, lambda: canvas(page, "initial").hover(position=place(page, "initial", 4, 6)))
        assert page.evaluate("() => maps.initial.every(Number.isNaN)")
        assert "n/a" in text(page, "fact-offset") and "n/a" in page.locator("#bars .numbers").first.text_content()
        after(page, lambda: canvas(page, "initial").hover(position=place(page, "initial", 4, 7)))
        assert page.evaluate("() => maps.initial.filter(Number.isNaN).length") == 1


@pytest.mark.parametrize("width", [1400, 1000, 420])
def test_nothing_overflows(opened, width):
    record = grown("a" * 80).assign_coords(cls=["sky", "a class of a very long name indeed, " * 4, "tree"])
    with opened([record], title="word" * 30) as page:
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(100)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
