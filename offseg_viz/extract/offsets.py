"""The offsets of one image, computed from what was captured: a head that classifies forms no feature offset."""

import torch
from torch import Tensor


@torch.no_grad()
def offsets(
    feature: Tensor, class_embedding: Tensor, class_proj: Tensor, feature_proj: Tensor
) -> tuple[Tensor, Tensor]:
    """Class offset dW (K, C) and feature offset dE (P, C), equations (4) to (11) of arXiv 2508.08811.

    With V = proj_feat(W), a K x C matrix, dE = proj_feat(A_pos W) = A_pos V, which saves P C^2 multiply-adds. Computed
    in float32 at least, whatever the dtype of the model. For mask classification K are the queries of the image.

    Parameters
    ----------
    feature : (P, C), E.
    class_embedding : (K, C), W.
    class_proj, feature_proj : (C, C), weights of the two projections.
    """
    exact = torch.promote_types(feature.dtype, torch.float32)
    e, w, class_proj, feature_proj = (x.to(exact) for x in (feature, class_embedding, class_proj, feature_proj))
    coupled = w @ e.T  # (K, P)  eq. 4, A_c
    attention = coupled.softmax(dim=1)  # (K, P)  eq. 5, over positions
    class_offset = attention @ e @ class_proj.T  # (K, C)  eqs. 6, 7
    torch.softmax(coupled, dim=0, out=attention)  # (K, P)  eq. 9 transposed, over classes
    return class_offset, attention.T @ (w @ feature_proj.T)  # (K, C), (P, C)  eqs. 10, 11
