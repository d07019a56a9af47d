"""A folder of one's own photographs: any model can be run on them, and what needs labels says so."""

import pickle

import numpy as np
import pytest
from PIL import Image

from offseg_viz.data import check_samples, load_samples
from offseg_viz.errors import DataError


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "photographs"
    folder.mkdir()
    for name, shade in (("b.png", 10), ("a.JPG", 200)):
        Image.new("RGB", (14, 10), (shade, 0, 0)).save(folder / name)
    (folder / "notes.txt").write_text("not a photograph")
    return folder


def test_images_without_labels_in_the_order_of_their_names(root):
    samples = load_samples("photographs", root=root)
    assert samples.ids == ("a", "b") and samples.classes is None
    assert samples["b"].image.shape == (10, 14, 3) and (samples["b"].image[:, :, 0] == 10).all()
    assert samples["a"].label is None and samples["a"].classes is None
    again = pickle.loads(pickle.dumps(samples))
    np.testing.assert_array_equal(again["a"].image, samples["a"].image)


def test_training_and_evaluation_say_that_labels_are_missing(root):
    with pytest.raises(DataError, match="photographs have no label maps"):
        check_samples(load_samples("photographs", root=root))


def test_bad_folders(root, tmp_path):
    with pytest.raises(DataError, match="photographs needs its folder"):
        load_samples("photographs")
    with pytest.raises(DataError, match="nowhere is no folder"):
        load_samples("photographs", root=tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty is empty; needed .jpg or .jpeg or .png files"):
        load_samples("photographs", root=tmp_path / "empty")
    with pytest.raises(DataError, match="has no .jpg or .jpeg or .png file but empty, photographs"):
        load_samples("photographs", root=tmp_path)
    Image.new("RGB", (4, 4)).save(root / "b.jpg")
    with pytest.raises(DataError, match="both named 'b'"):
        load_samples("photographs", root=root)
    (root / "b.jpg").unlink()
    (root / "b.png").write_bytes(b"broken")
    with pytest.raises(DataError, match="b.png cannot be read"):
        load_samples("photographs", root=root)["b"]
