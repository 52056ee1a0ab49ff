"""Defines measures that a report computes relative to another arm of the study. Does not import torch."""

from __future__ import annotations

from typing import NamedTuple

from preflab.evaluation.measure import Measure


class RelativeMeasure(NamedTuple):
    """A measure that is the difference between an arm and a reference arm, on the same prompts under the same seed.
    `of`: the measure whose values are subtracted from each other. `reference`: the name of the reference arm."""

    measure: Measure
    of: str
    reference: str
