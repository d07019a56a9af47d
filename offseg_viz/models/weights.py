"""Weights on disk: safetensors with their origin in the header, or a checkpoint of a training run."""

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from offseg_viz.classes import ClassList
from offseg_viz.errors import CheckpointError
from offseg_viz.models.official.safe_loading import load_inert

BUNDLED = Path(__file__).parent / "bundled"


@dataclass(frozen=True)
class StoredWeights:
    """A state dict, the model and the classes that it belongs to, and how it was made (`origin`)."""

    path: Path
    model: str
    classes: ClassList
    state_dict: dict[str, Tensor]
    origin: dict[str, str]

    def load_into(self, module: nn.Module) -> None:
        """Load strictly: every tensor used, none missing, or a `CheckpointError` that names the first few."""
        wanted = {name: tensor.shape for name, tensor in module.state_dict().items()}
        found = {name: tensor.shape for name, tensor in self.state_dict.items()}
        if wanted != found:
            missing, unused = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
            shapes = [name for name in wanted.keys() & found.keys() if wanted[name] != found[name]]
            parts = {"missing": missing, "unused": unused, "of another shape": sorted(shapes)}
            text = "; ".join(f"{len(names)} {kind}, such as {names[0]}" for kind, names in parts.items() if names)
            raise CheckpointError(f"{self.path} does not fit {self.model}: {text}")
        module.load_state_dict(self.state_dict)


def bundled_weights(model: str, name: str) -> Path:
    """Path of the bundled weights `name` of a model, or `name` itself where it is the path of a file.

    Raises
    ------
    CheckpointError
        If there is neither, saying which bundled weights there are.
    """
    path = BUNDLED / f"{model}_{name}.safetensors"
    if path.is_file():
        return path
    if Path(name).is_file():
        return Path(name)
    here = ", ".join(sorted(file.stem.replace("_", " on ") for file in BUNDLED.glob("*.safetensors"))) or "none"
    raise CheckpointError(
        f"{model} has no bundled weights {name!r}, and no such file exists (bundled: {here}); "
        "train the model and pass the path of its checkpoint as weights, or `offseg-viz convert` a published one"
    )


def save_weights(model: nn.Module, path: str | Path, *, origin: dict[str, str]) -> Path:
    """Write a `Segmenter`'s weights, atomically, with its name, classes and `origin` (command, ...) in the header."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {"model": model.name, "classes": list(model.classes.names), "colors": list(model.classes.colors)}
    metadata = {"offseg_viz": json.dumps(header | {"origin": origin}, sort_keys=True)}
    partial = path.with_name(f".{path.name}.partial")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    try:
        save_file(tensors, partial, metadata)
        partial.chmod(0o644)  # safetensors writes for the owner alone
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def read_weights(path: str | Path, *, model: str | None = None) -> StoredWeights:
    """Read a ``.safetensors`` file of `save_weights` or a ``.ckpt`` file of the training pipeline.

    Nothing in the file is executed: safetensors holds no code, and ``.ckpt`` files are read as data (`load_inert`).

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, not of this package, or of another model than `model`.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}; needed a .safetensors or .ckpt file of offseg-viz train")
    header, state_dict = _read_safetensors(path) if path.suffix == ".safetensors" else _read_lightning(path)
    if model is not None and header["model"] != model:
        raise CheckpointError(f"{path} holds weights of {header['model']!r}, not of {model!r}; load that model instead")
    classes = ClassList(tuple(header["classes"]), tuple(header["colors"]))
    return StoredWeights(path, header["model"], classes, state_dict, header.get("origin", {}))


def _read_safetensors(path: Path) -> tuple[dict, dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state_dict = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as cause:
        raise CheckpointError(f"{path} is damaged or no safetensors file ({cause})") from cause
    if "offseg_viz" not in metadata:
        lack = "its header lacks the model and the classes"
        raise CheckpointError(f"{path} was not written by offseg_viz: {lack}. {_published(path)}")
    return json.loads(metadata["offseg_viz"]), state_dict


def _read_lightning(path: Path) -> tuple[dict, dict[str, Tensor]]:
    checkpoint = load_inert(path, mapped=False)  # a training run may write it anew
    if not isinstance(checkpoint, dict) or "offseg_viz" not in checkpoint:
        needed = "needed one of its .ckpt or .safetensors files"
        raise CheckpointError(f"{path} was not written by offseg-viz train; {needed}. {_published(path)}")
    prefix = "model."
    state_dict = {
        name[len(prefix) :]: tensor for name, tensor in checkpoint["state_dict"].items() if name.startswith(prefix)
    }
    return checkpoint["offseg_viz"], state_dict


def _published(path: Path) -> str:
    """What to do with a checkpoint of the OffSeg release."""
    convert = f"`offseg-viz convert {path.name} OUT.safetensors`"
    return f"A checkpoint of the OffSeg release is made into such a file by {convert}, or read by load_official_weights"
