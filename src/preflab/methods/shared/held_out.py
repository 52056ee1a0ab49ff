"""Measures the accuracy, the calibration and the score spread of a reward model on pairs that it was not trained on."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from preflab.batch import PairBatch
from preflab.losses.reward import bradley_terry_loss
from preflab.models import forward
from preflab.models.lm import LanguageModel

CALIBRATION_BINS = 10
MARGIN_BINS = 5
Bins = list[dict[str, float]]
"""A list with one dictionary of measures for each bin that contains pairs."""


class PairScores(NamedTuple):
    """A reward model's scores of the chosen and the rejected answers of B pairs, [B] each."""

    chosen: Tensor
    rejected: Tensor

    @property
    def margin(self) -> Tensor:
        return (self.chosen - self.rejected).double()

    @property
    def right(self) -> Tensor:
        """For each pair, 1 if the chosen answer scores higher, 1/2 if the scores are equal, and 0 otherwise."""
        return forward.order_of_scores(self.chosen, self.rejected).double()


def score_pairs(scorer: LanguageModel, pairs: PairBatch, token_budget: int) -> PairScores:
    """Returns the reward model's scores of both answers of each pair."""
    score = partial(forward.pair_scores, scorer.model)
    return PairScores(*forward.by_micro_batch(scorer.model, score, pairs, token_budget).unbind(dim=1))


def measure_held_out(scorer: LanguageModel, pairs: PairBatch, token_budget: int) -> dict[str, float]:
    """Scores the pairs and returns the measures of `measure_order`. Every method that makes a reward model validates
    the model with this function."""
    return measure_order(score_pairs(scorer, pairs, token_budget))


def measure_order(scores: PairScores) -> dict[str, float]:
    """Returns the accuracy (a tie counts one half), the log-loss, the expected calibration error over ten bins, and the
    mean and the standard deviation of the scores.

    The calibration error is the mean gap between the predicted probability sigmoid(|margin|) and the share of correctly
    ordered pairs. `score` is the negative log-loss. Checkpoints are selected by `score`, because the log-loss penalises
    an over-confident model.
    """
    loss = float(bradley_terry_loss(scores.chosen, scores.rejected).mean())
    gaps = sum(row["count"] * abs(row["right"] - row["stated"]) for row in calibration_bins(scores))
    both = torch.cat([scores.chosen, scores.rejected])
    return {
        "score": -loss,
        "accuracy": float(scores.right.mean()),
        "loss": loss,
        "calibration_error": gaps / len(scores.margin),
        "score_mean": float(both.mean()),
        "score_std": float(both.std()),
    }


def calibration_bins(scores: PairScores) -> Bins:
    """Sorts the pairs into ten bins by the predicted probability sigmoid(|margin|). The bins divide [1/2, 1] into
    intervals of equal width. Returns three measures of each bin: the mean predicted probability (`stated`), the share
    of correctly ordered pairs (`right`), and the number of pairs (`count`). Empty bins are left out."""
    stated = torch.sigmoid(scores.margin.abs())
    bins = ((stated - 0.5) * 2 * CALIBRATION_BINS).long().clamp(max=CALIBRATION_BINS - 1)
    return [
        {"stated": float(stated[rows].mean()), "right": float(scores.right[rows].mean()), "count": int(rows.sum())}
        for rows in (bins == number for number in range(CALIBRATION_BINS))
        if rows.any()
    ]


def accuracy_by_margin(scores: PairScores) -> Bins:
    """Sorts the pairs by the |margin| of their scores, smallest first, and splits them into five bins with equal
    numbers of pairs. Returns the smallest and the largest |margin|, the accuracy and the number of pairs of each
    bin."""
    order = scores.margin.abs().argsort(stable=True)
    return [
        {
            "low": float(scores.margin[rows].abs().min()),
            "high": float(scores.margin[rows].abs().max()),
            "accuracy": float(scores.right[rows].mean()),
            "count": len(rows),
        }
        for rows in order.tensor_split(MARGIN_BINS)
        if len(rows)
    ]
