"""The counter-example: its arithmetic, and certificates that reject a broken minimiser, sign, beta or support."""

from __future__ import annotations

import math

import pytest
import torch

from preflab.theory import table1
from preflab.theory.counterexample import compute_counterexample
from preflab.theory.table1 import PAPER_MINIMISER, Policy, PolicyAtGap, certify_table1, compute_sequence
from preflab.theory.tabular import dpo_objective

BETA = 0.1


def broken(minimiser: Policy = PAPER_MINIMISER, steps: list[PolicyAtGap] | None = None, beta: float = BETA) -> set[str]:
    """The names of the certificates that do not hold."""
    return {certificate.name for certificate in certify_table1(beta, minimiser, steps) if not certificate.holds}


def test_losses_golden() -> None:
    """Protects Table 1. pi_ref: log 2. The paper's optimum and the PPO limit: log(1 + 0) = 0. (.8, .2, 0) at beta 1:
    log(1 + 1/4). b = 1: log(1 + inf) = inf."""
    policies = [table1.PAPER_REFERENCE, PAPER_MINIMISER, table1.PPO_LIMIT]
    assert table1.dpo_losses(policies, BETA) == [math.log(2), 0.0, 0.0]
    assert table1.dpo_losses([(0.8, 0.2, 0.0), (0.0, 1.0, 0.0)], 1.0) == pytest.approx([math.log(1.25), math.inf])


def test_divergences_golden() -> None:
    """Protects the KL column: 0, infinite for mass on y3, 1 log(1/.5) = log 2 for the limit."""
    kls = table1.divergences([table1.PAPER_REFERENCE, PAPER_MINIMISER, table1.PPO_LIMIT])
    assert kls == [0.0, math.inf, math.log(2)]


def test_sequence_golden() -> None:
    """Protects the optimum of the reward (g, 0, r3): at beta .1 and g 1, pi(y1) = sigma(10), L = log(1 + e^-1) = .313262,
    dL_R/dg = -sigma(-1) = -.268941; an r(y3) of a thousand changes nothing."""
    for unseen in table1.UNSEEN:
        step = compute_sequence(BETA, unseen)[1]
        assert step.gap == 1.0
        assert step.policy == pytest.approx((1 / (1 + math.exp(-10)), 1 / (1 + math.exp(10)), 0.0))
        assert (step.reward_loss, step.dpo_loss, step.slope) == pytest.approx((0.313262, 0.313262, -0.268941), abs=1e-6)


@pytest.mark.parametrize("beta", [0.1, 1.0, 7.0])
def test_slope_is_the_gradient(beta: float) -> None:
    """Protects the gradient's formula against autograd, in the logits of (.5, .2, .3); y3 has some pi_ref here, since autograd
    makes nan of 0 times infinity."""
    logits = torch.tensor([[[0.5, 0.2, 0.3]]], dtype=torch.float64).log().requires_grad_()
    reference = table1.log_policies([(0.4, 0.4, 0.2)])
    loss = dpo_objective(logits.log_softmax(-1), reference, table1._pair(1), table1._betas(beta, 1))
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert float(gradient.abs().max()) == pytest.approx(table1.slope_in_logits((0.5, 0.2, 0.3), beta))
    assert float(gradient[0, 0, 2]) == 0.0


@pytest.mark.parametrize("beta", [0.001, 0.1, 1.0, 1000.0])
def test_every_certificate_holds(beta: float) -> None:
    """Protects the claim itself, at both ends of what --beta allows."""
    finding = compute_counterexample(beta)
    assert broken(beta=beta) == set()
    assert (finding.verdict, finding.failure) == ("holds", None)


@pytest.mark.parametrize(
    ("minimiser", "rejected"),
    [
        ((0.1, 0.1, 0.8), "L_DPO of the paper's optimum"),
        ((0.9, 1e-9, 0.1 - 1e-9), "L_DPO of the paper's optimum"),
        ((0.0, 0.1, 0.9), "its largest gradient in the logits"),
        ((1.0, 0.0, 0.0), "pi(y3) of the paper's optimum"),
        ((1.0, 0.0, 0.0), "KL(paper's optimum || pi_ref)"),
    ],
)
def test_a_broken_minimiser_is_rejected(minimiser: Policy, rejected: str) -> None:
    """Protects the certificates of DPO's side: mass on y2, however little; the reversed pair; no mass on y3."""
    assert rejected in broken(minimiser)


def test_a_wrong_sign_is_rejected() -> None:
    """Protects the certificates of PPO's side: optima of the negated reward are neither minimal nor optimal."""
    steps = [step._replace(policy=(step.policy[1], step.policy[0], 0.0)) for step in compute_sequence(BETA)]
    assert broken(steps=steps) >= {"largest 1 - pi_g(y1) - exp(-g/beta)", "least J(pi_g) - J(pi), pi on a grid"}
    losses = table1.dpo_losses([step.policy for step in steps], BETA)
    negated = [step._replace(dpo_loss=loss) for step, loss in zip(steps, losses, strict=True)]
    assert broken(steps=negated) >= {"largest |L_DPO(pi_g) - L_R(g)|", "largest L_DPO(pi_g) - exp(-g)"}


@pytest.mark.parametrize("other", [0.05, 0.2, 1.0])
def test_a_wrong_beta_is_rejected(other: float) -> None:
    """Protects beta: optima at another beta have another DPO loss, or another value of J, at this one."""
    steps = compute_sequence(other)
    losses = table1.dpo_losses([step.policy for step in steps], BETA)
    steps = [step._replace(dpo_loss=loss) for step, loss in zip(steps, losses, strict=True)]
    assert "largest |L_DPO(pi_g) - L_R(g)|" in broken(steps=steps)


def test_a_wrong_support_is_rejected() -> None:
    """Protects coverage: a PPO policy with mass on y3 would refute the theorem, and is noticed."""
    steps = [step._replace(policy=(step.policy[0] - 1e-9, step.policy[1], 1e-9)) for step in compute_sequence(BETA)]
    assert "largest pi_g(y3)" in broken(steps=steps)


def test_a_reached_minimum_is_rejected() -> None:
    """Protects "not attained": a step where the Bradley-Terry loss no longer falls."""
    steps = [step._replace(slope=0.0) for step in compute_sequence(BETA)]
    assert broken(steps=steps) == {"largest dL_R/dg"}


def test_a_refutation_is_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the verdict: one certificate that fails refutes, is named, and is the failing case."""
    wrong = table1.Certificate("the sum of two and two", 5.0, "= 4", False)
    monkeypatch.setattr(table1, "certify_table1", lambda beta: [wrong])
    finding = compute_counterexample(BETA)
    assert finding.verdict == "refuted"
    assert finding.failure == {"beta": BETA, "broken": ["the sum of two and two"]}
    assert "the sum of two and two" in finding.sentence
