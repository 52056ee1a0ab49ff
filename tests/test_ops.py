"""Masked arithmetic against numbers worked out by hand, and against plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from preflab import ops

NAN = math.nan
MASK = torch.tensor([[True, True, False], [True, True, True]])
REWARDS = torch.tensor([[1.0, 2.0, NAN], [1.0, 0.0, 2.0]])
VALUES = torch.tensor([[0.5, 1.0, 7.0, NAN], [0.5, 1.0, 1.5, 2.0]])
TRUNCATED = torch.tensor([False, True])


@pytest.mark.parametrize(
    ("lam", "advantages", "returns"),
    [
        (0.95, [[2.45, 1.0, 0.0], [4.23125, 2.875, 2.5]], [[2.95, 2.0, 0.0], [4.73125, 3.875, 4.0]]),
        (1.0, [[2.5, 1.0, 0.0], [4.5, 3.0, 2.5]], [[3.0, 2.0, 0.0], [5.0, 4.0, 4.0]]),
    ],
)
def test_gae_of_a_finished_and_a_truncated_row(
    lam: float, advantages: list[list[float]], returns: list[list[float]]
) -> None:
    """Protects the bootstrap (a truncated row's V after its last token, a finished row's 0) and its place; gamma = 1.

    Row 0, finished after 2 of 3 tokens; V[0,2] = 7 must not be used:
        delta_1 = 2 + 0 - 1 = 1;  delta_0 = 1 + 1 - .5 = 1.5
        A_1 = 1;  A_0 = 1.5 + lam = 2.45 | 2.5;  returns A + V: 2.95 | 3 and 2
    Row 1, truncated after 3 tokens; V[1,3] = 2 is what would have followed:
        delta_2 = 2 + 2 - 1.5 = 2.5;  delta_1 = 0 + 1.5 - 1 = .5;  delta_0 = 1 + 1 - .5 = 1.5
        A_2 = 2.5;  A_1 = .5 + 2.5 lam = 2.875 | 3;  A_0 = 1.5 + lam A_1 = 4.23125 | 4.5
        returns 4.73125, 3.875, 4 | 5, 4, 4. At lam = 1 they are the rewards to go plus V: 1+0+2+2, 0+2+2, 2+2.
    """
    estimated = ops.gae(REWARDS, VALUES, MASK, TRUNCATED, gamma=1.0, lam=lam)
    torch.testing.assert_close(estimated.advantages, torch.tensor(advantages))
    torch.testing.assert_close(estimated.returns, torch.tensor(returns))


def test_gae_changes_no_argument() -> None:
    """Protects from the known defect of writing the bootstrap into the caller's values."""
    before = [tensor.clone() for tensor in (REWARDS, VALUES, MASK, TRUNCATED)]
    ops.gae(REWARDS, VALUES, MASK, TRUNCATED, gamma=0.9, lam=0.95)
    for tensor, copy in zip((REWARDS, VALUES, MASK, TRUNCATED), before, strict=True):
        torch.testing.assert_close(tensor, copy, rtol=0, atol=0, equal_nan=True)


@given(
    st.lists(st.tuples(st.integers(1, 6), st.booleans()), min_size=1, max_size=4),
    st.floats(0.5, 1),
    st.floats(0, 1),
    st.integers(0, 2**31),
)
def test_gae_is_the_sum_of_discounted_deltas(rows: list[tuple[int, bool]], gamma: float, lam: float, seed: int) -> None:
    """Protects every shape: A_t = sum_k (gamma lam)^k delta_{t+k} in a plain loop a row, NaN behind the last token."""
    generator = torch.Generator().manual_seed(seed)
    width = max(length for length, _ in rows) + 1
    rewards = torch.full((len(rows), width), NAN, dtype=torch.float64)
    values = torch.full((len(rows), width + 1), NAN, dtype=torch.float64)
    for b, (length, truncated) in enumerate(rows):
        rewards[b, :length] = torch.randn(length, generator=generator, dtype=torch.float64)
        states = length + 1 if truncated else length
        values[b, :states] = torch.randn(states, generator=generator, dtype=torch.float64)
    mask = torch.arange(width)[None, :] < torch.tensor([length for length, _ in rows])[:, None]
    estimated = ops.gae(rewards, values, mask, torch.tensor([t for _, t in rows]), gamma=gamma, lam=lam)
    for b, (length, truncated) in enumerate(rows):
        reward, value = rewards[b, :length].tolist(), values[b, :length].tolist()
        value.append(float(values[b, length]) if truncated else 0.0)
        deltas = [reward[t] + gamma * value[t + 1] - value[t] for t in range(length)]
        for t in range(length):
            expected = sum((gamma * lam) ** (s - t) * deltas[s] for s in range(t, length))
            assert float(estimated.advantages[b, t]) == pytest.approx(expected, abs=1e-9)
            assert float(estimated.returns[b, t]) == pytest.approx(expected + value[t], abs=1e-9)
        assert not estimated.advantages[b, length:].any() and not estimated.returns[b, length:].any()


def test_a_tie_is_half_right() -> None:
    """Protects every accuracy of pairs from counting a policy that does not distinguish as wrong: margins of 2, 0 and -1 are
    right, a tie and wrong; within a rounding of .1 so is .1, and .2 is not."""
    assert ops.order_accuracy(torch.tensor([2.0, 0.0, -1.0])).tolist() == [1.0, 0.5, 0.0]
    margins = torch.tensor([0.2, 0.1, -0.1, -0.2])
    assert ops.order_accuracy(margins, rounding=torch.full((4,), 0.1)).tolist() == [1.0, 0.5, 0.5, 0.0]


def test_score_stands_on_the_last_counted_token() -> None:
    """Protects from a score placed after the end token, or on the padding.

    -0.1 x KL: row 0 -.1, -.2 + 5 = 4.8, nothing; row 1 -.3, -.1, -.2 - 1 = -1.2.
    """
    kl = torch.tensor([[1.0, 2.0, NAN], [3.0, 1.0, 2.0]])
    rewards = ops.token_rewards(torch.tensor([5.0, -1.0]), kl, MASK, coefficient=0.1)
    torch.testing.assert_close(rewards, torch.tensor([[-0.1, 4.8, 0.0], [-0.3, -0.1, -1.2]]))
    assert ops.last_token(MASK).tolist() == [[False, True, False], [False, False, True]]


def test_kl_estimators() -> None:
    """Protects the formulas, with d = ln .5 - ln .25 = ln 2: k1 = .693147, k2 = d^2/2 = .240227,
    k3 = e^-d - 1 + d = .5 - 1 + .693147 = .193147."""
    mine, other = torch.tensor([0.5]).log(), torch.tensor([0.25]).log()
    expected: dict[ops.KlEstimator, float] = {"k1": 0.693147, "k2": 0.240227, "k3": 0.193147}
    for name, value in expected.items():
        assert float(ops.kl_estimate(mine, other, name)) == pytest.approx(value, abs=1e-6)


def test_k1_and_k3_are_unbiased_and_k2_is_not() -> None:
    """Protects which estimator may be reported as KL: the expectation under pi is the exact KL for k1 and k3, and k3 is
    never negative."""
    policy = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    other = torch.tensor([0.1, 0.3, 0.6], dtype=torch.float64)
    exact = float(ops.exact_kl(policy.log()[None], other.log()[None]))
    means = {
        name: float((policy * ops.kl_estimate(policy.log(), other.log(), name)).sum()) for name in ("k1", "k2", "k3")
    }
    assert means["k1"] == pytest.approx(exact) and means["k3"] == pytest.approx(exact)
    assert abs(means["k2"] - exact) > 0.1
    assert (ops.kl_estimate(policy.log(), other.log(), "k3") >= 0).all()


def test_exact_kl() -> None:
    """Protects the direction: KL((.5,.5) || (.25,.75)) = .5 ln 2 + .5 ln(2/3) = .143841; of a policy to itself, 0."""
    policy, other = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.25, 0.75]]).log()
    assert float(ops.exact_kl(policy, other)) == pytest.approx(0.143841, abs=1e-6)
    assert float(ops.exact_kl(policy, policy)) == 0.0


def test_reduce_divides_by_the_global_count() -> None:
    """Protects normalisation: (1 + 2 + 4) / 10 with what is masked (NaN) left out; without a mask all count."""
    terms = torch.tensor([[1.0, 2.0, NAN], [4.0, NAN, NAN]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    assert float(ops.reduce(terms, mask, 10)) == pytest.approx(0.7)
    assert float(ops.reduce(torch.tensor([1.0, 3.0]), None, 4)) == 1.0


@pytest.mark.parametrize("count", [0, 0.0, -1])
def test_reduce_refuses_an_empty_mask(count: float) -> None:
    """Protects from a batch in which nothing counts, which would silently train on nothing."""
    with pytest.raises(ValueError, match="empty"):
        ops.reduce(torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.bool), count)


def test_moments_refuse_an_empty_mask() -> None:
    """Protects running statistics: the NaN of a mean over nothing would stay in them for good."""
    values, nothing = torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.bool)
    moments = ops.RunningMoments(0.9)
    with pytest.raises(ValueError, match="empty"):
        moments.update(values, nothing)
    with pytest.raises(ValueError, match="empty"):
        ops.whiten(values, nothing)
    assert (moments.mean, moments.std) == (0.0, 1.0)


def test_sequence_sum() -> None:
    """Protects summed log-probabilities from what stands in the padding: 1+2, 1+0+2."""
    assert ops.sequence_sum(REWARDS, MASK).tolist() == [3.0, 3.0]


def test_whitening_is_global_and_masked() -> None:
    """Protects advantage normalisation: one mean and deviation over all counted tokens, not a row's own, padding out.

    Counted 1, 3, 5, 7, 9: mean 5, variance (16 + 4 + 0 + 4 + 16) / 5 = 8.
    """
    values = torch.tensor([[1.0, 3.0, 1e6], [5.0, 7.0, 9.0]])
    whitened = ops.whiten(values, MASK)
    scale = math.sqrt(8)
    torch.testing.assert_close(whitened, torch.tensor([[-4 / scale, -2 / scale, 0.0], [0.0, 2 / scale, 4 / scale]]))


def test_whitening_one_value_is_zero() -> None:
    """Protects from dividing by a deviation of zero."""
    assert ops.whiten(torch.tensor([[3.0, 0.0]]), torch.tensor([[True, False]])).tolist() == [[0.0, 0.0]]


def full(*values: float) -> tuple[Tensor, Tensor]:
    return torch.tensor([values]), torch.ones(1, len(values), dtype=torch.bool)


def test_running_moments_are_debiased() -> None:
    """Protects value normalisation in its first steps, when the decay is near 1.

    After 1, 3 (mean 2, mean of squares 5): exactly 2 and sqrt(5 - 4) = 1, whatever the decay. Then 5, 5 at decay .9:
    weights .09 and .1, mean (.09 x 2 + .1 x 5) / .19 = 3.578947, squares (.09 x 5 + .1 x 25) / .19 = 15.526316,
    std = sqrt(15.526316 - 12.808864) = 1.648469.
    """
    moments = ops.RunningMoments(0.9)
    assert (moments.mean, moments.std) == (0.0, 1.0)
    moments.update(*full(1.0, 3.0))
    assert moments.mean == pytest.approx(2.0) and moments.std == pytest.approx(1.0)
    moments.update(*full(5.0, 5.0))
    assert moments.mean == pytest.approx(3.578947, abs=1e-6) and moments.std == pytest.approx(1.648469, abs=1e-6)
    slow = ops.RunningMoments(0.99995)
    slow.update(*full(1.0, 3.0))
    assert slow.mean == pytest.approx(2.0) and slow.std == pytest.approx(1.0)


def test_running_moments_restore_and_are_kept() -> None:
    """Protects values and checkpoints: `restore` undoes `normalise`, also at a deviation of zero; the state is whole."""
    moments = ops.RunningMoments(0.5)
    moments.update(*full(4.0, 4.0, 4.0))
    assert moments.std == pytest.approx(1e-4)
    moments.update(*full(-2.0, 6.0))
    values = torch.tensor([0.0, 1.5, -7.0])
    torch.testing.assert_close(moments.restore(moments.normalise(values)), values)
    again = ops.RunningMoments(0.5)
    again.load_state_dict(moments.state_dict())
    assert (again.mean, again.std) == (moments.mean, moments.std)
    moments.update(*full(1.0))
    again.update(*full(1.0))
    assert again.state_dict() == moments.state_dict()
