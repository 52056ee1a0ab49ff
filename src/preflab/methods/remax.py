"""ReMax: an answer's advantage is its score minus the score of the greedy answer to the same prompt (Li et al. 2024).

A_t = s(x, y) - s(x, y_greedy) - beta sum over u >= t of [log pi - log ref](y_u). The greedy answer is drawn and scored
like any other answer. The greedy answer to a prompt therefore costs compute for its tokens, and one label.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Literal

from pydantic import Field, model_validator
from torch import Tensor

from preflab import ops
from preflab.fields import Count, Positive, Share
from preflab.methods.base import Method, Parts
from preflab.methods.cost import Cost, DataSize, on_policy_cost
from preflab.methods.shared.advantage import Assessed, improve
from preflab.methods.shared.rollout import require_whole_groups, roll_out
from preflab.methods.shared.surrogate import shape_scores
from preflab.models.lm import LanguageModel
from preflab.sampling.base import Decoding
from preflab.train.learner import Optim


class ReMax(Method):
    """The authors use one sampled answer to each prompt in addition to the greedy answer, one update in each step, beta
    .05 and learning rate 1e-6. In the authors' code, the KL penalty in a token's advantage is the KL at this token
    alone. In preflab, the KL penalty is the KL summed from this token to the end, as in the gradient of the objective.
    `rollouts`: the number of sampled answers in a step; greedy answers are not counted.

    The docstring of `CriticFree` in `shared/advantage.py` explains the settings that all methods without a critic
    share."""

    kind: Literal["remax"] = "remax"
    keeps_reference = True
    scores_samples = True
    steps: Count = 100
    rollouts: Count = 512
    mini_batches: Count = 1
    epochs: Count = 1
    decoding: Decoding = Decoding()
    optim: Optim = Optim(learning_rate=1e-6)
    clip: float = Field(default=0.2, gt=0, lt=1)
    clip_high: Positive | None = None
    kl_coefficient: float = Field(default=0.05, ge=0)
    reward_scale: float = 1.0
    reward_bias: float = 0.0
    reward_clip: Positive | None = None
    reference_ema: Share = 0.0
    ratio_guard: Positive | None = 5.0
    group: Count = 1
    loss_average: ops.LossAverage = "token"
    truncated: Literal["score", "ignore"] = "score"

    _groups_are_whole = model_validator(mode="after")(require_whole_groups)

    def train(self, parts: Parts) -> LanguageModel:
        return improve(self, parts, partial(gain_over_greedy, self, parts), baselines=1)

    def cost(self, size: DataSize) -> Cost:
        """Returns the cost of the run, including the cost of drawing and scoring the greedy answer to each prompt."""
        cost = on_policy_cost(self.steps, self.rollouts, self.epochs)
        answers = cost.drawn + self.steps * self.rollouts / self.group
        return replace(cost, drawn=answers, scored=answers)


def gain_over_greedy(spec: ReMax, parts: Parts, answers: Assessed) -> Tensor:
    """Returns the advantage of each token, [B,T]: the answer's score, minus the score of the greedy answer to the same
    prompt, minus the KL penalties summed from this token to the end."""
    prompts = answers.rollout.prompts[:: spec.group]
    decoding = spec.decoding.model_copy(update={"temperature": 0.0})
    greedy = roll_out(parts, prompts, "greedy", answers.step, decoding=decoding)
    parts.run.record.log({"greedy_reward": float(greedy.scores.mean())})
    baseline = shape_scores(spec, greedy.scores)
    gain = answers.scores - baseline.repeat_interleave(spec.group)
    return ops.over_tokens(gain, answers.mask) - ops.returns_to_go(answers.kl, answers.mask)
