"""Computes Bradley-Terry scores of all arms from the outcomes of all pairs of arms, with simultaneous confidence
intervals. Does not import torch.

P(arm i beats arm j) = sigmoid(score_i - score_j), and the scores' mean is 0. A tie counts as half a win for each arm. A
cell is one seed and one prompt, with the outcomes of all pairs of arms. The influence of a cell on the scores is N H^+ U,
where N is the number of cells, H^+ is the pseudo-inverse of the information matrix H, and U is the gradient of the cell's
log-likelihood. The intervals are computed from the influences of whole cells. They are therefore valid even if the
outcomes of different pairs of arms on the same prompt depend on each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from scipy.special import expit

from preflab.analysis.intervals import Floats
from preflab.analysis.record import Interval
from preflab.analysis.winrates.cells import cell_interval
from preflab.analysis.winrates.length import NEWTON_STEPS


@dataclass(frozen=True)
class ArmScores:
    """Bradley-Terry scores. scores: maps each arm to its score, highest score first; empty if no scores can be
    computed. reason: why there are no scores; '' if there are scores."""

    scores: dict[str, Interval]
    reason: str = ""


def bradley_terry(arms: Sequence[str], outcomes: Mapping[tuple[str, str], Floats]) -> ArmScores:
    """Returns the Bradley-Terry scores of the arms. `outcomes`: a table [S, P] of outcomes for each pair of arms. All
    tables have the same shape."""
    place = {arm: index for index, arm in enumerate(arms)}
    pairs = list(outcomes)
    differences = np.zeros((len(pairs), len(arms)))
    for row, (first, second) in enumerate(pairs):
        differences[row, place[first]], differences[row, place[second]] = 1.0, -1.0
    tables = np.stack([outcomes[pair] for pair in pairs])  # [pairs, S, P]
    reason = _find_unbounded(arms, differences, tables)
    if reason:
        return ArmScores({}, reason)
    means, scores = tables.mean(axis=(1, 2)), np.zeros(len(arms))
    inverse = np.zeros((len(arms), len(arms)))
    for _ in range(NEWTON_STEPS):
        chance = expit(differences @ scores)
        inverse = np.linalg.pinv(differences.T @ (differences * (chance * (1 - chance))[:, None]))
        step = np.clip(inverse @ (differences.T @ (means - chance)), -2.0, 2.0)
        scores = scores + step
        if np.abs(step).max() < 1e-10:
            break
    residuals = tables - expit(differences @ scores)[:, None, None]
    influence = np.einsum("ij,kj,ksp->isp", inverse, differences, residuals)
    intervals = {
        arm: cell_interval(float(scores[index]), influence[index], family=len(arms)) for arm, index in place.items()
    }
    return ArmScores(dict(sorted(intervals.items(), key=lambda item: -(item[1].estimate or 0.0))))


def _find_unbounded(arms: Sequence[str], differences: Floats, tables: Floats) -> str:
    """Returns '' if the likelihood of the scores has a finite maximum. If not, returns a sentence with the cause. The
    likelihood has no finite maximum if the arms can be divided into two groups such that every comparison between the
    groups was won by an arm of the first group (Ford, American Mathematical Monthly 64, 1957)."""
    beats = np.zeros((len(arms), len(arms)))
    for row, table in zip(differences, tables, strict=True):
        first, second = int(row.argmax()), int(row.argmin())
        beats[first, second] += float(table.sum())
        beats[second, first] += float((1 - table).sum())
    count, groups = connected_components(csr_matrix(beats > 0), directed=True, connection="strong")
    if count == 1:
        return ""
    names = ", ".join(arm for arm, group in zip(arms, groups, strict=True) if group == groups[0])
    return f"{names} won or lost every comparison with the other arms, so the scores would be infinite"
