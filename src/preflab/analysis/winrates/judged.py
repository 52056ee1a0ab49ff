"""Makes tables of seeds x prompts from a judge's verdicts. Does not import torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

import numpy as np

from preflab.analysis.intervals import Floats
from preflab.evaluation.preference.base import PairVerdict

Verdicts = Sequence[Sequence[Sequence[PairVerdict]]]
"""A list for each seed, which contains a list for each prompt, which contains one verdict for each pair of answers to the
prompt. A contest has one pair of answers for each seed and prompt. A study has as many pairs as samples."""


def cell_means(verdicts: Verdicts, value: Callable[[PairVerdict], float]) -> Floats:
    """Returns a table [S, P]. Each cell is the mean of `value` over the verdicts under one seed on one prompt."""
    return np.array([[fmean(map(value, cell)) for cell in row] for row in verdicts])


def outcome_table(verdicts: Verdicts) -> Floats:
    """Returns a table [S, P]. Each cell is the mean outcome of the verdicts under one seed on one prompt."""
    return cell_means(verdicts, lambda verdict: verdict.outcome)
