"""Names and shapes of every tensor in the release's checkpoints, for all networks and numbers of classes.

Written out from the layer lists of the papers in the naming of mmsegmentation and mmdetection; a test compares them
with the lists of the reference vectors where these are at hand.
"""

from shared_data import AS_CONSTRUCTED, reference_tensor

NARROW, WIDE = (32, 64, 160, 256), (64, 128, 320, 512)
MIT_DEPTHS = ((2, 2, 2, 2), (2, 2, 2, 2), (3, 4, 6, 3), (3, 4, 18, 3), (3, 8, 27, 3), (3, 6, 40, 3))
MSCAN_DEPTHS = {"t": (3, 3, 5, 2), "s": (2, 2, 4, 2), "b": (3, 3, 12, 3)}
EFFICIENT = {  # widths, blocks with attention, MLP ratios of each stage
    "t": ((32, 48, 120, 224), 2, ("444", "444", "443333444", "443344")),
    "b": ((32, 64, 144, 288), 4, ("4444", "4444", "443333334444", "44333344")),
    "l": ((40, 80, 192, 384), 6, ("44444", "44444", "444433333334444", "4443333444")),
}


class Names(dict):
    """Shapes by name; dtypes are int64 for the names in `whole` and float32 otherwise."""

    def __init__(self):
        super().__init__()
        self.whole = set()

    def pair(self, name, shape, *, bias=True):
        """A convolution or linear layer."""
        self[f"{name}.weight"] = tuple(shape)
        if bias:
            self[f"{name}.bias"] = (shape[0],)

    def norm(self, name, width, *, running=False):
        self.pair(name, (width,))
        if running:
            self[f"{name}.running_mean"] = self[f"{name}.running_var"] = (width,)
            self.count(f"{name}.num_batches_tracked", ())

    def count(self, name, shape):
        self[name] = shape
        self.whole.add(name)


def release_names(model, num_classes):
    """Shapes by name of a network of the zoo."""
    names = Names()
    family, size = model.removesuffix("-offset").split("-", 1)
    offset = family == "offseg" or model.endswith("-offset")
    if family == "mask2former":
        _swin(names)
        _mask2former(names, num_classes, offset)
        return names
    channels = {"segformer": _segformer, "segnext": _segnext, "offseg": _offseg}[family](names, size)
    names.pair("decode_head.conv_seg", (num_classes, channels, 1, 1))
    if offset:
        start = "decode_head.offset_learning."
        names[f"{start}cls_repr"] = (1, num_classes, channels)
        names.norm(f"{start}mask_norm", num_classes)
        for kind in ("cls", "feat"):
            names[f"{start}{kind}_offset_proj.weight"] = (channels, channels)
    return names


def release_tensors(model, num_classes):
    """A state dict by the rule of the reference vectors; what the rule leaves as constructed is zero."""
    import numpy as np
    import torch

    names = release_names(model, num_classes)
    return {
        name: torch.zeros(shape, dtype=torch.int64 if name in names.whole else torch.float32)
        if name in names.whole or name.rsplit(".", 1)[-1] in AS_CONSTRUCTED
        else torch.from_numpy(np.asarray(reference_tensor(name, shape), dtype=np.float32))
        for name, shape in names.items()
    }


def _segformer(names, size):
    widths = NARROW if size == "b0" else WIDE
    for i, (width, depth, ratio) in enumerate(zip(widths, MIT_DEPTHS[int(size[1])], (8, 4, 2, 1), strict=True)):
        stage, kernel = f"backbone.layers.{i}", 7 if i == 0 else 3
        names.pair(f"{stage}.0.projection", (width, widths[i - 1] if i else 3, kernel, kernel))
        names.norm(f"{stage}.0.norm", width)
        for j in range(depth):
            block = f"{stage}.1.{j}"
            names.norm(f"{block}.norm1", width)
            names[f"{block}.attn.attn.in_proj_weight"] = (3 * width, width)
            names[f"{block}.attn.attn.in_proj_bias"] = (3 * width,)
            names.pair(f"{block}.attn.attn.out_proj", (width, width))
            if ratio > 1:
                names.pair(f"{block}.attn.sr", (width, width, ratio, ratio))
                names.norm(f"{block}.attn.norm", width)
            names.norm(f"{block}.norm2", width)
            names.pair(f"{block}.ffn.layers.0", (4 * width, width, 1, 1))
            names.pair(f"{block}.ffn.layers.1", (4 * width, 1, 3, 3))
            names.pair(f"{block}.ffn.layers.4", (width, 4 * width, 1, 1))
        names.norm(f"{stage}.2", width)
        names.pair(f"decode_head.convs.{i}.conv", (256, width, 1, 1), bias=False)
        names.norm(f"decode_head.convs.{i}.bn", 256, running=True)
    names.pair("decode_head.fusion_conv.conv", (256, 1024, 1, 1), bias=False)
    names.norm("decode_head.fusion_conv.bn", 256, running=True)
    return 256


def _segnext(names, size):
    widths = NARROW if size == "t" else WIDE
    for i, (width, depth, ratio) in enumerate(zip(widths, MSCAN_DEPTHS[size], (8, 8, 4, 4), strict=True), start=1):
        embed = f"backbone.patch_embed{i}"
        if i == 1:
            names.pair(f"{embed}.proj.0", (width // 2, 3, 3, 3))
            names.norm(f"{embed}.proj.1", width // 2, running=True)
            names.pair(f"{embed}.proj.3", (width, width // 2, 3, 3))
            names.norm(f"{embed}.proj.4", width, running=True)
        else:
            names.pair(f"{embed}.proj", (width, widths[i - 2], 3, 3))
            names.norm(f"{embed}.norm", width, running=True)
        for j in range(depth):
            block = f"backbone.block{i}.{j}"
            names[f"{block}.layer_scale_1"] = names[f"{block}.layer_scale_2"] = (width,)
            for norm in ("norm1", "norm2"):
                names.norm(f"{block}.{norm}", width, running=True)
            gate = f"{block}.attn.spatial_gating_unit"
            for place in (f"{block}.attn.proj_1", f"{block}.attn.proj_2", f"{gate}.conv3"):
                names.pair(place, (width, width, 1, 1))
            names.pair(f"{gate}.conv0", (width, 1, 5, 5))
            for n, length in enumerate((7, 11, 21)):
                names.pair(f"{gate}.conv{n}_1", (width, 1, 1, length))
                names.pair(f"{gate}.conv{n}_2", (width, 1, length, 1))
            names.pair(f"{block}.mlp.fc1", (ratio * width, width, 1, 1))
            names.pair(f"{block}.mlp.dwconv", (ratio * width, 1, 3, 3))
            names.pair(f"{block}.mlp.fc2", (width, ratio * width, 1, 1))
        names.norm(f"backbone.norm{i}", width)
    channels, head = (512 if size == "b" else 256), "decode_head"
    names.pair(f"{head}.squeeze.conv", (channels, sum(widths[1:]), 1, 1), bias=False)
    names.pair(f"{head}.hamburger.ham_in.conv", (channels, channels, 1, 1))
    names.pair(f"{head}.hamburger.ham_out.conv", (channels, channels, 1, 1), bias=False)
    names.pair(f"{head}.align.conv", (channels, channels, 1, 1), bias=False)
    for place in ("squeeze", "hamburger.ham_out", "align"):
        names.norm(f"{head}.{place}.gn", channels)
    return channels


def _offseg(names, size):
    widths, attention, ratios = EFFICIENT[size]

    def conv_norm(start, shape, conv="0", norm="1"):
        names.pair(f"{start}.{conv}".removesuffix("."), shape)
        names.norm(f"{start}.{norm}", shape[0], running=True)

    def biases(start, queries, keys):
        names[f"{start}.attention_biases_seg"] = (8, max(queries, keys) ** 2)
        names[f"{start}.attention_biases"] = (8, 49 if queries == keys else 196)
        for end, q, k in (("", 7, 7 if queries == keys else 14), ("_seg", queries, keys)):
            names.count(f"{start}.attention_bias_idxs{end}", (q * q, k * k))

    conv_norm("backbone.patch_embed", (widths[0] // 2, 3, 3, 3))
    conv_norm("backbone.patch_embed", (widths[0], widths[0] // 2, 3, 3), "3", "4")
    for i, width in enumerate(widths):
        if i in (1, 2):
            conv_norm(f"backbone.network.{2 * i - 1}", (width, widths[i - 1], 3, 3), "proj", "norm")
        elif i == 3:
            start, before = "backbone.network.5", widths[2]
            biases(f"{start}.attn", 16, 32)
            names.pair(f"{start}.attn.q.local.0", (before, 1, 3, 3))
            conv_norm(f"{start}.attn.q.proj", (128, before, 1, 1))
            conv_norm(f"{start}.attn.k", (128, before, 1, 1))
            conv_norm(f"{start}.attn.v", (512, before, 1, 1))
            conv_norm(f"{start}.attn.v_local", (512, 1, 3, 3))
            conv_norm(f"{start}.attn.proj", (width, 512, 1, 1), "1", "2")
            conv_norm(start, (width, before, 3, 3), "conv", "bn")
        for j, ratio in enumerate(ratios[i]):
            block, hidden = f"backbone.network.{2 * i}.{j}", int(ratio) * width
            if i >= 2 and j >= len(ratios[i]) - attention:
                mixer = f"{block}.token_mixer"
                names[f"{block}.layer_scale_1"] = (width, 1, 1)
                biases(mixer, 16, 16)
                if i == 2:
                    conv_norm(f"{mixer}.stride_conv", (width, 1, 3, 3))
                conv_norm(f"{mixer}.q", (256, width, 1, 1))
                conv_norm(f"{mixer}.k", (256, width, 1, 1))
                conv_norm(f"{mixer}.v", (1024, width, 1, 1))
                conv_norm(f"{mixer}.v_local", (1024, 1, 3, 3))
                for heads in ("talking_head1", "talking_head2"):
                    names.pair(f"{mixer}.{heads}", (8, 8, 1, 1))
                conv_norm(f"{mixer}.proj", (width, 1024, 1, 1), "1", "2")
            names[f"{block}.layer_scale_2"] = (width, 1, 1)
            conv_norm(f"{block}.mlp", (hidden, width, 1, 1), "fc1", "norm1")
            conv_norm(f"{block}.mlp", (hidden, 1, 3, 3), "mid", "mid_norm")
            conv_norm(f"{block}.mlp", (width, hidden, 1, 1), "fc2", "norm2")
    head, inner = "decode_head", (32, 32, 64, 128) if size == "t" else (32, 64, 128, 256)
    for i, width in enumerate(widths):
        names.pair(f"{head}.pre.{i}.conv", (inner[i], width, 1, 1), bias=False)
        names.norm(f"{head}.pre.{i}.gn", inner[i])
    for i in range(3):
        start, high, low = f"{head}.freqfusions.{i}", inner[2 - i], sum(inner[3 - i :])
        m = (high + low) // 4
        names[f"{start}.hamming_lowpass"] = names[f"{start}.hamming_highpass"] = (1,)
        names.pair(f"{start}.hr_channel_compressor", (m, high, 1, 1))
        names.pair(f"{start}.lr_channel_compressor", (m, low, 1, 1))
        names.pair(f"{start}.content_encoder", (25, m, 3, 3))
        names.pair(f"{start}.content_encoder2", (9, m, 3, 3))
        names[f"{start}.dysampler.init_pos"] = (1, 32, 1, 1)
        names.pair(f"{start}.dysampler.offset", (32, 8, 3, 3))
        names.pair(f"{start}.dysampler.direct_scale", (32, m, 3, 3))
        names.pair(f"{start}.dysampler.hr_offset", (8, 8, 3, 3))
        names.pair(f"{start}.dysampler.hr_direct_scale", (8, m, 3, 3))
        for norm in ("norm_hr", "norm_lr"):
            names.norm(f"{start}.dysampler.{norm}", m)
    names.pair(f"{head}.align.conv", (256, sum(inner), 1, 1), bias=False)
    names.norm(f"{head}.align.gn", 256)
    return 256


def _swin(names):
    names.pair("backbone.patch_embed.projection", (96, 3, 4, 4))
    names.norm("backbone.patch_embed.norm", 96)
    for i, depth in enumerate((2, 2, 6, 2)):
        width = 96 * 2**i
        for j in range(depth):
            block = f"backbone.stages.{i}.blocks.{j}"
            names.norm(f"{block}.norm1", width)
            names[f"{block}.attn.w_msa.relative_position_bias_table"] = (169, 3 * 2**i)
            names.count(f"{block}.attn.w_msa.relative_position_index", (49, 49))
            names.pair(f"{block}.attn.w_msa.qkv", (3 * width, width))
            names.pair(f"{block}.attn.w_msa.proj", (width, width))
            names.norm(f"{block}.norm2", width)
            names.pair(f"{block}.ffn.layers.0.0", (4 * width, width))
            names.pair(f"{block}.ffn.layers.1", (width, 4 * width))
        if i < 3:
            names.norm(f"backbone.stages.{i}.downsample.norm", 4 * width)
            names.pair(f"backbone.stages.{i}.downsample.reduction", (2 * width, 4 * width), bias=False)
        names.norm(f"backbone.norm{i}", width)


def _mask2former(names, num_classes, offset):
    pixel, decoder = "decode_head.pixel_decoder", "decode_head.transformer_decoder"
    for i, width in enumerate((768, 384, 192)):
        names.pair(f"{pixel}.input_convs.{i}.conv", (256, width, 1, 1))
        names.norm(f"{pixel}.input_convs.{i}.gn", 256)
    for i in range(6):
        layer = f"{pixel}.encoder.layers.{i}"
        linear = {"sampling_offsets": 192, "attention_weights": 96, "value_proj": 256, "output_proj": 256}
        for place, width in linear.items():
            names.pair(f"{layer}.self_attn.{place}", (width, 256))
        names.pair(f"{layer}.ffn.layers.0.0", (1024, 256))
        names.pair(f"{layer}.ffn.layers.1", (256, 1024))
        for j in range(2):
            names.norm(f"{layer}.norms.{j}", 256)
    names[f"{pixel}.level_encoding.weight"] = (3, 256)
    for place, width, kernel in (("lateral_convs.0", 96, 1), ("output_convs.0", 256, 3)):
        names.pair(f"{pixel}.{place}.conv", (256, width, kernel, kernel), bias=False)
        names.norm(f"{pixel}.{place}.gn", 256)
    names.pair(f"{pixel}.mask_feature", (256, 256, 1, 1))
    for i in range(9):
        layer = f"{decoder}.layers.{i}"
        for kind in ("self_attn", "cross_attn"):
            names[f"{layer}.{kind}.attn.in_proj_weight"] = (768, 256)
            names[f"{layer}.{kind}.attn.in_proj_bias"] = (768,)
            names.pair(f"{layer}.{kind}.attn.out_proj", (256, 256))
        names.pair(f"{layer}.ffn.layers.0.0", (2048, 256))
        names.pair(f"{layer}.ffn.layers.1", (256, 2048))
        for j in range(3):
            names.norm(f"{layer}.norms.{j}", 256)
    names.norm(f"{decoder}.post_norm", 256)
    for place, rows in (("query_embed", 100), ("query_feat", 100), ("level_embed", 3)):
        names[f"decode_head.{place}.weight"] = (rows, 256)
    names.pair("decode_head.cls_embed", (num_classes + 1, 256))
    for i in (0, 2, 4):
        names.pair(f"decode_head.mask_embed.{i}", (256, 256))
    if offset:
        for kind in ("cls", "feat"):
            names[f"decode_head.offset_learning.{kind}_offset_proj.weight"] = (256, 256)
