"""ReMax: an answer is as good as it is above the greedy answer to its prompt (Li et al. 2024).

A_t = s(x, y) - s(x, y_greedy) - beta sum over u >= t of [log pi - log ref](y_u). The greedy answer is sampled and scored
like any other, and charged: tokens and a label a prompt.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Literal

from pydantic import Field
from torch import Tensor

from preflab import ops
from preflab.fields import Count, Positive, Share
from preflab.methods.base import Parts
from preflab.methods.cost import Cost, DataSize, on_policy_cost
from preflab.methods.critic_free import Assessed, CriticFree, improve
from preflab.methods.rollout import roll_out, shaped
from preflab.models.lm import LanguageModel
from preflab.train.learner import Optim


class ReMax(CriticFree):
    """The authors' values: one answer a prompt beside the greedy one, one update a step, beta .05, learning rate 1e-6. Their
    code charges each token its own KL alone; here it has the KL to come, as the objective's gradient does. `rollouts` are
    the answers that are learnt from, greedy ones not counted."""

    kind: Literal["remax"] = "remax"
    mini_batches: Count = 1
    group: Count = 1
    kl_coefficient: float = Field(default=0.05, ge=0)
    reward_clip: Positive | None = None
    reference_ema: Share = 0.0
    optim: Optim = Optim(learning_rate=1e-6)

    def train(self, parts: Parts) -> LanguageModel:
        return improve(self, parts, partial(above_greedy, self, parts), baselines=1)

    def cost(self, size: DataSize) -> Cost:
        """The greedy answer to each prompt is drawn and scored beside those that are learned from."""
        cost = on_policy_cost(self.steps, self.rollouts, self.epochs)
        answers = cost.drawn + self.steps * self.rollouts / self.group
        return replace(cost, drawn=answers, scored=answers)


def above_greedy(spec: ReMax, parts: Parts, found: Assessed) -> Tensor:
    """Each answer's score less that of its prompt's greedy answer, less the KL from each token on: [B,T]."""
    prompts = found.rollout.prompts[:: spec.group]
    decoding = spec.decoding.model_copy(update={"temperature": 0.0})
    greedy = roll_out(parts, parts.policy, prompts, "greedy", found.step, decoding=decoding)
    parts.run.record.log({"greedy_reward": float(greedy.scores.mean())})
    baseline = shaped(greedy.scores, bias=spec.reward_bias, scale=spec.reward_scale, clip=spec.reward_clip)
    gain = found.scores - baseline.repeat_interleave(spec.group)
    return ops.over_tokens(gain, found.mask) - ops.returns_to_go(found.kl, found.mask)
