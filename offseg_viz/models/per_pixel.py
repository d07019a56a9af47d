"""Per-pixel classification: the fixed class embedding that offset learning replaces."""

from torch import Tensor, nn


class PerPixelClassifier(nn.Module):
    """Features (B, C, h, w) to logits (B, K, h, w) by a 1x1 convolution, whose rows are the class embeddings.

    Equation (1) of arXiv 2508.08811 plus a bias, after channel dropout, as segmentation heads commonly do.

    Parameters
    ----------
    channels : int
        C, channels of the feature map.
    num_classes : int
        K.
    dropout : float
        Share of whole channels that are dropped in training.
    """

    def __init__(self, channels: int, num_classes: int, dropout: float = 0.1):
        super().__init__()
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, kernel_size=1)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, feature: Tensor) -> Tensor:
        return self.classifier(self.dropout(feature))  # (B, K, h, w)  eq. 1
