"""What PPO's tests train: a model of one layer, prompts of a few words, a reward that is a function of the text."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from preflab.meter import Meter
from preflab.methods import base
from preflab.methods.base import Method, Parts
from preflab.models.lm import LanguageModel
from preflab.models.load import load_model
from preflab.models.spec import LoRA, ModelSpec, TinyShape
from preflab.rewards.base import Reward
from preflab.sampling.native import Native
from preflab.spec import Context
from preflab.testbeds.base import Testbed
from preflab.train.learner import Learner
from preflab.train.loop import Run, open_run
from preflab.train.settings import Keeping
from preflab.types import Completion, Demonstration, Preference, Prompt, Turn

WORDS = ("add", "then", "sort", "please", "good", "bad")


class Asking(Testbed):
    """A testbed of prompts of 1 to 4 words; it has no answers and no judge."""

    name = "asking"

    def __init__(self, count: int) -> None:
        self.count = count

    def prompts(self, split: str) -> list[Prompt]:
        words = [" ".join(["add", *[str(i)] * (i % 4)]) for i in range(self.count)]
        return [Prompt(f"{split}{i}", (Turn("user", text),)) for i, text in enumerate(words)]

    def demonstrations(self, split: str) -> list[Demonstration]:
        return []

    def preferences(self, split: str) -> list[Preference]:
        raise self.lacks("pairs", "train")


@dataclass
class Scorer(Reward):
    """The reward: `function` of an answer's text; each score is a label."""

    function: Callable[[str], float]
    meter: Meter
    deterministic: bool = True

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[float]:
        self.meter.labelled(len(completions))
        return [float(self.function(completion.text)) for completion in completions]


@dataclass
class Trained:
    """What a run left: the policy, the learners in the order made (actor, critic), and its metrics by step."""

    policy: LanguageModel
    directory: Path
    learners: list[Learner] = field(default_factory=list)
    meter: Meter = field(default_factory=Meter)

    @property
    def metrics(self) -> list[dict[str, float]]:
        return [json.loads(line) for line in (self.directory / "metrics.jsonl").read_text().splitlines()]


def make_model(width: int = 16, *, ends: int = 0, lora: int | None = None, seed: int = 0) -> LanguageModel:
    """`ends`: so many ids end a turn besides its own, so that a model that knows nothing ends some of its answers."""
    shape = TinyShape(width=width, inner=width, layers=1, heads=2, context=32, words=WORDS)
    lm = load_model(ModelSpec(name="tiny", tiny=shape, lora=None if lora is None else LoRA(rank=lora)), seed=seed)
    return replace(lm, end_ids=(*lm.end_ids, *range(3, 3 + ends)))


@pytest.fixture(scope="session")
def tiny() -> Callable[..., LanguageModel]:
    """`tiny(width, ends=ends, lora=rank, seed=seed)`: a fresh model, the same for the same arguments."""
    return make_model


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Trained]:
    """`train(spec, ...)`: the spec's run from start to end (or on from where its directory stands)."""
    made: list[Learner] = []

    class Watched(Learner):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            made.append(self)

    monkeypatch.setattr(base, "Learner", Watched)
    counter = iter(range(1000))

    def train(
        spec: Method,
        *,
        policy: LanguageModel | None = None,
        reward: Callable[[str], float] | None = len,
        cost: Callable[[str], float] | None = None,
        reward_model: LanguageModel | None = None,
        prompts: int = 12,
        directory: Path | None = None,
        checkpoint_seconds: float = 1e9,
        open_reward: Callable[[Run], Any] | None = None,
        token_budget: int = 512,
    ) -> Trained:
        torch.set_num_threads(1)
        made.clear()
        directory = directory or tmp_path / f"run{next(counter)}"
        keeping = Keeping(progress=False, checkpoint_seconds=checkpoint_seconds)
        with (
            open_run(directory, {"spec": {}}, seed=0, keeping=keeping) as run,
            Native().open(Context(meter=run.meter)) as sampler,
        ):
            scorer = Scorer(reward, run.meter) if reward is not None else None
            parts = Parts(
                run=run,
                policy=policy or make_model(),
                testbed=Asking(prompts),
                preferences=list,
                validate=None,
                sampler=sampler,
                reward=open_reward(run) if open_reward is not None else scorer,
                cost=Scorer(cost, run.meter) if cost is not None else None,
                reward_model=reward_model,
                token_budget=token_budget,
            )
            trained = spec.train(parts)
            assert isinstance(trained, LanguageModel)
            return Trained(trained, directory, list(made), run.meter)

    return train
