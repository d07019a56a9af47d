"""Student versions: what stays of a cell, what is refused, the command, and every notebook that there is."""

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from offseg_viz.course.exercises import (
    BEGIN,
    BLANK,
    END,
    drifted_exercises,
    main,
    read_notebook,
    solutions,
    student_version,
    tags_of,
    text_of,
    write_exercises,
)
from offseg_viz.errors import DataError

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
EXERCISES = NOTEBOOKS / "exercises"
PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))
LEAST_TELLING = 25
"""A line of a solution that is shorter may well stand elsewhere in its notebook."""


def markdown(source):
    return {"cell_type": "markdown", "id": "a", "metadata": {}, "source": source}


def code(source, *tags):
    output = {"output_type": "stream", "name": "stdout", "text": ["42\n"]}
    metadata = {"tags": [*tags], "execution": {"started": "now"}, "slideshow": {"slide_type": "slide"}}
    return dict(cell_type="code", id="b", metadata=metadata, source=source, outputs=[output], execution_count=7)


def notebook(*cells):
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    metadata = {"kernelspec": kernel, "widgets": {"state": {}}}
    return {"cells": list(cells), "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def exercise(block, before="", after=""):
    """A notebook with one exercise and its check."""
    source = f"{before}{BEGIN}\n{block}\n{END}\n{after}".rstrip("\n")
    cells = markdown("# 00 · Title\n\nText."), markdown("## Exercise 1"), code(source, "exercise"), markdown("Check:")
    return notebook(*cells, code("print()\nchecks.check_it(answer)"))


def blank(block, before="", after=""):
    return text_of(student_version(exercise(block, before, after))["cells"][2])


@pytest.mark.parametrize(
    ("block", "left"),
    [
        ("answer = a @ b  # the product", f"answer = {BLANK}"),
        ("mean = a / b\nanswer = mean + 1", f"mean = {BLANK}\nanswer = {BLANK}"),
        ("row, (col, *rest) = f()", f"row = {BLANK}\ncol = {BLANK}\nrest = {BLANK}"),
        ("a = b = 3", f"a = {BLANK}\nb = {BLANK}"),
        ("a: int = 3\na = a + 1\na += 1\nprint(a)", f"a = {BLANK}"),
        ("x = []\nfor k in range(3):\n    x.append(k)", f"x = {BLANK}"),
        ("table['a'] = 1\nx = 2", f"x = {BLANK}"),
        (
            "import numpy as np\nfrom a import (b,\n    c)\nx = np.sum(b)",
            f"import numpy as np\nfrom a import (b,\n    c)\nx = {BLANK}",
        ),
        ("def f(a, b=2):\n    return a * b", f"def f(a, b=2):\n    {BLANK}"),
        (
            'def f(\n    a: int,  # rows\n):\n    """Twice: a.\n\n    Text.\n    """\n    # trick\n    return 2 * a',
            f'def f(\n    a: int,  # rows\n):\n    """Twice: a.\n\n    Text.\n    """\n    {BLANK}',
        ),
        ("def f(a):\n    # the trick\n    return 2 * a", f"def f(a):\n    {BLANK}"),
        ("def f(a): return 2 * a", f"def f(a):\n    {BLANK}"),
        ("@cache\ndef f(a):\n    return 2 * a\n\n\nx = f(3)", f"@cache\ndef f(a):\n    {BLANK}\nx = {BLANK}"),
    ],
)
def test_the_blank_of_a_solution(block, left):
    assert blank(block) == left
    assert blank(block, "k = 3\n", "\nshow(k)") == f"k = 3\n{left}\n\nshow(k)"


def test_a_solution_inside_of_a_function():
    before = 'def f(a):\n    """Doc."""\n'
    inside = f"{before}    {BEGIN}\n    b = 2 * a\n    return b\n    {END}"
    assert _left(inside) == f"{before}    {BLANK}"
    inside = f"{before}    {BEGIN}\n    b = 2 * a\n    {END}\n    return b"
    assert _left(inside) == f"{before}    b = {BLANK}\n    return b"


def _left(source):
    made = exercise("x = 1")
    made["cells"][2]["source"] = source
    return text_of(student_version(made)["cells"][2])


def test_a_student_version_has_no_outputs_and_a_note():
    source = exercise("answer = 6 * 7")
    before = json.dumps(source)
    student = student_version(source)
    assert json.dumps(source) == before, "the notebook is not changed"
    nbformat.validate(nbformat.from_dict(student))
    first, *_, check = student["cells"]
    assert text_of(first).startswith("# 00 · Title\n\n> **Exercise version.**") and text_of(first).endswith("\n\nText.")
    assert [cell["id"] for cell in student["cells"]] == [f"cell-{n:02d}" for n in range(5)]
    assert check["outputs"] == [] and check["execution_count"] is None
    assert check["metadata"] == {"tags": [], "slideshow": {"slide_type": "slide"}}
    assert set(student["metadata"]) == {"kernelspec"}
    assert student_version(source) == student


@pytest.mark.parametrize(
    ("cell", "fault"),
    [
        (code(f"{BEGIN}\nx = 1", "exercise"), "without '# END SOLUTION'"),
        (code(f"x = 1\n{END}", "exercise"), "no beginning of it"),
        (code(f"{BEGIN}\n{BEGIN}\nx = 1\n{END}", "exercise"), "a second one before the end"),
        (code(f"{BEGIN}\nx = 1\n{END}"), "without the tag 'exercise'"),
        (code("x = 1", "exercise"), "nothing stands between"),
        (code(f"{BEGIN}\nprint(1)\n{END}", "exercise"), "nothing to fill in"),
        (code(f"{BEGIN}\nx = (\n{END}\n)", "exercise"), "no Python of its own"),
    ],
)
def test_what_is_not_fit_is_refused(cell, fault):
    made = exercise("x = 1")
    made["cells"][2] = cell
    with pytest.raises(DataError, match=f"cell 2: .*{fault}"):
        student_version(made)


def test_an_exercise_needs_a_check_under_its_heading():
    for cells in ([], [code("check_it = 3")], [markdown("# x\n## Next"), code("check_it(x)")], [code("%check\nx")]):
        made = exercise("x = 1")
        made["cells"][3:] = cells
        with pytest.raises(DataError, match="cell 2: an exercise without a check"):
            student_version(made)
    with pytest.raises(DataError, match="no title"):
        student_version(notebook(code("x = 1")))


def folder_with(tmp_path, **notebooks):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for name, made in notebooks.items():
        (folder / f"{name}.ipynb").write_text(json.dumps(made), encoding="utf-8")
    return folder


def test_the_command_writes_removes_and_finds_drift(tmp_path, capsys):
    folder, target = (
        folder_with(tmp_path, one=exercise("answer = 6 * 7"), two=exercise("b = 'ä'")),
        tmp_path / "students",
    )
    arguments = [str(folder), str(target)]
    assert main([*arguments, "--check"]) == 1
    assert capsys.readouterr().out.count("missing; run `make exercises`") == 2 and not target.exists()
    assert main(arguments) == 0 and capsys.readouterr().out.count("wrote ") == 2
    assert main([*arguments, "--check"]) == 0 and main(arguments) == 0 and capsys.readouterr().out == ""
    one, stale = target / "one.ipynb", target / "zero.ipynb"
    first = one.read_bytes()
    one.write_bytes(first + b"\n")
    stale.write_bytes(first)
    (target / "notes.txt").write_text("mine")
    assert main([*arguments, "--check"]) == 1
    assert drifted_exercises(folder, target) == {"one.ipynb": "differs", "zero.ipynb": "of no notebook any more"}
    assert write_exercises(folder, target) == [one, stale]
    assert one.read_bytes() == first and not stale.exists() and (target / "notes.txt").exists()
    assert nbformat.read(one, 4).cells[2].source == f"answer = {BLANK}"


def test_the_command_says_what_it_cannot_use(tmp_path, capsys):
    bad = exercise("x = 1")
    bad["cells"][2]["metadata"]["tags"] = []
    folder = folder_with(tmp_path, bad=bad)
    assert main([str(folder), str(tmp_path / "out")]) == 2
    assert "bad.ipynb: cell 2: a solution in a cell without the tag" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([str(tmp_path), str(tmp_path / "out")]) == 2 and "has no notebooks" in capsys.readouterr().err
    assert main([str(folder), str(folder / ".")]) == 2 and "would replace the notebooks" in capsys.readouterr().err
    for text in ("{", "[]", '{"cells": [], "metadata": {}, "nbformat": 3}'):
        (folder / "bad.ipynb").write_text(text)
        assert main([str(folder), str(tmp_path / "out")]) == 2 and "bad.ipynb is " in capsys.readouterr().err


def test_it_runs_as_a_module(tmp_path):
    folder = folder_with(tmp_path, one=exercise("answer = 6 * 7"))
    command = [sys.executable, "-m", "offseg_viz.course.exercises", folder, tmp_path / "students", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "one.ipynb: missing" in done.stdout and done.stderr == ""


# The notebooks of the course


@pytest.fixture(params=PATHS, ids=[path.name for path in PATHS])
def path(request):
    return request.param


def test_a_notebook_becomes_an_exercise(path):
    """Nothing of a solution is left, in its own cell nor elsewhere."""
    solved = read_notebook(path)
    student = student_version(solved)
    nbformat.validate(nbformat.from_dict(student))
    everything = "\n".join(text_of(cell) for cell in student["cells"])
    assert BEGIN not in everything and END not in everything
    blanks = 0
    for before, after in zip(solved["cells"], student["cells"], strict=True):
        if "exercise" not in tags_of(before):
            continue
        kept = text_of(after)
        blanks += kept.count(BLANK)
        left = {line.strip() for line in kept.splitlines()}
        for line in {line.strip() for block in solutions(text_of(before)) for line in block.splitlines()} - left:
            assert len(line) < LEAST_TELLING or line not in everything, f"the solution {line!r} stands in the exercise"
    assert blanks >= 2, "two exercises a notebook"


def test_the_committed_exercise_is_the_generated_one(path):
    if not list(EXERCISES.glob("*.ipynb")):
        pytest.skip("notebooks/exercises is empty: `make exercises` has not been run")
    drifted = drifted_exercises(NOTEBOOKS, EXERCISES)
    assert path.name not in drifted, f"{drifted[path.name]}: run `make exercises`"


def test_no_exercise_is_left_of_a_notebook_that_is_gone():
    stale = {path.name for path in EXERCISES.glob("*.ipynb")} - {path.name for path in PATHS}
    assert not stale, "run `make exercises`"
