"""Defines the content of `result.json`. A run or a match writes this file at its end, and all later steps read it. Does
not import torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, model_validator

from preflab.arm.spec import Arm, Job
from preflab.evaluation.result import Measurements, TemperatureChoice
from preflab.methods.spec import SCORERS
from preflab.train.finished import AnyResult
from preflab.train.sealed import Stored


class Counts(Stored, frozen=True):
    """The compute, the labels and the tokens that a run used, as its `Meter` counted them."""

    flops: float
    labels: float
    sampled_tokens: float
    forward_tokens: float
    trained_tokens: float

    @classmethod
    def total(cls, counts: Iterable[Counts]) -> Counts:
        """Returns the sum of the counts of several runs."""
        rows = list(counts)
        return cls(
            flops=sum(row.flops for row in rows),
            labels=sum(row.labels for row in rows),
            sampled_tokens=sum(row.sampled_tokens for row in rows),
            forward_tokens=sum(row.forward_tokens for row in rows),
            trained_tokens=sum(row.trained_tokens for row in rows),
        )


class KeptCheckpoint(Stored, frozen=True):
    """The checkpoint that a run kept. `done`: the number of evaluations on the validation split during training.
    `best_score` and `best_step`: the score and the step of this checkpoint; None and 0 if there was no evaluation."""

    done: int
    best_score: float | None
    best_step: int


class PlateauEnding(Stored, frozen=True):
    """Describes the end of a run that has a `plateau` setting. `stale`: the number of evaluations since the best score.
    `updates`: the number of updates of the policy before the last evaluation. `cooling_from`: the progress of the run
    (0 to 1) at which the cooldown of the learning rate began; None before the cooldown. `reached`: whether the
    validation score reached a plateau."""

    stale: int
    updates: int
    cooling_from: float | None
    reached: bool


class HeldOutMeasures(Stored, frozen=True, extra="allow"):
    """The measurements that were made on the held-out data of one split, by the name of the measure."""

    @property
    def numbers(self) -> dict[str, float]:
        """The measurements of type `float`, by name. Leaves out counts, which are integers, and bins."""
        return {name: value for name, value in self.as_data().items() if isinstance(value, float)}


class StatedBin(Stored, frozen=True):
    """A bin of pairs. For each pair, the two scores of a scorer imply a probability that the scorer orders the pair
    correctly. These probabilities are similar within a bin. `stated`: the mean of these probabilities. `right`: the
    fraction of the pairs that the scorer orders correctly. `count`: the number of pairs."""

    stated: float
    right: float
    count: int


class GapBin(Stored, frozen=True):
    """A bin of pairs in which the difference of the two scores is between `low` and `high`. `accuracy`: the fraction of
    the pairs that the scorer orders correctly. `count`: the number of pairs."""

    low: float
    high: float
    accuracy: float
    count: int


class PairMeasures(HeldOutMeasures, frozen=True, extra="allow"):
    """How well a scorer orders the held-out pairs of one split. A field has its default value if it was not measured,
    or if an older version of preflab wrote the result."""

    pairs: int | None = None
    accuracy: float
    loss: float
    calibration_error: float
    sign_accuracy: float | None = None
    score_mean: float | None = None
    score_std: float | None = None
    reliability: list[StatedBin] = []
    by_margin: list[GapBin] = []


def _none_if_empty(value: Any) -> Any:
    return value or None


class TrainedResult(AnyResult, frozen=True):
    """The result of a run that trained or measured a model. `evaluation`: the measurements of the evaluators.
    `held_out` and `validation`: the measurements without an evaluator, on the data of the test split and on the data of
    the validation split. `parameters`: the size of the model; None for a served policy, whose size is not known. A run
    that diverged has no `best` and no measurements."""

    name: str
    seed: int
    method: str
    product: str
    parameters: int | None
    notices: list[str] = []
    data_notes: list[str] = []
    counts: Counts
    charged: float = 0.0
    best: KeptCheckpoint | None = None
    ending: PlateauEnding | None = None
    last: dict[str, Any] = {}
    evaluation: TemperatureChoice | None = None
    held_out: HeldOutMeasures | None = None
    validation: HeldOutMeasures | None = None

    @model_validator(mode="after")
    def _keeps_a_checkpoint(self) -> Self:
        if self.diverged is None and self.best is None:
            raise ValueError("`best` is missing, although the run did not diverge")
        return self


class MeasuredResult(TrainedResult, frozen=True):
    """The result of a run whose policy is measured on the test split."""

    evaluation: Measurements | None = None


class ScorerResult(TrainedResult, frozen=True):
    """The result of a run that trained a reward model or a cost model."""

    held_out: Annotated[PairMeasures | None, BeforeValidator(_none_if_empty)] = None
    validation: Annotated[PairMeasures | None, BeforeValidator(_none_if_empty)] = None


def result_class(job: Job) -> type[TrainedResult]:
    """Returns the class that represents the result of a run of this job."""
    if job.method is not None and job.method.product in SCORERS:
        return ScorerResult
    return MeasuredResult if isinstance(job, Arm) and job.measure == "test" else TrainedResult


class PlayedPrompt(Stored, frozen=True):
    """The outcomes of a match on one prompt, from the point of view of `first`. `length_difference`: the mean length of
    the answers of `first` minus the mean length of the answers of `second`, in characters. None if the lengths are not
    known."""

    outcomes: list[float]
    length_difference: float | None = None


class MatchResult(AnyResult, frozen=True):
    """The result of a match. `diverged_arms`: the arms that diverged and therefore have no answers. `left_out`: the
    number of prompts that were left out because the data have no chosen answer. `details`: further data about the
    comparison from the pairwise evaluator."""

    name: str
    seed: int
    first: str
    second: str
    diverged_arms: list[str]
    problems: dict[str, PlayedPrompt]
    left_out: int = 0
    details: dict[str, Any] = {}
