"""SegFormer: what its head and backbone do differently from the way they are usually written down."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from offseg_viz.models.backbones.mit import SIZES, MiT
from offseg_viz.models.heads.segformer import SegFormerHead
from offseg_viz.models.per_pixel import PerPixelClassifier

B, C, K = 2, 6, 3
WIDTHS = (3, 4, 5, 7)


@pytest.fixture
def levels():
    generator = torch.Generator().manual_seed(1)
    sides = ((16, 24), (8, 12), (4, 6), (2, 3))
    return [torch.randn(B, width, *side, generator=generator) for width, side in zip(WIDTHS, sides, strict=True)]


@pytest.mark.parametrize("pool", [False, True])
def test_fusing_before_resizing_gives_the_numbers_of_fusing_afterwards(levels, pool):
    torch.manual_seed(0)
    head = SegFormerHead(WIDTHS, C, PerPixelClassifier(C, K), pool=pool).double().eval()
    levels = [level.double() for level in levels]
    resized = [
        F.interpolate(conv(level), size=(16, 24), mode="bilinear", align_corners=False)
        for conv, level in zip(head.convs, levels, strict=True)
    ]
    fused = head.fusion_conv(torch.cat(resized, dim=1))
    expected = head.classifier(F.max_pool2d(fused, 2) if pool else fused)
    assert expected.shape == ((B, K, 8, 12) if pool else (B, K, 16, 24))
    torch.testing.assert_close(head(levels), expected)


@pytest.mark.parametrize("size", SIZES)
def test_every_layer_norm_of_the_backbone_has_the_published_epsilon(size):
    with torch.device("meta"):
        norms = [module for module in MiT(size).modules() if isinstance(module, nn.LayerNorm)]
    blocks = sum(SIZES[size][1])
    reducing = sum(SIZES[size][1][:3])  # attention of the last stage reduces nothing and needs no norm for it
    assert len(norms) == 2 * blocks + reducing + 8
    assert {norm.eps for norm in norms} == {1e-6}
