"""Capture what passes through a model's modules, by ordinary forward hooks that live only inside a ``with``."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

from torch import Tensor, nn

Point = tuple[nn.Module, Literal["input", "output"]]


@contextmanager
def capture(points: Mapping[str, Point]) -> Iterator[dict[str, Tensor]]:
    """Within the ``with``, a forward pass fills the yielded dict: a name, and the tensor at that point.

    Tensors are detached *copies*, made as they pass: a later in-place operation (a ReLU, say) would overwrite them.
    The hooks are gone afterwards, also when the forward pass raises. A module that is called more than once leaves its
    last call.
    """
    captured: dict[str, Tensor] = {}
    handles = []

    def hook_into(name: str, module: nn.Module, side: str) -> None:
        if side == "input":
            handles.append(
                module.register_forward_pre_hook(lambda _, args: captured.update({name: args[0].detach().clone()}))
            )
        else:
            handles.append(
                module.register_forward_hook(lambda _, __, out: captured.update({name: out.detach().clone()}))
            )

    try:
        for name, (module, side) in points.items():
            hook_into(name, module, side)
        yield captured
    finally:
        for handle in handles:
            handle.remove()
