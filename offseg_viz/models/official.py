"""The authors' checkpoints: their parameter names in ours, loaded strictly and without executing anything."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from offseg_viz.errors import CheckpointError
from offseg_viz.models.official_names import our_names
from offseg_viz.models.official_names_mask2former import mask2former_names
from offseg_viz.models.segmenter import Segmenter


UNUSED = (
    *("num_batches_tracked", "attention_biases", "attention_bias_idxs", "attention_bias_idxs_seg"),
    *("hamming_lowpass", "hamming_highpass", "init_pos", "relative_position_index"),
)
"""Ends of names that hold nothing learned: counters, left-overs of classification, constants and indices."""


def load_official_weights(model: Segmenter, weights: str | Path | Mapping[str, Tensor]) -> Segmenter:
    """Load a checkpoint of the OffSeg release (state dict or path) into `model`, which is returned.

    Every tensor is used or known to be unused (`decode_head.conv_seg` beside offset learning), and nothing is missing.
    So far for SegFormer; a path is read with ``weights_only=True``.

    Raises
    ------
    CheckpointError
        Naming tensors that are missing, left over or of another shape.
    """
    if not isinstance(weights, Mapping):
        try:
            weights = torch.load(weights, map_location="cpu", weights_only=True)
        except Exception as cause:  # many kinds of error, one meaning
            raise CheckpointError(f"{weights} cannot be read as plain tensors; it is not loaded ({cause})") from cause
        weights = weights.get("state_dict", weights)
    wanted = {name: tensor for name, tensor in model.state_dict().items() if not name.endswith("num_batches_tracked")}
    names = mask2former_names if model.name.startswith("mask2former") else our_names  # some names mean two things
    renamed = {}
    for name, tensor in weights.items():
        for ours, part in names(name, tensor):
            if ours not in wanted and (name.startswith("decode_head.conv_seg.") or name.endswith(UNUSED)):
                continue  # kept unused in the release where offset learning took its place
            renamed[ours] = (
                part.reshape(wanted[ours].shape) if ours in wanted and part.numel() == wanted[ours].numel() else part
            )
    missing, unused = sorted(wanted.keys() - renamed.keys()), sorted(renamed.keys() - wanted.keys())
    if missing or unused:
        text = f"{len(missing)} missing {missing[:3]}, {len(unused)} not used {unused[:3]}"
        raise CheckpointError(f"these weights are not those of {model.name}: {text}")
    wrong = [name for name in wanted if renamed[name].shape != wanted[name].shape]
    if wrong:
        found = f"{tuple(renamed[wrong[0]].shape)}, needed {tuple(wanted[wrong[0]].shape)}"
        raise CheckpointError(f"{len(wrong)} tensors have another shape, such as {wrong[0]} {found}; check num_classes")
    model.load_state_dict(renamed, strict=False)
    return model
