"""What the networks cost: parameters and multiply-adds, counted, beside the figures of the paper."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import pandas as pd
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from offseg_viz.models.heads.offseg import OffSegHead
from offseg_viz.models.heads.segformer import SegFormerHead
from offseg_viz.models.mask_offset_learning import MaskOffsetLearning
from offseg_viz.models.offset_learning import OffsetLearning
from offseg_viz.models.segmenter import Segmenter
from offseg_viz.models.zoo import MODELS, load_model

PAPER = {
    "offseg-t": (6.2, 5.3),
    "offseg-b": (None, 10.3),
    "offseg-l": (None, 17.1),
    "segformer-b0": (3.8, 8.4),
    "segformer-b0-offset": (3.9, 8.8),
    "segformer-b1": (13.7, 15.9),
    "segformer-b1-offset": (13.9, 16.3),
    "segformer-b2": (24.8, 25.9),
    "segformer-b2-offset": (24.9, 26.1),
    "segformer-b3": (44.6, 42.5),
    "segformer-b3-offset": (44.8, 42.8),
    "segformer-b4": (61.4, 59.2),
    "segformer-b4-offset": (61.6, 59.5),
    "segformer-b5": (82.0, 75.2),
    "segformer-b5-offset": (82.2, 75.5),
    "segnext-t": (4.3, 6.6),
    "segnext-t-offset": (4.4, 7.2),
    "segnext-s": (13.9, 15.9),
    "segnext-s-offset": (14.1, 16.5),
    "segnext-b": (27.6, 34.9),
    "segnext-b-offset": (28.2, 34.8),
    "mask2former-swin-t": (47.4, None),
    "mask2former-swin-t-offset": (47.6, None),
}
"""Parameters in millions and GFLOPs at 512 x 512 with 150 classes, arXiv 2508.08811, tables 2 to 5."""

PAPER_CITYSCAPES = {"offseg-t": 44.8, "offseg-b": 86.5, "offseg-l": 143.4}
"""GFLOPs at 2048 x 1024 with 19 classes, in the same paper."""

PAPER_GAIN = {"segformer-b0-offset": 2.7, "segnext-t-offset": 1.9, "mask2former-swin-t-offset": 2.6}
"""mIoU gained by offset learning on ADE20K, in the abstract of the same paper."""

REMARKS = {
    "offseg": "the paper counts convolutions only; with norms and resizing too it is 9.5, 14.9 and 22.1 at 512 x 512",
    "segformer": "levels are fused before they are resized: same numbers, fewer products; the paper counts norms too",
    "segformer-offset": "as plain, and the offset head avoids its P x C x C product",
    "segnext": "the paper's plain figures are those of the SegNeXt paper; counted alike, offset learning always adds",
    "segnext-offset": "the offset head avoids its P x C x C product; the paper counts norms too",
    "mask2former": "the paper gives no multiply-adds",
}
"""Why a figure differs from the paper's, by family."""


def available_models(num_classes: int = 150, *, size: tuple[int, int] = (512, 512)) -> pd.DataFrame:
    """Table of the networks with their size and cost, counted, and the paper's figures beside them.

    Multiply-adds are those of convolutions and of matrix products, counted by `torch.utils.flop_counter` (which counts
    two FLOPs a multiply-add; halved here, as the field's tables do). Norms, activations and resizing are not counted.

    Parameters
    ----------
    num_classes : K.
    size : height and width of the input in pixels. The paper's figures stand in the table for 150 classes at 512 x 512
        and for 19 classes at 1024 x 2048 (Cityscapes).

    Returns
    -------
    pandas.DataFrame
        Index `name`. Parameters in millions: `params_m` of the network; `params_published_m` with the 1x1 convolution
        that the release keeps unused beside offset learning, as the paper counts; `paper_params_m`. Multiply-adds in
        billions: `conv_g`, `matmul_g` and their sum `gflops`, what runs here; `published_gflops`, convolutions and
        products of the same network as the equations are written; `paper_gflops`. `remark` says why these differ;
        `paper_gain_ade20k` is the mIoU gained by offset learning on ADE20K.
    """
    ade20k = (num_classes, *size) == (150, 512, 512)
    cityscapes = (num_classes, *size) == (19, 1024, 2048)
    rows = []
    for name in MODELS:
        with hollow_model(name, num_classes) as model:
            count = multiply_adds(model, size)
        params = sum(parameter.numel() for parameter in model.parameters())
        unused = sum(m.class_embedding.numel() + num_classes for m in _heads(model) if isinstance(m, OffsetLearning))
        paper_params, paper_gflops = PAPER.get(name, (None, None)) if ade20k else (None, None)
        family, offset = name.split("-")[0], name.endswith("-offset")
        rows.append(
            {
                "name": name,
                "params_m": round(params / 1e6, 2),
                "params_published_m": round((params + unused) / 1e6, 2),
                "paper_params_m": paper_params,
                "conv_g": round(count.conv / 1e9, 2),
                "matmul_g": round(count.matmul / 1e9, 2),
                "gflops": round((count.conv + count.matmul) / 1e9, 2),
                "published_gflops": round((count.published_conv + count.published_matmul) / 1e9, 2),
                "paper_gflops": PAPER_CITYSCAPES.get(name) if cityscapes else paper_gflops,
                "paper_gain_ade20k": PAPER_GAIN.get(name),
                "remark": REMARKS.get(f"{family}-offset" if offset else family) or REMARKS.get(family, ""),
            }
        )
    return pd.DataFrame(rows).set_index("name")


HEADINGS = {
    "params_m": "params",
    "params_published_m": "params published",
    "paper_params_m": "params in the paper",
    "conv_g": "conv",
    "matmul_g": "matmul",
    "gflops": "mult-adds",
    "published_gflops": "mult-adds published",
    "paper_gflops": "mult-adds in the paper",
}
"""The figures of `available_models` and what they are called where they are shown."""


def shown_figures(row: pd.Series) -> list[str]:
    """The figures of one network in the order of `HEADINGS`; the paper prints one digit, empty where it has none."""
    digits = {column: 1 if column.startswith("paper") else 2 for column in HEADINGS}
    return ["" if pd.isna(row[column]) else f"{row[column]:.{digits[column]}f}" for column in HEADINGS]


@contextmanager
def hollow_model(name: str, num_classes: int) -> Iterator[Segmenter]:
    """A network of shapes only: within the ``with``, no weight is drawn and no tensor made there holds numbers."""
    with torch.device("meta"):
        model = load_model(name, num_classes=num_classes)
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield model.to_empty(device="cpu")


class MultiplyAdds(NamedTuple):
    """Of one forward pass: of the convolutions and of the matrix products, as run here and as published."""

    conv: int
    matmul: int
    published_conv: int
    published_matmul: int


def multiply_adds(model: Segmenter, size: tuple[int, int]) -> MultiplyAdds:
    """Count one forward pass over one image of `size`; `published` is how the authors' code would be counted.

    That is: the equations of offset learning as they are written, SegFormer's levels fused after resizing, and without
    CARAFE, which is a matrix product here and a compiled operator there.
    """
    counts = _counts(model, size)
    here = _split(counts["Global"])
    if _heads(model):
        with _as_written(model):
            counts = _counts(model, size)
    conv, matmul = _split(counts["Global"])
    head = model.decode_head
    if isinstance(head, SegFormerHead):
        channels = head.fusion_conv.conv.out_channels
        positions = [size[0] * size[1] // stride**2 for stride in (4, 8, 16, 32)]
        conv += channels**2 * sum(positions[0] - position for position in positions)
    if isinstance(head, OffSegHead):
        matmul -= sum(_split(kinds)[1] for name, kinds in counts.items() if re.search(r"\.freqfusions\.\d+$", name))
    return MultiplyAdds(*here, conv, matmul)


def _counts(model: nn.Module, size: tuple[int, int]) -> dict[str, dict]:
    """FLOPs by module and operator. Attention runs as plain products, the kernels that fuse it are not all counted."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, *size))
    return {"Global": {}} | counter.get_flop_counts()


def _split(kinds: dict) -> tuple[int, int]:
    """Multiply-adds of convolutions and of everything else, from FLOPs by operator; torch counts two a multiply-add."""
    conv = sum(flops for operator, flops in kinds.items() if "convolution" in str(operator))
    return conv // 2, (sum(kinds.values()) - conv) // 2


def _heads(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, OffsetLearning | MaskOffsetLearning)]


@contextmanager
def _as_written(model: nn.Module) -> Iterator[None]:
    """Within the ``with``, offset heads take the path that writes every intermediate of eqs. (4) to (13) down."""
    heads = _heads(model)
    for head in heads:
        head.forward = partial(_written_out, head)
    try:
        yield
    finally:
        for head in heads:
            del head.forward


def _written_out(head: nn.Module, *inputs: torch.Tensor) -> torch.Tensor:
    refinement = head.refinement(*inputs)
    if isinstance(head, OffsetLearning):
        return refinement.logits
    return refinement.scores.unflatten(2, inputs[1].shape[2:])
