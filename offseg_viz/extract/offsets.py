"""The offsets of one image, computed from what was captured: a head that classifies forms no feature offset.

All is computed in float32 at least, whatever the dtype of the model. For mask classification K are the queries.
"""

import torch
from torch import Tensor

from offseg_viz.extract.capture import empty
from offseg_viz.models.mask_offset_learning import MaskOffsetLearning
from offseg_viz.models.offset_learning import OffsetLearning

Learning = OffsetLearning | MaskOffsetLearning


@torch.no_grad()
def offsets(learning: Learning, feature: Tensor, class_embedding: Tensor) -> tuple[Tensor, Tensor]:
    """Class offset dW (K, C) and feature offset dE (P, C), equations (4) to (11) of arXiv 2508.08811.

    Parameters
    ----------
    learning : whose projections are used.
    feature : (P, C), E.
    class_embedding : (K, C), W.
    """
    e, w = _exact(feature), _exact(class_embedding)
    coupled = w @ e.T  # (K, P)  eq. 4, A_c
    attention = coupled.softmax(dim=1)  # (K, P)  eq. 5, over positions
    mixed = attention @ e  # (K, C)  eq. 6
    torch.softmax(coupled, dim=0, out=attention)  # (K, P)  eq. 9 transposed, over classes
    return class_offset(learning, mixed), feature_offset(learning, attention, w)


@torch.no_grad()
def class_offset(learning: Learning, mixed: Tensor) -> Tensor:
    """dW (K, C), equation (7), of ``A_cls E`` (K, C) of equation (6)."""
    with torch.autocast(mixed.device.type, enabled=False):
        return _exact(mixed) @ _exact(learning.class_offset_proj.weight).T


@torch.no_grad()
def feature_offset(learning: Learning, position_attention: Tensor, class_embedding: Tensor) -> Tensor:
    """dE (P, C), equations (10) and (11), of A_pos (K, P) of equation (9), transposed, and W (K, C).

    With V = proj_feat(W), a K x C matrix, dE = proj_feat(A_pos W) = A_pos V, which saves P C^2 multiply-adds.
    """
    with torch.autocast(position_attention.device.type, enabled=False):
        v = _exact(class_embedding) @ _exact(learning.feature_offset_proj.weight).T  # (K, C)
        attention = _exact(position_attention).T  # (P, K)
        return torch.mm(attention, v, out=empty((len(attention), v.shape[1]), like=v))


def _exact(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
