"""The page as a whole: what is written around the images, and the file."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from offseg_viz.analyze.collection import over_records
from offseg_viz.errors import RecordError, UnknownNameError
from offseg_viz.export import sections
from offseg_viz.export.html_file import html_page, write_html
from offseg_viz.export.payload import image_payload, page_payload, thumbnail
from offseg_viz.record import has_offsets

MOST_IMAGES = 12
_HERE = Path(__file__).parent
_SCRIPTS = ("features.js", "panels.js", "pixel.js", "strengths.js", "page.js")


def interactive_html(
    records: Iterable[xr.Dataset],
    *,
    images: Sequence[str] | None = None,
    title: str = "Feature and class alignment, by hand",
    notes: str | None = None,
) -> str:
    """One self-contained HTML page on which a few images of a model can be explored without a kernel.

    Hovering over a picture shows, computed in the browser itself, how similar that pixel is to all others before and
    after the refinement and to which classes; two sliders scale the offsets, and the prediction, what they mend and
    break, and mIoU and accuracy follow. The features travel compressed (see `compressed_features`); how far numbers can
    be off is measured for every image and said on the page. Nothing is loaded, every name is escaped, and the same
    records give the same page.

    Parameters
    ----------
    records : RecordStore or iterable of records
        Of one model and data set, read one at a time. Without a label there are no figures, of a per-pixel model no
        offsets, and the page says so.
    images : sequence of str, optional
        Ids of those to show, at most 12; by default all.
    title : str
    notes : str, optional
        Text of your own below the title.

    Raises
    ------
    RecordError
        If there is no record, more than 12, one of mask classification, or not all are of one model.
    UnknownNameError
        If `images` names one that is not there.
    """
    chosen = _chosen(records, images)
    shared, payloads, buttons, facts = None, [], [], None
    for name, (model, page, image, thumb) in over_records(chosen, _pieces, labelled=False, leave_out=("logits",)):
        if shared is None:
            shared, facts, first = page, model, name
        elif model != facts:
            one, other = (f"model {m[0]!r} (checkpoint {m[1] or 'none'!r})" for m in (model, facts))
            raise RecordError(
                f"the record of {name} is of {one}, that of {first} of {other}; needed records of one model: "
                "write a page for each"
            )
        buttons.append((name, thumb))
        payloads.append(image)
    data = [f'<script type="application/json" id="page">{_json(shared)}</script>']
    data += [
        f'<script type="application/json" id="image-{number}">{_json(image)}</script>'
        for number, image in enumerate(payloads)
    ]
    style = (_HERE / "page.css").read_text(encoding="utf-8")
    script = "\n".join((_HERE / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    body = [
        sections.opening(shared, facts, title, notes),
        sections.images(buttons),
        sections.similarity(shared),
        sections.strengths(shared),
        sections.footer(),
    ]
    return html_page(title, style=style, body="\n".join(["<main>", *body, "</main>", *data]), script=script)


def write_interactive(records: Iterable[xr.Dataset], path: str | Path, **options) -> Path:
    """Write `interactive_html` (same options) to `path`, whole or not at all; an older file there is replaced.

    Raises
    ------
    DataError
        If `path` is a folder or cannot be written.
    RecordError, UnknownNameError
        As `interactive_html`; nothing is written then.
    """
    return write_html(path, lambda: interactive_html(records, **options), what="explorer")


def _chosen(records: Iterable[xr.Dataset], images: Sequence[str] | None) -> Iterable[xr.Dataset]:
    """The store or list cut down to `images`."""
    if isinstance(records, xr.Dataset):
        raise RecordError("found one record, needed several: put it in a list, [record]")
    images = [images] if isinstance(images, str) else images
    from_store = hasattr(records, "load")
    records = records if from_store else list(records)
    ids = list(records.ids) if from_store else [str(record.attrs.get("sample")) for record in records]
    for name in images or ():
        if name not in ids:
            raise UnknownNameError("image", name, ids)
    count = len(ids if images is None else images)
    if count > MOST_IMAGES:
        raise RecordError(
            f"found {count} images, needed {MOST_IMAGES} at most for one page; name some: images={ids[:3]!r}"
        )
    if images is None:
        return records
    return records.only(*images) if from_store else [r for name, r in zip(ids, records) if name in images]


def _pieces(record: xr.Dataset) -> tuple[tuple, dict, dict, str]:
    """What makes a model the same, what its images share, one image, and its thumbnail."""
    attrs = record.attrs
    model = (str(attrs["model"]), str(attrs["checkpoint"]), str(attrs["dataset"]), has_offsets(record))
    facts = (*model, record.sizes["cls"], record.sizes["channel"], tuple(np.ravel(attrs["stride"]).tolist()))
    return facts, page_payload(record), image_payload(record), thumbnail(record)


def _json(value: dict) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
