"""Losses on preference pairs: golden values, gradients, extremes, and how a loss is found by its name."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.func import grad, vmap

from preflab.errors import UserError
from preflab.losses.preference import (
    PREFERENCE_LOSSES,
    REFERENCE_FREE,
    PairLogprobs,
    chi_po_loss,
    conservative_loss,
    cpo_loss,
    dpo_loss,
    dpop_loss,
    hinge_loss,
    ipo_loss,
    orpo_loss,
    preference_loss,
    r_dpo_loss,
    robust_loss,
    simpo_loss,
)

NAMES = sorted(PREFERENCE_LOSSES)
LOGPROB = st.floats(-1e4, -1e-6)


def ratios(chosen: list[float], rejected: list[float]) -> PairLogprobs:
    """Pairs of these log-ratios under a reference of 0 everywhere, answers of one token."""
    zero, one = torch.zeros(len(chosen), dtype=torch.float64), torch.ones(len(chosen), dtype=torch.long)
    c, r = torch.tensor(chosen, dtype=torch.float64), torch.tensor(rejected, dtype=torch.float64)
    return PairLogprobs(c, r, zero, zero, one, one)


def example() -> PairLogprobs:
    """Two pairs. Log-ratios 1 and -1 (margin 2), lengths 2 and 4; log-ratios -1 and 2 (margin -3), lengths 3 and 2."""
    columns = [[-4.0, -6.0], [-9.0, -3.0], [-5.0, -5.0], [-8.0, -5.0]]
    return PairLogprobs(
        *[torch.tensor(column, dtype=torch.float64) for column in columns], torch.tensor([2, 3]), torch.tensor([4, 2])
    )


def expect(terms: Tensor, *expected: float) -> None:
    assert terms.tolist() == pytest.approx(expected, abs=1e-6)


def test_dpo_golden() -> None:
    """Protects the formula: beta .1, log-ratios 2 and -1: z = .1 x 3 = .3, -ln sigmoid(.3) = ln(1 + e^-.3) = .554355.
    Swapped, z = -.3: ln(1 + e^.3) = .854355 (.3 more)."""
    expect(dpo_loss(ratios([2.0, -1.0], [-1.0, 2.0]), beta=0.1), 0.554355, 0.854355)


def test_dpo_is_ln_2_at_the_reference() -> None:
    """Protects step 0: no log-ratio, exactly ln 2, whatever beta."""
    for beta in (0.01, 0.1, 5.0):
        assert dpo_loss(ratios([0.0] * 3, [0.0] * 3), beta=beta).tolist() == [math.log(2.0)] * 3


@given(st.floats(0.01, 2), st.floats(-5, 5), st.floats(-5, 5))
def test_beta_multiplies(beta: float, chosen: float, rejected: float) -> None:
    """Protects from beta as a divisor: doubling it is doubling the log-ratios."""
    once, twice = ratios([chosen], [rejected]), ratios([2 * chosen], [2 * rejected])
    torch.testing.assert_close(dpo_loss(once, beta=2 * beta), dpo_loss(twice, beta=beta))


def test_dpo_gradient() -> None:
    """Protects the direction: dL/dchosen = -beta sigmoid(-z), dL/drejected its opposite; beta .5, z = .5 x (1 - 3) = -1:
    -.5 x sigmoid(1) = -.365529. Falling along it raises the chosen and lowers the rejected."""
    pairs = ratios([1.0], [3.0])
    pairs.chosen.requires_grad_()
    pairs.rejected.requires_grad_()
    dpo_loss(pairs, beta=0.5).sum().backward()
    assert pairs.chosen.grad is not None and pairs.rejected.grad is not None
    expect(pairs.chosen.grad, -0.365529)
    expect(pairs.rejected.grad, 0.365529)


def test_dpo_far_away() -> None:
    """Protects from overflow: a pair wrong by 1000 nats at beta 1 costs 1000, one right by as much 0."""
    assert dpo_loss(ratios([1000.0, 0.0], [0.0, 1000.0]), beta=1.0).tolist() == [0.0, 1000.0]


def test_ipo_golden() -> None:
    """Protects the formula: beta .1, ratios 2 and -1: (3 - 1/(2 x .1))^2 = (3 - 5)^2 = 4; at the reference
    1/(4 x .01) = 25; least where the margin is 5."""
    expect(ipo_loss(ratios([2.0, 0.0, 5.0], [-1.0, 0.0, 0.0]), beta=0.1), 4.0, 25.0, 0.0)


def test_hinge_golden() -> None:
    """Protects the formula: beta .1, margins 2 and -3: 1 - .2 = .8 and 1 + .3 = 1.3; beta 1: max(0, 1 - 2) = 0 and 4."""
    expect(hinge_loss(example()), 0.8, 1.3)
    expect(hinge_loss(example(), beta=1.0), 0.0, 4.0)


def test_conservative_golden() -> None:
    """Protects the formula: beta .1, z = .2 and -.3. ln(1 + e^-.2) = .598139 and ln(1 + e^.2) = .798139:
    .9 x .598139 + .1 x .798139 = .618139; .9 x .854355 + .1 x .554355 = .824355. Least at sigmoid(z) = .9."""
    expect(conservative_loss(example()), 0.618139, 0.824355)
    best = math.log(9.0)
    beside = conservative_loss(ratios([best - 0.1, best, best + 0.1], [0.0] * 3), beta=1.0)
    assert beside.argmin() == 1


def test_robust_golden() -> None:
    """Protects the formula: beta .1, as above: (.9 x .598139 - .1 x .798139) / .8 = .573139;
    (.9 x .854355 - .1 x .554355) / .8 = .891855. The mean over flips at that rate is DPO's .598139."""
    expect(robust_loss(example(), beta=0.1), 0.573139, 0.891855)
    flips = robust_loss(ratios([2.0, 0.0], [0.0, 2.0]), beta=0.1)
    assert 0.9 * flips[0] + 0.1 * flips[1] == pytest.approx(0.598139, abs=1e-6)


def test_dpop_golden() -> None:
    """Protects the penalty: beta .1, lambda 5. The first chosen answer rose: DPO's .598139. The second fell by 1:
    z = .1 x (-3 - 5) = -.8, ln(1 + e^.8) = 1.171101."""
    expect(dpop_loss(example(), beta=0.1, lam=5.0), 0.598139, 1.171101)


def test_dpop_gradient_lifts_a_fallen_answer() -> None:
    """Protects the purpose of the penalty: dz/dchosen is beta where the answer rose and beta (1 + lambda) where it fell, so at
    beta .1, lambda 5 and z = -.1 - .5 = -.6: -.6 x sigmoid(.6) = -.387394."""
    pairs = ratios([-1.0], [0.0])
    pairs.chosen.requires_grad_()
    dpop_loss(pairs, beta=0.1, lam=5.0).sum().backward()
    assert pairs.chosen.grad is not None
    expect(pairs.chosen.grad, -0.387394)


def test_r_dpo_golden() -> None:
    """Protects the length's sign: beta .1, alpha .05. z = .2 + .05 x (2 - 4) = .1: ln(1 + e^-.1) = .644397, more than DPO's
    for a chosen answer that is shorter; z = -.3 + .05 x (3 - 2) = -.25: ln(1 + e^.25) = .825939, less than DPO's."""
    expect(r_dpo_loss(example(), alpha=0.05), 0.644397, 0.825939)


def test_chi_po_golden() -> None:
    """Protects the link: beta .1, phi(1) = e + 1 = 3.718282, phi(-1) = e^-1 - 1 = -.632121 (of log-ratios 1 and -1):
    z = .435040, ln(1 + e^-z) = .499100. phi(-1) - phi(2) = -.632121 - 9.389056: z = -1.002118, 1.314810."""
    expect(chi_po_loss(example(), beta=0.1), 0.499100, 1.314810)


def test_chi_po_clips() -> None:
    """Protects the clip: r_max .25 holds z = .435040 within .5 and z = -1.002118 at -.5: ln(1 + e^.5) = .974077, and no
    gradient for the clipped pair alone."""
    pairs = example()
    pairs.chosen.requires_grad_()
    terms = chi_po_loss(pairs, beta=0.1, r_max=0.25)
    expect(terms, 0.499100, 0.974077)
    terms.sum().backward()
    assert pairs.chosen.grad is not None and pairs.chosen.grad[0] < 0 == pairs.chosen.grad[1]


def test_simpo_golden() -> None:
    """Protects normalisation and margin: beta 2, gamma 1. -4/2 + 9/4 = .25: z = .5 - 1 = -.5, ln(1 + e^.5) = .974077;
    -6/3 + 3/2 = -.5: z = -2, ln(1 + e^2) = 2.126928."""
    expect(simpo_loss(example()), 0.974077, 2.126928)


def test_cpo_golden() -> None:
    """Protects both terms: beta .1. z = .1 x (-4 + 9) = .5: ln(1 + e^-.5) = .474077, plus 4/2 = 2.474077;
    z = .1 x (-6 + 3) = -.3: .854355, plus 6/3 = 2.854355; without likelihood the first parts alone."""
    expect(cpo_loss(example()), 2.474077, 2.854355)
    expect(cpo_loss(example(), nll=0.0), 0.474077, 0.854355)


def test_orpo_golden() -> None:
    """Protects the odds: log P = -2 and -9/4. log odds = -2 - ln(1 - e^-2) = -1.854586 and -2.25 - ln(1 - e^-2.25) =
    -2.138622: -ln sigmoid(.284036) = .561180; 2 + .1 x .561180 = 2.056118. Second pair: -1.854586 and -1.5 - ln(1 - e^-1.5) =
    -1.247518: -ln sigmoid(-.607069) = 1.042058; 2 + .104206."""
    expect(orpo_loss(example()), 2.056118, 2.104206)


@pytest.mark.parametrize("name", NAMES)
@given(st.lists(st.tuples(LOGPROB, LOGPROB, LOGPROB, LOGPROB), min_size=1, max_size=4), st.integers(1, 2000))
def test_extremes_stay_finite(name: str, rows: list[tuple[float, ...]], length: int) -> None:
    """Protects from overflow: log-ratios of ten thousand nats and answers of probability 1 give a finite loss and
    gradient, in fp32."""
    columns = [torch.tensor(column, dtype=torch.float32) for column in zip(*rows, strict=True)]
    lengths = torch.full((len(rows),), length)
    pairs = PairLogprobs(columns[0].requires_grad_(), columns[1].requires_grad_(), *columns[2:], lengths, lengths)
    terms = preference_loss(name)(pairs)
    terms.sum().backward()
    assert pairs.chosen.grad is not None and pairs.rejected.grad is not None
    assert terms.shape == (len(rows),)
    for values in (terms, pairs.chosen.grad, pairs.rejected.grad):
        assert values.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_certain_answers_stay_finite(name: str) -> None:
    """Protects from log 0: answers of probability exactly 1 and of probability 0 to fp32, either side."""
    both = torch.tensor([0.0, -1e4])
    pairs = PairLogprobs(both.clone().requires_grad_(), both.flip(0).requires_grad_(), both, both, *[torch.ones(2)] * 2)
    terms = preference_loss(name)(pairs)
    terms.sum().backward()
    assert pairs.chosen.grad is not None and pairs.rejected.grad is not None
    assert terms.isfinite().all() and pairs.chosen.grad.isfinite().all() and pairs.rejected.grad.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_gradient_prefers_the_chosen(name: str) -> None:
    """Protects every sign: near the reference the loss falls as the chosen answer rises and as the rejected one falls."""
    pairs = example()._replace(
        reference_chosen=torch.tensor([-4.1, -6.1]), reference_rejected=torch.tensor([-9.1, -3.1])
    )
    pairs.chosen.requires_grad_()
    pairs.rejected.requires_grad_()
    preference_loss(name)(pairs).sum().backward()
    assert pairs.chosen.grad is not None and pairs.rejected.grad is not None
    assert (pairs.chosen.grad < 0).all() and (pairs.rejected.grad > 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_terms_are_the_pairs_own(name: str) -> None:
    """Protects from a statistic of the batch in a term: permuted pairs give permuted terms, a pair alone its own."""
    loss, pairs = preference_loss(name), example()
    terms = loss(pairs)
    flipped = PairLogprobs(*[column.flip(0) for column in pairs if column is not None])
    assert torch.equal(loss(flipped), terms.flip(0))
    assert torch.equal(loss(PairLogprobs(*[column[:1] for column in pairs if column is not None])), terms[:1])


@pytest.mark.parametrize("name", NAMES)
def test_losses_under_vmap(name: str) -> None:
    """Protects the vectorised theory: loss and gradient of three seeds at once are those of one after another."""
    loss, pairs = preference_loss(name), example()
    seeds = torch.stack([pairs.chosen, pairs.chosen - 1, pairs.chosen / 2])

    def total(chosen: Tensor) -> Tensor:
        return loss(pairs._replace(chosen=chosen)).sum()

    torch.testing.assert_close(vmap(total)(seeds), torch.stack([total(seed) for seed in seeds]))
    one_by_one: Any = [grad(total)(seed) for seed in seeds]
    torch.testing.assert_close(vmap(grad(total))(seeds), torch.stack(one_by_one))


@pytest.mark.parametrize("name", NAMES)
def test_reference_free_means_what_it_says(name: str) -> None:
    """Protects the run that computes no reference: such a loss works without one, and each other changes with it."""
    loss, pairs = preference_loss(name), example()
    if name in REFERENCE_FREE:
        assert torch.equal(loss(pairs._replace(reference_chosen=None, reference_rejected=None)), loss(pairs))
    else:
        assert pairs.reference_chosen is not None
        moved = pairs._replace(reference_chosen=pairs.reference_chosen - 0.25)
        assert (loss(moved) != loss(pairs)).all()


def test_losses_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects that a new loss is one function and one name, here or in a user's file, and that settings reach it."""
    expect(preference_loss("sigmoid")(example()), *dpo_loss(example()).tolist())
    expect(preference_loss("ipo", beta=0.3)(example()), *ipo_loss(example(), beta=0.3).tolist())
    simpo = preference_loss("simpo", beta=1.0, settings={"gamma": 0.3})
    expect(simpo(example()), *simpo_loss(example(), beta=1.0, gamma=0.3).tolist())
    (tmp_path / "losses_of_a_user.py").write_text(
        "def square(pairs, *, beta):\n    return beta * pairs.margin ** 2\n"
        "def mean(pairs, *, beta=1.0):\n    return pairs.margin.mean()\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    expect(preference_loss("losses_of_a_user:square", beta=3.0)(example()), 12.0, 27.0)
    with pytest.raises(UserError, match="needs a value for its setting 'beta'"):
        preference_loss("losses_of_a_user:square")
    with pytest.raises(UserError, match="must return one term for each pair"):
        preference_loss("losses_of_a_user:mean")


def test_unknown_loss_is_the_users_mistake() -> None:
    """Protects the user: the nearest name, all names, which half of `module:function` is wrong, and which setting."""
    with pytest.raises(UserError, match=r"'sigmiod'.*Did you mean 'sigmoid'.*ipo"):
        preference_loss("sigmiod")
    with pytest.raises(UserError, match="no_such_module"):
        preference_loss("no_such_module:loss")
    with pytest.raises(UserError, match=r"'simpo' has no setting 'gama'. Did you mean 'gamma'"):
        preference_loss("simpo", settings={"gama": 1.0})
    with pytest.raises(UserError, match=r"'orpo' has no setting 'beta'. Known: lam"):
        preference_loss("orpo", beta=0.1)


@pytest.mark.parametrize("name", ["robust", "conservative"])
@pytest.mark.parametrize("noise", [-0.1, 0.5, 0.9])
def test_noise_is_less_than_a_coin(name: str, noise: float) -> None:
    """Protects from a division by 0, and from labels that are trusted to be wrong."""
    with pytest.raises(UserError, match=r"less than .5"):
        preference_loss(name, settings={"noise": noise})
