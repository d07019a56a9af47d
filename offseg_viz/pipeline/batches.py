"""Batches for training and evaluation: torch datasets around a `SampleSet`."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from offseg_viz.data.sample import SampleSet
from offseg_viz.data.transforms import TrainTransform
from offseg_viz.errors import DataError
from offseg_viz.pipeline.recipes import Recipe


class TrainStream(Dataset):
    """Item n of an endless shuffled, augmented stream: an image (h, w, 3) uint8 and a label (h, w) int64.

    Item n depends on the seed and n only, not on workers or on where a run was resumed. Every image comes once before
    any comes again.
    """

    def __init__(self, samples: SampleSet, transform: TrainTransform, seed: int):
        self.samples, self.transform, self.seed = samples, transform, seed

    def __getitem__(self, n: int) -> tuple[Tensor, Tensor]:
        round_, place = divmod(n, len(self.samples))
        order = np.random.default_rng([self.seed, 1, round_]).permutation(len(self.samples))
        sample = self.samples[int(order[place])]
        image, label = self.transform(sample.image, sample.label, np.random.default_rng([self.seed, 2, n]))
        return torch.from_numpy(np.ascontiguousarray(image)), torch.from_numpy(label.astype(np.int64))


class ResumableSampler(Sampler[int]):
    """The item numbers 0 .. total - 1, of which a resumed run skips those below `start`; its length stays `total`."""

    def __init__(self, total: int, start: int):
        self.total, self.start = total, start

    def __len__(self) -> int:
        return self.total

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.start, self.total))


class WholeImages(Dataset):
    """Every sample as it is: image (H, W, 3) uint8 and label (H, W) int64."""

    def __init__(self, samples: SampleSet):
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, n: int) -> tuple[Tensor, Tensor]:
        sample = self.samples[n]
        if sample.label is None:
            raise DataError(f"sample {sample.id!r} of {sample.dataset} has no label map; evaluation needs one")
        return torch.from_numpy(sample.image.copy()), torch.from_numpy(sample.label.astype(np.int64))


def train_loader(samples: SampleSet, recipe: Recipe, *, start_step: int = 0, workers: int = 2) -> DataLoader:
    """Batches of `recipe.batch_size` crops for the steps `start_step` .. `recipe.steps` - 1."""
    stream = TrainStream(samples, TrainTransform(crop=recipe.crop, scale=recipe.scale), recipe.seed)
    sampler = ResumableSampler(recipe.steps * recipe.batch_size, start_step * recipe.batch_size)
    return DataLoader(stream, recipe.batch_size, sampler=sampler, num_workers=workers, persistent_workers=workers > 0)


def evaluation_loader(samples: SampleSet, *, workers: int = 2) -> DataLoader:
    """Whole images, one a batch, in order."""
    return DataLoader(WholeImages(samples), batch_size=1, num_workers=workers)
