import numpy as np
import pytest

from offseg_viz.analyze.pixels import sample_pixels
from offseg_viz.analyze.table_pixels import cells_on, image_numbers, pixel_offsets, shown_classes
from offseg_viz.errors import RecordError
from offseg_viz.extract.store import RecordStore, create_store
from offseg_viz.record import save_record


@pytest.fixture
def table(records):
    return sample_pixels(records, per_class=12)


def test_the_image_of_each_pixel(table):
    ids = list(table["image"].values)
    assert list(image_numbers(table)) == [ids.index(name) for name in table["sample"].values]
    mixed = table.isel(pixel=np.random.default_rng(0).permutation(table.sizes["pixel"]))
    assert list(image_numbers(mixed)) == [ids.index(name) for name in mixed["sample"].values]


def test_images_of_one_id_are_refused(make_record):
    windows = [make_record("a", seed=seed) for seed in (1, 2)]
    windows[1].attrs["window"] = [20, 0, 40, 28]
    with pytest.raises(RecordError, match="several records of the table are called a"):
        image_numbers(sample_pixels(windows, per_class=4))


def test_a_pixel_of_no_image_is_refused(table):
    with pytest.raises(RecordError, match="pixels of the table are of b"):
        image_numbers(table.drop_sel(image="b"))


def test_classes_that_an_image_shows(table):
    expected = [
        [
            any(s == name and label == k for s, label in zip(table["sample"].values, table["label"].values))
            for k in range(3)
        ]
        for name in table["image"].values
    ]
    found = shown_classes(table)
    assert found.tolist() == expected and not found[2, 2]


def test_the_cell_of_each_pixel(table, records):
    for name, record in zip("abc", records):
        own = np.flatnonzero(table["sample"].values == name)
        cells = cells_on(record, table["y"].values[own], table["x"].values[own])
        for pixel, cell in zip(own, cells, strict=True):
            row, col = divmod(int(cell), 7)
            assert (record["y"].values[row], record["x"].values[col]) == (
                table["y"].values[pixel],
                table["x"].values[pixel],
            )
            assert record["label"].values[row, col] == table["label"].values[pixel]
            np.testing.assert_array_equal(record["feature"].values[row, col], table["feature"].values[pixel])


def test_another_grid_is_refused(table, make_record):
    with pytest.raises(RecordError, match="lie on no cell of small"):
        cells_on(make_record("small", size=(2, 3)), table["y"].values, table["x"].values)


def test_offsets_from_the_table_and_from_the_records(table, records, tmp_path):
    store = create_store(tmp_path / "store")
    for record in records:
        save_record(record, store.path_of(record.attrs["sample"]))
    moved = table["aligned_feature"].values - table["feature"].values
    expected = [np.sqrt(sum(value**2 for value in pixel)) for pixel in moved.astype(float)]
    bare = table.drop_vars(["feature", "aligned_feature"])
    for found in (
        pixel_offsets(table, []),
        pixel_offsets(bare, records),
        pixel_offsets(bare, RecordStore(tmp_path / "store")),
    ):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_a_per_pixel_model_has_no_offsets(per_pixel_records):
    bare = sample_pixels(per_pixel_records, per_class=4).drop_vars(["feature", "aligned_feature"])
    with pytest.raises(RecordError, match="has no offsets"):
        pixel_offsets(bare, per_pixel_records)
