"""A task that a few steps can learn: blocks of three noisy colours."""

from functools import partial

import numpy as np

from offseg_viz.classes import ClassList
from offseg_viz.data.sample import Sample, SampleSet
from offseg_viz.pipeline.recipes import find_recipe

CLASSES = ClassList(("blue", "green", "red"), ("#0000ff", "#00ff00", "#ff0000"))


def block_sample(name):
    random = np.random.default_rng(int(name))
    label = random.integers(0, 3, (6, 8), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
    colors = np.array([[40, 60, 200], [50, 180, 60], [200, 50, 40]])
    image = np.clip(colors[label] + random.normal(0, 20, (96, 128, 3)), 0, 255).astype(np.uint8)
    label[: 8 + 9 * (int(name) % 5)] = 255  # a share that differs from image to image
    return Sample(name, image, label, CLASSES, "blocks")


def block_samples(count=12, load=block_sample):
    return SampleSet("blocks", CLASSES, tuple(map(str, range(count))), load)


def spoiled_samples(count, name, how):
    """Blocks of which the one called `name` is what `how` makes of it."""
    return block_samples(count, partial(_spoiled, bad=name, how=how))


def _spoiled(name, *, bad, how):
    good = block_sample(name)
    return how(good) if name == bad else good


def blocks_recipe(model="nano-offset", **overrides):
    return find_recipe(model, "camvid", **({"crop": (64, 96), "batch_size": 4} | overrides))


def write_blocks(folder, count=8):
    """The blocks as a data set of one's own: images/, labels/, classes.txt."""
    from PIL import Image

    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for sample in block_samples(count):
        Image.fromarray(sample.image).save(folder / "images" / f"{sample.id}.png")
        Image.fromarray(sample.label).save(folder / "labels" / f"{sample.id}.png")
    (folder / "classes.txt").write_text("\n".join(CLASSES.names) + "\n")
    return folder
