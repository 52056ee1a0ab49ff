"""Losses on preference pairs. Each takes summed log-ratios log(pi/pi_ref) [B] and returns unreduced terms [B].

A new loss is one function here and one name in `PREFERENCE_LOSSES`; the DPO method, its command and the study follow.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from preflab.errors import UserError, nearest
from preflab.targets import load_function

PreferenceLoss = Callable[..., Tensor]


def dpo_loss(chosen: Tensor, rejected: Tensor, *, beta: float) -> Tensor:
    """L = -log sigmoid( beta * [log(pi/pi_ref)(y_w) - log(pi/pi_ref)(y_l)] ).

    Rafailov et al. 2023, eq. 7; paper, Section 1.

    Args:
        chosen: log(pi/pi_ref)(y_w), summed over the completion: [B].
        rejected: log(pi/pi_ref)(y_l): [B].
        beta: multiplies; the strength of the implicit KL constraint.

    Returns: [B], exactly ln 2 where pi = pi_ref.
    """
    return -F.logsigmoid(beta * (chosen - rejected))


def ipo_loss(chosen: Tensor, rejected: Tensor, *, beta: float) -> Tensor:
    """L = ( log(pi/pi_ref)(y_w) - log(pi/pi_ref)(y_l) - 1/(2 beta) )^2 (Azar et al. 2024, eq. 17, with tau = beta).

    Args and returns as `dpo_loss`; 1/(4 beta^2) where pi = pi_ref.
    """
    return (chosen - rejected - 1.0 / (2.0 * beta)).square()


PREFERENCE_LOSSES: dict[str, PreferenceLoss] = {"sigmoid": dpo_loss, "ipo": ipo_loss}


def preference_loss(name: str) -> PreferenceLoss:
    """The loss behind a name of `PREFERENCE_LOSSES`, or `package.module:function`; raises `UserError` on another."""
    if name in PREFERENCE_LOSSES:
        return PREFERENCE_LOSSES[name]
    if ":" not in name:
        raise UserError(f"Unknown preference loss {name!r}.{nearest(name, PREFERENCE_LOSSES)}")
    return load_function(name, "preference loss")
