"""Defines measures that a report computes relative to another arm of the study. Does not import torch."""

from __future__ import annotations

from typing import NamedTuple

from preflab.evaluation.measure import Measure


class RelativeMeasure(NamedTuple):
    """A measure that compares an arm with a reference arm by another measure. It is the arm's value of the other
    measure minus the reference arm's value, on the same prompts under the same seed. `of`: the name of the other
    measure. `reference`: the name of the reference arm."""

    measure: Measure
    of: str
    reference: str
