"""Iterative DPO: sample -> label -> pair -> DPO, and the newest policy is the next round's reference.

SafeRLHF: the samples are labelled by a learned reward, 4 rounds (paper, Section 3). APPS: 5 samples a prompt, labelled
by the tests, a data-set solution as chosen where no sample is right (Section 6).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch

from preflab.batch import PairBatch, collate_pairs
from preflab.fields import Count, CountOrAll
from preflab.losses.preference import REFERENCE_FREE
from preflab.methods.base import Parts
from preflab.methods.cost import Cost, DataSize
from preflab.methods.dpo import PairLoss, pair_terms, with_reference
from preflab.methods.pairs import Draw, draw_pairs
from preflab.methods.rollout import asked_prompts
from preflab.methods.rounds import Plan, Rounds
from preflab.models.lm import LanguageModel
from preflab.train.learner import Optim
from preflab.types import Prompt, from_preference, to_preference


class DPOIter(PairLoss):
    """The paper's values: 4 rounds, beta .1, learning rate 1e-6. `prompts` a round (0: all), each round's pairs are
    passed over `epochs` times. Under a compute budget rounds go on until it is used."""

    kind: Literal["dpo-iter"] = "dpo-iter"
    rounds: Count = 4
    prompts: CountOrAll = 0
    draw: Draw = Draw()
    epochs: Count = 1
    optim: Optim = Optim(learning_rate=1e-6)

    def train(self, parts: Parts) -> LanguageModel:
        run, policy = parts.run, parts.policy
        learner = parts.learner(policy.model, self.optim)
        rounds = open_rounds(self, parts)
        terms = partial(pair_terms, policy, self.objective(), self.sft_coefficient)
        state = {"policy": learner, "rounds": rounds}
        for _ in run.steps(rounds.share, state, policy=policy, validate=parts.validate):
            # 1. A new round: pairs from the newest policy, which becomes their reference.
            if rounds.finished() and not rounds.begin():
                run.record.log({"round": rounds.number, "pairs": 0})
                continue
            # 2. One DPO update on the step's pairs.
            batch = rounds.next_batch()
            update = learner.step(batch, terms, count=len(batch), progress=run.progress)
            run.record.log({**update, "round": rounds.number, "pairs": rounds.size})
        return policy

    def cost(self, size: DataSize) -> Cost:
        """At most one pair of each prompt (all pairs of a prompt's samples under the rule `all` are not counted)."""
        prompts = self.rounds * (self.prompts or size.prompts)
        drawn = prompts * self.draw.samples
        forward = 0 if self.loss in REFERENCE_FREE else 2 * prompts
        return Cost(drawn=drawn, scored=drawn, trained=2 * self.epochs * prompts, forward=forward)


def open_rounds(spec: DPOIter, parts: Parts) -> Rounds[PairBatch]:
    """The rounds at their beginning. Raises `UserError` where the testbed has no prompts."""
    prompts = parts.prompts()
    count = spec.prompts or len(prompts)  # of a round
    reward, price = parts.needed_reward(), spec.draw.samples
    plan = Plan(
        rounds=parts.run.labels.cap_rounds(spec.rounds, prompts=count, reward=reward, price=price),
        epochs=spec.epochs,
        batch_size=spec.batch_size,
        draw=partial(draw_round, spec, parts, prompts, count),
        read=partial(read_round, spec, parts.policy),
        barren="no pair: every prompt's samples score the same. "
        "Draw more samples a prompt, or start from a policy that is right at times.",
    )
    return Rounds(parts.run, plan)


def draw_round(spec: DPOIter, parts: Parts, prompts: list[Prompt], count: int, number: int) -> dict[str, Any]:
    """A round's pairs from the policy as it is, and what it says of them: it is their reference."""
    asked = asked_prompts(parts, prompts, number, count, spec.draw.samples)
    pairs = draw_pairs(spec.draw, parts, parts.policy, asked, name=f"round-{number:04d}")
    drawn: dict[str, Any] = {"pairs": [from_preference(pair) for pair in pairs]}
    if not pairs or spec.loss in REFERENCE_FREE:
        return drawn
    data = collate_pairs(pairs, parts.policy.encode, limit=spec.max_completion_tokens)
    data = with_reference(parts, parts.policy, data)
    assert data.reference_chosen is not None and data.reference_rejected is not None
    return drawn | {
        "reference_chosen": data.reference_chosen.tolist(),
        "reference_rejected": data.reference_rejected.tolist(),
    }


def read_round(spec: DPOIter, policy: LanguageModel, drawn: dict[str, Any]) -> PairBatch | None:
    """A round's pairs as ids, with their reference where the loss has one; None where there is no pair."""
    if not drawn["pairs"]:
        return None
    pairs = [to_preference(row) for row in drawn["pairs"]]
    data = collate_pairs(pairs, policy.encode, limit=spec.max_completion_tokens)
    if spec.loss in REFERENCE_FREE:
        return data
    chosen, rejected = torch.tensor(drawn["reference_chosen"]), torch.tensor(drawn["reference_rejected"])
    return replace(data, reference_chosen=chosen, reference_rejected=rejected)
