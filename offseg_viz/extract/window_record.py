"""One forward pass over one window of an image, and the record of it."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from offseg_viz import __version__
from offseg_viz.classes import IGNORE_INDEX, ClassList
from offseg_viz.data.sample import Sample
from offseg_viz.errors import ModelError
from offseg_viz.extract.capture import capture
from offseg_viz.extract.class_names import classes_of
from offseg_viz.extract.grid import Grid
from offseg_viz.extract.network_input import Preprocess, evaluating, network_input, seen_size
from offseg_viz.extract.points import Reading
from offseg_viz.record import LAST_LAYER, OFFSETS, OPTIONAL, REQUIRED, SCHEMA_VERSION, validate_record

DIMS = REQUIRED | OFFSETS | LAST_LAYER | {"query_class": ("query", "cls")}


def window_record(
    model: nn.Module,
    sample: Sample,
    window: tuple[int, int, int, int],
    reading: Reading,
    preprocess: Preprocess | None,
    checkpoint: str,
    seed: int,
) -> xr.Dataset:
    """The record of a window, (top, left, height, width) in pixels, of an image; see `extract` for the rest."""
    top, left, height, width = window
    pixels = slice(top, top + height), slice(left, left + width)
    seen = replace(sample, image=sample.image[pixels], label=None if sample.label is None else sample.label[pixels])
    classes = classes_of(model, seen, reading.num_classes)
    with evaluating(model), torch.no_grad():
        images = network_input(model, seen, preprocess)
        with capture(reading.points) as captured:
            model(images)
    if captured.keys() != reading.points.keys():
        raise ModelError(
            f"the forward pass of {name_of(model)} did not come by {reading.classifier!r}; name the classifier that it "
            "uses by its path"
        )
    tensors = reading.tensors(captured, tuple(images.shape[2:]))
    grid = Grid(height, width, _stride(seen_size(model, images), tensors["feature"].shape, window, images.shape))
    variables = _variables(tensors, grid)
    if seen.label is not None:
        variables["label"] = (OPTIONAL["label"], grid.label(seen.label))
    variables["image"] = (OPTIONAL["image"], seen.image.copy())
    shapes = tuple((name, dims, array.shape, array.dtype) for name, (dims, array) in variables.items())
    record = _empty_record(grid, classes, shapes).copy(data={name: array for name, (_, array) in variables.items()})
    record.attrs = {
        "schema_version": SCHEMA_VERSION,
        "model": name_of(model),
        "checkpoint": checkpoint,
        "dataset": sample.dataset,
        "sample": sample.id,
        "window": list(window),
        "image_size": list(sample.image.shape[:2]),
        "stride": list(grid.stride),
        "library_version": __version__,
        "seed": seed,
        "ignore_index": IGNORE_INDEX,
        **reading.attrs,
    }
    return validate_record(record)


def name_of(model: nn.Module) -> str:
    """The name that a model has, as networks of `load_model` do, else that of its type."""
    name = getattr(model, "name", None)
    return name if isinstance(name, str) else type(model).__name__


@lru_cache(maxsize=8)
def _empty_record(grid: Grid, classes: ClassList, shapes: tuple) -> xr.Dataset:
    """Without values, made once for all records of a size: indexes never change, of the colours nobody can change one.

    `shapes` are (name, dims, shape, dtype) of its variables, whose values are one number in place of all.
    """
    colors = np.array(classes.colors)
    colors.flags.writeable = False
    coords = {"y": grid.y, "x": grid.x, "cls": list(classes.names), "color": ("cls", colors)}
    return xr.Dataset({n: (dims, np.broadcast_to(dtype.type(0), shape)) for n, dims, shape, dtype in shapes}, coords)


def _stride(seen: tuple[int, int], cells: tuple, window: tuple, images: tuple) -> tuple[float, float]:
    """How many pixels of the image a cell is high and wide.

    `seen` is the size of the input as the network pads it, `images` that of the input as `preprocess` may have resized
    the window.
    """
    return tuple(seen[i] / cells[i] * (window[2 + i] / images[2 + i]) for i in (0, 1))


def _variables(tensors: dict[str, Tensor], grid: Grid) -> dict[str, tuple]:
    """Tensors with their dims, as float32 arrays, without the cells that lie in the padding alone."""
    cells = {dim: slice(count) for dim, count in grid.cells.items()}
    variables = {}
    for name in (name for name in DIMS if name in tensors):
        dims = DIMS[name]
        if "query_class" in tensors and "query" not in dims:
            dims = tuple("query" if dim == "cls" else dim for dim in dims)
        part = tensors[name].detach()[tuple(cells.get(dim, slice(None)) for dim in dims)]
        variables[name] = (dims, _numpy(part))
    return variables


def _numpy(tensor: Tensor) -> np.ndarray:
    """As float32 on the CPU; of a tensor that is so already, and contiguous, this is no further copy."""
    return tensor.to("cpu", torch.float32).contiguous().numpy()
