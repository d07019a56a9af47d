"""Synthetic records, all sizes different (y=5, x=7, cls=3, channel=11), so that a wrong transpose cannot pass."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from lab_fixtures import lab_address, lab_folder, open_notebook, playwright, window  # noqa: F401

CLASSES = ("sky", "road", "tree")
COLORS = ("#4477aa", "#bbbbbb", "#228833")
SIZES = {"y": 5, "x": 7, "cls": 3, "channel": 11}
STRIDE = 4


def offset_learning(feature, class_embedding, project_class, project_feature):
    """dW and dE by eqs. (4) to (11) for E (P, C), W (K, C) and two (C, C) projections without bias."""
    attention = class_embedding @ feature.T
    powers = np.exp(attention - attention.max())
    over_positions = powers / powers.sum(axis=1, keepdims=True)
    over_classes = (powers / powers.sum(axis=0, keepdims=True)).T
    return over_positions @ feature @ project_class.T, over_classes @ class_embedding @ project_feature.T


def build_record(sample="a", *, offsets=True, seed=0, label=None, model_seed=100, size=(SIZES["y"], SIZES["x"])):
    """A valid record as one forward pass would give it; records of one `model_seed` share W and all other weights."""
    weights, image = np.random.default_rng(model_seed), np.random.default_rng(seed)
    (y, x), k, c = size, SIZES["cls"], SIZES["channel"]
    embedding = weights.normal(size=(k, c))
    projections = weights.normal(size=(2, c, c)) / 3
    gain, bias = weights.uniform(0.5, 2, k), weights.normal(size=k)
    feature = image.normal(size=(y * x, c)) + image.normal(size=c)
    if label is None:
        label = image.integers(0, k, (y, x))
        label[1, 2:4] = 255
    if offsets:
        class_offset, feature_offset = offset_learning(feature, embedding, *projections)
        aligned = (embedding + class_offset) @ (feature + feature_offset).T
        logits = (aligned - aligned.mean(axis=0)) / np.sqrt(aligned.var(axis=0) + 1e-5) * gain[:, None] + bias[:, None]
        extra = {
            "feature_offset": (("y", "x", "channel"), feature_offset.reshape(y, x, c)),
            "class_offset": (("cls", "channel"), class_offset),
            "logit_gain": ("cls", gain),
        }
    else:
        logits = embedding @ feature.T + bias[:, None]
        extra = {}
    variables = {
        "feature": (("y", "x", "channel"), feature.reshape(y, x, c)),
        "class_embedding": (("cls", "channel"), embedding),
        "logits": (("cls", "y", "x"), logits.reshape(k, y, x)),
        "logit_bias": ("cls", bias),
    }
    variables = {name: (dims, values.astype(np.float32)) for name, (dims, values) in (variables | extra).items()}
    variables["label"] = (("y", "x"), np.asarray(label).astype(np.uint8))
    variables["image"] = (("row", "col", "rgb"), image.integers(0, 256, (STRIDE * y, STRIDE * x, 3)).astype(np.uint8))
    attrs = {
        "schema_version": 1,
        "model": "nano-offset" if offsets else "nano",
        "checkpoint": "",
        "dataset": "synthetic",
        "sample": sample,
        "window": [0, 0, STRIDE * y, STRIDE * x],
        "stride": STRIDE,
        "library_version": "0.1.0",
        "seed": seed,
    }
    return xr.Dataset(
        variables,
        coords={
            "cls": list(CLASSES),
            "color": ("cls", list(COLORS)),
            "y": (np.arange(y) + 0.5) * STRIDE,
            "x": (np.arange(x) + 0.5) * STRIDE,
        },
        attrs=attrs | ({"logit_norm_eps": 1e-5} if offsets else {}),
    )


@pytest.fixture(autouse=True)
def own_projections(tmp_path, monkeypatch):
    """Projections are kept in the test's folder and not in the user's."""
    from offseg_viz.analyze import projection_cache

    own = tmp_path / "offseg_viz" / "projections"
    monkeypatch.setattr(projection_cache, "_folder", lambda cache: own if cache is True else Path(cache))


@pytest.fixture
def make_record():
    """The builder itself, for a test that needs records of its own."""
    return build_record


@pytest.fixture
def offset_record():
    """One record of a model with offset learning, with label and image."""
    return build_record()


@pytest.fixture
def per_pixel_record():
    """One record of a per-pixel model: no offsets, no LayerNorm."""
    return build_record(offsets=False)


@pytest.fixture
def records():
    """Three records of one model with offset learning: samples a, b, c; the class `tree` does not occur in c."""
    no_tree = np.arange(SIZES["y"] * SIZES["x"]).reshape(SIZES["y"], SIZES["x"]) % 2
    return [build_record("a", seed=1), build_record("b", seed=2), build_record("c", seed=3, label=no_tree)]


@pytest.fixture
def per_pixel_records():
    """Three records of one per-pixel model."""
    return [build_record(sample, seed=seed, offsets=False) for seed, sample in enumerate("abc", start=1)]
