"""The nano backbone: four small convolutional stages, made to be trained in a classroom on two CPU cores."""

from torch import Tensor, nn

from offseg_viz.models.conv_block import ConvBlock

NANO_WIDTHS = (24, 40, 72, 112)
NANO_DEPTHS = (1, 2, 3, 2)


class InvertedResidual(nn.Module):
    """Widen by 1x1, mix a 5x5 neighbourhood per channel, narrow by 1x1, add (MobileNetV2, arXiv 1801.04381)."""

    def __init__(self, channels: int, expansion: int = 2):
        super().__init__()
        hidden = expansion * channels
        self.widen = ConvBlock(channels, hidden)
        self.mix = ConvBlock(hidden, hidden, kernel=5, groups=hidden)
        self.narrow = nn.Conv2d(hidden, channels, kernel_size=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.norm.weight)  # a block starts as the identity, so that depth does not slow the start

    def forward(self, x: Tensor) -> Tensor:
        return x + self.norm(self.narrow(self.mix(self.widen(x))))  # (B, C, H, W)


class NanoBackbone(nn.Module):
    """Images (B, 3, H, W) to four feature maps (B, C_i, H/s, W/s) with strides s = 4, 8, 16, 32."""

    channels = NANO_WIDTHS

    def __init__(self):
        super().__init__()
        self.stem = ConvBlock(3, 16, kernel=3, stride=2)
        self.stages = nn.ModuleList()
        previous = 16
        for width, depth in zip(NANO_WIDTHS, NANO_DEPTHS, strict=True):
            blocks = [InvertedResidual(width) for _ in range(depth)]
            self.stages.append(nn.Sequential(ConvBlock(previous, width, kernel=3, stride=2), *blocks))
            previous = width

    def forward(self, images: Tensor) -> list[Tensor]:
        x = self.stem(images)  # (B, 16, H/2, W/2)
        levels = []
        for stage in self.stages:
            x = stage(x)  # (B, C_i, H/s, W/s), s = 4, 8, 16, 32
            levels.append(x)
        return levels
