"""Neighbours against loops, quality figures against their definitions, and the null change against a real one."""

import math

import numpy as np
import pytest
import reference

from offseg_viz.analyze import neighbors, projection_quality
from offseg_viz.analyze.neighbors import nearest_among, nearest_neighbors, plane_neighbors, shared_neighbors
from offseg_viz.analyze.projection_fit import graph_with_twins
from offseg_viz.analyze.projection_quality import neighborhood_figures, null_drift, twins


@pytest.fixture
def stages():
    """Features of 23 pixels before and after, 5 channels, and 46 places that have a little to do with them."""
    random = np.random.default_rng(0)
    before = random.normal(size=(23, 5))
    points = np.concatenate([before, before + 0.7 * random.normal(size=(23, 5))]).astype(np.float32)
    return points, (points[:, :2] + random.normal(size=(46, 2))).astype(np.float32)


def nearest_by_loops(points, count):
    found = []
    for i, point in enumerate(points.tolist()):
        others = [j for j in range(len(points)) if j != i]
        found.append(sorted(others, key=lambda j: math.dist(point, points[j].tolist()))[:count])
    return found


def figures_of(points, placed, **options):
    near, _ = nearest_neighbors(points, min(15, len(points) - 1))
    return neighborhood_figures(points, placed, near, **options)


@pytest.mark.parametrize("held", [2**24, 100])
def test_neighbors_equal_loops(stages, held, monkeypatch):
    monkeypatch.setattr(neighbors, "_BLOCK", held)  # 100 distances at a time: two rows
    points, placed = stages
    indices, distances = nearest_neighbors(points, 6)
    assert indices.tolist() == nearest_by_loops(points, 6)
    expected = [[math.dist(points[i], points[j]) for j in row] for i, row in enumerate(indices)]
    np.testing.assert_allclose(distances, expected, rtol=1e-5)
    assert plane_neighbors(placed, 6).tolist() == nearest_by_loops(placed, 6)


def test_neighbors_among_others(stages):
    points, _ = stages
    indices, distances = nearest_among(points[:4] + 1, points, 3)
    expected = [sorted(range(46), key=lambda j: math.dist(query, points[j]))[:3] for query in points[:4] + 1]
    assert indices.tolist() == expected and (np.diff(distances) >= 0).all()


def test_far_from_the_origin_near_points_keep_their_order():
    random = np.random.default_rng(0)
    points = (1000 + random.normal(size=(40, 5))).astype(np.float32)
    assert nearest_neighbors(points, 5)[0].tolist() == nearest_by_loops(points.astype(np.float64), 5)


def test_near_points_keep_their_order_where_others_are_far():
    """Two tight groups far from each other and from the middle; the neighbours asked for are all of the own group."""
    random = np.random.default_rng(0)
    points = (np.repeat([[-300.0], [300]], 20, axis=0) + 0.1 * random.normal(size=(40, 5))).astype(np.float32)
    indices, distances = nearest_neighbors(points, 19)
    assert indices.tolist() == nearest_by_loops(points.astype(np.float64), 19)
    np.testing.assert_allclose(distances[3], [math.dist(points[3], points[j]) for j in indices[3]], rtol=1e-5)


def test_a_point_is_no_neighbor_of_its_own_among_copies():
    points = np.repeat(np.arange(4, dtype=np.float32)[:, None] * [[1.0, 2.0]], 5, axis=0)
    indices, distances = nearest_neighbors(points, 4)
    assert (indices != np.arange(20)[:, None]).all()
    assert (indices // 5 == np.arange(20)[:, None] // 5).all() and (distances == 0).all()


def test_approximate_search_of_many_points(monkeypatch):
    """NN-descent, which compiles for some time; here with a limit of 100 points in place of 20,000."""
    random = np.random.default_rng(0)
    points = (random.normal(size=(700, 4)) @ random.normal(size=(4, 11))).astype(np.float32)
    exact, exact_distances = nearest_neighbors(points, 15)
    monkeypatch.setattr(neighbors, "EXACT", 100)
    found, distances = nearest_neighbors(points, 15, seed=3)
    assert found.shape == (700, 15) and found.dtype == np.int32 and (found != np.arange(700)[:, None]).all()
    assert shared_neighbors(exact, found).mean() > 0.97
    same = (found == exact).all(axis=1)
    np.testing.assert_allclose(distances[same], exact_distances[same], rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(nearest_neighbors(points, 15, seed=3)[0], found)


def test_shared_neighbors_by_hand():
    left, right = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]]), np.array([[3, 1, 2], [6, 0, 1], [1, 2, 3]])
    np.testing.assert_allclose(shared_neighbors(left, right), [1, 1 / 3, 0])


def test_figures_equal_loops(stages):
    points, placed = stages
    figures, distortion = figures_of(points, placed)
    full, plane = nearest_by_loops(points, 15), nearest_by_loops(placed, 15)
    before, after = nearest_by_loops(points[:23], 11), nearest_by_loops(points[23:], 11)
    lost = [len(set(a) - set(b)) / 15 for a, b in zip(full, plane, strict=True)]
    assert figures["neighbors"] == 15
    assert figures["trustworthiness"] == pytest.approx(reference.trustworthiness(points, placed, 15), abs=1e-6)
    # continuity is trustworthiness with the two spaces exchanged
    assert figures["continuity"] == pytest.approx(reference.trustworthiness(placed, points, 15), abs=1e-6)
    np.testing.assert_allclose(distortion, lost, atol=1e-6)
    assert figures["plane_overlap"] == pytest.approx(1 - np.mean(lost), abs=1e-6)
    kept = [len(set(a) & set(b)) / 11 for a, b in zip(before, after, strict=True)]
    assert figures["stage_overlap"] == pytest.approx(np.mean(kept), abs=1e-6)


def test_a_plane_that_is_the_feature_space_loses_nothing():
    points = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    turned = 3 * points @ np.array([[0.6, 0.8], [-0.8, 0.6]]) + 7
    figures, distortion = figures_of(points, turned.astype(np.float32))
    assert figures["trustworthiness"] == figures["continuity"] == figures["plane_overlap"] == 1
    assert not distortion.any()


def test_folding_costs_trust_and_tearing_costs_continuity():
    """A line folded in the middle draws far ends together; a circle cut open draws neighbours apart."""
    place = np.linspace(0, 1, 200)[:, None]
    line, folded = np.hstack([place, 0 * place]), np.hstack([np.abs(place - 0.501), 0 * place])
    figures, _ = figures_of(line.astype(np.float32), folded.astype(np.float32), stages=1)
    assert figures["trustworthiness"] < 0.9 < 0.97 < figures["continuity"]
    angle = 2 * np.pi * place[:-1]
    circle, cut = np.hstack([np.cos(angle), np.sin(angle)]), np.hstack([angle, 0 * angle])
    figures, _ = figures_of(circle.astype(np.float32), cut.astype(np.float32), stages=1)
    assert figures["continuity"] < 0.985 < 0.995 < figures["trustworthiness"]


def test_one_stage_keeps_its_own_neighborhoods(stages):
    points, placed = stages
    figures, distortion = figures_of(points, placed, stages=1)
    assert figures["stage_overlap"] == 1 and distortion.shape == (46,)
    assert figures["trustworthiness"] == pytest.approx(reference.trustworthiness(points, placed, 15), abs=1e-6)


@pytest.mark.parametrize(("pixels", "k"), [(3, 2), (8, 7), (20, 15)])
def test_few_points_have_fewer_neighbors(stages, pixels, k):
    points, placed = (values[:pixels] for values in stages)
    points, placed = (np.concatenate([values, values + 1]) for values in (points, placed))
    figures, _ = figures_of(points, placed)
    assert figures.pop("neighbors") == k
    assert all(0 <= value <= 1 for value in figures.values()) and figures["stage_overlap"] == 1


def test_a_choice_of_points_stands_for_all(monkeypatch):
    random = np.random.default_rng(0)
    points = random.normal(size=(1600, 6)).astype(np.float32)
    placed = (points[:, :2] + 0.3 * random.normal(size=(1600, 2))).astype(np.float32)
    few, of_few = figures_of(points, placed, seed=1)
    again, _ = figures_of(points, placed, seed=1)
    other, _ = figures_of(points, placed, seed=2)
    monkeypatch.setattr(projection_quality, "QUERIES", 1600)
    everything, of_all = figures_of(points, placed)
    assert few == again and few["trustworthiness"] != other["trustworthiness"]
    for name in ("trustworthiness", "continuity", "stage_overlap"):
        assert few[name] == pytest.approx(everything[name], abs=0.01)
    assert few["plane_overlap"] == everything["plane_overlap"] and (of_few == of_all).all()


def test_twins_lie_at_a_thousandth_of_the_spread(stages):
    points, _ = stages
    chosen, copies = twins(points, 0)
    spread = math.sqrt(sum(math.dist(point, points.mean(axis=0)) ** 2 for point in points) / 46)
    assert len(chosen) == len(set(chosen.tolist())) == 2, "a twentieth of 46"
    np.testing.assert_allclose(np.linalg.norm(copies - points[chosen], axis=1), 1e-3 * spread, rtol=1e-2)
    assert len(twins(np.zeros((20_000, 2), np.float32), 0)[0]) == 500 and len(twins(points[:3], 0)[0]) == 1
    assert not np.array_equal(twins(points, 5)[0], chosen)


def test_twins_are_put_into_the_graph_where_a_search_finds_them():
    points = np.random.default_rng(0).normal(size=(90, 5)).astype(np.float32)
    chosen = np.array([3, 4, 20, 57, 58, 89])
    copies = points[chosen] + np.float32(1e-5)
    found, distances = graph_with_twins(*nearest_neighbors(points, 15), chosen, np.full(6, 1e-5 * math.sqrt(5)))
    expected, expected_distances = nearest_among(np.concatenate([points, copies]), np.concatenate([points, copies]), 15)
    owner = np.concatenate([np.arange(90), chosen])  # a point and its twin are equally far from any third
    np.testing.assert_array_equal(owner[found], owner[expected])
    assert (found[:, 0] == np.arange(96)).all() and all(len(set(row)) == 15 for row in found.tolist())
    np.testing.assert_allclose(distances, expected_distances, atol=1e-4)
    np.testing.assert_allclose(distances[[*chosen, *range(90, 96)], 1], 1e-5 * math.sqrt(5), rtol=1e-5)
    assert found.dtype == np.int32 and distances.dtype == np.float32


def test_a_neighbor_that_was_not_found_stays_last():
    near = np.array([[1, -1], [0, 2], [1, -1]] * 8, np.int32)[:, [0] * 14 + [1]]
    far = np.where(near < 0, np.inf, 1).astype(np.float32)
    found, distances = graph_with_twins(near, far, np.array([23]), np.array([0.5]))
    assert found.shape == (25, 15) and found[23, :2].tolist() == [23, 24] and found[24, :2].tolist() == [24, 23]
    assert np.isfinite(distances).all(), "fourteen others were found"


def test_null_drift_by_hand():
    placed = np.array([[0, 0], [3, 4], [1, 1]], np.float32)
    moved = placed[[0, 2]] + np.array([[0.5, 0], [0, 1]], np.float32)
    assert null_drift(placed, np.array([0, 2]), moved) == pytest.approx(
        {"null_drift_median": 0.75 / 5, "null_drift_95": 0.975 / 5}
    )
    assert null_drift(0 * placed, np.array([1]), 0 * placed[:1])["null_drift_95"] == 0
