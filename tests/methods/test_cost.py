"""What each method says that it costs, against what it does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.methods.toy import COLOURS, Scored, opened, untrained

from preflab.batch import PairBatch, RankedBatch
from preflab.methods import METHODS
from preflab.methods.cost import Cost, DataSize
from preflab.sampling.base import Samples
from preflab.sampling.native import Native
from preflab.spec import Context
from preflab.train.learner import Learner

SIZE = DataSize(prompts=len(COLOURS), demonstrations=len(COLOURS), pairs=len(COLOURS))
DECODING = {"max_new_tokens": 3}
ON_POLICY = {"steps": 2, "rollouts": 8, "mini_batches": 2, "epochs": 2, "decoding": DECODING}
DRAW = {"samples": 3, "rule": "best-worst", "decoding": DECODING}
EXACT: dict[str, dict[str, Any]] = {
    "sft": {"epochs": 2, "batch_size": 4},
    "pairs": {"draw": DRAW},
    "rankings": {"samples": 3, "demonstration": True, "decoding": DECODING},
    "rm": {"epochs": 2, "batch_size": 4, "pairs": 6},
    "dpo": {"epochs": 2, "batch_size": 4},
    "kto": {"epochs": 2, "batch_size": 4},
    "rrhf": {"epochs": 2, "batch_size": 4},
    "pro": {"epochs": 2, "batch_size": 4},
    "best-of-n": {},
    "ppo": ON_POLICY,
    "grpo": {**ON_POLICY, "group": 4},
    "rloo": {**ON_POLICY, "group": 4},
    "reinforce++": ON_POLICY,
    "remax": ON_POLICY,
    "raft": {**ON_POLICY, "group": 4},
}
"""Methods whose statement is exact; the others state at most what they may take."""
BOUNDED: dict[str, dict[str, Any]] = {
    "dpo-iter": {"rounds": 2, "draw": DRAW, "batch_size": 4},
    "online-dpo": {"steps": 2, "prompts": 4, "draw": DRAW, "batch_size": 4},
    "expert-iteration": {"rounds": 2, "samples": 4, "most": 2, "right": 0.0, "epochs": 1, "decoding": DECODING},
}


class Counted:
    """Counts a run's work, at the sampler, the reward and the learners."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.drawn = self.scored = 0
        self.trained: dict[int, int] = {}
        step = Learner.step

        def counted(learner: Learner, batch: Any, *rest: Any, **more: Any) -> Any:
            rows = len(batch) * (2 if isinstance(batch, PairBatch) else 1)
            rows = len(batch.candidates) if isinstance(batch, RankedBatch) else rows
            self.trained[id(learner)] = self.trained.get(id(learner), 0) + rows
            return step(learner, batch, *rest, **more)

        monkeypatch.setattr(Learner, "step", counted)

    def sample(self, sampler: Any) -> Any:
        sample = sampler.sample

        def counted(policy: Any, prompts: Sequence[Any], **more: Any) -> Samples:
            self.drawn += len(prompts)
            return sample(policy, prompts, **more)

        sampler.sample = counted
        return sampler

    def reward(self, text: str) -> float:
        self.scored += 1
        return float(len(text))


def run(kind: str, settings: dict[str, Any], directory: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Cost, Counted]:
    method, counted = METHODS.parse({"kind": kind, **settings}), Counted(monkeypatch)
    with Native().open(Context()) as sampler:
        changes = {"sampler": counted.sample(sampler), "reward": Scored(counted.reward)}
        with opened(directory, untrained(), **changes) as parts:
            method.train(parts)
    return method.cost(SIZE), counted


@pytest.mark.parametrize("kind", EXACT)
def test_a_stated_cost_is_what_is_done(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects `--plan`: the answers drawn and scored, and the rows that policy and critic were trained on."""
    cost, counted = run(kind, EXACT[kind], tmp_path, monkeypatch)
    assert (counted.drawn, counted.scored) == (cost.drawn, cost.scored)
    assert sum(counted.trained.values()) == cost.trained + cost.critic_trained


@pytest.mark.parametrize("kind", BOUNDED)
def test_a_stated_bound_holds(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects `--plan` where ties and wrong answers give less to learn from: draws are exact, trained rows at most as stated
    and not a tenth of it."""
    cost, counted = run(kind, BOUNDED[kind], tmp_path, monkeypatch)
    assert (counted.drawn, counted.scored) == (cost.drawn, cost.scored)
    assert cost.trained / 10 < sum(counted.trained.values()) <= cost.trained


def test_a_thousand_prompts() -> None:
    """Rankings of 4 samples draw 1,000 x 4 = 4,000 answers; expert iteration 2 rounds x 1,000 x 32 = 64,000, and trains on
    2 rounds x 1,000 x 10 answers x 3 epochs = 60,000 rows at most; best-of-4 trains nothing and takes 4 answers for each."""
    size = DataSize(prompts=1000, demonstrations=1000, pairs=0)
    assert METHODS.parse("rankings").cost(size) == Cost(drawn=4000, scored=4000)
    assert METHODS.parse("expert-iteration").cost(size) == Cost(drawn=64_000, scored=64_000, trained=60_000)
    best = METHODS.parse("best-of-n")
    assert best.cost(size) == Cost() and best.inference().n == 4


def test_every_method_states_its_cost() -> None:
    """Protects from a method that the plan takes for free: all are tested here but the average of weights."""
    assert {*EXACT, *BOUNDED, "warm"} == set(METHODS.names())
