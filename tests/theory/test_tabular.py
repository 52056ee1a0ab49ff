"""Tables of log-probabilities: golden values, and that a policy and its reward are two views of one thing."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from preflab.theory.tabular import dpo_objective, implied_reward, move_mass, optimum, reward_objective, tabular_kl


def table(*rows: float) -> Tensor:
    """One problem of one prompt: [1,1,K]."""
    return torch.tensor([[rows]], dtype=torch.float64)


def wins(*pairs: tuple[int, int, float], responses: int) -> Tensor:
    """Counts [1,1,K,K] from (winner, loser, count)."""
    counts = torch.zeros(1, 1, responses, responses, dtype=torch.float64)
    for winner, loser, count in pairs:
        counts[0, 0, winner, loser] = count
    return counts


BETA = torch.tensor([2.0], dtype=torch.float64)


def test_optimum_golden() -> None:
    """Protects pi_ref exp(r/beta)/Z: pi_ref = (.5, .25, .25), r/beta = (0, log 2, log 4): .5, .5, 1 over 2."""
    policy = optimum(table(0.0, 2 * math.log(2), 2 * math.log(4)), table(0.5, 0.25, 0.25).log(), BETA)
    assert policy.exp().flatten().tolist() == pytest.approx([0.25, 0.25, 0.5])


def test_optimum_never_leaves_the_support() -> None:
    """Protects the heart of the theorem: where pi_ref = 0 the optimum is 0, whatever the reward."""
    policy = optimum(table(0.0, 0.0, 1e6), table(0.5, 0.5, 0.0).log(), BETA)
    assert policy.exp().flatten().tolist() == [0.5, 0.5, 0.0]


def test_implied_reward_golden() -> None:
    """Protects beta log(pi/pi_ref): 2 log(.8/.4) = 2 log 2; 0 where both are 0; infinite where only pi_ref is."""
    rewards = implied_reward(table(0.8, 0.0, 0.2).log(), table(0.4, 0.0, 0.0).log(), BETA)
    assert rewards.flatten().tolist() == pytest.approx([2 * math.log(2), 0.0, math.inf])


def test_dpo_golden() -> None:
    """Protects sign, beta and counts: pi = (.8, .2), pi_ref even, beta .5: margin .5 log 4 = log 2. Three wins at log(1 + 1/2),
    one loss at log(1 + 2): (3 log 1.5 + log 3)/4."""
    counts = wins((0, 1, 3), (1, 0, 1), responses=2)
    value = dpo_objective(table(0.8, 0.2).log(), table(0.5, 0.5).log(), counts, torch.tensor([0.5]))
    assert float(value) == pytest.approx((3 * math.log(1.5) + math.log(3)) / 4)


def test_reward_golden() -> None:
    """Protects the Bradley-Terry mean: a gap of log 2 gives the same (3 log 1.5 + log 3)/4; a common level changes nothing."""
    counts = wins((0, 1, 3), (1, 0, 1), responses=2)
    for level in (0.0, 7.0):
        loss = reward_objective(table(level + math.log(2), level), counts)
        assert float(loss) == pytest.approx((3 * math.log(1.5) + math.log(3)) / 4)


def test_what_is_not_compared_may_be_undefined() -> None:
    """Protects from 0 x nan: a response that no pair holds has log(0/0) there, and the loss is finite."""
    policy, reference = table(0.8, 0.2, 0.0).log(), table(0.5, 0.5, 0.0).log()
    value = dpo_objective(policy, reference, wins((0, 1, 1), responses=3), torch.tensor([0.5]))
    assert float(value) == pytest.approx(math.log(1.5))


def test_divergence_golden() -> None:
    """Protects the KL: .75 log 1.5 + .25 log .5 = .304099 - .173287; 0 log 0 = 0; mass where the other has none is infinite."""
    assert float(tabular_kl(table(0.75, 0.25).log(), table(0.5, 0.5).log())) == pytest.approx(0.130812, abs=1e-6)
    assert float(tabular_kl(table(1.0, 0.0).log(), table(0.5, 0.5).log())) == pytest.approx(math.log(2))
    assert float(tabular_kl(table(0.5, 0.5).log(), table(1.0, 0.0).log())) == math.inf


def test_moved_golden() -> None:
    """Protects the construction: a share of .6 onto the third of (.5, .3, .2) leaves .4 of all, plus .6 there: .2, .12, .68."""
    onto = torch.tensor([[[False, False, True]]])
    moved = move_mass(table(0.5, 0.3, 0.2).log(), torch.tensor([0.6], dtype=torch.float64), onto)
    assert moved.exp().flatten().tolist() == pytest.approx([0.2, 0.12, 0.68])


shares = st.lists(st.floats(0.01, 1.0), min_size=4, max_size=4)


@given(shares, shares, st.floats(0.01, 100.0))
def test_reward_and_policy_are_one(policy: list[float], reference: list[float], beta: float) -> None:
    """Protects the bijection: the optimum of beta log(pi/pi_ref) is pi, and both losses agree, for any full support."""
    pi, other = (torch.log_softmax(table(*values).log(), -1) for values in (policy, reference))
    betas = torch.tensor([beta], dtype=torch.float64)
    reward = implied_reward(pi, other, betas)
    torch.testing.assert_close(optimum(reward, other, betas), pi, rtol=0, atol=1e-11)
    counts = wins((0, 1, 2), (2, 1, 1), responses=4)
    torch.testing.assert_close(dpo_objective(pi, other, counts, betas), reward_objective(reward, counts))
