"""Computes measures of a set of graded samples: pass@k, k@n, diversity, and the share of truncated answers."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb, log

from preflab.types import Completion


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Returns 1 - C(n-c, k) / C(n, k), where n is `samples` and c is `correct`. This is the unbiased estimate of the
    probability that at least one of k samples is correct (Chen et al. 2021, eq. 1). Raises `ValueError` if k > n.
    """
    if k > samples:
        raise ValueError(f"pass@{k} needs at least {k} samples for each problem, but there are {samples}.")
    return 1.0 - comb(samples - correct, k) / comb(samples, k)


def k_at_n(samples: int, passing: int, correct: int, k: int, n: int) -> float:
    """Returns k@n: the probability that at least one of k submissions is correct. The submissions are chosen from n
    samples, and only from those that pass the public tests (Li et al. 2022, section 4.6).

    N is `samples`, the number of drawn samples. m is `passing`, the number of samples that pass the public tests. c is
    `correct`, the number of those m samples that pass the hidden tests too. First, n of the N samples are chosen at
    random. Let t be the number of the n samples that pass the public tests. Then k of the t samples are chosen at
    random and submitted, or all t if t < k. By symmetry, all subsets of the m passing samples that have the same size
    are submitted with the same probability. The expectation over both random choices is therefore exactly sum_t C(m,t)
    C(N-m,n-t) / C(N,n) pass@min(k,t)(m, c). Raises `ValueError` unless 0 < k <= n <= samples.
    """
    if not 0 < k <= n <= samples:
        raise ValueError(
            f"{k}@{n} needs at least {n} samples for each problem, and the number of samples is {samples}. It also needs "
            "0 < k <= n."
        )
    failing, ways = samples - passing, comb(samples, n)
    rate = 0.0
    for some in range(max(0, n - failing), min(passing, n) + 1):
        chance = comb(passing, some) * comb(failing, n - some) / ways
        rate += chance * pass_at_k(passing, correct, min(k, some))
    return min(rate, 1.0)


def distinct_n(texts: Sequence[str], n: int) -> float:
    """Returns the number of distinct word n-grams divided by the number of all word n-grams (Li et al. 2016). Returns 0
    if the texts have no n-grams."""
    grams = [tuple(words[i : i + n]) for words in (text.split() for text in texts) for i in range(len(words) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


def truncated_share(completions: Sequence[Completion]) -> float:
    return sum(completion.truncated for completion in completions) / len(completions)


def best_of_n_kl_bound(n: int) -> float:
    """Returns log n - (n-1)/n: an upper bound of KL(best-of-n || policy), in nats (Beirami et al. 2024, Theorem 3.1)."""
    return log(n) - (n - 1) / n
