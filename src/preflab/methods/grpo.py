"""GRPO: an answer's advantage is its score, normalised over the group (DeepSeekMath, Shao et al. 2024, Section 4.1).

A_i = (s_i - mean) / std, with mean and std over the scores of the group, that is, of all answers to one prompt. J =
mean_i 1/|y_i| sum_t [ clipped surrogate - beta k3(pi || ref) ] (eq. 3 and 4).
"""

from __future__ import annotations

from functools import partial
from typing import Literal, Self

from pydantic import Field, model_validator
from torch import Tensor

from preflab import ops
from preflab.errors import UserError
from preflab.fields import Count, CountOrAll, Positive, Share
from preflab.methods.base import Method, Parts
from preflab.methods.cost import Cost, DataSize, on_policy_cost
from preflab.methods.shared.advantage import Assessed, improve
from preflab.methods.shared.rollout import Rollout, require_whole_groups, roll_out, take_prompts
from preflab.models.lm import LanguageModel
from preflab.sampling.base import Decoding
from preflab.train.learner import Optim
from preflab.types import Prompt


class GRPO(Method):
    """The authors use 1024 answers in each step, 64 answers to each prompt, one update in each step, beta .04 and
    learning rate 1e-6.

    For Dr. GRPO (Liu et al. 2025), set `normalise_std` to false and `loss_average` to constant. For DAPO (Yu et al.
    2025), set `clip_high` to .28, `loss_average` to token, `kl_coefficient` to 0 and `dynamic_sampling` to true, and
    `overlong_window` to more than 0.

    `dynamic_sampling`: if true, prompts whose answers all score the same are replaced by other prompts. A step draws
    answers at most `most_draws` times. `overlong_window`: the length in tokens of a window that ends at the length
    limit of an answer (0: no window). If an answer reaches into the window, a penalty is subtracted from its shaped
    score (see `shape_scores`). The penalty rises linearly from 0 at the start of the window to `overlong_penalty` at
    the length limit.

    The docstring of `CriticFree` in `shared/advantage.py` explains the settings that all methods without a critic
    share."""

    kind: Literal["grpo"] = "grpo"
    keeps_reference = True
    scores_samples = True
    steps: Count = 100
    rollouts: Count = 1024
    mini_batches: Count = 1
    epochs: Count = 1
    decoding: Decoding = Decoding()
    optim: Optim = Optim(learning_rate=1e-6)
    clip: float = Field(default=0.2, gt=0, lt=1)
    clip_high: Positive | None = None
    kl_coefficient: float = Field(default=0.04, ge=0)
    reward_scale: float = 1.0
    reward_bias: float = 0.0
    reward_clip: Positive | None = None
    reference_ema: Share = 0.0
    ratio_guard: Positive | None = 5.0
    group: int = Field(default=64, ge=2)
    loss_average: ops.LossAverage = "sequence"
    truncated: Literal["score", "ignore"] = "score"
    normalise_std: bool = True
    dynamic_sampling: bool = False
    most_draws: Count = 10
    overlong_window: CountOrAll = 0
    overlong_penalty: float = Field(default=1.0, ge=0)

    _groups_are_whole = model_validator(mode="after")(require_whole_groups)

    @model_validator(mode="after")
    def _window_fits(self) -> Self:
        if self.overlong_window > self.decoding.max_new_tokens:
            raise UserError(
                "overlong_window must not exceed the length limit of an answer. "
                f"Set overlong_window to at most {self.decoding.max_new_tokens} tokens, or raise decoding.max_new_tokens."
            )
        return self

    def train(self, parts: Parts) -> LanguageModel:
        draw = partial(draw_differing, self, parts) if self.dynamic_sampling else None
        return improve(self, parts, partial(gain_over_group, self), kl_in_loss=True, draw=draw)

    def cost(self, size: DataSize) -> Cost:
        """Returns the cost of a run with one draw in each step. Dynamic sampling can draw and score up to `most_draws`
        times as many answers."""
        return on_policy_cost(self.steps, self.rollouts, self.epochs)


def gain_over_group(spec: GRPO, answers: Assessed) -> Tensor:
    """Returns the group-relative advantages, [B,T]. All tokens of an answer have the same advantage."""
    scores = answers.scores
    if spec.overlong_window:
        lengths, limit = answers.rollout.batch.completion_lengths, spec.decoding.max_new_tokens
        reach = ops.overlong(lengths, limit=limit, window=spec.overlong_window)
        scores = scores - spec.overlong_penalty * reach
    return ops.over_tokens(ops.group_relative(scores, spec.group, normalise=spec.normalise_std), answers.mask)


def draw_differing(spec: GRPO, parts: Parts, prompts: list[Prompt], step: int) -> Rollout | None:
    """Draws a step's rollout by dynamic sampling (Yu et al. 2025, eq. 11). Each group whose scores are all equal is
    dropped, and answers to another prompt are drawn instead. Drawing ends when the step has enough groups, after
    `most_draws` draws, or when the labels budget is used up. Returns None if every group was dropped.

    The seeds of a draw depend on the step and on the index of the draw in the step, so that a resumed step repeats its
    draws. Logs `drawn_reward`, the mean score of all drawn answers, because the mean over the kept groups alone does
    not measure the policy.
    """
    affordable = partial(parts.run.labels.affordable, reward=parts.needed_reward(), price=spec.group)
    kept, drawn = list[Rollout](), list[Rollout]()
    needed = missing = spec.rollouts // spec.group
    while missing and len(drawn) < spec.most_draws and affordable() != 0:
        number = len(drawn)
        chosen = take_prompts(parts, prompts, step * spec.most_draws + number, needed, price=spec.group)[:missing]
        rollout = roll_out(parts, chosen, "rollout", step, number, decoding=spec.decoding, group=spec.group)
        drawn.append(rollout)
        differing = rollout.differing().nonzero().flatten().tolist()
        if differing:
            kept.append(rollout.select(differing))
        missing -= len(differing)
    everything = Rollout.join(drawn)
    mean = float(everything.scores.mean())
    parts.run.record.log({"no_variance": everything.share_without_variance(), "drawn_reward": mean})
    return Rollout.join(kept) if kept else None
