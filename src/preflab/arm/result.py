"""The content of `result.json`, which a run or a match writes at its end, and which all later steps read. Does not import
torch."""

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
    """The checkpoint that the run kept, and the number of evaluations on the validation split. `best_score`: None if there
    was no evaluation."""

    done: int
    best_score: float | None
    best_step: int


class PlateauEnding(Stored, frozen=True):
    """How a run ended that was to end at a plateau of its validation score. `reached`: whether there was a plateau."""

    stale: int
    updates: int
    cooling_from: float | None
    reached: bool


class HeldOutMeasures(Stored, frozen=True, extra="allow"):
    """Measurements on held-out data of one split, by name."""

    @property
    def numbers(self) -> dict[str, float]:
        """The measures that are numbers with a fraction, by name: neither counts nor bins."""
        return {name: value for name, value in self.as_data().items() if isinstance(value, float)}


class StatedBin(Stored, frozen=True):
    """Pairs of which a scorer states similar probabilities. `right`: the share that the scorer orders correctly."""

    stated: float
    right: float
    count: int


class GapBin(Stored, frozen=True):
    """Pairs whose scores differ by between `low` and `high`, and the share that the scorer orders correctly."""

    low: float
    high: float
    accuracy: float
    count: int


class PairMeasures(HeldOutMeasures, frozen=True, extra="allow"):
    """How well a scorer orders the held-out pairs of one split. The fields with defaults are absent in the results of older
    versions, or if they were not measured."""

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
    """The result of a run that trained or measured a model. `evaluation`: what evaluators measured. `held_out`,
    `validation`: what was measured on the held-out data of the test split and of the validation split. A run that diverged
    has no `best`, and no measurements."""

    name: str
    seed: int
    method: str
    product: str
    parameters: int
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
    """Returns the class of the result of a job's run."""
    if job.method is not None and job.method.product in SCORERS:
        return ScorerResult
    return MeasuredResult if isinstance(job, Arm) and job.measure == "test" else TrainedResult


class PlayedPrompt(Stored, frozen=True):
    """The outcomes on one prompt from the first side's point of view. `length_difference`: the mean length of the first
    side's answers minus that of the second side's, in characters; None if it is not known."""

    outcomes: list[float]
    length_difference: float | None = None


class MatchResult(AnyResult, frozen=True):
    """The result of a match. `diverged_arms`: the sides without answers. `left_out`: the number of prompts without a chosen
    answer in the data. `details`: what the pairwise evaluator says about the comparison, as plain data."""

    name: str
    seed: int
    first: str
    second: str
    diverged_arms: list[str]
    problems: dict[str, PlayedPrompt]
    left_out: int = 0
    details: dict[str, Any] = {}
