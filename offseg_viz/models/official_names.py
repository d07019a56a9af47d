"""The authors' parameter names (mmsegmentation's and mmdetection's) in ours."""

import re

from torch import Tensor

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


def our_names(name: str, tensor: Tensor) -> list[tuple[str, Tensor]]:
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
