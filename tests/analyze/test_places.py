"""Distances to other classes and areas of objects against plain loops over all pairs of cells."""

import math

import numpy as np
import pytest

from offseg_viz.analyze.places import boundary_distance, cell_side, object_area
from offseg_viz.errors import RecordError


def slow_distance(label, stride):
    height, width = label.shape
    result = np.full(label.shape, np.nan)
    cells = [(y, x) for y in range(height) for x in range(width) if label[y, x] != 255]
    for y, x in cells:
        others = [math.hypot(y - v, x - u) for v, u in cells if label[v, u] != label[y, x]]
        result[y, x] = min(others, default=math.inf) * stride
    return result


def slow_area(label, stride):
    """Flood fill over sides and corners."""
    height, width = label.shape
    result = np.full(label.shape, np.nan)
    for start in np.ndindex(label.shape):
        if label[start] == 255 or not np.isnan(result[start]):
            continue
        found, waiting = {start}, [start]
        while waiting:
            y, x = waiting.pop()
            for v in range(max(y - 1, 0), min(y + 2, height)):
                for u in range(max(x - 1, 0), min(x + 2, width)):
                    if label[v, u] == label[start] and (v, u) not in found:
                        found.add((v, u))
                        waiting.append((v, u))
        for place in found:
            result[place] = len(found) * stride**2
    return result


def blocks(seed, size=(19, 23)):
    """Areas of a few cells a side, single cells among them, and ignored ones."""
    rng = np.random.default_rng(seed)
    side = int(rng.integers(2, 7))
    coarse = rng.integers(0, 3, [-(-length // side) for length in size])
    label = np.kron(coarse, np.ones((side, side), int))[: size[0], : size[1]]
    spots = rng.random(size) < 0.02
    label[spots] = rng.integers(0, 3, int(spots.sum()))
    label[rng.random(size) < 0.03] = 255
    label[size[0] // 2 :, : size[1] // 4] = 255
    return label


@pytest.mark.parametrize("seed", range(5))
def test_equal_loops(make_record, seed):
    label = blocks(seed)
    record = make_record(size=label.shape, label=label)
    distance, area = boundary_distance(record), object_area(record)
    np.testing.assert_allclose(distance, slow_distance(label, 4), rtol=1e-5)
    np.testing.assert_array_equal(area, slow_area(label, 4))
    for found, name in ((distance, "boundary_distance"), (area, "object_area")):
        assert found.dims == ("y", "x") and found.name == name and set(found.coords) == {"y", "x"}
        assert found["y"].equals(record["y"]) and found["x"].equals(record["x"])


def test_by_hand(make_record):
    """A column of another class: beside it one stride; diagonals and corners by Pythagoras."""
    label = np.zeros((5, 7), int)
    label[0, 3] = 1
    found = boundary_distance(make_record(label=label)).values
    assert found[0].tolist() == [12, 8, 4, 4, 4, 8, 12]
    assert found[4, 0] == pytest.approx(4 * 5) and found[1, 2] == pytest.approx(4 * math.sqrt(2))
    assert set(object_area(make_record(label=label)).values.ravel()) == {16, 34 * 16}


def test_ignored_cells_are_no_boundary_and_cut_objects(make_record):
    label = np.zeros((5, 7), int)
    label[:, 3], label[:, 5:] = 255, 1
    record = make_record(label=label)
    distance, area = boundary_distance(record), object_area(record)
    assert distance[2, 2] == 3 * 4, "measured across the ignored column, to column 5"
    assert distance[:, 3].isnull().all() and area[:, 3].isnull().all()
    assert (area[:, :3] == 15 * 16).all() and (area[:, 4] == 5 * 16).all()


def test_one_class_and_no_class(make_record):
    label = np.full((5, 7), 2)
    label[0, 0] = 255
    record = make_record(label=label)
    assert np.isinf(boundary_distance(record).values).sum() == 34 and boundary_distance(record)[0, 0].isnull()
    assert (object_area(record).values.ravel()[1:] == 34 * 16).all()
    nothing = make_record(label=np.full((5, 7), 255))
    assert boundary_distance(nothing).isnull().all() and object_area(nothing).isnull().all()


def test_the_side_of_a_cell(offset_record):
    assert cell_side(offset_record) == 4
    assert cell_side(offset_record.assign_attrs(stride=[4.0, 4.0])) == 4
    assert cell_side(offset_record.assign_attrs(stride=[2.0, 8.0])) == 4
    wide = offset_record.assign_attrs(stride=8)
    np.testing.assert_allclose(boundary_distance(wide), 2 * boundary_distance(offset_record))
    np.testing.assert_allclose(object_area(wide), 4 * object_area(offset_record))


@pytest.mark.parametrize("function", [boundary_distance, object_area])
def test_bounds_of_the_input(offset_record, function):
    before = offset_record.copy(deep=True)
    function(offset_record)
    assert offset_record.identical(before)
    with pytest.raises(RecordError, match="no label.*labelled sample"):
        function(offset_record.drop_vars("label"))
