"""Losses on ranked answers: the papers' formulas worked out by hand, unequal K, ties, and every order of the answers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from preflab.losses.ranking import RankedLogprobs, pro_loss, rrhf_loss

LOSSES = (rrhf_loss, pro_loss)


def ranked(
    means: list[list[float]], scores: list[list[float]], lengths: list[list[int]] | None = None
) -> RankedLogprobs:
    """Rows of any K, padded with 0; all lengths are 1 unless given."""
    width = max(len(row) for row in means)

    def table(rows: list[list[float]]) -> Tensor:
        return torch.tensor([[*row, *[0.0] * (width - len(row))] for row in rows], dtype=torch.float64)

    counts = table([[float(n) for n in row] for row in lengths] if lengths else [[1.0] * len(row) for row in means])
    return RankedLogprobs(table(means) * counts, counts.long(), table(scores), counts > 0)


NUMBERS = st.integers(-12, 12).map(lambda n: n / 4)
ROWS = st.lists(st.tuples(NUMBERS, st.sampled_from([-1.0, 0.0, 0.5, 2.0]), st.integers(1, 5)), min_size=2, max_size=5)


def of(rows: list[tuple[float, float, int]]) -> RankedLogprobs:
    return ranked([[p for p, _, _ in rows]], [[r for _, r, _ in rows]], [[n for _, _, n in rows]])


def test_rrhf_by_hand() -> None:
    """Protects eq. 1-4. Means -.4, -.55, -.3 with scores 2, 3, 1 (answer 2 is the best). Worse before better:
    (3, 1): -.3 + .4 = .1; (3, 2): -.3 + .55 = .25; (1, 2): -.4 + .55 = .15; together .5. SFT .55: 1.05.
    With sums instead of means (lengths 2, 4, 1 and sums -.8, -2.2, -.3) the means are the same, and so is the loss.
    """
    means, scores = [[-0.4, -0.55, -0.3]], [[2.0, 3.0, 1.0]]
    for lengths in (None, [[2, 4, 1]]):
        batch = ranked(means, scores, lengths)
        assert rrhf_loss(batch).tolist() == pytest.approx([1.05])
        assert rrhf_loss(batch, sft_coefficient=0.0).tolist() == pytest.approx([0.5])


def test_pro_by_hand() -> None:
    """Protects the temperatures. Means -1, -2, -.5 with scores 3, 1, 0: gaps 3-1 = 2, 3-0 = 3, 1-0 = 1.

    k = 1: own -1 * 3 = -3 (the largest gap, the smallest T); others -2 * 2 = -4, -.5 * 3 = -1.5:
    log(e^-3 + e^-4 + e^-1.5) + 3 = log(.049787 + .018316 + .223130) + 3 = -1.233635 + 3 = 1.766368.
    k = 2: own -2 * 1; other -.5 * 1: log(e^-2 + e^-.5) + 2 = log(.135335 + .606531) + 2 = -.298587 + 2 = 1.701413.
    Together 3.467781. SFT: .05 * (3 - 1)^2 = .2 times the best answer's sum, -1 * 4 tokens: + .8.
    """
    batch = ranked([[-1.0, -2.0, -0.5]], [[3.0, 1.0, 0.0]], [[4, 1, 2]])
    assert pro_loss(batch, sft_coefficient=0.0).tolist() == pytest.approx([3.467781], abs=1e-5)
    assert pro_loss(batch).tolist() == pytest.approx([4.267781], abs=1e-5)


@given(NUMBERS, NUMBERS)
def test_pro_of_two_is_bradley_terry(first: float, second: float) -> None:
    """Protects the special case: K = 2 with a unit gap is -log sigmoid(p_1 - p_2), and `scale` doubles it as a gap of 2."""
    batch = ranked([[first, second]], [[1.0, 0.0]])
    margin = torch.tensor(first - second, dtype=torch.float64)
    assert pro_loss(batch, sft_coefficient=0.0).item() == pytest.approx(-F.logsigmoid(margin).item(), abs=1e-9)
    wide = ranked([[first, second]], [[2.0, 0.0]])
    assert pro_loss(batch, scale=2.0).tolist() == pytest.approx(pro_loss(wide).tolist())


@pytest.mark.parametrize("loss", LOSSES)
@given(rows=ROWS, data=st.data())
def test_the_places_of_the_answers_mean_nothing(
    loss: type, rows: list[tuple[float, float, int]], data: st.DataObject
) -> None:
    """Protects from a loss that reads the order of the row instead of the scores, ties included."""
    shuffled = data.draw(st.permutations(rows))
    assert loss(of(shuffled)).tolist() == pytest.approx(loss(of(rows)).tolist(), abs=1e-9)


@pytest.mark.parametrize("loss", LOSSES)
@given(rows=ROWS, others=ROWS)
def test_padding_adds_nothing(
    loss: type, rows: list[tuple[float, float, int]], others: list[tuple[float, float, int]]
) -> None:
    """Protects prompts of different K: each row of a batch is as if alone, and values behind the mask change nothing."""
    both = [rows, others]
    batch = ranked(
        [[p for p, _, _ in row] for row in both],
        [[r for _, r, _ in row] for row in both],
        [[n for _, _, n in row] for row in both],
    )
    alone = [loss(of(row)).item() for row in both]
    assert loss(batch).tolist() == pytest.approx(alone, abs=1e-9)
    noisy = batch._replace(
        sums=torch.where(batch.mask, batch.sums, 9.0), scores=torch.where(batch.mask, batch.scores, 99.0)
    )
    assert loss(noisy).tolist() == pytest.approx(alone, abs=1e-9)


@pytest.mark.parametrize("loss", LOSSES)
def test_equal_scores_are_not_contrasted(loss: type) -> None:
    """Protects ties: of three answers with scores 1, 1, 0 the two best are contrasted with the third alone.

    RRHF, means -1, -3, -2: only (3, 2) rises, by 1. PRO: log(1 + e^-1) + log(1 + e^1) = .313262 + 1.313262 = 1.626523.
    SFT is the mean of the two best: RRHF + 2; PRO .05 * 4 * 2 = + .4. All equal: the SFT term alone, and finite gradients.
    """
    means = torch.tensor([[-1.0, -3.0, -2.0]], dtype=torch.float64, requires_grad=True)
    ones = torch.ones(1, 3, dtype=torch.long)
    batch = RankedLogprobs(means, ones, torch.tensor([[1.0, 1.0, 0.0]], dtype=torch.float64), ones > 0)
    expected = 1.0 if loss is rrhf_loss else math.log1p(math.exp(-1)) + math.log1p(math.exp(1))
    assert loss(batch, sft_coefficient=0.0).item() == pytest.approx(expected)
    assert loss(batch).item() - expected == pytest.approx(2.0 if loss is rrhf_loss else 0.4)
    equal = batch._replace(scores=torch.zeros(1, 3, dtype=torch.float64))
    value = loss(equal, sft_coefficient=1.0)
    value.sum().backward()
    assert value.item() == pytest.approx(2.0 if loss is rrhf_loss else 8.0)
    assert means.grad is not None and means.grad.isfinite().all()


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients(loss: type) -> None:
    """Protects the backward pass through masks and infinities, against finite differences, with unequal K and a tie."""
    lengths = torch.tensor([[2, 1, 3, 1], [1, 4, 0, 0]])
    scores = torch.tensor([[3.0, 1.0, 1.0, 0.0], [0.0, 2.0, 0.0, 0.0]], dtype=torch.float64)
    sums = torch.tensor([[-1.0, -0.3, -2.5, -0.9], [-0.7, -3.1, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: loss(RankedLogprobs(x, lengths, scores, lengths > 0)), (sums,))
