"""Measures a policy on the data's held-out demonstrations and preference pairs. preflab uses this measurement if the
settings name no evaluator.

Demonstrations give the loss per token, L = -E_t log pi(y_t | x, y_<t). Preference pairs give two measures. The margin
is log(pi/ref)(y_w) - log(pi/ref)(y_l), where ref is the reference model for KL. The accuracy is the fraction of pairs
with a positive margin; a margin of 0 counts as half a pair. Without a reference, the margin is log pi(y_w) - log
pi(y_l), and the names of both measures change. The policy's own answers give the mean length of an answer, the share of
truncated answers, and KL(pi || ref).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from torch import Tensor

from preflab.batch import PairBatch, TokenBatch, collate_demonstrations, collate_pairs
from preflab.evaluation.divergence import estimate_kl
from preflab.evaluation.measures import truncated_share
from preflab.evaluation.settings import Evaluation
from preflab.models import forward
from preflab.models.lm import LanguageModel
from preflab.sampling.base import Decoding, Sampler
from preflab.testbeds.base import Testbed, read_rows
from preflab.types import Split


@dataclass(frozen=True)
class HeldOut:
    """The opened objects that the measurement needs. `start`: the reference model for KL and margins, or None. `limit`:
    the number of tokens after which an answer in the data is cut."""

    spec: Evaluation
    testbed: Testbed
    sampler: Sampler
    seed_for: Callable[..., int]
    start: LanguageModel | None
    limit: int
    token_budget: int
    _references: dict[Split, tuple[Tensor, Tensor]] = field(default_factory=dict[Split, tuple[Tensor, Tensor]])

    def read(self, policy: LanguageModel, split: Split) -> dict[str, float]:
        """Measures the policy on a split's demonstrations and preference pairs. Demonstrations give `loss`. Pairs give
        `pair_accuracy`, in which a tie counts as one half, and `pair_margin`, in nats. Without a reference model, these
        two measures are called `likelihood_accuracy` and `likelihood_margin`. Leaves out the measures for which the
        split has no data. Does not sample from the policy."""
        return self._read_answers(policy, split) | self._read_pairs(policy, split)

    def measure(self, policy: LanguageModel, split: Split) -> dict[str, float]:
        """Returns the measures of `read`, and adds `length`, `truncated` and, with a reference model, `kl`. To measure
        these three, samples the policy's answers to the first `look_prompts` prompts at temperature 1."""
        measures = self.read(policy, split)
        prompts = self.testbed.prompts(split)[: self.spec.look_prompts]
        if not prompts:
            return measures
        seeds = [self.seed_for("held-out", split, row) for row in range(len(prompts))]
        decoding = Decoding(max_new_tokens=self.spec.max_new_tokens)
        ids = [policy.encode_prompt(prompt) for prompt in prompts]
        batch = self.sampler.sample(policy, ids, seeds=seeds, decoding=decoding).batch
        measures["length"] = float(batch.completion_lengths.float().mean())
        measures["truncated"] = truncated_share(policy.completions(batch))
        if self.start is not None:
            measures["kl"] = estimate_kl(policy, self.start, batch, self.token_budget)
        return {
            name: value for name, value in measures.items() if math.isfinite(value)
        }  # without infinity and NaN, which JSON cannot represent

    def _read_answers(self, policy: LanguageModel, split: Split) -> dict[str, float]:
        rows = read_rows(self.testbed.demonstrations, split)
        if not rows:
            return {}
        batch = collate_demonstrations(rows, policy.encode, limit=self.limit)
        total = self._logprobs(policy, batch).sum()
        return {"loss": -float(total) / float(batch.completion_lengths.sum())}

    def _read_pairs(self, policy: LanguageModel, split: Split) -> dict[str, float]:
        rows = read_rows(self.testbed.preferences, split)
        if not rows:
            return {}
        pairs = collate_pairs(rows, policy.encode, limit=self.limit)
        chosen, rejected = self._both(policy, pairs)
        kind = "likelihood" if self.start is None else "pair"
        if self.start is not None:
            if split not in self._references:  # the reference model does not change, so its values are stored
                self._references[split] = self._both(self.start, pairs)
            chosen, rejected = chosen - self._references[split][0], rejected - self._references[split][1]
        margin = (chosen - rejected).double()
        right = (margin > 0).double() + 0.5 * (margin == 0).double()
        return {f"{kind}_accuracy": float(right.mean()), f"{kind}_margin": float(margin.mean())}

    def _both(self, lm: LanguageModel, pairs: PairBatch) -> tuple[Tensor, Tensor]:
        """Returns two tensors of shape [B], without gradient: log pi(y|x) of each pair's chosen answer, and of each
        pair's rejected answer."""
        logprobs = partial(forward.pair_logprobs, lm.model)
        both = forward.by_micro_batch(lm.model, logprobs, pairs, self.token_budget)
        return both[:, 0], both[:, 1]

    def _logprobs(self, lm: LanguageModel, batch: TokenBatch) -> Tensor:
        """Returns log pi(y|x) of each answer, [B], without gradient."""
        return forward.by_micro_batch(lm.model, partial(forward.sequence_logprobs, lm.model), batch, self.token_budget)
