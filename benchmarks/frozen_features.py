"""Classifiers on the features of a trained, frozen network: per-pixel, offset learning and what lies between.

    python benchmarks/frozen_features.py --model nano --data scenes --runs runs/frozen
    python benchmarks/frozen_features.py --model nano-offset --data scenes --runs runs/frozen
    python benchmarks/frozen_features.py --data camvid --root path/to/camvid --runs runs/frozen

Everything before the classifier is frozen, and the features E that it sees are computed once. A fresh classifier of
every kind is then trained on them, all with the same batches, steps and seeds. The learning rate of a kind is the one
of a grid that does best on the validation split (mIoU of a run whose seed the table does not use); the table is
measured on the test split. The class attention runs over one window: 48 x 64 cells in training (all of a training
scene, a part of a CamVid photograph), the whole image in the test.

The loss is taken on the feature grid, with the label pixel in the middle of every cell, which is many times cheaper;
`--label-resolution` takes it at the resolution of the label, as training does. Predictions are always resized to the
label. Features and finished runs are kept in the folder of `--runs`; a command that was stopped goes on. Every command
is a section of benchmarks/results/frozen-features.md and .json; what is written in the former under "Reading" stays.
"""

import hashlib
import json
import math
import shlex
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch
import typer
from rich.progress import track
from scipy.stats import t as student
from torch import Tensor, nn

from offseg_viz.classes import IGNORE_INDEX
from offseg_viz.data.sample import SampleSet
from offseg_viz.data.samples import load_samples
from offseg_viz.metrics import confusion_matrix, segmentation_metrics
from offseg_viz.models.offset_learning import OffsetLearning
from offseg_viz.models.per_pixel import PerPixelClassifier
from offseg_viz.models.segmenter import Segmenter
from offseg_viz.models.zoo import load_model
from offseg_viz.pipeline.losses import segmentation_loss

RESULTS = Path(__file__).parent / "results"
BATCH_SIZE = 4
WARMUP_STEPS = 30
WEIGHT_DECAY = 0.01
LEARNING_RATES = (0.016, 0.032, 0.064)
CHOICE_SEED = 1000
"""Of the runs by which a learning rate is chosen."""

FITTED_IMAGES = 100
"""Training images, evenly spread, on which the training loss of the finished classifier is measured."""

KINDS = {
    "per-pixel": "1x1 convolution, no dropout",
    "per-pixel, dropout": "10 % of the channels dropped in training, as in the networks of the zoo",
    "per-pixel, hidden layer": "a 1x1 convolution and a ReLU in front, as many parameters as offset learning",
    "per-pixel, LayerNorm": "projections fixed at zero: no offsets, but the LayerNorm over classes",
    "offset, no norm": "no LayerNorm, a bias a class instead",
    "offset": "as released: LayerNorm over classes, its gain starts at 1",
    "offset, gain 3": "gain starts at 3",
    "offset, gain 10": "gain starts at 10",
    "offset, temperature": "one more learned factor on all logits, exp(s) with s at first 0",
    "offset, class offsets": "projection of the feature offset fixed at zero",
    "offset, feature offsets": "projection of the class offset fixed at zero",
}
"""Every classifier that is compared; the first is what the others are compared with."""

COLUMNS = {
    "macc": "mAcc",
    "aacc": "aAcc",
    "frequent": "frequent",
    "rare": "rare",
    "train_loss": "train loss",
    "test_loss": "test loss",
    "top": "top p",
    "gain": "gain",
}


class Frozen(NamedTuple):
    """Features (N, C, h, w) float16 and labels (N, H, W) uint8 of the images of a split; pixels a cell."""

    feature: Tensor
    label: Tensor
    stride: int


class Tempered(nn.Module):
    """A classifier whose logits are multiplied by one learned number, at first 1."""

    def __init__(self, classifier: nn.Module):
        super().__init__()
        self.classifier = classifier
        self.log_factor = nn.Parameter(torch.zeros(()))

    def forward(self, feature: Tensor) -> Tensor:
        return self.classifier(feature) * self.log_factor.exp()  # (B, K, h, w)


def build(kind: str, channels: int, num_classes: int, *, seed: int = 0) -> nn.Module:
    """A fresh classifier (B, C, h, w) -> (B, K, h, w), one of `KINDS`."""
    torch.manual_seed(seed)
    family, _, change = kind.partition(", ")
    if family == "per-pixel" and change != "LayerNorm":
        hidden = hidden_width(channels, num_classes) if change == "hidden layer" else 0
        classifier = PerPixelClassifier(hidden or channels, num_classes, 0.1 if change == "dropout" else 0.0)
        return nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.ReLU(), classifier) if hidden else classifier
    classifier = OffsetLearning(channels, num_classes, norm=change != "no norm", bias=change == "no norm")
    if change.startswith("gain "):
        nn.init.constant_(classifier.norm.weight, float(change.removeprefix("gain ")))
    if change in ("class offsets", "LayerNorm"):
        _fix_at_zero(classifier.feature_offset_proj.weight)
    if change in ("feature offsets", "LayerNorm"):
        _fix_at_zero(classifier.class_offset_proj.weight)
    return Tempered(classifier) if change == "temperature" else classifier


def hidden_width(channels: int, num_classes: int) -> int:
    """Width at which C -> width -> K has as many parameters, or nearly, as offset learning: K C + 2 C^2 + 2 K."""
    wanted = num_classes * channels + 2 * channels**2 + 2 * num_classes
    return round((wanted - num_classes) / (channels + 1 + num_classes))


def _fix_at_zero(weight: nn.Parameter) -> None:
    nn.init.zeros_(weight)
    weight.requires_grad_(False)


def highest_probability(num_classes: int, gain: float = 1.0) -> float:
    """The most that one class can get after a LayerNorm over K classes with one gain for all and no bias.

    Normalised scores have mean 0 and mean square 1. Their largest is at most sqrt(K - 1), with all others at
    -1 / sqrt(K - 1); the soft-max of that is 0.76 for 11 classes, 0.83 for 19 and 0.999 for 150.
    """
    root = math.sqrt(num_classes - 1)
    return 1 / (1 + (num_classes - 1) * math.exp(-gain * (root + 1 / root)))


@torch.no_grad()
def freeze(model: Segmenter, samples: SampleSet, folder: Path) -> Frozen:
    """Features of all images, from the folder if they are there; the classifier of `model` is lost.

    Raises
    ------
    typer.BadParameter
        If the images differ in size.
    """
    model.decode_head.classifier = nn.Identity()
    digest = hashlib.sha256(f"{model.name} {model.fingerprint()} {samples.ids}".encode())
    for sample in (samples[0], samples[-1]):
        digest.update(sample.image.tobytes() + sample.label.tobytes())
    file = folder / f"{samples.dataset}-{model.name}-{digest.hexdigest()[:12]}.pt"
    if not file.is_file():
        features, labels = [], []
        for sample in track(samples, f"features of {len(samples)} {samples.dataset}", total=len(samples)):
            features.append(model(model.normalize(sample.image)).half().contiguous())  # (1, C, h, w)
            labels.append(torch.from_numpy(sample.label.copy()))
        sizes = {tuple(label.shape) for label in labels}
        if len(sizes) > 1:
            raise typer.BadParameter(f"{samples.dataset} has images of {len(sizes)} sizes; needed one size for all")
        folder.mkdir(parents=True, exist_ok=True)
        torch.save((torch.cat(features), torch.stack(labels)), file.with_suffix(".part"))
        file.with_suffix(".part").replace(file)
    feature, label = torch.load(file, mmap=True, weights_only=True)
    return Frozen(feature, label, -(-label.shape[1] // feature.shape[2]))


def middle_labels(label: Tensor, stride: int) -> Tensor:
    """Label pixels in the middle of the cells: (N, H, W) to (N, H / stride, W / stride) rounded up, int64."""
    half = stride // 2
    rows, columns = (torch.arange(half, side + half, stride).clamp(max=side - 1) for side in label.shape[1:])
    return label[:, rows[:, None], columns].long()


def batch(frozen: Frozen, window: tuple[int, int], rng: np.random.Generator, chosen: Sequence[int]) -> Frozen:
    """A window of (h, w) cells, at a random place, of each of the chosen images."""
    height, width = (min(pair) for pair in zip(window, frozen.feature.shape[2:], strict=True))
    features, labels = [], []
    for n in chosen:
        top, left = (rng.integers(0, a - b + 1) for a, b in zip(frozen.feature.shape[2:], (height, width), strict=True))
        features.append(frozen.feature[n, :, top : top + height, left : left + width])
        y, x = top * frozen.stride, left * frozen.stride
        labels.append(frozen.label[n, y : y + height * frozen.stride, x : x + width * frozen.stride])
    return Frozen(torch.stack(features).float(), torch.stack(labels), frozen.stride)


def grid_loss(classifier: nn.Module, part: Frozen) -> Tensor:
    """Mean cross entropy on the feature grid; as `segmentation_loss`, which would resize logits to their own size."""
    label = middle_labels(part.label, part.stride)
    return nn.functional.cross_entropy(classifier(part.feature.float()), label, ignore_index=IGNORE_INDEX)


def fit(
    classifier: nn.Module, frozen: Frozen, *, steps: int, rate: float, seed: int, window: tuple[int, int], fine: bool
) -> None:
    """Train a classifier in place: AdamW, linear warm-up, then linear decay to 0; no weight decay on vectors."""
    learned = [parameter for parameter in classifier.parameters() if parameter.requires_grad]
    matrices, vectors = ([p for p in learned if (p.ndim > 1) is kind] for kind in (True, False))
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW([group for group in groups if group["params"]], lr=rate)
    rng = np.random.default_rng(seed)
    rounds = -(-steps * BATCH_SIZE // len(frozen.feature))
    order = np.concatenate([rng.permutation(len(frozen.feature)) for _ in range(rounds)])
    classifier.train()
    for step in range(steps):
        warm = min(WARMUP_STEPS, steps // 10)
        factor = (step + 1) / warm if step < warm else (steps - step) / (steps - warm)
        for group in optimizer.param_groups:
            group["lr"] = rate * factor
        part = batch(frozen, window, rng, order[step * BATCH_SIZE : (step + 1) * BATCH_SIZE])
        loss = segmentation_loss(classifier(part.feature), part.label.long()) if fine else grid_loss(classifier, part)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    classifier.eval()


@torch.no_grad()
def measure(classifier: nn.Module, frozen: Frozen, frequent: np.ndarray) -> dict[str, float]:
    """mIoU, mAcc, aAcc, mIoU of frequent and of rare classes in percent; loss and mean top probability on the grid."""
    confusion, top = 0, 0.0
    for feature, label in zip(frozen.feature, frozen.label, strict=True):
        logits = classifier(feature[None].float())  # (1, K, h, w)
        top += logits.softmax(1).amax(1).mean().item() / len(frozen.feature)
        # Channels last: resizing and arg max are several times faster, and the values the same.
        grid = [side * frozen.stride for side in feature.shape[1:]]
        large = logits.contiguous(memory_format=torch.channels_last)
        large = nn.functional.interpolate(large, size=grid, mode="bilinear", align_corners=False)
        prediction = large.argmax(1)[0, : label.shape[0], : label.shape[1]].numpy()
        confusion = confusion + confusion_matrix(label.numpy(), prediction, logits.shape[1])
    result = segmentation_metrics(confusion)
    shares = {name: result[name] for name in ("miou", "macc", "aacc")}
    shares |= {"frequent": np.nanmean(result["iou"][frequent]), "rare": np.nanmean(result["iou"][~frequent])}
    return {name: 100 * float(share) for name, share in shares.items()} | {"top": top}


@torch.no_grad()
def mean_loss(classifier: nn.Module, frozen: Frozen) -> float:
    """Cross entropy on the feature grid, a mean over labelled cells of whole images."""
    total = cells = 0
    for n in range(len(frozen.feature)):
        part = frozen._replace(feature=frozen.feature[n : n + 1], label=frozen.label[n : n + 1])
        count = int((middle_labels(part.label, part.stride) != IGNORE_INDEX).sum())
        total += count * grid_loss(classifier, part).item()
        cells += count
    return total / cells


def gains(classifier: nn.Module) -> float | None:
    """Mean factor on normalised scores (gains of the LayerNorm, times the temperature's factor); None without norm."""
    factor = classifier.log_factor.exp().item() if isinstance(classifier, Tempered) else 1.0
    norms = [module for module in classifier.modules() if isinstance(module, nn.LayerNorm)]
    return factor * norms[0].weight.mean().item() if norms else None


def frequent_classes(label: Tensor, num_classes: int) -> np.ndarray:
    """(K,) bool: the half of the classes, rounded up, with the most pixels."""
    pixels = np.bincount(label.numpy().ravel(), minlength=256)[:num_classes]
    frequent = np.zeros(num_classes, dtype=bool)
    frequent[np.argsort(-pixels, kind="stable")[: (num_classes + 1) // 2]] = True
    return frequent


def mean_and_interval(differences: Sequence[float]) -> tuple[float, float]:
    """Mean of paired differences and half the width of its 95 % confidence interval (Student's t; NaN for one)."""
    count, mean = len(differences), statistics.mean(differences)
    if count < 2:
        return mean, math.nan
    return mean, float(student.ppf(0.975, count - 1)) * statistics.stdev(differences) / math.sqrt(count)


def section(cell: dict) -> str:
    """The table of one command, a row a kind: means over the seeds."""
    what = cell["settings"]
    shown = ("num_classes", "channels", "steps", "batch_size", "window", "loss", "rates", "seeds")
    bounds = ", ".join(f"{highest_probability(what['num_classes'], gain):.3f} at gain {gain}" for gain in (1, 3, 10))
    lines = [
        f"## {what['title']}",
        "",
        f"`{cell['command']}`",
        "",
        ", ".join(f"{name} {what[name]}" for name in shown) + ". "
        f"Without bias and with one gain for all, the LayerNorm lets no probability pass {bounds}.",
        "",
        f"| classifier | params | rate | mIoU | against per-pixel | {' | '.join(COLUMNS.values())} |",
        "|---|" + "---:|" * (4 + len(COLUMNS)),
    ]
    first = next(iter(cell["kinds"].values()))["runs"]
    for kind, row in cell["kinds"].items():
        runs = row["runs"]
        miou = [run["miou"] for run in runs]
        spread = f" ± {statistics.stdev(miou):.2f}" if len(miou) > 1 else ""
        mean, half = mean_and_interval([run["miou"] - other["miou"] for run, other in zip(runs, first, strict=True)])
        against = "" if runs is first else f"{mean:+.2f}" + ("" if math.isnan(half) else f" ± {half:.2f}")
        values = [[run[name] for run in runs] for name in COLUMNS]
        cells = ["" if None in v else f"{statistics.mean(v):.{2 if max(v) > 1.5 else 3}f}" for v in values]
        row_cells = [kind, f"{row['params']:,}", f"{row['rate']:g}", f"{statistics.mean(miou):.2f}{spread}", against]
        lines.append(f"| {' | '.join([*row_cells, *cells])} |")
    return "\n".join(lines) + "\n"


def markdown(cells: dict[str, dict], reading: str) -> str:
    """All sections, what the words mean, and the reading."""
    commands = "\n".join(f"    {cell['command']}" for cell in cells.values())
    kinds = "\n".join(f"- *{kind}*: {meaning}" for kind, meaning in KINDS.items())
    return (
        "# Classifiers on frozen features\n\n"
        f"Made by `benchmarks/frozen_features.py`, which says how; torch {torch.__version__}:\n\n{commands}\n\n"
        "Metrics on the test split in percent, with the predictions resized to the label. mIoU: mean and standard "
        "deviation over the seeds. *Against per-pixel*: mean of the paired differences and half of its 95 % confidence "
        "interval (t over the seeds). *Frequent* and *rare*: mIoU of the half of the classes with the most pixels in "
        "training and of the other half. *Rate*: the learning rate, chosen on the validation split where there are "
        "several. Losses: cross entropy on the feature grid after training, of "
        f"{FITTED_IMAGES} training images and of the test split. *Top p*: mean probability of the predicted class on "
        "the test split, to be compared with aAcc. *Gain*: mean gain of the LayerNorm at the end (of class scores with "
        "standard deviation 1 to logits), times the temperature's factor. *Params*: those that are "
        f"learned.\n\n{kinds}\n\n## Reading\n\n{reading.strip()}\n\n" + "\n".join(map(section, cells.values()))
    )


def command(arguments: Sequence[str]) -> str:
    """The command line that was given; of absolute paths the last two parts, the rest being the machine's own."""
    shown = (Path(*Path(a).parts[-2:]) if Path(a).is_absolute() else a for a in arguments[1:])
    return shlex.join(["python", "benchmarks/frozen_features.py", *map(str, shown)])


def kept_reading(file: Path) -> str:
    """What stands under "Reading" in the file, to be kept."""
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    return text.partition("## Reading\n")[2].partition("\n## ")[0]


def main(
    model: Annotated[str, typer.Option(help="The network whose features are taken.")] = "nano",
    weights: Annotated[str, typer.Option(help='"scenes" or a checkpoint of this package.')] = "scenes",
    data: Annotated[str, typer.Option(help="scenes or camvid.")] = "scenes",
    root: Annotated[Path | None, typer.Option(help="Folder of camvid.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds 0 .. SEEDS - 1.")] = 5,
    steps: Annotated[int, typer.Option(min=2, help="Optimiser steps of 4 windows.")] = 600,
    window: Annotated[tuple[int, int], typer.Option(help="Cells (rows, columns) of a training window.")] = (48, 64),
    label_resolution: Annotated[bool, typer.Option(help="The loss at the label's resolution, as in training.")] = False,
    kind: Annotated[list[str] | None, typer.Option(help="Only these classifiers, beside the first.")] = None,
    rate: Annotated[list[float] | None, typer.Option(help="Instead of the grid; one alone is not chosen.")] = None,
    runs: Annotated[Path, typer.Option(help="Where features and finished runs are kept.")] = Path("runs/frozen"),
) -> None:
    """Train and measure all classifiers on the features of one network, print the table and write all of them."""
    torch.set_num_threads(1)
    network = load_model(model, weights=weights)
    samples = {split: load_samples(data, split=split, root=root) for split in ("train", "val", "test")}
    source = network.fingerprint()
    trained_on = "scenes" if weights == "scenes" else Path(weights).parent.name  # the folder of a run
    num_classes = len(samples["train"].classes)
    frozen = {split: freeze(network, part, runs) for split, part in samples.items()}
    channels = frozen["train"].feature.shape[1]
    frequent = frequent_classes(frozen["train"].label, num_classes)
    spread = np.linspace(0, len(frozen["train"].feature) - 1, FITTED_IMAGES).astype(int)
    fitted = Frozen(frozen["train"].feature[spread], frozen["train"].label[spread], frozen["train"].stride)

    def run(kind: str, rate: float, seed: int, split: str) -> dict:
        """One classifier trained and measured, or what was written when it was."""
        settings = [source, data, kind, rate, seed, split, steps, window, label_resolution]
        file = runs / f"{hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]}.json"
        if not file.is_file():
            classifier = build(kind, channels, num_classes, seed=seed)
            fit(classifier, frozen["train"], steps=steps, rate=rate, seed=seed, window=window, fine=label_resolution)
            result = {"seed": seed, "gain": gains(classifier)} | measure(classifier, frozen[split], frequent)
            if split == "test":
                losses = mean_loss(classifier, fitted), mean_loss(classifier, frozen["test"])
                result |= dict(zip(("train_loss", "test_loss"), losses, strict=True))
            file.write_text(json.dumps(result))
        return json.loads(file.read_text())

    rates, rows = rate or list(LEARNING_RATES), {}
    for name in track([k for k in KINDS if not kind or k in kind or k == next(iter(KINDS))], "classifiers"):
        validation = {r: run(name, r, CHOICE_SEED, "val")["miou"] for r in rates} if len(rates) > 1 else {}
        best = max(validation, key=validation.get) if validation else rates[0]
        params = sum(p.numel() for p in build(name, channels, num_classes).parameters() if p.requires_grad)
        measured = [run(name, best, seed, "test") for seed in range(seeds)]
        rows[name] = {"params": params, "rate": best, "validation": validation, "runs": measured}
    loss = "at the label's resolution" if label_resolution else "on the feature grid"
    where = f"{steps} steps, loss {loss}, windows of {window[0]} x {window[1]}"
    where += f", rate {rates[0]:g}" if len(rates) == 1 else ""
    title = f"{data}, features of {model} trained on {trained_on}, {where}"
    settings = {"title": title, "num_classes": num_classes, "channels": channels, "fingerprint": source, "steps": steps}
    settings |= {"batch_size": BATCH_SIZE, "window": list(window), "loss": loss, "rates": rates, "seeds": seeds}
    file = RESULTS / "frozen-features.json"
    cells = json.loads(file.read_text()) if file.is_file() else {}
    cells[title] = {"command": command(sys.argv), "settings": settings, "kinds": rows}
    file.write_text(json.dumps(cells, indent=1) + "\n")
    table = file.with_suffix(".md")
    table.write_text(markdown(cells, kept_reading(table)), encoding="utf-8")
    print(section(cells[title]))


if __name__ == "__main__":
    typer.run(main)
