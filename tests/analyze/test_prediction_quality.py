"""IoU, mIoU and accuracy of any prediction of one record, against plain loops and the figures of `image_miou`."""

import math

import numpy as np
import pytest
import reference

from offseg_viz.analyze.align import prediction
from offseg_viz.analyze.prediction_quality import iou_changes, prediction_iou, prediction_quality
from offseg_viz.analyze.quality import image_miou
from offseg_viz.errors import RecordError


def slow_iou(label, predicted, count):
    """IoU of each class that is labelled, NaN for the others."""
    pairs = [(a, b) for a, b in zip(label.ravel().tolist(), predicted.ravel().tolist(), strict=True) if a != 255]
    table = reference.confusion([a for a, _ in pairs], [b for _, b in pairs], count)
    return [reference.iou(table, k) if sum(table[k]) else math.nan for k in range(count)]


def both(record):
    return {stage: prediction(record, stage) for stage in ("initial", "aligned")}


def test_iou_equals_loops(records):
    for record in records:
        found = prediction_iou(record, both(record))
        assert found.index.tolist() == ["sky", "road", "tree"] and found.columns.tolist() == ["initial", "aligned"]
        for stage, predicted in both(record).items():
            np.testing.assert_allclose(found[stage], slow_iou(record["label"].values, predicted.values, 3))


def test_a_class_that_is_not_labelled_is_nan_also_where_it_is_predicted(records):
    record = records[2]
    everywhere = record["label"].copy(data=np.full((5, 7), 2, np.uint8))
    assert math.isnan(prediction_iou(record, {"tree": everywhere}).loc["tree", "tree"])
    assert prediction_quality(record, {"tree": everywhere}).loc["tree"].tolist() == [0, 0]


def test_the_miou_is_that_of_image_miou(records):
    table = image_miou(records).set_index(["image", "stage"])["value"]
    for record in records:
        found = prediction_quality(record, both(record))
        for stage in ("initial", "aligned"):
            assert found.loc[stage, "miou"] == table[record.attrs["sample"], stage]
            label, predicted = record["label"].values, both(record)[stage].values
            right = ((label == predicted) & (label != 255)).sum() / (label != 255).sum()
            assert found.loc[stage, "aacc"] == pytest.approx(right)


def test_changes_come_largest_first(records):
    iou = prediction_iou(records[0], both(records[0]))
    iou["aligned"] = iou["initial"] + [0.1, -0.3, 0]
    found = iou_changes(iou, "initial", "aligned")
    assert found.index.tolist() == ["road", "sky"]
    np.testing.assert_allclose(found["change"], [-0.3, 0.1])
    assert iou_changes(iou, "initial", "initial").empty


def test_ignored_everywhere_is_nan(make_record):
    record = make_record(label=np.full((5, 7), 255))
    assert prediction_iou(record, both(record)).isna().all().all()
    assert prediction_quality(record, both(record)).isna().all().all()


def test_refused(offset_record, make_record):
    with pytest.raises(RecordError, match="no label"):
        prediction_iou(offset_record.drop_vars("label"), both(offset_record))
    with pytest.raises(RecordError, match=r"'other' of dims .* and shape \(4, 7\), needed"):
        prediction_quality(offset_record, {"other": prediction(make_record(size=(4, 7)))})
