"""What the evaluation of a policy measured, as `result.json` stores it. Does not import torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import model_validator

from preflab.evaluation.settings import DecodingChoice
from preflab.train.sealed import Stored


class ProblemScores(Stored, frozen=True):
    """One problem. `scores`: the score of each answer. `measures`: the values of the evaluators' measures, by name."""

    level: str = ""
    scores: list[float]
    measures: dict[str, float] = {}


class SplitSummary(Stored, frozen=True):
    """The measures of a policy's answers at one decoding, each problem by its id, and the number of answers with each
    outcome."""

    measures: dict[str, float]
    problems: dict[str, ProblemScores]
    outcomes: dict[str, int] = {}

    @model_validator(mode="after")
    def _has_a_score(self) -> Self:
        if "score" not in self.measures:
            raise ValueError("`measures` has no `score`")
        return self

    @property
    def score(self) -> float:
        """The mean score of all answers."""
        return self.measures["score"]

    def with_measures(self, added: Mapping[str, float]) -> Self:
        """Returns a copy that also has these measures of the whole split."""
        return self.model_copy(update={"measures": {**self.measures, **added}})


class Divergence(Stored, frozen=True):
    """KL(policy || start) per response in nats, how it was estimated, and the policy's entropy per token. A number is None
    if it was not measured."""

    estimate: float | None
    estimator: str
    entropy: float | None = None


class UnitSummary(SplitSummary, frozen=True):
    """The measures at temperature 1, and the KL along the same answers."""

    kl: Divergence


class AnsweredBy(Stored, frozen=True):
    """How the policy answered. `n`: the number of samples from which an answer was selected. `tokens_an_answer`: the mean
    number of tokens that one answer needs; None in the results of older versions."""

    n: int
    selector: str = ""
    tokens_an_answer: float | None = None


class ShownAnswer(Stored, frozen=True):
    """A problem's first answer, for the report. `drawn`: the ids of its tokens."""

    problem: str
    prompt: str
    level: str
    text: str
    truncated: bool
    drawn: Any = None
    score: float
    outcome: str
    passed: list[bool]
    detail: dict[str, Any]


class TemperatureChoice(Stored, frozen=True):
    """The temperature at which the policy answers. `validation`: the score on the validation split by temperature.
    `validation_by_problem`: the scores of each validation problem at the best temperature. The file contains them only if
    the policy was not measured on the test split."""

    temperature: float
    validation: dict[str, float] = {}
    validation_by_problem: dict[str, float] = {}


class Measurements(TemperatureChoice, frozen=True):
    """What was measured on the test split. `chosen`: the measures at the chosen temperature. `unit`: those at temperature
    1. `elsewhere`: the measures that have their own items instead of prompts; each maps items to values."""

    elsewhere: dict[str, dict[str, float]] = {}
    inference: AnsweredBy
    chosen: SplitSummary
    unit: UnitSummary
    samples: list[ShownAnswer]

    def at(self, decoding: DecodingChoice) -> SplitSummary:
        """Returns the measures at one of the two decodings."""
        return self.chosen if decoding == "chosen" else self.unit
