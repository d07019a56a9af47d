"""Offset learning in the place of a linear layer, which keeps its channels last."""

from torch import Tensor, nn

from offseg_viz.errors import ModelError
from offseg_viz.models.offset_learning import OffsetLearning


class LinearOffsetLearning(nn.Module):
    """Features with channels last, (B, P, C) or (B, h, w, C), to logits (B, P, K) or (B, h, w, K).

    All dimensions between the first and the last are positions: the class attention runs over all of them together.

    Parameters
    ----------
    offset_learning : head that takes features (B, C, h, w).

    Raises
    ------
    ModelError
        In `forward`, if there are no positions: with (B, C) an image is one position, which has nothing to attend to.
    """

    def __init__(self, offset_learning: OffsetLearning):
        super().__init__()
        self.offset_learning = offset_learning

    def forward(self, feature: Tensor) -> Tensor:
        if feature.ndim < 3:
            raise ModelError(
                f"offset learning needs features with positions, (B, P, C) or (B, h, w, C), found "
                f"{tuple(feature.shape)}; a linear layer that classifies whole images cannot be replaced"
            )
        grid = feature.shape[1:-1]
        if len(grid) != 2:
            feature = feature.flatten(1, -2).unsqueeze(1)  # (B, 1, P, C)
        logits = self.offset_learning(feature.permute(0, 3, 1, 2))  # (B, K, h, w) or (B, K, 1, P)
        return logits.permute(0, 2, 3, 1).flatten(1, 2).unflatten(1, grid)  # (B, h, w, K) or (B, P, K)
