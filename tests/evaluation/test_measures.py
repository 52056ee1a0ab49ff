"""Measures of samples against brute force and by hand."""

from __future__ import annotations

import math
from itertools import combinations

import pytest

from preflab.evaluation.measures import best_of_n_kl_bound, distinct_n, k_at_n, pass_at_k, truncated_share
from preflab.types import Completion


@pytest.mark.parametrize("samples", range(1, 8))
def test_pass_at_k_by_enumeration(samples: int) -> None:
    """Protects the estimator: the share of all k-subsets of n samples that hold one of the c right ones."""
    for correct in range(samples + 1):
        for k in range(1, samples + 1):
            subsets = list(combinations(range(samples), k))
            wanted = sum(any(row < correct for row in subset) for subset in subsets) / len(subsets)
            assert pass_at_k(samples, correct, k) == pytest.approx(wanted)


def test_pass_at_1_is_the_mean_and_large_numbers_are_exact() -> None:
    """Protects from overflow: 1 of 1000 right: pass@1 .001, pass@500 .5; none right 0, all right 1."""
    assert pass_at_k(1000, 1, 1) == pytest.approx(0.001)
    assert pass_at_k(1000, 1, 500) == pytest.approx(0.5)
    assert (pass_at_k(5, 0, 5), pass_at_k(5, 5, 1)) == (0.0, 1.0)


def test_pass_at_k_needs_k_samples() -> None:
    """Protects from pass@5 of 4 samples, which would be biased."""
    with pytest.raises(ValueError, match="pass@5 needs at least 5 samples"):
        pass_at_k(4, 1, 5)


@pytest.mark.parametrize("samples", range(1, 7))
def test_k_at_n_by_enumeration(samples: int) -> None:
    """Protects the expectation over both choices: every n of the samples, every k of those among them that pass the filter
    (all where fewer pass); samples 0..c-1 are right, c..m-1 pass the public tests alone."""
    for passing in range(samples + 1):
        for correct in range(passing + 1):
            for n in range(1, samples + 1):
                for k in range(1, n + 1):
                    shares = []
                    for drawn in combinations(range(samples), n):
                        kept = [row for row in drawn if row < passing]
                        chosen = list(combinations(kept, min(k, len(kept))))
                        shares.append(sum(any(row < correct for row in one) for one in chosen) / len(chosen))
                    assert k_at_n(samples, passing, correct, k, n) == pytest.approx(sum(shares) / len(shares))


def test_k_at_n_of_a_thousand() -> None:
    """Protects AlphaCode's 10@1k: 20 of 1,000 pass the filter, 2 are right: 1 - C(18,10)/C(20,10) = 1 - 9/38 = 29/38; without
    a filter that takes anything away it is pass@k."""
    assert k_at_n(1000, 20, 2, 10, 1000) == pytest.approx(29 / 38)
    assert k_at_n(50, 50, 3, 5, 20) == pytest.approx(pass_at_k(50, 3, 5))
    with pytest.raises(ValueError, match="10@1000 needs at least 1000 samples"):
        k_at_n(999, 5, 1, 10, 1000)


def test_distinct_n() -> None:
    """Protects diversity: "a b a b" and "a b": bigrams ab, ba, ab, ab: 2 of 4; texts shorter than n count nothing."""
    assert distinct_n(["a b a b", "a b"], 2) == 0.5
    assert distinct_n(["a b c"], 1) == 1.0
    assert distinct_n(["a", ""], 2) == 0.0


def test_truncated_share() -> None:
    """Protects the column: one of four hit the limit."""
    assert truncated_share([Completion("a", truncated=True), *[Completion("a")] * 3]) == 0.25


def test_best_of_n_bound() -> None:
    """Protects the closed form ln n - (n-1)/n: 0 for one sample, ln 4 - .75 = .636294 for four; and that it is a bound: for
    a uniform policy over m answers, all different in score, the exact KL lies below it."""
    assert best_of_n_kl_bound(1) == 0.0
    assert best_of_n_kl_bound(4) == pytest.approx(0.636294, abs=1e-6)
    for n, m in ((2, 5), (4, 10), (16, 50)):
        best = [(i / m) ** n - ((i - 1) / m) ** n for i in range(1, m + 1)]
        exact = sum(p * math.log(p * m) for p in best if p > 0)
        assert 0 < exact <= best_of_n_kl_bound(n)
