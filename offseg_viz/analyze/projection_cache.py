"""Projections kept by content: the same features, method and seed are not projected twice on one machine.

One file a projection, named after a digest of all that it depends on, so nothing in it can grow old. The folder may be
deleted at any time.
"""

import hashlib
import json
import os
import tempfile
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import xarray as xr

FEATURES = ("feature", "aligned_feature", "class_embedding", "aligned_class_embedding")
CONTENT = (*FEATURES, "sample", "image")
"""What of a pixel table its projection depends on; labels, names and colours of classes are taken from the table."""

_LIBRARIES = ("numpy", "scikit-learn", "numba", "pynndescent", "umap-learn")
_FIGURES = "figures"
_ARRAYS = {"places", "distortion", "class_places"}

Kept = tuple[dict[str, np.ndarray], dict]
"""Arrays by name, and figures as JSON knows them."""


def cache_file(cache: bool | str | Path, tables: tuple[xr.Dataset, ...], method: str, seed: int) -> Path | None:
    """Where the projection of these tables by this method is kept; None for ``cache=False``.

    Parameters
    ----------
    cache : True for the user's cache folder, False for none, or a folder.
    tables : the pixel table and, after it, the one that it is projected onto, if there is one.
    """
    if cache is False:
        return None
    digest = hashlib.sha256(f"{method} {seed} {_code_version()}".encode())
    for table in tables:
        for name in CONTENT:
            values = table[name].values
            values = np.ascontiguousarray(values if name in FEATURES else values.astype(str))
            digest.update(f"{name} {values.shape} {values.dtype}".encode())
            digest.update(values)
    return _folder(cache) / f"{digest.hexdigest()}.npz"


def read_kept(path: Path | None) -> Kept | None:
    """What `keep` wrote at `path`; None where there is nothing, or something damaged."""
    if path is None or not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}  # checks the sums of the file, too
        figures = json.loads(str(arrays.pop(_FIGURES)))
    except Exception:  # a damaged file fails in many ways, and every one of them means: make it anew
        return None
    return (arrays, figures) if set(arrays) == _ARRAYS and isinstance(figures, dict) else None


def keep(path: Path | None, kept: Kept) -> None:
    """Write a projection under a passing name and move it into place, so that nobody ever reads half a file."""
    if path is None:
        return
    arrays, figures = kept
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, passing = tempfile.mkstemp(suffix=".part", dir=path.parent)
    except OSError:
        return  # a cache that cannot be written only costs time
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **arrays, **{_FIGURES: np.array(json.dumps(figures))})
        os.chmod(passing, 0o644)
        os.replace(passing, path)
    except OSError:
        Path(passing).unlink(missing_ok=True)
    except BaseException:
        Path(passing).unlink(missing_ok=True)
        raise


def _folder(cache: bool | str | Path) -> Path:
    if cache is not True:
        return Path(cache)
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("offseg_viz")) / "projections"


@lru_cache(maxsize=1)
def _code_version() -> str:
    """Changes whenever a projection could come out otherwise: versions of the libraries, digest of our own code."""
    digest = hashlib.sha256(" ".join(f"{name} {version(name)}" for name in _LIBRARIES).encode())
    for name in ("neighbors", "projection", "projection_fit", "projection_quality", "projection_cache"):
        digest.update(Path(__file__).with_name(f"{name}.py").read_bytes())
    return digest.hexdigest()
