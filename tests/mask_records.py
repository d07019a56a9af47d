"""Records of mask classification made from those of per-pixel classification: 4 queries in place of 3 classes."""

import numpy as np
import xarray as xr
from conftest import build_record

from offseg_viz.record import validate_record


def of_queries(record, *, queries=4, seed=0):
    """`record` with its grid, features, label and image, and embeddings of queries in place of those of classes."""
    rng = np.random.default_rng(seed)
    embeddings = ("class_embedding", "class_offset") if "class_offset" in record else ("class_embedding",)
    kept = record.drop_vars([*embeddings, "logits", "logit_bias", "logit_gain"], errors="ignore")
    shape = queries, record.sizes["channel"]
    variables = {name: (("query", "channel"), rng.normal(size=shape).astype(np.float32)) for name in embeddings}
    found = rng.dirichlet(np.ones(record.sizes["cls"] + 1), queries)[:, :-1]
    offset = record["feature_offset"].values if "feature_offset" in record else 0
    embedding = sum(values for _, values in variables.values())
    logits = np.einsum("qc,yxc->qyx", embedding, record["feature"].values + offset)
    variables["query_class"] = (("query", "cls"), found.astype(np.float32))
    variables["logits"] = (("query", "y", "x"), logits.astype(np.float32))
    attrs = {name: value for name, value in record.attrs.items() if name != "logit_norm_eps"}
    return validate_record(xr.Dataset(dict(kept.data_vars) | variables, kept.coords, attrs))


def build_query_record(sample="a", *, offsets=True, seed=0):
    """A record as `build_record` makes it, of queries."""
    return of_queries(build_record(sample, offsets=offsets, seed=seed), seed=seed)
