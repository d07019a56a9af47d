"""Live views for JupyterLab, with no mathematics of their own."""

from offseg_viz.widgets.explorer import AlignmentExplorer
from offseg_viz.widgets.pixel_map import PixelMap

__all__ = ["AlignmentExplorer", "PixelMap"]
