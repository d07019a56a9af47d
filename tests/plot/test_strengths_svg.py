"""The small curve of OffsetLab: its points lie where the figures say."""

import math
import re
from xml.etree import ElementTree

import pandas as pd
import pytest

from offseg_viz.plot.strengths import LINES, strength_svg

AT = dict(class_strength=0.5, feature_strength=1.5)


@pytest.fixture
def lines():
    values = {"class_offsets": [0.2, 0.3, 0.4], "feature_offsets": [0.25, 0.3, 0.2], "both": [0.1, 0.3, 0.5]}
    return pd.DataFrame(values, index=pd.Index([0.0, 1.0, 2.0], name="strength"))


def drawn(svg):
    """The points of every line by its colour, and the centres of the marks."""
    root = ElementTree.fromstring(svg)
    paths = [each for each in root.iter("path") if each.get("stroke") != "currentColor" and "L" in each.get("d")]
    points = {
        path.get("stroke"): [tuple(map(float, pair.split())) for pair in path.get("d")[1:].split("L")] for path in paths
    }
    return points, [(float(c.get("cx")), float(c.get("cy"))) for c in root.iter("circle")]


def test_lines_pass_through_the_present_point(lines):
    points, marks = drawn(strength_svg(lines, **AT, miou=0.28))
    of_class, of_feature, both = (points[LINES[name][1]] for name in ("class_offsets", "feature_offsets", "both"))
    assert [len(each) for each in (of_class, of_feature, both)] == [4, 4, 3]
    assert of_class[1] == marks[0] and of_feature[2] == marks[1] and marks[0][1] == marks[1][1]

    scale = (both[2][1] - both[0][1]) / (0.5 - 0.1)  # pixels for a fraction, downwards
    for found, value in zip(of_class, (0.2, 0.28, 0.3, 0.4), strict=True):
        assert found[1] - both[0][1] == pytest.approx(scale * (value - 0.1), abs=0.2)
    assert scale < 0 and [x for x, _ in both] == sorted(x for x, _ in both)


def test_it_is_read_aloud_and_stays_in_its_frame(lines):
    svg = strength_svg(lines, **AT, miou=0.28)
    assert 'aria-label="mIoU 28.0 percent at class offsets 0.5, feature offsets 1.5"' in svg
    for low, high in ((0, 1), (0.3, 0.3), (0.271, 0.2713), (0, 0), (0.97, 1)):
        flat = lines * 0 + low
        flat.iloc[1] = high
        points, marks = drawn(strength_svg(flat, **AT, miou=high))
        _, _, width, height = map(float, re.search('viewBox="(.*?)"', svg)[1].split())
        assert all(0 < x < width and 0 < y < height for each in [*points.values(), marks] for x, y in each)


def test_nothing_without_a_figure(lines):
    assert strength_svg(lines * math.nan, **AT, miou=math.nan) == ""
