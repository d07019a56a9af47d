"""Student versions of the notebooks: solutions are the source, exercises are made from them, never edited by hand.

``python -m offseg_viz.course.exercises notebooks notebooks/exercises`` writes them, and with ``--check`` tells which
are not what the notebooks would give now.
"""

import argparse
import ast
import copy
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import dedent

from offseg_viz.errors import DataError

TAG = "exercise"
BEGIN, END = "# BEGIN SOLUTION", "# END SOLUTION"
BLANK = "...  # your answer"
NOTE = """\
> **Exercise version.** Where it says `...  # your answer` something is left out: write it there, run the cell, then run
> the check below it. A check says `right`, or what is probably wrong with the answer; it never shows the solution."""


def student_version(notebook: dict) -> dict:
    """The notebook without solutions, outputs and execution counts.

    In a cell tagged ``exercise``, of what stands between the lines ``# BEGIN SOLUTION`` and ``# END SOLUTION`` these
    stay: imports; of an assignment, its names, each set to ``...``; of a function, its head and docstring with ``...``
    as its body. Markers indented in a function leave ``...`` there. All else of the notebook stays as it is, with a
    note below the title. Cell ids are their numbers, so that the same notebook always gives the same text.

    Parameters
    ----------
    notebook : dict
        A notebook of format 4, as ``json.load`` or ``nbformat.read`` give it; it is not changed.

    Raises
    ------
    DataError
        If markers are unbalanced, a solution stands in a cell without the tag, leaves nothing to fill in or
        is no Python, a cell with the tag has no solution, or nothing checks it: no later cell under the same ``##``
        heading ends with a call of a function ``check_...``.
    """
    cells = [{**copy.deepcopy(cell), "source": text_of(cell)} for cell in notebook["cells"]]
    for number, cell in enumerate(cells):
        if cell["cell_type"] == "code":
            _refuse_what_does_not_fit(number, cells)
            cell["source"] = _without_solutions(cell["source"], number)
            cell["outputs"], cell["execution_count"] = [], None
        cell["metadata"] = {key: value for key, value in cell["metadata"].items() if key != "execution"}
        cell["id"] = f"cell-{number:02d}"
    title = next((cell for cell in cells if cell["cell_type"] == "markdown"), None)
    if title is None or not title["source"].startswith("# "):
        raise DataError("found no title, needed a first markdown cell that begins with '# '")
    heading, _, rest = title["source"].partition("\n")
    title["source"] = f"{heading}\n\n{NOTE}\n\n{rest.lstrip()}".rstrip()
    kept = {"kernelspec", "language_info"}
    metadata = {key: value for key, value in notebook["metadata"].items() if key in kept}
    for cell in cells:
        cell["source"] = cell["source"].splitlines(keepends=True)
    return {"cells": cells, "metadata": copy.deepcopy(metadata), "nbformat": 4, "nbformat_minor": 5}


def notebook_text(notebook: dict) -> str:
    """A notebook as it is written to a file."""
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def read_notebook(path: str | Path) -> dict:
    """A notebook of format 4 from its file.

    Raises
    ------
    DataError
        If it is none.
    """
    try:
        notebook = json.loads(Path(path).read_text(encoding="utf-8"))
        found = (notebook["nbformat"], *(cell["cell_type"] for cell in notebook["cells"]), notebook["metadata"])[0]
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError) as cause:
        raise DataError(f"{path} is no notebook ({type(cause).__name__}: {cause})") from None
    if found != 4:
        raise DataError(f"{path} is a notebook of format {found}, needed 4: open and save it in JupyterLab")
    return notebook


def exercise_texts(source: str | Path) -> dict[str, str]:
    """Name and text of the student version of every notebook in a folder, in teaching order.

    Raises
    ------
    DataError
        If the folder has no notebook, or one is not fit for it: the message names notebook and cell.
    """
    paths = sorted(Path(source).glob("*.ipynb"))
    if not paths:
        raise DataError(f"{source} has no notebooks; name the folder that holds 00_tour.ipynb")
    texts = {}
    for path in paths:
        try:
            texts[path.name] = notebook_text(student_version(read_notebook(path)))
        except DataError as cause:
            raise DataError(str(cause) if str(path) in str(cause) else f"{path}: {cause}") from None
    return texts


def drifted_exercises(source: str | Path, target: str | Path) -> dict[str, str]:
    """Names of the student notebooks that are not what `source` gives, each with what is wrong."""
    target, texts = Path(target), exercise_texts(source)
    there = {path.name: path.read_bytes() for path in sorted(target.glob("*.ipynb"))}
    found = {name: "missing" for name in texts if name not in there}
    found |= {name: "of no notebook any more" for name in there if name not in texts}
    changed = {name for name, text in texts.items() if name in there and there[name] != text.encode()}
    return dict(sorted((found | {name: "differs" for name in changed}).items()))


def write_exercises(source: str | Path, target: str | Path) -> list[Path]:
    """Write the student version of every notebook in `source` to `target`, and remove those that have no notebook.

    Returns
    -------
    list of Path
        What was written or removed; files that were right are left alone.
    """
    source, target = Path(source), Path(target)
    if source.resolve() == target.resolve():
        raise DataError(f"exercises written to {target} would replace the notebooks; needed another folder")
    texts = exercise_texts(source)
    target.mkdir(parents=True, exist_ok=True)
    changed = [target / name for name in drifted_exercises(source, target)]
    for path in changed:
        if path.name in texts:
            path.write_bytes(texts[path.name].encode())
        else:
            path.unlink()
    return changed


def text_of(cell: dict) -> str:
    """Source of a cell, which a file holds as a text or as a list of lines."""
    source = cell["source"]
    return source if isinstance(source, str) else "".join(source)


def tags_of(cell: dict) -> list[str]:
    return cell["metadata"].get("tags", [])


def solutions(source: str) -> Iterator[str]:
    """What stands between the markers in the source of a cell, one text a block."""
    block = None
    for line in source.splitlines():
        if line.strip() == BEGIN:
            block = []
        elif line.strip() == END and block is not None:
            yield "\n".join(block)
            block = None
        elif block is not None:
            block.append(line)


def check_call(source: str) -> ast.Call | None:
    """The call of a function ``check_...`` that is the last expression of a cell, None where it ends otherwise."""
    try:
        body = ast.parse(source).body
    except SyntaxError:  # a line of IPython
        return None
    last = body[-1].value if body and isinstance(body[-1], ast.Expr) else None
    if isinstance(last, ast.Call):
        name = last.func.attr if isinstance(last.func, ast.Attribute) else getattr(last.func, "id", "")
        return last if name.startswith("check_") else None
    return None


def checks_of(cells: Sequence[dict], number: int) -> list[int]:
    """Numbers of the cells that check the exercise in cell `number`: below it, under the same ``##`` heading."""
    found = []
    for later in range(number + 1, len(cells)):
        source = text_of(cells[later])
        if cells[later]["cell_type"] == "markdown" and any(line.startswith("## ") for line in source.splitlines()):
            break
        if cells[later]["cell_type"] == "code" and check_call(source) is not None:
            found.append(later)
    return found


def _refuse_what_does_not_fit(number: int, cells: Sequence[dict]) -> None:
    cell, source = cells[number], cells[number]["source"]
    lines = [line.strip() for line in source.splitlines()]
    open_block = False
    for line in lines:
        if line in (BEGIN, END) and (line == BEGIN) == open_block:
            wrong = "a second one before the end of the first" if open_block else "no beginning of it"
            raise DataError(f"cell {number}: found {line!r} and {wrong}; needed a {BEGIN!r} and an {END!r} each")
        open_block = line == BEGIN or (open_block and line != END)
    if open_block:
        raise DataError(f"cell {number}: found {BEGIN!r} without {END!r}")
    has_solution, tagged = BEGIN in lines, TAG in tags_of(cell)
    if has_solution and not tagged:
        raise DataError(f"cell {number}: a solution in a cell without the tag {TAG!r}: students would see it")
    if tagged and not has_solution:
        raise DataError(f"cell {number}: tagged {TAG!r}, but nothing stands between {BEGIN!r} and {END!r}")
    if tagged and not checks_of(cells, number):
        needed = "a later cell under the same ## heading whose last expression calls a function check_..."
        raise DataError(f"cell {number}: an exercise without a check; needed {needed}")


def _without_solutions(source: str, number: int) -> str:
    kept, block = [], None
    for line in source.splitlines():
        if line.strip() == BEGIN:
            block, indent = [], line[: line.index(BEGIN)]
        elif line.strip() == END:
            kept += [
                f"{indent}{blank}" if blank else "" for blank in _blanks(dedent("\n".join(block)), number, bool(indent))
            ]
            block = None
        else:
            (kept if block is None else block).append(line)
    return "\n".join(kept)


def _blanks(block: str, number: int, indented: bool) -> list[str]:
    """The lines that stay of a solution, which is all of a part of a cell, or inside of a function."""
    try:
        body = ast.parse(block).body
    except SyntaxError as cause:
        raise DataError(
            f"cell {number}: the solution is no Python of its own ({cause.msg}, line {cause.lineno})"
        ) from None
    if indented and any(isinstance(node, ast.Return) for part in body for node in ast.walk(part)):
        return [BLANK]
    kept, blanked = [], []
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            kept.append(ast.get_source_segment(block, node))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            kept += ([""] * 2 if kept else []) + _empty_function(block, node)
            blanked.append(node.name)
        else:
            names = [name for name in assigned_names(node) if name not in blanked]
            kept += [f"{name} = {BLANK}" for name in names]
            blanked += names
    if not blanked:
        raise DataError(f"cell {number}: the solution leaves nothing to fill in; needed an assignment or a function")
    return kept


def assigned_names(node: ast.stmt) -> list[str]:
    """Plain names that an assignment gives a value, in order; of other statements none."""
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign):
        targets = [node.target]
    else:
        return []
    return [each.id for target in targets for each in ast.walk(target) if _is_stored_name(each)]


def _is_stored_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)


def _empty_function(block: str, node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """Decorators, head and docstring as they were written, and ``...`` as the body."""
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    has_docstring = ast.get_docstring(node) is not None
    if node.body[0].lineno == node.lineno:  # all on one line
        empty = copy.deepcopy(node)
        empty.body = node.body[:1] if has_docstring else [ast.Pass()]
        lines = ast.unparse(empty).splitlines()
        return [*(lines if has_docstring else lines[:-1]), f"    {BLANK}"]
    last = node.body[0].end_lineno if has_docstring else _end_of_head(block, node)
    indent = " " * node.body[0].col_offset
    return [*block.splitlines()[first - 1 : last], f"{indent}{BLANK}"]


def _end_of_head(block: str, node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Number of the line with the colon of ``def``: comments between it and the body belong to the solution."""
    lines = block.splitlines()
    for last in range(node.lineno, node.body[0].lineno):
        head = "\n".join(lines[node.lineno - 1 : last])
        try:
            ast.parse(f"{head}\n    {' ' * node.col_offset}pass")
        except SyntaxError:
            continue
        return last
    return node.body[0].lineno - 1


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status: 1 where ``--check`` found something, 2 for what cannot be used."""
    parser = argparse.ArgumentParser(
        prog="python -m offseg_viz.course.exercises",
        description="Make the students' notebooks from those with answers.",
    )
    parser.add_argument("source", type=Path, help="folder of the notebooks with their solutions")
    parser.add_argument("target", type=Path, help="folder of the students' versions")
    parser.add_argument("--check", action="store_true", help="write nothing; tell which drifted, and exit 1")
    options = parser.parse_args(arguments)
    try:
        if not options.check:
            for path in write_exercises(options.source, options.target):
                print(f"{'wrote' if path.is_file() else 'removed'} {path}")
            return 0
        drifted = drifted_exercises(options.source, options.target)
    except DataError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    for name, wrong in drifted.items():
        print(f"{options.target / name}: {wrong}; run `make exercises`")
    return 1 if drifted else 0


if __name__ == "__main__":
    sys.exit(main())
