"""The authors' checkpoints: their parameter names in ours, loaded strictly and without executing anything."""

import warnings
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from offseg_viz.errors import CheckpointError, ModelError
from offseg_viz.models.official.checkpoint import given_state_dict, printable
from offseg_viz.models.official.identification import Identity, identify
from offseg_viz.models.official.names import names_of
from offseg_viz.models.official.strict_loading import Match, match
from offseg_viz.models.segmenter import Segmenter

AUXILIARY = "heads that serve training only"

UNUSED = {
    "decode_head.conv_seg.": "the convolution that offset learning replaced",
    "auxiliary_head.": AUXILIARY,
}
"""Beginnings of names that are known to be unused where we have no place for them, and what they are."""

OURS = ("decode_head.classifier.", "decode_head.transformer_module.")
"""Beginnings of names that only networks of this package have."""


def load_official_weights(model: Segmenter, weights: str | Path | Mapping[str, Tensor]) -> Segmenter:
    """Load a checkpoint of the OffSeg release into `model`, which is returned.

    Every tensor of the checkpoint is used or known to be unused (`decode_head.conv_seg` beside offset learning,
    auxiliary heads, constants and counters), and nothing is missing. All is checked before anything is copied: if
    loading fails the model is as it was. Tensors of half or double precision are cast to the dtype of the model.

    Parameters
    ----------
    model : a network of `load_model`, of any dtype and on any device.
    weights : path of a file as it is published (nothing in it is executed; mmengine is not needed), a state dict in the
        release's names, or what such a file holds (a dict with ``state_dict``).

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, or would execute code; if it belongs to another network or number of classes,
        saying which; if tensors are missing, left over or of another shape, naming the first ten.
    """
    if not isinstance(model, Segmenter):
        found = type(model).__name__
        raise ModelError(f"load_official_weights(model, weights) needs a network of load_model() first, found {found}")
    where, state_dict = given_state_dict(weights)
    found = match_official(model, state_dict, where)
    if found.ignored[AUXILIARY]:
        warnings.warn(f"{where}: {found.ignored[AUXILIARY]} tensors left out, {AUXILIARY}", stacklevel=2)
    found.copy()
    return model


def match_official(model: Segmenter, state_dict: Mapping[str, Tensor], where: str) -> Match:
    """Pair a state dict in the release's names with the tensors of `model`; `where` names it in errors.

    Raises
    ------
    CheckpointError
        If they do not fit each other exactly.
    """
    if any(name.startswith(OURS) for name in state_dict):
        raise CheckpointError(
            f"{where} is not loaded: its tensors have our own names, needed those of the release; "
            "model.load_state_dict(...) takes them"
        )
    found = match(model.state_dict(), state_dict, names_of(model.name), UNUSED)
    if found.problems():
        raise CheckpointError(f"{where} is not loaded: {_reason(model, state_dict, found)}")
    return found


def _reason(model: Segmenter, state_dict: Mapping[str, Tensor], found: Match) -> str:
    """Which call fits the checkpoint where it is of another network, else the problems with this one, by name."""
    look = identify(state_dict)
    if look.name is None:
        start = ", ".join(printable(name) for name in list(state_dict)[:2])
        look_like = f"it does not look like any network of the release (first names: {start})"
        return f"{look_like}, needed {model.name}. {found.problems()}"
    if look == Identity(model.name, len(model.classes)):
        return f"it looks like {model.name}, but {found.problems()}"
    other = "" if look.name == model.name else f", not {model.name}"
    classes = f"{look.num_classes} classes" + ("" if other else f", not {len(model.classes)}")
    call = f"load_model({look.name!r}, num_classes={look.num_classes})"
    return f"this looks like {look.name} with {classes}{other}: build the model with {call} ({found.summary()})"
