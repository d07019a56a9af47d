"""Windows of one image count as one image: in the draws of intervals, in the number of images, and as donors."""

import numpy as np
import pandas as pd
import pytest
from conftest import build_record

import offseg_viz as ov
from offseg_viz.extract.store import create_store
from offseg_viz.record import save_record

NAMES = ("a@0-0", "a@0-28", "b@0-0", "b@0-28", "c@0-0")
"""Windows of three images; over their records lie the whole images, twice as wide, of the same cells."""


@pytest.fixture
def windows(tmp_path):
    store = create_store(tmp_path / "windows.zarr")
    for seed, name in enumerate(NAMES):
        save_record(build_record(name[0], seed=seed), store.path_of(name))
    return ov.open_store(store.path)


CALLS = {
    "alignment": ov.alignment,
    "class_scatter": ov.class_scatter,
    "offset_measures": ov.offset_measures,
    "changes": ov.changes,
    "shape_changes": ov.shape_changes,
    "decomposition": ov.decomposition,
    "interventions": ov.interventions,
    "strength_curve": ov.strength_curve,
}


@pytest.mark.parametrize("name", CALLS)
def test_images_are_counted_and_drawn_not_windows(windows, name):
    table = CALLS[name](windows)
    assert table["images"].max() == 3
    as_images = CALLS[name]([record.assign_attrs(sample=f"image {n}") for n, record in enumerate(windows)])
    assert as_images["images"].max() == 5
    if name != "interventions":  # where windows have other donors than images
        pd.testing.assert_series_equal(table["value"], as_images["value"])
    assert (table["low"] != as_images["low"])[table["low"].notna()].any()


def test_a_table_by_image_has_a_row_an_image(windows):
    for table in (ov.changes(windows, by="image"), ov.alignment(windows, by="image"), ov.image_miou(windows)):
        assert list(dict.fromkeys(table["image"]))[:3] == ["a", "b", "c"]


def test_class_offsets_are_transplanted_from_another_image(windows):
    donors = ("b@0-0", "b@0-0", "c@0-0", "c@0-0", "a@0-0")
    confusion = np.zeros((3, 3), int)
    for name, donor in zip(NAMES, donors):
        record = windows[name]
        found = ov.winning_class(record, ov.intervene(record, class_offset=windows[donor]["class_offset"]))
        confusion += ov.confusion_matrix(record["label"], found, 3)
    table = ov.interventions(windows).set_index(["intervention", "quantity"])["value"]
    assert table["transplanted", "miou"] == pytest.approx(ov.segmentation_metrics(confusion)["miou"])
    of_one = ov.interventions(windows.of_image("a")).set_index(["intervention", "quantity"])["value"]
    assert np.isnan(of_one["transplanted", "miou"])
