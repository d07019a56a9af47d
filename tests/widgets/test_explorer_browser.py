"""The explorer in a real JupyterLab and browser: clicks, keys and pickers do what they say."""

import re

from lab import needs_chromium

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
    expect(canvases).to_have_count(5)
    photograph, label, prediction, similarity, offset = (canvases.nth(k) for k in range(5))
    readout = page.locator(".offseg-readout")
    expect(readout).to_contain_text("No pixel selected")

    def pixels(canvas):
        return canvas.evaluate("canvas => canvas.toDataURL()")

    def changes(canvas, act):
        """Do `act` and wait until what the canvas shows differs."""
        before = pixels(canvas)
        act()
        page.wait_for_function(
            "([canvas, before]) => canvas.toDataURL() !== before", arg=[canvas.element_handle(), before]
        )

    # A click selects the cell under the pointer, in every panel.
    record = records[0]
    row, col = 2, 5
    place = photograph.bounding_box()
    click = {"x": (col + 0.5) / 7 * place["width"], "y": (row + 0.5) / 5 * place["height"]}
    changes(offset, lambda: label.click(position=click))
    name = str(record["cls"].values[int(record["label"][row, col])])
    expect(readout.locator('[data-fact="label"]')).to_have_text(name)
    expect(readout.locator('[data-fact="pixel"]')).to_have_text("y 10, x 22 (row 2, col 5)")
    for canvas in canvases.all():
        expect(canvas).to_have_attribute("aria-label", re.compile(f"selected row {row}, col {col}"))

    # Class and stage pickers repaint the similarity panel, and only the stage the prediction.
    title = page.locator(".offseg-map-title").nth(3)
    expect(title).to_have_text("cosine similarity to road, aligned")
    shown = pixels(prediction)
    changes(similarity, lambda: page.get_by_label("Class").select_option("tree"))
    expect(title).to_have_text("cosine similarity to tree, aligned")
    assert pixels(prediction) == shown
    changes(similarity, lambda: page.get_by_role("button", name="aligned - initial", exact=True).click())
    expect(title).to_have_text("cosine similarity to tree, aligned - initial")
    page.screenshot(path=tmp_path / "explorer.png")

    # Arrow keys move, JupyterLab does not take them; Escape clears.
    similarity.focus()
    changes(photograph, lambda: page.keyboard.press("ArrowDown"))
    expect(readout.locator('[data-fact="pixel"]')).to_have_text("y 14, x 22 (row 3, col 5)")
    page.keyboard.press("ArrowLeft")
    expect(readout.locator('[data-fact="pixel"]')).to_have_text("y 14, x 18 (row 3, col 4)")
    expect(similarity).to_be_focused()
    expect(page.locator(".jp-Cell.jp-mod-active")).to_have_class(re.compile("jp-CodeCell"))
    page.keyboard.press("Shift+ArrowDown")
    expect(readout.locator('[data-fact="pixel"]')).to_have_text("y 18, x 18 (row 4, col 4)")
    changes(photograph, lambda: page.keyboard.press("Escape"))
    expect(readout).to_contain_text("No pixel selected")

    # Another image changes the photograph; everything is reachable with the keyboard alone.
    changes(photograph, lambda: page.get_by_label("Image").select_option("b"))
    page.get_by_label("Image").focus()
    page.keyboard.press("Tab")
    expect(page.get_by_label("Class")).to_be_focused()
    assert page.elsewhere == [] and page.problems == []
