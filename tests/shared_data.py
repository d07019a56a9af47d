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


def reference_tensor(name, shape):
    """A weight by the rule of the reference vectors: random numbers seeded by the tensor's name."""
    last = name.rsplit(".", 1)[-1]
    z = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()))).standard_normal(shape, dtype=np.float32)
    if last == "running_mean":
        return np.float32(0.1) * z
    if last == "running_var":
        return 1 + np.float32(0.1) * np.abs(z)
    if last == "cls_repr":
        return np.float32(0.4) * _centred(z[0])[None]
    if z.ndim == 1:
        return 1 + np.float32(0.1) * z if last == "weight" else np.float32(0.1) * z
    fan = int(np.prod(shape[1:]))
    weight = (_centred(z) if fan >= 32 else z) / np.sqrt(np.float32(fan))
    return np.float32(0.25) * weight if name.endswith(".out_proj.weight") else weight


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
    """All weights of a network of the release, filled by the rule, under the release's names."""
    tensors = json.loads(shared("reference/manifest.json").read_text())["variants"][variant]["state_dict"]
    return {
        name: torch.zeros(shape, dtype=torch.long)
        if dtype.startswith("int")
        else torch.from_numpy(np.asarray(reference_tensor(name, tuple(shape)), dtype=np.float32))
        for name, shape, dtype, _ in tensors
    }
