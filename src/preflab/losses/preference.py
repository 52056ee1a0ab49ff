"""Losses on preference pairs. Each loss takes the summed log-probabilities of both answers and returns unreduced terms
[B].

To add a loss, write a function in this module and add its name to `PREFERENCE_LOSSES`. The DPO methods, their commands
and studies then offer the loss. The hyper-parameters of a loss are keyword-only. Their defaults are the values of the
paper that introduced the loss. If a default has another source, the loss's docstring names this source.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from preflab.errors import UserError, nearest
from preflab.targets import load_function


class PairLogprobs(NamedTuple):
    """The inputs of preference losses, all [B].

    `chosen`, `rejected`: log pi(y|x) of both answers, summed over their tokens. `reference_*`: the same sums under the
    reference model, or None for a loss in `REFERENCE_FREE`. `*_lengths`: the number of tokens of each answer.
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

    Source: Rafailov et al. 2023, eq. 7; also Xu et al. 2024, "Is DPO Superior to PPO for LLM Alignment?", Section 1.
    beta multiplies the margin, and determines how strong the implicit KL constraint is.

    Returns: [B]; exactly ln 2 if pi = pi_ref.
    """
    return -F.logsigmoid(beta * pairs.margin)


def ipo_loss(pairs: PairLogprobs, *, beta: float = 0.1) -> Tensor:
    """L = ( log(pi/pi_ref)(y_w) - log(pi/pi_ref)(y_l) - 1/(2 beta) )^2 (Azar et al. 2024, eq. 17, with tau = beta).

    Returns: [B]; 1/(4 beta^2) if pi = pi_ref.
    """
    return (pairs.margin - 1.0 / (2.0 * beta)).square()


def hinge_loss(pairs: PairLogprobs, *, beta: float = 0.1) -> Tensor:
    """L = max( 0, 1 - beta * [log(pi/pi_ref)(y_w) - log(pi/pi_ref)(y_l)] ).

    This is RSO's hinge-norm loss (Liu et al. 2024, Section 3). It is SLiC-HF's rank calibration loss (Zhao et al. 2023,
    Section 2), but with log-ratios to a reference instead of log-probabilities. DPO corresponds to logistic regression.
    This loss corresponds to a support vector machine.

    Returns: [B]; 1 if pi = pi_ref. A pair beyond the margin of 1/beta nats has no gradient.
    """
    return (1.0 - beta * pairs.margin).clamp(min=0.0)


def conservative_loss(pairs: PairLogprobs, *, beta: float = 0.1, noise: float = 0.1) -> Tensor:
    """L = -(1 - noise) log sigmoid(z) - noise log sigmoid(-z), z = beta * margin (cDPO: Mitchell 2023, eq. 3).

    `noise`: the assumed share of flipped labels, in [0, .5). The minimum is at the finite z with sigmoid(z) = 1 -
    noise.

    Returns: [B]; ln 2 if pi = pi_ref.
    """
    logits, noise = beta * pairs.margin, _share(noise)
    return -(1.0 - noise) * F.logsigmoid(logits) - noise * F.logsigmoid(-logits)


def robust_loss(pairs: PairLogprobs, *, beta: float = 0.01, noise: float = 0.1) -> Tensor:
    """L = [ -(1 - noise) log sigmoid(z) + noise log sigmoid(-z) ] / (1 - 2 noise), z = beta * margin.

    rDPO (Chowdhury et al. 2024, Section 3.1). If labels are flipped with probability `noise`, in [0, .5), the
    expectation of this loss over the flips is the DPO loss of the true label. The loss of a single pair can be negative
    and has no lower bound.

    Returns: [B]; ln 2 if pi = pi_ref.
    """
    logits, noise = beta * pairs.margin, _share(noise)
    return (noise * F.logsigmoid(-logits) - (1.0 - noise) * F.logsigmoid(logits)) / (1.0 - 2.0 * noise)


def dpop_loss(pairs: PairLogprobs, *, beta: float = 0.3, lam: float = 50.0) -> Tensor:
    """L = -log sigmoid( beta * [margin - lam * max(0, log(pi_ref/pi)(y_w))] ) (DPO-Positive: Pal et al. 2024, eq. 3).

    The penalty `lam * max(...)` is positive only if the chosen answer is less likely under the policy than under the
    reference.

    Returns: [B]; ln 2 if pi = pi_ref.
    """
    fall = (-pairs.chosen_ratio).clamp(min=0.0)
    return -F.logsigmoid(beta * (pairs.margin - _weight("lam", lam) * fall))


def r_dpo_loss(pairs: PairLogprobs, *, beta: float = 0.1, alpha: float = 0.01) -> Tensor:
    """L = -log sigmoid( beta * margin + alpha * (|y_w| - |y_l|) ) (Park et al. 2024, length-regularised DPO).

    This is DPO with a reward that subtracts alpha for each token of the answer. If length explains a part of the
    preferences, the policy does not have to learn this part. Park et al. try several values of alpha; the default of
    .01 is preflab's choice.

    Returns: [B]; ln 2 if pi = pi_ref and both answers are equally long.
    """
    return -F.logsigmoid(beta * pairs.margin + alpha * (pairs.chosen_lengths - pairs.rejected_lengths))


def chi_po_loss(pairs: PairLogprobs, *, beta: float = 0.05, r_max: float = 10.0) -> Tensor:
    """L = -log sigmoid( clip( beta * [phi(rho_w) - phi(rho_l)], +-2 r_max ) ), phi(z) = z + log z, rho = pi/pi_ref.

    Chi-squared preference optimisation (Huang et al. 2024, Algorithm 1). phi is the link function of a regulariser that
    is the sum of the KL divergence and the chi-squared divergence. This regulariser is stronger than KL if the policy
    is far from the reference. `r_max` bounds the reward; the default of 10 is preflab's choice. A clipped pair has no
    gradient. Before the exponential, log rho is clamped to [-88, 20], so that fp32 can represent the result.

    Returns: [B]; ln 2 if pi = pi_ref.
    """
    chosen, rejected = _phi(pairs.chosen_ratio), _phi(pairs.rejected_ratio)
    if not r_max > 0.0:
        raise UserError(f"`r_max` bounds the reward. Give a number above 0 instead of {r_max}.")
    return -F.logsigmoid((beta * (chosen - rejected)).clamp(-2.0 * r_max, 2.0 * r_max))


def simpo_loss(pairs: PairLogprobs, *, beta: float = 2.0, gamma: float = 1.0) -> Tensor:
    """L = -log sigmoid( beta / |y_w| log pi(y_w) - beta / |y_l| log pi(y_l) - gamma ) (Meng et al. 2024, eq. 6).

    The loss needs no reference model. gamma is the target margin. The authors start with gamma / beta = .5 and tune
    both hyper-parameters.

    Returns: [B].
    """
    margin = pairs.chosen / pairs.chosen_lengths - pairs.rejected / pairs.rejected_lengths
    return -F.logsigmoid(beta * margin - gamma)


def cpo_loss(pairs: PairLogprobs, *, beta: float = 0.1, nll: float = 1.0) -> Tensor:
    """L = -log sigmoid( beta * [log pi(y_w) - log pi(y_l)] ) - nll * log pi(y_w) / |y_w| (Xu et al. 2024, Section 3).

    This is DPO with a uniform reference, plus a likelihood term. In the paper on CPO, the likelihood term is
    log pi(y_w). The authors' code and this loss use the mean of the token log-probabilities instead.

    Returns: [B].
    """
    likelihood = _weight("nll", nll) * pairs.chosen / pairs.chosen_lengths
    return -F.logsigmoid(beta * (pairs.chosen - pairs.rejected)) - likelihood


def orpo_loss(pairs: PairLogprobs, *, lam: float = 0.1) -> Tensor:
    """L = -log P(y_w) - lam * log sigmoid( log[ odds(y_w) / odds(y_l) ] ) (Hong et al. 2024, eq. 6 and 7).

    log P(y) = log pi(y) / |y|, odds = P / (1 - P). The loss needs no reference model, and combines SFT and preference
    learning in one stage.

    Returns: [B].
    """
    chosen, rejected = pairs.chosen / pairs.chosen_lengths, pairs.rejected / pairs.rejected_lengths
    return -chosen - _weight("lam", lam) * F.logsigmoid(_log_odds(chosen) - _log_odds(rejected))


def _phi(log_ratio: Tensor) -> Tensor:
    """Returns phi(z) = z + log z at z = exp(log_ratio)."""
    return log_ratio.clamp(-88.0, 20.0).exp() + log_ratio


def _log_odds(logprob: Tensor) -> Tensor:
    """Returns log P - log(1 - P). The result is finite even for P = 1, because log P is clamped to at most -eps, where
    eps is the machine epsilon."""
    held = logprob.clamp(max=-torch.finfo(logprob.dtype).eps)
    return held - torch.log(-torch.expm1(held))


def _weight(name: str, value: float) -> float:
    if not value >= 0.0:
        raise UserError(
            f"`{name}` is the weight of a term in the loss. Give a number of at least 0 instead of {value}."
        )
    return value


def _share(noise: float) -> float:
    if not 0.0 <= noise < 0.5:
        raise UserError(
            f"`noise` is the share of flipped labels. Give a number of at least 0 and less than .5 instead of {noise}."
        )
    return noise


PREFERENCE_LOSSES: dict[str, Callable[..., Tensor]] = {
    "sigmoid": dpo_loss, "ipo": ipo_loss, "hinge": hinge_loss, "conservative": conservative_loss, "robust": robust_loss,
    "dpop": dpop_loss, "r-dpo": r_dpo_loss, "chi-po": chi_po_loss, "simpo": simpo_loss, "cpo": cpo_loss, "orpo": orpo_loss,
}  # fmt: skip
REFERENCE_FREE: frozenset[str] = frozenset({"simpo", "cpo", "orpo"})
"""The losses that need no reference model. For these losses, reference log-probabilities are neither computed nor
charged as compute."""


def describe_losses() -> list[str]:
    """Lists the name of each loss with its settings and their defaults, such as `simpo (beta 2.0, gamma 1.0)`.

    The last entry, `module:function`, stands for a loss that the user wrote.
    """
    described = []
    for name, loss in PREFERENCE_LOSSES.items():
        fields = [field for field in inspect.signature(loss).parameters.values() if field.kind == field.KEYWORD_ONLY]
        described.append(f"{name} ({', '.join(f'{field.name} {field.default}' for field in fields)})")
    return [*described, "module:function"]


def preference_loss(
    name: str, *, beta: float | None = None, settings: Mapping[str, float] | None = None
) -> PreferenceLoss:
    """Returns the loss called `name` with its hyper-parameters filled in.

    `name` is a name in `PREFERENCE_LOSSES`, or `package.module:function`. If `beta` is None, or if a setting is not in
    `settings`, the default of the loss is used. Raises `UserError` for an unknown name, for a setting that the loss
    does not have, and for a setting that has neither a value nor a default. Also raises `UserError` if the loss does
    not return one term for each pair.
    """
    if name not in PREFERENCE_LOSSES and ":" not in name:
        raise UserError(f"Unknown preference loss {name!r}.{nearest(name, PREFERENCE_LOSSES)}")
    loss = PREFERENCE_LOSSES.get(name) or load_function(name, "preference loss")
    values = dict(settings or {}) if beta is None else {**(settings or {}), "beta": beta}
    try:
        fields = inspect.signature(loss).parameters
    except (TypeError, ValueError) as error:
        raise UserError(
            f"The preference loss {name!r} has no readable signature. Write the loss as a Python function."
        ) from error
    known = [field.name for field in fields.values() if field.kind == field.KEYWORD_ONLY]
    for field in values:
        if field not in known:
            raise UserError(f"The preference loss {name!r} has no setting {field!r}.{nearest(field, known)}")
    for field in known:
        if field not in values and fields[field].default is inspect.Parameter.empty:
            raise UserError(f"The preference loss {name!r} needs a value for its setting {field!r}.")
    configured = partial(loss, **values)
    try:
        terms = cast(object, configured(PairLogprobs(*[torch.full((2,), -1.0)] * 4, *[torch.ones(2)] * 2)))
    except UserError:
        raise
    except Exception as error:  # the user's function can raise any error
        raise UserError(f"The preference loss {name!r} fails on two pairs: {type(error).__name__}: {error}.") from error
    # Without this check, a loss could return the mean over its pairs. Each micro-batch would then have the same weight,
    # even if the micro-batches differ in size.
    if not isinstance(terms, Tensor) or terms.shape != (2,):
        raise UserError(
            f"The preference loss {name!r} returns {_describe(terms)} for two pairs. It must return one term for each "
            "pair."
        )
    return configured


def _describe(terms: object) -> str:
    """Returns the shape of a tensor, or the type of anything else, as text."""
    return f"{list(terms.shape)}" if isinstance(terms, Tensor) else f"a {type(terms).__name__}"
