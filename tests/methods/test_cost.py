"""What each method says that it costs, against what it does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.methods.toy import COLOURS, Judged, Scored, Toy, opened, untrained

from preflab.batch import PairBatch, RankedBatch
from preflab.methods import METHODS
from preflab.methods.cost import Cost, DataSize
from preflab.methods.spec import SCORERS
from preflab.models import forward
from preflab.sampling.base import Samples
from preflab.sampling.native import Native
from preflab.spec import Context
from preflab.train.learner import Learner
from preflab.types import Rated

SIZE = DataSize(prompts=len(COLOURS), demonstrations=len(COLOURS), pairs=len(COLOURS))
DECODING = {"max_new_tokens": 3}
ON_POLICY = {"steps": 2, "rollouts": 8, "mini_batches": 2, "epochs": 2, "decoding": DECODING}
DRAW = {"samples": 3, "rule": "best-worst", "decoding": DECODING}
EXACT: dict[str, dict[str, Any]] = {
    "sft": {"epochs": 2, "batch_size": 4},
    "pairs": {"draw": DRAW},
    "rankings": {"samples": 3, "demonstration": True, "decoding": DECODING},
    "rm": {"epochs": 2, "batch_size": 4, "pairs": 6},
    "cost": {"epochs": 2, "batch_size": 4, "pairs": 6},
    "dpo": {"epochs": 2, "batch_size": 4},
    "kto": {"epochs": 2, "batch_size": 4},
    "rrhf": {"epochs": 2, "batch_size": 4},
    "pro": {"epochs": 2, "batch_size": 4},
    "best-of-n": {},
    "ppo": {**ON_POLICY, "critic_warmup": 1},
    "ppo-lag": {**ON_POLICY, "critic_warmup": 1},
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
    """Counts a run's work, at the sampler, the reward, the learners and the forward passes without a gradient."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.drawn = self.scored = self.costed = self.forward = 0
        self.trained: dict[int, int] = {}
        """By the model's id."""
        step, by_micro_batch = Learner.step, forward.by_micro_batch

        def counted_step(learner: Learner, batch: Any, *rest: Any, **more: Any) -> Any:
            rows = len(batch) * (2 if isinstance(batch, PairBatch) else 1)
            rows = len(batch.candidates) if isinstance(batch, RankedBatch) else rows
            self.trained[id(learner.model)] = self.trained.get(id(learner.model), 0) + rows
            return step(learner, batch, *rest, **more)

        def counted_forward(model: Any, function: Any, rows: Any, *rest: Any) -> Any:
            self.forward += len(rows) * (2 if isinstance(rows.select([0]), PairBatch) else 1)
            return by_micro_batch(model, function, rows, *rest)

        monkeypatch.setattr(Learner, "step", counted_step)
        monkeypatch.setattr(forward, "by_micro_batch", counted_forward)

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

    def cost(self, text: str) -> float:
        self.costed += 1
        return float(len(text))


def run(
    kind: str,
    settings: dict[str, Any],
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    size: DataSize = SIZE,
    **data: Any,
) -> tuple[Cost, Cost]:
    """What the method states, and what it does; the held-out pairs that validate a reward model are not training."""
    method, counted, policy = METHODS.parse({"kind": kind, **settings}), Counted(monkeypatch), untrained()
    stated = method.cost(size)
    with Native().open(Context()) as sampler:
        scored = {"reward": Scored(counted.reward), "cost": Scored(counted.cost)}
        changes = {"sampler": counted.sample(sampler), **scored, "testbed": Judged(), **data}
        with opened(directory, policy, **changes) as parts:
            product = method.train(parts)
            labels = parts.run.meter.used("labels")  # the test's reward charges none
    trained = product if method.product in SCORERS else policy
    own = counted.trained.pop(id(trained.model), 0)
    forward_rows = stated.forward if method.product in SCORERS else counted.forward
    critics = sum(counted.trained.values())
    made = len(product) if method.product in ("preferences", "rankings") else 0
    return stated, Cost(counted.drawn, counted.scored, own, critics, forward_rows, labels, counted.costed, made)


@pytest.mark.parametrize("kind", EXACT)
def test_a_stated_cost_is_what_is_done(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects `--plan`: the answers drawn and scored, the rows that policy and critic were trained on, and the rows that
    were read without a gradient."""
    stated, counted = run(kind, EXACT[kind], tmp_path, monkeypatch)
    assert counted == stated


def test_single_answers_are_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects `--plan` for answers with a label each: KTO's cost counted two answers for each of them, as for a pair."""
    pairs = Toy().preferences("train")
    rated = [Rated(pair.prompt, pair.chosen if i < 5 else pair.rejected, i < 5) for i, pair in enumerate(pairs)]
    size = DataSize(prompts=len(COLOURS), demonstrations=5, pairs=0, rated=len(rated))
    stated, counted = run("kto", EXACT["kto"], tmp_path, monkeypatch, size, rated=lambda: rated)
    assert counted == stated and stated.trained == 2 * len(rated)


@pytest.mark.parametrize("kind", BOUNDED)
def test_a_stated_bound_holds(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects `--plan` where ties and wrong answers give less to learn from: draws are exact, trained rows at most as stated
    and not a tenth of it."""
    stated, counted = run(kind, BOUNDED[kind], tmp_path, monkeypatch)
    assert (counted.drawn, counted.scored) == (stated.drawn, stated.scored)
    assert stated.trained / 10 < counted.trained <= stated.trained and counted.forward <= stated.forward


def test_a_thousand_prompts() -> None:
    """Rankings of 4 samples draw 1,000 x 4 = 4,000 answers; expert iteration 2 rounds x 1,000 x 32 = 64,000, and trains on
    2 rounds x 1,000 x 10 answers x 3 epochs = 60,000 rows at most; best-of-4 trains nothing and takes 4 answers for each."""
    size = DataSize(prompts=1000, demonstrations=1000, pairs=0)
    assert METHODS.parse("rankings").cost(size) == Cost(drawn=4000, scored=4000, made=1000)
    assert METHODS.parse("expert-iteration").cost(size) == Cost(drawn=64_000, scored=64_000, trained=60_000)
    best = METHODS.parse("best-of-n")
    assert best.cost(size) == Cost() and best.inference().n == 4


def test_every_method_states_its_cost() -> None:
    """Protects from a method that the plan takes for free: all are tested here but the average of weights."""
    assert {*EXACT, *BOUNDED, "warm"} == set(METHODS.names())
