"""A published checkpoint made into a file of ours, with its classes and its origin in the header."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError

from offseg_viz.classes import CLASS_LISTS, ClassList
from offseg_viz.errors import CheckpointError, ModelError
from offseg_viz.models.official.checkpoint import ForeignCheckpoint, read_foreign
from offseg_viz.models.official.identification import identify
from offseg_viz.models.official.loading import match_official
from offseg_viz.models.weights import save_weights
from offseg_viz.models.zoo import load_model


@dataclass(frozen=True)
class Conversion:
    """What was written: network, classes, where their names come from, tensors used and ignored by reason, origin."""

    model: str
    classes: ClassList
    class_source: str
    used: int
    ignored: Counter
    origin: dict[str, str]


def convert(
    source: str | Path, out: str | Path, *, model: str | None = None, classes: str | None = None, force: bool = False
) -> Conversion:
    """Write the checkpoint `source` of the OffSeg release as `out` (``.safetensors``), which `load_model` reads.

    The file appears under its name only when it is whole. In memory are the network and the bytes being written; the
    source is mapped, not read at once.

    Parameters
    ----------
    source : file as it is published; nothing in it is executed.
    out : file to write.
    model : name of the network, where it is not told by the tensors.
    classes : name of a class list (see `ClassList.of`); by default the names in the file, else the data set of the
        release that has as many classes, else numbers.
    force : write over a file that is there.

    Raises
    ------
    CheckpointError
        If the source cannot be loaded as that network, is none of the release, or `out` cannot be written.
    ModelError
        If `classes` has another number of classes than the checkpoint.
    """
    source, out = Path(source), Path(out)
    if out.suffix != ".safetensors":
        raise CheckpointError(f"found {out} as the file to write; needed a name that ends in .safetensors")
    if out.exists() and not force:
        raise CheckpointError(f"{out} is there already; choose another name, or --force to write over it")
    if out.exists() and source.exists() and out.samefile(source):
        raise CheckpointError(f"{out} is the source itself; choose another name")
    checkpoint = read_foreign(source)
    look = identify(checkpoint.state_dict)
    if look.num_classes is None:
        backbone = "a backbone alone is read by load_backbone_weights(model, path)"
        raise CheckpointError(f"{source} does not look like a network of the release: it has no classifier; {backbone}")
    if model is None and look.name is None:
        name_it = "name it by --model (`offseg-viz models` lists them)"
        raise CheckpointError(f"{source} has sizes that no network of the release has; {name_it}")
    chosen, class_source = _classes(checkpoint, look.num_classes, classes)
    network = load_model(model or look.name, classes=chosen)
    found = match_official(network, checkpoint.state_dict, str(source))
    found.copy()
    origin = {"source": source.name, "sha256": _sha256(source), **checkpoint.told()}
    used = len(checkpoint.state_dict) - found.ignored.total()
    done = Conversion(network.name, chosen, class_source, used, found.ignored, origin)
    del checkpoint, found  # the mapped file, before the bytes to write come on top
    try:
        save_weights(network, out, origin=origin)
    except (OSError, SafetensorError) as cause:
        raise CheckpointError(f"{out} cannot be written ({cause})") from cause
    return done


def _classes(checkpoint: ForeignCheckpoint, count: int, asked: str | None) -> tuple[ClassList, str]:
    """The classes of a checkpoint, and a word on where their names come from."""
    if asked is not None:
        chosen = ClassList.of(asked)
        if len(chosen) != count:
            raise ModelError(f"{asked} has {len(chosen)} classes, {checkpoint.path} {count}; name another class list")
        return chosen, f"{asked}, as asked"
    told = checkpoint.classes()
    if told is not None and len(told) == count:
        return told, "the file"
    published = next((name for name, size in CLASS_LISTS.items() if size == count and name != "camvid"), None)
    if published is not None:
        return ClassList.of(published), f"{published}, by their number"
    return ClassList.numbered(count), "nowhere, so numbered"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
