"""The dependencies: three lists that agree with each other, with what is installed and with what the code imports."""

import ast
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

NOT_PINNED = {"pip", "offseg-viz"}
"""Brought by venv, and the package itself."""

PLATFORM = re.compile(r"nvidia-.*|cuda-.*|triton|appnope|colorama|pywin.*|exceptiongroup|standard-.*")
"""Installed on some machines only: what the CUDA build of torch brings, at versions it names, or one system needs."""

USED_WITHOUT_IMPORT = {
    "jupyterlab": "Makefile starts it",
    "nbval": "Makefile runs the notebooks with it",
    "pytest": "runs the tests",
    "pytest-xdist": "Makefile runs two notebooks at a time with it",
    "tensorboard": "torch writes its logs with it",
    "zarr": "xarray writes and reads records with it",
}


PLUGIN = {"nbval", "pytest"}
"""What `offseg_viz.nbval_rules` imports: it is loaded by pytest, beside nbval."""


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirement_name(requirement: str) -> str:
    return canonical(re.match(r"[\w.-]+", requirement).group())


def pins(lines: list[str]) -> dict[str, str]:
    """Name to version of lines ``name==version``; any other line that is not a comment is refused."""
    found = {}
    for line in lines:
        if line.strip() and not line.lstrip().startswith("#"):
            match = re.fullmatch(r"([\w.-]+)==([\w.]+)", line.strip())
            assert match, f"{line!r} is no exact pin name==version"
            assert canonical(match[1]) not in found, f"{match[1]} is pinned twice"
            found[canonical(match[1])] = match[2]
    return found


def conda_lists() -> tuple[list[str], list[str]]:
    """The conda packages and the pip lines of environment.yml, a file simple enough to be read by indentation."""
    lines = (ROOT / "environment.yml").read_text(encoding="utf-8").split("dependencies:\n")[1].splitlines()
    conda = [line[4:] for line in lines if line.startswith("  - ") and line != "  - pip:"]
    pip = [line[8:] for line in lines if line.startswith("      - ")]
    assert len(conda) + len(pip) + 1 == len(lines), "environment.yml has a line that this test cannot read"
    return conda, pip


CONSTRAINTS = pins((ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines())
RUN = {requirement_name(text) for text in PROJECT["project"]["dependencies"]}
TEST = {requirement_name(text) for text in PROJECT["project"]["optional-dependencies"]["test"]}
EXTRAS = PROJECT["project"]["optional-dependencies"].values()
DIRECT = RUN | {requirement_name(text) for extra in EXTRAS for text in extra}


OWNERS = metadata.packages_distributions()


def imported_in(folder: Path) -> set[str]:
    """Top-level names of all modules imported below `folder`, inside functions too."""
    found = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(node.module.split(".")[0])
    return found


def distributions_of(modules: set[str]) -> set[str]:
    """The installed distributions that these modules come from."""
    return {canonical(owner) for module in modules for owner in OWNERS.get(module, ())}


def third_party(modules: set[str]) -> set[str]:
    local = {path.stem for path in [*(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]}
    return {name for name in modules if name not in sys.stdlib_module_names | local | {"offseg_viz"}}


def test_direct_dependencies_are_pinned():
    assert DIRECT <= CONSTRAINTS.keys()


def test_the_conda_list_is_the_same_list():
    conda, pip = conda_lists()
    assert conda == ["python=3.11", "pip"]
    options = [line for line in pip if line.startswith("--")]
    assert options == ["--constraint constraints.txt", "--editable ."]
    found = pins([line for line in pip if line not in options])
    assert found == {name: CONSTRAINTS[name] for name in DIRECT}


def test_what_is_installed_is_pinned():
    installed = {canonical(dist.metadata["Name"]): dist.version.split("+")[0] for dist in metadata.distributions()}
    ours = {name: version for name, version in installed.items() if name not in NOT_PINNED}
    loose = {name for name in ours.keys() - CONSTRAINTS.keys() if not PLATFORM.fullmatch(name)}
    assert not loose, "not in constraints.txt: `make setup`, then `make constraints`"
    pairs = {name: (version, CONSTRAINTS[name]) for name, version in ours.items() if name in CONSTRAINTS}
    other = {name: (version, pin) for name, (version, pin) in pairs.items() if version != pin}
    assert not other, "installed, pinned: other versions than constraints.txt has; run `make setup`"


def test_nothing_is_pinned_that_nothing_installs():
    installed = {canonical(dist.metadata["Name"]) for dist in metadata.distributions()}
    assert not CONSTRAINTS.keys() - installed


def test_constraints_are_sorted_and_have_no_local_versions():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert lines == sorted(lines, key=str.upper)
    assert CONSTRAINTS["torch"] == "2.13.0"


def test_the_build_backend_is_pinned():
    assert pins(PROJECT["build-system"]["requires"]).keys() == {"hatchling"}


def test_every_dependency_is_used():
    used = distributions_of(imported_in(ROOT / "offseg_viz"))
    assert RUN - used <= USED_WITHOUT_IMPORT.keys(), "nothing in offseg_viz imports these: leave them out"
    tested = distributions_of(imported_in(ROOT / "tests") | imported_in(ROOT / "benchmarks"))
    assert TEST - tested <= USED_WITHOUT_IMPORT.keys(), "nothing in tests or benchmarks imports these: leave them out"


def test_what_is_used_without_import_is_named_where_it_is_used():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(word in makefile for word in ("-m jupyterlab", "--nbval", "-m pytest"))
    assert "zarr" in (ROOT / "offseg_viz" / "record.py").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("folder", "declared"), [("offseg_viz", RUN), ("benchmarks", RUN | TEST), ("tests", RUN | TEST)]
)
def test_every_import_is_a_declared_dependency(folder, declared):
    modules = third_party(imported_in(ROOT / folder))
    if folder == "offseg_viz":
        modules -= PLUGIN
    loose = {name for name in modules if not distributions_of({name}) & declared}
    assert not loose, "imported but not in pyproject.toml"


def test_imports_are_found_inside_functions_too(tmp_path):
    source = "import numpy.linalg\nfrom . import near\ndef f():\n    from umap import UMAP\n"
    (tmp_path / "module.py").write_text(source)
    assert imported_in(tmp_path) == {"numpy", "umap"}
    assert distributions_of({"numpy", "umap", "cv2"}) == {"numpy", "umap-learn", "opencv-python-headless"}


@pytest.mark.parametrize("name", ["torchvision", "timm", "segmentation-models-pytorch"])
def test_libraries_the_package_does_without_are_not_installed(name):
    assert name not in CONSTRAINTS
    with pytest.raises(metadata.PackageNotFoundError):
        metadata.version(name)


def test_the_versions_agree():
    import offseg_viz

    assert offseg_viz.__version__ == metadata.version("offseg-viz")


@pytest.mark.parametrize("line", ["numpy>=2", "numpy", "torch==2.13.0+cpu", "numpy==2.*"])
def test_a_line_that_is_no_exact_pin_is_refused(line):
    with pytest.raises(AssertionError, match="no exact pin"):
        pins([line])
