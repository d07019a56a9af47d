"""Projections: PCA against its definition, UMAP by its properties, both by their quality figure."""

import numpy as np
import pytest
import reference
import xarray as xr

from offseg_viz.analyze import projection, projection_cache
from offseg_viz.analyze.pixels import sample_pixels
from offseg_viz.analyze.projection import project, projection_stability
from offseg_viz.analyze.projection_quality import neighborhood_figures, twins
from offseg_viz.errors import RecordError, UnknownNameError

USERS_FOLDER = projection_cache._folder


@pytest.fixture(autouse=True)
def _users_cache(monkeypatch, tmp_path):
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / name))


@pytest.fixture
def table(records):
    return sample_pixels(records, per_class=12)


def grouped_table(seed=0, *, pixels=36, moved=True, images=("a", "b")):
    """Pixels of three classes far apart, 11 channels, of which those of the last class move with the refinement."""
    random = np.random.default_rng(seed)
    label = np.arange(pixels) % 3
    feature = 20 * np.eye(3, 11)[label] + random.normal(size=(pixels, 11))
    aligned = feature + moved * (0.1 * random.normal(size=(pixels, 11)) + 9 * (label[:, None] == 2) * np.eye(11)[5])
    embedding = 20 * np.eye(3, 11)
    image = np.array(images)[np.arange(pixels) // 3 % len(images)]
    of_images = np.stack([embedding + moved * random.normal(size=(3, 11)) for _ in images])
    variables = {"feature": feature, "aligned_feature": aligned}
    variables = {name: (("pixel", "channel"), values.astype(np.float32)) for name, values in variables.items()}
    variables["class_embedding"] = (("cls", "channel"), embedding.astype(np.float32))
    variables["aligned_class_embedding"] = (("image", "cls", "channel"), of_images.astype(np.float32))
    coords = {
        "label": ("pixel", label),
        "sample": ("pixel", image),
        "image": list(images),
        "cls": ["sky", "road", "tree"],
    }
    return xr.Dataset(variables, coords, {"model": "nano-offset", "per_class": 12})


@pytest.fixture(scope="module")
def grouped():
    return grouped_table()


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A folder in which projections of this module are kept, so that a UMAP is fitted once."""
    return tmp_path_factory.mktemp("projections")


@pytest.fixture(scope="module")
def mapped(grouped, kept):
    """The UMAP of `grouped`. The first one of a process compiles for some seconds."""
    return project(grouped, method="umap", seed=1, cache=kept)


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
    assert found["distortion"].dims == ("stage", "pixel")
    assert found.attrs["method"] == "pca" and found.attrs["per_class"] == 12 and found.attrs["model"] == "nano-offset"


def test_trustworthiness_equals_loops(table):
    found = project(table)
    points = np.concatenate([table["feature"], table["aligned_feature"]]).tolist()
    placed = found["pixel_projection"].values.reshape(-1, 2).tolist()
    assert found.attrs["trustworthiness"] == pytest.approx(reference.trustworthiness(points, placed, 15), abs=2e-3)


def test_figures_and_distortion_are_those_of_the_projection(table):
    found = project(table, seed=4)
    points = np.concatenate([table["feature"], table["aligned_feature"]])
    placed = found["pixel_projection"].values.reshape(-1, 2)
    near = np.array([np.argsort(np.linalg.norm(points - point, axis=1))[1:16] for point in points])
    figures, distortion = neighborhood_figures(points, placed, near, seed=4)
    assert {name: found.attrs[name] for name in figures} == pytest.approx(figures, abs=2e-3)
    np.testing.assert_allclose(found["distortion"].values.ravel(), distortion, atol=1e-6)
    assert found.attrs["plane_overlap"] == pytest.approx(1 - found["distortion"].values.mean())


def test_null_drift_of_a_pca_is_the_projected_noise(table):
    found = project(table, seed=2)
    points = np.concatenate([table["feature"], table["aligned_feature"]])
    chosen, copies = twins(points, 2)
    centred = points.astype(np.float64) - points.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:2]
    length = np.linalg.norm((copies - points[chosen]) @ axes.T, axis=1)
    diagonal = np.linalg.norm(np.ptp(centred @ axes.T, axis=0))
    assert found.attrs["null_drift_median"] == pytest.approx(np.median(length) / diagonal, rel=1e-2)
    assert found.attrs["null_drift_95"] == pytest.approx(np.percentile(length, 95) / diagonal, rel=1e-2)
    assert 0 < found.attrs["null_drift_95"] < 1e-3


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


@pytest.mark.parametrize("name", ["feature", "aligned_feature", "class_embedding", "aligned_class_embedding"])
def test_what_is_not_finite_is_refused(table, name):
    lost = table[name].copy(deep=True)
    lost[..., -1, 4] = np.nan
    with pytest.raises(RecordError, match=f"'{name}' of the table is not finite"):
        project(table.assign({name: lost}))


def test_features_that_are_all_the_same(table):
    same = table.assign({name: 0 * table[name] + 1 for name in ("feature", "aligned_feature")})
    found = project(same)
    assert not found["pixel_projection"].values.any() and found.attrs["explained_variance"] == [0, 0]
    assert found.attrs["null_drift_95"] >= 0
    with pytest.raises(RecordError, match="all pixels of the table have the same feature"):
        project(same, method="umap")


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


def test_onto_another_table_the_axes_are_those_of_that_one(records):
    old, new = sample_pixels(records[:2], per_class=12), sample_pixels(records[2:], per_class=9)
    found, own = project(new, onto=old), project(old)
    points = np.concatenate([old["feature"], old["aligned_feature"]]).astype(np.float64)
    axes = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)[2][:2]
    placed = (new["aligned_feature"].values - points.mean(axis=0)) @ axes.T
    np.testing.assert_allclose(np.abs(found["pixel_projection"].sel(stage="aligned")), np.abs(placed), atol=1e-4)
    np.testing.assert_allclose(found["class_projection"], own["class_projection"], atol=1e-5)
    assert found.sizes["pixel"] == new.sizes["pixel"] and found.attrs["onto_pixels"] == old.sizes["pixel"]
    assert found.attrs["explained_variance"] == own.attrs["explained_variance"]
    assert found.attrs["trustworthiness"] != own.attrs["trustworthiness"] and "onto_pixels" not in own.attrs


def test_onto_a_table_of_another_model_is_refused(table, make_record):
    with pytest.raises(RecordError, match="other class embeddings"):
        project(table, onto=sample_pixels([make_record("z", model_seed=5)], per_class=9))
    with pytest.raises(RecordError, match="needs at least 3 pixels .* found 1 pixels"):
        project(table.isel(pixel=slice(1)), onto=table)
    with pytest.raises(RecordError, match="umap needs at least 16 pixels"):
        project(table, onto=table.isel(pixel=slice(9)), method="umap")


def test_a_pca_is_the_same_for_every_seed(table):
    shares = projection_stability(table, method="pca", seeds=2, seed=4)
    assert shares.dims == ("seed", "seed_2") and shares["seed"].values.tolist() == [4, 5]
    assert (shares == 1).all() and project(table, stability=True).attrs["stability"] == 1
    assert "stability" not in project(table).attrs
    with pytest.raises(RecordError, match="found 1 seeds"):
        projection_stability(table, seeds=1)


def test_umap(grouped, mapped):
    placed = mapped["pixel_projection"].values
    assert placed.shape == (2, 36, 2) and np.isfinite(placed).all()
    assert mapped["class_projection"].shape == (3, 2) and mapped["aligned_class_projection"].shape == (2, 3, 2)
    assert "explained_variance" not in mapped.attrs and mapped.attrs["trustworthiness"] > 0.8
    label = np.tile(grouped["label"].values, 2)
    points = placed.reshape(-1, 2)
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1) + np.eye(72) * 1e9
    assert (label[distance.argmin(axis=1)] == label).mean() > 0.95, "three groups far apart must stay apart"
    step = np.linalg.norm(placed[1] - placed[0], axis=1)
    diagonal = np.linalg.norm(np.ptp(points, axis=0))
    assert mapped.attrs["null_drift_median"] <= mapped.attrs["null_drift_95"] < 0.1
    still = step[grouped["label"].values != 2]
    assert np.median(still) / diagonal < 0.1, "pixels that hardly move must not be drawn far apart"


@pytest.mark.filterwarnings("error::UserWarning")
def test_umap_is_the_same_for_the_same_seed(grouped, mapped):
    again = project(grouped, method="umap", seed=1, cache=False)
    xr.testing.assert_identical(again, mapped)


def test_class_embeddings_lie_among_the_pixels_they_score_highest(grouped, mapped):
    places = mapped["pixel_projection"].values
    for k in range(3):
        scores = grouped["feature"].values @ grouped["class_embedding"].values[k]
        expected = places[0, np.argsort(-scores)[:5]].mean(axis=0)
        np.testing.assert_allclose(mapped["class_projection"][k], expected, rtol=1e-5)
        for i, name in enumerate("ab"):
            own = np.flatnonzero(grouped["sample"].values == name)
            scores = grouped["aligned_feature"].values[own] @ grouped["aligned_class_embedding"].values[i, k]
            expected = places[1, own[np.argsort(-scores)[:5]]].mean(axis=0)
            np.testing.assert_allclose(mapped["aligned_class_projection"][i, k], expected, rtol=1e-5)


def test_new_pixels_go_to_their_own_kind(grouped, mapped, kept):
    new = grouped_table(seed=7, pixels=9, images=("c", "d", "e", "f"))
    found = project(new, method="umap", seed=1, onto=grouped, cache=kept)
    old = mapped["pixel_projection"].values
    for stage in (0, 1):
        distance = np.linalg.norm(found["pixel_projection"].values[stage][:, None] - old[stage], axis=-1)
        assert (grouped["label"].values[distance.argmin(axis=1)] == new["label"].values).all()
    assert np.isnan(found["aligned_class_projection"].sel(image="f")).all(), "no pixel of f was drawn"
    assert np.isfinite(found["aligned_class_projection"].sel(image="c")).all()
    assert found.attrs["onto_pixels"] == 36 and found.attrs["neighbors"] == 8
    itself = project(grouped, method="umap", seed=1, onto=grouped, cache=False)
    np.testing.assert_array_equal(itself["pixel_projection"], mapped["pixel_projection"])


def test_umap_of_a_per_pixel_model():
    still = project(grouped_table(moved=False, pixels=20), method="umap", cache=False)
    np.testing.assert_array_equal(still["pixel_projection"][0], still["pixel_projection"][1])
    np.testing.assert_array_equal(still["distortion"][0], still["distortion"][1])
    for image in range(2):
        np.testing.assert_array_equal(still["aligned_class_projection"][image], still["class_projection"])
    assert still.attrs["stage_overlap"] == 1


def test_class_embeddings_may_move_alone():
    still = grouped_table(moved=False, pixels=20)
    embeddings = still["aligned_class_embedding"].copy(deep=True)
    embeddings[1] = embeddings[1, ::-1].values
    found = projection._places_by_score(
        still.assign(aligned_class_embedding=embeddings), np.random.default_rng(0).normal(size=(20, 2))
    )
    np.testing.assert_array_equal(found[1], found[0])
    assert not np.array_equal(found[2], found[0])


def test_stability_of_umap(grouped, mapped, kept):
    shares = projection_stability(grouped, method="umap", seeds=2, seed=1, cache=kept)
    assert shares.shape == (2, 2) and (np.diag(shares) == 1).all() and shares[0, 1] == shares[1, 0]
    other = project(grouped, method="umap", seed=2, cache=kept)
    near = [
        np.argsort(np.linalg.norm(places[:, None] - places, axis=-1) + 1e9 * np.eye(72), axis=1)[:, :15]
        for places in (found["pixel_projection"].values.reshape(-1, 2) for found in (mapped, other))
    ]
    expected = np.mean([len(set(a) & set(b)) / 15 for a, b in zip(*near, strict=True)])
    assert float(shares[0, 1]) == pytest.approx(expected, abs=1e-3) and 0.3 < expected < 1


def fitted_again(*_):
    raise AssertionError("it was to be found in the cache")


def test_the_second_time_a_projection_is_found(grouped, mapped, kept, monkeypatch):
    monkeypatch.setattr(projection, "_umap", fitted_again)
    xr.testing.assert_identical(project(grouped, method="umap", seed=1, cache=kept), mapped)
    renamed = grouped.assign_coords(cls=["a", "b", "c"]).assign_attrs(model="the same")
    found = project(renamed, method="umap", seed=1, cache=kept)
    assert found["cls"].values.tolist() == ["a", "b", "c"] and found.attrs["model"] == "the same"
    with pytest.raises(AssertionError):
        project(grouped, method="umap", seed=1, cache=False)


def test_what_a_projection_depends_on_is_in_the_name_of_its_file(grouped, tmp_path, monkeypatch):
    def name(*tables, method="umap", seed=1):
        return projection_cache.cache_file(tmp_path, tables, method, seed).name

    names = {name(grouped), name(grouped, method="pca"), name(grouped, seed=2), name(grouped, grouped)}
    for variable in projection_cache.FEATURES:
        other = grouped[variable].copy(deep=True)
        other[..., 0, 3] += 1e-6 + abs(other[..., 0, 3]) * 1e-6
        names.add(name(grouped.assign({variable: other})))
    names.add(name(grouped.isel(pixel=slice(30))))
    names.add(name(grouped.assign_coords(sample=grouped["sample"][::-1].variable)))
    names.add(name(grouped.assign_coords(image=["b", "a"])))
    assert len(names) == 11 and name(grouped) in names
    before = name(grouped)
    projection_cache._code_version.cache_clear()
    monkeypatch.setattr(projection_cache, "version", lambda library: "another")
    assert name(grouped) != before
    projection_cache._code_version.cache_clear()


def half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flipped(path):
    data = bytearray(path.read_bytes())
    data[data.index(b"NUMPY") + 200] ^= 255
    path.write_bytes(data)


def other_arrays(path):
    with open(path, "wb") as file:
        np.savez(file, places=np.zeros(3), figures=np.array("{}"))


def no_figures(path):
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files if name != "figures"}
    with open(path, "wb") as file:
        np.savez(file, **arrays)


@pytest.mark.parametrize("damage", [half, flipped, other_arrays, no_figures, lambda path: path.write_bytes(b"")])
def test_a_damaged_file_is_made_anew(table, tmp_path, monkeypatch, damage):
    monkeypatch.setattr(projection, "WORTH_KEEPING", 1)
    fresh = project(table, cache=tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    damage(path)
    assert path.read_bytes() != whole
    xr.testing.assert_identical(project(table, cache=tmp_path), fresh)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name] and projection_cache.read_kept(path)
    monkeypatch.setattr(projection, "_pca", fitted_again)
    xr.testing.assert_identical(project(table, cache=tmp_path), fresh)


def test_small_pcas_are_not_kept_and_large_ones_are_in_the_users_folder(table, tmp_path, monkeypatch):
    monkeypatch.setattr(projection_cache, "_folder", USERS_FOLDER)  # in place of that of all tests
    project(table)
    assert not (tmp_path / "offseg_viz").exists()
    monkeypatch.setattr(projection, "WORTH_KEEPING", 1)
    project(table, cache=False)
    assert not (tmp_path / "offseg_viz").exists()
    project(table)
    assert len(list((tmp_path / "offseg_viz" / "projections").glob("*.npz"))) == 1


def test_a_folder_that_cannot_be_written_only_costs_time(table, tmp_path, monkeypatch):
    monkeypatch.setattr(projection, "WORTH_KEEPING", 1)
    (tmp_path / "file").write_text("no folder")
    xr.testing.assert_identical(project(table, cache=tmp_path / "file"), project(table, cache=False))


def test_a_stopped_write_leaves_nothing(table, tmp_path, monkeypatch):
    monkeypatch.setattr(projection, "WORTH_KEEPING", 1)

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("numpy.savez", stopped)
    with pytest.raises(KeyboardInterrupt):
        project(table, cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_input_is_not_changed(table):
    before = table.copy(deep=True)
    project(table)
    xr.testing.assert_identical(table, before)
