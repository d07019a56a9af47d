"""Memory that a forward pass frees stays with the process, ready for the next one."""

import ctypes
import os
from functools import cache

KEPT = 256 * 2**20
"""Bytes of free memory that the process may keep."""

LARGEST = 32 * 2**20
"""Bytes of the largest block that is taken from memory kept: glibc allows no more."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h


@cache
def keep_freed_memory() -> bool:
    """Have the C library keep up to 256 MiB of freed memory instead of giving it back; return whether it does.

    A pass over a small network on a CPU frees and takes tens of megabytes, and whatever was given back to the system
    comes page by page and cleared to zeros, which takes a quarter of the time of the pass (``benchmarks/memory.py``).
    Numbers do not change. It is a setting of the whole process, made once, by `load_model` and extraction; of glibc
    (mallopt(3)) alone, elsewhere nothing happens. Who sets ``MALLOC_TRIM_THRESHOLD_``, ``MALLOC_MMAP_THRESHOLD_`` or
    malloc's ``GLIBC_TUNABLES`` in the environment has decided already, and it is left at that.
    """
    if _decided():
        return False
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # no glibc: macOS, musl; Windows has no such library
        return False
    return bool(set_option(_MMAP_THRESHOLD, LARGEST) and set_option(_TRIM_THRESHOLD, KEPT))


def _decided() -> bool:
    """Whether the environment says how memory is kept."""
    return (
        "MALLOC_TRIM_THRESHOLD_" in os.environ
        or "MALLOC_MMAP_THRESHOLD_" in os.environ
        or "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", "")
    )
