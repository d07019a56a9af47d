"""OffsetLab in a real JupyterLab: sliders by mouse and keyboard, switches, donors and clicks repaint the maps."""

import re

from lab import needs_chromium, repaints

from offseg_viz.analyze.align import winning_class
from offseg_viz.analyze.changes import change_counts, change_map
from offseg_viz.analyze.interventions import intervene

pytestmark = needs_chromium

CODE = """
from pathlib import Path
from offseg_viz.record import load_record
from offseg_viz.widgets.offset_lab import OffsetLab
records = [load_record(path) for path in sorted(Path("records").iterdir())]
lab = OffsetLab(records[0], donors=records)
lab
"""
PLAIN = CODE.replace("records[0], donors=records", "records[0].drop_vars('label')")


def mended(record, s, t):
    predicted = winning_class(record, intervene(record, class_strength=s, feature_strength=t))
    return str(change_counts(change_map(record, predicted=predicted))["mended"])


def test_sliders_switches_donors_and_clicks(open_notebook, records, tmp_path):
    from playwright.sync_api import expect

    page = open_notebook(CODE, records)
    canvases = page.locator("canvas.offseg-map-canvas")
    expect(canvases).to_have_count(4)
    title, count = page.locator(".offseg-map-title").nth(2), page.locator('[data-kind="mended"]')
    expect(title).to_have_text("prediction (1 dW, 1 dE)")
    expect(count).to_have_text(mended(records[0], 1, 1))
    expect(page.locator("circle.offseg-present")).to_have_count(2)

    # By keyboard: an arrow key is one step, Home and End are the ends.
    handles = page.locator(".noUi-handle")
    handles.nth(0).focus()
    page.keyboard.press("ArrowLeft")
    expect(title).to_have_text("prediction (0.95 dW, 1 dE)")
    page.keyboard.press("Home")
    expect(title).to_have_text("prediction (0 dW, 1 dE)")
    expect(count).to_have_text(mended(records[0], 0, 1))

    # By mouse: the maps follow while the button is down.
    place, track = handles.nth(1).bounding_box(), page.locator(".noUi-base").nth(1).bounding_box()
    page.mouse.move(place["x"] + place["width"] / 2, place["y"] + place["height"] / 2)
    page.mouse.down()
    page.mouse.move(track["x"] + track["width"] + 20, place["y"] + 4, steps=12)
    expect(title).to_have_text("prediction (0 dW, 2 dE)")
    expect(count).to_have_text(mended(records[0], 0, 2))
    page.mouse.up()

    # Together, off and on, another image's class offsets, and all of it back.
    page.get_by_label("move both together").check()
    expect(title).to_have_text("prediction (0 dW, 0 dE)")
    expect(count).to_have_text("0")
    handles.nth(1).focus()
    page.keyboard.press("End")
    expect(title).to_have_text("prediction (2 dW, 2 dE)")
    page.get_by_label("feature offsets", exact=True).uncheck()
    expect(title).to_have_text("prediction (2 dW, 0 dE)")
    before = page.locator(".offseg-quality").inner_text()
    page.get_by_label("class offsets of").select_option("b")
    expect(page.locator(".offseg-quality")).not_to_have_text(before, use_inner_text=True)
    page.screenshot(path=tmp_path / "offset_lab.png")
    page.get_by_role("button", name="reset").click()
    expect(title).to_have_text("prediction (1 dW, 1 dE)")
    expect(count).to_have_text(mended(records[0], 1, 1))
    expect(page.get_by_label("class offsets of")).to_have_value("its own")

    # A click marks the cell in all panels; zooming one zooms all.
    place = canvases.nth(3).bounding_box()
    canvases.nth(3).click(position={"x": 5.5 / 7 * place["width"], "y": 2.5 / 5 * place["height"]})
    for canvas in canvases.all():
        expect(canvas).to_have_attribute("aria-label", re.compile("selected row 2, col 5"))
    repaints(canvases.nth(0), lambda: page.keyboard.press("+"))
    assert page.elsewhere == [] and page.problems == []


def test_what_does_not_apply_is_greyed_with_the_reason(open_notebook, records):
    from playwright.sync_api import expect

    page = open_notebook(PLAIN, records[:1])
    expect(page.locator("canvas.offseg-map-canvas")).to_have_count(4)
    expect(page.get_by_label("class offsets of")).to_be_disabled()
    expect(page.locator(".offseg-note")).to_contain_text("give donors=")
    expect(page.locator(".offseg-note")).to_contain_text("no label")
    expect(page.locator(".offseg-quality")).to_have_count(0)
    page.locator(".noUi-handle").nth(0).focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".offseg-map-title").nth(2)).to_have_text("prediction (0.95 dW, 1 dE)")
    assert page.elsewhere == [] and page.problems == []
