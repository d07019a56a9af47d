"""The AlignmentRecord: a written schema over a plain `xarray.Dataset`, not a class.

One record is one forward pass over one window of one image. It holds only what cannot be recomputed; attention,
aligned quantities, scores and predictions are functions in `offseg_viz.analyze`. Arrays are numpy, float32 unless said
otherwise, and are never mutated.

==================  ===================  =========================================================================
variable            dims                 meaning
==================  ===================  =========================================================================
`feature`           y, x, channel        E
`class_embedding`   cls, channel         W, the same for every image
`feature_offset`    y, x, channel        dE; absent for a per-pixel model
`class_offset`      cls, channel         dW; absent for a per-pixel model
`logits`            cls, y, x            what the model returned
`logit_bias`        cls                  bias of the LayerNorm over classes or of the 1x1 convolution; optional (0)
`logit_gain`        cls                  gain of the LayerNorm over classes; absent where there is no LayerNorm
`label`             y, x                 uint8, optional; 255 = ignored
`image`             row, col, rgb        uint8, optional
==================  ===================  =========================================================================

A network of mask classification (Mask2Former) makes queries compete for pixels in place of classes: its record has the
dim `query` where the table says `cls`, for `class_embedding` (the mask embeddings, made for this image), `class_offset`
and `logits` (the mask logits, before their sigmoid), no `logit_bias` or `logit_gain`, and beside them

==================  ===================  =========================================================================
`query_class`       query, cls           probability of each class; the rest to one is "no object"
==================  ===================  =========================================================================

Coordinates: `cls` class names with a `color` coordinate (``#rrggbb``) beside them; `y`, `x` centres of the grid cells
in pixels of the window (0.5 is the centre of the first pixel).

Attributes: `window` is the place of the window on the image, [top, left, height, width] in pixels, `image_size` the
[height, width] of that image, `stride` the height and width of a grid cell in pixels; `layer` the number of the
decoder's prediction in a record of queries.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import xarray as xr

from offseg_viz.classes import IGNORE_INDEX, ClassList
from offseg_viz.errors import RecordError, UnknownNameError

SCHEMA_VERSION = 1
REQUIRED_ATTRS = (
    *("schema_version", "library_version", "model", "checkpoint", "seed"),
    *("dataset", "sample", "window", "stride"),
)
REQUIRED = {"feature": ("y", "x", "channel"), "class_embedding": ("cls", "channel"), "logits": ("cls", "y", "x")}
OFFSETS = {"feature_offset": ("y", "x", "channel"), "class_offset": ("cls", "channel")}
LAST_LAYER = {"logit_bias": ("cls",), "logit_gain": ("cls",)}
OPTIONAL = {"label": ("y", "x"), "image": ("row", "col", "rgb")}
DTYPES = ("float32", "float16")
"""In which a record can be stored; in memory it is float32."""


def validate_record(record: xr.Dataset) -> xr.Dataset:
    """Return `record` unchanged if it follows the schema of this module.

    Raises
    ------
    RecordError
        Naming the first variable, dimension, coordinate or attribute that is missing or wrong.
    """
    if not isinstance(record, xr.Dataset):
        raise RecordError(f"a record is an xarray.Dataset, found {type(record).__name__}; make one with extract()")
    variables, known = record.variables, REQUIRED | OFFSETS | OPTIONAL
    if "query_class" in record:
        known = {name: tuple("query" if dim == "cls" else dim for dim in dims) for name, dims in known.items()}
        known["query_class"] = ("query", "cls")
    else:
        known = known | LAST_LAYER
    for name in REQUIRED:
        if name not in record.data_vars:
            raise RecordError(f"the record lacks {name!r}; it has {sorted(map(str, record.data_vars))}")
    for name in record.data_vars:
        variable = variables[name]  # quicker than a DataArray
        if name not in known:
            raise RecordError(f"unknown variable {name!r} in the record; known: {sorted(known)}")
        if variable.dims != known[name]:
            raise RecordError(f"{name!r} has dims {variable.dims}, needed {known[name]}")
        if name in ("label", "image"):
            if variable.dtype != np.uint8:
                raise RecordError(f"{name!r} has dtype {variable.dtype}, needed uint8")
        elif variable.dtype.kind != "f":
            raise RecordError(f"{name!r} has dtype {variable.dtype}, needed a floating type")
    if ("feature_offset" in record) != ("class_offset" in record):
        raise RecordError("a record has both feature_offset and class_offset, or neither; found one of them")
    for coord, dims in {"cls": ("cls",), "color": ("cls",), "y": ("y",), "x": ("x",)}.items():
        if coord not in variables or variables[coord].dims != dims:
            raise RecordError(f"the record lacks the coordinate {coord!r} along {dims}")
    missing = [name for name in REQUIRED_ATTRS if name not in record.attrs]
    if missing:
        raise RecordError(f"the record lacks the attributes {missing}; records made by extract() have them")
    if record.attrs["schema_version"] != SCHEMA_VERSION:
        found = record.attrs["schema_version"]
        raise RecordError(f"record of schema version {found}, this library reads {SCHEMA_VERSION}; extract it again")
    if "logit_gain" in record and "logit_norm_eps" not in record.attrs:
        raise RecordError("a record with logit_gain needs the attribute logit_norm_eps, the LayerNorm's epsilon")
    if "label" in record:
        label, classes = variables["label"].values, record.sizes["cls"]
        wrong = (label >= classes) & (label != IGNORE_INDEX)
        if wrong.any():
            needed = f"0 to {classes - 1}, or {IGNORE_INDEX} for ignored"
            raise RecordError(f"label values {np.unique(label[wrong]).tolist()} are out of range; needed {needed}")
    return record


def has_offsets(record: xr.Dataset) -> bool:
    """Whether the record comes from a model with offset learning (else its aligned stage equals the initial one)."""
    return "feature_offset" in record


def has_queries(record: xr.Dataset) -> bool:
    """Whether the record is of mask classification: embeddings, scores and logits are those of queries."""
    return "query_class" in record


def refuse_queries(record: xr.Dataset, what: str, *, name: str | None = None) -> None:
    """Raise `RecordError` for a record of mask classification, which `what`, in words, cannot take.

    `name` is the record's id, by default that of its sample.
    """
    if has_queries(record):
        raise RecordError(
            f"the record of {name or record.attrs.get('sample')} is of mask classification: its embeddings are of "
            f"queries and not of classes; {what} needs a record of a per-pixel network"
        )


def class_list(record: xr.Dataset) -> ClassList:
    """The classes of a record, names and colours in label order."""
    return ClassList(tuple(record["cls"].values), tuple(record["color"].values))


def save_record(record: xr.Dataset, path: str | Path, *, dtype: str = "float32") -> Path:
    """Write one record as a Zarr group, whole or not at all, with checksums; anything already at `path` is refused.

    Parameters
    ----------
    record : xarray.Dataset
    path : folder to write.
    dtype : {"float32", "float16"}
        In which floating variables are stored; float16 takes half the space and keeps three digits, fewer of numbers
        below 6e-5.

    Raises
    ------
    RecordError
        If the record is not valid, something is already at `path`, or a value is beyond the range of float16.
    UnknownNameError
        If `dtype` is another one.
    """
    from numcodecs import Zstd

    path = Path(path)
    validate_record(record)
    if dtype not in DTYPES:
        raise UnknownNameError("dtype", dtype, DTYPES)
    if path.exists():
        raise RecordError(f"{path} is already there; remove it or choose another name")
    # Zarr's default compressor reads past the end of a truncated chunk and returns garbage; this one notices. A level
    # below 0 reads up to six times as fast as level 1, and real features become no larger. Chunks
    # of one value are written too (by default they are not), so that a chunk that is not there is known to be lost.
    encoding = {name: {"compressors": [Zstd(level=-1, checksum=True)]} for name in record.variables}
    for name, variable in record.data_vars.items():
        encoding[name]["chunks"] = variable.shape  # a record is read whole
        if variable.dtype.kind == "f":
            encoding[name]["dtype"] = dtype
            if dtype == "float16" and (np.abs(variable.values) > np.finfo(np.float16).max).any():
                raise RecordError(
                    f"{name!r} of {record.attrs['sample']} has values beyond float16; store it as float32"
                )
    partial = path.with_name(f".{path.name}.partial")
    if partial.exists():
        import shutil

        shutil.rmtree(partial)
    path.parent.mkdir(parents=True, exist_ok=True)
    record.to_zarr(partial, mode="w", zarr_format=2, encoding=encoding, write_empty_chunks=True)
    partial.rename(path)
    return path


def load_record(path: str | Path, *, leave_out: Iterable[str] = ()) -> xr.Dataset:
    """Read one record into memory, its floating variables as float32.

    Parameters
    ----------
    path : folder written by `save_record`.
    leave_out : names of variables that are not needed and not read.

    Raises
    ------
    RecordError
        If `path` is no record, or a damaged one.
    """
    path = Path(path)
    if not path.is_dir():
        raise RecordError(f"no record at {path}: needed a folder written by save_record() or extract_many()")
    import zarr

    try:
        arrays = dict(zarr.open_group(path, mode="r").arrays())
        lost = sorted(name for name, array in arrays.items() if array.nchunks_initialized < array.nchunks)
        if lost:  # Zarr would fill them in with NaN or zero
            raise OSError(f"parts of {', '.join(lost)} are lost")
        with xr.open_zarr(path, chunks=None) as lazy:
            try:
                record = validate_record(lazy)
            except RecordError as cause:
                raise RecordError(f"{path} holds no valid record: {cause}") from cause
            record = record.drop_vars(leave_out, errors="ignore").load()
    except RecordError:
        raise
    except Exception as cause:
        remedy = "remove that folder, and the same extract_many() makes it again"
        raise RecordError(f"{path} cannot be read as a record ({cause}); {remedy}") from cause
    half = [name for name, variable in record.data_vars.items() if variable.dtype == np.float16]
    return record.assign({name: record[name].astype(np.float32) for name in half})
