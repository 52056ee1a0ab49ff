"""The certified infimum of the Bradley-Terry loss: attained or a limit, and a bound that is never too high."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from preflab.theory import bradley_terry
from preflab.theory.bradley_terry import approach, certify, graph_of, minimise
from preflab.theory.problems import ProblemShape, draw_problems
from preflab.theory.tabular import reward_objective

ENTROPY = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
"""The least loss of a pair that is won three times of four: .562335, at a gap of log 3."""


def wins(*pairs: tuple[int, int, float], responses: int) -> Tensor:
    counts = torch.zeros(1, 1, responses, responses, dtype=torch.float64)
    for winner, loser, count in pairs:
        counts[0, 0, winner, loser] = count
    return counts


MIXED = wins((0, 1, 3), (1, 0, 1), responses=2)
CYCLE = wins((0, 1, 1), (1, 2, 1), (2, 0, 1), responses=3)
ONE_WAY = wins((0, 1, 1), (1, 2, 5), responses=3)
PARTLY = wins((0, 1, 3), (1, 0, 1), (0, 2, 4), responses=3)
(DRAWN,) = draw_problems(200, 3, ProblemShape())


def test_graph_golden() -> None:
    """Protects the structure. 0 and 1 beat each other, 0 beats 2; 3 > 4; 5 is in no pair. Two groups, {0,1,2} and {3,4};
    0, 1 lead to three responses with themselves, 2 to one, 3 to two, 4 and 5 to one."""
    graph = graph_of(wins((0, 1, 1), (1, 0, 1), (0, 2, 1), (3, 4, 1), responses=6))
    assert graph.covered.flatten().tolist() == [True] * 5 + [False]
    assert graph.component.flatten().tolist() == [0, 0, 0, 3, 3, 5]
    assert graph.level.flatten().tolist() == [3, 3, 1, 2, 1, 1]
    assert graph.part[0, 0, 0].tolist() == [True, True, False, False, False, False]


@pytest.mark.parametrize(
    ("counts", "least", "limit"),
    [(MIXED, ENTROPY, 0.0), (CYCLE, math.log(2), 0.0), (ONE_WAY, 0.0, 1.0), (PARTLY, ENTROPY / 2, 0.5)],
)
def test_infimum_golden(counts: Tensor, least: float, limit: float) -> None:
    """Protects the number that all else is measured by: the entropy of 3/4; a cycle of even wins, log 2 at equal rewards;
    one-way preferences, 0 as a limit; 4 of 8 pairs one-way, half the entropy."""
    graph = graph_of(counts)
    infimum = certify(minimise(counts, graph), counts, graph)
    assert float(infimum.lower) == pytest.approx(least, abs=1e-12)
    assert float(infimum.gap) < 1e-12
    assert float(infimum.limit) == limit


def test_minimum_golden() -> None:
    """Protects Newton's method: the gap is log 3, around 0."""
    rewards = minimise(MIXED, graph_of(MIXED)).flatten().tolist()
    assert rewards == pytest.approx([math.log(3) / 2, -math.log(3) / 2])


def test_thousand_to_one_is_still_solved() -> None:
    """Protects from overshooting: 10^6 wins against one along a chain of twelve, where full Newton steps diverge."""
    pairs = [pair for i in range(11) for pair in ((i, i + 1, 1e6), (i + 1, i, 1.0))]
    counts = wins(*pairs, responses=12)
    graph = graph_of(counts)
    rewards = minimise(counts, graph)
    assert (rewards[0, 0, :-1] - rewards[0, 0, 1:]).tolist() == pytest.approx([math.log(1e6)] * 11)
    assert float(certify(rewards, counts, graph).gap) < 1e-9


@given(st.integers(0, 199), st.lists(st.floats(-5, 5), min_size=18, max_size=18))
def test_the_bound_is_never_too_high(index: int, values: list[float]) -> None:
    """Protects the certificate's proof: from any rewards, however bad, the lower bound lies below the true infimum, and the
    interval reaches above the loss inside the parts."""
    counts = DRAWN.wins[index : index + 1]
    graph = graph_of(counts)
    best = certify(minimise(counts, graph), counts, graph)
    poor = certify(torch.tensor(values, dtype=torch.float64).reshape(1, 3, 6), counts, graph)
    assert float(poor.lower) <= float(best.lower + best.gap) + 1e-12
    assert float(poor.lower + poor.gap) >= float(best.lower) - 1e-12


def test_half_a_minimum_is_not_certified() -> None:
    """Protects from a broken optimiser: half of the right rewards leave an interval that no trial accepts."""
    graph = graph_of(MIXED)
    assert float(certify(minimise(MIXED, graph) / 2, MIXED, graph).gap) > 0.1


def test_a_wrong_gradient_is_not_certified(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects from a broken sign in the solver: Newton's method then climbs, and the interval is wide."""
    graph = graph_of(PARTLY)
    right = bradley_terry._gradient
    monkeypatch.setattr(bradley_terry, "_gradient", lambda rewards, inside: -right(rewards, inside))
    climbed = minimise(PARTLY, graph, steps=3)
    monkeypatch.undo()
    assert not float(certify(climbed, PARTLY, graph).gap) < 0.1


@pytest.mark.parametrize("gap", [1.0, 10.0, 40.0])
def test_the_sequence_keeps_its_bound(gap: float) -> None:
    """Protects the limit: every one-way pair is won by `gap` at least, and the loss exceeds inf L by at most limit
    log(1 + exp(-gap))."""
    graph = graph_of(DRAWN.wins)
    rewards = minimise(DRAWN.wins, graph)
    approached, bound = approach(rewards, graph, gap), certify(rewards, DRAWN.wins, graph)
    one_way = (DRAWN.wins > 0) & ~graph.part
    assert float((approached[..., :, None] - approached[..., None, :])[one_way].min()) >= gap - 1e-9
    over = reward_objective(approached, DRAWN.wins) - bound.lower - bound.limit * math.log1p(math.exp(-gap))
    assert float(over.max()) < 1e-11
