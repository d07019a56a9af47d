"""Batches for training and evaluation: torch datasets around a `SampleSet`, and who reads which item."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from offseg_viz.data.sample import SampleSet
from offseg_viz.data.transforms import TrainTransform
from offseg_viz.errors import DataError, ModelError
from offseg_viz.pipeline.reading import WatchedSamples
from offseg_viz.pipeline.recipes import Recipe


class Batch(NamedTuple):
    """Images (B, H, W, 3) uint8, labels (B, H, W) int64 with 255 = ignored, and the ids of the samples."""

    image: Tensor
    label: Tensor
    ids: list[str]


@dataclass(frozen=True)
class Share:
    """Which part of every step this process computes: `processes` in all, each `accumulate` batches a step.

    The crops of a step and their order depend on neither, so that one device or eight see the same.
    """

    processes: int = 1
    process: int = 0
    accumulate: int = 1

    def batch_size(self, recipe: Recipe) -> int:
        """Crops in a batch of this process.

        Raises
        ------
        ModelError
            If the recipe's batch cannot be divided so.
        """
        parts = self.processes * self.accumulate
        if recipe.batch_size % parts:
            raise ModelError(
                f"a step has {recipe.batch_size} crops, found {self.processes} processes with {self.accumulate} "
                f"batches each; needed a product that divides {recipe.batch_size}: change accumulate or batch_size"
            )
        return recipe.batch_size // parts


class TrainStream(Dataset):
    """Item n of an endless shuffled, augmented stream: image (h, w, 3) uint8, label (h, w) int64 and id.

    Item n depends on the seed and n only, not on workers or on where a run was resumed. Every image comes once before
    any comes again.
    """

    def __init__(self, samples: SampleSet, transform: TrainTransform, seed: int, *, workers: int = 0):
        self.watched, self.transform, self.seed = WatchedSamples(samples, workers), transform, seed
        self._drawn = -1, np.array([])  # a round and its order, which takes long to draw for very many images

    def __getitem__(self, n: int) -> Batch:
        round_, place = divmod(n, len(self.watched))
        if self._drawn[0] != round_:
            self._drawn = round_, np.random.default_rng([self.seed, 1, round_]).permutation(len(self.watched))
        sample = self.watched[int(self._drawn[1][place])]
        image, label = self.transform(sample.image, sample.label, np.random.default_rng([self.seed, 2, n]))
        return Batch(torch.from_numpy(np.ascontiguousarray(image)), torch.from_numpy(label.astype(np.int64)), sample.id)


class StepSampler(Sampler[list[int]]):
    """Lists of item numbers, one a batch of this process, for the steps from `start` on; its length is that of all."""

    def __init__(self, recipe: Recipe, share: Share, start: int = 0):
        self.recipe, self.share, self.start = recipe, share, start
        self.size = share.batch_size(recipe)

    def __len__(self) -> int:
        return self.recipe.steps * self.share.accumulate

    def __iter__(self) -> Iterator[list[int]]:
        for batch in range(self.start * self.share.accumulate, len(self)):
            first = (batch * self.share.processes + self.share.process) * self.size
            yield list(range(first, first + self.size))


class WholeImages(Dataset):
    """Every sample as it is: image (H, W, 3) uint8, label (H, W) int64 and id."""

    def __init__(self, samples: SampleSet, *, workers: int = 0):
        self.watched = WatchedSamples(samples, workers)

    def __len__(self) -> int:
        return len(self.watched)

    def __getitem__(self, n: int) -> Batch:
        sample = self.watched[n]
        if sample.label is None:
            raise DataError(f"sample {sample.id!r} of {sample.dataset} has no label map; evaluation needs one")
        return Batch(torch.from_numpy(sample.image.copy()), torch.from_numpy(sample.label.astype(np.int64)), sample.id)


def train_loader(
    samples: SampleSet, recipe: Recipe, *, share: Share = Share(), start_step: int = 0, workers: int = 2
) -> DataLoader:
    """Batches of crops for the steps `start_step` .. `recipe.steps` - 1."""
    transform = TrainTransform(
        crop=recipe.crop,
        resize=recipe.resize,
        scale=recipe.scale,
        short_sides=recipe.short_sides,
        longest=recipe.longest,
        flip=recipe.flip,
        photometric=recipe.photometric,
        cat_max_ratio=recipe.cat_max_ratio,
    )
    return DataLoader(
        TrainStream(samples, transform, recipe.seed, workers=workers),
        batch_sampler=StepSampler(recipe, share, start_step),
        num_workers=workers,
        persistent_workers=workers > 0,
        worker_init_fn=_one_thread,
        pin_memory=torch.cuda.is_available(),
    )


def evaluation_loader(samples: SampleSet, *, share: Share = Share(), workers: int = 2) -> DataLoader:
    """Whole images, one a batch, in order; of several processes each gets every n-th, so that none comes twice.

    Raises
    ------
    ModelError
        If there are more processes than images.
    """
    if len(samples) < share.processes:
        found = f"{len(samples)} images to measure and {share.processes} processes"
        raise ModelError(f"found {found}; needed an image or more for each: fewer devices")
    return DataLoader(
        WholeImages(samples, workers=workers),
        batch_size=1,
        sampler=range(share.process, len(samples), share.processes),
        num_workers=workers,
        worker_init_fn=_one_thread,
        pin_memory=torch.cuda.is_available(),
    )


def _one_thread(_: int) -> None:
    cv2.setNumThreads(0)  # a process a core, not a process and its threads
