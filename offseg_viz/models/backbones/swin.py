"""Swin-T, the backbone of Mask2Former here (arXiv 2103.14030): the blocks of Hugging Face transformers."""

from torch import Tensor, nn
from transformers import SwinConfig, SwinModel

from offseg_viz.models.backbones.stochastic_depth import StochasticDepth, growing_rates


class Swin(nn.Module):
    """Images (B, 3, H, W) to four feature maps (B, C_i, H/s, W/s), s = 4, 8, 16, 32, each after a LayerNorm of its own.

    Swin-T of arXiv 2103.14030, section 3.3: widths 96 to 768, depths 2, 2, 6, 2, heads of 32 channels, windows of
    7 x 7. Windows keep their size on maps that are smaller, which are padded. Relative to transformers' modules:

    - no LayerNorm after the last stage and no pooling; a LayerNorm per stage instead (as in `SwinBackbone`);
    - stochastic depth on both branches of a block (transformers leaves it out of the MLP's), with rates growing
      linearly to `stochastic_depth`;
    - attention by `scaled_dot_product_attention`: the eager one rounds its soft-max to float32 even in float64.

    Parameters
    ----------
    stochastic_depth : rate of the last block, while training.
    """

    def __init__(self, stochastic_depth: float = 0.3):
        super().__init__()
        config = SwinConfig(
            embed_dim=96,
            depths=(2, 2, 6, 2),
            num_heads=(3, 6, 12, 24),
            window_size=7,
            drop_path_rate=0.0,  # ours instead
            attn_implementation="sdpa",
        )
        swin = SwinModel(config, add_pooling_layer=False)
        self.channels = tuple(config.embed_dim * 2**i for i in range(4))
        self.embeddings = swin.embeddings
        self.stages = swin.encoder.layers
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in self.channels)
        blocks = [block for stage in self.stages for block in stage.blocks]
        for block, rate in zip(blocks, growing_rates(stochastic_depth, len(blocks)), strict=True):
            block.drop_path = StochasticDepth(rate)
            block.mlp = _DroppedMLP(block.mlp, rate)

    def forward(self, images: Tensor) -> list[Tensor]:
        levels = []
        x, size = self.embeddings(images)  # (B, H/4 W/4, 96)
        for stage, norm in zip(self.stages, self.norms, strict=True):
            # the map before the stage's patch merging is the level, the one after it enters the next stage
            x, level, _ = stage(x, size, always_partition=True, output_hidden_states_before_downsampling=True)
            levels.append(norm(level.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))  # (B, C_i, H/s, W/s)
            size = ((size[0] + 1) // 2, (size[1] + 1) // 2)
        return levels


class _DroppedMLP(nn.Module):
    """A block's MLP (B, P, C) followed by stochastic depth; parameter names stay those of the MLP."""

    def __init__(self, mlp: nn.Module, rate: float):
        super().__init__()
        self.fc1, self.activation_fn, self.fc2 = mlp.fc1, mlp.activation_fn, mlp.fc2
        self.drop_path = StochasticDepth(rate)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop_path(self.fc2(self.activation_fn(self.fc1(x))))  # (B, P, C)
