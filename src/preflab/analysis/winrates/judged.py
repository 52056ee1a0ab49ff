"""Makes tables of seeds x prompts from a judge's verdicts. Does not import torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

import numpy as np

from preflab.analysis.intervals import Floats
from preflab.evaluation.preference.base import PairVerdict

Verdicts = Sequence[Sequence[Sequence[PairVerdict]]]
"""For each seed and each prompt, the verdicts on the pairs of answers to this prompt. In a contest there is one pair, in
a study there are as many pairs as samples."""


def cell_means(verdicts: Verdicts, value: Callable[[PairVerdict], float]) -> Floats:
    """Returns the mean value of the verdicts in each cell, [S, P]."""
    return np.array([[fmean(map(value, cell)) for cell in row] for row in verdicts])


def outcome_table(verdicts: Verdicts) -> Floats:
    """Returns the mean outcome in each cell, [S, P]."""
    return cell_means(verdicts, lambda verdict: verdict.outcome)
