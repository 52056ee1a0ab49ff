"""Defines measures that a report computes relative to another arm of the study. Does not import torch."""

from __future__ import annotations

from typing import NamedTuple

from preflab.evaluation.measure import Measure


class RelativeMeasure(NamedTuple):
    """A measure that is the difference of two arms' values: the arm's value minus the reference arm's value, on the
    same prompts under the same seed. `of`: the name of the measure whose values are subtracted. `reference`: the name
    of the reference arm."""

    measure: Measure
    of: str
    reference: str
