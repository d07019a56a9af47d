"""The explorer in a real JupyterLab and browser: clicks, keys and pickers do what they say."""

import re

from lab import becomes, needs_chromium, page_memory, pixels, repaints, run_in_kernel, settled

pytestmark = needs_chromium

CODE = """
from pathlib import Path
from offseg_viz.record import load_record
from offseg_viz.widgets import AlignmentExplorer
explorer = AlignmentExplorer([load_record(path) for path in sorted(Path("records").iterdir())], cls="road")
explorer
"""


def test_click_keys_and_pickers(open_notebook, records, tmp_path):
    from playwright.sync_api import expect

    page = open_notebook(CODE, records)

    canvases = page.locator("canvas.offseg-map-canvas")
    expect(canvases).to_have_count(6)
    photograph, label, prediction, similarity, offset, _ = (canvases.nth(k) for k in range(6))
    readout = page.locator(".offseg-readout")
    expect(readout).to_contain_text("No pixel selected")

    # A click selects the cell under the pointer, in every panel.
    record = records[0]
    row, col = 2, 5
    place = photograph.bounding_box()
    click = {"x": (col + 0.5) / 7 * place["width"], "y": (row + 0.5) / 5 * place["height"]}
    repaints(offset, lambda: label.click(position=click))
    name = str(record["cls"].values[int(record["label"][row, col])])
    expect(readout.locator('[data-fact="label"]')).to_have_text(name)
    expect(readout.locator('[data-fact="pixel"]')).to_have_text("y 10, x 22 (row 2, col 5)")
    for canvas in canvases.all():
        expect(canvas).to_have_attribute("aria-label", re.compile(f"selected row {row}, col {col}"))

    # Class and stage pickers repaint the similarity panel, and only the stage the prediction.
    title = page.locator(".offseg-map-title").nth(3)
    expect(title).to_have_text("cosine to road, aligned")
    shown = pixels(prediction)
    repaints(similarity, lambda: page.get_by_label("Class", exact=True).select_option("tree"))
    expect(title).to_have_text("cosine to tree, aligned")
    assert pixels(prediction) == shown
    repaints(similarity, lambda: page.get_by_role("button", name="aligned - initial", exact=True).click())
    expect(title).to_have_text("cosine to tree, aligned - initial")
    page.screenshot(path=tmp_path / "explorer.png")

    # Arrow keys move, JupyterLab does not take them; Escape clears.
    similarity.focus()
    repaints(photograph, lambda: page.keyboard.press("ArrowDown"))
    expect(readout.locator('[data-fact="pixel"]')).to_have_text("y 14, x 22 (row 3, col 5)")
    page.keyboard.press("ArrowLeft")
    expect(readout.locator('[data-fact="pixel"]')).to_have_text("y 14, x 18 (row 3, col 4)")
    expect(similarity).to_be_focused()
    expect(page.locator(".jp-Cell.jp-mod-active")).to_have_class(re.compile("jp-CodeCell"))
    page.keyboard.press("Shift+ArrowDown")
    expect(readout.locator('[data-fact="pixel"]')).to_have_text("y 18, x 18 (row 4, col 4)")
    repaints(photograph, lambda: page.keyboard.press("Escape"))
    expect(readout).to_contain_text("No pixel selected")

    # Another image changes the photograph; everything is reachable with the keyboard alone.
    repaints(photograph, lambda: page.get_by_label("Image", exact=True).select_option("b"))
    page.get_by_label("Image", exact=True).focus()
    page.keyboard.press("Tab")
    expect(page.get_by_label("Class", exact=True)).to_be_focused()
    assert page.elsewhere == [] and page.problems == []


def zoomed(canvas, act):
    """Do `act` and wait until the canvas has been drawn again."""
    before = int(canvas.get_attribute("data-drawn"))
    act()
    canvas.page.wait_for_function(
        "([canvas, before]) => Number(canvas.dataset.drawn) > before", arg=[canvas.element_handle(), before]
    )


def test_all_panels_zoom_and_pan_together(open_notebook, records):
    from playwright.sync_api import expect

    page = open_notebook(CODE, records)
    canvases = page.locator("canvas.offseg-map-canvas")
    expect(canvases).to_have_count(6)
    label, offset = canvases.nth(1), canvases.nth(4)
    whole = settled(offset)
    label.click(position={"x": 10, "y": 10})  # a wheel over a canvas that has no focus scrolls the page
    page.keyboard.press("Escape")
    box = label.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    zoomed(offset, lambda: page.mouse.wheel(0, -100))
    part = "[round(edge, 1) for edge in explorer._panels['offset'].part]"
    becomes(page, part, [2.0, 2.8, 18.0, 25.2])  # 1.25 times, about the middle of 20 x 28

    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    becomes(page, part, [2.0, 0.0, 18.0, 22.4])  # not beyond the edge
    assert run_in_kernel(page, "print(explorer.pixel)") == "None\n"  # dragging selects nothing
    zoomed(offset, lambda: page.keyboard.press("0"))
    page.wait_for_function("([canvas, whole]) => canvas.toDataURL() === whole", arg=[offset.element_handle(), whole])
    assert page.problems == []


def test_two_models_and_an_error_in_the_page(open_notebook, records):
    from playwright.sync_api import expect

    code = CODE.replace("AlignmentExplorer([", "AlignmentExplorer(dict.fromkeys(['one', 'two'], [").replace(
        "], cls", "]), cls"
    )
    page = open_notebook(code, records)
    canvases = page.locator("canvas.offseg-map-canvas")
    expect(canvases).to_have_count(6)
    page.get_by_label("Beside it").select_option("two")
    expect(canvases).to_have_count(10)
    expect(page.get_by_text("two: prediction, aligned")).to_be_visible()
    page.get_by_label("Beside it").select_option("none")
    expect(canvases).to_have_count(6)

    run_in_kernel(
        page, "explorer._views['one']._records[1].attrs.pop('stride'); explorer._views['one'].record.cache_clear()"
    )
    page.get_by_label("Image", exact=True).select_option("b")
    expect(page.get_by_role("alert")).to_contain_text("stride")
    page.get_by_label("Image", exact=True).select_option("a")
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_hundred_images_leave_no_trace_and_closing_empties_the_page(open_notebook, make_record):
    from playwright.sync_api import expect

    records = [make_record(f"r{number}", seed=number, size=(64, 96)) for number in range(4)]
    page = open_notebook(CODE, records)
    expect(page.locator("canvas.offseg-map-canvas")).to_have_count(6)
    memory = "import gc, os; gc.collect(); print(open('/proc/self/statm').read().split()[1])"
    measured = []
    for _ in range(3):
        run_in_kernel(
            page, "for _ in range(12):\n    for name in ('r1', 'r2', 'r3', 'r0'):\n        explorer.image = name"
        )
        expect(page.get_by_label("Image", exact=True)).to_have_value(re.compile(".*"))
        page.wait_for_timeout(500)
        measured.append((int(run_in_kernel(page, memory)) * 4096, page_memory(page)))
    # the first fifty fill caches; the hundred after them add nothing that fifty images would (one has 1.5 MB)
    assert measured[2][0] - measured[0][0] < 8 * 2**20
    assert measured[2][1] - measured[0][1] < 2 * 2**20
    run_in_kernel(page, "explorer.close()")
    expect(page.locator("canvas.offseg-map-canvas")).to_have_count(0)
    assert page.problems == []
