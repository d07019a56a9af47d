"""One process of an extraction: ``two_extractors.py STORE [seed=1] [dtype=float16] [window=64x64] [wait=0.5]``.

Which part it does is in its environment, as torchrun would write it there.
"""

import sys
import time
from functools import partial

import torch
from noise import CLASSES, noise_samples, trained_looking

from offseg_viz.data.sample import SampleSet
from offseg_viz.extract.extract import extract_many

COUNT = 5


def load(name, wait):
    time.sleep(wait)
    return noise_samples(COUNT, size=(96, 130)).load(name)


def extraction(out, *options):
    """With one thread: sums come out the same to the last bit only if they are split the same."""
    given = dict(option.split("=") for option in options)
    samples = SampleSet("noise", CLASSES, noise_samples(COUNT).ids, partial(load, wait=float(given.get("wait", 0))))
    window = tuple(map(int, given["window"].split("x"))) if "window" in given else None
    stride = tuple(side // 2 for side in window) if window else None
    model, threads = trained_looking("nano-offset", seed=int(given.get("seed", 1))), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return extract_many(model, samples, out, dtype=given.get("dtype", "float32"), window=window, stride=stride)
    finally:
        torch.set_num_threads(threads)


if __name__ == "__main__":
    extraction(*sys.argv[1:])
