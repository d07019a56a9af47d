"""The page as a whole, and how it is written."""

from collections.abc import Iterable
from pathlib import Path

import xarray as xr

from offseg_viz.errors import RecordError
from offseg_viz.export.html_file import html_page, write_html
from offseg_viz.report import sections
from offseg_viz.report.figures import Charts
from offseg_viz.report.survey import survey_records


def report_html(
    records: Iterable[xr.Dataset],
    *,
    title: str = "Feature and class alignment",
    notes: str | None = None,
    command: str | None = None,
    examples: int = 4,
    umap: bool = False,
) -> str:
    """One self-contained HTML page about the records of a model.

    It tells what was looked at, explains offset learning, gives IoU at the initial and the aligned stage beside the
    ideal one, shows `examples` images with their maps, the ideal class embeddings of one class across images (the
    paper's Fig. 3), and a projection of sampled pixels. Pictures are inside the page, plotly.js once; nothing is
    loaded, and every name is escaped. The same records give the same page.

    Parameters
    ----------
    records : RecordStore or iterable of records
        Of one model and data set. They are read several times, one at a time. Records without labels give a page
        without the parts that need them, records of a per-pixel model one without offsets; the page says so.
    title : str
    notes : str, optional
        Text of your own below the title, such as the training recipe.
    command : str, optional
        The command that made the report, printed in the footer.
    examples : int
        Number of images in the gallery, from the first on.
    umap : bool
        Add a UMAP of the same pixels below the PCA; takes half a minute.

    Raises
    ------
    RecordError
        If there is no record, or they do not fit each other.
    """
    records = records if hasattr(records, "__getitem__") and not isinstance(records, xr.Dataset) else _listed(records)
    survey = survey_records(records)
    charts = Charts()
    body = [
        sections.opening(survey, title, notes),
        sections.method(survey),
        sections.quality(records, survey, charts),
        sections.gallery(records, survey, examples),
        sections.ideal(records, survey),
        sections.projection(records, survey, charts, umap),
        sections.footer(survey, command),
    ]
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    return html_page(title, style=style, body="\n".join(["<main>", *body]))


def write_report(records: Iterable[xr.Dataset], path: str | Path, **options) -> Path:
    """Write `report_html` (same options) to `path`, whole or not at all; an older file there is replaced.

    Raises
    ------
    DataError
        If `path` is a folder or cannot be written.
    RecordError
        As `report_html`; nothing is written then.
    """
    return write_html(path, lambda: report_html(records, **options), what="report")


def _listed(records: Iterable[xr.Dataset]) -> list[xr.Dataset]:
    if isinstance(records, xr.Dataset):
        raise RecordError("found one record, needed several: put it in a list, [record]")
    return list(records)
