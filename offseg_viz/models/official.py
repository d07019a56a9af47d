"""The authors' checkpoints: their parameter names in ours, loaded strictly and without executing anything."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from offseg_viz.errors import CheckpointError
from offseg_viz.models.segmenter import Segmenter

RENAMES = (
    # MiT: mmsegmentation keeps (patch embedding, blocks, norm) as layers.i.0, .1, .2; transformers as stages.i
    (r"^backbone\.layers\.(\d)\.0\.projection\.", r"backbone.stages.\1.patch_embeddings.proj."),
    (r"^backbone\.layers\.(\d)\.0\.norm\.", r"backbone.stages.\1.patch_embeddings.layer_norm."),
    (r"^backbone\.layers\.(\d)\.2\.", r"backbone.stages.\1.layer_norm."),
    (r"^backbone\.layers\.(\d)\.1\.(\d+)\.", r"backbone.stages.\1.blocks.\2."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.attn\.attn\.out_proj\.", ".attention.o_proj."),
    (r"\.attn\.sr\.", ".attention.sequence_reduction.sequence_reduction."),
    (r"\.attn\.norm\.", ".attention.sequence_reduction.layer_norm."),
    (r"\.ffn\.layers\.0\.", ".mlp.fc1."),
    (r"\.ffn\.layers\.1\.", ".mlp.dwconv.dwconv."),
    (r"\.ffn\.layers\.4\.", ".mlp.fc2."),
    # all-MLP decode head and the two classifiers
    (r"^decode_head\.(convs\.\d|fusion_conv)\.bn\.", r"decode_head.\1.norm."),
    (r"^decode_head\.offset_learning\.cls_repr$", "decode_head.classifier.class_embedding"),
    (r"^decode_head\.offset_learning\.cls_offset_proj\.", "decode_head.classifier.class_offset_proj."),
    (r"^decode_head\.offset_learning\.feat_offset_proj\.", "decode_head.classifier.feature_offset_proj."),
    (r"^decode_head\.offset_learning\.mask_norm\.", "decode_head.classifier.norm."),
    (r"^decode_head\.conv_seg\.", "decode_head.classifier.classifier."),
)


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
    wanted = model.state_dict()
    renamed = {}
    for name, tensor in weights.items():
        for ours, part in _rename(name, tensor):
            if ours not in wanted and name.startswith("decode_head.conv_seg."):
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
    model.load_state_dict(renamed)
    return model


def _rename(name: str, tensor: Tensor) -> list[tuple[str, Tensor]]:
    """Our name(s) of one of their tensors: the packed query-key-value projection becomes three."""
    ours = name
    for pattern, replacement in RENAMES:
        ours = re.sub(pattern, replacement, ours)
    packed = re.match(r"(.*)\.attn\.attn\.in_proj_(weight|bias)$", ours)
    if packed:
        prefix, kind = packed.groups()
        names = (f"{prefix}.attention.{letter}_proj.{kind}" for letter in "qkv")
        return list(zip(names, tensor.chunk(3), strict=True))
    return [(ours, tensor)]
