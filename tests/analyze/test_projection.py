"""Projections: PCA against its definition, UMAP by its properties, both by their quality figure."""

import numpy as np
import pytest
import reference

from offseg_viz.analyze.pixels import sample_pixels
from offseg_viz.analyze.projection import project
from offseg_viz.errors import RecordError, UnknownNameError


@pytest.fixture
def table(records):
    return sample_pixels(records, per_class=12)


def test_pca_equals_singular_vectors(table):
    found = project(table)
    points = np.concatenate([table["feature"], table["aligned_feature"]]).astype(np.float64)
    mean = points.mean(axis=0)
    _, values, axes = np.linalg.svd(points - mean, full_matrices=False)

    def place(vectors):
        return (vectors - mean) @ axes[:2].T

    signs = np.sign((place(points) * found["pixel_projection"].values.reshape(-1, 2)).sum(axis=0))
    before = place(table["feature"].values) * signs
    np.testing.assert_allclose(found["pixel_projection"].sel(stage="initial"), before, atol=1e-4)
    after = place(table["aligned_feature"].values) * signs
    np.testing.assert_allclose(found["pixel_projection"].sel(stage="aligned"), after, atol=1e-4)
    np.testing.assert_allclose(found["class_projection"], place(table["class_embedding"].values) * signs, atol=1e-4)
    after = place(table["aligned_class_embedding"].values) * signs
    np.testing.assert_allclose(found["aligned_class_projection"], after, atol=1e-4)
    np.testing.assert_allclose(found.attrs["explained_variance"], (values**2 / (values**2).sum())[:2])


def test_dims_and_coordinates(table):
    found = project(table)
    assert found["pixel_projection"].dims == ("stage", "pixel", "axis")
    assert found["class_projection"].dims == ("cls", "axis")
    assert found["aligned_class_projection"].dims == ("image", "cls", "axis")
    assert found["stage"].values.tolist() == ["initial", "aligned"]
    assert set(table.coords) < set(found.coords)
    assert found.attrs["method"] == "pca" and found.attrs["per_class"] == 12 and found.attrs["model"] == "nano-offset"


def test_trustworthiness_equals_loops(table):
    found = project(table)
    points = np.concatenate([table["feature"], table["aligned_feature"]]).tolist()
    placed = found["pixel_projection"].values.reshape(-1, 2).tolist()
    assert found.attrs["trustworthiness"] == pytest.approx(reference.trustworthiness(points, placed, 15), abs=2e-3)


def test_class_embeddings_take_no_part_in_the_fit(table):
    far = table.assign(class_embedding=table["class_embedding"] * 1000)
    np.testing.assert_array_equal(project(far)["pixel_projection"], project(table)["pixel_projection"])


def test_few_pixels(table):
    few = project(table.isel(pixel=slice(3)))
    assert few["pixel_projection"].shape == (2, 3, 2) and 0 <= few.attrs["trustworthiness"] <= 1
    with pytest.raises(RecordError, match="pca needs at least 3 pixels.*found 2 pixels"):
        project(table.isel(pixel=slice(2)))
    with pytest.raises(RecordError, match="umap needs at least 16 pixels.*found 15 pixels"):
        project(table.isel(pixel=slice(15)), method="umap")
    with pytest.raises(RecordError, match="of 1 channels"):
        project(table.isel(channel=slice(1)))


def test_unknown_method(table):
    with pytest.raises(UnknownNameError, match="Did you mean 'umap'"):
        project(table, method="umpa")


def test_per_pixel_stages_coincide(per_pixel_records):
    found = project(sample_pixels(per_pixel_records, per_class=12))
    before, after = found["pixel_projection"]
    np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(found["aligned_class_projection"][1], found["class_projection"])


def test_large_tables_are_subsampled_for_trustworthiness(table):
    """1500 pixels of two stages are 3000 points; the figure is repeatable and depends on the seed only."""
    rng = np.random.default_rng(0)
    many = table.isel(pixel=np.arange(1500) % table.sizes["pixel"])
    noise = rng.normal(size=many["feature"].shape).astype(np.float32)
    many = many.assign(feature=many["feature"] + noise, aligned_feature=many["aligned_feature"] + noise)
    one, again, other = (project(many, seed=seed).attrs["trustworthiness"] for seed in (0, 0, 1))
    assert one == again != other and one == pytest.approx(other, abs=0.02)


@pytest.mark.filterwarnings("error::UserWarning")
def test_umap(table, per_pixel_records):
    """One test for all of UMAP, since its first call compiles for several seconds."""
    spread = np.array([[-20.0], [0], [20]], np.float32)[table["label"].values]
    apart = table.assign(feature=table["feature"] + spread, aligned_feature=table["aligned_feature"] + spread)
    found = project(apart, method="umap", seed=1)
    placed = found["pixel_projection"].values
    assert placed.shape == (2, 36, 2) and np.isfinite(placed).all()
    assert found["class_projection"].shape == (3, 2) and found["aligned_class_projection"].shape == (3, 3, 2)
    assert "explained_variance" not in found.attrs and found.attrs["trustworthiness"] > 0.8
    label = np.tile(apart["label"].values, 2)
    points = placed.reshape(-1, 2)
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1) + np.eye(72) * 1e9
    assert (label[distance.argmin(axis=1)] == label).mean() > 0.95, "three groups far apart must stay apart"
    again = project(apart, method="umap", seed=1)
    np.testing.assert_array_equal(again["pixel_projection"], placed)
    np.testing.assert_array_equal(again["aligned_class_projection"], found["aligned_class_projection"])

    still = project(sample_pixels(per_pixel_records, per_class=6), method="umap")
    np.testing.assert_array_equal(still["pixel_projection"][0], still["pixel_projection"][1])
    for image in range(3):
        np.testing.assert_array_equal(still["aligned_class_projection"][image], still["class_projection"])
