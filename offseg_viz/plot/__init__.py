"""A result in, a figure out: nothing here computes, shows or writes."""

from offseg_viz.plot.bars import plot_classes
from offseg_viz.plot.figure import StaticFigure
from offseg_viz.plot.maps import plot_map, plot_panels
from offseg_viz.plot.matrices import plot_matrix
from offseg_viz.plot.measures import plot_measures
from offseg_viz.plot.models import plot_models
from offseg_viz.plot.plane import plot_plane
from offseg_viz.plot.scatter import plot_scatter
from offseg_viz.plot.terms import plot_terms

__all__ = [
    "StaticFigure",
    "plot_classes",
    "plot_map",
    "plot_matrix",
    "plot_measures",
    "plot_models",
    "plot_panels",
    "plot_plane",
    "plot_scatter",
    "plot_terms",
]
