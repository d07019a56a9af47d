"""The folder of a course: what is in it, what is not overwritten, and that its plan adds up."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from offseg_viz.cli import app
from offseg_viz.course import writing
from offseg_viz.course.exercises import exercise_texts
from offseg_viz.course.writing import notebook_folder, write_course
from offseg_viz.errors import DataError

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
NAMES = sorted(path.name for path in NOTEBOOKS.glob("*.ipynb"))
PLAN = Path(writing.__file__).with_name("COURSE.md").read_text(encoding="utf-8")


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_course_has_everything(tmp_path):
    files = write_course(tmp_path / "course")
    found = contents(tmp_path / "course")
    assert sorted(str(path.relative_to(tmp_path / "course")) for path in files) == sorted(found)
    assert set(found) == {"COURSE.md", "slides.html"} | {
        f"{kind}/{n}" for kind in ("notebooks", "exercises") for n in NAMES
    }
    for name in NAMES:
        assert found[f"notebooks/{name}"] == (NOTEBOOKS / name).read_bytes(), "with outputs, as they are"
        student = json.loads(found[f"exercises/{name}"])
        assert not any(cell.get("outputs") for cell in student["cells"])
        assert found[f"exercises/{name}"].decode() == exercise_texts(NOTEBOOKS)[name]
    assert b"<section" in found["slides.html"] and found == contents_again(tmp_path), "the same, byte for byte"


def contents_again(tmp_path):
    write_course(tmp_path / "again")
    return contents(tmp_path / "again")


def test_nothing_is_overwritten_unasked(tmp_path):
    write_course(tmp_path, slides=False)
    assert not (tmp_path / "slides.html").exists()
    before = contents(tmp_path)
    first, plan = tmp_path / "exercises" / NAMES[0], tmp_path / "COURSE.md"
    first.write_text("my answers")
    plan.write_text("my plan")
    (tmp_path / "notebooks" / NAMES[0]).unlink()
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match=rf"already has COURSE.md, exercises/{NAMES[0]} with another content"):
        write_course(tmp_path, slides=False)
    assert first.read_text() == "my answers" and not (tmp_path / "notebooks" / NAMES[0]).exists()
    write_course(tmp_path, slides=False, force=True)
    assert contents(tmp_path) == before | {"mine.txt": b"mine"}
    write_course(tmp_path, slides=False)


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="choose another folder"):
        write_course(tmp_path / "file", slides=False)
    (tmp_path / "course" / "COURSE.md").mkdir(parents=True)
    for force in (False, True):
        with pytest.raises(DataError, match="COURSE.md|choose another folder"):
            write_course(tmp_path / "course", slides=False, force=force)
    assert not list(tmp_path.rglob("*.partial"))


def test_notebooks_are_found_in_an_installed_package_first(tmp_path, monkeypatch):
    assert notebook_folder() == NOTEBOOKS
    package = tmp_path / "site-packages" / "offseg_viz"
    monkeypatch.setattr(writing, "__file__", str(package / "course" / "writing.py"))
    with pytest.raises(DataError, match="found no notebooks in"):
        notebook_folder()
    for place in (tmp_path / "site-packages" / "notebooks", package / "notebooks"):
        place.mkdir(parents=True)
        (place / "00_tour.ipynb").write_text("{}")
        assert notebook_folder() == place


def test_the_command(tmp_path):
    done = CliRunner().invoke(app, ["course", "--out", str(tmp_path / "c"), "--no-slides"])
    assert done.exit_code == 0 and f"{len(NAMES)} notebooks for students" in done.output
    assert not (tmp_path / "c" / "slides.html").exists()
    (tmp_path / "c" / "COURSE.md").write_text("mine")
    assert isinstance(CliRunner().invoke(app, ["course", "--out", str(tmp_path / "c")]).exception, DataError)
    done = CliRunner().invoke(app, ["course", "--out", str(tmp_path / "c"), "--force"])
    assert done.exit_code == 0 and "slides.html" in done.output and (tmp_path / "c" / "slides.html").is_file()


def test_the_plan_has_two_sessions_of_ninety_minutes():
    sessions = PLAN.split("## Session ")[1:]
    minutes = [[int(m) for m in re.findall(r"^\| [^|]+ \| (\d+) \|", session, re.M)] for session in sessions]
    assert [sum(each) for each in minutes] == [90, 90]
    told = re.findall(r"^\| (\d\d) ", PLAN, re.M)
    assert told == [f"{n:02d}" for n in range(11)], "every notebook has its place, in order"
    assert {name[:2] for name in NAMES} <= set(told)
    assert all(f"**{number}. " in PLAN for number in told), "a question to ask for each"


def test_numbers_of_the_plan_are_those_of_the_notebooks():
    names = ("00_tour.ipynb", "02_ideal_class_embeddings.ipynb")
    cells = [cell for name in names for cell in json.loads((NOTEBOOKS / name).read_text(encoding="utf-8"))["cells"]]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    printed = " ".join("".join(out.get("text", out.get("data", {}).get("text/plain", ""))) for out in outputs)
    asked = re.findall(r"\*\*0[02]\. .*?(?=\n- \*\*)", PLAN, re.S)
    numbers = {number for text in asked for number in re.findall(r"\d\.\d\d", text)}
    assert len(numbers) >= 6 and {number for number in numbers if number not in printed} == set()
    assert "94 %" in PLAN and "94%" in printed
