"""The ground floor: the record schema, saving and loading, classes, errors and the glossary."""

import pickle

import numpy as np
import pytest
import xarray as xr
from mask_records import build_query_record

from offseg_viz import record as schema
from offseg_viz.classes import ClassList
from offseg_viz.errors import DataError, OffsegVizError, RecordError, UnknownNameError
from offseg_viz.record import class_list, has_offsets, has_queries, load_record, save_record, validate_record
from offseg_viz.terms import STAGES, TERMS, glossary


def test_valid_records_are_returned_unchanged(offset_record, per_pixel_record):
    for record in (offset_record, per_pixel_record, offset_record.drop_vars(["label", "image", "logit_bias"])):
        copy = record.copy(deep=True)
        assert validate_record(record) is record
        xr.testing.assert_identical(record, copy)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda r: r["feature"], "xarray.Dataset, found DataArray"),
        (lambda r: r.drop_vars("feature"), "lacks 'feature'"),
        (lambda r: r.drop_vars("logits"), "lacks 'logits'"),
        (lambda r: r.assign(scores=r["logits"]), "unknown variable 'scores'.*known: .*'logits'"),
        (lambda r: r.assign(feature=r["feature"].transpose("x", "y", "channel")), r"needed \('y', 'x', 'channel'\)"),
        (lambda r: r.assign(label=r["label"].astype(np.int64)), "'label' has dtype int64, needed uint8"),
        (lambda r: r.assign(image=r["image"] / 255), "'image' has dtype float"),
        (lambda r: r.assign(logits=r["logits"].astype(int)), "'logits' has dtype int64, needed a floating type"),
        (lambda r: r.drop_vars("class_offset"), "both feature_offset and class_offset, or neither"),
        (lambda r: r.drop_vars("cls"), "lacks the coordinate 'cls'"),
        (lambda r: r.drop_vars("color"), "lacks the coordinate 'color'"),
        (lambda r: r.drop_vars("x"), "lacks the coordinate 'x'"),
        (lambda r: r.drop_attrs(), "lacks the attributes .*'window'"),
        (lambda r: r.assign_attrs(schema_version=0), "schema version 0, this library reads 1; extract it again"),
        (lambda r: without_attr(r, "logit_norm_eps"), "logit_gain needs the attribute logit_norm_eps"),
        (lambda r: r.assign(label=r["label"] * 0 + np.uint8(3)), r"\[3\] are out of range; needed 0 to 2, or 255"),
    ],
)
def test_refusals(offset_record, damage, words):
    with pytest.raises(RecordError, match=words):
        validate_record(damage(offset_record))


def without_attr(record, name):
    copy = record.copy()
    del copy.attrs[name]
    return copy


@pytest.mark.parametrize("name", schema.REQUIRED_ATTRS)
def test_every_required_attribute_is_checked(offset_record, name):
    with pytest.raises(RecordError, match=name):
        validate_record(without_attr(offset_record, name))


def test_kind_and_classes(offset_record, per_pixel_record):
    assert has_offsets(offset_record) and not has_offsets(per_pixel_record)
    classes = class_list(offset_record)
    assert classes.names == ("sky", "road", "tree") and classes.colors[0] == "#4477aa"


@pytest.mark.parametrize("kind", ["offset_record", "per_pixel_record"])
def test_round_trip(request, tmp_path, kind):
    record = request.getfixturevalue(kind)
    path = save_record(record, tmp_path / "some" / "folder" / "a")
    found = load_record(path)
    xr.testing.assert_identical(found, record)
    assert {name: variable.dtype for name, variable in found.data_vars.items()} == dict(record.dtypes)
    assert all(isinstance(variable.values, np.ndarray) for variable in found.variables.values())
    assert class_list(found) == class_list(record)
    assert [entry.name for entry in path.parent.iterdir()] == ["a"]
    xr.testing.assert_identical(load_record(save_record(found, tmp_path / "again")), record)


def test_saving_never_overwrites(offset_record, per_pixel_record, tmp_path):
    save_record(offset_record, tmp_path / "a")
    with pytest.raises(RecordError, match="already there"):
        save_record(per_pixel_record, tmp_path / "a")
    xr.testing.assert_identical(load_record(tmp_path / "a"), offset_record)


def test_an_invalid_record_leaves_nothing_behind(offset_record, tmp_path):
    with pytest.raises(RecordError, match="lacks 'logits'"):
        save_record(offset_record.drop_vars("logits"), tmp_path / "folder" / "a")
    assert list(tmp_path.iterdir()) == []


def test_half_written_is_not_visible(offset_record, tmp_path, monkeypatch):
    """A write that stops half-way leaves no record under the name, and does not stand in the way of the next."""
    whole = xr.Dataset.to_zarr

    def stops(self, store, **options):
        whole(self[["feature"]], store, mode=options["mode"], zarr_format=options["zarr_format"])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(xr.Dataset, "to_zarr", stops)
        with pytest.raises(KeyboardInterrupt):
            save_record(offset_record, tmp_path / "a")
    assert not (tmp_path / "a").exists()
    with pytest.raises(RecordError, match="no record at"):
        load_record(tmp_path / "a")
    assert len(list(tmp_path.iterdir())) == 1, "the write should have begun, else this shows nothing"
    save_record(offset_record, tmp_path / "a")
    xr.testing.assert_identical(load_record(tmp_path / "a"), offset_record)


@pytest.mark.parametrize("name", ["feature", "label", "cls"])
def test_damaged_files_are_noticed(offset_record, tmp_path, name):
    """Cut short anywhere, one bit changed, or gone: never garbage, NaN or zeros in place of what was saved."""
    path = save_record(offset_record.assign(label=offset_record["label"] * 0), tmp_path / "a")
    chunk = next(file for file in (path / name).iterdir() if not file.name.startswith("."))
    whole = chunk.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 4
    for damaged in (b"", whole[:20], whole[: len(whole) // 2], whole[:-1], bytes(len(whole)), bytes(flipped)):
        chunk.write_bytes(damaged)
        with pytest.raises(RecordError, match="/a cannot be read as a record .*remove that folder"):
            load_record(path)
    chunk.unlink()
    with pytest.raises(RecordError, match=f"/a cannot be read as a record .parts of {name} are lost"):
        load_record(path)
    chunk.write_bytes(whole)
    assert load_record(path)["label"].values.max() == 0


@pytest.mark.parametrize("offsets", [True, False])
def test_records_of_queries(tmp_path, offsets):
    record = build_query_record(offsets=offsets)
    assert validate_record(record) is record
    assert (
        has_queries(record) and has_offsets(record) == offsets and class_list(record).names == ("sky", "road", "tree")
    )
    found = load_record(save_record(record, tmp_path / "a"))
    xr.testing.assert_identical(found, record)
    assert has_queries(found)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda r: r.rename(query="cls2"), r"needed \('query', 'channel'\)"),
        (lambda r: r.drop_vars("query_class"), r"'class_embedding' has dims \('query', 'channel'\), needed \('cls'"),
        (lambda r: r.assign(query_class=r["query_class"].transpose()), r"needed \('query', 'cls'\)"),
        (lambda r: r.assign(logit_bias=("cls", np.zeros(3, np.float32))), "unknown variable 'logit_bias'"),
        (lambda r: r.drop_vars("class_offset"), "both feature_offset and class_offset, or neither"),
        (lambda r: r.assign(label=r["label"] * 0 + np.uint8(3)), r"\[3\] are out of range; needed 0 to 2, or 255"),
        (lambda r: r.drop_vars("cls"), "lacks the coordinate 'cls'"),
    ],
)
def test_refusals_of_records_of_queries(damage, words):
    with pytest.raises(RecordError, match=words):
        validate_record(damage(build_query_record()))


def test_float16_keeps_three_digits_and_comes_back_as_float32(offset_record, tmp_path):
    found = load_record(save_record(offset_record, tmp_path / "a", dtype="float16"))
    assert {name: variable.dtype for name, variable in found.data_vars.items()} == dict(offset_record.dtypes)
    for name in offset_record.data_vars:
        np.testing.assert_allclose(found[name], offset_record[name], rtol=5e-4, atol=6e-8)
    floating = [name for name in found if found[name].dtype == np.float32]
    xr.testing.assert_identical(found.drop_vars(floating), offset_record.drop_vars(floating))
    assert not found.identical(offset_record)
    xr.testing.assert_identical(load_record(save_record(found, tmp_path / "b", dtype="float16")), found)


@pytest.mark.parametrize("value", [65520.0, -7e4, np.inf])
def test_what_float16_cannot_hold_is_refused(offset_record, tmp_path, value):
    feature = offset_record["feature"].copy()
    feature[0, 0, :2] = [np.nan, value]
    large = offset_record.assign(feature=feature)
    with pytest.raises(RecordError, match="'feature' of a has values beyond float16; store it as float32"):
        save_record(large, tmp_path / "a", dtype="float16")
    assert list(tmp_path.iterdir()) == []
    np.testing.assert_array_equal(load_record(save_record(large, tmp_path / "a"))["feature"], feature)
    with pytest.raises(UnknownNameError, match="unknown dtype 'half'.*Valid: float32, float16"):
        save_record(offset_record, tmp_path / "b", dtype="half")


def test_variables_that_are_left_out_are_not_read(offset_record, tmp_path):
    path = save_record(offset_record, tmp_path / "a")
    found = load_record(path, leave_out=("feature", "logits", "query_class"))
    xr.testing.assert_identical(found, offset_record.drop_vars(["feature", "logits"]))
    chunk = path / "feature" / "0.0.0"
    chunk.write_bytes(chunk.read_bytes()[:20])
    assert "feature" not in load_record(path, leave_out=["feature"])
    with pytest.raises(RecordError, match="/a cannot be read as a record"):
        load_record(path)


def test_what_is_no_record_is_named(offset_record, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecordError, match="/empty"):
        load_record(tmp_path / "empty")
    without_attr(offset_record, "model").to_zarr(tmp_path / "old", zarr_format=2, write_empty_chunks=True)
    with pytest.raises(RecordError, match=r"/old holds no valid record: .*\['model'\]"):
        load_record(tmp_path / "old")


def test_class_list():
    classes = ClassList(["sky", "tree"], ["#0000ff", "#00FF00"])
    assert len(classes) == 2 and list(classes) == ["sky", "tree"] and classes.index("tree") == 1
    assert classes.palette.tolist() == [[0, 0, 255], [0, 255, 0]] and classes.palette.dtype == np.uint8
    with pytest.raises(UnknownNameError, match="unknown class 'tre'. Did you mean 'tree'.*Valid: sky, tree"):
        classes.index("tre")


@pytest.mark.parametrize(
    ("names", "colors", "words"),
    [
        (["sky"], ["#000000", "#ffffff"], "1 class names but 2 colours"),
        (["sky", "sky"], ["#000000", "#ffffff"], "found twice: sky"),
        ([], [], "0 classes"),
        ([f"c{k}" for k in range(256)], ["#000000"] * 256, "256 classes; needed 1 to 255"),
        (["sky"], ["blue"], "#rrggbb, found 'blue'"),
        (["sky"], ["#00f"], "#rrggbb, found '#00f'"),
    ],
)
def test_class_list_refusals(names, colors, words):
    with pytest.raises(DataError, match=words):
        ClassList(names, colors)


def test_numbered_classes():
    classes = ClassList.numbered(150)
    assert classes.names[149] == "class 149" and classes.palette.shape == (150, 3)
    assert len(set(classes.colors)) > 140, "nearly all colours should differ"


def test_unknown_name_guesses_only_what_is_near():
    assert "Did you mean 'Nano'" in str(UnknownNameError("model", "nanoo", ["Nano", "segformer-b0"]))
    assert "Did you mean" not in str(UnknownNameError("model", "xyz", ["nano"]))
    assert str(UnknownNameError("model", 3, [])) == "unknown model 3. Valid: none."


def test_errors_survive_the_way_back_from_a_worker():
    for error in (UnknownNameError("model", "nanoo", ["nano"]), RecordError("damaged")):
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error) and str(copy) == str(error)


def test_every_error_is_one_of_ours_and_a_value_error():
    from offseg_viz import errors

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(kinds) > 4
    for kind in kinds:
        assert issubclass(kind, OffsegVizError) and (kind is OffsegVizError or issubclass(kind, ValueError))


def test_terms_agree_with_the_schema():
    for name, dims in (schema.REQUIRED | schema.OFFSETS | schema.OPTIONAL).items():
        assert TERMS[name].dims == dims and TERMS[name].meaning
    assert all(stage in TERMS for stage in STAGES)


def test_glossary_is_a_table_of_all_terms():
    lines = glossary().splitlines()
    assert len(lines) == 2 + len(TERMS)
    assert {line.count("|") for line in lines} == {6}, "a bar inside a cell would break the table"
    assert "| `feature_offset` | `dE` | y, x, channel |" in glossary()
