"""Iterative DPO: each round draws answers, labels them, forms pairs and trains by DPO on the pairs.

The reference of a round is the policy at the start of the round. Xu et al. 2024 run 4 rounds on SafeRLHF, where a
learned reward labels the samples (Section 3). On APPS, they draw 5 samples for each prompt, and the tests of the
problem label the samples. If no sample for a prompt is right, a solution from the data set becomes the chosen answer
(Section 6).
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import torch
from pydantic import Field, model_validator

from preflab.batch import PairBatch, collate_pairs
from preflab.fields import Count, CountOrAll, Positive
from preflab.losses.preference import REFERENCE_FREE
from preflab.methods.base import Method, Parts
from preflab.methods.cost import Cost, DataSize
from preflab.methods.dpo import make_pair_loss, pair_terms, reference_logprobs, require_pair_loss, with_reference
from preflab.methods.pairs import PairDraw, draw_pairs
from preflab.methods.shared.rollout import take_prompts
from preflab.methods.shared.rounds import Rounds
from preflab.models.lm import LanguageModel
from preflab.train.learner import Optim
from preflab.types import Prompt, from_preference, to_preference


class DPOIter(Method):
    """Xu et al. 2024 use 4 rounds, beta .1 and learning rate 1e-6.

    Each round draws answers to `prompts` prompts (0: all), makes pairs from the answers, and trains on the pairs for
    `epochs` epochs. If the run has a compute budget, `rounds` is ignored. `draw`: see `PairDraw`. `loss`, `beta`,
    `loss_settings` and `sft_coefficient`: see `DPO`."""

    kind: Literal["dpo-iter"] = "dpo-iter"
    scores_samples = True
    loss: str = "sigmoid"
    beta: Positive | None = None
    loss_settings: dict[str, float] = {}
    sft_coefficient: float = Field(default=0.0, ge=0)
    batch_size: Count = 64
    max_completion_tokens: Count = 1024
    rounds: Count = 4
    prompts: CountOrAll = 0
    draw: PairDraw = PairDraw()
    epochs: Count = 1
    optim: Optim = Optim(learning_rate=1e-6)

    _loss_exists = model_validator(mode="after")(require_pair_loss)

    def check_names(self) -> None:
        super().check_names()
        make_pair_loss(self)

    def train(self, parts: Parts) -> LanguageModel:
        run, policy = parts.run, parts.policy
        learner = parts.learner(policy.model, self.optim)
        rounds = open_pair_rounds(self, parts)
        terms = partial(pair_terms, policy, make_pair_loss(self), self.sft_coefficient)
        state = {"policy": learner, "rounds": rounds}
        for _ in run.steps(rounds.share, state, policy=policy, validate=parts.validate):
            # 1. Begin a new round: draw pairs from the current policy, which is also the reference of this round.
            if rounds.finished() and not rounds.begin():
                run.record.log({"round": rounds.number, "pairs": 0})
                continue
            # 2. Make one DPO update on the pairs of this step.
            batch = rounds.next_batch()
            update = learner.step(batch, terms, count=len(batch), progress=run.progress_of_update())
            run.record.log({**update, "round": rounds.number, "pairs": rounds.size})
        return policy

    def cost(self, size: DataSize) -> Cost:
        """Returns the cost of a run that makes one pair for each prompt. If `draw.rule` is `all`, a prompt can have
        several pairs; the additional pairs are not counted."""
        prompts = self.rounds * (self.prompts or size.prompts)
        drawn = prompts * self.draw.samples
        forward = 0 if self.loss in REFERENCE_FREE else 2 * prompts
        return Cost(drawn=drawn, scored=drawn, trained=2 * self.epochs * prompts, forward=forward)


def open_pair_rounds(spec: DPOIter, parts: Parts) -> Rounds[PairBatch]:
    """Makes a `Rounds` object whose first round has not begun. Raises `UserError` if the testbed has no prompts."""
    prompts = parts.prompts()
    count = spec.prompts or len(prompts)  # the number of prompts in each round
    reward, price = parts.needed_reward(), spec.draw.samples
    return Rounds(
        parts.run,
        rounds=parts.run.labels.cap_rounds(spec.rounds, prompts=count, reward=reward, price=price),
        epochs=spec.epochs,
        batch_size=spec.batch_size,
        draw=partial(draw_round_of_pairs, spec, parts, prompts, count),
        read=partial(read_round_of_pairs, spec, parts.policy),
        barren="no pair: for every prompt, all samples score the same. "
        "Draw more samples of each prompt, or start from a policy that is sometimes right.",
    )


def draw_round_of_pairs(spec: DPOIter, parts: Parts, prompts: list[Prompt], count: int, number: int) -> dict[str, Any]:
    """Draws the pairs of a round from the current policy, which is also the reference of the round. Returns a
    dictionary with the pairs. If the loss uses a reference, the dictionary also contains the log-probabilities of the
    answers under this reference."""
    chosen = take_prompts(parts, prompts, number, count, price=spec.draw.samples)
    pairs = draw_pairs(spec.draw, parts, chosen, name=f"round-{number:04d}")
    drawn: dict[str, Any] = {"pairs": [from_preference(pair) for pair in pairs]}
    if not pairs or spec.loss in REFERENCE_FREE:
        return drawn
    data = collate_pairs(pairs, parts.policy.encode, limit=spec.max_completion_tokens)
    chosen, rejected = reference_logprobs(parts, data).T.tolist()
    return drawn | {"reference_chosen": chosen, "reference_rejected": rejected}


def read_round_of_pairs(spec: DPOIter, policy: LanguageModel, drawn: dict[str, Any]) -> PairBatch | None:
    """Converts the result of `draw_round_of_pairs` into a batch of token ids. If the loss uses a reference, the batch
    also contains the reference's log-probabilities. Returns None if the round has no pair."""
    if not drawn["pairs"]:
        return None
    pairs = [to_preference(row) for row in drawn["pairs"]]
    data = collate_pairs(pairs, policy.encode, limit=spec.max_completion_tokens)
    if spec.loss in REFERENCE_FREE:
        return data
    columns = [drawn["reference_chosen"], drawn["reference_rejected"]]
    return with_reference(data, torch.tensor(columns).T)
