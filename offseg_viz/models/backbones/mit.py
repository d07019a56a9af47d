"""Mix Transformer (MiT), the backbone of SegFormer (arXiv 2105.15203): the blocks of Hugging Face transformers."""

from torch import Tensor, nn
from transformers import SegformerConfig, SegformerModel

SIZES = {
    "b0": ((32, 64, 160, 256), (2, 2, 2, 2)),
    "b1": ((64, 128, 320, 512), (2, 2, 2, 2)),
    "b2": ((64, 128, 320, 512), (3, 4, 6, 3)),
    "b3": ((64, 128, 320, 512), (3, 4, 18, 3)),
    "b4": ((64, 128, 320, 512), (3, 8, 27, 3)),
    "b5": ((64, 128, 320, 512), (3, 6, 40, 3)),
}
"""Widths and depths of the four stages (arXiv 2105.15203, table 6)."""


class MiT(nn.Module):
    """Images (B, 3, H, W) to four feature maps (B, C_i, H/s, W/s), s = 4, 8, 16, 32.

    Every LayerNorm gets the epsilon 1e-6 of the published networks (transformers leaves it at 1e-5), and stochastic
    depth is 0.1, growing linearly with depth.

    Parameters
    ----------
    size : one of `SIZES`.
    """

    def __init__(self, size: str = "b0"):
        super().__init__()
        self.channels, depths = SIZES[size]
        config = SegformerConfig(hidden_sizes=list(self.channels), depths=list(depths), drop_path_rate=0.1)
        self.stages = SegformerModel(config).stages
        for module in self.stages.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = 1e-6

    def forward(self, images: Tensor) -> list[Tensor]:
        levels = []
        x = images
        for stage in self.stages:
            x = stage(x)  # (B, C_i, H/s, W/s)
            levels.append(x)
        return levels
