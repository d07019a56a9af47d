"""The floors: imports go downwards only, and looking at saved records never loads torch."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import offseg_viz

PACKAGE = "offseg_viz"
ROOT = Path(offseg_viz.__file__).parent

FLOOR_0 = {"terms", "errors", "classes", "normalization", "record", "metrics", "shape_metrics"}
TORCH_SIDE = FLOOR_0 | {"data", "models"}
LOWER = {
    **{name: FLOOR_0 for name in FLOOR_0},
    "data": FLOOR_0,
    "models": FLOOR_0,
    "extract": TORCH_SIDE,
    "pipeline": TORCH_SIDE,
    "analyze": TORCH_SIDE | {"extract"},
    "plot": TORCH_SIDE | {"extract", "analyze"},
    "export": TORCH_SIDE | {"extract", "analyze", "plot"},
    "widgets": TORCH_SIDE | {"extract", "analyze", "plot", "export"},
}
"""What each part of the package may import, besides itself. `pipeline` is a side wing: only the top knows it."""

TOP = {"", "cli", "course", "nbval_rules", "report", "__main__"}
"""Parts that may import everything and are imported by none; "" is `offseg_viz` itself."""

LIGHT = {"analyze", "plot", "export", "widgets"}
HEAVY = {"torch", "lightning", "pytorch_lightning", "torchmetrics", "transformers", "umap", "numba"}
REFUSED = {"torchvision", "timm", "segmentation_models_pytorch"}
REFUSED_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "core", "misc"}
LONGEST = 400


class Import(NamedTuple):
    """One imported module, where, and whether it is imported as soon as its importer is."""

    target: str
    line: int
    at_import: bool


def imports_of(source: str, module: str, *, is_package: bool = False) -> Iterator[Import]:
    """Every import in `source`, those inside functions too; relative ones made absolute."""
    tree = ast.parse(source)
    inner = {
        child
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.walk(function)
    }
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*start, *filter(None, [node.module])])
            # `from package import name` may name a module of the package as well as an object in it
            targets = [f"{origin}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (Import(target, node.lineno, node not in inner) for target in targets)


def part_of(module: str) -> str:
    """The part of the package that a module belongs to, "" for the package itself."""
    return f"{module}.".split(".")[1]


def violations(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """What `source`, as the module of that name, imports although it must not, one sentence each."""
    part, found = part_of(module), []
    for target, line, at_import in imports_of(source, module, is_package=is_package):
        library = target.split(".")[0]
        if library in REFUSED:
            found.append(f"{module}:{line} imports {library}, which the package does without")
        elif library == PACKAGE:
            # a public name stands for the module it lives in, `__version__` and the like for none
            home = part_of(offseg_viz._HOME.get(target.removeprefix(f"{PACKAGE}."), target))
            if part in TOP or home == part or home.startswith("__"):
                continue
            if home not in LOWER.get(part, ()):
                found.append(f"{module}:{line} imports {target}: {part!r} may import {sorted(LOWER.get(part, ()))}")
        elif part in FLOOR_0 and at_import and library not in sys.stdlib_module_names | {"numpy", "xarray"}:
            found.append(f"{module}:{line} imports {library}; floor 0 stands on numpy and xarray only")
        elif part in LIGHT and at_import and library in HEAVY:
            found.append(f"{module}:{line} imports {library} as soon as it is imported; import it where it is used")
    return found


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = sorted(ROOT.rglob("*.py"))
MODULES = {module_name(path): path for path in FILES}


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_downwards(module):
    path = MODULES[module]
    assert not violations(path.read_text(encoding="utf-8"), module, is_package=path.name == "__init__.py")


def test_every_part_has_a_floor():
    parts = {part_of(module) for module in MODULES}
    assert parts <= set(LOWER) | TOP, "give the new part a floor in LOWER or TOP"
    assert {"data", "models", "extract", "pipeline", "analyze", "plot", "export", "widgets"} <= parts


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("offseg_viz.data.scenes", "from offseg_viz.models.backbones.nano import Nano"),
        ("offseg_viz.models.zoo", "import offseg_viz.data.scenes"),
        ("offseg_viz.models.zoo", "def load():\n    from offseg_viz.data import load_samples"),
        ("offseg_viz.models.zoo", "from ..data import scenes"),
        ("offseg_viz.models.zoo", "from .. import data"),
        ("offseg_viz.models.zoo", "from offseg_viz import load_samples"),
        ("offseg_viz.extract.store", "from offseg_viz.pipeline import train"),
        ("offseg_viz.pipeline.train", "from offseg_viz.extract.extract import extract"),
        ("offseg_viz.analyze.ideal", "from offseg_viz import plot"),
        ("offseg_viz.analyze.ideal", "from offseg_viz.report import report_html"),
        ("offseg_viz.plot.maps", "from offseg_viz.widgets import explorer"),
        ("offseg_viz.widgets.explorer", "import offseg_viz.pipeline"),
        ("offseg_viz.export.page", "from offseg_viz.widgets import pixel_map"),
        ("offseg_viz.record", "import offseg_viz.extract"),
        ("offseg_viz.metrics", "import pandas"),
        ("offseg_viz.analyze.projection", "import umap"),
        ("offseg_viz.analyze.projection", "class Map:\n    from umap.umap_ import UMAP"),
        ("offseg_viz.plot.maps", "try:\n    from torch import nn\nexcept ImportError:\n    nn = None"),
        ("offseg_viz.models.backbones.mit", "def load():\n    import torchvision.models"),
        ("offseg_viz.cli", "import timm"),
        ("offseg_viz.novelty", "import offseg_viz.record"),
    ],
)
def test_the_walk_finds_a_violation(module, source):
    assert len(violations(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("offseg_viz.analyze.projection", "def project():\n    import umap"),
        ("offseg_viz.analyze.align", "from offseg_viz import __version__\nfrom offseg_viz.record import has_offsets"),
        ("offseg_viz.analyze.align", "from . import attention\nfrom .attention import coupled_attention"),
        ("offseg_viz.plot.maps", "from offseg_viz.analyze.align import prediction\nimport matplotlib"),
        ("offseg_viz.plot.maps", "from offseg_viz import prediction"),
        ("offseg_viz.models.backbones.nano", "import torch\nfrom offseg_viz.errors import ModelError"),
        ("offseg_viz.record", "import shutil\nimport xarray as xr\nfrom offseg_viz.classes import ClassList"),
        ("offseg_viz.cli", "from offseg_viz.pipeline import train\nfrom offseg_viz.widgets import explorer"),
    ],
)
def test_the_walk_lets_the_rest_pass(module, source):
    assert violations(source, module) == []


def test_a_relative_import_inside_a_package_file_is_resolved():
    assert violations("from .scenes import scene", "offseg_viz.data", is_package=True) == []
    assert len(violations("from ..models import zoo", "offseg_viz.data", is_package=True)) == 1


def light_modules() -> list[str]:
    """Floors 0, 3, 4 and 5 and the reader of saved records: what a notebook on saved records may import."""
    light = FLOOR_0 | LIGHT
    return [name for name in MODULES if part_of(name) in light or name == "offseg_viz.extract.store"]


def test_saved_records_are_looked_at_without_torch():
    names = ["offseg_viz", *light_modules()]
    program = f"""
import importlib, sys
for name in {names!r}:
    importlib.import_module(name)
    heavy = sorted({HEAVY!r} & sys.modules.keys())
    assert not heavy, f"import {{name}} loads {{heavy}}"
import offseg_viz
dir(offseg_viz), offseg_viz.load_record, offseg_viz.glossary
assert not {HEAVY!r} & sys.modules.keys()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr.strip().splitlines()[-1]
    assert len(names) > len(LIGHT) + len(FLOOR_0)


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(ROOT)) for path in FILES])
def test_modules_are_nouns_of_the_trade_and_short(path):
    assert path.stem not in REFUSED_NAMES and path.parent.name not in REFUSED_NAMES, "name it after what it holds"
    length = len(path.read_text(encoding="utf-8").splitlines())
    assert length <= LONGEST, f"{length} lines; more than {LONGEST} is a sign that two things live there"
