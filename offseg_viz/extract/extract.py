"""Run a model on samples and keep what its classifier saw, as AlignmentRecords."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import xarray as xr
from rich.console import Console
from rich.progress import track
from torch import nn

from offseg_viz.data.sample import Sample
from offseg_viz.data.windows import windows_of
from offseg_viz.errors import DataError, ModelError, RecordError, UnknownNameError
from offseg_viz.extract.network_input import Preprocess
from offseg_viz.extract.points import Reading, reading_of_pixels
from offseg_viz.extract.processes import Share
from offseg_viz.extract.queries import reading_of_queries
from offseg_viz.extract.settings import agree_on
from offseg_viz.extract.store import RecordStore, create_store
from offseg_viz.extract.window_record import name_of, window_record
from offseg_viz.models.final_classifier import final_classifier, is_mask_predictor
from offseg_viz.models.fingerprint import fingerprint
from offseg_viz.models.mask_offset_learning import AlignedMaskPredictor
from offseg_viz.models.memory import keep_freed_memory
from offseg_viz.record import DTYPES, SCHEMA_VERSION, save_record

Size = tuple[int, int]


def extract(
    model: nn.Module,
    sample: Sample,
    *,
    classifier: str | None = None,
    preprocess: Preprocess | None = None,
    layer: int = -1,
    checkpoint: str | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """One forward pass over one image: the AlignmentRecord of `offseg_viz.record`.

    Of any torch model that classifies positions by a 1x1 convolution, a linear layer, offset learning in their place
    (`attach_offset_learning` too) or, for Mask2Former of this package or of transformers, by masks: then the record is
    one of queries. `logits` are what the classifier returned, whatever the model does with them afterwards.

    The model is called with the image alone, in evaluation mode, and left as it was found; nothing of it is kept. A
    compiled model is run as it was before `torch.compile`. `y` and `x` of the record are in pixels of the image also
    where `preprocess` resizes it. The label map is brought to the feature grid by the class at the centre of each cell.

    Networks of `load_model` see an image padded where a side is no multiple of 32 (see `Segmenter`): the record holds
    the grid cells that touch the image, while the class attention behind its class offsets was taken over the padding
    too.

    Parameters
    ----------
    model : torch model; features (1, C, h, w), (1, h, w, C) or (1, P, C) go into its classifier.
    sample : `Sample`; its label may be None.
    classifier : path of the classifier, such as ``"decode_head.classifier"``; if None it is looked for as
        `final_classifier` says.
    preprocess : the image (H, W, 3) uint8 to the model's input (1, 3, h, w); by default the image is normalised by the
        statistics of ImageNet at its own size. It may resize, but not crop or pad: the input shows the whole image.
    layer : of Mask2Former, which prediction of the decoder: 0 before its first layer, up to 9, or -1 for the last.
    checkpoint : the model's fingerprint where it is known already (it costs a pass over the weights).
    seed : written into the record; the forward pass itself draws no random numbers.

    Raises
    ------
    ModelError
        If no classifier is found, several may be meant, or it does not see every position of the image once; if the
        sample's labels have other classes than the model, or `layer` is out of range. What the model itself raises
        comes as it is.
    DataError
        If the sample is none, or a side of its image is below 32 pixels for a network of `load_model`.
    """
    model = _uncompiled(model)
    reading = reading_of(model, classifier, layer)
    window = (0, 0, *_checked(sample).image.shape[:2])
    return window_record(model, sample, window, reading, preprocess, checkpoint or fingerprint(model), seed)


def extract_windows(
    model: nn.Module,
    sample: Sample,
    *,
    window: Size,
    stride: Size,
    classifier: str | None = None,
    preprocess: Preprocess | None = None,
    layer: int = -1,
    checkpoint: str | None = None,
    seed: int = 0,
) -> Iterator[xr.Dataset]:
    """One record for every window of an image, row by row, each made when it is asked for; see `extract`.

    The windows are those of sliding-window evaluation. The model sees a window alone, so that its class attention and
    class offsets are of that window. `y` and `x` count from the window's corner, whose place on the image is in the
    attribute ``window``: top, left, height, width in pixels. `stitch_windows` puts maps of them together.

    Parameters
    ----------
    window, stride : (height, width) in pixels; a window that would stick out is moved back, one larger than the image
        is as small as the image.

    Raises
    ------
    ModelError, DataError
        As `extract`; also if window or stride is no size, or the stride leaves gaps.
    """
    model = _uncompiled(model)
    reading = reading_of(model, classifier, layer)
    windows = windows_of(*_checked(sample).image.shape[:2], window, stride)
    checkpoint = checkpoint or fingerprint(model)
    return (window_record(model, sample, place, reading, preprocess, checkpoint, seed) for place in windows)


def extract_many(
    model: nn.Module,
    samples: Sequence[Sample],
    path: str | Path,
    *,
    dtype: str = "float32",
    window: Size | None = None,
    stride: Size | None = None,
    classifier: str | None = None,
    preprocess: Preprocess | None = None,
    layer: int = -1,
    progress: bool = True,
) -> RecordStore:
    """Extract every sample into a Zarr store, one group a sample or window; a stopped run continues where it was.

    A group has the name of the sample, with windows ``"{id}@{top}-{left}"``. Groups that are there already are kept, a
    half-written one is made again, and memory holds one record at a time.

    Where several processes run this with the same arguments (torchrun, Lightning, srun), each does every n-th sample,
    with all its windows, so that an image is read once; the store is the one that a single process makes. Where
    torch.distributed is initialised all return when all are done, else each when its own part is.

    Parameters
    ----------
    samples : `SampleSet`, or a list of samples.
    path : folder of the store.
    dtype : {"float32", "float16"}
        In which it is stored, see `save_record`.
    window, stride : of a sliding window as in `extract_windows`; both, or none for whole images.
    classifier, preprocess, layer : as in `extract`. That `preprocess` stays the same is for the caller to see to.
    progress : whether to show images done and the time that is left, of the first process.

    Raises
    ------
    RecordError
        If the store holds records of another model, other weights, another data set, dtype, window, classifier or
        layer, or was begun with them; if ids of samples repeat or are no plain file names.
    ModelError, DataError
        As `extract`.
    """
    model = _uncompiled(model)
    reading = reading_of(model, classifier, layer)  # a model that cannot be extracted leaves no store behind
    if dtype not in DTYPES:
        raise UnknownNameError("dtype", dtype, DTYPES)
    if (window is None) != (stride is None):
        raise ModelError(f"window is {window} and stride {stride}; needed both, or none for whole images")
    if window is not None:
        windows_of(1, 1, window, stride)
    ids = list(samples.ids) if hasattr(samples, "ids") else [_checked(sample).id for sample in samples]
    if twice := sorted(name for name, count in Counter(ids).items() if count > 1):
        raise RecordError(f"ids of samples must differ, found twice: {', '.join(twice[:5])}; rename or leave out")
    share, checkpoint = Share.of_this_process(), fingerprint(model)
    store = create_store(path)
    paths = {name: store.path_of(name) for name in ids}
    settings = {"model": name_of(model), "checkpoint": checkpoint, "classifier": reading.classifier}
    settings |= {"layer": reading.attrs.get("layer"), "dtype": dtype, "window": window, "stride": stride}
    dataset = getattr(samples, "dataset", None) or ", ".join(sorted({sample.dataset for sample in samples}))
    agree_on(settings | {"dataset": dataset, "schema_version": SCHEMA_VERSION}, store.path)
    done = set(store.ids)
    todo = [n for n in range(share.rank, len(ids), share.processes) if window is not None or ids[n] not in done]
    shown = track(
        todo,
        f"extracting with {name_of(model)}" + (f", process 1 of {share.processes}" if share.processes > 1 else ""),
        console=Console(stderr=True),
        disable=not progress or share.rank > 0,
    )
    for number in shown:
        sample = _checked(samples[number])
        whole = (0, 0, *sample.image.shape[:2])
        windows = [whole] if window is None else windows_of(*whole[2:], window, stride)
        for place in windows:
            name = sample.id if window is None else f"{sample.id}@{place[0]}-{place[1]}"
            if name not in done:
                # without a name for the record, which would keep it alive while the next one is made
                save_record(
                    window_record(model, sample, place, reading, preprocess, checkpoint, seed=0),
                    paths[sample.id].with_name(name),
                    dtype=dtype,
                )
    share.wait_for_all()
    return RecordStore(path)


def reading_of(model: nn.Module, classifier: str | None = None, layer: int = -1) -> Reading:
    """How a model is read: at which classifier, and how what it sees becomes a record.

    Raises
    ------
    ModelError
        If no classifier is found or there is none at the path, several may be meant, or `layer` is out of range: -1 for
        everything but Mask2Former, whose decoder predicts several times.
    """
    keep_freed_memory()  # for the forward passes to come
    path, module = final_classifier(model, classifier)
    if is_mask_predictor(module) or isinstance(module, AlignedMaskPredictor):
        return reading_of_queries(model, path, layer)
    if layer != -1:
        raise ModelError(
            f"layer is {layer!r}, but {path!r} classifies pixels, once; there are layers to choose from in the decoder "
            "of mask classification (Mask2Former): leave layer out"
        )
    return reading_of_pixels(path, module)


def _uncompiled(model: nn.Module) -> nn.Module:
    """The model itself: code that was compiled passes hooks by."""
    return getattr(model, "_orig_mod", model)


def _checked(sample: Sample) -> Sample:
    if not isinstance(sample, Sample):
        raise DataError(
            f"extraction needs a Sample, found {type(sample).__name__}; load_samples() makes them, "
            'load_samples("photographs", root=...) those of your own images'
        )
    return sample
