"""The course around the notebooks: guesses, checks with a diagnosis, student versions, and what a lecturer needs."""

from offseg_viz.course.guess import Guess
from offseg_viz.course.verdict import Verdict

__all__ = ["Guess", "Verdict"]
