"""Checkpoint files as they are published: mmengine's layout, made without mmengine and naming classes of it."""

import sys
from collections import OrderedDict
from contextlib import contextmanager
from types import ModuleType

import numpy as np
import torch

HISTORY_BUFFER = """
class HistoryBuffer:
    def __init__(self, values):
        self.max_length = 1000000
        self._log_history = values
        self._count_history = values * 0 + 1
        self._statistics_methods = {"min": HistoryBuffer.min, "mean": HistoryBuffer.mean}
    def min(self): pass
    def mean(self): pass
    def __getstate__(self):
        return self.__dict__ | {"statistics_methods": self._statistics_methods}
    def __setstate__(self, state): raise AssertionError("code of the file's class ran")
"""
MESSAGE_HUB = """
class MessageHub:
    def __init__(self, **contents): self.__dict__.update(contents)
"""
ANYTHING = """
class Anything:
    def __init__(self, reduced): self.reduced = reduced
    def __reduce__(self): return self.reduced
"""


@contextmanager
def mmengine():
    """A made-up mmengine that can be imported inside of the block only, for writing files that name its classes."""
    sources = {
        "mmengine": ANYTHING,
        "mmengine.logging": "",
        "mmengine.logging.history_buffer": HISTORY_BUFFER,
        "mmengine.logging.message_hub": MESSAGE_HUB,
    }
    assert not sources.keys() & sys.modules.keys()
    modules = {name: ModuleType(name) for name in sources}
    try:
        for name, source in sources.items():
            sys.modules[name] = modules[name]
            parent, _, child = name.rpartition(".")
            if parent:
                setattr(modules[parent], child, modules[name])
            exec(source, modules[name].__dict__)
        yield modules
    finally:
        for name in sources:
            sys.modules.pop(name, None)


def write_published(path, state_dict, *, dataset_meta=None, optimizer=None, legacy=False, extra=None):
    """A file in the layout of mmengine 0.10: weights among meta, optimiser, schedulers and pickled logs.

    `extra` gets the made-up modules and returns something that is put among the logs.
    """
    with mmengine() as modules:
        values = np.linspace(0, 1, 50)
        buffer = modules["mmengine.logging.history_buffer"].HistoryBuffer
        logs = OrderedDict({"train/loss": buffer(values), "train/lr": buffer(values)})
        runtime = OrderedDict(iter=159999, lr=np.float64(6e-5), best=np.float32(0.4), seed=np.int64(3), cfg="model = 1")
        hub = modules["mmengine.logging.message_hub"].MessageHub(log_scalars=logs, name="train")
        contents = {
            "meta": {
                "cfg": "model = dict(type='EncoderDecoder')",
                "seed": 1437,
                "experiment_name": "some_config_20250101_120000",
                "time": "20250103_101010",
                "mmengine_version": "0.10.4",
                "epoch": 0,
                "iter": 160000,
                "hook_msgs": {"last_ckpt": "iter_160000.pth"},
                **({"dataset_meta": dataset_meta} if dataset_meta else {}),
            },
            "state_dict": OrderedDict(state_dict),
            "message_hub": {
                "log_scalars": logs,
                "runtime_info": runtime,
                "resumed_keys": OrderedDict(),
                "hub": hub,
                "extra": extra(modules) if extra else None,
            },
            "optimizer": optimizer or {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 6e-5}]},
            "param_schedulers": [{"begin": 0, "end": 1500, "last_step": 1500, "base_values": [6e-5]}],
        }
        torch.save(contents, path, _use_new_zipfile_serialization=not legacy)
    return path
