"""Agreement of class offsets against loops over pairs of images and bootstrap draws."""

import math

import numpy as np
import pytest
import reference
from mask_records import of_queries

from offseg_viz.analyze import offset_agreement as module
from offseg_viz.analyze.offset_agreement import class_offset_agreement
from offseg_viz.errors import RecordError

QUANTITIES = ("class_offset_agreement", "class_offset_shared")


def figures(offsets):
    """Both figures of a list of (image, offset), over the pairs of different images."""
    pairs = [(a, b) for i, a in offsets for j, b in offsets if i != j]
    cosines = [c for a, b in pairs if not math.isnan(c := reference.cosine(a, b))]
    products, squares = ([reference.inner(a, b) for a, b in some] for some in (pairs, [(d, d) for _, d in offsets]))
    return (
        sum(cosines) / len(cosines) if cosines else math.nan,
        sum(products) / len(products) / (sum(squares) / len(squares)) if pairs and any(squares) else math.nan,
    )


def with_mean(values):
    """`values` of the classes and the mean of those that are not NaN."""
    defined = [value for value in values if not math.isnan(value)]
    return [*values, sum(defined) / len(defined) if defined else math.nan]


def check(records, *, draws=0):
    """The whole table against loops over pairs; the intervals too, where it has that many draws."""
    table = class_offset_agreement(records)
    assert list(table.columns) == ["cls", "quantity", "stage", "value", "low", "high", "images"]
    assert (table["stage"] == "").all() and len(table) == 4 * 4
    table = table.set_index(["quantity", "cls"])
    offsets = [reference.rows(record["class_offset"].values) for record in records]
    drawings = np.random.default_rng(0).integers(0, len(records), (draws, len(records))).tolist()
    for suffix in ("", "_labelled"):
        held = [
            [i for i, r in enumerate(records) if not suffix or "label" in r and (r["label"].values == k).any()]
            for k in range(3)
        ]

        def of(drawn, held=held):
            """Both figures of every class, and their means, in a list of images with repeats."""
            classes = [figures([(i, offsets[i][k]) for i in drawn if i in held[k]]) for k in range(3)]
            return [with_mean(list(one)) for one in zip(*classes, strict=True)]

        values, drawn = of(range(len(records))), [of(one) for one in drawings]
        for number, quantity in enumerate(QUANTITIES):
            rows = table.loc[quantity + suffix]
            assert rows.index.tolist() == ["sky", "road", "tree", "all"]
            np.testing.assert_allclose(rows["value"], values[number], rtol=1e-6, atol=1e-8)
            still = [[i for i in images if any(offsets[i][k])] for k, images in enumerate(held)]
            counted = held if quantity == "class_offset_shared" else still
            images = [*map(len, counted), len(set().union(*counted))]
            assert rows["images"].tolist() == images
            if draws:
                ends = np.nanpercentile([one[number] for one in drawn], [2.5, 97.5], axis=0)
                ends[:, np.array(images) < 3] = np.nan
                np.testing.assert_allclose(rows[["low", "high"]].T, ends, rtol=1e-6, atol=1e-8)
    return table


def test_equals_loops_over_pairs(records, make_record):
    table = check(records)
    assert table.loc["class_offset_agreement", "images"].tolist() == [3, 3, 3, 3]
    assert table.loc["class_offset_agreement_labelled", "images"].tolist() == [3, 3, 2, 3]
    check([make_record(str(seed), seed=seed) for seed in range(7)])


def test_intervals_equal_loops_over_draws(records, make_record):
    table = check([*records, make_record("d", seed=4)], draws=1000)
    assert table[["low", "high"]].notna().all(axis=None)
    assert check(records, draws=1000).loc[("class_offset_shared_labelled", "tree"), ["low", "high"]].isna().all()


def test_more_images_than_groups(make_record, monkeypatch):
    """Values stay those of all pairs; images are drawn together with those of their group."""
    records = [make_record(str(seed), seed=seed) for seed in range(9)]
    apart = class_offset_agreement(records)
    monkeypatch.setattr(module, "GROUPS", 4)
    table = check(records)
    np.testing.assert_allclose(table["value"], apart["value"], rtol=1e-9)
    offsets = [reference.rows(record["class_offset"].values)[1] for record in records]
    found = []
    for draw in np.random.default_rng(0).integers(0, 4, (1000, 4)):
        found.append(figures([(i, offsets[i]) for group in draw for i in range(group, 9, 4)]))
    for quantity, drawn in zip(QUANTITIES, zip(*found, strict=True), strict=True):
        ends = np.nanpercentile(drawn, [2.5, 97.5])
        np.testing.assert_allclose(table.loc[(quantity, "road"), ["low", "high"]].astype(float), ends, rtol=1e-6)


def test_a_zero_offset_has_no_direction(records):
    still = records[1].copy(deep=True)
    still["class_offset"][0] = 0
    table = check([records[0], still, records[2]])
    assert table.loc[("class_offset_agreement", "sky"), "images"] == 2
    assert table.loc[("class_offset_shared", "sky"), "images"] == 3


def test_the_same_offset_everywhere_and_its_opposite(records):
    same = [record.assign(class_offset=records[0]["class_offset"]) for record in records]
    table = check(same)
    np.testing.assert_allclose(table["value"], 1, rtol=1e-6)
    longer = [record.assign(class_offset=n * record["class_offset"]) for n, record in enumerate(same, start=1)]
    table = check(longer)
    np.testing.assert_allclose(table.loc["class_offset_agreement", "value"], 1, rtol=1e-6)
    assert (table.loc["class_offset_shared", "value"] < 0.9).all()
    opposite = [same[0], same[1].assign(class_offset=-same[1]["class_offset"])]
    np.testing.assert_allclose(check(opposite).loc["class_offset_agreement", "value"], -1, rtol=1e-6)


def test_offsets_that_have_nothing_in_common(records):
    """Perpendicular in every pair: both are zero, where |mean|^2 / mean |.|^2 would still be one third."""
    offsets = np.eye(11)[:9].reshape(3, 3, 11).astype(np.float32)
    apart = [r.assign(class_offset=(("cls", "channel"), one)) for r, one in zip(records, offsets, strict=True)]
    np.testing.assert_allclose(check(apart)["value"], 0, atol=1e-7)


def test_of_the_docstring(make_record):
    """|mean d|^2 / mean |d|^2 = (1 + (n - 1) shared) / n."""
    records = [make_record(str(seed), seed=seed) for seed in range(5)]
    offsets = np.stack([record["class_offset"].values for record in records]).astype(np.float64)
    plain = np.square(offsets.mean(axis=0)).sum(axis=1) / np.square(offsets).sum(axis=2).mean(axis=0)
    shared = class_offset_agreement(records).set_index(["quantity", "cls"]).loc["class_offset_shared", "value"]
    np.testing.assert_allclose((1 + 4 * shared[:3]) / 5, plain, rtol=1e-6)


@pytest.mark.filterwarnings("error")
def test_one_image_and_no_labels(records):
    assert class_offset_agreement(records[:1])["value"].isna().all()
    check([records[0], records[1].drop_vars("label"), records[2]])
    table = check([record.drop_vars("label") for record in records])
    assert table.loc["class_offset_shared_labelled"]["value"].isna().all()
    assert (table.loc["class_offset_shared_labelled"]["images"] == 0).all()
    ignored = [record.assign(label=record["label"] * 0 + np.uint8(255)) for record in records]
    assert table.equals(check(ignored))


def test_refusals(records, per_pixel_records):
    with pytest.raises(RecordError, match="'nano' has no offsets"):
        class_offset_agreement(per_pixel_records)
    with pytest.raises(RecordError, match="of mask classification"):
        class_offset_agreement([of_queries(record) for record in records])
    with pytest.raises(RecordError, match="found no record"):
        class_offset_agreement([])
    broken = records[1].copy(deep=True)
    broken["class_offset"][1, 1] = np.nan
    with pytest.raises(RecordError, match="record of b.*not finite"):
        class_offset_agreement([records[0], broken])
