"""PASCAL Context: its lists decide which files count, background is ignored, every kind of bad folder and list."""

import numpy as np
import pytest
from image_files import write_image, write_label

from offseg_viz.data.pascal_context import pascal_context_samples
from offseg_viz.errors import DataError


def write_list(root, split, text):
    path = root / "ImageSets" / "SegmentationContext" / f"{split}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def root(tmp_path):
    """Four photographs of which three have label maps: one in train, two in val, in an order of their own."""
    folder = tmp_path / "VOCdevkit" / "VOC2010"
    for seed, name in enumerate(("2007_000027", "2008_000002", "2008_000009", "2010_006079")):
        write_image(folder / "JPEGImages" / f"{name}.jpg", seed)
        if seed:
            write_label(folder / "SegmentationClassContext" / f"{name}.png", (*range(60), 255), seed)
    write_list(folder, "train", "2008_000009\n")
    write_list(folder, "val", "2010_006079\n2008_000002 \r\n\n")
    return folder


def test_the_lists_decide_from_each_root(root):
    for place in (root, root.parent, root.parent.parent, str(root)):
        assert pascal_context_samples(place).ids == ("2010_006079", "2008_000002")
        assert pascal_context_samples(place, split="train").ids == ("2008_000009",)


def test_every_raw_value(root):
    samples = pascal_context_samples(root)
    raw = write_label(root / "SegmentationClassContext" / "2008_000002.png", (*range(60), 255), 4)
    for value, label in zip(raw.ravel(), samples["2008_000002"].label.ravel(), strict=True):
        assert label == (255 if value in (0, 255) else value - 1)
    assert len(np.unique(raw)) == 61


def test_the_annotations_of_459_classes_are_refused(root):
    write_label(root / "SegmentationClassContext" / "2008_000002.png", (60, 59, 104))
    with pytest.raises(DataError, match=r"0002.png holds .* \[60, 104\]; needed 1 to 59 or ignored \(0, 255\)"):
        pascal_context_samples(root)[1]


def test_a_listed_name_without_files(root):
    write_list(root, "val", "2008_000002\n2007_000027\n2011_1\n2011_2\n")
    with pytest.raises(DataError, match=r"val.txt names 2011_1, .* no image \(1 more have none\): needed .*2011_1.jpg"):
        pascal_context_samples(root)
    write_list(root, "val", "2008_000002\n2007_000027\n")
    with pytest.raises(DataError, match="val.txt names 2007_000027, .* no label map: needed .*Context/2007_000027.png"):
        pascal_context_samples(root)


@pytest.mark.parametrize(("text", "message"), [("", "val.txt is empty"), ("a\nb\na\n", "val.txt names a twice")])
def test_a_bad_list(root, text, message):
    write_list(root, "val", text)
    with pytest.raises(DataError, match=message):
        pascal_context_samples(root)


def test_missing_lists_and_folders(root):
    (root / "ImageSets" / "SegmentationContext" / "val.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="the list .*val.txt cannot be read"):
        pascal_context_samples(root)
    (root / "ImageSets" / "SegmentationContext" / "val.txt").unlink()
    with pytest.raises(DataError, match="the list .*VOC2010/ImageSets/SegmentationContext/val.txt cannot be read"):
        pascal_context_samples(root.parent)
    (root / "SegmentationClassContext").rename(root / "SegmentationClass")
    with pytest.raises(DataError, match=r"no folder .*VOC2010/SegmentationClassContext \(.* holds: ImageSets, JPE"):
        pascal_context_samples(root.parent.parent, split="train")


def test_names_without_files_are_noted_where_asked_and_left_out(root):
    listed = pascal_context_samples(root, split="val").ids
    (root / "JPEGImages" / f"{listed[0]}.jpg").unlink()
    noted = []
    kept = pascal_context_samples(root, split="val", unpaired=noted).ids
    assert kept == listed[1:] and len(noted) == 1
    assert listed[0] in noted[0] and "has no image" in noted[0]
