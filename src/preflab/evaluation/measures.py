"""Measures of a set of graded samples: pass@k, diversity, length."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb, log

from preflab.types import Completion


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """1 - C(n-c, k) / C(n, k): the unbiased chance that one of k draws from n samples, c of them right, is right.

    Chen et al. 2021, eq. 1. Raises `ValueError` where k > n.
    """
    if k > samples:
        raise ValueError(f"pass@{k} needs at least {k} samples a problem; there are {samples}.")
    return 1.0 - comb(samples - correct, k) / comb(samples, k)


def k_at_n(samples: int, passing: int, correct: int, k: int, n: int) -> float:
    """k@n: the chance that of n draws, filtered by the public tests, one of k submitted is right (Li et al. 2022, section 4.6).

    Of `samples` drawn, `passing` pass the public tests, and `correct` of these the hidden ones too. The n are chosen at random
    among the samples and the k at random among those of them that pass (all of them where fewer pass). What is submitted is
    then any subset of the m that pass, as likely as another of its size, so that the expectation over both choices is exact:
    sum_t C(m,t) C(N-m,n-t) / C(N,n) pass@min(k,t)(m, c), t of the n passing. Raises `ValueError` unless 0 < k <= n <= samples.
    """
    if not 0 < k <= n <= samples:
        raise ValueError(f"{k}@{n} needs at least {n} samples a problem, and k no larger than n; there are {samples}.")
    failing, ways = samples - passing, comb(samples, n)
    rate = 0.0
    for some in range(max(0, n - failing), min(passing, n) + 1):
        chance = comb(passing, some) * comb(failing, n - some) / ways
        rate += chance * pass_at_k(passing, correct, min(k, some))
    return min(rate, 1.0)


def distinct_n(texts: Sequence[str], n: int) -> float:
    """Distinct n-grams of words over all n-grams (Li et al. 2016); 0 where there is none."""
    grams = [tuple(words[i : i + n]) for words in (text.split() for text in texts) for i in range(len(words) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


def truncated_share(completions: Sequence[Completion]) -> float:
    return sum(completion.truncated for completion in completions) / len(completions)


def best_of_n_kl_bound(n: int) -> float:
    """log n - (n-1)/n: an upper bound of KL(best-of-n || policy), in nats (Beirami et al. 2024, Theorem 3.1)."""
    return log(n) - (n - 1) / n
