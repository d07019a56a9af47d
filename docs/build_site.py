"""Build the static site: `python docs/build_site.py build/site`, without a network.

The pages of this folder, the notebooks as they are stored, the reference from the docstrings, the glossary and a page
to explore are put together beside the target, in a folder whose name ends in -sources, and given to Sphinx.
"""

import json
import re
import shutil
import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path

from docstrings import summary

import offseg_viz as ov
from offseg_viz.course.exercises import notebook_text, read_notebook, student_version

HERE = Path(__file__).parent
ROOT = HERE.parent
SCENES = 2

FLOORS = {
    "records": (
        "Words, records and metrics",
        "What everything else is made of: numpy and xarray only.",
        ("terms", "record", "metrics"),
    ),
    "data": ("Data", "Images with their labels.", ("data",)),
    "models": ("Models", "The networks, with offset learning and without it.", ("models",)),
    "extract": ("Extract", "Torch goes in, a labelled record comes out.", ("extract",)),
    "analyze": ("Analyze", "A record or many in; a map, a matrix or a table out.", ("analyze",)),
    "plot": ("Plot", "A result in, a figure out.", ("plot",)),
    "widgets": ("Widgets", "The same by hand, in JupyterLab.", ("widgets",)),
    "pages": ("Pages and reports", "One HTML file for others to read.", ("export", "report")),
}
"""Pages of the reference, from the lowest floor to the highest: title, sentence, and the parts of the package on it."""


def names_of(parts: tuple[str, ...]) -> list[str]:
    """Public names whose home is in one of the parts."""
    homes = {name: ov._HOME[name].split(".")[1] for name in ov.__all__}
    return [name for name in ov.__all__ if homes[name] in parts]


def reference_page(title: str, sentence: str, names: list[str]) -> str:
    """A table of the names with what they return, then each with its whole docstring."""
    lines = [title, "=" * len(title), "", sentence, "", ".. currentmodule:: offseg_viz", ""]
    lines += [".. list-table::", "   :class: names", ""]
    for name in names:
        lines += [f"   * - `{name}`", f"     - {summary(getattr(ov, name).__doc__)}"]
    for name in names:
        kind = "class" if isinstance(getattr(ov, name), type) else "function"
        lines += ["", f".. auto{kind}:: {name}", *(["   :members:"] if kind == "class" else [])]
    return "\n".join(lines) + "\n"


ERRORS = """
Errors
------

.. automodule:: offseg_viz.errors
   :members:
   :show-inheritance:
"""


def write_reference(folder: Path) -> None:
    folder.mkdir()
    placed = []
    for page, (title, sentence, parts) in FLOORS.items():
        names = names_of(parts)
        placed += names
        text = reference_page(title, sentence, names) + (ERRORS if page == "records" else "")
        (folder / f"{page}.rst").write_text(text, encoding="utf-8")
    if missing := sorted(set(ov.__all__) - set(placed)):
        raise SystemExit(f"no page of the reference has {', '.join(missing)}: give the part a place in FLOORS")
    index = [
        "# Reference\n",
        "Torch goes in, a labelled record comes out, and above that line every function returns one of three shapes:",
        "a map, a matrix or a table, each with one way to draw it. Every name below is called as `offseg_viz.name`.\n",
        "```{toctree}\n:maxdepth: 1\n",
        *FLOORS,
        "```\n",
    ]
    (folder / "index.md").write_text("\n".join(index), encoding="utf-8")


def write_glossary(path: Path) -> None:
    text = f"# Words\n\nThe vocabulary of the package, as `offseg_viz.glossary()` prints it.\n\n{ov.glossary()}\n"
    path.write_text(text, encoding="utf-8")


def write_notebooks(source: Path, target: Path, files: Path) -> None:
    """The notebooks for reading; beside them, to download, as they are and in the students' version."""
    target.mkdir()
    names = []
    for path in sorted(source.glob("*.ipynb")):
        notebook = read_notebook(path)
        shutil.copy(path, files / path.name)
        (files / f"exercises_{path.name}").write_text(notebook_text(student_version(notebook)), encoding="utf-8")
        notebook["cells"] = list(for_reading(notebook["cells"], path))
        (target / path.name).write_text(json.dumps(notebook), encoding="utf-8")
        names.append(path.stem)
    text = (HERE / "course.md").read_text(encoding="utf-8")
    (target / "index.md").write_text(text.replace("NOTEBOOKS", "\n".join(names)), encoding="utf-8")


def for_reading(cells: list[dict], path: Path) -> Iterator[dict]:
    """Cells without those for Colab; solutions folded away, guesses to tick, and below the title what to download."""
    for number, cell in enumerate(cells):
        tags = cell["metadata"].get("tags", [])
        following = cells[number + 1]["metadata"].get("tags", []) if number + 1 < len(cells) else []
        if "colab" in tags or ("colab" in following and cell["cell_type"] == "markdown"):
            continue
        if number == 0:
            title, _, rest = "".join(cell["source"]).partition("\n")
            links = f"{{download}}`with its answers <../files/{path.name}>` or "
            links += f"{{download}}`with the exercises left open <../files/exercises_{path.name}>`"
            cell = cell | {"source": f"{title}\n\n*Download this notebook* {links}.\n{rest}"}
        elif "exercise" in tags:
            cell = tagged(cell, "hide-input")
        elif any(is_guess(output) for output in cell.get("outputs", [])):
            cell = cell | {"outputs": [ticked(output, f"guess-{number}") for output in cell["outputs"]]}
            cell = tagged(cell, "remove-input") if "".join(cell["source"]).startswith("Guess(") else cell
        yield cell


def tagged(cell: dict, tag: str) -> dict:
    return cell | {"metadata": cell["metadata"] | {"tags": [*cell["metadata"].get("tags", []), tag]}}


def is_guess(output: dict) -> bool:
    return "".join(output.get("data", {}).get("text/plain", "")).startswith("Guess: ")


def ticked(output: dict, name: str) -> dict:
    """A stored guess as a question whose choices can be ticked on paper or on a page."""
    if not is_guess(output):
        return output
    question, *choices = "".join(output["data"]["text/plain"]).removeprefix("Guess: ").splitlines()
    rows = [f'<label><input type="radio" name="{name}"> {escape(choice.strip()[4:])}</label>' for choice in choices]
    question = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(question))
    form = f'<fieldset class="guess"><legend>Your guess</legend><p>{question}</p>{"".join(rows)}</fieldset>'
    return output | {"data": {"text/html": form, "text/plain": output["data"]["text/plain"]}}


def write_explorer(path: Path) -> None:
    model = ov.load_model("nano-offset", weights="scenes")
    samples = ov.load_samples("scenes")
    records = [ov.extract(model, samples[number]) for number in range(SCENES)]
    ov.write_interactive(records, path, title="Two scenes, before and after the refinement")


def assemble(sources: Path, notebooks: Path) -> None:
    """Everything that Sphinx reads, in one folder."""
    shutil.rmtree(sources, ignore_errors=True)
    ignored = shutil.ignore_patterns("__pycache__", "build_site.py", "course.md")
    shutil.copytree(HERE, sources, ignore=ignored)
    for name in ("files", "extra"):
        (sources / name).mkdir()
    shutil.copy(ROOT / "benchmarks" / "results" / "picture.png", sources / "files")
    write_reference(sources / "api")
    write_glossary(sources / "glossary.md")
    write_notebooks(notebooks, sources / "notebooks", sources / "files")
    write_explorer(sources / "extra" / "explorer_page.html")


def main(arguments: list[str]) -> int:
    from sphinx.cmd.build import main as sphinx

    target = Path(arguments[0] if arguments else ROOT / "build" / "site").resolve()
    notebooks = Path(arguments[1]) if len(arguments) > 1 else ROOT / "notebooks"
    sources = target.with_name(f"{target.name}-sources")
    assemble(sources, notebooks)
    shutil.rmtree(target, ignore_errors=True)
    cache = target.with_name(f"{target.name}-cache")
    status = sphinx(["-W", "--keep-going", "-q", "-E", "-b", "html", "-d", str(cache), str(sources), str(target)])
    for leftover in (cache, target.with_name("jupyter_execute")):
        shutil.rmtree(leftover, ignore_errors=True)
    if status == 0:
        print(f"{target / 'index.html'}: {sum(1 for _ in target.rglob('*.html'))} pages")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
