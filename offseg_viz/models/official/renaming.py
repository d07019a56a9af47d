"""What the tables of names share: one of their names by a table, and a packed projection taken apart."""

import re
from collections.abc import Callable

from torch import Tensor

Renames = tuple[tuple[str, str | Callable[[re.Match], str]], ...]
"""Patterns and replacements, applied one after the other."""


def renamed(name: str, renames: Renames) -> str:
    """`name` after all replacements."""
    for pattern, replacement in renames:
        name = re.sub(pattern, replacement, name)
    return name


def unpacked(prefix: str, kind: str, tensor: Tensor) -> list[tuple[str, Tensor]]:
    """A packed query-key-value projection as three, named ``{prefix}.q_proj.{kind}`` and so on."""
    names = (f"{prefix}.{letter}_proj.{kind}" for letter in "qkv")
    return list(zip(names, tensor.chunk(3), strict=True))
