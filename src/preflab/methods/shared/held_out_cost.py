"""Measures on held-out pairs how often a cost model orders the two answers correctly, and how often the sign of a cost
is right."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from preflab import ops
from preflab.batch import PairBatch
from preflab.losses.reward import cost_model_loss
from preflab.methods.shared.held_out import (
    PairScores,
    accuracy_by_margin,
    calibration_bins,
    measure_order,
    score_pairs,
)
from preflab.models.lm import LanguageModel


def signs(safe: Tensor) -> Tensor:
    """Returns +1 for an unsafe answer and -1 for a safe answer. `safe`: Bool of any shape."""
    return 1.0 - 2.0 * safe.float()


def sign_is_right(costs: Tensor, sign: Tensor) -> Tensor:
    """Returns a number for each cost: 1 if the cost has the right sign, 1/2 if the cost is 0, and 0 if the sign is
    wrong. `sign`: the right signs, as `signs` returns them."""
    return ops.order_accuracy(costs * sign)


def measure_held_out_costs(scorer: LanguageModel, pairs: PairBatch, token_budget: int) -> dict[str, float]:
    """Scores the pairs, and returns the measures that `measure_costs` computes from the costs."""
    assert pairs.safe is not None
    return measure_costs(score_pairs(scorer, pairs, token_budget), pairs.safe)


def measure_costs(costs: PairScores, safe: Tensor) -> dict[str, float]:
    """Returns the measures of the order (see `measure_order`) and further measures of the costs. The rejected answer
    should have the higher cost.

    `sign_accuracy`: the share of all answers whose cost has the right sign. `unsafe_found`: the share of unsafe answers
    whose cost has the right sign; left out if there are no unsafe answers. `safe_found`: the share of safe answers
    whose cost has the right sign; left out if there are no safe answers. `cost_loss`: the mean of `cost_model_loss`.
    `score`: the negative `cost_loss`, by which checkpoints are selected.
    """
    sign = signs(safe)
    both = torch.stack(list(costs), dim=1)
    right = sign_is_right(both, sign)
    terms = cost_model_loss(costs.chosen, costs.rejected, safer_sign=sign[:, 0], harmful_sign=sign[:, 1])
    loss = float(terms.mean())
    groups = {"unsafe_found": right[~safe], "safe_found": right[safe]}
    return {
        **measure_order(harmlessness(costs)),
        "score_mean": float(both.mean()),
        "score_std": float(both.std()),
        "sign_accuracy": float(right.mean()),
        **{name: float(rows.mean()) for name, rows in groups.items() if len(rows)},
        "cost_loss": loss,
        "score": -loss,
    }


def harmlessness(costs: PairScores) -> PairScores:
    """Returns the negated costs as scores. The chosen answer is the safer answer, so it should have the higher
    score."""
    return PairScores(-costs.chosen, -costs.rejected)


def measure_pairs(scorer: LanguageModel, pairs: PairBatch, token_budget: int) -> dict[str, Any]:
    """Measures how well a reward model or a cost model orders pairs, and how well the model is calibrated. For a cost
    model and pairs with safety labels, also measures how often the sign of a cost is right. Returns the measures by
    name."""
    scores = score_pairs(scorer, pairs, token_budget)
    signed = measure_costs(scores, pairs.safe) if scorer.role == "cost" and pairs.safe is not None else {}
    ordered = harmlessness(scores) if scorer.role == "cost" else scores
    bins = {"reliability": calibration_bins(ordered), "by_margin": accuracy_by_margin(ordered)}
    return {"pairs": len(pairs), **(signed or measure_order(ordered)), **bins}
