"""The arithmetic of drawing: which ids are kept, which one a uniform number takes, and that frequencies are right."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from preflab.sampling.base import Decoding
from preflab.sampling.draw import choose_tokens, draw_tokens, greedy, kept_ids, uniforms


def logs(*probabilities: float) -> torch.Tensor:
    return torch.tensor([probabilities]).log()


@pytest.mark.parametrize(
    ("uniform", "token"), [(0.0, 1), (0.249, 1), (0.25, 2), (0.749, 2), (0.75, 4), (1 - 2**-53, 4)]
)
def test_a_uniform_number_takes_the_id_where_the_distribution_function_passes_it(uniform: float, token: int) -> None:
    """p = (0, .25, .5, 0, .25, 0): F = (0, .25, .75, .75, 1, 1). Ids of probability 0 (0, 3, 5) are never drawn, not
    even at the ends of the interval; the log-probability is that of the id: log .25 or log .5."""
    logits = logs(0, 0.25, 0.5, 0, 0.25, 0)
    drawn = draw_tokens(logits, torch.tensor([uniform], dtype=torch.float64), None)
    assert drawn.tokens.tolist() == [token]
    assert drawn.logprobs.item() == pytest.approx(math.log(0.5 if token == 2 else 0.25), abs=1e-6)


def test_restricted_log_probabilities_are_normalised_over_the_kept_ids() -> None:
    """p = (.1, .2, .3, .4), top-k 2 keeps ids 2 and 3 with mass .7: u = .42 < 3/7 = .4286 takes id 2 at log(3/7),
    u = .43 takes id 3 at log(4/7)."""
    logits = logs(0.1, 0.2, 0.3, 0.4).repeat(2, 1)
    drawn = draw_tokens(logits, torch.tensor([0.42, 0.43], dtype=torch.float64), kept_ids(logits, top_k=2, top_p=1.0))
    assert drawn.tokens.tolist() == [2, 3]
    assert drawn.logprobs.tolist() == pytest.approx([math.log(3 / 7), math.log(4 / 7)], abs=1e-6)


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [(0.45, [1]), (0.55, [0, 1]), (0.74, [0, 1]), (0.81, [0, 1, 3]), (0.99, [0, 1, 2, 3]), (1e-9, [1])],
)
def test_top_p_keeps_the_fewest_ids_that_reach_it(top_p: float, kept: list[int]) -> None:
    """p = (.25, .5, .0625, .1875): most probable first 1, 0, 3, 2 with mass .5, .75, .9375, 1. .45 is reached by {1};
    .55 and .74 by {1, 0}; .81 needs id 3; .99 all. At least one id stays."""
    kept_tokens = kept_ids(logs(0.25, 0.5, 0.0625, 0.1875), top_k=0, top_p=top_p)
    assert kept_tokens is not None
    assert kept_tokens.ids[0, : int(kept_tokens.counts[0])].tolist() == kept
    assert kept_tokens.ids.dtype == torch.int32


def test_top_p_applies_to_what_top_k_left() -> None:
    """p = (.1, .2, .3, .4): top-k 3 leaves .9, in which id 3 has .444 and ids 3 and 2 have .778. Top-p .75 keeps {2,
    3}; of the whole vocabulary it would keep {1, 2, 3} (.7 < .75)."""
    kept_tokens = kept_ids(logs(0.1, 0.2, 0.3, 0.4), top_k=3, top_p=0.75)
    assert kept_tokens is not None
    assert kept_tokens.ids[0, : int(kept_tokens.counts[0])].tolist() == [2, 3]


def test_rows_keep_different_numbers_of_ids() -> None:
    """Row 0 is flat over four ids, row 1 is nearly certain: counts 4 and 1, and the last id is repeated behind them."""
    kept_tokens = kept_ids(
        torch.cat([logs(0.25, 0.25, 0.25, 0.25), logs(0.001, 0.001, 0.997, 0.001)]), top_k=0, top_p=0.9
    )
    assert kept_tokens is not None
    assert kept_tokens.counts.tolist() == [4, 1]
    assert kept_tokens.ids.tolist() == [[0, 1, 2, 3], [2, 2, 2, 2]]


@given(st.integers(0, 10_000), st.integers(1, 40))
def test_top_k_keeps_exactly_k_with_ties_in_bf16(seed: int, k: int) -> None:
    """bf16 logits in [-1, 1) tie often at rank k: a mask `logits >= kth` would keep more than k. Exactly k distinct ids
    stay, none that left is larger than one that stayed, and the drawn id is among them."""
    state = torch.Generator().manual_seed(seed)
    logits = (torch.rand(6, 40, generator=state) * 2 - 1).to(torch.bfloat16).float()
    decoding = Decoding(top_k=k)
    drawn = choose_tokens(logits, torch.rand(6, dtype=torch.float64, generator=state), decoding)
    if k == 40:
        assert drawn.kept is None
        return
    assert drawn.kept is not None
    for row in range(6):
        ids = set(drawn.kept.ids[row].tolist())
        assert len(ids) == k == int(drawn.kept.counts[row])
        assert int(drawn.tokens[row]) in ids
        left = [i for i in range(40) if i not in ids]
        assert logits[row, sorted(ids)].min() >= logits[row, left].max()


@pytest.mark.parametrize("settings", [{}, {"top_k": 7}, {"top_p": 0.8}, {"top_k": 9, "top_p": 0.7}])
def test_frequencies_follow_the_distribution(settings: dict[str, float]) -> None:
    """20,000 draws with seeds 0 to 19,999 of one softmax over 12 ids: a chi-square test against the softmax, restricted
    and renormalised, must not reject at 1e-3 (the seeds are fixed: the result is the same at every run)."""
    logits = torch.randn(1, 12, generator=torch.Generator().manual_seed(3)) * 1.5
    decoding = Decoding(**settings)
    drawn = choose_tokens(logits.expand(20_000, -1), uniforms(range(20_000), 1)[:, 0], decoding)
    kept = kept_ids(logits, top_k=decoding.top_k, top_p=decoding.top_p)
    ids = torch.arange(12) if kept is None else kept.ids[0, : int(kept.counts[0])].long()
    expected = logits[0, ids].double().softmax(0) * 20_000
    counts = torch.bincount(drawn.tokens, minlength=12)
    assert int(counts[ids].sum()) == 20_000
    assert chisquare(counts[ids].numpy(), expected.numpy(), sum_check=False).pvalue > 1e-3


def test_a_stream_is_its_seeds_alone() -> None:
    """A row's numbers depend neither on the other seeds nor on how many are asked for; another seed has others."""
    together = uniforms([5, 11, 5], 8)
    assert torch.equal(together[0], together[2])
    assert torch.equal(together[1, :3], uniforms([11], 3)[0])
    assert not torch.equal(together[0], together[1])
    assert bool(((together >= 0) & (together < 1)).all())


def test_greedy_takes_the_first_of_equals_with_its_full_log_probability() -> None:
    """p = (.2, .4, .4): id 1 at log .4."""
    drawn = greedy(logs(0.2, 0.4, 0.4))
    assert drawn.tokens.tolist() == [1]
    assert drawn.logprobs.item() == pytest.approx(math.log(0.4), abs=1e-6)
