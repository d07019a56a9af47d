"""Our parameter names in the release's (mmsegmentation's and mmdetection's): what `names_of` does, the other way.

The release chooses learning rates and weight decay by substrings of these names.
"""

import re

from offseg_viz.errors import ModelError, UnknownNameError
from offseg_viz.models.official.renaming import Renames, renamed
from offseg_viz.models.zoo import MODELS


def _up(found: re.Match) -> str:
    """A stage's number, which starts at 0 here and at 1 there."""
    return str(int(found[1]) + 1)


OFFSEG: Renames = (
    # EfficientFormerV2
    (r"^(backbone\.network\..*mlp\.)widen\.0\.", r"\1fc1."),
    (r"^(backbone\.network\..*mlp\.)widen\.1\.", r"\1norm1."),
    (r"^(backbone\.network\..*mlp\.)mix\.0\.", r"\1mid."),
    (r"^(backbone\.network\..*mlp\.)mix\.1\.", r"\1mid_norm."),
    (r"^(backbone\.network\..*mlp\.)narrow\.0\.", r"\1fc2."),
    (r"^(backbone\.network\..*mlp\.)narrow\.1\.", r"\1norm2."),
    (r"^(backbone\.network\.[13]\.)0\.", r"\1proj."),
    (r"^(backbone\.network\.[13]\.)1\.", r"\1norm."),
    (r"^(backbone\.network\.5\.)conv\.0\.", r"\1conv."),
    (r"^(backbone\.network\.5\.)conv\.1\.", r"\1bn."),
    (r"^(backbone\.network\.5\.attn\.q\.local\.)", r"\g<1>0."),
    (r"^(backbone\.network\..*\.)attention_bias\.values$", r"\1attention_biases_seg"),
    # the OffSeg head and its FreqFusion
    (r"^(decode_head\.(pre\.\d|align)\.)norm\.", r"\1gn."),
    (r"^(decode_head\.freqfusions\.\d\.)compress_high\.", r"\1hr_channel_compressor."),
    (r"^(decode_head\.freqfusions\.\d\.)compress_low\.", r"\1lr_channel_compressor."),
    (r"^(decode_head\.freqfusions\.\d\.)low_pass\.", r"\1content_encoder."),
    (r"^(decode_head\.freqfusions\.\d\.)high_pass\.", r"\1content_encoder2."),
    (r"\.sampling_shift\.shift_high\.", ".sampling_shift.hr_offset."),
    (r"\.sampling_shift\.shift_low\.", ".sampling_shift.offset."),
    (r"\.sampling_shift\.gate_high\.", ".sampling_shift.hr_direct_scale."),
    (r"\.sampling_shift\.gate_low\.", ".sampling_shift.direct_scale."),
    (r"\.sampling_shift\.norm_high\.", ".sampling_shift.norm_hr."),
    (r"\.sampling_shift\.norm_low\.", ".sampling_shift.norm_lr."),
    (r"\.sampling_shift\.", ".dysampler."),
)

SEGFORMER: Renames = (
    # MiT: (patch embedding, blocks, norm) of a stage are its numbers 0, 1, 2
    (r"^backbone\.stages\.(\d)\.patch_embeddings\.proj\.", r"backbone.layers.\1.0.projection."),
    (r"^backbone\.stages\.(\d)\.patch_embeddings\.layer_norm\.", r"backbone.layers.\1.0.norm."),
    (r"^backbone\.stages\.(\d)\.layer_norm\.", r"backbone.layers.\1.2."),
    (r"^backbone\.stages\.(\d)\.blocks\.(\d+)\.", r"backbone.layers.\1.1.\2."),
    (r"^(backbone\..*)\.layernorm_before\.", r"\1.norm1."),
    (r"^(backbone\..*)\.layernorm_after\.", r"\1.norm2."),
    (r"\.attention\.[qkv]_proj\.", ".attn.attn.in_proj_"),
    (r"\.attention\.o_proj\.", ".attn.attn.out_proj."),
    (r"\.attention\.sequence_reduction\.sequence_reduction\.", ".attn.sr."),
    (r"\.attention\.sequence_reduction\.layer_norm\.", ".attn.norm."),
    (r"\.mlp\.fc1\.", ".ffn.layers.0."),
    (r"\.mlp\.dwconv\.dwconv\.", ".ffn.layers.1."),
    (r"\.mlp\.fc2\.", ".ffn.layers.4."),
    # all-MLP decode head
    (r"^decode_head\.(convs\.\d|fusion_conv)\.norm\.", r"decode_head.\1.bn."),
)

SEGNEXT: Renames = (
    # MSCAN: the first embedding is a sequence, the others are a convolution and its norm
    (r"^backbone\.stages\.0\.embed\.", "backbone.patch_embed1.proj."),
    (r"^backbone\.stages\.(\d)\.embed\.0\.", lambda found: f"backbone.patch_embed{_up(found)}.proj."),
    (r"^backbone\.stages\.(\d)\.embed\.1\.", lambda found: f"backbone.patch_embed{_up(found)}.norm."),
    (r"^backbone\.stages\.(\d)\.blocks\.", lambda found: f"backbone.block{_up(found)}."),
    (r"^backbone\.stages\.(\d)\.norm\.", lambda found: f"backbone.norm{_up(found)}."),
    (r"\.gate\.local\.", ".spatial_gating_unit.conv0."),
    (r"\.gate\.strips\.(\d)\.0\.", r".spatial_gating_unit.conv\1_1."),
    (r"\.gate\.strips\.(\d)\.1\.", r".spatial_gating_unit.conv\1_2."),
    (r"\.gate\.mix\.", ".spatial_gating_unit.conv3."),
    # Hamburger head
    (r"^decode_head\.(squeeze|align)\.norm\.", r"decode_head.\1.gn."),
    (r"^decode_head\.hamburger\.lower\.", "decode_head.hamburger.ham_in.conv."),
    (r"^decode_head\.hamburger\.upper\.", "decode_head.hamburger.ham_out.conv."),
    (r"^decode_head\.hamburger\.norm\.", "decode_head.hamburger.ham_out.gn."),
)

CLASSIFIERS: Renames = (
    (r"^decode_head\.classifier\.class_embedding$", "decode_head.offset_learning.cls_repr"),
    (r"^decode_head\.classifier\.class_offset_proj\.", "decode_head.offset_learning.cls_offset_proj."),
    (r"^decode_head\.classifier\.feature_offset_proj\.", "decode_head.offset_learning.feat_offset_proj."),
    (r"^decode_head\.classifier\.norm\.", "decode_head.offset_learning.mask_norm."),
    (r"^decode_head\.classifier\.classifier\.", "decode_head.conv_seg."),
)
"""The two classifiers of per-pixel networks."""

MASK2FORMER: Renames = (
    # Swin
    (r"^backbone\.embeddings\.patch_embeddings\.projection\.", "backbone.patch_embed.projection."),
    (r"^backbone\.embeddings\.norm\.", "backbone.patch_embed.norm."),
    (r"^backbone\.norms\.(\d)\.", r"backbone.norm\1."),
    (r"^(backbone\..*)\.layernorm_before\.", r"\1.norm1."),
    (r"^(backbone\..*)\.layernorm_after\.", r"\1.norm2."),
    (r"\.attention\.relative_position_bias\.", ".attn.w_msa."),
    (r"\.attention\.[qkv]_proj\.", ".attn.w_msa.qkv."),
    (r"\.attention\.o_proj\.", ".attn.w_msa.proj."),
    (r"^(backbone\..*)\.mlp\.fc1\.", r"\1.ffn.layers.0.0."),
    (r"^(backbone\..*)\.mlp\.fc2\.", r"\1.ffn.layers.1."),
    # predictions, before the decoder that they are made in loses its prefix
    (r"^decode_head\.class_predictor\.", "decode_head.cls_embed."),
    (r"\.transformer_module\.decoder\.mask_predictor\.mask_embedder\.0\.0\.", ".mask_embed.0."),
    (r"\.transformer_module\.decoder\.mask_predictor\.mask_embedder\.1\.0\.", ".mask_embed.2."),
    (r"\.transformer_module\.decoder\.mask_predictor\.mask_embedder\.2\.0\.", ".mask_embed.4."),
    (r"\.transformer_module\.decoder\.mask_predictor\.offset_learning\.", ".offset_learning."),
    (r"\.class_offset_proj\.", ".cls_offset_proj."),
    (r"\.feature_offset_proj\.", ".feat_offset_proj."),
    # pixel decoder
    (r"\.input_projections\.(\d)\.0\.", r".input_convs.\1.conv."),
    (r"\.input_projections\.(\d)\.1\.", r".input_convs.\1.gn."),
    (r"\.adapter_1\.0\.", ".lateral_convs.0.conv."),
    (r"\.adapter_1\.1\.", ".lateral_convs.0.gn."),
    (r"\.layer_1\.0\.", ".output_convs.0.conv."),
    (r"\.layer_1\.1\.", ".output_convs.0.gn."),
    (r"\.mask_projection\.", ".mask_feature."),
    (r"\.pixel_decoder\.level_embed$", ".pixel_decoder.level_encoding.weight"),
    (r"\.encoder\.layers\.(\d)\.self_attn_layer_norm\.", r".encoder.layers.\1.norms.0."),
    (r"\.encoder\.layers\.(\d)\.final_layer_norm\.", r".encoder.layers.\1.norms.1."),
    # transformer decoder
    (r"\.transformer_module\.queries_embedder\.", ".query_embed."),
    (r"\.transformer_module\.queries_features\.", ".query_feat."),
    (r"\.transformer_module\.level_embed\.", ".level_embed."),
    (r"\.transformer_module\.decoder\.layernorm\.", ".transformer_decoder.post_norm."),
    (r"\.transformer_module\.decoder\.", ".transformer_decoder."),
    (r"\.transformer_decoder\.layers\.(\d)\.cross_attn_layer_norm\.", r".transformer_decoder.layers.\1.norms.0."),
    (r"\.transformer_decoder\.layers\.(\d)\.self_attn_layer_norm\.", r".transformer_decoder.layers.\1.norms.1."),
    (r"\.transformer_decoder\.layers\.(\d)\.final_layer_norm\.", r".transformer_decoder.layers.\1.norms.2."),
    (r"\.cross_attn\.", ".cross_attn.attn."),
    (r"\.self_attn\.[qkv]_proj\.", ".self_attn.attn.in_proj_"),
    (r"\.self_attn\.out_proj\.", ".self_attn.attn.out_proj."),
    (r"^(decode_head\..*)\.fc1\.", r"\1.ffn.layers.0.0."),
    (r"^(decode_head\..*)\.fc2\.", r"\1.ffn.layers.1."),
)

FAMILIES = {
    "offseg": OFFSEG + CLASSIFIERS,
    "segformer": SEGFORMER + CLASSIFIERS,
    "segnext": SEGNEXT + CLASSIFIERS,
    "mask2former": MASK2FORMER,
}


def official_name(model: str, parameter: str) -> str:
    """The name in the release of a parameter of ours.

    The release packs some projections to query, key and value into one tensor: ours then all have its name.

    Parameters
    ----------
    model : name of a network of the zoo.
    parameter : a name among its ``named_parameters()``.

    Raises
    ------
    UnknownNameError
        If there is no such network.
    ModelError
        If the network is not of the release, as ``"nano"``.
    """
    if model not in MODELS:
        raise UnknownNameError("model", model, MODELS)
    family = model.partition("-")[0]
    if family not in FAMILIES:
        raise ModelError(
            f"{model} is not in the OffSeg release, so its parameters have no names there; needed one of the families "
            f"{', '.join(FAMILIES)}"
        )
    return renamed(parameter, FAMILIES[family])
