"""PixelMap in a real JupyterLab: what it draws, and what it sends when it is pointed at."""

import ast

from lab import becomes, needs_chromium, pixels, repaints, run_in_kernel, settled

pytestmark = needs_chromium

CODE = """
import numpy as np
from offseg_viz.record import load_record
from offseg_viz.widgets import PixelMap
record = load_record("records/a")
ramp = record["feature"].isel(channel=0, drop=True).copy(data=np.tile(np.arange(7, dtype=np.float32), (5, 1)))
map = PixelMap(ramp, over=record, title="ramp", limits=(0, 6))
map
"""


def row_of(canvas) -> list[int]:
    """The pixels in the middle of the canvas, from left to right, four bytes each."""
    return canvas.evaluate(
        "canvas => [...canvas.getContext('2d').getImageData(0, canvas.height / 2, canvas.width, 1).data]"
    )


def value(page, name: str):
    return ast.literal_eval(run_in_kernel(page, f"print({name})"))


def test_it_draws_what_it_is_told_and_says_where_it_is_pointed_at(open_notebook, make_record):
    from playwright.sync_api import expect

    page = open_notebook(CODE, [make_record("a")])
    canvas = page.locator("canvas.offseg-map-canvas")
    expect(canvas).to_have_count(1)
    plain = settled(canvas)

    # A contour of a ramp along x is a straight line where the value is reached: cell k has its centre at k + 0.5.
    before = row_of(canvas)
    repaints(canvas, lambda: run_in_kernel(page, "map.levels = [3.25]"))
    after = row_of(canvas)
    changed = [at // 4 for at in range(len(before)) if before[at] != after[at]]
    middle = 7 * (min(changed) + max(changed) + 1) / 2 / (len(before) / 4)
    assert abs(middle - 3.75) < 0.05 and len(set(changed)) < 6
    repaints(canvas, lambda: run_in_kernel(page, "map.levels = []"))
    assert pixels(canvas) == plain

    # Cells that are not lit are darkened; arrows are drawn.
    repaints(canvas, lambda: run_in_kernel(page, "map.lit = bytes([1] * 7 + [0] * 28)"))
    repaints(canvas, lambda: run_in_kernel(page, "map.lit = b''"))
    repaints(canvas, lambda: run_in_kernel(page, "map.arrows = [[2.0, 2.0, 26.0, 18.0]]"))
    repaints(canvas, lambda: run_in_kernel(page, "map.arrows = []"))
    assert pixels(canvas) == plain

    # The pointer is followed when that is wanted, and a click then selects.
    box = canvas.bounding_box()

    def at(row, col):
        return box["x"] + (col + 0.5) / 7 * box["width"], box["y"] + (row + 0.5) / 5 * box["height"]

    page.mouse.move(*at(1, 2))
    assert value(page, "map.hovered") == []
    run_in_kernel(page, "map.hover = True")
    page.mouse.move(*at(3, 4))
    becomes(page, "map.hovered", [3, 4])
    page.mouse.click(*at(2, 6))
    becomes(page, "map.selected", [2, 6])

    # A region holds the cells whose centres lie within the line that was drawn; Escape clears it, then the selection.
    run_in_kernel(page, "map.drawing = True")
    expect(page.locator("canvas.offseg-map-canvas[data-drawing=true]")).to_have_count(1)
    page.mouse.move(*at(0.6, 0.6))
    page.mouse.down()
    for corner in ((0.6, 3.4), (2.4, 3.4), (2.4, 0.6), (0.6, 0.6)):
        page.mouse.move(*at(*corner), steps=5)
    page.mouse.up()
    becomes(page, "np.flatnonzero(np.frombuffer(map.region, np.uint8)).tolist()", [8, 9, 10, 15, 16, 17])
    page.keyboard.press("Escape")
    becomes(page, "map.region", b"")
    assert value(page, "map.selected") == [2, 6]
    page.keyboard.press("Escape")
    becomes(page, "map.selected", [])

    # Plus zooms, minus takes it back.
    for _ in range(2):
        page.keyboard.press("+")
    becomes(page, "[round(map.part[k + 2] - map.part[k], 6) for k in (0, 1)]", [round(n / 1.5**2, 6) for n in (20, 28)])
    for _ in range(3):
        page.keyboard.press("-")
    becomes(page, "map.part", [])
    assert page.problems == [] and page.elsewhere == []
