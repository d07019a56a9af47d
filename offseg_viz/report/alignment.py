"""Models compared by their alignment: one table, a row a model, every figure with its interval over images."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from torch import nn

from offseg_viz.analyze.alignment import alignment
from offseg_viz.analyze.class_scatter import class_scatter
from offseg_viz.analyze.offset_measures import offset_measures
from offseg_viz.analyze.quality import image_miou
from offseg_viz.data.sample import SampleSet
from offseg_viz.errors import DataError, RecordError
from offseg_viz.extract.extract import extract_many
from offseg_viz.extract.store import RecordStore, open_store
from offseg_viz.extract.window_record import name_of
from offseg_viz.record import has_offsets

ALIGNMENT = ("centred_class_cosine", "ideal_angle", "centred_embedding_angle")
SCATTER = ("within_image", "across_images")
OFFSETS = ("feature_offset_relative", "class_offset_relative")


def alignment_report(
    models: Mapping[str, nn.Module | RecordStore] | Sequence[nn.Module],
    data: SampleSet | None = None,
    *,
    stores: str | Path | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """One row a model: how good it is, how well its features and class embeddings are aligned, and what it costs.

    The paper's hypothesis, that features and class embeddings are the worse aligned the smaller a model is
    (arXiv 2508.08811, section 3.1), is a question to the columns `ideal_angle_initial`,
    `centred_class_cosine_initial` and `across_images_initial` against `parameters`.

    Parameters
    ----------
    models : name to model, or to the `RecordStore` of one; or a list of models, which have their own names.
    data : samples with labels, the same for all models; not needed where all are stores.
    stores : folder in which the records of each model are kept, as ``NAME.zarr``; extraction goes on where it was.
        By default they are thrown away.
    progress : whether to show how far extraction is.

    Returns
    -------
    pandas.DataFrame
        Index `model` (names), columns `images`, `parameters` (number; NaN for a store, which does not know it), and of
        each figure ``NAME``, ``NAME_low`` and ``NAME_high``, its 95 % bootstrap interval over images:

        - `miou_initial`, `miou_aligned`, `miou_ideal`: pooled over images, on the grid of the features (`image_miou`);
        - ``NAME_initial`` and ``NAME_aligned`` of `centred_class_cosine`, `ideal_angle` (degrees) and
          `centred_embedding_angle` (degrees): see `alignment`;
        - ``NAME_initial`` and ``NAME_aligned`` of `within_image` and `across_images`, scatter within classes over
          scatter between them: see `class_scatter`;
        - `feature_offset_relative` and `class_offset_relative`, |dE| / |E| and |dW| / |W|: see `offset_measures`. NaN
          for a per-pixel model.

    Raises
    ------
    DataError
        If there is no data for a model.
    RecordError
        If no model is given, two have one name, stores are of different images, or records have no labels or are of
        mask classification.
    """
    if not isinstance(models, Mapping):
        named = {name_of(model): model for model in models}
        if len(named) < len(models):
            raise RecordError(f"several of the models are called {', '.join(named)}; name them: {{name: model, ...}}")
        models = named
    if not models:
        raise RecordError("found no model; needed at least one: {name: model or store}")
    with tempfile.TemporaryDirectory() as passing:
        rows, images = {}, None
        for name, model in models.items():
            store, parameters = model, float("nan")
            if not isinstance(model, RecordStore):
                if data is None:
                    raise DataError(f"{name} is a model, and there is no data to extract from; give labelled samples")
                path = Path(stores or passing) / f"{name}.zarr"
                extract_many(model, data, path, progress=progress)
                store, parameters = open_store(path), sum(p.numel() for p in model.parameters())
            images = images or (name, store.ids)
            if store.ids != images[1]:
                counts = f"{len(store)} records, those of {images[0]} {len(images[1])}"
                raise RecordError(f"the store of {name} is of other images: {counts}; compare models on the same ones")
            rows[name] = {"parameters": parameters} | _figures(store)
    return pd.DataFrame.from_records(list(rows.values()), index=pd.Index(rows, name="model"))


def _figures(store: RecordStore) -> dict[str, float]:
    """All figures of the records of one model, in the order of the columns."""
    tables = [image_miou(store), alignment(store, by="model"), class_scatter(store)]
    wanted = [(table, name) for table, names in zip(tables, (("miou",), ALIGNMENT, SCATTER)) for name in names]
    row = {"images": len(store)}
    offsets = has_offsets(store[0])
    if offsets:
        table = offset_measures(store)
        wanted += [(table, name) for name in OFFSETS]
    for table, name in wanted:
        group = table.columns[0]
        chosen = table[(table["quantity"] == name) & ((table[group] == "all") | (group == "model"))]
        for figure in chosen.itertuples():
            label = f"{name}_{figure.stage}" if figure.stage else name
            row |= {label: figure.value, f"{label}_low": figure.low, f"{label}_high": figure.high}
    if not offsets:
        row |= {f"{name}{end}": float("nan") for name in OFFSETS for end in ("", "_low", "_high")}
    return row
