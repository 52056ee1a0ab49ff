"""Learning from K ranked answers to a prompt: the one loop of RRHF and PRO, which differ in their loss alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from preflab.batch import RankedBatch, collate_rankings
from preflab.losses.ranking import RankedLogprobs
from preflab.methods.base import Parts
from preflab.models import forward
from preflab.models.lm import LanguageModel
from preflab.train.learner import Optim, Terms
from preflab.types import Ranking

RankingLoss = Callable[[RankedLogprobs], Tensor]
"""A loss's terms [B], one a prompt."""


def imitate_rankings(
    parts: Parts,
    loss: RankingLoss,
    *,
    rankings: int,
    epochs: int,
    batch_size: int,
    max_completion_tokens: int,
    optim: Optim,
) -> LanguageModel:
    """Trains the policy. `rankings`: how many, drawn by the seed (0: all). `batch_size` counts prompts. A labels budget caps
    the rankings: K answers cost the K - 1 comparisons that order them."""
    run, policy = parts.run, parts.policy
    # 1. Every ranking's answers as ids, with their scores.
    rows = parts.buy(parts.rankings(), rankings, price=count_comparisons)
    data = collate_rankings(rows, policy.encode, limit=max_completion_tokens)
    learner, terms = parts.learner(policy.model, optim), partial(ranking_terms, policy, loss)
    total = epochs * -(-len(data) // batch_size)
    for step in run.steps(total, {"policy": learner}, policy=policy, validate=parts.validate):
        # 2. One update on the step's prompts, each with all its answers.
        batch = data.select(run.seeds.take_batch(step, len(data), batch_size))
        run.record.log(learner.step(batch, terms, count=len(batch), progress=run.progress))
    return policy


def count_comparisons(ranking: Ranking) -> int:
    """The labels that a ranking costs: K answers are ordered by K - 1 comparisons."""
    return len(ranking.completions) - 1


def ranking_terms(policy: LanguageModel, loss: RankingLoss, batch: RankedBatch) -> Terms:
    """The loss's terms [B]; logs the best answer's log-probability a token, and the share of the contrasts of unequal score
    that the policy orders as the scores do."""
    answers = batch.candidates
    ranked = RankedLogprobs(
        sums=batch.table(forward.sequence_logprobs(policy.model, answers)),
        lengths=batch.table(answers.completion_lengths),
        scores=batch.table(batch.scores),
        mask=batch.mask,
    )
    p, unequal = ranked.means, ranked.gaps > 0
    right = ((p[:, :, None] > p[:, None, :]) & unequal).sum(dim=(1, 2)) / unequal.sum(dim=(1, 2)).clamp(min=1)
    return Terms(loss(ranked), None, {"accuracy": right, "best_logprob": ranked.of_best(p)})
