"""Mask2Former with a Swin-T backbone (arXiv 2112.01527), plain and with offset learning, on transformers' modules.

Pixel decoder, transformer decoder and MLPs are those of Hugging Face transformers, configured as mmdetection 3.3 is.
They compute the same, but for sine position encodings and reference points, which mmdetection keeps in float32 whatever
the dtype of the network: see `SinePositionEncoding` and `PixelEncoder`. Deformable attention is transformers' plain
PyTorch one (`grid_sample`), so no kernels are compiled. The whole network goes through `torch.export` (with any batch
size) and `torch.compile(fullgraph=True)`, in training too: see `PixelEncoderLayer`.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Mask2FormerConfig, Mask2FormerPreTrainedModel
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerPixelDecoder,
    Mask2FormerPixelDecoderEncoderLayer,
    Mask2FormerPixelDecoderEncoderOnly,
    Mask2FormerSinePositionEmbedding,
    Mask2FormerTransformerModule,
)

from offseg_viz.models.backbones.swin import Swin
from offseg_viz.models.mask_offset_learning import AlignedMaskPredictor, MaskOffsetLearning
from offseg_viz.models.segmenter import Segmenter


class MaskQueries(NamedTuple):
    """What Q queries say of each image: the last prediction, what it is made of, and the predictions of all layers.

    Predictions are made once before the first decoder layer and once after each of the 9.
    """

    class_logits: Tensor  # (B, Q, K + 1)  the last class is "no object"
    mask_logits: Tensor  # (B, Q, h, w)  aligned where the network has offset learning
    mask_embedding: Tensor  # (B, Q, C)  initial
    feature: Tensor  # (B, C, h, w)  the pixel map, initial
    class_logits_by_layer: tuple[Tensor, ...]  # 10 of (B, Q, K + 1)
    mask_logits_by_layer: tuple[Tensor, ...]  # 10 of (B, Q, h, w)


class Mask2FormerHead(Mask2FormerPreTrainedModel):
    """Four feature maps to the class-probability x mask-probability maps (B, K, h, w), h and w those of the first map.

    Pixel decoder: 6 layers of deformable attention on the maps at 1/32, 1/16 and 1/8, and one convolution block at 1/4,
    which makes the pixel map of 256 channels. Transformer decoder: 100 queries of 256 channels, 9 layers of 8 heads,
    each on one of the three maps in turn. After each, class logits by a linear layer and mask embeddings by an MLP.
    With offset learning, mask embeddings and pixel map are aligned in every mask product, and so the attention masks
    made from it; classes come from the queries as they are (arXiv 2508.08811).

    Parameters
    ----------
    channels : of the four feature maps.
    num_classes : K.
    offset : with offset learning.
    """

    def __init__(self, channels: tuple[int, ...], num_classes: int, *, offset: bool):
        config = Mask2FormerConfig(num_labels=num_classes)  # the defaults are those of the paper and of mmdetection
        super().__init__(config)
        self.pixel_decoder = Mask2FormerPixelDecoder(config, channels)
        self.transformer_module = Mask2FormerTransformerModule(config.feature_size, config)
        self.class_predictor = nn.Linear(config.hidden_dim, num_classes + 1)
        self.pixel_decoder.encoder = PixelEncoder(config)
        self.pixel_decoder.position_embedding = SinePositionEncoding(config.feature_size // 2, normalize=True)
        self.transformer_module.position_embedder = SinePositionEncoding(config.hidden_dim // 2, normalize=True)
        self.post_init()  # initialises the weights; those of offset learning bring their own
        if offset:
            decoder = self.transformer_module.decoder
            offset_learning = MaskOffsetLearning(config.mask_feature_size)
            decoder.mask_predictor = AlignedMaskPredictor(decoder.mask_predictor, offset_learning)

    def forward(self, levels: list[Tensor], size: tuple[int, int] | None = None) -> Tensor:
        """Class maps (B, K, h, w), or of `size` if given: see `class_maps`."""
        queries = self.queries(levels)
        return class_maps(queries.class_logits, queries.mask_logits, size)

    def queries(self, levels: list[Tensor]) -> MaskQueries:
        """The raw predictions, from which losses are taken and the refinement of the last layer is made."""
        pixels = self.pixel_decoder(levels)
        feature = pixels.mask_features  # (B, C, h, w)
        decoded = self.transformer_module(pixels.multi_scale_features, feature, False, False)
        hidden = [x.transpose(0, 1) for x in decoded.intermediate_hidden_states]  # 10 of (B, Q, C), after the norm
        class_logits = tuple(self.class_predictor(x) for x in hidden)  # 10 of (B, Q, K + 1)
        mask_logits = decoded.masks_queries_logits  # 10 of (B, Q, h, w)
        mask_embedding = self.transformer_module.decoder.mask_predictor.mask_embedder(hidden[-1])  # (B, Q, C)
        return MaskQueries(class_logits[-1], mask_logits[-1], mask_embedding, feature, class_logits, mask_logits)


class MaskSegmenter(Segmenter):
    """A `Segmenter` by mask classification: ``model(images)`` are class-probability x mask-probability maps."""

    def queries(self, images: Tensor) -> MaskQueries:
        """The raw predictions of normalised images (B, 3, H, W); maps are those of the padded images."""
        return self.decode_head.queries(self.backbone(self._padded(images)))

    def upsampled_logits(self, images: Tensor) -> Tensor:
        """Class maps at the size of the input (B, K, H, W): mask logits are resized before their sigmoid."""
        padded = self._padded(images)
        maps = self.decode_head(self.backbone(padded), size=padded.shape[2:])  # (B, K, H', W')
        return maps[:, :, : images.shape[2], : images.shape[3]]  # (B, K, H, W)


def class_maps(class_logits: Tensor, mask_logits: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """Class probability x mask probability, summed over queries (arXiv 2107.06278, section 3.4).

    Parameters
    ----------
    class_logits : (B, Q, K + 1); the last class, "no object", takes its share of the soft-max and is left out.
    mask_logits : (B, Q, h, w).
    size : rows and columns of the result; mask logits are resized bilinearly before their sigmoid.

    Returns
    -------
    (B, K, h, w) or (B, K, *size), values from 0 to Q.
    """
    if size is not None:
        mask_logits = F.interpolate(mask_logits, size, mode="bilinear", align_corners=False)  # (B, Q, H, W)
    class_probability = class_logits.softmax(dim=2)[:, :, :-1]  # (B, Q, K)
    return torch.einsum("bqk,bqhw->bkhw", class_probability, mask_logits.sigmoid())  # (B, K, h, w)


class SinePositionEncoding(Mask2FormerSinePositionEmbedding):
    """Computed in float32 and then cast, as in mmdetection; half precision would confuse neighbouring positions."""

    def forward(self, shape: torch.Size, device: torch.device, dtype: torch.dtype, mask: Tensor | None = None):
        return super().forward(shape, device, torch.float32, mask).to(dtype)  # (B, C, h, w)


class PixelEncoder(Mask2FormerPixelDecoderEncoderOnly):
    """Deformable attention whose reference points, the centres of the pixels, are float32 before they are cast."""

    def __init__(self, config: Mask2FormerConfig):
        super().__init__(config)
        self.layers = nn.ModuleList(PixelEncoderLayer(config) for _ in range(config.encoder_layers))

    @staticmethod
    def get_reference_points(spatial_shapes_list, valid_ratios: Tensor, device: torch.device) -> Tensor:
        own = Mask2FormerPixelDecoderEncoderOnly.get_reference_points
        points = own(spatial_shapes_list, valid_ratios.float(), device)  # (B, P of all, 3, 2)
        return points.to(torch.promote_types(valid_ratios.dtype, torch.float32))


class PixelEncoderLayer(Mask2FormerPixelDecoderEncoderLayer):
    """Deformable attention and MLP, each added and normed; P positions of all three maps in a row.

    There is no padding to mask, no dropout, and, unlike in transformers, no look at the values while training, which
    would wait for the device and break `torch.compile`. Maps are sampled in float32 at least: half precision has no
    room for positions, and torch's `grid_sample` in bfloat16 makes NaN of finite maps on a CPU.
    """

    def __init__(self, config: Mask2FormerConfig):
        super().__init__(config)
        channels = config.feature_size
        self.self_attn.value_proj = WidenedLinear(channels, channels)
        self.self_attn.output_proj = NarrowedLinear(channels, channels)

    def forward(self, hidden_states: Tensor, attention_mask: Tensor, **places) -> tuple[Tensor]:
        x = hidden_states  # (B, P, C)
        attended, _ = self.self_attn(x, encoder_hidden_states=x, **places)  # (B, P, C)
        x = self.self_attn_layer_norm(x + attended)  # (B, P, C)
        return (self.final_layer_norm(x + self.fc2(self.fc1(x).relu())),)  # (B, P, C)


class WidenedLinear(nn.Linear):
    """A linear layer whose output is float32 at least."""

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)  # (..., C)
        return out.to(torch.promote_types(out.dtype, torch.float32))


class NarrowedLinear(nn.Linear):
    """A linear layer that takes wider inputs than its weights are."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.weight.dtype))  # (..., C)


def mask2former_swin_t(num_classes: int, *, offset: bool) -> tuple[Swin, Mask2FormerHead]:
    """Backbone and decode head with fresh weights; nothing is downloaded."""
    backbone = Swin()
    return backbone, Mask2FormerHead(backbone.channels, num_classes, offset=offset)
