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

COLORS = ("cls", "sample", "correct")
STAGES = ("initial", "aligned")
_MOST_NAMES = 15
"""More class names than this would lie on each other; a legend then stands in their place."""
_SAMPLE_PALETTE = ("#1c5a96", "#d9772b", "#3f8f5b", "#8a5aa8", "#b8962e", "#4aa3a8", "#b04a5a", "#6b7280")


def plot_scatter(projection: xr.Dataset, *, color: str = "cls", facet: str | None = "stage", interactive: bool = False):
    """Pixels as points, class embeddings as stars, in the axes of a `project` result.

    Parameters
    ----------
    projection : Dataset
        ``pixel_projection (stage, pixel, axis)`` and, where there are any, ``class_projection (cls, axis)`` and
        ``aligned_class_projection (image, cls, axis)``, with the coordinates of the pixel table.
    color : {"cls", "sample", "correct"}
        Points by the class of their label, by their image, or by whether the prediction of that stage is the label.
    facet : {"stage", None}
        Two panels with common axes, one for a per-pixel model, whose stages coincide; or a single panel, in which a
        line joins each pixel's initial and aligned place. In a PCA the line is a true (projected) offset; in a UMAP
        its length is no measurement.
    interactive : bool
        A plotly figure with hover text in place of a `StaticFigure`; always one panel a stage.

    Raises
    ------
    UnknownNameError
        If `color` or `facet` is none of the above.
    RecordError
        If the dataset has no ``pixel_projection``.
    """
    if color not in COLORS:
        raise UnknownNameError("scatter colour", color, COLORS)
    if facet not in ("stage", None):
        raise UnknownNameError("scatter facet", facet, ("stage", "None"))
    if "pixel_projection" not in projection:
        raise RecordError(
            f"needed the variable pixel_projection, found {sorted(projection)}; use project(sample_pixels(...))"
        )
    if interactive:
        return _interactive(projection, color)
    stages = _stages(projection)
    with theme.style():
        figure = StaticFigure(
            _summary(projection, color), figsize=(9.6, 4.9) if facet and len(stages) == 2 else (6.6, 5.4)
        )
        grid = (
            figure.subplots(1, len(stages), sharex=True, sharey=True, squeeze=False)[0]
            if facet
            else [figure.subplots()] * 2
        )
        if facet is None:
            moves = projection["pixel_projection"].transpose("pixel", "stage", "axis").sel(stage=list(STAGES)).values
            grid[0].add_collection(LineCollection(moves, colors=theme.QUIET, linewidths=0.4, alpha=0.35, zorder=1))
        for axes, stage in zip(grid, stages):
            groups = _groups(projection, color, stage)
            places = projection["pixel_projection"].sel(stage=stage).transpose("pixel", "axis").values
            faint = facet is None and stage != stages[-1]
            edge = dict(linewidths=0.2, edgecolors=theme.QUIET)  # or a white class would be invisible
            for name, hue, chosen in groups:
                axes.scatter(*places[chosen].T, s=9, color=hue, alpha=0.25 if faint else 0.65, label=name, **edge)
            if not faint:
                _class_stars(axes, projection, stage)
            one = "per-pixel model: one stage" if len(stages) == 1 else "initial (faint) to aligned"
            axes.set_title(stage if facet and len(stages) == 2 else one)
            axes.margins(0.08)
            _axis_names(axes, projection)
        if "trustworthiness" in projection.attrs:
            note = f"trustworthiness {projection.attrs['trustworthiness']:.2f}"
            figure.supxlabel(note, x=0.995, ha="right", fontsize=8, color=theme.QUIET)
        groups = _groups(projection, color, "aligned")
        if color != "cls" or len(groups) > _MOST_NAMES:
            shown = groups if color == "cls" else groups[:16]
            handles = [Line2D([], [], ls="", marker="o", ms=5, color=hue, label=name) for name, hue, _ in shown]
            figure.legend(handles=handles, loc="outside lower left", ncol=8)
    return figure


def _stages(projection: xr.Dataset) -> tuple[str, ...]:
    """The stages to draw: the initial one alone where both coincide, as they do for a per-pixel model."""
    initial, aligned = (projection["pixel_projection"].sel(stage=stage).values for stage in STAGES)
    return STAGES[:1] if np.array_equal(initial, aligned) else STAGES


def _groups(projection: xr.Dataset, color: str, stage: str) -> list[tuple[str, str, np.ndarray]]:
    """Name, colour and chosen pixels of each group of points."""
    label = projection["label"].values
    if color == "correct":
        right = projection[f"{stage}_prediction"].values == label
        return [("predicted right", theme.RIGHT, right), ("predicted wrong", theme.WRONG, ~right)]
    if color == "sample":
        names = list(dict.fromkeys(projection["sample"].values.astype(str)))
        hues = [_SAMPLE_PALETTE[k % len(_SAMPLE_PALETTE)] for k in range(len(names))]
        return [(name, hue, projection["sample"].values.astype(str) == name) for name, hue in zip(names, hues)]
    names, hues = projection["cls"].values, projection["color"].values
    return [(str(names[k]), str(hues[k]), label == k) for k in np.unique(label) if k != IGNORE_INDEX]


def _stars(projection: xr.Dataset, stage: str) -> np.ndarray | None:
    """Places (cls, axis) of the class embeddings of a stage; the aligned ones are averaged over the images."""
    if stage == "aligned" and "aligned_class_projection" in projection:
        return projection["aligned_class_projection"].mean("image").transpose("cls", "axis").values
    if "class_projection" in projection:
        return projection["class_projection"].transpose("cls", "axis").values
    return None


def _class_stars(axes, projection: xr.Dataset, stage: str) -> None:
    places = _stars(projection, stage)
    if places is None:
        return
    if stage == "aligned" and "aligned_class_projection" in projection:
        each = projection["aligned_class_projection"].transpose("image", "cls", "axis").values
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
    """Counts and quality figures only: coordinates of a UMAP differ between machines."""
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
    return text


def _interactive(projection: xr.Dataset, color: str):
    from plotly.subplots import make_subplots

    stages = _stages(projection)
    titles = stages if len(stages) == 2 else ("per-pixel model: one stage",)
    layout = dict(shared_xaxes="all", shared_yaxes="all", subplot_titles=titles, horizontal_spacing=0.03)
    figure = make_subplots(1, len(stages), **layout)
    outline = dict(width=0.4, color=theme.QUIET)
    names = projection["cls"].values
    label = projection["label"].values
    for column, stage in enumerate(stages, start=1):
        places = projection["pixel_projection"].sel(stage=stage).transpose("pixel", "axis").values
        guess = projection[f"{stage}_prediction"].values
        for name, hue, chosen in _groups(projection, color, stage):
            about = [
                f"{literal(names[k])}, predicted {literal(names[guessed])}<br>{literal(sample)}, y {y:.0f}, x {x:.0f}"
                for k, guessed, sample, y, x in zip(
                    label[chosen], guess[chosen], *(projection[key].values[chosen] for key in ("sample", "y", "x"))
                )
            ]
            figure.add_scatter(
                x=places[chosen, 0].round(4), y=places[chosen, 1].round(4), mode="markers", name=literal(name),
                marker=dict(size=4.5, color=hue, opacity=0.65, line=outline),
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
    figure.update_layout(
        template="plotly_white", height=520, margin=dict(l=10, r=10, t=40, b=10),
        font=dict(family="system-ui, sans-serif", size=12, color=theme.INK), legend=dict(itemsizing="constant"),
    )  # fmt: skip
    figure.update_xaxes(zeroline=False)
    figure.update_yaxes(zeroline=False)
    return figure
