"""Whole networks against the authors' code: every variant and input size with vectors, by the bounds of RULE.md."""

import hashlib
import json
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pytest
import torch
from shared_data import SHARED, reference_input, reference_state_dict, shared
from torch import Tensor

from offseg_viz.models.official.loading import load_official_weights
from offseg_viz.models.offset_learning import OffsetLearning
from offseg_viz.models.segmenter import Segmenter
from offseg_viz.models.zoo import MODELS, load_model


def sizes_of(path):
    """Input sizes with vectors in a file, as prefixes of its names; sliding windows are another test's."""
    prefixes = {name.split("/")[0] for name in np.load(path).files}
    return sorted(prefix for prefix in prefixes if not prefix.startswith("slide"))


# Mask classification has other outputs and looser bounds, and a test file of its own.
FOUND = [path for path in sorted((SHARED / "reference").glob("*_*.npz")) if not path.name.startswith("mask2former")]
CASES = [(path.stem, size) for path in FOUND for size in sizes_of(path)] or [("segformer-b0_ade20k", "256x320")]
VARIANTS = sorted({variant for variant, _ in CASES})


class Run(NamedTuple):
    """One forward pass, and the vectors of its variant and input size."""

    model: Segmenter
    vectors: dict[str, np.ndarray]
    levels: list[Tensor]  # (1, C_i, H/s, W/s), of the backbone
    feature: Tensor  # (1, C, h, w), into the classifier
    logits: Tensor  # (1, K, h, w)


def sides(size):
    return tuple(int(side) for side in size.split("x"))


def vectors_of(variant, size):
    stored = np.load(shared(f"reference/{variant}.npz"))
    return {name.removeprefix(f"{size}/"): stored[name] for name in stored.files if name.startswith(f"{size}/")}


@lru_cache(maxsize=1)
def filled(variant):
    """Our network with the weights of the rule: names such as segnext-t-ol_ade20k are segnext-t-offset here."""
    state_dict = reference_state_dict(variant)
    name = variant.split("_")[0].replace("-ol", "-offset")
    assert name in MODELS
    return load_official_weights(load_model(name, num_classes=len(state_dict["decode_head.conv_seg.bias"])), state_dict)


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(case))
def run(request):
    variant, size = request.param
    vectors, model, seen = vectors_of(variant, size), filled(variant), []
    hooks = [
        model.backbone.register_forward_hook(lambda _, __, levels: seen.append(levels)),
        model.decode_head.classifier.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])),
    ]
    try:
        with torch.no_grad():
            logits = model(reference_input(*sides(size)))
    finally:
        for hook in hooks:
            hook.remove()
    return Run(model, vectors, *seen, logits)


def statistics(tensor):
    """Mean, population standard deviation, minimum, maximum."""
    tensor = tensor.double()
    return torch.stack([tensor.mean(), tensor.std(correction=0), tensor.min(), tensor.max()])


@pytest.mark.parametrize("variant", VARIANTS)
def test_weights_are_those_of_the_rule(variant):
    digest = hashlib.sha256()
    for name, tensor in sorted(reference_state_dict(variant).items()):
        digest.update(name.encode())
        digest.update(tensor.numpy().astype("<f4").tobytes())
    expected = json.loads(shared("reference/manifest.json").read_text())["variants"][variant]["filled_sha256"]
    assert digest.hexdigest() == expected


def test_logits_equal_the_release(run):
    logits, vectors = run.logits[0].flatten(1).T, run.vectors  # (P, K)
    difference = np.abs(logits.numpy()[vectors["pos"]] - vectors["logits"])
    assert difference.max() < 1e-4 and difference.mean() < 1e-5
    np.testing.assert_array_equal(run.logits[0].argmax(0), vectors["argmax"])
    np.testing.assert_allclose(statistics(logits), vectors["logits_stats"], atol=1e-4)
    np.testing.assert_allclose(logits.mean(0), vectors["logits_class_mean"], atol=1e-4)
    np.testing.assert_allclose(logits.std(0, correction=0), vectors["logits_class_std"], atol=1e-4)


def test_backbone_levels_equal_the_release(run):
    for i, level in enumerate(run.levels):
        np.testing.assert_allclose(level.flatten()[:64], run.vectors[f"stage{i}_first64"], atol=3e-5)
        np.testing.assert_allclose(statistics(level), run.vectors[f"stage{i}_stats"], atol=3e-5)


def test_every_intermediate_of_the_offset_head_equals_the_release(run):
    stored = {name: array for name, array in run.vectors.items() if name.startswith("ol_")}
    head = run.model.decode_head.classifier
    assert bool(stored) == isinstance(head, OffsetLearning)
    if not stored:
        return  # a plain network
    with torch.no_grad():
        inside = head.refinement(run.feature)
    pos, channels = stored.pop("ol_pos"), stored.pop("ol_ch")
    coupled = inside.coupled_attention[0]  # (K, P)
    ours = {
        "ol_E": run.feature[0].flatten(1).T[pos][:, channels],
        "ol_W": head.class_embedding[:, channels],
        "ol_coupled": coupled.T[pos],
        "ol_cls_attn_lse": coupled.logsumexp(dim=1),
        "ol_cls_offset": inside.class_offset[0][:, channels],
        "ol_aligned_cls": inside.aligned_class_embedding[0][:, channels],
        "ol_feat_offset": inside.feature_offset[0][pos][:, channels],
        "ol_aligned_feat": inside.aligned_feature[0][pos][:, channels],
        "ol_masks_pre_ln": inside.scores[0][pos],
        "ol_masks_post_ln": inside.logits[0].flatten(1).T[pos],
    }
    for name, expected in stored.items():
        bound = 5e-4 if name == "ol_masks_pre_ln" else 1e-4
        assert ours[name].shape == expected.shape
        assert np.abs(ours[name].detach().numpy() - expected).max() < bound, name
    # the two attentions, which are not stored, from what is
    class_attention = np.exp(stored["ol_coupled"].T - stored["ol_cls_attn_lse"][:, None])
    np.testing.assert_allclose(inside.class_attention[0][:, pos], class_attention, atol=5e-5)
    position_attention = torch.from_numpy(stored["ol_coupled"]).softmax(dim=1)
    np.testing.assert_allclose(inside.position_attention[0][pos], position_attention, atol=5e-5)
    # and the path that is taken when nobody looks inside
    torch.testing.assert_close(inside.logits, run.logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_float64_equals_the_release_closely(variant):
    size = min((size for name, size in CASES if name == variant), key=lambda size: np.prod(sides(size)))
    vectors, model, levels = vectors_of(variant, size), filled(variant).double(), []
    hook = model.backbone.register_forward_hook(lambda _, __, output: levels.extend(output))
    try:
        with torch.no_grad():
            logits = model(reference_input(*sides(size)).double())[0].flatten(1).T.numpy()
    finally:
        hook.remove()
        model.float()  # the same numbers as before: all of them are float32 values
    expected = vectors["logits_f64"]
    assert logits.dtype == np.float64 and np.abs(logits[vectors["pos"][: len(expected)]] - expected).max() < 1e-8
    for i, level in enumerate(levels):
        np.testing.assert_allclose(statistics(level), vectors[f"stage{i}_stats_f64"], atol=1e-8)
