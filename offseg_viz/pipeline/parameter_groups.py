"""Which parameters learn faster and which are not decayed: the parameter groups of the optimiser."""

import re
from collections.abc import Callable
from typing import NamedTuple, Protocol

from torch import nn

from offseg_viz.errors import ModelError
from offseg_viz.models.official.official_names import FAMILIES, official_name
from offseg_viz.models.segmenter import Segmenter

EMBEDDINGS = ("queries_embedder", "queries_features", "level_embed", "relative_position_bias_table")
"""Parts of our names of Mask2Former's tables of embeddings, which are not decayed either."""


class Rates(Protocol):
    """What of a recipe decides the groups: the backbone's learning rate, the decode head's factor on it, the decay."""

    learning_rate: float
    head_multiplier: float
    weight_decay: float


class Rule(NamedTuple):
    """What holds for a parameter: learning rate of the decode head or of the backbone, and whether it is decayed."""

    head_rate: bool
    decay: bool


PER_PIXEL_RULES = {
    "pos_block": Rule(head_rate=False, decay=False),
    "norm": Rule(head_rate=False, decay=False),
    "head": Rule(head_rate=True, decay=True),
}
"""By parts of names, as the release's configurations of OffSeg, SegFormer and SegNeXt have them."""

SWIN_NORMS = (
    "backbone.patch_embed.norm",
    "backbone.norm",
    *(f"backbone.stages.{stage}.blocks.{k}.norm" for stage, depth in enumerate((2, 2, 6, 2)) for k in range(depth)),
    *(f"backbone.stages.{stage}.downsample.norm" for stage in range(3)),
)

MASK2FORMER_RULES = {
    "backbone": Rule(head_rate=False, decay=True),
    **{name: Rule(head_rate=False, decay=False) for name in SWIN_NORMS},
    "absolute_pos_embed": Rule(head_rate=False, decay=False),
    "relative_position_bias_table": Rule(head_rate=False, decay=False),
    **{name: Rule(head_rate=True, decay=False) for name in ("query_embed", "query_feat", "level_embed")},
}
"""As the release's configuration of Mask2Former has them; its learning rate is the head's, with 0.1 in the backbone."""


def parameter_groups(model: Segmenter, recipe: Rates, *, official: bool = False) -> list[dict]:
    """Every parameter of `model` in one group: ``params``, ``lr``, ``weight_decay`` and a ``name`` for logs.

    By default as it is meant: the decode head learns `head_multiplier` times as fast as the backbone, and everything is
    decayed but the parameters of normalisation layers, whatever their names (arXiv 2508.08811 excepts these only), and
    Mask2Former's tables of embeddings: of queries, of levels, and of relative positions (as arXiv 2112.01527 has it).

    Parameters
    ----------
    recipe : its `learning_rate` (the backbone's), `head_multiplier` and `weight_decay` are read.
    official : choose as the released configurations do, by parts of the release's names. In OffSeg, SegFormer and
        SegNeXt the norms of the decode head are then decayed, of those in the backbone the ones that are named by a
        number, and the talking heads of EfficientFormerV2 learn at the rate of the decode head. In Mask2Former the
        level embedding of the pixel decoder, which is named otherwise there, is decayed.

    Raises
    ------
    ModelError
        If `official` is asked of a network that the release does not have.
    """
    if official and model.name.partition("-")[0] not in FAMILIES:
        raise ModelError(f"{model.name} is not in the OffSeg release, so there are no official groups; needed False")
    norms = {id(p) for module in model.modules() if _is_norm(module) for p in module.parameters(recurse=False)}
    rule_of = _official_rule(model.name) if official else _intended_rule
    groups = {}
    for name, parameter in model.named_parameters():  # a shared tensor comes once
        rule = rule_of(name, id(parameter) in norms)
        part = name.partition(".")[0]
        fast = ", head's rate" if rule.head_rate and part != "decode_head" else ""
        title = f"{part}{fast}, {'decay' if rule.decay else 'no decay'}"
        group = {
            "params": [],
            "lr": recipe.learning_rate * (recipe.head_multiplier if rule.head_rate else 1.0),
            "weight_decay": recipe.weight_decay if rule.decay else 0.0,
            "name": title,
        }
        groups.setdefault(title, group)["params"].append(parameter)
    return list(groups.values())


def _intended_rule(name: str, is_norm: bool) -> Rule:
    embedding = any(part in name.split(".") for part in EMBEDDINGS)
    return Rule(head_rate=name.startswith("decode_head."), decay=not is_norm and not embedding)


def _official_rule(model: str) -> Callable[[str, bool], Rule]:
    """The rule that mmengine's DefaultOptimWrapperConstructor finds: the longest part that is in the name.

    Among parts of one length the first in the alphabet. Where none is, Mask2Former's norms are not decayed
    (``norm_decay_mult``).
    """
    mask = model.startswith("mask2former")
    rules = MASK2FORMER_RULES if mask else PER_PIXEL_RULES
    parts = sorted(rules, key=lambda part: (-len(part), part))

    def rule_of(name: str, is_norm: bool) -> Rule:
        theirs = official_name(model, name)
        default = Rule(head_rate=mask, decay=not (mask and is_norm))
        return next((rules[part] for part in parts if part in theirs), default)

    return rule_of


def _is_norm(module: nn.Module) -> bool:
    """Whether a layer normalises, by the names of its class and the classes it is made from."""
    return any(re.search(r"Norm([1-3]d)?$", kind.__name__) for kind in type(module).__mro__)
