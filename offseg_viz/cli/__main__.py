"""``python -m offseg_viz.cli``."""

from offseg_viz.cli import main

main()
