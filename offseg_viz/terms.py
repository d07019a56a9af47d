"""The vocabulary as data: the README glossary, `describe` and the notebooks' symbol tables are printed from it."""

from typing import NamedTuple


class Term(NamedTuple):
    """One word of the package: code name, symbol in the paper, dims, meaning and equation of arXiv 2508.08811."""

    name: str
    symbol: str
    dims: tuple[str, ...]
    meaning: str
    equation: str = ""


TERMS: dict[str, Term] = {
    term.name: term
    for term in (
        Term("feature", "E", ("y", "x", "channel"), "per-pixel feature in front of the classifier", "(1)"),
        Term("class_embedding", "W", ("cls", "channel"), "one learned vector a class, the same for every image", "(1)"),
        Term("ideal_class_embedding", "W*", ("cls", "channel"), "least-squares class embedding of one image", "(2)"),
        Term("coupled_attention", "A_c", ("cls", "y", "x"), "inner products W E^T, not scaled", "(4)"),
        Term("class_attention", "A_cls", ("cls", "y", "x"), "softmax over positions: where a class looks", "(5)"),
        Term("class_offset", "dW", ("cls", "channel"), "offset of the class embeddings, of one window", "(6, 7)"),
        Term("aligned_class_embedding", "W + dW", ("cls", "channel"), "class embedding after the refinement", "(8)"),
        Term("position_attention", "A_pos", ("y", "x", "cls"), "softmax over classes: what a pixel attends to", "(9)"),
        Term("feature_offset", "dE", ("y", "x", "channel"), "offset of the features, of rank at most K", "(10, 11)"),
        Term("aligned_feature", "E + dE", ("y", "x", "channel"), "feature after the refinement", "(12)"),
        Term("scores", "S", ("cls", "y", "x"), "(W + dW)(E + dE)^T, before the LayerNorm", "(13)"),
        Term("logits", "", ("cls", "y", "x"), "what the model returns: scores normalised over classes, or plus bias"),
        Term("logit_gain", "g", ("cls",), "learned gain of that LayerNorm; absent for a per-pixel model", ""),
        Term("logit_bias", "b", ("cls",), "learned bias of that LayerNorm, or of the 1x1 convolution", ""),
        Term(
            "query_class", "", ("query", "cls"), "class probabilities of a query (Mask2Former); the rest is no object"
        ),
        Term("label", "M", ("y", "x"), "ground-truth class of a grid cell, 255 = ignored", ""),
        Term("image", "", ("row", "col", "rgb"), "the photograph, uint8", ""),
        Term("prediction", "", ("y", "x"), "arg max of the logits over classes", ""),
        Term("initial", "", (), "stage before the refinement: W and E", ""),
        Term("aligned", "", (), "stage after the refinement: W + dW and E + dE", ""),
        Term("projection", "", ("stage", "pixel", "axis"), "PCA or UMAP coordinates of features", ""),
    )
}

STAGES = ("initial", "aligned")
"""The two stages of a record, before and after the refinement."""


def glossary() -> str:
    """The vocabulary as a Markdown table, as printed in the README."""
    rows = ["| name | symbol | dims | meaning | eq. |", "|---|---|---|---|---|"]
    for term in TERMS.values():
        symbol = f"`{term.symbol}`" if term.symbol else ""
        rows.append(f"| `{term.name}` | {symbol} | {', '.join(term.dims)} | {term.meaning} | {term.equation} |")
    return "\n".join(rows)
