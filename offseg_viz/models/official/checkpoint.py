"""A checkpoint that others published: its weights, whatever they are wrapped in, and what it says about itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from offseg_viz.classes import CLASS_LISTS, ClassList
from offseg_viz.errors import CheckpointError, DataError
from offseg_viz.models.official.safe_loading import load_inert

WRAPPERS = ("state_dict", "model", "state_dict_ema", "model_ema", "ema_state_dict", "module")
"""Keys under which training frameworks keep the weights, the first one that is there wins."""

PREFIXES = ("module.", "model.", "_orig_mod.")
"""Put in front of every name by data parallel training, by Lightning and by `torch.compile`."""

LONGEST = 100  # of a class name or remark out of a foreign file


@dataclass(frozen=True)
class ForeignCheckpoint:
    """State dict under the names of the file, and its `meta` where it has one (plain values, not to be trusted)."""

    path: Path
    state_dict: dict[str, Tensor]
    meta: dict = field(default_factory=dict)

    def classes(self) -> ClassList | None:
        """Classes that mmengine's `dataset_meta` (or mmcv's `CLASSES` and `PALETTE`) tells, None without usable names.

        Colours that are missing or damaged are replaced by those of a published list with the same names, or by evenly
        spread hues.
        """
        told = self.meta.get("dataset_meta")
        told = told if type(told) is dict else self.meta
        names, palette = (told.get(key, told.get(key.upper())) for key in ("classes", "palette"))
        if type(names) not in (list, tuple) or not all(type(name) is str for name in names):
            return None
        names = tuple(printable(name).strip() for name in names)
        try:
            return ClassList(names, ["#%02x%02x%02x" % _color(color) for color in palette])
        except (DataError, TypeError, ValueError):
            pass
        published = (ClassList.of(name) for name, count in CLASS_LISTS.items() if count == len(names))
        colors = next((one.colors for one in published if one.names == names), None)
        try:
            return ClassList(names, colors or ClassList.numbered(len(names)).colors)
        except DataError:  # a name occurs twice, or there are too many
            return None

    def told(self) -> dict[str, str]:
        """What the file says about how it was made: experiment, iterations, time, library version."""
        keys = ("experiment_name", "epoch", "iter", "time", "mmengine_version", "mmseg_version", "seed")
        found = {key: self.meta.get(key) for key in keys}
        return {key: printable(str(value)) for key, value in found.items() if type(value) in (str, int, float)}


def read_foreign(path: str | Path) -> ForeignCheckpoint:
    """Read a published checkpoint, ``.pth`` as of mmengine and others, or ``.safetensors``; nothing is executed.

    Raises
    ------
    CheckpointError
        If the file cannot be read safely (see `load_inert`), holds no state dict, or is one of this package.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        return ForeignCheckpoint(path, _read_safetensors(path))
    contents = load_inert(path, mapped=True)
    top = dict(_items(contents))
    if "offseg_viz" in top:
        raise CheckpointError(own_format(path))
    meta = top.get("meta")
    return ForeignCheckpoint(path, state_dict_in(contents, str(path)), meta if type(meta) is dict else {})


def state_dict_in(contents: object, where: str) -> dict[str, Tensor]:
    """The tensors by name in a checkpoint's contents, without the wrapping and the prefixes of training frameworks.

    Raises
    ------
    CheckpointError
        If there are none, or if a state dict holds anything but tensors under names.
    """
    found = dict(_items(contents))
    for _ in WRAPPERS:
        inner = next((key for key in WRAPPERS if isinstance(found.get(key), Mapping)), None)
        if inner is None:
            break
        found = dict(_items(found[inner]))
    others = [key for key, value in found.items() if not (isinstance(key, str) and isinstance(value, Tensor))]
    if not found or others:
        kind = f"entries such as {_listed(others)}" if others else f"{type(contents).__name__} without tensors"
        raise CheckpointError(
            f"{where} holds no state dict (tensors by name): found {kind}; needed the weights alone or under one of "
            f"{', '.join(WRAPPERS)}"
        )
    # a detached tensor is a plain one: attributes that a file has put on it are gone
    state_dict = {key: value.detach() for key, value in found.items()}
    while prefix := next((text for text in PREFIXES if all(key.startswith(text) for key in state_dict)), None):
        state_dict = {key.removeprefix(prefix): value for key, value in state_dict.items()}
    return state_dict


def given_state_dict(weights: str | Path | Mapping[str, Tensor]) -> tuple[str, dict[str, Tensor]]:
    """What errors call the weights that a user gives, a path or a mapping, and their tensors by name.

    Raises
    ------
    CheckpointError
        As `read_foreign` and `state_dict_in`.
    """
    if isinstance(weights, Mapping):
        return "this state dict", state_dict_in(weights, "this mapping")
    return str(weights), read_foreign(weights).state_dict


def own_format(path: Path) -> str:
    """The sentence for a file of this package that is given where a published one is needed."""
    return f"{path} was written by offseg_viz itself; load_model(name, weights={str(path)!r}) reads it"


def printable(text: str) -> str:
    """`text` out of a foreign file as it may be shown: no control characters, not endless."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:LONGEST])


def _items(found: object) -> list[tuple]:
    if isinstance(found, dict):
        return list(dict.items(found))  # not `found.items`, which a file may have put on an OrderedDict
    return list(found.items()) if isinstance(found, Mapping) else []


def _listed(keys: list) -> str:
    return ", ".join(printable(str(key)) for key in keys[:3]) + (" ..." if len(keys) > 3 else "")


def _color(color: object) -> tuple[int, int, int]:
    red, green, blue = color
    if not all(type(value) is int and 0 <= value <= 255 for value in color):
        raise ValueError("no colour")
    return red, green, blue


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            if "offseg_viz" in (file.metadata() or {}):
                raise CheckpointError(own_format(path))
            return state_dict_in({name: file.get_tensor(name) for name in file.keys()}, str(path))
    except (SafetensorError, OSError) as cause:
        raise CheckpointError(f"{path} cannot be read as safetensors ({cause})") from cause
