"""The training loop of RRHF and PRO, which learn from K ranked answers to a prompt and differ only in their loss."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from torch import Tensor

from preflab import ops
from preflab.batch import RankedBatch, collate_rankings
from preflab.encoded import EncodedRows
from preflab.losses.ranking import RankedLogprobs
from preflab.methods.base import Parts
from preflab.models import forward
from preflab.models.lm import LanguageModel
from preflab.train.learner import Optim, Terms
from preflab.types import Ranking


class LearnsRankings(Protocol):
    """The settings of the training loop of RRHF and PRO, and the method's loss. `rankings`: the number of rankings to
    train on (0: all). The run's seed determines which rankings are used. `batch_size`: the number of prompts in a
    batch."""

    rankings: int
    epochs: int
    batch_size: int
    max_completion_tokens: int
    optim: Optim

    def loss(self, ranked: RankedLogprobs) -> Tensor:
        """Returns the unreduced loss of each prompt: [B]."""
        ...


def imitate_rankings(spec: LearnsRankings, parts: Parts) -> LanguageModel:
    """Trains the policy on rankings. A labels budget limits the number of rankings. `count_comparisons` returns the
    number of labels that a ranking costs."""
    run, policy = parts.run, parts.policy
    # 1. Take the rankings. The answers of a ranking are encoded when the ranking is first selected.
    rows = parts.buy(parts.rankings(), spec.rankings, price=count_comparisons)
    data = EncodedRows(rows, collate_rankings, policy.encode, limit=spec.max_completion_tokens)
    learner, terms = parts.learner(policy.model, spec.optim), partial(ranking_terms, policy, spec.loss)
    total = spec.epochs * -(-len(data) // spec.batch_size)
    for step in run.steps(total, {"policy": learner}, policy=policy, validate=parts.validate):
        # 2. Make one update on the prompts of this step, each with all its answers.
        batch = data.select(run.seeds.take_batch(step, len(data), spec.batch_size))
        run.record.log(learner.step(batch, terms, count=len(batch), progress=run.progress_of_update()))
    return policy


def count_comparisons(ranking: Ranking) -> int:
    """Returns the number of labels that a ranking of K answers costs: the K - 1 comparisons that order the answers."""
    return len(ranking.completions) - 1


def ranking_terms(policy: LanguageModel, loss: Callable[[RankedLogprobs], Tensor], batch: RankedBatch) -> Terms:
    """Returns the unreduced loss of each prompt: [B]. Logs the best answer's mean log-probability per token, and the
    accuracy. The accuracy covers the pairs of answers with unequal scores. It is the share of these pairs whose better
    answer has the higher log-probability per token under the policy (a tie counts one half)."""
    answers = batch.candidates
    sums = batch.table(forward.sequence_logprobs(policy.model, answers))
    lengths, scores = batch.table(answers.completion_lengths), batch.table(batch.scores)
    ranked = RankedLogprobs(sums, lengths, scores, batch.mask)
    p, unequal = ranked.means, ranked.gaps > 0
    right = (ops.order_accuracy(p[:, :, None] - p[:, None, :]) * unequal).sum(dim=(1, 2))
    right = right / unequal.sum(dim=(1, 2)).clamp(min=1)
    return Terms(loss(ranked), None, {"accuracy": right, "best_logprob": ranked.of_best(p)})
