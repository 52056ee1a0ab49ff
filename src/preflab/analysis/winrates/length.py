"""Computes the length-controlled win rate: an estimate of the win rate if both answers had the same length. Does not
import torch.

The model is a logistic regression of the outcome on the difference d of the two answers' lengths:

    P(first wins) = sigmoid(method + phi * tanh(d / sd)),    sd: the standard deviation of d

The coefficients `method` and `phi` are fitted. The length-controlled win rate is sigmoid(method), the win rate at d = 0.
A tie counts as half a win and half a loss. The idea comes from AlpacaEval 2 (Dubois et al. 2024). AlpacaEval 2 adds a
term for the difficulty of each prompt, estimated over many systems. preflab leaves this term out.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from scipy.special import expit

from preflab.analysis.intervals import Floats
from preflab.analysis.record import Interval, LengthControl
from preflab.analysis.winrates.cells import cell_interval

NEWTON_STEPS = 100
FURTHEST = 12.0
"""The largest accepted absolute value of a fitted coefficient. A coefficient above this limit means that the lengths or
the method predict every outcome, so that the likelihood has no finite maximum."""


class MakeInterval(Protocol):
    """A function that computes the interval of an estimate. `influence` [S, P]: the influence of each cell on the
    estimate. `family`: the number of simultaneous intervals for which the interval is adjusted."""

    def __call__(self, estimate: float, influence: Floats, *, family: float = 1.0) -> Interval: ...


def control_length(
    outcomes: Floats, differences: Floats, *, family: float = 1.0, interval: MakeInterval = cell_interval
) -> LengthControl:
    """Fits the logistic model of this module, and returns the length-controlled win rate. `outcomes` [S, P]: the mean
    outcome of each cell. `differences` [S, P]: the mean length difference of each cell, which is the length of the first
    answer minus the length of the second answer. `family`: the number of simultaneous intervals for which the interval
    of the win rate is adjusted."""
    mean = float(differences.mean())
    spread = float(differences.std())
    if spread == 0:
        return LengthControl(difference=mean, reason="all pairs have the same length difference")
    regressors = np.stack([np.ones(differences.size), np.tanh(differences.ravel() / spread)], axis=1)
    fitted = fit_logistic(regressors, outcomes.ravel())
    if fitted is None:
        return LengthControl(difference=mean, reason="the method or the length predicts every outcome")
    coefficients, influence = fitted
    rate = float(expit(coefficients[0]))
    on_rate = rate * (1 - rate) * influence[:, 0].reshape(outcomes.shape)
    return LengthControl(
        rate=interval(rate, on_rate, family=family).within(0.0, 1.0),
        phi=interval(float(coefficients[1]), influence[:, 1].reshape(outcomes.shape)),
        difference=mean,
    )


def fit_logistic(regressors: Floats, outcomes: Floats) -> tuple[Floats, Floats] | None:
    """Fits P = sigmoid(regressors @ coefficients) to outcomes in [0, 1] by Newton's method. Returns the coefficients
    [K] and the influence of each row on the coefficients [N, K]. Returns None if the likelihood has no finite maximum."""
    coefficients = np.zeros(regressors.shape[1])
    for _ in range(NEWTON_STEPS):
        chance = expit(regressors @ coefficients)
        information = regressors.T @ (regressors * (chance * (1 - chance))[:, None])
        if np.linalg.matrix_rank(information) < len(coefficients):
            return None
        step = np.linalg.solve(information, regressors.T @ (outcomes - chance))
        coefficients = coefficients + np.clip(step, -2.0, 2.0)
        if np.abs(coefficients).max() > FURTHEST:
            return None
        if np.abs(step).max() < 1e-10:
            scores = regressors * (outcomes - expit(regressors @ coefficients))[:, None]
            return coefficients, len(outcomes) * np.linalg.solve(information, scores.T).T
    return None
