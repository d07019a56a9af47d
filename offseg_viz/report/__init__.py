"""The story of some records as one HTML file: no network, no notebook, readable by a colleague and usable in CI."""

from offseg_viz.report.page import report_html, write_report

__all__ = ["report_html", "write_report"]
