"""Errors of the processes that read images, told by the file that they were at."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.utils.data import get_worker_info

from offseg_viz.data.sample import Sample, SampleSet
from offseg_viz.errors import DataError, OffsegVizError


class WatchedSamples:
    """A `SampleSet` whose readers leave word of the item they are at."""

    def __init__(self, samples: SampleSet, workers: int):
        self.samples = samples
        self.reading = torch.full((workers, 2), -1).share_memory_()  # process id and item of every worker

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        worker = get_worker_info()
        if worker is not None:
            self.reading[worker.id] = torch.tensor([os.getpid(), index])
        return self.samples[index]

    @contextmanager
    def clear_errors(self) -> Iterator[None]:
        """Around a loop over a loader: errors of ours lose the traceback that torch writes into them, and a process
        that died is told as a `DataError` with the file it read."""
        try:
            yield
        except OffsegVizError as error:
            name, _, message = str(error).rpartition("\noffseg_viz.errors.")[2].partition(": ")
            if "Original Traceback" not in str(error) or name != type(error).__name__:
                raise
            raise type(error)(message.strip()) from None
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            dead = {int(number) for number in re.findall(r"\d+", str(error).partition("pid")[2])}
            items = [int(index) for process, index in self.reading if int(process) in dead]
            if not items:  # a reader of another loader
                raise
            files = ", ".join(self.samples.where(self.samples.ids[index]) for index in items)
            raise DataError(
                f"a process that reads images died while it read {files}; look at that file, and at the free memory "
                f"(fewer --workers need less): {str(error).splitlines()[0]}"
            ) from error
