"""The numbers of one class in one image: gathered from the views, then written as HTML or as a line of text."""

from html import escape
from typing import NamedTuple

from offseg_viz.analyze.offsets import offset_magnitude
from offseg_viz.plot import theme
from offseg_viz.plot.summary import rounded
from offseg_viz.record import has_offsets
from offseg_viz.widgets.alignment_views import AlignmentViews

_QUANTITIES = {
    "own_class_cosine": "cosine of its pixels",
    "accuracy": "pixels right",
    "ideal_angle": "pixels to ideal",
    "class_embedding_angle": "embedding to ideal",
}


class ClassNumbers(NamedTuple):
    """Rows (what, unit, initial, aligned) of one class, and |dW| / |W|; where there are none, the reason."""

    rows: list[tuple[str, str, float, float]]
    relative_offset: float | None
    pixels: int
    reason: str = ""


def class_numbers(views: AlignmentViews, image: str, cls: str) -> ClassNumbers:
    """The numbers of class `cls` in an image, both stages."""
    record = views.record(image)
    names = [str(name) for name in record["cls"].values]
    if cls not in names:
        return ClassNumbers([], None, 0, f"{record.attrs['model']} has no class {cls}")
    offset = None
    if has_offsets(record):
        offset = float(offset_magnitude(record, "class", relative=True)[names.index(cls)])
    measures = views.measures(image)
    if measures is None:
        return ClassNumbers([], offset, 0, "the record has no label to measure with")
    pixels = int((record["label"] == names.index(cls)).sum())
    iou, table = measures
    rows = [("IoU", "", float(iou.loc[cls, "initial"]), float(iou.loc[cls, "aligned"]))]
    of_class = table[table["cls"] == cls].set_index(["quantity", "stage"])["value"]
    for quantity, words in _QUANTITIES.items():
        unit = "°" if quantity.endswith("angle") else ""
        rows.append((words, unit, float(of_class[quantity, "initial"]), float(of_class[quantity, "aligned"])))
    return ClassNumbers(rows, offset, pixels, "" if pixels else f"no pixel of this image is labelled {cls}")


def class_text(numbers: ClassNumbers) -> str:
    """The numbers in a line, rounded, for the text summary."""
    parts = [] if numbers.reason else [f"{numbers.pixels} cells"]
    parts += [
        f"{what} {_value(before)}{unit} -> {_value(after)}{unit}" for what, unit, before, after in _known(numbers)
    ]
    if numbers.relative_offset is not None:
        parts.append(f"class offset {_value(numbers.relative_offset)} of its embedding")
    return "; ".join([numbers.reason, *parts] if numbers.reason else parts)


def class_html(numbers: dict[str, ClassNumbers], *, cls: str, image: str) -> str:
    """The numbers of one or more models as a small HTML table, a column a model; every name is escaped."""
    cell = 'style="padding:1px 8px 1px 0;text-align:left;white-space:nowrap"'
    name = 'style="padding:1px 8px 1px 0;text-align:left;max-width:90px;white-space:normal;overflow-wrap:anywhere"'
    columns: dict[str, dict[str, str]] = {}
    for model, of_one in numbers.items():
        columns[model] = {what: f"{_value(a)}{unit} → {_value(b)}{unit}" for what, unit, a, b in _known(of_one)}
        if of_one.relative_offset is not None:
            columns[model]["class offset"] = f"{_value(of_one.relative_offset)} × |W|"
    names = list(dict.fromkeys(what for column in columns.values() for what in column))
    head = "" if len(numbers) == 1 else "".join(f'<th scope="col" {name}>{escape(model)}</th>' for model in numbers)
    rows = [f"<tr><td></td>{head}</tr>"] if head else []
    for what in names:
        cells = "".join(
            f'<td {cell} data-fact="{escape(what)}">{column.get(what, "")}</td>' for column in columns.values()
        )
        rows.append(f'<tr><th scope="row" {cell}>{escape(what)}</th>{cells}</tr>')
    pixels = max(each.pixels for each in numbers.values())
    reasons = dict.fromkeys(each.reason for each in numbers.values() if each.reason)
    notes = "".join(f'<div style="color:{theme.QUIET}">{escape(reason)}</div>' for reason in reasons)
    count = f" ({pixels} cells)" if pixels else ""
    return (
        '<div class="offseg-class" style="font-size:12px;line-height:1.5;font-variant-numeric:tabular-nums;'
        'overflow-x:auto">'
        f"<div><b>{escape(cls)}</b> in {escape(image)}{count}, initial → aligned</div>{notes}"
        f"<table>{''.join(rows)}</table></div>"
    )


def _known(numbers: ClassNumbers) -> list[tuple[str, str, float, float]]:
    """The rows with a value: of a class that is not in the image, none has one."""
    return [row for row in numbers.rows if not (row[2] != row[2] and row[3] != row[3])]


def _value(value: float) -> str:
    return "n/a" if value != value else rounded(value, max(abs(value), 0.1))
