"""Stochastic depth (arXiv 1603.09382): residual branches that are left out at random while training."""

from torch import Tensor, nn

from offseg_viz.errors import ModelError


class StochasticDepth(nn.Module):
    """A residual branch (B, ...) to the same shape: in training each sample's branch is dropped with the given rate.

    Branches that stay are divided by ``1 - rate``, so that the expected value is the branch itself. In evaluation, and
    with rate 0, the branch passes unchanged.

    Parameters
    ----------
    rate : probability of dropping the branch of one sample, from 0 up to but not including 1.

    Raises
    ------
    ModelError
        If the rate is not in [0, 1).
    """

    def __init__(self, rate: float):
        super().__init__()
        if not 0 <= rate < 1:
            raise ModelError(f"stochastic depth needs a rate in [0, 1), found {rate}")
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return branch
        keep = 1 - self.rate
        mask = branch.new_empty((branch.shape[0],) + (1,) * (branch.ndim - 1)).bernoulli_(keep)  # (B, 1, ...)
        return branch * (mask / keep)  # (B, ...)

    def extra_repr(self) -> str:
        return f"rate={self.rate:g}"


def growing_rates(last: float, blocks: int) -> list[float]:
    """Rates of the blocks of a network, growing linearly from 0 to `last` (arXiv 1603.09382, section 3)."""
    return [last * block / max(blocks - 1, 1) for block in range(blocks)]
