"""The errors a user can meet. Each message says what was found, what was needed and what to do."""

import difflib
from collections.abc import Iterable


class OffsegVizError(Exception):
    """Base of every error that offseg_viz raises on purpose."""


class UnknownNameError(OffsegVizError, ValueError):
    """A name (model, data set, class, method, ...) that is not one of the valid ones."""

    def __init__(self, kind: str, found: object, valid: Iterable[str]):
        valid = [str(name) for name in valid]
        self._parts = (kind, found, valid)
        near = difflib.get_close_matches(str(found).lower(), [name.lower() for name in valid], n=1, cutoff=0.5)
        guess = next((name for name in valid if near and name.lower() == near[0]), None)
        hint = f" Did you mean {guess!r}?" if guess else ""
        super().__init__(f"unknown {kind} {found!r}.{hint} Valid: {', '.join(valid) or 'none'}.")

    def __reduce__(self):
        # An exception is pickled as its message alone, which this one cannot be made from again: without this, one
        # raised in a worker process would be lost on its way.
        return type(self), self._parts


class DataError(OffsegVizError, ValueError):
    """A file, folder, image or label map that cannot be used; the message names it."""


class RecordError(OffsegVizError, ValueError):
    """A dataset that is not a valid AlignmentRecord, or records that do not fit each other."""


class ModelError(OffsegVizError, ValueError):
    """A model, input or set of weights that do not fit."""


class CheckpointError(OffsegVizError, ValueError):
    """A checkpoint file that is missing, damaged or not of the expected kind."""
