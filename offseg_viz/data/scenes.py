"""Procedural street and park scenes: any number, any size, the same picture for the same seed.

What a thing is cannot be read from its colour here. Sun, weather, season, materials and camera are drawn anew for every
picture, and a grey that is a road in one picture is a wall in the next; but within one picture the road is always
made of darker stuff than the wall, the wall than the path, the path than the pavement. The best class embedding
therefore differs from image to image, which is what offset learning is about (arXiv 2508.08811, Fig. 3).

Training scenes are drawn when first asked for and kept in a cache; 24 validation scenes come with the package.
"""

import hashlib
import json
import multiprocessing
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from platformdirs import user_cache_dir
from rich.progress import track

from offseg_viz.data import scene_drawing
from offseg_viz.data.sample import Sample, SampleSet, read_image, read_label
from offseg_viz.data.scene_drawing.classes import SCENE_CLASSES
from offseg_viz.data.scene_drawing.scene import DATASET, check_size, scene, scene_id
from offseg_viz.errors import DataError, UnknownNameError

__all__ = ["SCENE_CLASSES", "cache_scenes", "scene", "scene_samples", "write_bundled_scenes", "write_scenes"]

BUNDLED_COUNT = 24
BUNDLED_SIZE = (256, 384)
_FIRST_SEED = {"train": 1_000_000, "val": 0, "test": 2_000_000}
_SPLIT_SIZE = {"train": (192, 256), "val": BUNDLED_SIZE, "test": BUNDLED_SIZE}
_SPLIT_COUNT = {"train": 1200, "val": BUNDLED_COUNT, "test": 200}


def scene_samples(
    split: str,
    *,
    count: int | None = None,
    size: tuple[int, int] | None = None,
    cache: str | Path | None = None,
) -> SampleSet:
    """The scenes of a split, as a lazy sequence.

    Parameters
    ----------
    split : str
        "train": the seeds 1,000,000 onwards, 1200 scenes of 192 x 256 unless told otherwise.
        "val": the seeds 0 onwards, 24 scenes of 256 x 384. Those 24 are read from the files that come with the
        package; a further one, or another size, is drawn like a training scene.
        "test": the seeds 2,000,000 onwards, 200 scenes of 256 x 384, for comparisons that 24 scenes are too few for.
    count : int, optional
        Number of scenes.
    size : tuple of int, optional
        Height and width in pixels, at least 64 each.
    cache : path, optional
        Folder in which drawn scenes are kept, one file each; by default the user's cache folder. A missing or damaged
        file is drawn anew. In a folder that cannot be written scenes are drawn every time.

    Returns
    -------
    SampleSet
        Ids ``scene-000000`` and so on: the seed with at least six digits.

    Raises
    ------
    UnknownNameError
        If the split is not "train", "val" or "test".
    DataError
        If `count` is below 1 or a side of `size` below 64.
    """
    first, count, size = _resolve(split, count, size)
    folder = cache_folder(size, cache)
    bundled = _bundled_folder() if split == "val" and size == BUNDLED_SIZE else None
    seeds = {scene_id(seed): seed for seed in range(first, first + count)}
    return SampleSet(DATASET, SCENE_CLASSES, tuple(seeds), partial(_load, bundled=bundled, folder=folder, size=size))


def cache_scenes(
    count: int | None = None,
    *,
    split: str = "train",
    size: tuple[int, int] | None = None,
    cache: str | Path | None = None,
    processes: int | None = None,
    progress: bool = True,
) -> Path:
    """Draw all scenes of a split that the cache lacks, with a progress bar, and return the cache's folder.

    The work is spread over `processes` (by default one a core); they are started afresh, so a script that calls this
    needs the usual ``if __name__ == "__main__":``. Arguments and errors otherwise as in `scene_samples`. Two runs at
    once, or a run that is killed, leave no half-written file.
    """
    first, count, size = _resolve(split, count, size)
    folder = cache_folder(size, cache)
    missing = [seed for seed in range(first, first + count) if _read_cached(_cached(folder, seed), size) is None]
    if not missing:
        return folder
    work = partial(_draw_into, folder=folder, size=size)
    processes = min(processes or os.cpu_count() or 1, max(len(missing) // 8, 1))
    show = {"description": f"Drawing {size[0]}x{size[1]} scenes", "total": len(missing), "disable": not progress}
    if processes == 1:
        for seed in track(missing, **show):
            work(seed)
        return folder
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        for _ in track(pool.map(work, missing, chunksize=4), **show):
            pass
    return folder


def write_scenes(
    folder: str | Path,
    *,
    count: int = BUNDLED_COUNT,
    size: tuple[int, int] = BUNDLED_SIZE,
    first_seed: int = 0,
    progress: bool = False,
) -> Path:
    """Write scenes as files: ``images/*.png``, ``labels/*.png`` (class numbers, shown in the class colours) and
    ``classes.json``. Returns the folder; files of the same names are replaced.

    Raises
    ------
    DataError
        If `count` is below 1, a side of `size` below 64, the seed negative or the folder not writable.
    """
    check_size(size)
    _check_count(count)
    folder = Path(folder)
    try:
        for part in ("images", "labels"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        table = {"dataset": DATASET, "names": SCENE_CLASSES.names, "colors": SCENE_CLASSES.colors, "size": size}
        (folder / "classes.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
        for seed in track(range(first_seed, first_seed + count), description="Writing scenes", disable=not progress):
            sample = scene(seed, size=size)
            label = Image.fromarray(sample.label)
            label.putpalette(SCENE_CLASSES.palette.tobytes())
            _replace(folder / "images" / f"{sample.id}.png", Image.fromarray(sample.image))
            _replace(folder / "labels" / f"{sample.id}.png", label)
    except OSError as cause:
        raise DataError(
            f"scenes cannot be written to {folder} ({cause}); choose a folder that can be written"
        ) from cause
    return folder


def write_bundled_scenes(folder: str | Path) -> Path:
    """Write the 24 validation scenes that come with the package, as `write_scenes` does."""
    return write_scenes(folder, count=BUNDLED_COUNT, size=BUNDLED_SIZE)


@lru_cache(maxsize=1)
def generator_version() -> str:
    """Ten characters that change whenever a scene could look different: a digest of all code that draws."""
    digest = hashlib.sha256(f"{cv2.__version__} {np.__version__}".encode())
    for source in sorted(Path(scene_drawing.__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:10]


def cache_folder(size: tuple[int, int], cache: str | Path | None = None) -> Path:
    """The folder of cached scenes of one size, drawn by this version of the generator."""
    root = Path(cache) if cache is not None else Path(user_cache_dir("offseg_viz")) / "scenes"
    return root / f"{generator_version()}-{size[0]}x{size[1]}"


def _resolve(split: str, count: int | None, size: tuple[int, int] | None) -> tuple[int, int, tuple[int, int]]:
    if split not in _FIRST_SEED:
        raise UnknownNameError(f"split of {DATASET}", split, _FIRST_SEED)
    size = _SPLIT_SIZE[split] if size is None else tuple(map(int, size))
    count = _SPLIT_COUNT[split] if count is None else count
    check_size(size)
    _check_count(count)
    return _FIRST_SEED[split], count, size


def _check_count(count: int) -> None:
    if count < 1:
        raise DataError(f"{count} scenes asked for; needed 1 or more")


def _bundled_folder() -> Path | None:
    """Where the bundled scenes lie: inside an installed package, or at the root of a source checkout."""
    package = Path(__file__).resolve().parents[1]
    places = (package / "data_samples" / "scenes", package.parent / "data_samples" / "scenes")
    return next((place for place in places if (place / "classes.json").is_file()), None)


def _load(name: str, *, bundled: Path | None, folder: Path, size: tuple[int, int]) -> Sample:
    seed = int(name.rpartition("-")[2])
    if bundled is not None and seed < BUNDLED_COUNT:
        image = read_image(bundled / "images" / f"{name}.png")
        label = read_label(bundled / "labels" / f"{name}.png", classes=SCENE_CLASSES)
        return Sample(name, image, label, SCENE_CLASSES, DATASET)
    both = _read_cached(_cached(folder, seed), size)
    if both is None:
        both = _draw_into(seed, folder=folder, size=size)
    return Sample(name, np.ascontiguousarray(both[..., :3]), np.ascontiguousarray(both[..., 3]), SCENE_CLASSES, DATASET)


def _cached(folder: Path, seed: int) -> Path:
    return folder / f"{scene_id(seed)}.png"


def _draw_into(seed: int, *, folder: Path, size: tuple[int, int]) -> np.ndarray:
    """Draw a scene, keep it, and return image and label together as (H, W, 4)."""
    sample = scene(seed, size=size)
    both = np.dstack([sample.image, sample.label])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _replace(_cached(folder, seed), Image.fromarray(both), compress_level=1)
    except OSError:
        pass  # a cache that cannot be written only costs time
    return both


def _read_cached(path: Path, size: tuple[int, int]) -> np.ndarray | None:
    """A cached scene as (H, W, 4), the label in the last channel; None where there is none or it is damaged."""
    try:
        with Image.open(path) as image:
            if image.mode != "RGBA" or image.size != (size[1], size[0]):
                return None
            both = np.asarray(image)
    except (OSError, SyntaxError, ValueError):
        return None
    return both if both[..., 3].max() < len(SCENE_CLASSES) else None


def _replace(path: Path, image: Image.Image, **options) -> None:
    """Save a PNG under a passing name and move it into place, so that nobody ever reads half a file."""
    handle, passing = tempfile.mkstemp(suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            image.save(file, format="PNG", **options)
        os.chmod(passing, 0o644)
        os.replace(passing, path)
    except BaseException:
        Path(passing).unlink(missing_ok=True)
        raise
