"""Defines the settings of a contest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from preflab.contest.contestant import Entrant
from preflab.evaluation.preference.spec import JudgeSettings
from preflab.sampling.base import Decoding
from preflab.testbeds import TESTBEDS
from preflab.testbeds.base import TestbedSpec


@dataclass(frozen=True)
class Contest:
    """The settings of a contest. prompts: the number of prompts that are drawn from the test split with `seed`. decoding:
    the sampling settings with which models generate their answers. labels: a file with people's labels of judged pairs,
    or the directory of a contest that people judged. agreement: the files of labelled pairs on which the judge is
    checked."""

    contestants: Sequence[Entrant]
    testbed: TestbedSpec
    judge: JudgeSettings
    prompts: int = 100
    seed: int = 0
    decoding: Decoding = field(default_factory=Decoding)
    labels: Path | None = None
    agreement: Sequence[Path] = ()
    device: str = "cpu"

    @property
    def seeds(self) -> int:
        """The number of seeds of the contestant that has the most seeds."""
        return max(len(contestant.members) for contestant in self.contestants)

    @property
    def pairs(self) -> list[tuple[Entrant, Entrant]]:
        """All pairs of contestants."""
        return list(combinations(self.contestants, 2))

    def dump(self) -> dict[str, Any]:
        """Returns the settings that are saved with a result, as a JSON-compatible dictionary."""
        return {
            "testbed": TESTBEDS.dump(self.testbed),
            "judge": self.judge.model_dump(mode="json"),
            "decoding": self.decoding.model_dump(mode="json"),
            "prompts": self.prompts,
            "seed": self.seed,
        }
