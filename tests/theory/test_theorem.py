"""Theorem 4.1: both directions of its exact condition, a draw of every case, and certificates that reject a broken part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from preflab.theory import theorem
from preflab.theory.bradley_terry import Graph, Infimum, approach, graph_of, minimise
from preflab.theory.check import verify_all
from preflab.theory.problems import Problems, ProblemShape, draw_problems
from preflab.theory.tabular import optimum
from preflab.theory.theorem import REWARD_GAPS, is_minimal, is_ppo_optimum, make_minimiser, verify_theorem

(DRAWN,) = draw_problems(300, 11, ProblemShape())
"""Enough for every case."""
MIXED_ONES = verify_theorem(DRAWN).infimum.limit == 0
"""The problems whose minimum is attained. In a limit all mass may sit on one winner, and then a wrong beta fits as well."""


def problem(reference: list[float], *pairs: tuple[int, int, float], beta: float = 0.5) -> Problems:
    """One problem of one prompt, from pi_ref and (winner, loser, count)."""
    size = len(reference)
    counts = torch.zeros(1, 1, size, size, dtype=torch.float64)
    for winner, loser, count in pairs:
        counts[0, 0, winner, loser] = count
    return Problems(
        reference=torch.tensor([[reference]], dtype=torch.float64),
        wins=counts,
        beta=torch.tensor([beta], dtype=torch.float64),
        free=torch.linspace(-1, 2, size, dtype=torch.float64)[None, None],
        share=torch.tensor([0.9], dtype=torch.float64),
    )


MIXED = ((0, 1, 3.0), (1, 0, 1.0))
TWO_GROUPS = ((0, 1, 1.0), (2, 3, 2.0), (3, 2, 1.0))


def find_classes(problems: Problems) -> tuple[list[bool], list[bool]]:
    """Which uncovered responses give a minimiser outside PPO's class, and which inside."""
    certificates = verify_theorem(problems)
    assert bool(certificates.holds.all())
    return certificates.moved.outside.flatten().tolist(), certificates.moved.inside.flatten().tolist()


@pytest.mark.parametrize("pairs", [((0, 1, 1.0),), MIXED], ids=["separable", "mixed"])
def test_strict_where_the_reference_is_zero(pairs: tuple[tuple[int, int, float], ...]) -> None:
    """Protects one direction: Table 1's shape. y3 is uncovered and pi_ref(y3) = 0: a minimiser is outside, at infinite KL."""
    assert find_classes(problem([0.5, 0.5, 0.0], *pairs)) == ([False, False, True], [False, False, False])
    assert torch.isinf(verify_theorem(problem([0.5, 0.5, 0.0], *pairs)).moved.kl[0, 0, 2])


@pytest.mark.parametrize("pairs", [((0, 1, 1.0),), MIXED], ids=["separable", "mixed"])
@pytest.mark.parametrize("small", [0.2, 1e-6])
def test_equal_where_the_reference_has_full_support(pairs: tuple[tuple[int, int, float], ...], small: float) -> None:
    """Protects the other direction: the same data and pi_ref(y3) > 0, however small: 90% moved onto y3 is a PPO optimum."""
    rest = (1 - small) / 2
    assert find_classes(problem([rest, rest, small], *pairs)) == ([False] * 3, [False, False, True])


def test_unconnected_groups_leave_the_condition_as_it_is() -> None:
    """Protects the exact condition without a connected graph: the free constant of each group of linked responses puts no
    policy outside the class; a zero of the reference does, response by response."""
    assert find_classes(problem([0.2, 0.2, 0.2, 0.2, 0.2], *TWO_GROUPS)) == ([False] * 5, [False] * 4 + [True])
    with_a_zero = problem([0.2, 0.2, 0.2, 0.2, 0.2, 0.0], *TWO_GROUPS)
    assert find_classes(with_a_zero) == ([False] * 5 + [True], [False] * 4 + [True, False])


def test_a_prompt_without_pairs_counts_too() -> None:
    """Protects the condition from being read as "within compared prompts": nothing is covered in the second prompt, and its
    zero puts a minimiser outside."""
    one, other = problem([0.5, 0.5, 0.0], *MIXED), problem([0.6, 0.4, 0.0])
    both = Problems(
        *(torch.cat([getattr(p, name) for p in (one, other)], 1) for name in ("reference", "wins")),
        beta=one.beta,
        free=torch.cat([one.free, other.free], 1),
        share=one.share,
    )
    assert verify_theorem(both).moved.outside.tolist() == [[[False, False, True], [False, False, True]]]
    assert verify_theorem(both).moved.inside.tolist() == [[[False, False, False], [True, True, False]]]


def test_groups_make_families_and_connected_graphs_one_policy() -> None:
    """Protects the claim of uniqueness: other free constants give another optimum for two groups, and the same for one."""
    for pairs, unique in ((TWO_GROUPS, False), ((*TWO_GROUPS, (1, 2, 1.0)), True)):
        problems = problem([0.25, 0.25, 0.25, 0.25], *pairs)
        graph = graph_of(problems.wins)
        rewards = approach(minimise(problems.wins, graph), graph, REWARD_GAPS[0])
        one = make_minimiser(rewards, problems, graph)
        other = make_minimiser(rewards, problems._replace(free=-3 * problems.free), graph)
        assert torch.allclose(one, other, atol=1e-9) is unique


def test_every_case_is_drawn_and_holds() -> None:
    """Protects the draw: support full or not, graph connected or not, preferences mixed, partly and wholly separable: twelve
    cases, and the theorem in each."""
    trials, _ = verify_all([DRAWN])
    cases = (trials.cases @ torch.tensor([6, 3, 1])).bincount(minlength=12)
    assert cases.min() >= 5 and cases.sum() == 300
    assert bool(trials.holds.all())
    strict = trials.moved.outside.any(-1).any(-1)
    assert torch.equal(strict, trials.cases[:, 0] == 1)
    assert float(trials.infimum.gap.max()) < 1e-11


def test_a_problem_is_the_same_however_many_are_drawn() -> None:
    """Protects reproduction: problem 7 of a seed does not depend on --trials; another seed is another problem."""
    (few,), (more,), (other,) = (list(draw_problems(n, s, ProblemShape())) for n, s in ((8, 2), (30, 2), (8, 3)))
    assert all(torch.equal(a[7], b[7]) for a, b in zip(few, more, strict=True))
    assert not torch.equal(few.reference[7], other.reference[7])


@pytest.mark.parametrize("beta", [0.001, 1000.0])
def test_extremes(beta: float) -> None:
    """Protects the tolerances at the ends of what --beta allows, with many responses."""
    (drawn,) = draw_problems(40, 5, ProblemShape(prompts=2, responses=12, coverage=0.5, beta=beta))
    assert bool(verify_theorem(drawn).holds.all())


# -- broken parts are rejected -----------------------------------------------------------------------------------------

Broken = Callable[..., Any]


def wrong_sign(rewards: Tensor, reference: Tensor, beta: Tensor) -> Tensor:
    return optimum(-rewards, reference, beta)


def wrong_beta(rewards: Tensor, reference: Tensor, beta: Tensor) -> Tensor:
    return optimum(rewards, reference, 1.1 * beta)


def no_reference(rewards: Tensor, reference: Tensor, beta: Tensor) -> Tensor:
    return optimum(rewards, torch.zeros_like(reference), beta)


def leaking(rewards: Tensor, reference: Tensor, beta: Tensor) -> Tensor:
    """An optimum with one part in 10^4 everywhere."""
    right = optimum(rewards, reference, beta).exp()
    return (0.9999 * right + 0.0001 / right.shape[-1]).log()


def one_short(rewards: Tensor, reference: Tensor, beta: Tensor) -> Tensor:
    """Not normalised: a hundredth of the mass is lost."""
    return optimum(rewards, reference, beta) + torch.log(torch.tensor(0.99))


@pytest.mark.parametrize("broken", [wrong_sign, wrong_beta, no_reference, leaking])
def test_a_broken_optimum_misses_the_minimum(broken: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects certificate (a): negated rewards, a beta off by a tenth, a missing pi_ref, or a leak: each misses a minimum
    that is attained, and no trial of any kind holds."""
    monkeypatch.setattr(theorem, "optimum", broken)
    certificates = verify_theorem(DRAWN)
    assert not certificates.attained[MIXED_ONES].any()
    assert not certificates.holds.any()


@pytest.mark.parametrize("broken", [wrong_sign, wrong_beta, no_reference, leaking, one_short])
def test_a_broken_optimum_is_not_the_policy_again(broken: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects certificate (b), inside: with a broken optimum the bijection's round trip fails wherever it could be seen."""
    monkeypatch.setattr(theorem, "optimum", broken)
    certificates = verify_theorem(DRAWN)
    assert not certificates.returned[MIXED_ONES].any() and not certificates.exact[MIXED_ONES].any()


def test_a_broken_log_ratio_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects certificate (b), inside: f with the wrong sign, the wrong beta, or without pi_ref implies no optimal reward."""
    right = theorem.implied_reward
    for broken in (
        lambda policy, reference, beta: -right(policy, reference, beta),
        lambda policy, reference, beta: right(policy, reference, 2 * beta),
        lambda policy, reference, beta: right(policy, torch.zeros_like(reference), beta),
    ):
        monkeypatch.setattr(theorem, "implied_reward", broken)
        assert not verify_theorem(DRAWN).exact[MIXED_ONES].any()


def test_a_broken_loss_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects certificate (a): chosen and rejected swapped, or beta left out, in the DPO loss."""
    right = theorem.dpo_objective
    for broken in (
        lambda policy, reference, wins, beta: right(policy, reference, wins.mT, beta),
        lambda policy, reference, wins, beta: right(policy, reference, wins, torch.ones_like(beta)),
    ):
        monkeypatch.setattr(theorem, "dpo_objective", broken)
        assert not verify_theorem(DRAWN).attained[MIXED_ONES].any()


@pytest.mark.parametrize("shift", [1e-8, -1e-8])
def test_a_wrong_bound_is_rejected(shift: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the certificate itself: a lower bound that is 1e-8 too high lies above a loss that was reached; no loss
    reaches a bound that is too low."""
    right = theorem.certify

    def broken(rewards: Tensor, wins: Tensor, graph: Graph) -> Infimum:
        infimum = right(rewards, wins, graph)
        return infimum._replace(lower=infimum.lower + shift)

    monkeypatch.setattr(theorem, "certify", broken)
    assert not verify_theorem(DRAWN).attained.any()


def test_an_unsolved_problem_is_not_certified(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects from certifying by width: rewards that do not minimise leave an interval that no trial passes."""
    right = theorem.minimise
    monkeypatch.setattr(theorem, "minimise", lambda wins, graph: 0.9 * right(wins, graph))
    certificates = verify_theorem(DRAWN)
    inside = certificates.infimum.limit < 1
    within = DRAWN.wins * graph_of(DRAWN.wins).part
    moved = inside & (within != within.mT).any(-1).any(-1).any(-1)
    assert moved.sum() > 100
    assert not certificates.solved[moved].any()
    assert not certificates.holds[moved].any()


def test_wrong_coverage_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects certificate (b): where a covered response is taken for uncovered, mass moved onto it changes the loss."""
    right = theorem.graph_of
    covered = right(DRAWN.wins).covered

    def forgets(wins: Tensor) -> Graph:
        graph = right(wins)
        first = graph.covered.double().argmax(-1, keepdim=True)
        return graph._replace(covered=graph.covered.scatter(-1, first, False))

    monkeypatch.setattr(theorem, "graph_of", forgets)
    certificates = verify_theorem(DRAWN)
    wrongly = covered & ~certificates.covered & MIXED_ONES[:, None, None]
    assert wrongly.sum() > 200 and not (certificates.moved.minimal & wrongly).any()
    assert not certificates.exact[wrongly.any(-1).any(-1)].any()


def test_a_move_that_moves_nothing_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects certificate (b), outside: without mass where pi_ref = 0 the trial shows nothing, and fails."""
    monkeypatch.setattr(theorem, "move_mass", lambda policy, share, onto: policy)
    certificates = verify_theorem(DRAWN)
    strict = certificates.predicted.any(-1).any(-1)
    assert strict.any() and not certificates.exact[strict].any()


def test_mass_moved_onto_a_covered_response_is_not_a_minimiser() -> None:
    """Protects `is_minimal` and `is_ppo_optimum`: they refuse a policy that is neither, and accept the optimum."""
    problems = problem([0.25, 0.25, 0.5], *MIXED)
    graph = graph_of(problems.wins)
    infimum = verify_theorem(problems).infimum
    right = make_minimiser(approach(minimise(problems.wins, graph), graph, 1.0), problems, graph)
    assert bool(is_minimal(right, problems, infimum)) and bool(is_ppo_optimum(right, problems, infimum).all())
    wrong = theorem.move_mass(right, problems.share, torch.tensor([[[True, False, False]]]))
    assert not is_minimal(wrong, problems, infimum) and not is_ppo_optimum(wrong, problems, infimum).any()


def test_coverage_that_sees_too_much_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects certificate (b) from the other side: no mass is moved onto a response with pi_ref = 0 that is taken for
    compared, and the trial fails, since what theory predicts there comes from pi_ref alone."""
    right = theorem.graph_of

    def imagines(wins: Tensor) -> Graph:
        covered = right(wins).covered.clone()
        covered[..., -1] = True
        return right(wins)._replace(covered=covered)

    monkeypatch.setattr(theorem, "graph_of", imagines)
    imagined = DRAWN.reference[..., -1] == 0
    assert imagined.any() and not verify_theorem(DRAWN).exact[imagined.any(-1)].any()
