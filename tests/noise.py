"""Images of noise with blocks of labels, and networks whose weights are far from their small initial spread."""

import numpy as np
import torch

from offseg_viz.classes import ClassList
from offseg_viz.data.sample import Sample, SampleSet
from offseg_viz.models.zoo import load_model

CLASSES = ClassList(("sky", "road", "tree", "car", "pole"), ("#0000ff", "#777777", "#00ff00", "#ff0000", "#ffff00"))


def noise_sample(seed=0, size=(96, 128), name="s0", label=True, classes=CLASSES):
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (*size, 3), dtype=np.uint8)
    blocks = random.integers(0, len(classes or CLASSES), (size[0] // 8 + 1, size[1] // 8 + 1), dtype=np.uint8)
    labels = blocks.repeat(8, 0).repeat(8, 1)[: size[0], : size[1]]
    labels[:16, :16] = 255
    return Sample(name, image, labels if label else None, classes, "noise")


def noise_samples(count=3, size=(96, 128)):
    names = tuple("abcdefghij"[:count])
    return SampleSet("noise", CLASSES, names, lambda name: noise_sample(names.index(name), size, name))


def trained_looking(name, seed=1):
    """A network in whose logits offsets, gains and biases matter."""
    return stirred(load_model(name, classes=CLASSES), seed)


def stirred(model, seed=1, scale=0.3):
    """The model, every weight of its classifier (else of all) moved by noise; **in place**."""
    part = model.decode_head.classifier if hasattr(getattr(model, "decode_head", None), "classifier") else model
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in part.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return model
