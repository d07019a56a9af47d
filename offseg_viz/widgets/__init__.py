"""Live views for JupyterLab, with no mathematics of their own."""

from offseg_viz.widgets.explorer import AlignmentExplorer
from offseg_viz.widgets.feature_field import FeatureField
from offseg_viz.widgets.offset_lab import OffsetLab
from offseg_viz.widgets.pixel_map import PixelMap
from offseg_viz.widgets.pixel_probe import PixelProbe
from offseg_viz.widgets.projection_explorer import ProjectionExplorer

__all__ = ["AlignmentExplorer", "FeatureField", "OffsetLab", "PixelMap", "PixelProbe", "ProjectionExplorer"]
