"""Facts, reference vectors and photographs that may lie beside the checkout in ../shared."""

import json
import math
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

SHARED = Path(__file__).resolve().parents[2] / "shared"


def shared(path):
    """A file or folder of ../shared, or a skipped test."""
    found = SHARED / path
    if not found.exists():
        pytest.skip(f"../shared/{path} is not there: it is not part of the repository")
    return found


AS_CONSTRUCTED = ("attention_biases", "hamming_lowpass", "hamming_highpass", "init_pos")
"""Tensors that the rule leaves as the release's model makes them, beside all integer ones."""


def reference_tensor(name, shape):
    """A weight by the rule of the reference vectors (RULE.md section 1): random numbers seeded by the tensor's name."""
    last, decoder = name.rsplit(".", 1)[-1], "transformer_decoder.layers." in name
    z = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()))).standard_normal(shape, dtype=np.float32)
    if last == "running_mean":
        return np.float32(0.1) * z
    if last == "running_var":
        return 1 + np.float32(0.1) * np.abs(z)
    if last.startswith("layer_scale"):
        return np.float32(0.1) + np.float32(0.02) * z
    if last == "cls_repr":
        return np.float32(0.4) * _centred(z[0])[None]
    if last in ("attention_biases_seg", "relative_position_bias_table"):
        return np.float32(0.5) * z
    if name.endswith(("query_embed.weight", "query_feat.weight", "level_embed.weight", "level_encoding.weight")):
        return z
    if name.endswith("talking_head2.bias"):
        return np.float32(0.002) * z
    if z.ndim == 1 and last == "weight":
        return 1 + np.float32(0.1) * z
    if z.ndim == 1:
        return np.float32(0.02 if decoder else 0.1) * z
    fan = int(np.prod(shape[1:]))
    weight = (_centred(z) if fan >= 32 else z) / np.sqrt(np.float32(fan))
    if name.endswith((".out_proj.weight", ".w_msa.proj.weight")) or (decoder and name.endswith("ffn.layers.1.weight")):
        return np.float32(0.25) * weight
    return np.float32(2) * weight if name.endswith("cls_embed.weight") else weight


def _centred(z):
    rows = z.reshape(len(z), -1).astype(np.float64)
    for row in rows:
        row -= math.fsum(row.tolist()) / row.size
    return rows.astype(np.float32).reshape(z.shape)


def reference_input(height, width):
    """The input of the reference vectors, (1, 3, H, W)."""
    generator = np.random.Generator(np.random.PCG64(20250812))
    a, b, c = (generator.standard_normal((1, 3, height // k, width // k), dtype=np.float32) for k in (1, 8, 32))
    up = lambda x, k: np.repeat(np.repeat(x, k, axis=2), k, axis=3)  # noqa: E731
    return torch.from_numpy((np.float32(0.5) * a + up(b, 8)) + up(c, 32))


def reference_state_dict(variant):
    """The weights of a network of the release, filled by the rule, under the release's names.

    What the rule leaves as constructed (indices and constants, which hold nothing learned) is not in it.
    """
    tensors = json.loads(shared("reference/manifest.json").read_text())["variants"][variant]["state_dict"]
    return {
        name: torch.from_numpy(np.asarray(reference_tensor(name, tuple(shape)), dtype=np.float32))
        for name, shape, dtype, _ in tensors
        if dtype == "float32" and name.rsplit(".", 1)[-1] not in AS_CONSTRUCTED
    }
