"""Losses of reward models and cost models. The functions return unreduced terms [B]."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def bradley_terry_loss(
    chosen: Tensor,
    rejected: Tensor,
    *,
    shift: Tensor | None = None,
    probability: Tensor | None = None,
    smoothing: float = 0.0,
) -> Tensor:
    """L_R = -q log sigmoid(z) - (1 - q) log sigmoid(-z), z = r(x,y_w) - r(x,y_l) + shift.

    By default q = 1 and shift = 0. The loss is then -log sigmoid(z), as in Section 1 of Xu et al. 2024, "Is DPO
    Superior to PPO for LLM Alignment?". `shift` = -m subtracts a margin m from the score difference (Touvron et al.
    2023, eq. 2). `shift` = phi x adds a covariate to the scores (see `length_covariate`). `probability` p is the
    probability that the label is right. `smoothing` e is the assumed share of wrong labels (Szegedy et al. 2016). p and
    e together give q = (1 - e) p + e (1 - p).

    Args:
        chosen, rejected, shift, probability: [B].

    Returns: [B]; the minimum is at z = log(q / (1 - q)).
    """
    z = chosen - rejected if shift is None else chosen - rejected + shift
    doubt = doubts(z, probability, smoothing)
    return -F.logsigmoid(z) + doubt * z  # log sigmoid(-z) = log sigmoid(z) - z


def doubts(like: Tensor, probability: Tensor | None, smoothing: float) -> Tensor:
    """Returns 1 - q = (1 - e) (1 - p) + e p, [B]: the probability that the rejected answer is the better one.

    If `probability` is None, p is 1. `like`: any tensor [B] with the dtype and the device of the result.
    """
    sure = torch.ones_like(like) if probability is None else probability.to(like.dtype)
    return (1.0 - smoothing) * (1.0 - sure) + smoothing * sure


def cost_model_loss(safer: Tensor, harmful: Tensor, *, safer_sign: Tensor, harmful_sign: Tensor) -> Tensor:
    """L_C = -log sigmoid(C(x,y_h) - C(x,y_s)) - log sigmoid(s_h C(x,y_h)) - log sigmoid(s_s C(x,y_s)) (Dai et al. 2024,
    Section 3.2).

    The first term orders the pair: the more harmful answer y_h should cost more than the safer answer y_s. The other
    two terms put the boundary between safe and unsafe at 0. s is +1 for an unsafe answer and -1 for a safe answer.
    C > 0 therefore means unsafe. A pair can have two safe answers, or two unsafe answers.

    Args:
        safer, harmful: [B], the costs C.
        safer_sign, harmful_sign: [B], s of each answer.

    Returns: [B].
    """
    order = -F.logsigmoid(harmful - safer)
    return order - F.logsigmoid(harmful_sign * harmful) - F.logsigmoid(safer_sign * safer)


def length_covariate(chosen_lengths: Tensor, rejected_lengths: Tensor, spread: float) -> Tensor:
    """x = tanh( (|y_w| - |y_l|) / s ): [B], in (-1, 1). s = `spread` is the standard deviation of |y_w| - |y_l| over the
    data.

    Length-controlled AlpacaEval (Dubois et al. 2024) fits sigmoid(quality + phi x) to the preferences and reports the
    quality at x = 0. In preflab, `quality` is the score of a reward model.
    """
    return torch.tanh((chosen_lengths - rejected_lengths).float() / spread)
