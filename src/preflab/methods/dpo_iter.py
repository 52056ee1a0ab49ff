"""Iterative DPO: sample -> label -> pair -> DPO, and the newest policy is the next round's reference.

SafeRLHF: the samples are labelled by a learned reward, 4 rounds (paper, Section 3). APPS: 5 samples a prompt, labelled
by the tests, a data-set solution as chosen where no sample is right (Section 6).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch

from preflab.batch import PairBatch, collate_pairs
from preflab.errors import UserError
from preflab.methods.base import Count, CountOrAll, Parts
from preflab.methods.dpo import PairLoss, pair_terms, with_reference
from preflab.methods.pairs import Draw, draw_pairs
from preflab.models.lm import LanguageModel
from preflab.train.learner import Optim
from preflab.types import from_preference, to_preference


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
        rounds = Rounds(self, parts)
        terms = partial(pair_terms, policy, self.objective(), self.sft_coefficient)
        state = {"policy": learner, "rounds": rounds}
        for _ in run.steps(rounds.share, state, policy=policy, validate=parts.validate):
            # 1. A new round: pairs from the newest policy, which becomes their reference.
            if rounds.finished() and not rounds.begin():
                run.log({"round": rounds.number, "pairs": 0})
                continue
            # 2. One DPO update on the step's pairs.
            batch = rounds.next_batch()
            update = learner.step(batch, terms, count=len(batch), progress=run.progress)
            run.log({**update, "round": rounds.number, "pairs": rounds.size})
        return policy


class Rounds:
    """Which round it is and which of its updates is next. A round's pairs are journalled: a resumed run reads them."""

    def __init__(self, spec: DPOIter, parts: Parts) -> None:
        self.spec = spec
        self.parts = parts
        self.prompts = list(parts.testbed.prompts("train"))
        self.count = spec.prompts or len(self.prompts)  # of a round
        self.rounds = parts.run.times(spec.rounds, self.count * spec.draw.samples, parts.needed_reward())
        self.number = -1
        self.update = 0
        self.updates = 0
        self.fruitful = False  # whether any round had pairs
        self.data: PairBatch | None = None

    @property
    def size(self) -> int:
        return len(self.data) if self.data is not None else 0

    def share(self, step: int) -> float:
        """The share of the rounds that is done (used without a compute budget)."""
        within = self.update / self.updates if self.updates else 1.0
        return (self.number + within) / self.rounds

    def finished(self) -> bool:
        return self.update >= self.updates

    def begin(self) -> bool:
        """The next round; False where its samples give no pair, as when the policy is right everywhere.

        Raises `UserError` where no round gave any, after as many as the spec has.
        """
        self.number += 1
        self.update = 0
        found = self._load()
        self.fruitful |= found
        if not self.fruitful and self.number + 1 >= self.rounds:
            raise UserError(
                f"{self.rounds} rounds of samples gave no pair: every prompt's samples score the same. "
                "Draw more samples a prompt, or start from a policy that is right at times."
            )
        return found

    def next_batch(self) -> PairBatch:
        """The next update's pairs: shuffled passes over the round's."""
        assert self.data is not None
        size, batch = len(self.data), self.spec.batch_size
        per_pass = -(-size // batch)
        order = self.parts.run.shuffled(size, "round", self.number, "pass", self.update // per_pass)
        place = self.update % per_pass
        self.update += 1
        return self.data.select(order[place * batch : (place + 1) * batch])

    def _load(self) -> bool:
        found = self.parts.run.replay(f"round-{self.number:04d}", self._draw)
        if not found["pairs"]:
            self.updates = 0
            return False
        policy, limit = self.parts.policy, self.spec.max_completion_tokens
        data = collate_pairs([to_preference(row) for row in found["pairs"]], policy.encode, limit=limit)
        references = torch.tensor(found["reference_chosen"]), torch.tensor(found["reference_rejected"])
        self.data = replace(data, reference_chosen=references[0], reference_rejected=references[1])
        self.updates = self.spec.epochs * -(-len(data) // self.spec.batch_size)
        return True

    def _draw(self) -> dict[str, Any]:
        run, policy = self.parts.run, self.parts.policy
        count = run.affordable(self.count, self.spec.draw.samples, self.parts.needed_reward())
        prompts = [self.prompts[i] for i in run.stream(self.number, len(self.prompts), self.count)[:count]]
        pairs = draw_pairs(self.spec.draw, self.parts, policy, prompts, name=f"round-{self.number:04d}")
        if not pairs:
            return {"pairs": []}
        data = collate_pairs(pairs, policy.encode, limit=self.spec.max_completion_tokens)
        data = with_reference(self.parts, policy, data)
        assert data.reference_chosen is not None and data.reference_rejected is not None
        return {
            "pairs": [from_preference(pair) for pair in pairs],
            "reference_chosen": data.reference_chosen.tolist(),
            "reference_rejected": data.reference_rejected.tolist(),
        }

    def state_dict(self) -> dict[str, Any]:
        return {"number": self.number, "update": self.update, "fruitful": self.fruitful}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.number, self.update, self.fruitful = state["number"], state["update"], state["fruitful"]
        if self.number >= 0:
            self._load()
