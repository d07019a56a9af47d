"""The published sets agree with the facts; real samples of them are read as a plain loop over the facts reads them."""

from collections import Counter

import numpy as np
import pytest
from image_files import facts_on, plain_label, raw_to_train
from PIL import Image
from shared_data import shared

from offseg_viz.classes import CLASS_LISTS
from offseg_viz.data import check_samples, load_samples
from offseg_viz.data.published import PUBLISHED
from offseg_viz.data.samples import DATASETS
from offseg_viz.errors import DataError, UnknownNameError

REAL = [
    ("ade20k", "ade20k", "val", 33),
    ("coco_stuff164k", "coco_stuff164k", "train", 13),
    ("coco_stuff164k", "coco_stuff164k", "val", 43),
    ("pascal_context", "pascal_context", "train", 9),
    ("pascal_context", "pascal_context/VOCdevkit", "val", 5),
    ("pascal_context", "pascal_context/VOCdevkit/VOC2010", "val", 5),
    ("camvid", "camvid", "val", 101),
]
"""Data set, where its samples lie in ../shared/data, split, and how many there are of it."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_set_has_a_class_list_and_the_split_sizes_of_the_facts(name):
    published = PUBLISHED[name]
    assert published.name == name and name in DATASETS and published.class_list in CLASS_LISTS
    facts = facts_on(published.class_list)["splits"]
    assert published.splits == {split: facts[split]["size"] for split in published.splits}
    assert set(facts) - set(published.splits) <= {"test", "size_note"}


@pytest.mark.parametrize(("name", "split"), [(name, split) for name in PUBLISHED for split in PUBLISHED[name].splits])
def test_the_layout_shows_the_folders_of_the_facts(name, split):
    facts = facts_on(PUBLISHED[name].class_list)["splits"][split]
    layout = PUBLISHED[name].layout
    for part in ("image_dir", "label_dir", "ann_file"):
        assert facts.get(part, "") in layout
    assert not layout.startswith(("/", " ")) and "https://" in PUBLISHED[name].obtain.replace("http:", "https:")


def test_splits_without_public_labels_are_not_offered(tmp_path):
    for name in PUBLISHED.keys() - {"camvid"}:
        with pytest.raises(UnknownNameError, match=f"unknown split of {name} 'test'.*Valid: train, val"):
            load_samples(name, root=tmp_path, split="test")


@pytest.mark.parametrize("name", PUBLISHED)
def test_without_a_root_the_message_shows_the_layout_and_where_the_files_are_to_be_had(name):
    with pytest.raises(DataError) as error:
        load_samples(name)
    message = str(error.value)
    assert f'{name} needs its folder: load_samples("{name}", root="path/to/' in message
    assert PUBLISHED[name].layout in message and PUBLISHED[name].obtain in message
    with pytest.raises(DataError, match="leave size out"):
        load_samples(name, root="anywhere", size=(64, 64))


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_root_without_the_folders_shows_what_it_holds_and_the_layout(name, tmp_path):
    (tmp_path / "holidays").mkdir()
    for root, found in ((tmp_path, "holds: holidays"), (tmp_path / "nowhere", "nowhere is no folder")):
        with pytest.raises(DataError) as error:
            load_samples(name, root=root)
        assert found in str(error.value) or "cannot be read" in str(error.value)
        assert str(root) in str(error.value) and PUBLISHED[name].layout in str(error.value)


@pytest.mark.parametrize(("name", "place", "split", "count"), REAL)
def test_real_samples_are_read_as_the_facts_say(name, place, split, count):
    samples = load_samples(name, root=shared(f"data/{place}"), split=split)
    facts = facts_on(PUBLISHED[name].class_list)
    assert len(samples) == count and samples.dataset == name
    assert list(samples.classes.names) == facts["classes"] and samples.classes.palette.tolist() == facts["palette"]
    # Pascal Context comes in the order of its list; in the files at hand that is the order of the names as well.
    assert list(samples.ids) == sorted(samples.ids)
    counted = Counter()
    for sample in samples if name != "camvid" else samples[::20]:
        image_path, label_path = samples.load.files(sample.id)
        assert samples.where(sample.id) == image_path
        mapping = {**raw_to_train(PUBLISHED[name].class_list), 255: 255}
        np.testing.assert_array_equal(sample.label, plain_label(label_path, mapping))
        with Image.open(image_path) as image:
            np.testing.assert_array_equal(sample.image, np.asarray(image.convert("RGB")))
        assert sample.label.dtype == np.uint8 and sample.label.shape == sample.image.shape[:2]
        counted.update(sample.label.ravel().tolist())
    if name != "camvid":
        assert check_samples(samples).pixels.tolist() == [counted[k] for k in range(len(samples.classes))]
