"""The README keeps its word: its code runs, its glossary is the package's, its file tree exists."""

import re
from pathlib import Path

import pytest

from offseg_viz.terms import glossary

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_glossary_is_the_one_of_the_package():
    assert glossary() in README


BLOCKS = re.findall(r"```python\n(.*?)```", README, re.S)


def test_the_twenty_lines_run(tmp_path, monkeypatch):
    block = BLOCKS[0]
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(block, "README.md", "exec"), names)  # noqa: S102
    assert (tmp_path / "report.html").stat().st_size > 100_000
    assert len(names["store"]) == 6


@pytest.mark.parametrize("block", BLOCKS[1:])
def test_the_other_python_blocks_run(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})  # noqa: S102


def test_figures_of_cost_and_speed_come_from_the_results():
    results = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "benchmarks" / "results").glob("*.md"))
    rows = re.findall(r"^\| (?:head|offseg|segformer|segnext|mask2former).*\d.*$", README, re.M)
    assert len(rows) == 27
    assert [row for row in rows if row not in results] == []


def test_every_name_of_the_file_tree_exists():
    tree = re.search(r"## What is where\n\n```\n(.*?)```", README, re.S).group(1)
    names = re.findall(r"[\w/]+(?:\.py|/)", tree)
    assert len(names) > 40
    known = {path.name for path in ROOT.rglob("*.py")} | {
        path.name + "/" for path in ROOT.rglob("*") if path.is_dir() and ".venv" not in path.parts
    }
    assert [name for name in names if name not in known] == []


@pytest.mark.parametrize("path", re.findall(r"\]\((benchmarks/[^)]+)\)", README))
def test_linked_files_exist(path):
    assert (ROOT / path).is_file()


def test_figures_of_the_comparison_come_from_the_results():
    rows = [line for line in README.splitlines() if line.startswith("| **nano")]
    results = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "benchmarks" / "results").glob("*.md"))
    assert len(rows) == 3
    assert [row for row in rows if row not in results] == []
    assert "BENCHMARKS" not in README
