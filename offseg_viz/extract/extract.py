"""Run a model on samples and keep what its classifier saw, as AlignmentRecords."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from rich.progress import track

from offseg_viz.classes import IGNORE_INDEX
from offseg_viz.data.sample import Sample
from offseg_viz.errors import DataError, ModelError, RecordError
from offseg_viz.extract.capture import capture
from offseg_viz.extract.points import reading_of
from offseg_viz.extract.store import RecordStore, create_store
from offseg_viz.models.segmenter import SIDE, Segmenter
from offseg_viz.record import SCHEMA_VERSION, save_record, validate_record


def extract(model: Segmenter, sample: Sample, *, checkpoint: str | None = None, seed: int = 0) -> xr.Dataset:
    """One forward pass over one image: the AlignmentRecord of `offseg_viz.record`.

    The model is run in evaluation mode and left as it was found; nothing of it is kept. The label map is brought to the
    feature grid by the class at the centre of each grid cell. A per-pixel model gives a record without offsets.

    Where a side is no multiple of 32, the network sees the image padded (see `Segmenter`): the record holds the grid
    cells that touch the image, while the class attention behind its class offsets was taken over the padding too.

    Parameters
    ----------
    model : `Segmenter` with one `OffsetLearning` or `PerPixelClassifier` head.
    sample : `Sample`; its label may be None.
    checkpoint : the model's fingerprint where it is known already (it costs a pass over the weights).
    seed : written into the record; the forward pass itself draws no random numbers.

    Raises
    ------
    ModelError
        If the model is none of `load_model`, or the sample's labels have other classes than the model.
    DataError
        If the sample is none, or a side of its image is below 32 pixels.
    """
    if not isinstance(model, Segmenter):
        raise ModelError(
            f"extract() needs a network of load_model(), found {type(model).__name__}; records of other models, also "
            "with attached offset learning, are not made yet"
        )
    if not isinstance(sample, Sample):
        raise DataError(
            f"extract() needs a Sample as its second argument, found {type(sample).__name__}; load_samples() makes "
            'them, load_samples("photographs", root=...) those of your own images'
        )
    if min(sample.image.shape[:2]) < SIDE:
        height, width = sample.image.shape[:2]
        raise DataError(
            f"sample {sample.id!r} of {sample.dataset} is {height} high and {width} wide; needed sides of {SIDE} "
            "pixels or more: remove it, or scale it up"
        )
    if sample.label is not None and sample.classes.names != model.classes.names:
        found = f"{len(sample.classes)} ({', '.join(sample.classes.names[:3])}, ...)"
        needed = f"{len(model.classes)} ({', '.join(model.classes.names[:3])}, ...)"
        raise ModelError(
            f"sample {sample.id!r} of {sample.dataset} has the classes {found}, the model {needed}; "
            "use a model of that data set, or a sample without label"
        )
    reading = reading_of(model)
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), capture(reading.points) as captured:
            model(model.normalize(sample.image))
    finally:
        model.train(training)
    arrays = reading.arrays(captured)
    height, width = sample.image.shape[:2]
    padded = -(-height // SIDE) * SIDE, -(-width // SIDE) * SIDE  # what the network has seen
    stride = [side / cells for side, cells in zip(padded, arrays["feature"].shape[:2], strict=True)]
    y, x = _centres(height, stride[0]), _centres(width, stride[1])
    if sample.label is not None:
        arrays["label"] = sample.label[np.ix_(_pixels(y, height), _pixels(x, width))]
    arrays["image"] = sample.image
    dims = {
        "feature": ("y", "x", "channel"),
        "class_embedding": ("cls", "channel"),
        "feature_offset": ("y", "x", "channel"),
        "class_offset": ("cls", "channel"),
        "logits": ("cls", "y", "x"),
        "logit_gain": ("cls",),
        "logit_bias": ("cls",),
        "label": ("y", "x"),
        "image": ("row", "col", "rgb"),
    }
    coords = {"y": y, "x": x, "cls": list(model.classes.names), "color": ("cls", list(model.classes.colors))}
    attrs = {
        "schema_version": SCHEMA_VERSION,
        "model": model.name,
        "checkpoint": checkpoint or model.fingerprint(),
        "dataset": sample.dataset,
        "sample": sample.id,
        "window": [0, 0, height, width],
        "stride": stride,
        "library_version": version("offseg-viz"),
        "seed": seed,
        "ignore_index": IGNORE_INDEX,
    } | reading.attrs
    grid = {"y": slice(len(y)), "x": slice(len(x))}  # cells that lie in the padding alone are left out
    variables = {name: xr.Variable(dims[name], array) for name, array in arrays.items()}
    variables = {
        name: variable.isel({dim: grid[dim] for dim in grid if dim in variable.dims}).copy()
        for name, variable in variables.items()
    }
    return validate_record(xr.Dataset(variables, coords, attrs))


def _centres(side: int, stride: float) -> np.ndarray:
    """Centres of the cells that lie on a side of an image, in pixels; that of the last one may lie beyond the edge."""
    return (np.arange(np.ceil(side / stride)) + 0.5) * stride


def _pixels(centres: np.ndarray, side: int) -> np.ndarray:
    """Numbers of the pixels at the centres of cells, of the last one for a cell whose centre is beyond the edge."""
    return np.minimum(centres.astype(int), side - 1)


def extract_many(
    model: Segmenter, samples: Sequence[Sample], path: str | Path, *, progress: bool = True
) -> RecordStore:
    """Extract every sample into a Zarr store, one group a sample; a stopped run continues where it was.

    Groups that are there already are kept, a half-written one is made again, and memory holds one record at a time.

    Raises
    ------
    RecordError
        If the store holds records of another model or other weights.
    """
    reading_of(model)  # a model that cannot be extracted leaves no store behind
    store = create_store(path)
    checkpoint = model.fingerprint()
    if len(store):
        attrs = store[0].attrs
        if (attrs["model"], attrs["checkpoint"]) != (model.name, checkpoint):
            found, given = f"{attrs['model']} {attrs['checkpoint']}", f"{model.name} {checkpoint}"
            raise RecordError(f"{path} holds records of {found}, not of {given}; choose another path")
    done = set(store.ids)
    for sample in track(samples, f"extracting with {model.name}", total=len(samples), disable=not progress):
        if sample.id not in done:
            save_record(extract(model, sample, checkpoint=checkpoint), store.path_of(sample.id))
    return RecordStore(path)
