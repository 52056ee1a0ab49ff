"""Defines the measurements of a policy, in the form that `result.json` stores. Does not import torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import model_validator

from preflab.evaluation.settings import DecodingChoice
from preflab.train.sealed import Stored


class ProblemScores(Stored, frozen=True):
    """The measurements of one problem. `scores`: the score of each answer. `measures`: the values of the evaluators'
    measures, by name."""

    level: str = ""
    scores: list[float]
    measures: dict[str, float] = {}


class SplitSummary(Stored, frozen=True):
    """The summary of a policy's answers that were sampled at one temperature: the measures, the scores of each problem
    by the problem's id, and the number of answers with each `Verdict.outcome`."""

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
        """Returns a copy of the summary with the measures in `added` as further measures."""
        return self.model_copy(update={"measures": {**self.measures, **added}})


class Divergence(Stored, frozen=True):
    """`estimate`: KL(policy || start) per response, in nats. `estimator`: how the KL was estimated. `entropy`: the
    policy's entropy per token. A number is None if it was not measured."""

    estimate: float | None
    estimator: str
    entropy: float | None = None


class UnitSummary(SplitSummary, frozen=True):
    """The summary of the answers at temperature 1. `kl`: the KL of the policy, estimated from these answers."""

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
    """The temperature at which the policy answers. `validation`: the score on the validation split at each temperature.
    `validation_by_problem`: the score of each validation problem at the best temperature. `result.json` contains
    `validation_by_problem` only if the policy was not measured on the test split."""

    temperature: float
    validation: dict[str, float] = {}
    validation_by_problem: dict[str, float] = {}


class Measurements(TemperatureChoice, frozen=True):
    """The measurements of a policy on the test split. `chosen`: the measures at the chosen temperature. `unit`: the
    measures at temperature 1. `elsewhere`: the measures of evaluators that use their own items instead of prompts; maps
    each measure to the values of its items."""

    elsewhere: dict[str, dict[str, float]] = {}
    inference: AnsweredBy
    chosen: SplitSummary
    unit: UnitSummary
    samples: list[ShownAnswer]

    def at(self, decoding: DecodingChoice) -> SplitSummary:
        """Returns the measures at the chosen temperature ('chosen') or at temperature 1 ('unit')."""
        return self.chosen if decoding == "chosen" else self.unit
