"""The IoU table against loops."""

import numpy as np
import pytest
import reference

from offseg_viz.analyze.align import prediction
from offseg_viz.analyze.ideal import ideal_prediction
from offseg_viz.analyze.quality import class_iou, predicted_shares
from offseg_viz.errors import RecordError
from offseg_viz.terms import STAGES


def pooled(records, predict):
    label = [int(value) for record in records for value in record["label"].values.ravel()]
    found = [int(value) for record in records for value in predict(record).values.ravel()]
    table = reference.confusion(label, found, 3)
    return [reference.iou(table, k) for k in range(3)]


def test_equals_loops_pooled(records):
    table = class_iou(records)
    assert table.index.tolist() == ["sky", "road", "tree"] and table.index.name == "cls"
    assert table.columns.tolist() == ["initial", "aligned", "ideal"]
    np.testing.assert_allclose(table["initial"], pooled(records, lambda record: prediction(record, "initial")))
    np.testing.assert_allclose(table["aligned"], pooled(records, prediction))
    np.testing.assert_allclose(table["ideal"], pooled(records, ideal_prediction))
    assert not np.allclose(table["initial"], table["aligned"])


def test_class_labelled_nowhere_is_nan_in_all_columns(records):
    assert (prediction(records[2]) == 2).any(), "predicted, yet not to be counted as zero"
    table = class_iou(records[2:])
    assert table.loc["tree"].isna().all() and table.drop(index="tree").notna().all(axis=None)


def test_per_pixel_columns_coincide(per_pixel_records):
    table = class_iou(per_pixel_records)
    np.testing.assert_array_equal(table["initial"], table["aligned"])


def test_ignored_record_changes_nothing(records):
    ignored = records[0].assign(label=records[0]["label"] * 0 + np.uint8(255))
    assert class_iou([*records, ignored]).equals(class_iou(records))
    assert class_iou([ignored, *records]).equals(class_iou(records))
    assert class_iou([ignored]).isna().all(axis=None)


def test_refusals(records):
    with pytest.raises(RecordError, match="the record of b has no label"):
        class_iou([records[0], records[1].drop_vars("label")])
    with pytest.raises(RecordError, match="the record of b has other classes"):
        class_iou([records[0], records[1].assign_coords(cls=["sky", "road", "car"])])
    with pytest.raises(RecordError, match="found no record"):
        class_iou([])


def test_predicted_shares_count_cells_of_all_records_without_labels(records):
    unlabelled = [record.drop_vars("label") for record in records]
    table = predicted_shares(unlabelled)
    before, after = (np.concatenate([prediction(r, stage).values.ravel() for r in records]) for stage in STAGES)
    np.testing.assert_allclose(table["initial"], [(before == k).mean() for k in range(3)])
    np.testing.assert_allclose(table["aligned"], [(after == k).mean() for k in range(3)])
    assert table.attrs["changed"] == (before != after).mean() > 0
    assert list(table.index) == ["sky", "road", "tree"]


def test_predicted_shares_of_a_per_pixel_model_do_not_change(per_pixel_records):
    assert predicted_shares(per_pixel_records).attrs["changed"] == 0
    with pytest.raises(RecordError, match="found no record"):
        predicted_shares([])
