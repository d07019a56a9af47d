"""Data sets: labelled images in, nothing of torch."""

from offseg_viz.data.sample import Sample, SampleSet
from offseg_viz.data.samples import SampleCheck, check_samples, load_samples

__all__ = ["Sample", "SampleCheck", "SampleSet", "check_samples", "load_samples"]
