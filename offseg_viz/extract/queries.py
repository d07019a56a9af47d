"""From the tensors of a Mask2Former's decoder to a record of queries, of one of the predictions that it makes."""

import torch
from torch import Tensor, nn

from offseg_viz.errors import ModelError
from offseg_viz.extract.capture import Point
from offseg_viz.extract.offsets import offsets
from offseg_viz.extract.points import Reading
from offseg_viz.models.mask_offset_learning import AlignedMaskPredictor


def reading_of_queries(model: nn.Module, path: str, layer: int) -> Reading:
    """How a Mask2Former is read, of this package or of transformers, plain or with offset learning in its masks.

    The decoder predicts classes and masks of its queries once before its first layer and once after each; `layer` is
    the number of the prediction, 0 to 9 of the published networks, -1 for the last. Everything of a prediction is made
    of what its call of the mask predictor takes and returns: queries, pixel map and mask logits.

    Raises
    ------
    ModelError
        If there is no such prediction, or the mask predictor is not within a decoder and beside a class predictor.
    """
    parts = path.split(".")
    around = [model.get_submodule(".".join(parts[:end])) for end in reversed(range(len(parts)))]
    decoder = next((module for module in around if hasattr(module, "layers")), None)
    owner = next((module for module in around if hasattr(module, "class_predictor")), None)
    if decoder is None or owner is None:
        lacks = "decoder layers" if decoder is None else "a class predictor"
        raise ModelError(
            f"{type(model).__name__} has a mask predictor at {path!r} but lacks {lacks}; needed the whole network, "
            "such as transformers' Mask2FormerForUniversalSegmentation"
        )
    predictor, class_predictor = model.get_submodule(path), owner.class_predictor
    predictions = len(decoder.layers) + 1
    if layer not in range(-predictions, predictions):
        raise ModelError(
            f"layer is {layer!r}; the decoder makes {predictions} predictions: needed 0 to {predictions - 1}, or -1 "
            "for the last"
        )
    call = layer % predictions

    @torch.no_grad()
    def tensors(captured: dict[str, Tensor], size: tuple[int, int]) -> dict[str, Tensor]:
        hidden, feature = captured["hidden"], captured["feature"]  # (1, Q, D), (h, w, C)
        mask_embedding = predictor.mask_embedder(hidden)[0]  # (Q, C)  W
        found = {
            "feature": feature,  # the pixel map, E
            "class_embedding": mask_embedding,
            "logits": captured["logits"],  # (Q, h, w)
            "query_class": class_predictor(hidden)[0].softmax(dim=1)[:, :-1],  # (Q, K), the last is "no object"
        }
        if isinstance(predictor, AlignedMaskPredictor):
            class_offset, feature_offset = offsets(predictor.offset_learning, feature.flatten(0, 1), mask_embedding)
            found["class_offset"] = class_offset  # (Q, C)  dW
            found["feature_offset"] = feature_offset.view(feature.shape)  # (h, w, C)  dE
        return found

    points = {
        "hidden": Point(predictor, "input", lambda queries: queries.transpose(0, 1), 0, call),  # of (Q, 1, D)
        "feature": Point(predictor, "input", lambda pixels: pixels[0].movedim(0, -1), 1, call),  # of (1, C, h, w)
        "logits": Point(predictor, "output", lambda masks: masks[0], 0, call),  # of (1, Q, h, w)
    }
    return Reading(path, points, tensors, class_predictor.out_features - 1, {"layer": call})
