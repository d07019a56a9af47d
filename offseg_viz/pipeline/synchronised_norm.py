"""BatchNorm over the joint batch of several processes on CPUs, where torch's SyncBatchNorm runs on GPUs only."""

import torch
from lightning.pytorch.plugins import LayerSync
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


class SynchronisedBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm2d whose mean and variance in training are those of the images of all processes together."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        sums = torch.stack(
            [x.sum((0, 2, 3)), x.square().sum((0, 2, 3)), torch.full_like(x[0, :, 0, 0], x[:, 0].numel())]
        )
        total, squares, count = all_reduce(sums)  # (C,) each; gradients flow back to all processes
        mean = total / count
        variance = (squares / count - mean.square()).clamp(min=0)  # (C,)
        with torch.no_grad():
            unbiased = variance * count / (count - 1).clamp(min=1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(unbiased, self.momentum)
            self.num_batches_tracked += 1
        scale = self.weight * (variance + self.eps).rsqrt()  # (C,)
        return x * scale[:, None, None] + (self.bias - mean * scale)[:, None, None]


class CPUSync(LayerSync):
    """Lightning's switch of BatchNorm layers for a run of several processes, and back."""

    def apply(self, model: nn.Module) -> nn.Module:
        return _exchange(model, nn.BatchNorm2d, SynchronisedBatchNorm2d)

    def revert(self, model: nn.Module) -> nn.Module:
        return _exchange(model, SynchronisedBatchNorm2d, nn.BatchNorm2d)


def _exchange(model: nn.Module, old: type, new: type) -> nn.Module:
    for module in model.modules():
        if type(module) is old:
            module.__class__ = new  # the same parameters and buffers, another forward
    return model
