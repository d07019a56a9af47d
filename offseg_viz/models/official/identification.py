"""Which network a state dict of the release is of, told from the names and shapes of its tensors."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from offseg_viz.models.backbones import efficientformer_v2, mit, mscan

BACKBONES = {
    **{f"mit-{size}": sizes for size, sizes in mit.SIZES.items()},
    **{f"mscan-{size}": sizes for size, sizes in mscan.SIZES.items()},
    **{f"efficientformerv2-{name}": size[:2] for name, size in efficientformer_v2.SIZES.items()},
    "swin-t": ((96, 192, 384, 768), (2, 2, 6, 2)),
}
"""Widths and depths of the four stages of every backbone of the release."""

BLOCKS = {
    "mit": r"layers\.(\d)\.1\.(\d+)\.norm1\.weight",
    "mscan": r"block(\d)\.(\d+)\.norm1\.weight",
    "efficientformerv2": r"network\.([0246])\.(\d+)\.layer_scale_2",
    "swin": r"stages\.(\d)\.blocks\.(\d+)\.norm1\.weight",
}
"""A tensor that every block of a family has once, as long as its stage is wide: groups are stage and block."""

HEADS = {
    "mit": ("segformer", r"fusion_conv\.conv\.weight"),
    "mscan": ("segnext", r"hamburger\.ham_in\.conv\.weight"),
    "efficientformerv2": ("offseg", r"freqfusions\.\d\.content_encoder\.weight"),
    "swin": ("mask2former-swin", r"mask_embed\.0\.weight"),
}
"""The network that a backbone is part of, and a tensor of its decode head."""

OFFSEG_SIZES = {"s1": "t", "s2": "b", "l": "l"}
"""OffSeg is named otherwise than its backbone."""


class Identity(NamedTuple):
    """Name of a network in the zoo and its number of classes; None where it is not one of them."""

    name: str | None
    num_classes: int | None


def identify(state_dict: Mapping[str, Tensor]) -> Identity:
    """The network that a state dict in the release's names belongs to.

    Told by the widths and depths of the four stages, the kind of decode head and its channels, and whether there is
    offset learning; only names and shapes are looked at. Sizes that no released network has give the name None.
    """
    backbone = identify_backbone({key.removeprefix("backbone."): value for key, value in state_dict.items()
                                  if key.startswith("backbone.")})  # fmt: skip
    head = {key.removeprefix("decode_head."): tuple(value.shape) for key, value in state_dict.items()
            if key.startswith("decode_head.")}  # fmt: skip
    num_classes, channels, offset = _classifier(head)
    if backbone is None:
        return Identity(None, num_classes)
    family, _, size = backbone.rpartition("-")
    network, pattern = HEADS[family]
    expected = 512 if backbone == "mscan-b" else 256
    if num_classes is None or channels != expected or not any(re.fullmatch(pattern, key) for key in head):
        return Identity(None, num_classes)
    if family == "efficientformerv2":  # exists with offset learning only, which is not in its name
        return Identity(f"offseg-{OFFSEG_SIZES[size]}" if offset else None, num_classes)
    return Identity(f"{network}-{size}" + ("-offset" if offset else ""), num_classes)


def identify_backbone(state_dict: Mapping[str, Tensor]) -> str | None:
    """The backbone that a state dict in the release's names without ``backbone.`` is of, such as ``"mit-b2"``."""
    for family, pattern in BLOCKS.items():
        widths: dict[int, set[int]] = {}
        depths: dict[int, int] = {}
        for key, tensor in state_dict.items():
            if found := re.fullmatch(pattern, key):
                stage = int(found[1])
                widths.setdefault(stage, set()).add(tensor.shape[0] if tensor.ndim else 0)
                depths[stage] = depths.get(stage, 0) + 1
        if all(len(width) == 1 for width in widths.values()):
            sizes = (tuple(widths[s].pop() for s in sorted(widths)), tuple(depths[s] for s in sorted(depths)))
            matches = [name for name, known in BACKBONES.items() if name.startswith(family) and known == sizes]
            if matches:
                return matches[0]
    return None


def _classifier(head: Mapping[str, tuple[int, ...]]) -> tuple[int | None, int | None, bool]:
    """Number of classes, channels in front of the classifier, and whether it learns offsets."""
    offset = "offset_learning.cls_offset_proj.weight" in head
    embedding = head.get("offset_learning.cls_repr")
    if embedding is not None and len(embedding) == 3:
        return embedding[1], embedding[2], offset
    for key, extra in (("cls_embed.weight", 1), ("conv_seg.weight", 0)):  # one more row for "no object"
        if len(head.get(key, ())) >= 2:
            return head[key][0] - extra, head[key][1], offset
    return None, None, offset
