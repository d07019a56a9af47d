"""The score of a pixel for a class as a sum of four terms, and what each does to the decision.

Multiplying out eq. (13) of arXiv 2508.08811 gives ``(W + dW)(E + dE)^T = W E^T + dW E^T + W dE^T + dW dE^T`` for every
pixel and class, exactly: what the pixel scores without offsets, what the class offsets add, what the feature offsets
add, and what they add together. The LayerNorm over classes of the released code is a fifth step: it adds nothing that
can be told apart by term, but its gain and bias can change which class wins.
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd
import xarray as xr

from offseg_viz.analyze.align import last_layer, scores, winning_class
from offseg_viz.analyze.bootstrap import bootstrap_interval, by_image
from offseg_viz.analyze.collection import over_records
from offseg_viz.analyze.measure_table import measure_rows
from offseg_viz.analyze.offsets import require_offsets
from offseg_viz.classes import IGNORE_INDEX
from offseg_viz.errors import UnknownNameError
from offseg_viz.metrics import ratio_or_nan
from offseg_viz.record import class_list, refuse_queries

SCORE_TERMS = ("E W", "E dW", "dE W", "dE dW")
"""The four terms of a score, feature first: they sum to the aligned score."""

MARGIN = "margin_of_scores"
FLIPS = (
    ("flips_by_class_offsets", ""),
    ("flips_by_feature_offsets", ""),
    ("flips_by_both", ""),
    ("flips_by_last_layer", "initial"),
    ("flips_by_last_layer", "aligned"),
)
"""Quantity and stage of the shares of pixels whose arg max changes."""

GROUPINGS = ("cls", "image")


def score_terms(record: xr.Dataset, *, cls: str | None = None) -> xr.DataArray:
    """The four terms of the scores of a record, dims (term, cls, y, x), without unit; before the LayerNorm.

    Their sum over `term` is ``scores(record, "aligned")`` up to rounding; the first is ``scores(record, "initial")``.
    Of mask classification the terms are those of the mask logits: dims (term, query, y, x).

    Parameters
    ----------
    record : xarray.Dataset
        A record of a model with offset learning.
    cls : str, optional
        One class alone, which is cheap: dims (term, y, x), a map for each term.

    Returns
    -------
    xarray.DataArray
        Along `term`: ``"E W"``, ``"E dW"``, ``"dE W"`` and ``"dE dW"``.

    Raises
    ------
    RecordError
        If the record is of a per-pixel model, which has no offsets; or one class is asked for where queries are scored.
    UnknownNameError
        If there is no such class.
    """
    require_offsets(record)
    if cls is not None:
        refuse_queries(record, "the scores of one class")
        record = record.isel(cls=[class_list(record).index(cls)])
    dim = record["class_embedding"].dims[0]
    height, width, channels = record["feature"].shape
    embeddings = [record[name].values for name in ("class_embedding", "class_offset")]
    features = [record[name].values.reshape(-1, channels).T for name in ("feature", "feature_offset")]
    terms = np.empty((4, record.sizes[dim], height * width), np.result_type(*embeddings, *features))
    for number, feature in enumerate(features):
        for more, embedding in enumerate(embeddings):
            np.matmul(embedding, feature, out=terms[2 * number + more])
    coords = {"term": list(SCORE_TERMS), **record["class_embedding"].coords, **record["feature"].coords}
    result = xr.DataArray(terms.reshape(4, -1, height, width), coords, ("term", dim, "y", "x"), "score_terms")
    return (result if cls is None else result.isel({dim: 0})).assign_attrs(long_name="terms of the aligned scores")


def last_layer_flips(record: xr.Dataset, stage: str = "aligned") -> xr.DataArray:
    """Where the last layer changes which class wins: arg max of logits against that of scores, bool, dims (y, x).

    The last layer is the LayerNorm over classes of the released code (absent from eq. 13), or the bias of a 1x1
    convolution. The LayerNorm alone keeps the order of the classes of a pixel; its gain and bias do not.

    Raises
    ------
    RecordError
        If the record is of mask classification, which has no such layer, or holds NaN.
    UnknownNameError
        If `stage` is neither ``"initial"`` nor ``"aligned"``.
    """
    refuse_queries(record, "the last layer over classes")
    values = scores(record, stage)
    before = winning_class(record, values)
    last_layer(record, values.values)
    flips = winning_class(record, values) != before
    return flips.rename("last_layer_flips").assign_attrs(stage=stage, long_name=f"flips by the last layer, {stage}")


def decomposition(records: Iterable[xr.Dataset], by: str = "cls") -> pd.DataFrame:
    """What each term of the score adds to the margin of the right class, and how often it changes the arg max.

    For a labelled pixel p of class k let r be its strongest rival, the class other than k of the largest aligned score.
    The term T (K x P) contributes ``T[k, p] - T[r, p]`` to the margin; the four contributions sum to the margin of the
    aligned scores, which is positive where the pixel is right by its scores. The rival is the same for all four terms,
    so ``E W`` is what the initial scores say about this pair of classes, not the margin over the initial rival.

    Parameters
    ----------
    records : iterable of xarray.Dataset
        Labelled records of one model with offset learning, read one at a time, once.
    by : {"cls", "image"}
        Rows for every class, by label, and for ``"all"`` labelled pixels; or for every image, without intervals.

    Returns
    -------
    pandas.DataFrame
        A measure table. Quantities, each a mean over the labelled pixels of the group, all images pooled:

        - ``"E W"``, ``"E dW"``, ``"dE W"``, ``"dE dW"``: contribution to the margin of scores, without unit;
        - ``"margin_of_scores"`` (stage ``aligned``): their sum. These five are NaN where there is only one class;
        - ``"flips_by_class_offsets"``: share of pixels whose arg max of ``W E^T + dW E^T`` differs from that of
          ``W E^T``; ``"flips_by_feature_offsets"`` with ``W E^T + W dE^T``, ``"flips_by_both"`` with all four terms;
        - ``"flips_by_last_layer"``, at both stages: share of pixels whose arg max of logits differs from that of scores
          (`last_layer_flips`).

        NaN where a group has no labelled pixel; no interval where a single image holds the group. `images` counts those
        with labelled pixels of the group.

    Raises
    ------
    RecordError
        If there is no record, one has no label, no offsets or holds NaN, or is of mask classification.
    UnknownNameError
        If `by` is another word.
    """
    if by not in GROUPINGS:
        raise UnknownNameError("grouping", by, GROUPINGS)
    names, sums, counts, classes = [], [], [], ()
    for name, (classes, total, count) in over_records(records, _contributions):
        names.append(name)
        sums.append(total)
        counts.append(count)
    names, sums, counts = by_image(names, np.stack(sums), np.stack(counts))  # (n, 9, K), (n, K)
    if by == "image":
        groups, images = names, counts.any(axis=1).astype(int)
        figures = (_means(sums, counts)[..., -1],)
    else:
        groups, images = [*classes, "all"], np.append((counts > 0).sum(axis=0), counts.any(axis=1).sum())
        figures = [each.T for each in bootstrap_interval(_means, sums, counts)]
    quantities = [*((term, "") for term in SCORE_TERMS), (MARGIN, "aligned"), *FLIPS]
    return pd.concat(
        [
            measure_rows(by, groups, quantity, [each[:, number] for each in figures], images, stage=stage)
            for number, (quantity, stage) in enumerate(quantities)
        ],
        ignore_index=True,
    )


def _contributions(record: xr.Dataset) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Class names; sums of four terms and five flips over the labelled pixels of every class (9, K); their number."""
    terms = score_terms(record)
    classes, each = terms.sizes["cls"], terms.values  # (4, K, y, x)
    label = record["label"].values.ravel()
    counted = np.flatnonzero(label != IGNORE_INDEX)
    own = label[counted]
    total = each.sum(axis=0)

    def winner(values: np.ndarray) -> np.ndarray:
        return winning_class(record, terms[0].copy(data=values)).values.ravel()[counted]

    initial, aligned = winner(each[0]), winner(total)
    changed = [(initial, winner(each[0] + each[1])), (initial, winner(each[0] + each[2])), (initial, aligned)]
    changed += [
        (initial, winner(last_layer(record, each[0].copy()))),
        (aligned, winner(last_layer(record, total.copy()))),
    ]
    flat = each.reshape(4, classes, -1)
    if classes > 1:
        total = total.reshape(classes, -1)
        total[label[counted], counted] = -np.inf
        rival = total.argmax(axis=0)[counted]
        shares = [term[own, counted] - term[rival, counted] for term in flat]
    else:
        shares = [np.full(counted.size, np.nan)] * 4
    weights = [*shares, *(before != after for before, after in changed)]
    sums = np.stack([np.bincount(own, weights=one, minlength=classes) for one in weights])
    return record["cls"].values.astype(str).tolist(), sums, np.bincount(own, minlength=classes)


def _means(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Sums (draws, 9, K) and counts (draws, K) to means (draws, 10, K + 1), all classes together at the end."""
    sums = np.concatenate([sums, sums.sum(axis=2, keepdims=True)], axis=2)
    counts = np.concatenate([counts, counts.sum(axis=1, keepdims=True)], axis=1)[:, None]
    means = ratio_or_nan(sums, np.broadcast_to(counts, sums.shape))
    return np.concatenate([means[:, :4], means[:, :4].sum(axis=1, keepdims=True), means[:, 4:]], axis=1)
