"""Small image and label files in the layouts of data sets, and label maps decoded by a plain loop."""

import json

import numpy as np
from PIL import Image
from shared_data import shared

HEIGHT, WIDTH = 10, 14


def write_image(path, seed=0):
    """An RGB image of 14 x 10, lossless where the suffix allows; returns its pixels."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    pixels = np.stack([9 * y + seed, 7 * x, 5 * (x + y)], axis=-1).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    how = {".webp": {"lossless": True}, ".jpg": {"quality": 95}, ".jpeg": {"quality": 95}}
    Image.fromarray(pixels).save(path, **how.get(path.suffix.lower(), {}))
    return pixels


def write_label(path, values, seed=0):
    """A label file of 14 x 10 that holds all of `values`, in an order of its own; returns them."""
    raw = np.resize(np.asarray(values, np.uint8), HEIGHT * WIDTH)
    assert set(values) <= set(raw.tolist()), "more values than pixels"
    raw = np.random.default_rng(seed).permutation(raw).reshape(HEIGHT, WIDTH)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(raw).save(path)
    return raw


def raw_to_train(facts):
    """The map from raw label value to class number that the facts on a data set state."""
    return {int(raw): train for raw, train in facts_on(facts)["raw_labels"]["raw_to_train"].items()}


def facts_on(name):
    return json.loads(shared(f"facts/{name}.json").read_text())


def plain_label(path, mapping):
    """A label file decoded pixel by pixel; a value that `mapping` lacks is a KeyError."""
    with Image.open(path) as image:
        width, height = image.size
        values = list(image.getdata() if not hasattr(image, "get_flattened_data") else image.get_flattened_data())
    return np.array([[mapping[values[y * width + x]] for x in range(width)] for y in range(height)], np.uint8)
