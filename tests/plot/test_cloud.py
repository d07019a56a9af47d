"""Points of a plane as a picture: where they lie, which colour they have, and which stage lies on top."""

import numpy as np
import pytest

from offseg_viz.analyze.pixel_plane import pixel_plane
from offseg_viz.plot.cloud import pixel_cloud


@pytest.fixture
def plane(offset_record):
    return pixel_plane(offset_record)


def test_every_point_lies_inside_with_one_scale_and_its_colour(plane):
    colors = np.zeros((5, 7, 3), np.uint8)
    colors[..., 1] = 130
    cloud = pixel_cloud(plane, colors, size=(200, 320))
    assert cloud.picture.shape == (200, 320, 3) and cloud.picture.dtype == np.uint8
    x, y = cloud.places.reshape(-1, 2).T
    assert 0 < x.min() and x.max() < 320 and 0 < y.min() and y.max() < 200
    for col, row in cloud.places[1].reshape(-1, 2).astype(int):
        np.testing.assert_array_equal(cloud.picture[row, col], [0, 130, 0])
    across, up = plane["place"].values.reshape(-1, 2).T
    np.testing.assert_allclose(np.ptp(x) / np.ptp(across), np.ptp(y) / np.ptp(up), rtol=1e-6)
    assert x[across.argmax()] == x.max() and y[up.argmax()] == y.min()


def test_the_initial_stage_is_pale(plane):
    cloud = pixel_cloud(plane, np.zeros((5, 7, 3), np.uint8), size=(400, 640))
    col, row = cloud.places[0, 0, 0].astype(int)
    assert 100 < cloud.picture[row, col].mean() < 220


def test_where_all_points_are_one_there_is_one_dot(plane):
    same = plane.copy(deep=True)
    same["place"][:] = 2.0
    cloud = pixel_cloud(same, np.zeros((5, 7, 3), np.uint8), size=(20, 30))
    np.testing.assert_allclose(cloud.places, np.broadcast_to([15, 10], cloud.places.shape), atol=1e-6)
    assert (cloud.picture[10, 15] == 0).all()
