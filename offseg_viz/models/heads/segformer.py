"""The all-MLP decode head of SegFormer (arXiv 2105.15203) as mmsegmentation builds it."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from offseg_viz.models.conv_block import ConvBlock


class SegFormerHead(nn.Module):
    """Four backbone levels to logits (B, K, h, w) on the grid of the finest level (half of it with `pool`).

    Every level passes a 1x1 conv block, is resized to the finest one and fused with the others by one more conv block.
    The fusing 1x1 convolution is linear and commutes with bilinear resizing, so each level meets its slice of it
    *before* being resized: the same numbers at a fraction of the multiplications.

    Parameters
    ----------
    in_channels : channels of the levels, finest first.
    channels : C of the fused map.
    classifier : module (B, C, h, w) -> (B, K, h, w), `PerPixelClassifier` or `OffsetLearning`.
    pool : max-pool the fused map by 2 in front of the classifier, as the released offset variant of SegFormer does.
    """

    def __init__(self, in_channels: Sequence[int], channels: int, classifier: nn.Module, *, pool: bool = False):
        super().__init__()
        self.convs = nn.ModuleList(ConvBlock(width, channels) for width in in_channels)
        self.fusion_conv = ConvBlock(len(in_channels) * channels, channels)
        self.pool = nn.MaxPool2d(2) if pool else nn.Identity()
        self.classifier = classifier

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        grid = levels[0].shape[2:]
        slices = self.fusion_conv.conv.weight.chunk(len(levels), dim=1)  # each (C, C, 1, 1)
        fused = 0
        for level, conv, weight in zip(levels, self.convs, slices, strict=True):
            part = F.conv2d(conv(level), weight)  # (B, C, h_i, w_i)
            if part.shape[2:] != grid:
                part = F.interpolate(part, size=grid, mode="bilinear", align_corners=False)  # (B, C, h, w)
            fused = fused + part  # (B, C, h, w)
        feature = self.fusion_conv.act(self.fusion_conv.norm(fused))  # (B, C, h, w)
        return self.classifier(self.pool(feature))  # (B, K, h, w)
