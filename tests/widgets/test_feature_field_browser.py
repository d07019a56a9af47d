"""FeatureField in a real JupyterLab: its colours reach the canvas, and clicks, keys and pickers do what they say."""

import re

from lab import needs_chromium, repaints

from offseg_viz.analyze.feature_colors import feature_color_basis, feature_colors

pytestmark = needs_chromium

CODE = """
from pathlib import Path
from offseg_viz.record import load_record
from offseg_viz.widgets.feature_field import FeatureField
field = FeatureField([load_record(path) for path in sorted(Path("records").iterdir())])
field
"""
MIDDLE = """([canvas, row, col]) => [...canvas.getContext("2d").getImageData(
  Math.round((col + 0.5) / 7 * canvas.width), Math.round((row + 0.5) / 5 * canvas.height), 1, 1).data].slice(0, 3)"""


def test_colours_flip_and_click(open_notebook, records, tmp_path):
    from playwright.sync_api import expect

    page = open_notebook(CODE, records)
    canvases = page.locator("canvas.offseg-map-canvas")
    expect(canvases).to_have_count(5)
    photograph, initial, aligned, offset, flip = (canvases.nth(k) for k in range(5))
    basis = feature_color_basis(records)

    def shows(canvas, record, stage):
        expected = feature_colors(record, basis, stage=stage).values[3, 4].tolist()
        check = f"arg => String(({MIDDLE})(arg)) === '{','.join(map(str, expected))}'"
        page.wait_for_function(check, arg=[canvas.element_handle(), 3, 4])

    shows(initial, records[0], "initial")
    shows(aligned, records[0], "aligned")
    shows(flip, records[0], "aligned")
    page.get_by_role("button", name="initial", exact=True).click()
    expect(page.locator(".offseg-map-title").nth(4)).to_have_text("flip: initial")
    shows(flip, records[0], "initial")
    page.get_by_label("Image").select_option("b")
    shows(aligned, records[1], "aligned")
    shows(flip, records[1], "initial")

    # A click marks the pixel everywhere and tells its places; Escape clears.
    place = offset.bounding_box()
    offset.click(position={"x": 5.5 / 7 * place["width"], "y": 2.5 / 5 * place["height"]})
    for canvas in canvases.all():
        expect(canvas).to_have_attribute("aria-label", re.compile("selected row 2, col 5"))
    expect(page.locator(".offseg-pixel")).to_contain_text("row 2, col 5")
    page.screenshot(path=tmp_path / "feature_field.png")
    page.keyboard.press("Escape")
    expect(page.locator(".offseg-pixel")).to_have_count(0)

    # Zoom, smoothing and opacity are those of all panels.
    offset.focus()
    repaints(photograph, lambda: page.keyboard.press("+"))
    repaints(aligned, lambda: page.get_by_label("Smooth").check())
    page.locator(".noUi-handle").focus()
    repaints(aligned, lambda: page.keyboard.press("Home"))
    assert page.elsewhere == [] and page.problems == []
