"""Sampled pixels and class embeddings in the two axes of a projection, before and after the refinement."""

import numpy as np
import xarray as xr
from matplotlib import patheffects
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D

from offseg_viz.classes import IGNORE_INDEX
from offseg_viz.errors import RecordError, UnknownNameError
from offseg_viz.plot import theme
from offseg_viz.plot.figure import StaticFigure
from offseg_viz.plot.summary import literal, rounded

COLORS = ("cls", "sample", "correct", "distortion")
STAGES = ("initial", "aligned")
_MOST_NAMES = 15
"""More class names than this would lie on each other; a legend then stands in their place."""
SAMPLE_PALETTE = ("#1c5a96", "#d9772b", "#3f8f5b", "#8a5aa8", "#b8962e", "#4aa3a8", "#b04a5a", "#6b7280")
"""Colours of images, again from the beginning after the last."""


def plot_scatter(projection: xr.Dataset, *, color: str = "cls", facet: str | None = "stage", interactive: bool = False):
    """Pixels as points, class embeddings as stars, in the axes of a `project` result.

    Aligned class embeddings belong to an image: small diamonds, one for every image that shows a pixel of the class,
    and the star at their mean.

    Parameters
    ----------
    projection : Dataset
        ``pixel_projection (stage, pixel, axis)`` and, where there are any, ``class_projection (cls, axis)`` and
        ``aligned_class_projection (image, cls, axis)``, with the coordinates of the pixel table.
    color : {"cls", "sample", "correct", "distortion"}
        Points by the class of their label, by their image, by whether the prediction of that stage is the label, or by
        their own distortion: the share of their nearest neighbours that the plane loses.
    facet : {"stage", None}
        Two panels with common axes, one for a per-pixel model, whose stages coincide; or a single panel, in which a
        line joins each pixel's initial and aligned place. In a PCA the line is a true (projected) offset; in a UMAP
        its length is no measurement. Lines shorter than the drift of a null change (its 95th percentile) are pale.
    interactive : bool
        A plotly figure with hover text in place of a `StaticFigure`; always one panel a stage.

    Returns
    -------
    StaticFigure or plotly Figure
        Beneath it, and in its text, the quality figures that `project` gives: trustworthiness and continuity, the share
        of neighbours that the plane keeps and that the refinement leaves, the drift of a null change, stability over
        seeds where it was asked for, and how many of all labelled pixels are shown.

    Raises
    ------
    UnknownNameError
        If `color` or `facet` is none of the above.
    RecordError
        If the dataset has no ``pixel_projection``, or no ``distortion`` to colour by.
    """
    if color not in COLORS:
        raise UnknownNameError("scatter colour", color, COLORS)
    if facet not in ("stage", None):
        raise UnknownNameError("scatter facet", facet, ("stage", "None"))
    if "pixel_projection" not in projection:
        raise RecordError(
            f"needed the variable pixel_projection, found {sorted(projection)}; use project(sample_pixels(...))"
        )
    if color == "distortion" and color not in projection:
        raise RecordError("needed the variable distortion to colour by; projections made by project() have it")
    if interactive:
        return _interactive(projection, color)
    stages = different_stages(projection)
    with theme.style():
        figure = StaticFigure(
            _summary(projection, color), figsize=(9.6, 4.9) if facet and len(stages) == 2 else (6.6, 5.4)
        )
        grid = (
            figure.subplots(1, len(stages), sharex=True, sharey=True, squeeze=False)[0]
            if facet
            else [figure.subplots()] * 2
        )
        if facet is None and len(stages) == 2:
            _draw_moves(grid[0], projection)
        for axes, stage in zip(grid, stages):
            places = projection["pixel_projection"].sel(stage=stage).transpose("pixel", "axis").values
            faint = facet is None and stage != stages[-1]
            look = dict(s=9, linewidths=0.2, edgecolors=theme.QUIET, alpha=0.25 if faint else 0.65)  # or white is lost
            if color == "distortion":
                values = projection["distortion"].sel(stage=stage).values
                points = axes.scatter(*places.T, c=values, cmap=theme.SEQUENTIAL, vmin=0, vmax=1, **look)
            for name, hue, chosen in _groups(projection, color, stage):
                axes.scatter(*places[chosen].T, color=hue, label=name, **look)
            if not faint:
                _class_stars(axes, projection, stage, each_image=color != "distortion")
            one = "per-pixel model: one stage" if len(stages) == 1 else "initial (faint) to aligned"
            axes.set_title(stage if facet and len(stages) == 2 else one)
            axes.margins(0.08)
            _axis_names(axes, projection)
        if color == "distortion":
            bar = figure.colorbar(points, ax=list(figure.axes), shrink=0.8, aspect=30, pad=0.01)
            bar.set_label("share of neighbours lost", color=theme.QUIET)
            bar.outline.set_visible(False)
            bar.solids.set_alpha(1)
        wide = len(stages) == 2 and facet is not None
        note = "\n".join(balanced(quality_parts(projection), 2))
        groups = _groups(projection, color, "aligned")
        if groups and (color != "cls" or len(groups) > _MOST_NAMES):
            shown = groups if color == "cls" else groups[:16]
            outline = dict(markeredgecolor=theme.QUIET, markeredgewidth=0.4)  # or a white class would be invisible
            handles = [
                Line2D([], [], ls="", marker="o", ms=5, color=hue, label=name, **outline) for name, hue, _ in shown
            ]
            legend = figure.legend(handles=handles, loc="outside lower left", ncol=8 if wide else 5, title=note)
            legend.set(alignment="left")
            legend.get_title().set(fontsize=7.5, color=theme.QUIET)  # a label of the figure would lie on the legend
        elif note:
            figure.supxlabel(note, x=0.995, ha="right", fontsize=7.5, color=theme.QUIET)
    return figure


def _draw_moves(axes, projection: xr.Dataset) -> None:
    """A line from the initial to the aligned place of each pixel, pale where a null change would be drawn as long."""
    moves = projection["pixel_projection"].transpose("pixel", "stage", "axis").sel(stage=list(STAGES)).values
    length = np.linalg.norm(moves[:, 1] - moves[:, 0], axis=1)
    diagonal = np.linalg.norm(np.ptp(moves.reshape(-1, 2), axis=0))
    pale = length < projection.attrs.get("null_drift_95", 0) * diagonal
    colors = np.where(pale, theme.HAIRLINE, theme.QUIET)
    axes.add_collection(LineCollection(moves, colors=colors, linewidths=0.4, alpha=0.35, zorder=1))


_KEPT = {
    "trustworthiness": "trustworthiness",
    "continuity": "continuity",
    "plane_overlap": "neighbours kept by the plane",
    "stage_overlap": "kept from initial to aligned",
    "stability": "between seeds",
}


def quality_parts(projection: xr.Dataset, *, steady: bool = False) -> list[str]:
    """The quality figures of a projection in words; `steady`: only as far as a UMAP gives them on every machine."""
    attrs = projection.attrs
    coarse = steady and attrs.get("method") == "umap"
    found = []
    for name, words in _KEPT.items():
        if name in attrs:
            rough = coarse and name != "stage_overlap"  # which is of the feature space alone
            found.append(f"{words} " + (f"over {int(20 * attrs[name]) / 20:.2f}" if rough else f"{attrs[name]:.2f}"))
    if "null_drift_95" in attrs and not coarse:
        found.append(f"null drift {100 * attrs['null_drift_95']:.2f}% of the diagonal")
    if "labelled_pixels" in attrs:
        found.append(f"{projection.sizes['pixel']} of {attrs['labelled_pixels']} labelled pixels shown")
    return found


def balanced(parts: list[str], lines: int) -> list[str]:
    """Parts joined into so many lines of about the same number of parts."""
    size = -(-len(parts) // lines) or 1
    return [" · ".join(parts[start : start + size]) for start in range(0, len(parts), size)]


def different_stages(projection: xr.Dataset) -> tuple[str, ...]:
    """The stages to draw: the initial one alone where both coincide, as they do for a per-pixel model."""
    initial, aligned = (projection["pixel_projection"].sel(stage=stage).values for stage in STAGES)
    return STAGES[:1] if np.array_equal(initial, aligned) else STAGES


def _groups(projection: xr.Dataset, color: str, stage: str) -> list[tuple[str, str, np.ndarray]]:
    """Name, colour and chosen pixels of each group of points."""
    label = projection["label"].values
    if color == "distortion":
        return []
    if color == "correct":
        right = projection[f"{stage}_prediction"].values == label
        return [("predicted right", theme.RIGHT, right), ("predicted wrong", theme.WRONG, ~right)]
    if color == "sample":
        names = list(dict.fromkeys(projection["sample"].values.astype(str)))
        hues = [SAMPLE_PALETTE[k % len(SAMPLE_PALETTE)] for k in range(len(names))]
        return [(name, hue, projection["sample"].values.astype(str) == name) for name, hue in zip(names, hues)]
    names, hues = projection["cls"].values, projection["color"].values
    return [(str(names[k]), str(hues[k]), label == k) for k in np.unique(label) if k != IGNORE_INDEX]


def _of_images(projection: xr.Dataset) -> np.ndarray:
    """Places (image, cls, axis) of the aligned class embeddings; NaN where the image shows no pixel of the class."""
    places = projection["aligned_class_projection"].transpose("image", "cls", "axis").values.copy()
    sample, label = projection["sample"].values.astype(str), projection["label"].values
    for places_of_image, name in zip(places, projection["image"].values.astype(str)):
        places_of_image[~np.isin(np.arange(len(places_of_image)), label[sample == name])] = np.nan
    return places


def _stars(projection: xr.Dataset, stage: str) -> np.ndarray | None:
    """Places (cls, axis) of the class embeddings of a stage: the aligned ones are means over the images with the class.

    NaN for an aligned one that no image shows.
    """
    if stage == "aligned" and "aligned_class_projection" in projection:
        places = _of_images(projection)
        shown = np.isfinite(places).sum(axis=0)
        return np.where(shown > 0, np.nansum(places, axis=0) / np.maximum(shown, 1), np.nan)
    if "class_projection" in projection:
        return projection["class_projection"].transpose("cls", "axis").values
    return None


def _class_stars(axes, projection: xr.Dataset, stage: str, *, each_image: bool) -> None:
    places = _stars(projection, stage)
    if places is None:
        return
    if stage == "aligned" and each_image and "aligned_class_projection" in projection:
        each = _of_images(projection)
        for k, hue in enumerate(projection["color"].values):
            axes.scatter(
                *each[:, k].T, s=13, marker="D", color=hue, edgecolors="white", linewidths=0.4, alpha=0.8, zorder=3
            )
    halo = [patheffects.withStroke(linewidth=2.2, foreground="white")]
    present = [k for k in np.unique(projection["label"].values) if k != IGNORE_INDEX]
    for k in present:
        name, hue = str(projection["cls"].values[k]), projection["color"].values[k]
        axes.scatter(*places[k], s=120, marker="*", color=hue, edgecolors=theme.INK, linewidths=0.7, zorder=4)
        if len(present) <= _MOST_NAMES:
            axes.annotate(
                name, places[k], xytext=(5, 5), textcoords="offset points", fontsize=7.5, path_effects=halo, zorder=5
            )


def _axis_names(axes, projection: xr.Dataset) -> None:
    method = str(projection.attrs.get("method", "projection")).upper()
    share = np.ravel(projection.attrs.get("explained_variance", ()))
    names = [
        f"{method} {k + 1}" + (f" ({100 * share[k]:.0f}% of variance)" if len(share) > k else "") for k in range(2)
    ]
    axes.set(xlabel=names[0], ylabel=names[1])
    axes.label_outer()


def _summary(projection: xr.Dataset, color: str) -> str:
    """Counts and quality figures only: coordinates of a UMAP differ between machines, and its figures do a little."""
    label, attrs = projection["label"].values, projection.attrs
    text = (
        f"{attrs.get('method', 'projection')} of {projection.sizes['pixel']} pixels of {len(np.unique(label))} classes "
        f"in {len(np.unique(projection['sample'].values))} images, coloured by {color}"
    )
    if "explained_variance" in attrs:
        share = np.ravel(attrs["explained_variance"])
        text += "; explained variance " + " + ".join(f"{value:.2f}" for value in share)
    if color == "correct":
        shares = [f"{s} {100 * (projection[f'{s}_prediction'].values == label).mean():.1f}%" for s in STAGES]
        text += "; predicted right: " + ", ".join(shares)
    if attrs.get("method") == "pca":
        pixels = projection["pixel_projection"].transpose("stage", "pixel", "axis").sel(stage=list(STAGES)).values
        step = np.linalg.norm(pixels[1] - pixels[0], axis=-1)
        spread = float(np.linalg.norm(pixels[0] - pixels[0].mean(0), axis=-1).mean())
        text += f"; mean step initial to aligned {rounded(float(step.mean()), spread)}"
        text += f", mean distance to the centre {rounded(spread, spread)}"
    return "; ".join([text, *quality_parts(projection, steady=True)])


def _interactive(projection: xr.Dataset, color: str):
    from plotly.subplots import make_subplots

    stages = different_stages(projection)
    titles = stages if len(stages) == 2 else ("per-pixel model: one stage",)
    layout = dict(shared_xaxes="all", shared_yaxes="all", subplot_titles=titles, horizontal_spacing=0.03)
    figure = make_subplots(1, len(stages), **layout)
    outline = dict(width=0.4, color=theme.QUIET)
    names = projection["cls"].values
    label = projection["label"].values
    for column, stage in enumerate(stages, start=1):
        places = projection["pixel_projection"].sel(stage=stage).transpose("pixel", "axis").values
        guess = projection[f"{stage}_prediction"].values
        groups = _groups(projection, color, stage)
        if color == "distortion":
            bar = dict(title=dict(text="share of neighbours lost", side="right"), thickness=12, outlinewidth=0)
            hues = projection["distortion"].sel(stage=stage).values.round(3)
            scale = dict(colorscale="Viridis", cmin=0, cmax=1, showscale=column == len(stages), colorbar=bar)
            groups = [("pixel", hues, np.ones(len(label), dtype=bool))]
        else:
            scale = {}
        for name, hue, chosen in groups:
            about = [
                f"{literal(names[k])}, predicted {literal(names[guessed])}<br>{literal(sample)}, y {y:.0f}, x {x:.0f}"
                for k, guessed, sample, y, x in zip(
                    label[chosen], guess[chosen], *(projection[key].values[chosen] for key in ("sample", "y", "x"))
                )
            ]
            figure.add_scatter(
                x=places[chosen, 0].round(4), y=places[chosen, 1].round(4), mode="markers", name=literal(name),
                marker=dict(size=4.5, color=hue, opacity=0.65, line=outline, **scale),
                text=about, hovertemplate="%{text}<extra></extra>",
                legendgroup=name, showlegend=column == 1, row=1, col=column,
            )  # fmt: skip
        stars = _stars(projection, stage)
        if stars is not None:
            present = [k for k in np.unique(label) if k != IGNORE_INDEX]
            figure.add_scatter(
                x=stars[present, 0].round(4), y=stars[present, 1].round(4), mode="markers", name="class embedding",
                text=[literal(names[k]) for k in present], hovertemplate="class embedding of %{text}<extra></extra>",
                marker=dict(
                    symbol="star", size=12, color=list(projection["color"].values[present]),
                    line=dict(width=1, color=theme.INK),
                ),
                legendgroup="class embedding", showlegend=column == 1, row=1, col=column,
            )  # fmt: skip
    figure.add_annotation(
        text="<br>".join(balanced(quality_parts(projection), 2)), showarrow=False, xref="paper", yref="paper",
        x=1, y=-0.06, xanchor="right", yanchor="top", align="right", font=dict(size=10.5, color=theme.QUIET),
    )  # fmt: skip
    figure.update_layout(
        template="plotly_white", height=550, margin=dict(l=10, r=10, t=40, b=70), showlegend=color != "distortion",
        font=dict(family="system-ui, sans-serif", size=12, color=theme.INK), legend=dict(itemsizing="constant"),
    )  # fmt: skip
    figure.update_xaxes(zeroline=False)
    figure.update_yaxes(zeroline=False)
    return figure
