"""The sections of the page in their order, each a piece of HTML; every name in them is escaped."""

from html import escape

import numpy as np
import pandas as pd
import xarray as xr

from offseg_viz.analyze.align import aligned_class_embedding, aligned_feature, prediction
from offseg_viz.analyze.ideal import READABLE_RCOND, ideal_similarity
from offseg_viz.analyze.offsets import offset_magnitude
from offseg_viz.analyze.pixels import sample_pixels
from offseg_viz.analyze.projection import project
from offseg_viz.analyze.quality import class_iou, predicted_shares
from offseg_viz.analyze.similarity import cosine_similarity
from offseg_viz.classes import IGNORE_INDEX
from offseg_viz.plot import plot_classes, plot_matrix, plot_panels, plot_scatter
from offseg_viz.record import has_offsets
from offseg_viz.report.figures import Charts, picture
from offseg_viz.report.survey import Survey
from offseg_viz.terms import STAGES, TERMS

MATRIX_IMAGES = 12
PIXELS_PER_CLASS = 60
MOST_PREDICTED = 12
_SYMBOLS = (
    "feature class_embedding coupled_attention class_attention class_offset position_attention feature_offset "
    "aligned_class_embedding aligned_feature scores logits ideal_class_embedding"
).split()
_PAPER = (
    "S.-C. Zhang, Y. Li, Y.-H. Wu, Q. Hou and M.-M. Cheng: Revisiting Efficient Semantic Segmentation: Learning "
    "Offsets for Better Spatial and Class Feature Alignment. ICCV 2025"
)


def opening(survey: Survey, title: str, notes: str | None) -> str:
    record, attrs = survey.first, survey.first.attrs
    counts = f"{len(survey.pixels)} image{'s' if len(survey.pixels) != 1 else ''}, {record.sizes['cls']} classes"
    grid = f"a grid of {record.sizes['y']} x {record.sizes['x']} cells"
    if len(survey.grids) > 1:
        grid = f"grids of {len(survey.grids)} sizes"
    text = (
        f"<h1>{escape(title)}</h1>\n<p class='facts'>Model <code>{escape(str(attrs['model']))}</code> on "
        f"<code>{escape(str(attrs['dataset']))}</code>: {counts}, features of {record.sizes['channel']} channels on "
        f"{grid} (stride {_stride(attrs)}).</p>"
    )
    return text + (f"\n<p class='notes'>{escape(notes)}</p>" if notes else "")


def _stride(attrs: dict) -> str:
    """Pixels a grid cell: one number, or two where rows and columns differ."""
    return " x ".join(dict.fromkeys(f"{step:g}" for step in np.ravel(attrs["stride"])))


def method(survey: Survey) -> str:
    rows = "".join(
        f"<tr><td>{f'<code>{escape(term.symbol)}</code>' if term.symbol else ''}</td><td>{escape(term.name)}</td>"
        f"<td>{escape(', '.join(term.dims))}</td>"
        f"<td>{escape(term.meaning)}</td><td>{escape(term.equation)}</td></tr>"
        for term in (TERMS[name] for name in _SYMBOLS)
    )
    stage = (
        ""
        if has_offsets(survey.first)
        else "<p><strong>The records of this page are of a per-pixel model.</strong> It learns no offsets, so there "
        "is one stage only, and the parts about offsets are left out.</p>"
    )
    return (
        "<h2>What offset learning does</h2>\n"
        "<p>A segmentation model usually ends in a table of class embeddings, one vector a class, and gives each pixel "
        "the class whose vector has the largest inner product with the pixel's feature. The same few vectors must suit "
        "every photograph, although roads are wet or dry and walls lit or in shadow, so in a small model features and "
        "class embeddings often point in different directions. Offset learning lets the two look at each other once "
        "more: each class embedding gathers the features that resemble it in this photograph, each feature the class "
        "embeddings that resemble it, and both are moved by a learned offset. We call what comes before "
        "<em>initial</em> and what comes after <em>aligned</em>, and this page compares the two.</p>\n"
        f"{stage}<div class='scroll'><table><caption>Symbols, with the equation numbers of the paper</caption>"
        "<tr><th scope='col'>symbol</th><th scope='col'>name</th><th scope='col'>dims</th><th scope='col'>meaning</th>"
        f"<th scope='col'>eq.</th></tr>{rows}</table></div>"
    )


def quality(records, survey: Survey, charts: Charts) -> str:
    heading = "<h2>How well each class is found</h2>\n"
    if not survey.labelled or not survey.pixels.any():
        return heading + "<p>The records have no labels, so no IoU can be given.</p>\n" + _predicted(records, survey)
    table = class_iou(records)
    if not has_offsets(survey.first):
        table = table.drop(columns="aligned")
    caption = (
        "IoU from the arg max of the <em>logits</em> of each stage (scores after the last layer: its LayerNorm, "
        "where there is one, and its bias), pooled over all images on the feature grid; an evaluation at full "
        "resolution differs a little. <em>Ideal</em> is the arg max of the <em>scores</em> W* E<sup>T</sup> with "
        "class embeddings fitted to the labels of each image by least squares on its initial features (eq. 2). It "
        "has seen the labels, so it is no result of a model; nor is it a bound, since least squares does not "
        "maximise IoU, although it may choose among the classes of the image only."
    )
    if has_offsets(survey.first):
        caption += (
            " Initial and aligned are the same weights, with and without the refinement they were trained with: "
            "initial is not what a network trained without offsets would reach."
        )
    chart = charts(plot_classes(table, interactive=True), alt=plot_classes(table).summary, caption=caption)
    return f"{heading}{_iou_table(table)}\n{chart}"


def _predicted(records, survey: Survey) -> str:
    """What is predicted, and how much of it the refinement changes: all that can be counted without labels."""
    table = predicted_shares(records)
    changed = table.attrs["changed"]
    if not has_offsets(survey.first):
        table = table[["initial"]]
    table = table[(table > 0).any(axis=1)].sort_values(table.columns[-1], ascending=False, kind="stable")
    head = "".join(f"<th scope='col' class='number'>{name}</th>" for name in table.columns)

    def rows(part: pd.DataFrame) -> str:
        lines = (
            f"<tr><th scope='row'>{escape(str(name))}</th>"
            + "".join(f"<td class='number'>{_percent(value)}</td>" for value in row)
            + "</tr>"
            for name, row in part.iterrows()
        )
        return f"<tr><th scope='col'>class</th>{head}</tr>" + "".join(lines)

    text = (
        f"<p>The refinement changes the prediction of {_percent(changed)} percent of the grid cells; "
        "without labels nothing says whether for the better.</p>\n"
        if has_offsets(survey.first)
        else ""
    )
    text += (
        "<table><caption>Share of the grid cells that each class is predicted for, in percent, from the arg max of the "
        f"<em>logits</em></caption>{rows(table[:MOST_PREDICTED])}</table>"
    )
    if len(table) > MOST_PREDICTED:
        text += (
            f"<details><summary>The other {len(table) - MOST_PREDICTED} classes that are predicted somewhere</summary>"
            f"<table>{rows(table[MOST_PREDICTED:])}</table></details>"
        )
    return text


def _iou_table(table: pd.DataFrame) -> str:
    def cells(row: pd.Series) -> str:
        change = [row["aligned"] - row["initial"]] if "aligned" in row else []
        shown = [_percent(value) for value in row] + [_percent(value, sign="+") for value in change]
        return "".join(f"<td class='number'>{value}</td>" for value in shown)

    columns = [*table.columns, *(["change"] if "aligned" in table else [])]
    head = "".join(f"<th scope='col' class='number'>{name}</th>" for name in columns)
    rows = "".join(f"<tr><th scope='row'>{escape(str(name))}</th>{cells(row)}</tr>" for name, row in table.iterrows())
    return (
        f"<table><caption>Mean over the {int(table['initial'].notna().sum())} classes that occur</caption>"
        f"<tr><th scope='col'>IoU in percent</th>{head}</tr>"
        f"<tr class='total'><th scope='row'>mean</th>{cells(table.mean())}</tr></table>\n"
        "<details><summary>Every class as a table</summary>"
        f"<table><tr><th scope='col'>class</th>{head}</tr>{rows}</table></details>"
    )


def _percent(value: float, *, sign: str = "") -> str:
    return "–" if np.isnan(value) else f"{round(100 * value, 1) + 0.0:{sign}.1f}"


def gallery(records, survey: Survey, examples: int) -> str:
    count = min(max(examples, 0), len(survey.pixels))
    parts = [_example(records[number]) for number in range(count)]
    note = (
        "<p>Plain cosines are shown. A part of the class offsets that all classes share pulls the aligned cosines of "
        "all classes together without changing which class wins, so compare classes and places within a map: a map can "
        "turn paler everywhere while its class is found better.</p>\n"
    )
    return (
        "<h2>In the image</h2>\n"
        + (note if has_offsets(survey.first) else "")
        + ("\n".join(parts) if parts else "<p>No examples were asked for.</p>")
    )


def _example(record: xr.Dataset) -> str:
    cls, reason = _telling_class(record)
    offsets = has_offsets(record)
    initial = cosine_similarity(record["feature"], record["class_embedding"].sel(cls=cls))
    panels = {name: record[key] for name, key in (("photograph", "image"), ("label", "label")) if key in record}
    shared = [f"{cls}, initial"]
    if offsets:
        moved = {
            "|dE| / |E|": offset_magnitude(record, "feature", relative=True),
            "|dE|": offset_magnitude(record, "feature"),
        }
        aligned = cosine_similarity(aligned_feature(record), aligned_class_embedding(record).sel(cls=cls))
        shared.append(f"{cls}, aligned")
        compared = dict(zip(shared, (initial, aligned))) | {f"{cls}, aligned - initial": aligned - initial}
        predicted = {f"prediction, {stage}": prediction(record, stage) for stage in STAGES}
        # Three in a row: what belongs together stands together, with a label and without.
        if "label" in panels:
            panels |= {"|dE| / |E|": moved.pop("|dE| / |E|")} | predicted | moved | compared
        else:
            panels |= predicted | compared | moved
    else:
        panels["prediction"] = prediction(record, "initial")
        panels[shared[0]] = initial
    figure = plot_panels(panels, over=record, shared=shared)
    caption = (
        f"Class <strong>{escape(cls)}</strong>, {escape(reason)}. Predictions are the arg max of the logits. "
        "Similarities are cosines between features and class embeddings, neither scores nor logits"
        + (
            "; the initial and the aligned one lie on one colour scale. |dE| is the length of the feature offset, "
            "absolute and as a fraction of the feature's own length."
            if offsets
            else ". A per-pixel model has one stage and no offsets."
        )
    )
    return f"<h3>{escape(str(record.attrs['sample']))}</h3>\n{picture(figure, caption)}"


def _telling_class(record: xr.Dataset) -> tuple[str, str]:
    """The class to show of an image and why: the one whose IoU changed most, else the most frequent one."""
    if "label" in record and (record["label"] != IGNORE_INDEX).any():
        table = class_iou([record])
        change = (table["aligned"] - table["initial"]).dropna()
        if has_offsets(record) and change.abs().max() > 0:
            cls = str(change.abs().idxmax())
            before, after = table.loc[cls, ["initial", "aligned"]]
            return cls, f"whose IoU in this image changed most: from {_percent(before)} to {_percent(after)} percent"
        values = record["label"].values
        values, where = values[values != IGNORE_INDEX], "label"
    else:
        values, where = prediction(record).values.ravel(), "prediction"
    return str(record["cls"].values[np.bincount(values).argmax()]), f"the most frequent one of the {where}"


def ideal(records, survey: Survey) -> str:
    heading = "<h2>Would one class embedding suit all images?</h2>\n"
    images = (survey.pixels > 0).sum(axis=0)
    if not survey.labelled or not (images >= 2).any():
        return heading + "<p>This comparison needs a class that is labelled in at least two images.</p>"
    number = int(np.where(images >= 2, survey.pixels.sum(axis=0), -1).argmax())
    cls = str(survey.first["cls"].values[number])
    chosen = [records[int(k)] for k in np.flatnonzero(survey.pixels[:, number])[:MATRIX_IMAGES]]
    matrix = ideal_similarity(chosen, cls=cls, rcond=READABLE_RCOND)
    caption = (
        f"Cosines between the ideal class embeddings (eq. 2) of <strong>{escape(cls)}</strong>, the class with the "
        f"most labelled pixels, in {len(chosen)} of the {int(images[number])} images that show it; mean over pairs "
        f"{matrix.attrs['mean_similarity']:.2f}, standard deviation {matrix.attrs['spread']:.2f}. They are fitted to "
        "the initial features and labels alone, with neither scores nor logits of the model; directions in which an "
        f"image's features vary by less than {READABLE_RCOND:.0%} of the strongest are left out. Where the cosines are "
        "low, the images ask for different vectors: the paper's argument (Fig. 3) for moving it in each of them."
    )
    return heading + picture(plot_matrix(matrix, title=f"ideal class embeddings of {cls}"), caption)


def projection(records, survey: Survey, charts: Charts, umap: bool) -> str:
    heading = "<h2>Features and class embeddings in a plane</h2>\n"
    if not survey.labelled or survey.pixels.sum() < 3:
        return heading + "<p>Pixels are sampled by class, so this needs labelled records.</p>"
    table = sample_pixels(records, per_class=PIXELS_PER_CLASS)
    parts = [_scatter(project(table), charts, survey)]
    if umap:
        parts.append(_scatter(project(table, method="umap"), charts, survey))
    return heading + "\n".join(parts)


def _scatter(projection: xr.Dataset, charts: Charts, survey: Survey) -> str:
    kind, placed = {
        "pca": (
            "PCA is linear: directions and distances in it are true up to the variance that two axes leave out",
            "placed in it by the same axes",
        ),
        "umap": (
            "UMAP keeps neighbourhoods only: distances between groups and lengths of movements measure nothing",
            "placed where the five pixels lie, on average, that each scores highest",
        ),
    }[projection.attrs["method"]]
    stages = (
        "The aligned stars are the mean of the aligned class embeddings over the images."
        if has_offsets(survey.first)
        else "The model is per-pixel: there is one stage."
    )
    caption = (
        f"{projection.attrs['method'].upper()} of {projection.sizes['pixel']} pixels, at most {PIXELS_PER_CLASS} a "
        "class, coloured by label; stars are class embeddings. The plane is fitted once to the features of both "
        f"stages, class embeddings are only {placed}. {kind} (trustworthiness "
        f"{projection.attrs['trustworthiness']:.2f}). {stages} Pixels lie by their features, before any score or "
        "logit; predictions in the hover text are from logits."
    )
    return charts(plot_scatter(projection, interactive=True), alt=plot_scatter(projection).summary, caption=caption)


def footer(survey: Survey, command: str | None) -> str:
    from offseg_viz import __version__

    attrs = survey.first.attrs
    facts = {"made with": f"offseg_viz {__version__}"} | ({"command": command} if command else {})
    facts |= {name: attrs[name] for name in ("model", "checkpoint", "dataset", "seed")} | {"stride": _stride(attrs)}
    facts |= {"extracted with": f"offseg_viz {attrs['library_version']}", "images": len(survey.pixels)}
    rows = "".join(f"<dt>{escape(str(key))}</dt><dd>{escape(str(value)) or '–'}</dd>" for key, value in facts.items())
    return (
        f"</main>\n<footer>\n<dl>{rows}</dl>\n<p>Offset learning is the method of the paper's authors, who hold a "
        f"patent on it and allow non-commercial use only. {escape(_PAPER)}, <a "
        "href='https://arxiv.org/abs/2508.08811'>arXiv 2508.08811</a>.</p>\n</footer>"
    )
