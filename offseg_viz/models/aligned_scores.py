"""The scores of offset learning by the cheapest order of products: what `OffsetLearning` runs when only logits count.

Read `offset_learning.py` first. With V = proj_feat(W), a K x C matrix, equations (10) to (13) regroup exactly:

    dE     = proj_feat(A_pos W) = A_pos V
    scores = W_adj (E + dE)^T   = W_adj E^T + (W_adj V^T) A_pos^T

so no P x C matrix is made beside E, and 3 P K C + P K^2 multiply-adds remain of 4 P K C + P C^2. Autograd would add up
three P x C gradients of E; the backward pass here, written by hand, accumulates them inside the matrix products.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class Aligned(NamedTuple):
    """The scores, and the two intermediates of which a hook can make the offsets: dW = mixed P_cls^T, dE = A_pos V."""

    scores: Tensor  # (B, P, K)  eq. 13
    mixed: Tensor  # (B, K, C)  eq. 6, A_cls E
    position_attention: Tensor  # (B, K, P)  eq. 9, not transposed


class AlignedScores(nn.Module):
    """`aligned_scores` as a module without parameters, so that forward hooks see what it returns."""

    def forward(self, e: Tensor, w: Tensor, class_proj: Tensor, feature_proj: Tensor) -> Aligned:
        return aligned_scores(e, w, class_proj, feature_proj)


def aligned_scores(e: Tensor, w: Tensor, class_proj: Tensor, feature_proj: Tensor) -> Aligned:
    """The scores of equation (13), (B, P, K), and what the offsets need beside the weights.

    The scores are differentiable once, the intermediates are not. Under autocast everything is in autocast's low
    precision (a softmax computes in float32 and rounds its result, as autocast does before the next product).

    Parameters
    ----------
    e : (B, C, P), features; any strides.
    w : (K, C), class embeddings.
    class_proj, feature_proj : (C, C), weights of the two projections.
    """
    tensors = e, w, class_proj, feature_proj
    device = e.device.type
    autocast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    if autocast and e.dtype != torch.float64:  # which autocast leaves alone
        low = torch.get_autocast_dtype(device)
        with torch.autocast(device, enabled=False):
            return aligned_scores(*(tensor.to(low) for tensor in tensors))
    if torch.compiler.is_compiling():  # torch.compile and torch.export see the products and fuse what they can
        scores, _, mixed, _, a_pos, *_ = _products(*tensors)
        return Aligned(scores, mixed, a_pos)
    if not torch.is_grad_enabled():
        scores, _, mixed, _, a_pos, *_ = _products(*tensors, reuse=True)
        return Aligned(scores, mixed, a_pos)
    return Aligned(*_Differentiable.apply(*tensors))


def _products(
    e: Tensor, w: Tensor, class_proj: Tensor, feature_proj: Tensor, *, reuse: bool = False
) -> tuple[Tensor, ...]:
    """The scores (B, P, K), and what their gradient needs beside the arguments.

    With `reuse` two K x P buffers serve for all four results of that size; A_cls is overwritten then.
    """
    coupled = torch.bmm(w.expand(e.shape[0], -1, -1), e)  # (B, K, P)  eq. 4, A_c
    a_cls = coupled.softmax(dim=2)  # (B, K, P)  eq. 5
    mixed = torch.bmm(a_cls, e.transpose(1, 2))  # (B, K, C)  eq. 6
    w_adj = w + mixed @ class_proj.T  # (B, K, C)  eqs. 7, 8
    a_pos = torch.softmax(coupled, dim=1, out=a_cls if reuse else None)  # (B, K, P)  eq. 9, not transposed
    buffer = coupled.view(e.shape[0], e.shape[2], w.shape[0]) if reuse else None  # (B, P, K)
    del coupled
    v = w @ feature_proj.T  # (K, C)  eq. 11 on W
    g = w_adj @ v.T  # (B, K, K)
    scores = torch.bmm(e.transpose(1, 2), w_adj.transpose(1, 2), out=buffer)  # (B, P, K)
    scores.baddbmm_(a_pos.transpose(1, 2), g.transpose(1, 2))  # (B, P, K)  eqs. 10, 12, 13
    return scores, a_cls, mixed, w_adj, a_pos, v, g


class _Differentiable(torch.autograd.Function):
    """`_products` with its gradient. Below, d_x is the gradient of the loss with respect to x, in the shape of x."""

    @staticmethod
    def forward(ctx, e, w, class_proj, feature_proj):
        scores, *inner = _products(e, w, class_proj, feature_proj)
        ctx.save_for_backward(e, w, class_proj, feature_proj, *inner)
        _, mixed, _, a_pos, *_ = inner
        ctx.mark_non_differentiable(mixed, a_pos)
        ctx.set_materialize_grads(False)
        return scores, mixed, a_pos

    @staticmethod
    @once_differentiable
    def backward(ctx, d_scores, *_):
        if d_scores is None:
            return None, None, None, None
        e, w, class_proj, feature_proj, a_cls, mixed, w_adj, a_pos, v, g = ctx.saved_tensors
        d_scores = d_scores.transpose(1, 2)  # (B, K, P)
        d_g = torch.bmm(d_scores, a_pos.transpose(1, 2))  # (B, K, K)
        d_w_adj = torch.baddbmm(d_g @ v, d_scores, e.transpose(1, 2))  # (B, K, C)
        d_v = torch.bmm(d_g.transpose(1, 2), w_adj).sum(0)  # (K, C)
        d_mixed = d_w_adj @ class_proj  # (B, K, C)
        # A softmax a of c, along the dimension of the sum: d_c = a (d_a - sum(a d_a)).
        d_coupled = torch.bmm(g.transpose(1, 2), d_scores).mul_(a_pos)  # (B, K, P)  a d_a of A_pos
        d_coupled.addcmul_(a_pos, d_coupled.sum(1, keepdim=True), value=-1)  # (B, K, P)
        # For A_cls d_a = d_mixed E^T, so that its sum over positions is d_mixed . mixed: no pass over positions.
        d_a_cls = torch.bmm(d_mixed, e).sub_((d_mixed * mixed).sum(2, keepdim=True))  # (B, K, P)
        d_coupled.addcmul_(a_cls, d_a_cls)  # (B, K, P)
        del d_a_cls
        d_e = None
        if ctx.needs_input_grad[0]:
            d_e = torch.bmm(w_adj.transpose(1, 2), d_scores)  # (B, C, P)
            d_e.baddbmm_(d_mixed.transpose(1, 2), a_cls).baddbmm_(w.T.expand(e.shape[0], -1, -1), d_coupled)
        d_w = torch.bmm(d_coupled, e.transpose(1, 2)).add_(d_w_adj).sum(0) + d_v @ feature_proj  # (K, C)
        d_class_proj = torch.bmm(d_w_adj.transpose(1, 2), mixed).sum(0)  # (C, C)
        return d_e, d_w, d_class_proj, d_v.T @ w
