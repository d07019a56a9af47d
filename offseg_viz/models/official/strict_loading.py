"""Tensors under the release's names into a module of ours: everything checked before anything is copied."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from offseg_viz.models.official.checkpoint import printable

NOT_LEARNED = (
    *("num_batches_tracked", "attention_biases", "attention_bias_idxs", "attention_bias_idxs_seg", "attn_mask"),
    *("hamming_lowpass", "hamming_highpass", "init_pos", "relative_position_index"),
)
"""Last parts of names that hold nothing learned: counters, left-overs of classification, constants and indices."""

FIRST = 10  # names that a message lists


@dataclass
class Match:
    """The tensors of a state dict beside those that a module wants.

    `pairs` are (target, source); the lists name what does not fit, in our names where it is `missing`, in the file's
    elsewhere; `ignored` counts by reason what is known to be unused.
    """

    pairs: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    misfits: list[str] = field(default_factory=list)
    ignored: Counter = field(default_factory=Counter)

    def problems(self) -> str:
        """What does not fit, or an empty text: counts, and the first ten names of each kind grouped by module."""
        names = by_module(self.missing), by_module(self.unexpected), ", ".join(map(printable, self.misfits[:FIRST]))
        return "; ".join(f"{count}: {text}" for count, text in zip(self._counts(), names, strict=True) if text)

    def summary(self) -> str:
        """The counts of `problems` without the names."""
        kinds = self.missing, self.unexpected, self.misfits
        return ", ".join(count for count, kind in zip(self._counts(), kinds, strict=True) if kind)

    def _counts(self) -> tuple[str, str, str]:
        misfits = f"{len(self.misfits)} of another shape or kind, or not finite"
        return f"{len(self.missing)} missing", f"{len(self.unexpected)} not used", misfits

    @torch.no_grad()
    def copy(self) -> None:
        """Copy every source into its target, which keeps its dtype and device."""
        for target, source in self.pairs:
            target.copy_(source)


def match(
    wanted: Mapping[str, Tensor],
    state_dict: Mapping[str, Tensor],
    our_names: Callable[[str, Tensor], list[tuple[str, Tensor]]],
    unused: Mapping[str, str],
    optional: Iterable[str] = (),
) -> Match:
    """Pair the tensors of `state_dict` with those that are `wanted`, without changing either.

    Parameters
    ----------
    wanted : our tensors by name; whole numbers and `NOT_LEARNED` among them are left alone, the module made them.
    state_dict : tensors by name, in the release's names.
    our_names : gives our name(s) for one of them, and the tensor in our order.
    unused : beginnings of their names that are known to be unused wherever we have no place for them, with the reason.
    optional : our names that may be missing.
    """
    wanted = {name: tensor for name, tensor in wanted.items() if tensor.is_floating_point() and _learned(name)}
    result, seen = Match(), set()
    for name, tensor in state_dict.items():
        if not _learned(name):
            result.ignored["constants and counters"] += 1
            continue
        reason = next((reason for start, reason in unused.items() if name.startswith(start)), None)
        try:
            ours = our_names(name, tensor)
        except (RuntimeError, ValueError, IndexError):  # a packed tensor that cannot be taken apart
            if reason is None:
                result.misfits.append(f"{name} {_shape(tensor)}")
            continue
        if reason is not None and not any(part in wanted for part, _ in ours):
            result.ignored[reason] += 1
            continue
        for part, source in ours:
            if part not in wanted or part in seen:
                result.unexpected.append(name)
                continue
            seen.add(part)
            target = wanted[part]
            if not _numbers(source) or _essential(source) != _essential(target):
                kind = "" if _numbers(source) else f" {source.dtype}"
                result.misfits.append(f"{name} {_shape(source)}{kind}, needed {_shape(target)}")
            elif not source.isfinite().all():
                result.misfits.append(f"{name} holds NaN or infinite numbers")
            else:
                result.pairs.append((target, source.reshape(target.shape)))
    result.missing = sorted(wanted.keys() - seen - set(optional))
    return result


def by_module(names: list[str]) -> str:
    """The first ten names, those of one module together with its count, and how many more there are."""
    groups: dict[str, list[str]] = {}
    for name in names[:FIRST]:
        module, _, last = name.rpartition(".")
        groups.setdefault(module, []).append(last)
    totals = Counter(name.rpartition(".")[0] for name in names)
    parts = []
    for module, lasts in groups.items():
        start = f"{module}." if module else ""
        many = totals[module] > 1
        parts.append(f"{start}{{{', '.join(lasts)}}} ({totals[module]})" if many else f"{start}{lasts[0]}")
    if len(names) > FIRST:
        further = len(totals.keys() - groups.keys())
        parts.append(f"and {len(names) - FIRST} more" + (f", in {further} further modules" if further else ""))
    return ", ".join(map(printable, parts))


def _learned(name: str) -> bool:
    return name.rpartition(".")[2] not in NOT_LEARNED


def _numbers(tensor: Tensor) -> bool:
    """Whether a tensor holds real numbers that can be copied: no integers, not sparse, quantised or without data."""
    return tensor.is_floating_point() and tensor.layout is torch.strided and not tensor.is_meta


def _essential(tensor: Tensor) -> tuple[int, ...]:
    """Shape without axes of length one: (1, K, C) is (K, C), and a 1x1 convolution is a matrix."""
    return tuple(side for side in tensor.shape if side != 1)


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"
