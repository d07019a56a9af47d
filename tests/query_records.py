"""Synthetic records of mask classification, all sizes different: y=5, x=7, cls=3, query=4, channel=11."""

import numpy as np
import xarray as xr

QUERIES = 4
CLASSES, COLORS = ("sky", "road", "tree"), ("#4477aa", "#bbbbbb", "#228833")


def build_query_record(sample="a", *, offsets=True, seed=0):
    """A valid record of queries, its logits the masks' of the aligned stage."""
    random = np.random.default_rng(seed)
    (y, x), k, c = (5, 7), len(CLASSES), 11
    feature, embedding = random.normal(size=(y, x, c)), random.normal(size=(QUERIES, c))
    moved_feature, moved_embedding = feature, embedding
    variables = {"feature": (("y", "x", "channel"), feature), "class_embedding": (("query", "channel"), embedding)}
    if offsets:
        feature_offset, class_offset = random.normal(size=(y, x, c)) / 5, random.normal(size=(QUERIES, c)) / 5
        moved_feature, moved_embedding = feature + feature_offset, embedding + class_offset
        variables["feature_offset"] = (("y", "x", "channel"), feature_offset)
        variables["class_offset"] = (("query", "channel"), class_offset)
    variables["logits"] = (("query", "y", "x"), np.einsum("qc,yxc->qyx", moved_embedding, moved_feature))
    powers = np.exp(random.normal(size=(QUERIES, k + 1)))
    variables["query_class"] = (("query", "cls"), (powers / powers.sum(axis=1, keepdims=True))[:, :k])
    variables = {name: (dims, values.astype(np.float32)) for name, (dims, values) in variables.items()}
    variables["label"] = (("y", "x"), random.integers(0, k, (y, x)).astype(np.uint8))
    variables["image"] = (("row", "col", "rgb"), random.integers(0, 256, (4 * y, 4 * x, 3)).astype(np.uint8))
    coords = {"y": 4 * np.arange(y) + 2.0, "x": 4 * np.arange(x) + 2.0, "cls": list(CLASSES)}
    attrs = {"schema_version": 1, "model": "mask2former", "checkpoint": "", "dataset": "synthetic", "sample": sample}
    attrs |= {"window": [0, 0, 4 * y, 4 * x], "stride": [4, 4], "library_version": "0.1.0", "seed": seed, "layer": 9}
    return xr.Dataset(variables, coords | {"color": ("cls", list(COLORS))}, attrs)
