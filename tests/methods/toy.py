"""A task that a tiny model learns in seconds, and the live parts of a run on it."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from preflab.methods.base import Parts
from preflab.models import tiny
from preflab.models.lm import LanguageModel
from preflab.models.spec import TinyShape
from preflab.rewards.base import Reward
from preflab.sampling.native import Native
from preflab.spec import Context
from preflab.testbeds.base import Testbed
from preflab.train.loop import open_run
from preflab.train.settings import Keeping
from preflab.types import Completion, Demonstration, Preference, Prompt, Split, Turn

COLOURS = ("red", "green", "blue", "black", "white", "pink", "grey", "gold")
SHAPE = TinyShape(width=32, inner=32, layers=1, heads=2, context=32, words=("say", "good", "bad", *COLOURS))


class Toy(Testbed):
    """ "say red" is answered by "red"; the next colour is the wrong answer. The same in every split."""

    name = "toy"

    def prompts(self, split: Split) -> list[Prompt]:
        return [Prompt(f"say-{colour}", (Turn("user", f"say {colour}"),)) for colour in COLOURS]

    def demonstrations(self, split: Split) -> list[Demonstration]:
        return [
            Demonstration(prompt, Completion(colour))
            for prompt, colour in zip(self.prompts(split), COLOURS, strict=True)
        ]

    def preferences(self, split: Split) -> list[Preference]:
        wrong = [*COLOURS[1:], COLOURS[0]]
        return [
            Preference(prompt, Completion(right), Completion(other))
            for prompt, right, other in zip(self.prompts(split), COLOURS, wrong, strict=True)
        ]


class Judged(Toy):
    """The toy's pairs with safety labels: the right answer is safe, and the wrong one is not."""

    def preferences(self, split: Split) -> list[Preference]:
        return [replace(pair, chosen_safe=True, rejected_safe=False) for pair in super().preferences(split)]


class Scored(Reward):
    """A function as a reward, with the mean score of each call."""

    deterministic = True

    def __init__(self, function: Callable[[str], float]) -> None:
        self.function = function
        self.means: list[float] = []

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[float]:
        scores = [self.function(completion.text) for completion in completions]
        self.means.append(sum(scores) / len(scores))
        return scores


@contextmanager
def opened(directory: Path, policy: LanguageModel, *, budget: Any = None, **changes: Any) -> Generator[Parts]:
    """The parts of a run in `directory` on the toy task."""
    testbed = changes.pop("testbed", Toy())
    keeping = Keeping(progress=False, checkpoint_seconds=1e9)
    with (
        open_run(directory, {"spec": {}}, seed=1, budget=budget, keeping=keeping) as run,
        Native().open(Context()) as sampler,
    ):
        fields: dict[str, Any] = {
            "run": run,
            "policy": policy,
            "testbed": testbed,
            "preferences": partial(testbed.preferences, "train"),
            "validate": None,
            "sampler": sampler,
            "token_budget": 24,
        }
        yield Parts(**{**fields, **changes})


def read(directory: Path) -> list[dict[str, Any]]:
    """The metrics of a run, a record a step."""
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def untrained() -> LanguageModel:
    """A model of the task's words, the same each time."""
    return tiny.make_tiny(SHAPE, seed=0)
