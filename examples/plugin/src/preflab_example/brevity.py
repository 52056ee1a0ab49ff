"""The reward `brevity`: an answer of at most `target` words scores 0, and each further word subtracts `penalty`."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from preflab.meter import Meter
from preflab.rewards.base import Reward, RewardSpec
from preflab.spec import Context
from preflab.types import Completion, Prompt


class Brevity(RewardSpec):
    """The settings. preflab checks them when it reads a run file, and shows them in the report."""

    kind: Literal["brevity"] = "brevity"
    target: int = Field(default=20, ge=0)
    penalty: float = Field(default=0.1, ge=0)

    @contextmanager
    def open(self, context: Context) -> Generator[OpenBrevity]:
        """Yields the open reward. Load files here before `yield`, and close them after it."""
        yield OpenBrevity(self, context.meter)


@dataclass(frozen=True)
class OpenBrevity(Reward):
    """The open reward. It is deterministic, which is the default of the base class. Its labels are charged to `meter`."""

    spec: Brevity
    meter: Meter

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[float]:
        """Returns -penalty x max(0, words - target) for each answer."""
        self.meter.labelled(len(completions))
        return [-self.spec.penalty * max(0, len(answer.text.split()) - self.spec.target) for answer in completions]
