"""Capture what passes through a model's modules, by ordinary forward hooks that live only inside a ``with``."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn


def _whole(tensor: Tensor) -> Tensor:
    return tensor


def empty(shape: Sequence[int], *, like: Tensor) -> Tensor:
    """Fresh contiguous memory of the dtype and on the device of `like`.

    On a CPU in float32 it is numpy's, which asks the system for large pages where torch does not: the first write to 16
    MB then takes a third of the time.
    """
    if like.device.type == "cpu" and like.dtype == torch.float32:
        return torch.from_numpy(np.empty(tuple(shape), dtype=np.float32))
    return torch.empty(tuple(shape), dtype=like.dtype, device=like.device)


class Point(NamedTuple):
    """Where a tensor passes, and what is kept of it: image 0 of the input of a head in its last call, say."""

    module: nn.Module
    side: Literal["input", "output"]
    view: Callable[[Tensor], Tensor] = _whole
    """Takes the part that is wanted, lays it out or computes with it; of its result a copy is made unless it is new."""
    index: int = 0
    """Which one, where a module takes or returns several."""
    call: int = -1
    """Which call of the module is kept, counted from 0; -1 for the last."""


@contextmanager
def capture(points: Mapping[str, Point]) -> Iterator[dict[str, Tensor]]:
    """Within the ``with``, a forward pass fills the yielded dict: a name, and the tensor at that point.

    Tensors are detached contiguous *copies*, made as they pass: a later in-place operation (a ReLU, say) would
    overwrite them. The hooks are gone afterwards, also when the forward pass raises. A point that the pass did not come
    by, or not as often as its `call` says, is missing from the dict.
    """
    captured: dict[str, Tensor] = {}
    handles = []
    try:
        for name, point in points.items():
            handles.append(_hook_into(point, name, captured))
        yield captured
    finally:
        for handle in handles:
            handle.remove()


def _hook_into(point: Point, name: str, captured: dict[str, Tensor]) -> torch.utils.hooks.RemovableHandle:
    calls = count()

    def keep(passing: tuple) -> None:
        if point.call in (next(calls), -1):
            captured.pop(name, None)  # the copy of an earlier call makes room first
            whole = passing[point.index].detach()
            part = point.view(whole)
            shared = part.untyped_storage().data_ptr() == whole.untyped_storage().data_ptr()
            captured[name] = empty(part.shape, like=part).copy_(part) if shared else part.contiguous()

    if point.side == "input":
        return point.module.register_forward_pre_hook(
            lambda _, args, kwargs: keep((*args, *kwargs.values())), with_kwargs=True
        )
    return point.module.register_forward_hook(lambda _, __, out: keep(out if isinstance(out, tuple) else (out,)))
