"""Backbones trained on ImageNet, as their authors and mmsegmentation publish them."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from offseg_viz.errors import CheckpointError
from offseg_viz.models.official.checkpoint import given_state_dict, printable
from offseg_viz.models.official.identification import HEADS, OFFSEG_SIZES, identify_backbone
from offseg_viz.models.official.names import names_of
from offseg_viz.models.official.strict_loading import match
from offseg_viz.models.segmenter import Segmenter

UNUSED = {f"backbone.{name}.": "the classifier of ImageNet" for name in ("norm", "head", "dist_head", "fc_norm")}
"""Beginnings of names that belong to classification."""


def load_backbone_weights(model: Segmenter, weights: str | Path | Mapping[str, Tensor]) -> Segmenter:
    """Load an ImageNet checkpoint into the backbone of `model`, which is returned; the decode head stays as it is.

    Reads MiT, MSCAN and Swin in mmsegmentation's names and EfficientFormerV2 in its authors', plain or under
    ``state_dict`` or ``model``; of the checkpoint of a whole network the backbone is taken. Strict: every tensor is
    used or belongs to classification, and none is missing but those that classification does not have, which stay at
    their start as in the release: EfficientFormerV2's attention biases on the grids of segmentation, and the norms
    behind the stages of Swin. If loading fails the model is as it was; dtypes are cast to those of the model.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, or would execute code; if it is of another backbone or size, saying which; if
        tensors are missing, left over or of another shape, naming the first ten.
    """
    where, state_dict = given_state_dict(weights)
    start = "backbone."
    if any(name.startswith(start) for name in state_dict):  # a whole network
        state_dict = {name.removeprefix(start): state_dict[name] for name in state_dict if name.startswith(start)}
    look = identify_backbone(state_dict)
    if look is None:
        needed = "MiT, MSCAN or Swin-T in mmsegmentation's names, or EfficientFormerV2 in its authors'"
        first = ", ".join(printable(name) for name in list(state_dict)[:2])
        found = f"it looks like no known backbone (first names: {first})"
        raise CheckpointError(f"{where} is not loaded: {found}, needed {needed}")
    wanted = {name: tensor for name, tensor in model.state_dict().items() if name.startswith(start)}
    named = {start + name: tensor for name, tensor in state_dict.items()}
    rename = names_of(model.name)
    found = match(wanted, named, rename, UNUSED, _optional(named, rename))
    if problems := found.problems():
        raise CheckpointError(f"{where} is not loaded: {_advice(model, look)}{problems}")
    found.copy()
    return model


def _optional(named: Mapping[str, Tensor], rename) -> list[str]:
    """Our names of what segmentation adds to the backbones, for those modules that a checkpoint has."""
    modules = {name.rpartition(".")[0] for name in named}
    added = [f"{module}.attention_biases_seg" for module in modules]
    if any(name.endswith(".relative_position_bias_table") for name in named):  # Swin
        added += [f"backbone.norm{stage}.{kind}" for stage in range(4) for kind in ("weight", "bias")]
    return [ours for name in added for ours, _ in rename(name, next(iter(named.values())))]


def _advice(model: Segmenter, look: str) -> str:
    """Which network has the backbone that the checkpoint looks like."""
    family, _, size = look.rpartition("-")
    network = HEADS[family][0] + "-" + OFFSEG_SIZES.get(size, size)
    if model.name.removesuffix("-offset") == network:
        return f"it looks like {look}, but "
    return f"this looks like {look}, the backbone of {network}, not of {model.name}. "
