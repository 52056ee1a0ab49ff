"""The counter-example of Theorem 4.1 (paper, Table 1): three responses, one pair, and a reference with pi_ref(y3) = 0.

pi_ref = (1/2, 1/2, 0), and y1 was preferred to y2. Let a = pi(y1), b = pi(y2) and pi(y3) = 1 - a - b. Then L_DPO =
log(1 + (b/a)^beta) >= 0. L_DPO is 0 exactly if b = 0 < a, with any mass on y3. The reward is learned from one pair, so
L_R = log(1 + exp(-g)) with g = r(y1) - r(y2). No reward attains the infimum 0 of L_R. The PPO optimum is therefore a
limit: for g -> infinity, pi_g = (sigma(g/beta), sigma(-g/beta), 0) tends to (1, 0, 0). This limit does not depend on
r(y3).

The paper is Xu et al. 2024, "Is DPO Superior to PPO for LLM Alignment?".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from preflab.theory import tabular

Policy = tuple[float, float, float]

PAPER_REFERENCE: Policy = (0.5, 0.5, 0.0)
PAPER_MINIMISER: Policy = (0.1, 0.0, 0.9)
PPO_LIMIT: Policy = (1.0, 0.0, 0.0)
SEQUENCE_GAPS = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0)  # the reward gaps of the sequence of PPO optima
UNSEEN = (-1000.0, 0.0, 1000.0)  # rewards of y3 to try, because the data do not determine the reward of y3
_GRID = 50  # number of steps of the grid of policies, along each axis
_ROUNDING = 1e-12


class Certificate(NamedTuple):
    """One certificate: a computed value, the bound that the value must satisfy, and whether the value satisfies the
    bound."""

    name: str
    value: float
    bound: str
    holds: bool


class PolicyAtGap(NamedTuple):
    """The PPO optimum for the reward gap `gap`."""

    gap: float
    policy: Policy
    reward_loss: float
    slope: float  # dL_R/dg = -sigma(-g), which is never 0; so no finite gap is a minimum
    dpo_loss: float
    kl: float  # KL(pi || pi_ref)


def log_policies(policies: Sequence[Policy]) -> Tensor:
    """Returns log pi of N policies: [N,1,3]."""
    return torch.tensor(policies, dtype=torch.float64).log()[:, None, :]


def dpo_losses(policies: Sequence[Policy], beta: float) -> list[float]:
    """Computes L_DPO of each policy with the DPO loss of `preflab.losses`. L_DPO is nan if a = b = 0."""
    log_policy = log_policies(policies)
    reference = log_policies([PAPER_REFERENCE]).expand_as(log_policy)
    return tabular.dpo_objective(log_policy, reference, _pair(len(policies)), _betas(beta, len(policies))).tolist()


def divergences(policies: Sequence[Policy]) -> list[float]:
    """Returns KL(pi || pi_ref) of each policy."""
    return tabular.tabular_kl(log_policies(policies), log_policies([PAPER_REFERENCE]))[:, 0].tolist()


def slope_in_logits(policy: Policy, beta: float) -> float:
    """Returns the largest absolute component of dL_DPO/dlogits.

    The absolute value is beta sigma(-beta log(a/b)) for y1 and for y2, and 0 for y3.
    """
    a, b, _ = policy
    if a == 0.0 or b == 0.0:
        return beta if b > 0.0 else 0.0
    return beta * float(torch.sigmoid(torch.tensor(beta * math.log(b / a), dtype=torch.float64)))


def compute_sequence(beta: float, unseen: float = 0.0) -> list[PolicyAtGap]:
    """Computes the PPO optima of the rewards (g, 0, `unseen`) for g in `SEQUENCE_GAPS`. `unseen`: the reward of y3."""
    rewards = torch.tensor([[[gap, 0.0, unseen]] for gap in SEQUENCE_GAPS], dtype=torch.float64)
    betas, wins = _betas(beta, len(SEQUENCE_GAPS)), _pair(len(SEQUENCE_GAPS))
    reference = log_policies([PAPER_REFERENCE]).expand_as(rewards)
    policy = tabular.optimum(rewards, reference, betas)
    losses = tabular.reward_objective(rewards, wins).tolist()
    dpo = tabular.dpo_objective(policy, reference, wins, betas).tolist()
    kl = tabular.tabular_kl(policy, reference)[:, 0].tolist()
    table = [(row[0], row[1], row[2]) for row in policy[:, 0].exp().tolist()]
    slopes = (-torch.sigmoid(-torch.tensor(SEQUENCE_GAPS, dtype=torch.float64))).tolist()
    return [PolicyAtGap(*row) for row in zip(SEQUENCE_GAPS, table, losses, slopes, dpo, kl, strict=True)]


def objectives(policies: Sequence[Policy], gap: float, beta: float) -> list[float]:
    """Computes J(pi) = E_pi[r] - beta KL(pi || pi_ref) of each policy, with r = (gap, 0, 0).

    J(pi) is minus infinity if pi(y3) > 0.
    """
    return [p[0] * gap - beta * kl for p, kl in zip(policies, divergences(policies), strict=True)]


def certify_table1(
    beta: float, minimiser: Policy = PAPER_MINIMISER, steps: Sequence[PolicyAtGap] | None = None
) -> list[Certificate]:
    """Returns certificates for all statements of Table 1 about the policy `minimiser` and about the sequence `steps`.

    If `steps` is None, uses the sequence of PPO optima from `compute_sequence`.
    """
    steps = compute_sequence(beta) if steps is None else steps
    return _certify_minimiser(beta, minimiser) + _certify_sequence(beta, steps) + _certify_difference(minimiser, steps)


def _certify_minimiser(beta: float, minimiser: Policy) -> list[Certificate]:
    """Certifies that the set of DPO's minimisers is {b = 0 < a}, and that `minimiser` is in this set."""
    shares = [step / _GRID for step in range(1, _GRID + 1)]
    edge = [(a, 0.0, 1.0 - a) for a in shares]
    inner = [(a, b, max(0.0, 1.0 - a - b)) for a in shares for b in shares if a + b <= 1.0 + _ROUNDING]
    above = [loss - math.log1p(p[1] ** beta) for loss, p in zip(dpo_losses(inner, beta), inner, strict=True)]
    (loss,) = dpo_losses([minimiser], beta)
    worst = max(dpo_losses(edge, beta))
    slope = slope_in_logits(minimiser, beta)
    return [
        Certificate("L_DPO of the paper's optimum", loss, "= 0, and L_DPO >= 0", loss == 0.0),
        Certificate("its largest gradient in the logits", slope, "= 0", slope == 0.0),
        Certificate("largest L_DPO where b = 0 < a (grid)", worst, "= 0", worst == 0.0),
        Certificate("least L_DPO - log(1 + b^beta) where b > 0 (grid)", min(above), ">= 0", min(above) >= -_ROUNDING),
    ]


def _certify_sequence(beta: float, steps: Sequence[PolicyAtGap]) -> list[Certificate]:
    """Certifies that the policies in `steps` are the optima of their rewards, that they minimise both losses in the
    limit, and that their limit is (1, 0, 0)."""
    apart = max(abs(step.dpo_loss - step.reward_loss) for step in steps)
    over = max(step.dpo_loss - math.exp(-step.gap) for step in steps)
    away = max(1.0 - step.policy[0] - math.exp(-step.gap / beta) for step in steps)
    flattest = max(step.slope for step in steps)
    others = [(a / _GRID, 1.0 - a / _GRID, 0.0) for a in range(_GRID + 1)]
    bests = (max(objectives(others, step.gap, beta)) for step in steps)
    least = min(objectives([step.policy], step.gap, beta)[0] - best for step, best in zip(steps, bests, strict=True))
    scale = _ROUNDING * max(1.0, beta, SEQUENCE_GAPS[-1])
    return [
        Certificate("largest |L_DPO(pi_g) - L_R(g)|", apart, "= 0", apart <= _ROUNDING),
        Certificate("largest L_DPO(pi_g) - exp(-g)", over, "<= 0", over <= _ROUNDING),
        Certificate("largest dL_R/dg", flattest, "< 0: not attained", flattest < 0.0),
        Certificate("largest 1 - pi_g(y1) - exp(-g/beta)", away, "<= 0", away <= _ROUNDING),
        Certificate("least J(pi_g) - J(pi), pi on a grid", least, ">= 0: the optimum", least >= -scale),
    ]


def _certify_difference(minimiser: Policy, steps: Sequence[PolicyAtGap]) -> list[Certificate]:
    """Certifies that no policy of the sequence has mass on y3. Therefore the limit of the sequence has no mass on y3.
    Also certifies that `minimiser` has mass on y3, and that KL(`minimiser` || pi_ref) is infinite."""
    mass = max(step.policy[2] for step in steps)
    (kl,) = divergences([minimiser])
    return [
        Certificate("largest pi_g(y3)", mass, "= 0 = pi_ref(y3)", mass == 0.0),
        Certificate("pi(y3) of the paper's optimum", minimiser[2], "> 0", minimiser[2] > 0.0),
        Certificate("KL(paper's optimum || pi_ref)", kl, "= inf", math.isinf(kl)),
    ]


def _pair(count: int) -> Tensor:
    """Returns wins [count,1,3,3] for `count` problems in which y1 was preferred to y2 once."""
    wins = torch.zeros(count, 1, 3, 3, dtype=torch.float64)
    wins[:, 0, 0, 1] = 1.0
    return wins


def _betas(beta: float, count: int) -> Tensor:
    return torch.full((count,), beta, dtype=torch.float64)
