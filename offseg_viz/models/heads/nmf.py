"""Non-negative matrix factorisation as a layer: the "ham" of Hamburger (arXiv 2109.04553)."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPSILON = 1e-6
"""Added to every denominator; also what keeps a feature map of zeros from 0 / 0."""


class NMF(nn.Module):
    """Non-negative features (B, D, h, w) to their best sum of R parts, of the same shape: X is replaced by B C.

    X (D, N), N = h w, is factorised into bases B (D, R) and coefficients C (R, N), both non-negative, by the
    multiplicative updates of Lee and Seung, "Algorithms for non-negative matrix factorization" (NIPS 2000):

        C <- C * (B^T X) / (B^T B C)        B <- B * (X C^T) / (B C C^T)

    C starts as the soft-max over the R bases of B^T X (the released code's inverse temperature is 1), and is updated
    once more after the last step. Gradients pass through all steps, as in the released code; arXiv 2109.04553,
    section 3.3, argues for the last step alone.

    Where B starts decides where it ends. The release draws it at random in every forward pass, in evaluation too.
    Here evaluation takes one draw, made at construction and the same for every image: a forward pass is then
    repeatable, an image's result does not depend on its neighbours in the batch, and the network can be exported. It
    is NumPy's PCG64 with the seed 0, whose stream is the same in every version and on every device. In training the
    bases are drawn anew for every image from torch's global generator, as in the release, so that weights learn to
    suit any start.

    Everything inside is computed in float32 at least, also under autocast and with weights in half precision: sums
    over all positions leave the range of float16, and `EPSILON` its precision.

    Parameters
    ----------
    channels : D.
    rank : R, the number of bases.
    train_steps, eval_steps : updates of both factors in training and in evaluation.
    seed : of the bases in evaluation.

    Attributes
    ----------
    bases : (D, R) non-negative buffer, the start in evaluation, before its columns are normalised to length 1. It is
        not part of the state dict, and half precision rounds it as it rounds the weights. To start elsewhere, assign
        another tensor, (D, R) or one start an image (B, D, R), of the weights' device:
        ``model.decode_head.hamburger.nmf.bases = torch.rand(256, 16)``.
    """

    def __init__(self, channels: int, rank: int = 16, *, train_steps: int = 6, eval_steps: int = 7, seed: int = 0):
        super().__init__()
        self.train_steps = train_steps
        self.eval_steps = eval_steps
        draw = np.random.Generator(np.random.PCG64(seed)).random((channels, rank), dtype=np.float32)
        self.register_buffer("bases", torch.tensor(draw), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        with _without_autocast(x.device.type):
            data = x.flatten(2).to(torch.promote_types(x.dtype, torch.float32))  # (B, D, N)
            bases = F.normalize(self.initial_bases(data), dim=-2)  # (B, D, R), in evaluation (1, D, R)
            coefficients = (bases.mT @ data).softmax(dim=1)  # (B, R, N)
            for _ in range(self.train_steps if self.training else self.eval_steps):
                coefficients = _updated_coefficients(data, bases, coefficients)  # (B, R, N)
                gram = coefficients @ coefficients.mT  # (B, R, R), C C^T
                bases = bases * (data @ coefficients.mT) / (bases @ gram + EPSILON)  # (B, D, R)
            coefficients = _updated_coefficients(data, bases, coefficients)  # (B, R, N)
            return (bases @ coefficients).to(x.dtype).unflatten(2, x.shape[2:])  # (B, D, h, w)

    def initial_bases(self, data: Tensor) -> Tensor:
        """The bases that the factorisation of `data` (B, D, N) starts from, (B, D, R) or (1, D, R), not normalised."""
        if self.training:
            return torch.rand(len(data), *self.bases.shape[-2:], device=data.device, dtype=data.dtype)  # (B, D, R)
        return self.bases.to(data.dtype).reshape(-1, *self.bases.shape[-2:])  # (1, D, R)


def _updated_coefficients(data: Tensor, bases: Tensor, coefficients: Tensor) -> Tensor:
    gram = bases.mT @ bases  # (B, R, R), B^T B
    return coefficients * (bases.mT @ data) / (gram @ coefficients + EPSILON)  # (B, R, N)


def _without_autocast(device: str) -> torch.autocast:
    known = torch.amp.is_autocast_available(device)  # the meta device, for counting, has none
    return torch.autocast(device if known else "cpu", enabled=False)
