"""Measures how far a policy is from its reference model: KL(policy || start), and the policy's entropy."""

from __future__ import annotations

from typing import Any

from preflab import ops
from preflab.batch import TokenBatch
from preflab.evaluation.bench import AnyPolicy, Bench
from preflab.evaluation.grading import Graded
from preflab.evaluation.measures import best_of_n_kl_bound
from preflab.evaluation.result import Divergence
from preflab.evaluation.served import ServedPolicy
from preflab.models import forward
from preflab.models.lm import LanguageModel
from preflab.sampling.inference import Inference

EXACT_KL_VOCABULARY = 4096


def divergence(bench: Bench, policy: AnyPolicy, graded: Graded, inference: Inference) -> Divergence:
    """Estimates KL(policy || start) per response, in nats, and the policy's entropy per token. Both are averages over
    the policy's own samples at temperature 1. Both are None for a served policy.

    If the vocabulary is small, the KL of each step is a sum over the full vocabulary. For a large vocabulary, the k3
    estimator is used. For best-of-n, the KL is replaced by an upper bound, and the entropy is None. Without a reference
    model, both numbers are None.
    """
    start = bench.start
    if isinstance(policy, ServedPolicy):
        return Divergence(estimate=None, estimator="none for a served policy: its log-probabilities are not known")
    if start is None:
        return Divergence(estimate=None, estimator="none: there is no reference model", entropy=None)
    if inference.n > 1:
        bound = best_of_n_kl_bound(inference.n)
        return Divergence(estimate=bound, estimator="closed-form upper bound of best-of-n", entropy=None)
    # The KL samples are spread evenly over all problems.
    count = min(bench.spec.kl_samples, len(graded.completions))
    assert graded.drawn.batch is not None
    batch = graded.drawn.batch.select([row * len(graded.completions) // count for row in range(count)])

    def entropy(rows: Any) -> Any:
        terms = forward.token_logprobs(policy.model, rows, entropy=True).entropy
        assert terms is not None
        return ops.sequence_sum(terms, rows.mask)

    steps = float(batch.completion_lengths.sum())
    return Divergence(
        estimate=estimate_kl(policy, start, batch, bench.token_budget),
        estimator="full-vocabulary sums along samples" if sums_vocabulary(policy) else "k3 along samples",
        entropy=float(forward.by_micro_batch(policy.model, entropy, batch, bench.token_budget).sum()) / steps,
    )


def sums_vocabulary(policy: LanguageModel) -> bool:
    """Returns whether the policy's vocabulary is small enough to compute the KL of each step as a sum over the full
    vocabulary."""
    return forward.Head(forward.unwrap(policy.model), 1.0).vocabulary <= EXACT_KL_VOCABULARY


def estimate_kl(policy: LanguageModel, start: LanguageModel, batch: TokenBatch, token_budget: int) -> float:
    """Returns KL(policy || start) per response, in nats, averaged over the given answers, which the policy drew at
    temperature 1."""
    exact = sums_vocabulary(policy)

    def kl(rows: Any) -> Any:
        if exact:
            terms = ops.exact_kl(forward.full_logprobs(policy.model, rows), forward.full_logprobs(start.model, rows))
            return ops.sequence_sum(rows.mask.float().masked_scatter(rows.mask, terms), rows.mask)
        mine, theirs = (forward.token_logprobs(lm.model, rows).logprobs for lm in (policy, start))
        return ops.sequence_sum(ops.kl_estimate(mine, theirs, "k3"), rows.mask)

    return float(forward.by_micro_batch(policy.model, kl, batch, token_budget).mean())
