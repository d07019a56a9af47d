"""Checks of the exercises, a module a notebook: each takes an answer and gives a `Verdict`."""
