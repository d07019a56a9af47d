"""One pixel against all others, against classes and in the plane, each against loops."""

import numpy as np
import pytest
import reference
from mask_records import build_query_record

from offseg_viz.analyze.align import aligned_class_embedding, aligned_feature, logits, scores
from offseg_viz.analyze.attention import position_attention
from offseg_viz.analyze.pixel_measures import pixel_measures
from offseg_viz.analyze.pixel_plane import pixel_plane
from offseg_viz.analyze.pixel_similarity import class_similarity, pixel_similarity, similarity_reach, unit_vectors
from offseg_viz.analyze.similarity import cosine_similarity
from offseg_viz.errors import RecordError, UnknownNameError

CELL = (3, 4)
STAGES = ("initial", "aligned")


def zeroed(record):
    """`record` with a feature and a class embedding that are zero at the stage `initial`."""
    record = record.copy(deep=True)
    record["feature"][2, 5] = 0
    record["class_embedding"][1] = 0
    return record


@pytest.mark.parametrize("stage", STAGES)
def test_a_pixel_to_all_others_as_in_loops(offset_record, stage):
    found = pixel_similarity(unit_vectors(offset_record), CELL)
    assert found.dims == ("stage", "y", "x") and found.dtype == np.float32
    feature, _ = reference.stage_pair(offset_record, stage)
    expected = [reference.cosine(feature[CELL[0] * 7 + CELL[1]], other) for other in feature]
    np.testing.assert_allclose(found.sel(stage=stage).values.ravel(), expected, atol=1e-5)
    assert float(found.sel(stage=stage)[CELL]) == pytest.approx(1, abs=1e-6) and float(found.max()) <= 1
    np.testing.assert_array_equal(found["y"], offset_record["y"])


@pytest.mark.parametrize("stage", STAGES)
def test_all_pixels_to_a_class_as_cosine_similarity_says(offset_record, stage):
    found = class_similarity(unit_vectors(offset_record), "tree", stage)
    aligned = stage == "aligned"
    feature = aligned_feature(offset_record) if aligned else offset_record["feature"]
    embedding = aligned_class_embedding(offset_record) if aligned else offset_record["class_embedding"]
    expected = cosine_similarity(feature, embedding).sel(cls="tree")
    assert found.dims == ("y", "x")
    np.testing.assert_allclose(found.values, expected.values, atol=1e-6)


@pytest.mark.filterwarnings("error")
def test_zero_vectors_have_no_cosine(offset_record):
    record = zeroed(offset_record)
    units = unit_vectors(record)
    found = pixel_similarity(units, CELL).values
    assert np.isnan(found[0, 2, 5]) and np.isnan(found).sum() == 1
    assert np.isnan(pixel_similarity(units, (2, 5)).values[0]).all()
    assert class_similarity(units, "road", "initial").isnull().all()
    assert not class_similarity(units, "road").isnull().any()
    assert np.isnan(pixel_measures(record, CELL)["cosine"].values[0, 1])
    assert np.isfinite(similarity_reach(units)).all()


def test_a_record_without_offsets_keeps_one_array(per_pixel_record):
    units = unit_vectors(per_pixel_record)
    feature = units["feature"].values
    assert np.shares_memory(feature[0], feature[1])
    initial, aligned = pixel_similarity(units, CELL).values
    np.testing.assert_array_equal(initial, aligned)
    assert similarity_reach(units).difference == 0.05


def test_the_reach_is_that_of_all_pixels_on_a_small_grid(offset_record):
    feature = {stage: reference.stage_pair(offset_record, stage) for stage in STAGES}
    changes, classes = [], []
    for p in range(35):
        for q in range(35):
            cosines = [reference.cosine(feature[stage][0][p], feature[stage][0][q]) for stage in STAGES]
            changes.append(abs(cosines[1] - cosines[0]))
        classes += [abs(reference.cosine(feature[s][0][p], w)) for s in STAGES for w in feature[s][1]]
    for found, values, share in zip(
        similarity_reach(unit_vectors(offset_record)), (changes, classes), (0.99, 0.999), strict=True
    ):
        exact = float(np.quantile(values, share))
        assert exact - 1e-3 <= found < exact + 0.0501 and found / 0.05 == pytest.approx(round(found / 0.05))


@pytest.mark.parametrize("offsets", [True, False])
def test_the_numbers_of_a_pixel_are_those_of_the_whole_maps(make_record, offsets):
    record = make_record(offsets=offsets)
    found, at = pixel_measures(record, CELL), dict(y=CELL[0], x=CELL[1])
    for stage in STAGES:
        feature, embedding = reference.stage_pair(record, stage)
        expected = [reference.cosine(w, feature[CELL[0] * 7 + CELL[1]]) for w in embedding]
        one = found.sel(stage=stage)
        np.testing.assert_allclose(one["cosine"], expected, atol=1e-5)
        np.testing.assert_allclose(one["scores"], scores(record, stage).isel(at), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(one["logits"], logits(record, stage).isel(at), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["position_attention"], position_attention(record).isel(at), atol=1e-6)
    assert float(found["position_attention"].sum()) == pytest.approx(1, abs=1e-6)
    assert ("offset_direction" in found) == offsets
    if offsets:
        offset = reference.flatten(record["feature_offset"].values)[CELL[0] * 7 + CELL[1]]
        for stage in STAGES:
            expected = [reference.cosine(w, offset) for w in reference.stage_pair(record, stage)[1]]
            np.testing.assert_allclose(found["offset_direction"].sel(stage=stage), expected, atol=1e-5)


def test_the_plane_keeps_what_a_pca_keeps(offset_record):
    found = pixel_plane(offset_record)
    places = found["place"].values
    assert places.shape == (2, 5, 7, 2)
    points = np.array(sum((reference.stage_pair(offset_record, stage)[0] for stage in STAGES), []))
    centred = points - points.mean(axis=0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(found["explained_variance"], sizes[:2] ** 2 / (sizes**2).sum(), rtol=1e-5)
    for axis in range(2):
        expected, got = centred @ axes[axis], places[..., axis].ravel()
        np.testing.assert_allclose(got * np.sign(got @ expected), expected, atol=1e-4)


def test_a_fit_on_some_pixels_places_all_of_them_linearly(make_record):
    record = make_record(size=(9, 8))
    found = pixel_plane(record, fit=20, seed=3)
    assert found["place"].shape == (2, 9, 8, 2) and found.identical(pixel_plane(record, fit=20, seed=3))
    assert not np.allclose(found["place"], pixel_plane(record, fit=20, seed=4)["place"])
    feature = np.concatenate([record["feature"].values, aligned_feature(record).values]).reshape(144, -1)
    table = np.column_stack([feature, np.ones(144)])
    places = found["place"].values.reshape(144, 2)
    turn, *_ = np.linalg.lstsq(table, places)
    np.testing.assert_allclose(table @ turn, places, atol=1e-4)
    np.testing.assert_allclose(turn[:-1].T @ turn[:-1], np.eye(2), atol=1e-4)


def test_the_plane_of_a_record_without_offsets_has_one_stage(per_pixel_record):
    initial, aligned = pixel_plane(per_pixel_record)["place"].values
    np.testing.assert_array_equal(initial, aligned)


def test_what_cannot_be_is_refused(offset_record):
    units = unit_vectors(offset_record)
    with pytest.raises(RecordError, match="row 5, col 0.*5 x 7"):
        pixel_similarity(units, (5, 0))
    with pytest.raises(RecordError, match="row -1"):
        pixel_measures(offset_record, (-1, 0))
    with pytest.raises(UnknownNameError, match="Did you mean 'road'"):
        class_similarity(units, "rood")
    with pytest.raises(UnknownNameError, match="initial, aligned"):
        class_similarity(units, "road", "before")
    for function in (unit_vectors, lambda record: pixel_measures(record, CELL)):
        with pytest.raises(RecordError, match="of mask classification"):
            function(build_query_record())
    with pytest.raises(RecordError, match="one channel"):
        pixel_plane(offset_record.isel(channel=[0]))
    with pytest.raises(RecordError, match="not finite"):
        pixel_plane(offset_record.assign(feature=offset_record["feature"] * np.inf))


def test_the_record_is_not_changed(offset_record):
    before = offset_record.copy(deep=True)
    units = unit_vectors(offset_record)
    pixel_similarity(units, CELL), class_similarity(units, "sky"), pixel_measures(offset_record, CELL)
    pixel_plane(offset_record), similarity_reach(units)
    assert offset_record.identical(before)
