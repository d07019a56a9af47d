"""The authors' parameter names of Mask2Former with Swin-T (mmsegmentation's and mmdetection's) in ours.

Three tensors change more than their name:

- packed query-key-value projections become three;
- the norm and the reduction of patch merging (arXiv 2103.14030, section 3.1) see the four neighbours of every channel
  side by side in mmsegmentation, channel by channel and row by row; in transformers, neighbour by neighbour and column
  by column.
"""

import re

from torch import Tensor

from offseg_viz.models.official.renaming import Renames, renamed, unpacked

RENAMES: Renames = (
    # Swin: to the names of transformers
    (r"^backbone\.patch_embed\.projection\.", "backbone.embeddings.patch_embeddings.projection."),
    (r"^backbone\.patch_embed\.norm\.", "backbone.embeddings.norm."),
    (r"^backbone\.norm(\d)\.", r"backbone.norms.\1."),
    (r"^(backbone\..*)\.norm1\.", r"\1.layernorm_before."),
    (r"^(backbone\..*)\.norm2\.", r"\1.layernorm_after."),
    (r"\.attn\.w_msa\.relative_position_bias_table$", ".attention.relative_position_bias.relative_position_bias_table"),
    (r"\.attn\.w_msa\.qkv\.", ".attention.packed."),
    (r"\.attn\.w_msa\.proj\.", ".attention.o_proj."),
    (r"^(backbone\..*)\.ffn\.layers\.0\.0\.", r"\1.mlp.fc1."),
    (r"^(backbone\..*)\.ffn\.layers\.1\.", r"\1.mlp.fc2."),
    # pixel decoder
    (r"\.input_convs\.(\d)\.conv\.", r".input_projections.\1.0."),
    (r"\.input_convs\.(\d)\.gn\.", r".input_projections.\1.1."),
    (r"\.lateral_convs\.0\.conv\.", ".adapter_1.0."),
    (r"\.lateral_convs\.0\.gn\.", ".adapter_1.1."),
    (r"\.output_convs\.0\.conv\.", ".layer_1.0."),
    (r"\.output_convs\.0\.gn\.", ".layer_1.1."),
    (r"\.mask_feature\.", ".mask_projection."),
    (r"\.level_encoding\.weight$", ".level_embed"),
    (r"\.encoder\.layers\.(\d)\.norms\.0\.", r".encoder.layers.\1.self_attn_layer_norm."),
    (r"\.encoder\.layers\.(\d)\.norms\.1\.", r".encoder.layers.\1.final_layer_norm."),
    # transformer decoder: cross attention comes first in a layer, so its norm is number 0
    (r"\.transformer_decoder\.layers\.(\d)\.norms\.0\.", r".transformer_decoder.layers.\1.cross_attn_layer_norm."),
    (r"\.transformer_decoder\.layers\.(\d)\.norms\.1\.", r".transformer_decoder.layers.\1.self_attn_layer_norm."),
    (r"\.transformer_decoder\.layers\.(\d)\.norms\.2\.", r".transformer_decoder.layers.\1.final_layer_norm."),
    (r"\.cross_attn\.attn\.", ".cross_attn."),
    (r"\.self_attn\.attn\.out_proj\.", ".self_attn.out_proj."),
    (r"\.self_attn\.attn\.in_proj_", ".self_attn.packed."),
    (r"\.transformer_decoder\.post_norm\.", ".transformer_decoder.layernorm."),
    (r"\.transformer_decoder\.", ".transformer_module.decoder."),
    (r"^(decode_head\..*)\.ffn\.layers\.0\.0\.", r"\1.fc1."),
    (r"^(decode_head\..*)\.ffn\.layers\.1\.", r"\1.fc2."),
    (r"^decode_head\.query_embed\.", "decode_head.transformer_module.queries_embedder."),
    (r"^decode_head\.query_feat\.", "decode_head.transformer_module.queries_features."),
    (r"^decode_head\.level_embed\.", "decode_head.transformer_module.level_embed."),
    # predictions
    (r"^decode_head\.cls_embed\.", "decode_head.class_predictor."),
    (r"^decode_head\.mask_embed\.0\.", "decode_head.transformer_module.decoder.mask_predictor.mask_embedder.0.0."),
    (r"^decode_head\.mask_embed\.2\.", "decode_head.transformer_module.decoder.mask_predictor.mask_embedder.1.0."),
    (r"^decode_head\.mask_embed\.4\.", "decode_head.transformer_module.decoder.mask_predictor.mask_embedder.2.0."),
    (r"^decode_head\.offset_learning\.", "decode_head.transformer_module.decoder.mask_predictor.offset_learning."),
    (r"\.cls_offset_proj\.", ".class_offset_proj."),
    (r"\.feat_offset_proj\.", ".feature_offset_proj."),
)


def mask2former_names(name: str, tensor: Tensor) -> list[tuple[str, Tensor]]:
    """Our name(s) of one of their tensors, and the tensor in our order."""
    ours = renamed(name, RENAMES)
    packed = re.match(r"(.*)\.packed\.(weight|bias)$", ours)
    if packed:
        return unpacked(*packed.groups(), tensor)
    if re.match(r"backbone\.stages\.\d\.downsample\.(norm|reduction)\.", ours):
        return [(ours, _neighbour_by_neighbour(tensor))]
    return [(ours, tensor)]


def _neighbour_by_neighbour(tensor: Tensor) -> Tensor:
    """The last axis from (channel, row, column) to (column, row, channel) order."""
    return tensor.unflatten(-1, (-1, 2, 2)).transpose(-1, -3).flatten(-3)
