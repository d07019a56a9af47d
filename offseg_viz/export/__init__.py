"""One HTML file in which features and offsets are explored in the browser, without a kernel and without a network."""

from offseg_viz.export.page import interactive_html, write_interactive

__all__ = ["interactive_html", "write_interactive"]
