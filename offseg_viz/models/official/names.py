"""The authors' parameter names (mmsegmentation's and mmdetection's) in ours: replacements for every family."""

import re
from collections.abc import Callable
from functools import partial

from torch import Tensor

from offseg_viz.models.official.mask2former_names import mask2former_names
from offseg_viz.models.official.renaming import Renames, renamed, unpacked

OFFSEG: Renames = (
    # EfficientFormerV2: convolutions and their norms as pairs (0, 1)
    (r"^(backbone\.network\..*mlp\.)fc1\.", r"\1widen.0."),
    (r"^(backbone\.network\..*mlp\.)norm1\.", r"\1widen.1."),
    (r"^(backbone\.network\..*mlp\.)mid\.", r"\1mix.0."),
    (r"^(backbone\.network\..*mlp\.)mid_norm\.", r"\1mix.1."),
    (r"^(backbone\.network\..*mlp\.)fc2\.", r"\1narrow.0."),
    (r"^(backbone\.network\..*mlp\.)norm2\.", r"\1narrow.1."),
    (r"^(backbone\.network\.[135]\.)(proj|conv)\.(weight|bias)$", r"\g<1>0.\3"),
    (r"^(backbone\.network\.[135]\.)(norm|bn)\.", r"\g<1>1."),
    (r"^(backbone\.network\.5\.)([01])\.", r"\1conv.\2."),
    (r"^(backbone\.network\.5\.attn\.q\.local\.)0\.", r"\1"),
    (r"^(backbone\.network\..*\.)attention_biases_seg$", r"\1attention_bias.values"),
    # the OffSeg head and its FreqFusion
    (r"^(decode_head\.(pre\.\d|align)\.)gn\.", r"\1norm."),
    (r"^(decode_head\.freqfusions\.\d\.)hr_channel_compressor\.", r"\1compress_high."),
    (r"^(decode_head\.freqfusions\.\d\.)lr_channel_compressor\.", r"\1compress_low."),
    (r"^(decode_head\.freqfusions\.\d\.)content_encoder\.", r"\1low_pass."),
    (r"^(decode_head\.freqfusions\.\d\.)content_encoder2\.", r"\1high_pass."),
    (r"^(decode_head\.freqfusions\.\d\.)dysampler\.", r"\1sampling_shift."),
    (r"\.sampling_shift\.hr_offset\.", ".sampling_shift.shift_high."),
    (r"\.sampling_shift\.offset\.", ".sampling_shift.shift_low."),
    (r"\.sampling_shift\.hr_direct_scale\.", ".sampling_shift.gate_high."),
    (r"\.sampling_shift\.direct_scale\.", ".sampling_shift.gate_low."),
    (r"\.sampling_shift\.norm_hr\.", ".sampling_shift.norm_high."),
    (r"\.sampling_shift\.norm_lr\.", ".sampling_shift.norm_low."),
)

SEGFORMER: Renames = (
    # MiT: mmsegmentation keeps (patch embedding, blocks, norm) as layers.i.0, .1, .2; transformers as stages.i
    (r"^backbone\.layers\.(\d)\.0\.projection\.", r"backbone.stages.\1.patch_embeddings.proj."),
    (r"^backbone\.layers\.(\d)\.0\.norm\.", r"backbone.stages.\1.patch_embeddings.layer_norm."),
    (r"^backbone\.layers\.(\d)\.2\.", r"backbone.stages.\1.layer_norm."),
    (r"^backbone\.layers\.(\d)\.1\.(\d+)\.", r"backbone.stages.\1.blocks.\2."),
    (r"^(backbone\.stages\.\d\.blocks\.\d+)\.norm1\.", r"\1.layernorm_before."),
    (r"^(backbone\.stages\.\d\.blocks\.\d+)\.norm2\.", r"\1.layernorm_after."),
    (r"\.attn\.attn\.out_proj\.", ".attention.o_proj."),
    (r"\.attn\.sr\.", ".attention.sequence_reduction.sequence_reduction."),
    (r"\.attn\.norm\.", ".attention.sequence_reduction.layer_norm."),
    (r"\.ffn\.layers\.0\.", ".mlp.fc1."),
    (r"\.ffn\.layers\.1\.", ".mlp.dwconv.dwconv."),
    (r"\.ffn\.layers\.4\.", ".mlp.fc2."),
    # all-MLP decode head
    (r"^decode_head\.(convs\.\d|fusion_conv)\.bn\.", r"decode_head.\1.norm."),
)

SEGNEXT: Renames = (
    # MSCAN: parts of stage 1 to 4 by number, where ours lie together in stages.0 to .3
    (r"^backbone\.patch_embed1\.proj\.", "backbone.stages.0.embed."),
    (r"^backbone\.patch_embed(\d)\.proj\.", lambda found: f"backbone.stages.{int(found[1]) - 1}.embed.0."),
    (r"^backbone\.patch_embed(\d)\.norm\.", lambda found: f"backbone.stages.{int(found[1]) - 1}.embed.1."),
    (r"^backbone\.block(\d)\.", lambda found: f"backbone.stages.{int(found[1]) - 1}.blocks."),
    (r"^backbone\.norm(\d)\.", lambda found: f"backbone.stages.{int(found[1]) - 1}.norm."),
    (r"\.spatial_gating_unit\.conv0\.", ".gate.local."),
    (r"\.spatial_gating_unit\.conv(\d)_(\d)\.", lambda found: f".gate.strips.{found[1]}.{int(found[2]) - 1}."),
    (r"\.spatial_gating_unit\.conv3\.", ".gate.mix."),
    # Hamburger head
    (r"^decode_head\.(squeeze|align)\.gn\.", r"decode_head.\1.norm."),
    (r"^decode_head\.hamburger\.ham_in\.conv\.", "decode_head.hamburger.lower."),
    (r"^decode_head\.hamburger\.ham_out\.conv\.", "decode_head.hamburger.upper."),
    (r"^decode_head\.hamburger\.ham_out\.gn\.", "decode_head.hamburger.norm."),
)

CLASSIFIERS: Renames = (
    (r"^decode_head\.offset_learning\.cls_repr$", "decode_head.classifier.class_embedding"),
    (r"^decode_head\.offset_learning\.cls_offset_proj\.", "decode_head.classifier.class_offset_proj."),
    (r"^decode_head\.offset_learning\.feat_offset_proj\.", "decode_head.classifier.feature_offset_proj."),
    (r"^decode_head\.offset_learning\.mask_norm\.", "decode_head.classifier.norm."),
    (r"^decode_head\.conv_seg\.", "decode_head.classifier.classifier."),
)
"""The two classifiers of per-pixel networks."""

FAMILIES = {"offseg": OFFSEG, "segformer": SEGFORMER, "segnext": SEGNEXT}


def names_of(model: str) -> Callable[[str, Tensor], list[tuple[str, Tensor]]]:
    """The function from their names to ours for a network of the zoo.

    It takes one of their names and its tensor, and gives our name and the tensor in our order: one pair, or three for
    a packed query-key-value projection. The same name may mean two things in two families.
    """
    family = model.partition("-")[0]
    return mask2former_names if family == "mask2former" else partial(_renamed, FAMILIES.get(family, ()) + CLASSIFIERS)


def _renamed(renames: Renames, name: str, tensor: Tensor) -> list[tuple[str, Tensor]]:
    ours = renamed(name, renames)
    packed = re.match(r"(.*)\.attn\.attn\.in_proj_(weight|bias)$", ours)
    if packed:
        prefix, kind = packed.groups()
        return unpacked(f"{prefix}.attention", kind, tensor)
    return [(ours, tensor)]
