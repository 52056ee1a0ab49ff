"""Online DPO: each step draws answers from the policy, pairs them by reward, and trains on the pairs (Guo et al. 2024).

L = -E_{x, (y1, y2) ~ pi} log sigmoid( beta * [log(pi/pi_ref)(y_w) - log(pi/pi_ref)(y_l)] ), with no gradient through
the sampling. Any other loss in `losses.preference` can replace this loss. The authors use the losses of DPO, IPO and
SLiC.
"""

from __future__ import annotations

from functools import partial
from typing import Literal, Self

from pydantic import Field, model_validator

from preflab.batch import PairBatch, collate_pairs
from preflab.errors import UserError
from preflab.fields import Count, Positive, Share
from preflab.losses.preference import REFERENCE_FREE
from preflab.methods.base import Method, Parts
from preflab.methods.cost import Cost, DataSize
from preflab.methods.dpo import make_pair_loss, pair_terms, reference_logprobs, require_pair_loss, with_reference
from preflab.methods.pairs import PairDraw, draw_pairs
from preflab.methods.shared.rollout import require_updates, take_prompts
from preflab.models.lm import LanguageModel
from preflab.models.reference import Reference
from preflab.sampling.base import Decoding
from preflab.train.learner import Optim
from preflab.train.state import Stateful
from preflab.types import Preference


class OnlineDPO(Method):
    """The authors use two answers to each prompt, 128 prompts in each step, temperature .9, beta .1 and learning rate
    5e-7.

    Each step draws `draw.samples` answers to each of `prompts` prompts, pairs the answers by `draw.rule`, and makes one
    update for every `batch_size` pairs. If the answers to each prompt all score the same, the step has no pair and
    makes no update. The reference starts as the starting policy and follows the policy at the rate `reference_ema` (0:
    the reference stays fixed). If the run has a compute budget, `steps` is ignored. `loss`, `beta`, `loss_settings` and
    `sft_coefficient`: see `DPO`."""

    kind: Literal["online-dpo"] = "online-dpo"
    keeps_reference = True
    scores_samples = True
    loss: str = "sigmoid"
    beta: Positive | None = None
    loss_settings: dict[str, float] = {}
    sft_coefficient: float = Field(default=0.0, ge=0)
    batch_size: Count = 128
    max_completion_tokens: Count = 1024
    steps: Count = 100
    prompts: Count = 128
    draw: PairDraw = PairDraw(samples=2, rule="best-worst", decoding=Decoding(temperature=0.9))
    reference_ema: Share = 0.0
    optim: Optim = Optim(learning_rate=5e-7)

    _loss_exists = model_validator(mode="after")(require_pair_loss)

    def check_names(self) -> None:
        super().check_names()
        make_pair_loss(self)

    @model_validator(mode="after")
    def _makes_pairs(self) -> Self:
        if self.draw.samples < 2 or self.draw.decoding.temperature <= 0:
            raise UserError(
                "Online DPO needs two different samples for each prompt. Set draw.samples to 2 or more, and "
                "draw.decoding.temperature above 0."
            )
        if self.reference_ema and self.loss in REFERENCE_FREE:
            raise UserError(
                f"The loss {self.loss!r} does not use a reference, so reference_ema has no effect. Set reference_ema to 0."
            )
        return self

    def train(self, parts: Parts) -> LanguageModel:
        run, policy = parts.run, parts.policy
        prompts = parts.prompts()
        learner, reference = parts.learner(policy.model, self.optim), Reference(policy.model)
        terms = partial(pair_terms, policy, make_pair_loss(self), self.sft_coefficient)
        state: dict[str, Stateful] = {"policy": learner}
        if self.reference_ema:
            state["reference"] = reference
        share = run.labels.share_of(self.steps, reward=parts.needed_reward(), price=self.draw.samples)
        for step in run.steps(share, state, policy=policy, validate=parts.validate):
            # 1. Draw answers to the step's prompts from the current policy, and make pairs of the answers.
            chosen = take_prompts(parts, prompts, step, self.prompts, price=self.draw.samples)
            pairs = draw_pairs(self.draw, parts, chosen, name=f"step-{step:06d}")
            run.record.log({"pairs": len(pairs)})
            if not pairs:
                continue
            # 2. Compute the pairs' log-probabilities under the reference.
            data = self.collate(reference, parts, pairs)
            # 3. Make an update on every mini-batch.
            for start in range(0, len(data), self.batch_size):
                batch = data.select(range(start, min(start + self.batch_size, len(data))))
                run.record.log(learner.step(batch, terms, count=len(batch), progress=run.progress_of_update()))
            # 4. Move the reference towards the policy.
            if self.reference_ema:
                reference.follow(self.reference_ema)
        require_updates(learner.updates)
        return policy

    def collate(self, reference: Reference, parts: Parts, pairs: list[Preference]) -> PairBatch:
        """Converts the pairs into a batch of token ids. If the loss uses a reference, the batch also contains the
        reference's log-probabilities."""
        data = collate_pairs(pairs, parts.policy.encode, limit=self.max_completion_tokens)
        if self.loss in REFERENCE_FREE:
            return data
        with reference.active():
            return with_reference(data, reference_logprobs(parts, data))

    def cost(self, size: DataSize) -> Cost:
        """Returns the cost of a run that makes one pair for each prompt. If `draw.rule` is `all`, a prompt can have
        several pairs; the additional pairs are not counted."""
        prompts = self.steps * self.prompts
        drawn = prompts * self.draw.samples
        forward = 0 if self.loss in REFERENCE_FREE else 2 * prompts
        return Cost(drawn=drawn, scored=drawn, trained=2 * prompts, forward=forward)
