"""Single modules of OffSeg against the release's: their weights by the rule, and what their parts return."""

from collections import Counter
from contextlib import contextmanager

import numpy as np
import torch
from release_names import release_names
from shared_data import reference_tensor
from torch import nn

from offseg_viz.models.official.names import names_of


def _pairs(prefix):
    """(their name, ours) of everything under a prefix, which both share."""
    rename = names_of("offseg-t")
    theirs = [name for name in release_names("offseg-t", 150) if name.startswith(prefix)]
    return [(name, rename(name, torch.zeros(()))[0][0]) for name in theirs]


def fill_unit(module, prefix, unit):
    """`module`, whose like lies at `prefix` in OffSeg-T, with the weights of ``unit.<unit>.*``, in evaluation."""
    names = {ours.removeprefix(prefix): theirs.removeprefix(prefix) for theirs, ours in _pairs(prefix)}
    module.load_state_dict(
        {
            ours: torch.from_numpy(np.asarray(reference_tensor(f"unit.{unit}.{names[ours]}", tuple(tensor.shape))))
            for ours, tensor in module.state_dict().items()
            if not ours.endswith("num_batches_tracked")
        },
        strict=not any(isinstance(part, nn.BatchNorm2d) for part in module.modules()),
    )
    return module.eval()


@contextmanager
def traced(model, prefix):
    """Within the context: outputs of the parts of OffSeg-T that hold weights, by the names of a trace.

    A second call of the module ``x`` is ``x#1``. Outputs are copied, because activations may overwrite them.
    """
    outputs, calls, handles = {}, Counter(), []

    def keep(name):
        def hook(_, __, output):
            number = calls[name]
            calls[name] += 1
            outputs[f"{name}#{number}" if number else name] = output.detach().clone()

        return hook

    for theirs, ours in _pairs(prefix):
        if theirs.endswith(".weight"):
            part = model.get_submodule(ours.removesuffix(".weight"))
            handles.append(part.register_forward_hook(keep(theirs.removesuffix(".weight"))))
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def assert_equals_trace(outputs, vectors, size, *, prefix, atol):
    """Mean, spread and first values of every output against the stored ones; returns how many were compared."""
    names = [str(name) for name in vectors[f"{size}/trace_name"]]
    rows = zip(names, vectors[f"{size}/trace_mean_std"], vectors[f"{size}/trace_first8"], strict=True)
    compared = 0
    for name, (mean, std), first in rows:
        if name.startswith(prefix) and name in outputs:
            output = outputs[name].double()
            np.testing.assert_allclose(output.mean(), mean, atol=atol, err_msg=name)
            np.testing.assert_allclose(output.std(correction=0), std, atol=atol, err_msg=name)
            np.testing.assert_allclose(output.flatten()[:8], first, atol=atol, err_msg=name)
            compared += 1
    return compared
