"""Cityscapes: 2,975 and 500 finely labelled street photographs of 2048x1024, 19 classes.

Raw label maps (``*_gtFine_labelIds.png``) hold 0 .. 33, of which 19 are classes of the benchmark; the rest becomes
255 here. Label maps that were converted already (``*_gtFine_labelTrainIds.png``) hold the class numbers themselves.

Cordts et al., "The Cityscapes dataset for semantic urban scene understanding", CVPR 2016.
"""

from pathlib import Path

from offseg_viz.data.pairs import (
    Files,
    check_split,
    find_root,
    folder_of,
    match_either,
    needed_layout,
    published_samples,
)
from offseg_viz.data.sample import SampleSet, files_by_name
from offseg_viz.errors import DataError

RAW = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""Raw numbers of the 19 classes in their order, from road to bicycle."""

NUM_RAW = 34
PHOTOGRAPH, LABEL_IDS, CONVERTED = "_leftImg8bit", "_gtFine_labelIds", "_gtFine_labelTrainIds"


def cityscapes_samples(root: str | Path, *, split: str = "val", unpaired: list[str] | None = None) -> SampleSet:
    """The photographs of one split, of all its cities, with their label maps, in the order of city and name.

    Parameters
    ----------
    root
        The folder with ``leftImg8bit`` and ``gtFine``.
    split
        "train" or "val".
    unpaired
        See `load_samples`.

    Returns
    -------
    SampleSet
        Ids are file names up to ``_leftImg8bit.png``, such as ``frankfurt_000000_000294``.

    Raises
    ------
    UnknownNameError
        If `split` is neither; the labels of the test photographs are not public.
    DataError
        If a folder is missing or empty, a photograph or label map has no partner, or some photographs have only a raw
        and others only a converted label map. Files are read when their sample is asked for: one that is unreadable,
        or a label map of another size or with a wrong value, raises it then.
    """
    check_split("cityscapes", split)
    root = find_root("cityscapes", root, f"leftImg8bit/{split}")
    images, annotations = (folder_of("cityscapes", root, f"{kind}/{split}") for kind in ("leftImg8bit", "gtFine"))
    photographs = _of_all_cities(images, PHOTOGRAPH)
    if not photographs.paths:
        raise DataError(f"no *{PHOTOGRAPH}.png in the folders of {images}; {needed_layout('cityscapes')}")
    labels = (_of_all_cities(annotations, ending) for ending in (CONVERTED, LABEL_IDS))
    pairs, is_mapped = match_either(photographs, *labels, unpaired)
    by_name = {name.rpartition("/")[2]: pair for name, pair in pairs.items()}
    if len(by_name) < len(pairs):
        twice = [name for name, pair in pairs.items() if by_name[name.rpartition("/")[2]] != pair]
        raise DataError(f"{pairs[twice[0]][0]} lies in another city too; keep one of them")
    if is_mapped:
        return published_samples("cityscapes", by_name, {k: k for k in range(len(RAW))})
    void = set(range(NUM_RAW)) - set(RAW)
    return published_samples("cityscapes", by_name, {value: k for k, value in enumerate(RAW)}, ignored=void)


def _of_all_cities(folder: Path, ending: str) -> Files:
    """The files ``folder/city/name`` + `ending` + ``.png`` by ``city/name``."""
    cities = sorted(city for city in folder.iterdir() if city.is_dir() and not city.name.startswith("."))
    paths = {
        f"{city.name}/{name.removesuffix(ending)}": path
        for city in cities
        for name, path in files_by_name(city, (".png",)).items()
        if name.endswith(ending)
    }
    return Files(folder, f"{ending}.png", paths)
