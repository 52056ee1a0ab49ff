"""Computes measures of a set of graded samples: pass@k, k@n, diversity, and the share of truncated answers."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb, log

from preflab.types import Completion


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Returns 1 - C(n-c, k) / C(n, k): the unbiased estimate of the chance that at least one of k draws is right, from n
    samples of which c are right.

    Chen et al. 2021, eq. 1. Raises `ValueError` if k > n.
    """
    if k > samples:
        raise ValueError(f"pass@{k} needs at least {k} samples a problem; there are {samples}.")
    return 1.0 - comb(samples - correct, k) / comb(samples, k)


def k_at_n(samples: int, passing: int, correct: int, k: int, n: int) -> float:
    """Returns k@n: the chance that at least one of k submissions is right, if the k are chosen from n draws after a filter
    by the public tests (Li et al. 2022, section 4.6).

    N = `samples` samples were drawn. m = `passing` of them pass the public tests, and c = `correct` of these m pass the
    hidden tests too. n of the N samples are chosen at random. Say that t of these n pass the public tests. Then k of these t
    are chosen at random and submitted, or all t if t < k. Every subset of the m passing samples is as likely to be submitted
    as any other subset of its size, so the expectation over both random choices is exact:
    sum_t C(m,t) C(N-m,n-t) / C(N,n) pass@min(k,t)(m, c). Raises `ValueError` unless 0 < k <= n <= samples.
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
    """Returns the number of distinct n-grams of words divided by the number of all n-grams (Li et al. 2016). 0 if the texts
    have no n-grams."""
    grams = [tuple(words[i : i + n]) for words in (text.split() for text in texts) for i in range(len(words) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


def truncated_share(completions: Sequence[Completion]) -> float:
    return sum(completion.truncated for completion in completions) / len(completions)


def best_of_n_kl_bound(n: int) -> float:
    """Returns log n - (n-1)/n: an upper bound of KL(best-of-n || policy), in nats (Beirami et al. 2024, Theorem 3.1)."""
    return log(n) - (n - 1) / n
