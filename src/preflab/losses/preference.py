"""Losses on preference pairs: summed log-probabilities of both answers in, unreduced terms [B] out.

A new loss is one function here and one name in `PREFERENCE_LOSSES`; the DPO methods, their commands and the study follow.
Its hyper-parameters are keyword-only, with the value of the paper that introduced it as default.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F

from preflab.errors import UserError, nearest
from preflab.targets import load_function


class PairLogprobs(NamedTuple):
    """What a preference loss may look at, all [B].

    `chosen`, `rejected`: log pi(y|x) of both answers, summed over their tokens; `reference_*` the reference's, None for
    a loss of `REFERENCE_FREE`; `*_lengths`: their numbers of tokens.
    """

    chosen: Tensor
    rejected: Tensor
    reference_chosen: Tensor | None
    reference_rejected: Tensor | None
    chosen_lengths: Tensor
    rejected_lengths: Tensor

    @property
    def chosen_ratio(self) -> Tensor:
        """log(pi/pi_ref)(y_w)."""
        assert self.reference_chosen is not None
        return self.chosen - self.reference_chosen

    @property
    def rejected_ratio(self) -> Tensor:
        """log(pi/pi_ref)(y_l)."""
        assert self.reference_rejected is not None
        return self.rejected - self.reference_rejected

    @property
    def margin(self) -> Tensor:
        """log(pi/pi_ref)(y_w) - log(pi/pi_ref)(y_l)."""
        return self.chosen_ratio - self.rejected_ratio


PreferenceLoss = Callable[[PairLogprobs], Tensor]


def dpo_loss(pairs: PairLogprobs, *, beta: float = 0.1) -> Tensor:
    """L = -log sigmoid( beta * [log(pi/pi_ref)(y_w) - log(pi/pi_ref)(y_l)] ).

    Rafailov et al. 2023, eq. 7; paper, Section 1. beta multiplies: the strength of the implicit KL constraint.

    Returns: [B], exactly ln 2 where pi = pi_ref.
    """
    return -F.logsigmoid(beta * pairs.margin)


def ipo_loss(pairs: PairLogprobs, *, beta: float = 0.1) -> Tensor:
    """L = ( log(pi/pi_ref)(y_w) - log(pi/pi_ref)(y_l) - 1/(2 beta) )^2 (Azar et al. 2024, eq. 17, with tau = beta).

    Returns: [B], 1/(4 beta^2) where pi = pi_ref.
    """
    return (pairs.margin - 1.0 / (2.0 * beta)).square()


PREFERENCE_LOSSES: dict[str, Callable[..., Tensor]] = {"sigmoid": dpo_loss, "ipo": ipo_loss}
REFERENCE_FREE: frozenset[str] = frozenset()
"""Losses that look at no reference: none is computed, or charged, for them."""


def preference_loss(
    name: str, *, beta: float | None = None, settings: Mapping[str, float] | None = None
) -> PreferenceLoss:
    """The loss behind a name of `PREFERENCE_LOSSES`, or `package.module:function`, with its hyper-parameters filled in.

    `beta` None and what `settings` leaves out keep the loss's own defaults. Raises `UserError` on an unknown name, and
    on a setting that the loss does not have.
    """
    if name not in PREFERENCE_LOSSES and ":" not in name:
        raise UserError(f"Unknown preference loss {name!r}.{nearest(name, PREFERENCE_LOSSES)}")
    loss = PREFERENCE_LOSSES.get(name) or load_function(name, "preference loss")
    given = dict(settings or {}) if beta is None else {**(settings or {}), "beta": beta}
    known = [field.name for field in inspect.signature(loss).parameters.values() if field.kind == field.KEYWORD_ONLY]
    for field in given:
        if field not in known:
            raise UserError(f"The preference loss {name!r} has no setting {field!r}.{nearest(field, known)}")
    return partial(loss, **given)
