"""Every pair of strengths of one record, and class offsets of another image, against interventions one by one."""

import numpy as np
import pytest

from offseg_viz.analyze.align import aligned_class_embedding, winning_class
from offseg_viz.analyze.decomposition import score_terms
from offseg_viz.analyze.interventions import intervene, strength_curve
from offseg_viz.analyze.prediction_quality import prediction_quality
from offseg_viz.analyze.quality import image_miou
from offseg_viz.analyze.strengths import GRID, strength_lines, strength_miou, transplanted
from offseg_viz.errors import RecordError


def test_every_pair_is_its_own_intervention(records):
    grid = strength_miou(records[0], strengths=(0, 0.5, 1, 2), terms=score_terms(records[0]))
    assert grid.dims == ("class_strength", "feature_strength")
    for s in (0, 0.5, 1, 2):
        for t in (0, 0.5, 1, 2):
            predicted = winning_class(records[0], intervene(records[0], class_strength=s, feature_strength=t))
            alone = prediction_quality(records[0], {"one": predicted}).loc["one", "miou"]
            assert float(grid.sel(class_strength=s, feature_strength=t)) == pytest.approx(alone)


def test_its_ends_and_lines_are_those_of_the_other_analyses(records):
    record = records[0]
    grid = strength_miou(record)
    stages = image_miou([record]).set_index(["image", "stage"])["value"]["a"]
    assert float(grid.sel(class_strength=0, feature_strength=0)) == pytest.approx(stages["initial"])
    assert float(grid.sel(class_strength=1, feature_strength=1)) == pytest.approx(stages["aligned"])
    lines = strength_lines(grid, class_strength=1, feature_strength=1)
    assert lines.index.tolist() == list(GRID)
    for column, of in (("class_offsets", "class"), ("feature_offsets", "feature"), ("both", "both")):
        curve = strength_curve([record], strengths=GRID, of=of)
        np.testing.assert_allclose(lines[column], curve.query("quantity == 'miou'")["value"])


def test_lines_are_interpolated_between_strengths(records):
    grid = strength_miou(records[0], strengths=(0, 1, 2))
    grid.values[:] = [[0.0, 0.4, 0.8], [0.1, 0.2, 0.3], [0.9, 0.8, 0.7]]
    lines = strength_lines(grid, class_strength=1.5, feature_strength=0.25)
    np.testing.assert_allclose(lines["class_offsets"], [0.1, 0.125, 0.875])
    np.testing.assert_allclose(lines["feature_offsets"], [0.5, 0.5, 0.5])
    np.testing.assert_allclose(lines["both"], [0, 0.2, 0.7])


def test_transplanted_has_the_class_offsets_of_the_donor_and_no_more(records):
    made = transplanted(records[0], records[1])
    np.testing.assert_array_equal(made["class_offset"], records[1]["class_offset"])
    assert made.drop_vars("class_offset").identical(records[0].drop_vars("class_offset"))
    np.testing.assert_array_equal(
        aligned_class_embedding(made), records[0]["class_embedding"] + records[1]["class_offset"].values
    )
    left = records[1].drop_vars(["feature", "feature_offset", "class_embedding", "logits", "label", "image"])
    assert transplanted(records[0], left).identical(made)


def test_refused(records, per_pixel_record, make_record):
    with pytest.raises(RecordError, match="no offsets"):
        transplanted(records[0], per_pixel_record)
    with pytest.raises(RecordError, match="no offsets"):
        transplanted(per_pixel_record, records[0])
    with pytest.raises(RecordError, match="donor is of the model nano-offset other with 3 classes.*same model"):
        transplanted(records[0], records[1].assign_attrs(checkpoint="other"))
    with pytest.raises(RecordError, match="with 2 classes"):
        transplanted(records[0], records[1].isel(cls=[0, 1]))
    with pytest.raises(RecordError, match="no label"):
        strength_miou(records[0].drop_vars("label"))
    with pytest.raises(RecordError, match="no offsets"):
        strength_miou(per_pixel_record)
    with pytest.raises(RecordError, match="finite"):
        strength_miou(records[0], strengths=(0, np.nan))


def test_inputs_are_not_changed(records):
    before = [record.copy(deep=True) for record in records]
    transplanted(records[0], records[1])
    strength_miou(records[0])
    assert all(record.identical(old) for record, old in zip(records, before, strict=True))
