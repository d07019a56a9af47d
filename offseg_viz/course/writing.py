"""What a lecturer takes along: notebooks, exercises, the plan of the course and slides, in one folder."""

from pathlib import Path

from offseg_viz.course.exercises import exercise_texts, read_notebook
from offseg_viz.errors import DataError
from offseg_viz.export.html_file import write_whole

SLIDES_OF = ("00", "01", "02", "03")
"""Numbers of the notebooks that the slides are made of."""


def notebook_folder() -> Path:
    """Where the notebooks lie: inside an installed package, or at the root of a source checkout.

    Raises
    ------
    DataError
        If they are in neither place.
    """
    package = Path(__file__).resolve().parents[1]
    places = (package / "notebooks", package.parent / "notebooks")
    for place in places:
        if (place / "00_tour.ipynb").is_file():
            return place
    raise DataError(f"found no notebooks in {places[0]} nor in {places[1]}; install offseg-viz again, or clone it")


def course_files(*, slides: bool = True) -> dict[str, bytes]:
    """Everything that `write_course` writes: path inside the folder to content, in the order of reading.

    Parameters
    ----------
    slides : bool
        Make ``slides.html``, of the notebooks 00 to 03.
    """
    folder = notebook_folder()
    paths = sorted(folder.glob("*.ipynb"))
    files = {"COURSE.md": Path(__file__).with_name("COURSE.md").read_bytes()}
    if slides:
        from offseg_viz.course.slides import deck_html

        shown = {path.name: read_notebook(path) for path in paths if path.name[:2] in SLIDES_OF}
        files["slides.html"] = deck_html(shown).encode()
    files |= {f"notebooks/{path.name}": path.read_bytes() for path in paths}
    return files | {f"exercises/{name}": text.encode() for name, text in exercise_texts(folder).items()}


def write_course(out: str | Path, *, slides: bool = True, force: bool = False) -> list[Path]:
    """Write the course to a folder: ``COURSE.md``, ``slides.html``, ``notebooks/`` with outputs, and ``exercises/``.

    Parameters
    ----------
    out : path
        Made where it is missing.
    slides : bool
    force : bool
        Replace files that are there with another content. Without it nothing is written if there is one, so that
        nobody's answers are lost.

    Returns
    -------
    list of Path
        All files of the course; those that were there already as they should be are left alone.

    Raises
    ------
    DataError
        If files would be overwritten, each is named, or the folder cannot be written.
    """
    out = Path(out)
    files = {out / name: content for name, content in course_files(slides=slides).items()}
    try:
        wanted = {path: content for path, content in files.items() if not _holds(path, content)}
        in_the_way = [path for path in wanted if path.exists()]
        if in_the_way and not force:
            names = ", ".join(str(path.relative_to(out)) for path in in_the_way)
            raise DataError(
                f"{out} already has {names} with another content; nothing was written. "
                "Choose another folder, or --force to replace them"
            )
        for path, content in wanted.items():
            write_whole(path, content)
    except OSError as cause:
        raise DataError(f"the course cannot be written to {out} ({cause}); choose another folder") from cause
    return list(files)


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content
