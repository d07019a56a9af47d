"""The projection explorer in a real JupyterLab and browser: lasso, region, stages, colours and keys."""

import numpy as np
import pytest
from lab import needs_chromium, run_in_kernel

pytestmark = needs_chromium

CODE = """
from pathlib import Path
import numpy as np
from offseg_viz.analyze.pixels import sample_pixels
from offseg_viz.analyze.projection import project
from offseg_viz.record import load_record
from offseg_viz.widgets.projection_explorer import ProjectionExplorer
records = [load_record(path) for path in sorted(Path("records").iterdir())]
table = project(sample_pixels(records, per_class=40, interior=False), cache=False)
explorer = ProjectionExplorer(table, records)
explorer
"""

PLACES = """() => {
  const plot = [...document.querySelectorAll("div")].find((each) => each.api).api;
  return plot.get("points").map((point) => point.slice(0, 4));
}"""
DRAWN = "(least) => Number(document.querySelector('canvas[role=img]')?.dataset.drawn || 0) >= least"


@pytest.fixture
def page(open_notebook, records):
    opened = open_notebook(CODE, records)
    opened.wait_for_function(DRAWN, arg=1)
    return opened


def expected_points(page) -> np.ndarray:
    """x, y, colour number and kind of all points, as the kernel has them at its stage."""
    code = (
        "p, s = explorer._points, explorer._scatter\n"
        "codes = np.frombuffer(s.codes, np.uint16)\n"
        "print(np.column_stack([p.places[['initial', 'aligned'].index(explorer.stage)], codes, p.kinds]).tolist())"
    )
    return np.array(eval(run_in_kernel(page, code)))


def drawn(page) -> int:
    return int(page.locator("canvas[role=img]").get_attribute("data-drawn"))


def test_stages_and_colours_move_and_paint_the_points(page):
    np.testing.assert_allclose(page.evaluate(PLACES), expected_points(page), atol=1e-5)
    before = drawn(page)
    page.get_by_role("button", name="initial", exact=True).click()
    page.wait_for_function(DRAWN, arg=before + 1)
    np.testing.assert_allclose(page.evaluate(PLACES), expected_points(page), atol=1e-5)
    before = drawn(page)
    page.get_by_label("Colour").select_option("offset magnitude")
    page.wait_for_function(DRAWN, arg=before + 1)
    np.testing.assert_allclose(page.evaluate(PLACES), expected_points(page), atol=1e-5)
    # changes that come while points move are not lost: the newest is drawn in the end
    before = drawn(page)
    run_in_kernel(
        page,
        "import time\nfor name in ('aligned', 'initial', 'aligned'):\n explorer.stage = name; time.sleep(0.2)\n"
        "explorer.color = 'sample'",
    )
    page.wait_for_function(DRAWN, arg=before + 1)
    np.testing.assert_allclose(page.evaluate(PLACES), expected_points(page), atol=1e-5)
    assert run_in_kernel(page, "print(explorer.stage)").strip() == "aligned"
    assert page.elsewhere == [] and page.problems == []


def test_a_lasso_lights_images_and_a_region_selects_points(page, tmp_path):
    from playwright.sync_api import expect

    titles = page.locator(".offseg-map-title:visible")
    expect(titles).to_have_count(3)
    box = page.locator("canvas[role=img]").bounding_box()

    def at(across, down):
        return box["x"] + across * box["width"], box["y"] + down * box["height"]

    page.keyboard.down("Shift")
    page.mouse.move(*at(0.02, 0.02))
    page.mouse.down()
    for corner in ((0.5, 0.02), (0.5, 0.98), (0.02, 0.98), (0.02, 0.1)):
        page.mouse.move(*at(*corner), steps=8)
    page.mouse.up()
    page.keyboard.up("Shift")
    expect(titles.first).to_contain_text(" of ")
    chosen = eval(run_in_kernel(page, "print(explorer.selection.tolist())"))
    x = expected_points(page)[:, 0]
    pixels = int(run_in_kernel(page, "print(explorer.pixel_count)"))
    # the left half is where x is below zero
    margin = 0.03
    surely = {k for k in range(pixels) if x[k] < -margin}
    assert surely <= set(chosen) <= {k for k in range(pixels) if x[k] < margin} and surely
    page.screenshot(path=tmp_path / "lasso.png")

    # Escape on the focused scatter clears; JupyterLab leaves its cell alone.
    page.locator("canvas[role=img]").focus()
    page.keyboard.press("Escape")
    expect(page.get_by_text("No pixel selected.")).to_be_visible()

    page.get_by_role("button", name="Draw a region").click()
    canvases = page.locator("canvas.offseg-map-canvas[data-drawing=true]:visible")
    expect(canvases).to_have_count(3)
    place = canvases.nth(1).bounding_box()
    corners = [(0.02, 0.02), (0.45, 0.02), (0.45, 0.97), (0.02, 0.97)]
    page.mouse.move(place["x"] + corners[0][0] * place["width"], place["y"] + corners[0][1] * place["height"])
    page.mouse.down()
    for across, down in corners[1:]:
        page.mouse.move(place["x"] + across * place["width"], place["y"] + down * place["height"], steps=5)
    page.mouse.up()
    expect(titles.nth(1)).to_contain_text(" of ")
    found = run_in_kernel(
        page,
        "s = explorer.selection; print(len(s), set(table['sample'].values[s].tolist()) == {explorer.images[1]},"
        "table['x'].values[s].max() < 14)",
    )
    count = int(found.split()[0])
    assert count > 5 and found.split()[1:] == ["True", "True"]
    selected = page.evaluate(
        """() => [...document.querySelectorAll("div")].find((each) => each.api).api.get("selectedPoints")"""
    )
    assert sum(point < pixels for point in selected) == count

    page.get_by_label("Select class").select_option("road")
    expect(page.get_by_text("pixels selected: road 100.0%")).to_be_visible()
    assert page.elsewhere == [] and page.problems == []
