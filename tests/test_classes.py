"""Class lists: those of the published data sets agree with the facts, and others are checked."""

import json

import numpy as np
import pytest
from shared_data import shared

from offseg_viz.classes import CLASS_LISTS, ClassList
from offseg_viz.data.camvid import CAMVID_CLASSES
from offseg_viz.errors import DataError, UnknownNameError


@pytest.mark.parametrize(("name", "count"), CLASS_LISTS.items())
def test_a_published_list_has_its_number_of_classes(name, count):
    classes = ClassList.of(name)
    assert len(classes) == count and classes.palette.shape == (count, 3)
    assert all(text == text.strip() and text.isprintable() for text in classes.names)


@pytest.mark.parametrize("name", CLASS_LISTS)
def test_names_and_colours_are_those_of_the_facts(name):
    facts = json.loads(shared(f"facts/{name}.json").read_text())
    classes = ClassList.of(name)
    assert list(classes.names) == facts["classes"]
    np.testing.assert_array_equal(classes.palette, facts["palette"])


def test_some_classes_known_by_heart():
    assert ClassList.of("cityscapes").index("car") == 13
    assert ClassList.of("cityscapes").colors[0] == "#804080"  # road
    assert ClassList.of("ade20k").names[:3] == ("wall", "building", "sky")
    assert ClassList.of("coco_stuff164k").index("banner") == 80  # the first of the stuff classes
    assert ClassList.of("camvid") == CAMVID_CLASSES


def test_an_unknown_list_names_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'cityscapes'"):
        ClassList.of("cityscape")
    with pytest.raises(UnknownNameError, match="Valid: ade20k"):
        ClassList.of("../ade20k")


@pytest.mark.parametrize(
    ("names", "colors", "expected"),
    [
        (("a", "b"), ("#000000",), "2 class names but 1 colours"),
        (("a", "a"), ("#000000", "#000001"), "found twice: a"),
        (("a",), ("red",), "#rrggbb, found 'red'"),
        ((), (), "0 classes; needed 1 to 255"),
        (tuple(map(str, range(256))), ("#000000",) * 256, "256 classes"),
    ],
)
def test_a_list_that_is_none_says_why(names, colors, expected):
    with pytest.raises(DataError, match=expected):
        ClassList(names, colors)
