"""Which part of an extraction this process does, and waiting for the others."""

import os
from typing import NamedTuple

import torch

from offseg_viz.errors import RecordError

STARTERS = {"RANK": "WORLD_SIZE", "SLURM_PROCID": "SLURM_STEP_NUM_TASKS"}
"""Number of a process, and of all of them, as torchrun and Lightning write them into the environment, and as srun does.
(SLURM_NTASKS would mislead: it also stands in a batch script, which runs once, with SLURM_PROCID 0.)"""


class Share(NamedTuple):
    """This is process `rank`, from 0, of `processes` that run the same program."""

    rank: int = 0
    processes: int = 1

    @classmethod
    def of_this_process(cls) -> "Share":
        """As torch.distributed says if it is initialised, else as the environment says, else the only one.

        Raises
        ------
        RecordError
            If the environment says nonsense.
        """
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return cls(torch.distributed.get_rank(), torch.distributed.get_world_size())
        for rank, processes in STARTERS.items():
            found = os.environ.get(rank), os.environ.get(processes)
            if None in found:
                continue
            if not (all(text.isdecimal() for text in found) and int(found[0]) < int(found[1])):
                raise RecordError(
                    f"the environment says {rank}={found[0]} and {processes}={found[1]}; needed the number of this "
                    "process, from 0, and of all of them: start them with torchrun or srun, or unset both"
                )
            return cls(int(found[0]), int(found[1]))
        return cls()

    def wait_for_all(self) -> None:
        """Return when every process has come here, where torch.distributed is initialised; else at once."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.barrier()
