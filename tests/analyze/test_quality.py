"""The IoU tables against loops."""

import numpy as np
import pytest
import reference
from mask_records import of_queries

from offseg_viz.analyze.align import prediction
from offseg_viz.analyze.bootstrap import image_weights
from offseg_viz.analyze.ideal import ideal_prediction
from offseg_viz.analyze.quality import class_iou, image_miou, predicted_shares
from offseg_viz.errors import RecordError
from offseg_viz.extract.store import create_store
from offseg_viz.record import save_record, validate_record
from offseg_viz.terms import STAGES


@pytest.fixture
def query_record(offset_record):
    """A record of mask classification with four queries, more than classes."""
    return of_queries(offset_record)


PREDICT = {stage: lambda record, stage=stage: prediction(record, stage) for stage in STAGES} | {
    "ideal": ideal_prediction
}


def mean_iou(records, predict):
    """mIoU over the classes labelled in any of the records, by loops."""
    labelled = {int(value) for record in records for value in record["label"].values.ravel()} - {255}
    ious = [value for k, value in enumerate(pooled(records, predict)) if k in labelled]
    return sum(ious) / len(ious)


def value_of(table, image, stage, column="value"):
    return table[(table["image"] == image) & (table["stage"] == stage)][column].item()


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


def test_image_miou_equals_loops(records):
    table = image_miou(iter(records))
    assert list(table.columns) == ["image", "quantity", "stage", "value", "low", "high", "images"]
    assert set(table["quantity"]) == {"miou"} and list(table["image"][-3:]) == ["all"] * 3 and len(table) == 12
    for stage, predict in PREDICT.items():
        for record in records:
            assert value_of(table, record.attrs["sample"], stage) == pytest.approx(mean_iou([record], predict))
        assert value_of(table, "all", stage) == pytest.approx(mean_iou(records, predict))
        assert value_of(table, "all", stage) == pytest.approx(class_iou(records)[stage].mean())
    alone = table[table["image"] != "all"]
    assert alone[["low", "high"]].isna().all(axis=None) and set(alone["images"]) == {1}
    assert (prediction(records[2]) == 2).any(), "tree is predicted in c, yet not labelled there: no IoU of its own"


def test_pooled_interval_is_that_of_drawn_images(records):
    table = image_miou(records)
    for stage, predict in PREDICT.items():
        draws, number = np.unique(image_weights(3), axis=0, return_counts=True)
        drawn = []
        for weights in draws:
            chosen = [record for record, times in zip(records, weights, strict=True) for _ in range(int(times))]
            drawn.append(mean_iou(chosen, predict))
        low, high = np.percentile(np.repeat(drawn, number), [2.5, 97.5])
        assert value_of(table, "all", stage, "low") == pytest.approx(low)
        assert value_of(table, "all", stage, "high") == pytest.approx(high)
        assert value_of(table, "all", stage, "images") == 3


def test_image_miou_where_nothing_is_labelled_or_there_is_one_image(records):
    ignored = records[0].assign(label=records[0]["label"] * 0 + np.uint8(255)).assign_attrs(sample="empty")
    table, without = image_miou([ignored, *records]), image_miou(records)
    assert table[table["image"] == "empty"]["value"].isna().all()
    assert set(table[table["image"] == "empty"]["images"]) == {0}
    assert table[table["image"] == "all"].reset_index(drop=True).equals(without[-3:].reset_index(drop=True))
    assert image_miou([ignored])["value"].isna().all() and set(image_miou([ignored])["images"]) == {0}
    single = image_miou(records[:1])
    assert single["value"].notna().all() and single[["low", "high"]].isna().all(axis=None)


def test_ideal_ceiling_of_separable_features_is_one(offset_record):
    label = offset_record["label"].values
    feature = np.where(label[..., None] == np.arange(11), 1.0, 0).astype(np.float32)
    table = image_miou([offset_record.assign(feature=(("y", "x", "channel"), feature))])
    assert value_of(table, "all", "ideal") == 1 > value_of(table, "all", "initial")


def test_records_of_queries(query_record):
    validate_record(query_record)
    table = class_iou([query_record, query_record])
    for stage, predict in PREDICT.items():
        np.testing.assert_allclose(table[stage], pooled([query_record], predict))
        assert value_of(image_miou([query_record]), "all", stage) == pytest.approx(table[stage].mean())


def test_a_store_on_a_cluster_gives_the_same(records, tmp_path):
    distributed = pytest.importorskip("distributed", reason="dask is an optional dependency")
    store = create_store(tmp_path / "run.zarr")
    for record in records:
        save_record(record, store.path_of(record.attrs["sample"]))
    store = create_store(store.path)
    expected = class_iou(records), image_miou(records)
    assert class_iou(store).equals(expected[0]) and image_miou(store).equals(expected[1])
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster),
    ):
        assert class_iou(store).equals(expected[0]) and image_miou(store).equals(expected[1])


def test_image_miou_refusals(records):
    with pytest.raises(RecordError, match="the record of b has no label"):
        image_miou([records[0], records[1].drop_vars("label")])
    with pytest.raises(RecordError, match="found no record"):
        image_miou([])
    with pytest.raises(RecordError, match="NaN|not finite"):
        image_miou([records[0].assign(feature=records[0]["feature"] * np.nan)])


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
