"""The decode head of OffSeg (arXiv 2508.08811): FreqFusion from coarse to fine, then the classifier."""

from collections.abc import Sequence

from torch import Tensor, cat, nn

from offseg_viz.errors import ModelError
from offseg_viz.models.conv_block import ConvBlock
from offseg_viz.models.heads.freqfusion import FreqFusion
from offseg_viz.models.heads.sampling import GROUPS


class OffSegHead(nn.Module):
    """Backbone levels, each twice as coarse as the one before, to logits (B, K, h, w) on the grid of the finest.

    Every level passes a 1x1 conv block. Starting with the coarsest, the map so far is fused with the next finer level
    and concatenated with it, and the last map is aligned to the classifier's channels. `torch.export` (strict or not)
    and `torch.compile` take the head as it is; an exported one keeps the image size of its example, because the number
    of tiles of `carafe` depends on it.

    Parameters
    ----------
    in_channels : channels of the levels, finest first.
    widths : channels of the levels after their conv blocks, multiples of 32.
    classifier : module (B, C, h, w) -> (B, K, h, w); offset learning in the released networks.
    channels : C.

    Raises
    ------
    ModelError
        If there are not as many widths as levels, or a width is no multiple of 32, the groups of the norm.
    """

    def __init__(
        self, in_channels: Sequence[int], widths: Sequence[int], classifier: nn.Module, *, channels: int = 256
    ):
        super().__init__()
        if len(widths) != len(in_channels) or any(width % 32 for width in widths):
            found = f"levels of {tuple(in_channels)} channels, widths {tuple(widths)}"
            raise ModelError(f"the OffSeg head needs one width, a multiple of 32, for each level; found {found}")
        self.pre = nn.ModuleList(
            ConvBlock(level, width, norm="group") for level, width in zip(in_channels, widths, strict=True)
        )
        self.freqfusions = nn.ModuleList()
        fused = widths[-1]
        for width in reversed(widths[:-1]):
            self.freqfusions.append(FreqFusion(width, fused))
            fused += width
        self.align = ConvBlock(fused, channels, norm="group")
        self.classifier = classifier

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        levels = [block(level) for block, level in zip(self.pre, levels, strict=True)]  # (B, W_i, h_i, w_i)
        low = levels[-1]  # (B, W, h/8, w/8)
        for fusion, level in zip(self.freqfusions, reversed(levels[:-1]), strict=True):
            high, low = fusion(level, low)  # (B, W_high, 2 h_i, 2 w_i), (B, W_low, 2 h_i, 2 w_i)
            low = interleave_groups(high, low)  # (B, W_high + W_low, 2 h_i, 2 w_i)
        feature = self.align(low)  # (B, C, h, w)
        return self.classifier(feature)  # (B, K, h, w)


def interleave_groups(high: Tensor, low: Tensor) -> Tensor:
    """Concatenate (B, C_high, h, w) and (B, C_low, h, w) group by group: four times a quarter of each, high first."""
    parts = zip(high.chunk(GROUPS, dim=1), low.chunk(GROUPS, dim=1), strict=True)  # 4 of (B, C/4, h, w) of each
    return cat([part for pair in parts for part in pair], dim=1)  # (B, C_high + C_low, h, w)
