"""The pixel probe in a real JupyterLab and browser: clicks, pointer, keys, linked zoom and the table."""

import re

from lab import differs, needs_chromium, pixels

pytestmark = needs_chromium

CODE = """
from pathlib import Path
from offseg_viz.record import load_record
from offseg_viz.widgets.pixel_probe import PixelProbe
probe = PixelProbe(load_record(next(Path("records").iterdir())))
probe
"""


def at(canvas, row, col):
    """Where a cell of the grid of 5 x 7 lies on a canvas."""
    box = canvas.bounding_box()
    return {"x": (col + 0.5) / 7 * box["width"], "y": (row + 0.5) / 5 * box["height"]}


def test_click_pointer_keys_and_zoom(open_notebook, offset_record, tmp_path):
    from playwright.sync_api import expect

    page = open_notebook(CODE, [offset_record])
    canvases = page.locator("canvas.offseg-map-canvas")
    expect(canvases).to_have_count(6)
    initial, aligned, difference, to_class, photograph, projection = (canvases.nth(k) for k in range(6))
    numbers = page.locator(".offseg-probe")
    expect(numbers.first).to_contain_text("No pixel selected")

    # A click repaints the four maps and fills the table; every map marks the pixel.
    before = [pixels(canvas) for canvas in canvases.all()]
    photograph.click(position=at(photograph, 2, 5))
    expect(page.locator('[data-fact="pixel"]')).to_have_text("y 10, x 22 (row 2, col 5)")
    for canvas in (initial, aligned, difference, to_class, photograph):
        expect(canvas).to_have_attribute("aria-label", re.compile("selected row 2, col 5"))
    for canvas, old in zip(canvases.all(), before, strict=True):
        differs(canvas, old)
    expect(page.locator(".offseg-probe-rows tbody tr")).to_have_count(3)

    # Another class repaints the fourth map; another colouring the photograph and the projection.
    title = page.locator(".offseg-map-title")
    page.get_by_label("Class", exact=True).select_option("tree")
    expect(title.nth(3)).to_have_text("cosine to tree, aligned")
    page.get_by_label("Colours").select_option("prediction")
    expect(title.nth(4)).to_have_text("prediction, aligned")

    # Zoom goes to all maps together.
    plain = [pixels(canvas) for canvas in (initial, difference)]
    photograph.focus()
    page.keyboard.press("+")
    for canvas, old in zip((initial, difference), plain, strict=True):
        differs(canvas, old)
    page.keyboard.press("0")

    # Arrow keys move the pixel, Escape clears it.
    page.keyboard.press("ArrowDown")
    expect(page.locator('[data-fact="pixel"]')).to_have_text("y 14, x 22 (row 3, col 5)")
    page.keyboard.press("Escape")
    expect(numbers.first).to_contain_text("No pixel selected")

    # Following the pointer; a click holds.
    page.get_by_label("follow the pointer").check()
    aligned.hover(position=at(aligned, 1, 1))
    expect(page.locator('[data-fact="pixel"]')).to_have_text("y 6, x 6 (row 1, col 1)")
    initial.hover(position=at(initial, 4, 6))
    expect(page.locator('[data-fact="pixel"]')).to_have_text("y 18, x 26 (row 4, col 6)")
    page.screenshot(path=tmp_path / "probe.png")
    initial.click(position=at(initial, 4, 6))
    expect(page.get_by_label("follow the pointer")).not_to_be_checked()
    aligned.hover(position=at(aligned, 0, 0))
    page.wait_for_timeout(300)
    expect(page.locator('[data-fact="pixel"]')).to_have_text("y 18, x 26 (row 4, col 6)")
    assert page.elsewhere == [] and page.problems == []
