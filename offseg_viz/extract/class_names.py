"""Which classes a record's class numbers stand for: those of the labels, or what the model says of itself."""

from torch import nn

from offseg_viz.classes import ClassList
from offseg_viz.data.sample import Sample
from offseg_viz.errors import ModelError


def classes_of(model: nn.Module, sample: Sample, number: int) -> ClassList:
    """Names and colours of the `number` classes that a model tells apart.

    A model with a `ClassList` of its own (all of `load_model`) is taken by its word. Of others: the classes of the
    sample if they are as many, else the model's (names in `model.classes`, or transformers' `config.id2label`), else
    numbers.

    Raises
    ------
    ModelError
        If the sample has labels of other classes: of other names than the model's own list, or of another number.
    """
    own = getattr(model, "classes", None)
    of_labels = sample.classes if sample.label is not None else None
    if isinstance(own, ClassList) and len(own) == number:
        if of_labels is not None and of_labels.names != own.names:
            raise _mismatch(sample, _some(own.names))
        return own
    if of_labels is not None and len(of_labels) != number:
        raise _mismatch(sample, f"{number} outputs")
    if sample.classes is not None and len(sample.classes) == number:
        return sample.classes
    numbered = ClassList.numbered(number)
    names = _names(model, number)
    return numbered if names is None else ClassList(names, numbered.colors)


def _names(model: nn.Module, number: int) -> tuple[str, ...] | None:
    own = getattr(model, "classes", None)
    if not isinstance(own, list | tuple):
        by_number = getattr(getattr(model, "config", None), "id2label", None) or {}
        own = [by_number.get(k) for k in range(number)]
    if len(own) != number or None in own:
        return None
    names = [str(name) for name in own]
    # Published lists name some classes twice; a record needs to tell them apart.
    return tuple(name if names.count(name) == 1 else f"{name} ({k})" for k, name in enumerate(names))


def _mismatch(sample: Sample, needed: str) -> ModelError:
    return ModelError(
        f"sample {sample.id!r} of {sample.dataset} has the classes {_some(sample.classes.names)}, the model {needed}; "
        "make the model with classes=samples.classes, take one of that data set, or a sample without label"
    )


def _some(names: tuple[str, ...]) -> str:
    return f"{len(names)} ({', '.join(names[:3])}, ...)"
