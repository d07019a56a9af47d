"""Files of `torch.save` from anywhere, read as data: nothing in them is executed.

Such a file is a pickle, a small program that may name any function of any installed module and call it. Two gates stand
in front of that here:

1. ``torch.load(weights_only=True)``, whose interpreter knows a short list of tensor functions and refuses every other
   name before anything is called. Names that somebody allowed elsewhere in the process do not count.
2. Training frameworks leave their logs beside the weights. Those few kinds of objects (`STAND_INS`) are let pass as
   `Inert`, an empty class of ours that takes any arguments and keeps nothing: mmengine and numpy are not imported, and
   no code of theirs runs.

The pickle protocol is that of Python's ``pickletools``; the two formats of ``torch.save`` (a zip archive, and before
torch 1.6 five pickles followed by the raw numbers) are described in ``torch.serialization``.
"""

import io
import pickletools
import re
import threading
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch.serialization import add_safe_globals, clear_safe_globals, get_safe_globals, safe_globals

from offseg_viz.errors import CheckpointError


class Inert:
    """Stands where a file has an object of a log: takes everything, keeps nothing, does nothing."""

    def __new__(cls, *arguments: object) -> "Inert":
        return super().__new__(cls)

    def __init__(self, *arguments: object):
        pass

    def __setstate__(self, state: object) -> None:
        pass


class InertHistory(Inert):
    """Stands for the class of mmengine's log curves, whose methods a file may refer to."""


def _attribute(owner: object, *name: object) -> Inert:
    """Stands for `getattr`: mmengine's log curves list four of their own methods, and nothing else may be looked up."""
    if owner is not InertHistory:
        raise CheckpointError("not loaded: it refers to builtins.getattr of something else than a log's method")
    return Inert()


HISTORY = "mmengine.logging.history_buffer.HistoryBuffer"

STAND_INS = {
    HISTORY: InertHistory,
    "builtins.getattr": _attribute,
    "mmengine.logging.message_hub.MessageHub": Inert,
    "mmengine.config.config.ConfigDict": Inert,
    "argparse.Namespace": Inert,
    "numpy.ndarray": Inert,
    "numpy.dtype": Inert,
    **{f"numpy.{core}.multiarray.{name}": Inert for core in ("core", "_core") for name in ("_reconstruct", "scalar")},
}
"""Names that may stand beside the weights, and what we put in their place."""

_TENSOR_PARTS = re.compile(
    r"torch\.(\w+Storage|storage\.\w+Storage|_utils\._rebuild_\w+|Size|device|Tensor|nn\.parameter\.Parameter)"
    r"|torch\.[a-z]+\d+"
    r"|collections\.(OrderedDict|Counter)|_codecs\.encode|builtins\.(set|bytearray|complex)"
)
"""Names that `weights_only` reads; left out when a refusal lists what a file refers to."""

AGAIN = "it is damaged or was cut short: download it again"

_ONE_AT_A_TIME = threading.Lock()  # the names that torch allows are kept once for the process


def load_inert(path: str | Path, *, mapped: bool) -> Any:
    """What ``torch.save`` wrote into `path`, tensors on the CPU, without executing anything from the file.

    Parameters
    ----------
    path : file of `torch.save`, in the zip format or the older one.
    mapped : leave tensors of the zip format in the file until they are used, so that what nobody asks for (the state
        of an optimiser) takes no memory; the file must then stay as it is for as long as its tensors are in use.

    Raises
    ------
    CheckpointError
        If there is no such file; if it is empty, cut short or of another kind; or if it refers to anything that would
        have to be executed, which is named.
    """
    path = Path(path)
    is_zip = _kind(path) == "zip"
    with _ONE_AT_A_TIME:
        allowed_elsewhere = get_safe_globals()
        clear_safe_globals()
        try:
            with safe_globals([(stand_in, name) for name, stand_in in STAND_INS.items()]):
                return torch.load(str(path), map_location="cpu", weights_only=True, mmap=mapped and is_zip)
        except CheckpointError as refusal:
            raise CheckpointError(f"{path} holds more than weights and is {refusal}") from None
        except Exception as cause:  # torch raises many kinds here; what they mean is told by the file itself
            raise CheckpointError(_reason(path, cause)) from cause
        finally:
            add_safe_globals(allowed_elsewhere)


def _kind(path: Path) -> str:
    """``"zip"`` or ``"pickle"``; anything else is refused, saying what it looks like."""
    needed = "needed a checkpoint as torch.save writes it (.pth, .pt, .ckpt)"
    if not path.is_file():
        raise CheckpointError(f"no file {path}; {needed}")
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as cause:
        raise CheckpointError(f"{path} cannot be opened ({cause}); {needed}") from cause
    if not start:
        raise CheckpointError(f"{path} is empty; {needed}: download it again")
    if start.startswith(b"PK"):
        _check_zip(path)
        return "zip"
    if start.startswith(b"\x80"):
        return "pickle"
    text = start.lstrip()[:20].decode("ascii", "replace")
    web = " (a web page: the link led to one, not to the file)" if text.startswith("<") else ""
    raise CheckpointError(f"{path} is no checkpoint{web}; found a file that begins with {text!r}, {needed}")


def _check_zip(path: Path) -> None:
    """Refuse archives that are damaged or hold something else; the list of contents stands at their end."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.rsplit("/", 1)[-1] for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError) as cause:
        raise CheckpointError(f"{path} cannot be read ({cause}); {AGAIN}") from cause
    if "data.pkl" not in names:
        raise CheckpointError(f"{path} is a zip archive, but no checkpoint: found no data.pkl in it")
    if "constants.pkl" in names:
        raise CheckpointError(f"{path} is a TorchScript program, which is not loaded; needed a state dict")


def _reason(path: Path, cause: Exception) -> str:
    """Why torch could not read the file, in our words, with what to do."""
    try:
        names = dict.fromkeys(names_in(path))
    except Exception:  # not even a whole pickle
        names = ()
    foreign = [name for name in names if name not in STAND_INS and not _TENSOR_PARTS.fullmatch(name)]
    if foreign:
        listed = ", ".join(foreign[:5]) + (f" and {len(foreign) - 5} more" if len(foreign) > 5 else "")
        return (
            f"{path} holds more than weights and is not loaded: it refers to {listed}, which loading would execute; "
            "ask its author for a file with the state dict alone"
        )
    if "Unsupported operand" in str(cause):
        return f"{path} is not loaded: it is written in another pickle protocol than 2, the one that torch.save uses"
    return f"{path} cannot be read ({_first_line(cause)}); {AGAIN}"


def _first_line(cause: Exception) -> str:
    """The sentence of torch's message that says what is wrong, without its advice to switch the check off."""
    text = str(cause).partition("WeightsUnpickler error:")[2] or str(cause)
    return (text.strip().splitlines() or [type(cause).__name__])[0].split(". Please use")[0][:200]


def names_in(path: Path) -> Iterator[str]:
    """Every ``module.name`` that the pickles of a file refer to, found by reading opcodes, which executes nothing."""
    if _kind(path) == "zip":
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.rsplit("/", 1)[-1] == "data.pkl":
                    yield from _names(io.BytesIO(archive.read(name)))
    else:
        with path.open("rb") as file:
            for _ in range(4):  # magic number, protocol, machine, contents; the list of storages names nothing
                yield from _names(file)


def _names(stream: BinaryIO) -> Iterator[str]:
    strings: list[str] = []
    for opcode, argument, _ in pickletools.genops(stream):
        if isinstance(argument, str) and opcode.name not in ("GLOBAL", "INST"):
            strings.append(argument)
        elif opcode.name == "STACK_GLOBAL":  # of protocol 4, which weights_only does not read at all
            yield ".".join(strings[-2:])
        elif opcode.name in ("GLOBAL", "INST"):
            module, _, name = argument.partition(" ")  # protocol 2 writes the names of Python 2
            module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
            yield f"{module}.{name}"
