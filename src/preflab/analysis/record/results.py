"""The record of what a study measured and decided: the content of `results.json` and the only input of every report.

The record holds finished numbers (estimates with their intervals), never raw data that a report would have to analyse.
Everything in the record except `timing` is a function of specs and seeds, so that the same study gives the same bytes. A
field whose value may be absent is optional: None means "unknown" or "does not apply" and is shown as a dash. A number that
is not finite (the loss of a diverged run) is stored as None.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from preflab.analysis.record.arm import ArmResult
from preflab.analysis.record.base import Interval, Number, Record
from preflab.analysis.record.declared import DecidedClaim, PaperTable, Sweep, TuningTrial
from preflab.analysis.record.reward_model import RewardModelResult
from preflab.errors import UserError
from preflab.evaluation.measure import Measure
from preflab.plain import parse_json
from preflab.spec import parse_spec

ComparisonVerdict = Literal["better", "worse", "not decided"]


class Subject(Record):
    """The model or the testbed of a study, described in words."""

    name: str
    """The name in the study file."""
    description: str = ""
    """One or two sentences for a reader who does not know the model or the testbed."""
    notices: tuple[str, ...] = ()
    """What a reader must know before believing a number, e.g. 'already preference-tuned, dequantised from 4 bit'."""
    language: str = ""
    """The programming language of the testbed's answers, by its name in Pygments; '' if the answers are text."""


class EvaluatorResult(Record):
    """One evaluator that measured the arms."""

    name: str
    """The evaluator's name in the study file."""
    description: str = ""
    """What the evaluator is and, if it was trained, on which data."""
    accuracy: Interval | None = None
    """A learned evaluator's accuracy on held-out pairs."""
    can_rank: bool = True
    """False if the evaluator's accuracy interval is not wholly above one half. Then its scores may not decide anything."""


class SharedBudget(Record):
    """The binding budget of the study, equal for all arms."""

    binding: Literal["labels", "compute", "none"]
    """Which budget was equalised: labels or reward calls, or compute (FLOP). none: each arm ran its own number of steps."""
    amount: Number = None
    """How much an arm may use: a number of labels, or of FLOP."""
    note: str = ""
    """What is charged and what is shared."""


class Comparison(Interval):
    """The difference `first` minus `second`, paired by seed and problem, with its interval. The intervals of all comparisons
    of a family hold at once."""

    first: str
    """Name of the first arm."""
    second: str
    """Name of the second arm."""
    metric: str = ""
    """Name of a `Measure`."""
    p_value: Number = None
    """The p-value, adjusted for the number of comparisons."""
    verdict: ComparisonVerdict = "not decided"
    """The first arm is better or worse than the second by more than `margin`, or the interval does not decide which."""
    margin: float = 0.0
    """A difference worth having, 0 or more."""
    family: float = 1.0
    """The number of comparisons for which interval and p-value are adjusted."""
    named: bool = True
    """Whether the comparison was named before the study ran. If not, every pair of arms was compared."""

    @property
    def decided(self) -> bool:
        return self.verdict != "not decided"

    @property
    def difference(self) -> float:
        assert self.estimate is not None
        return self.estimate


class PairwiseResult(Record):
    """Two arms' answers to the same prompts, compared by a pairwise evaluator."""

    name: str
    """The evaluator's name in the study file."""
    evaluator: EvaluatorResult
    """The evaluator."""
    measure: Measure
    """The measure that describes the mean outcome: its name and how to read it."""
    first: str
    """Name of the first arm."""
    second: str
    """Name of the second arm."""
    win_rate: Interval
    """The first arm's mean outcome over seeds and problems. A win counts 1, a tie one half, a loss 0."""
    ties: Number = None
    """The share of ties."""
    p_value: Number = None
    """The p-value of the difference from one half, adjusted for the number of the evaluator's pairs."""
    family: float = 1.0
    """The number of pairs for which interval and p-value are adjusted."""
    verdict: ComparisonVerdict = "not decided"
    """'better' if the first arm's interval lies above one half, 'worse' if it lies below one half."""


class StudyVerdict(Record):
    """The answer to the study's question."""

    sentence: str
    """The answer in one sentence, numbers included."""
    winner: str | None = None
    """The winning arm; None if no arm won."""
    tied: tuple[str, ...] = ()
    """The arms that cannot be told apart from the best arm, without the best arm itself."""
    preliminary: bool = False
    """Whether the verdict rests on fewer than five seeds."""
    holds_under_other_budget: Literal["yes", "no", "unknown"] = "unknown"
    """Whether the verdict would stay the same if the other budget had been equalised."""
    other_budget: str = ""
    """Why the verdict would or would not stay the same, in one or two sentences."""
    method: str = ""
    """How the verdict was decided: the test, the level, the correction for many comparisons."""
    evidence: tuple[Comparison, ...] = ()
    """Comparisons behind the sentence: the leader against each other arm, arms against the baselines they started from."""


class TuningResult(Record):
    """The tuning stage."""

    note: str = ""
    """How the tuning was done, or where the shipped values come from."""
    metric: str = ""
    """Which metric `TuningTrial.score` holds."""
    trials: tuple[TuningTrial, ...] = ()
    """All trials, including the rejected trials."""
    at_edge: tuple[str, ...] = ()
    """One sentence for each chosen value that is the smallest or the largest value tried: a better value may lie beyond."""


class Answer(Record):
    """What one arm answered."""

    arm: str
    """Name of the arm."""
    text: str
    """The completion."""
    score: Number = None
    """The evaluator's score."""
    outcome: str = ""
    """'passed', or why the answer did not pass; '' if nothing was run."""
    passed: tuple[bool, ...] = ()
    """For each test, in order, whether the answer passed."""
    detail: str = ""
    """The first failing test, for people to read: input, expected, got."""
    truncated: bool = False
    """Whether the answer hit the length limit."""


class Sample(Record):
    """One prompt and each arm's answer to the prompt. All answers have the same seed and the same place in the draw."""

    problem: str
    """Id of the prompt."""
    prompt: str
    """The prompt, for people to read."""
    level: str = ""
    """The difficulty level of the prompt."""
    seed: int | None = None
    """The study's seed: the models of this seed answered."""
    answers: tuple[Answer, ...] = ()
    """One answer per arm, in the order of the arms."""


class Timing(Record):
    """What one run cost on the machine that ran it. Identical studies differ in their timing alone."""

    arm: str
    """Name of the arm."""
    seed: int
    """The study's seed."""
    wall_seconds: Number = None
    """Seconds of the run itself, summed over all its starts."""
    peak_memory: Number = None
    """The most memory that the run used, in bytes."""


class Results(Record):
    """What a study measured and decided."""

    schema_version: Literal[2] = 2
    """The version of this schema. It goes up when a field changes its meaning."""
    study: str
    """The study's name."""
    question: str
    """The question that the study asks."""
    model: Subject
    """The model that all arms start from."""
    testbed: Subject
    """The task."""
    evaluators: tuple[EvaluatorResult, ...] = ()
    """The evaluators that measured the arms. No arm was trained on an evaluator."""
    budget: SharedBudget
    """What was equal for all arms."""
    seeds: tuple[int, ...]
    """The seeds of the report. None of these seeds was used for tuning."""
    metrics: tuple[Measure, ...]
    """All metrics, in the order of the table's columns."""
    headline: str
    """Name of the metric that decides the study."""
    score: str = ""
    """Name of the metric that curves and frontier show: the first metric of the evaluator that measures the headline."""
    levels: tuple[str, ...] = ()
    """Difficulty levels, easiest first."""
    arms: tuple[ArmResult, ...]
    """The arms, in the order of the tables. An arm's place in this order gives its colour."""
    comparisons: tuple[Comparison, ...] = ()
    """Paired differences, the most important first."""
    pairwise: tuple[PairwiseResult, ...] = ()
    """The pairs of arms whose answers a pairwise evaluator compared."""
    claims: tuple[DecidedClaim, ...] = ()
    """The hypotheses named before the study ran, in the order of the study file. All claims are one family."""
    paper: PaperTable | None = None
    """The paper's figures, measured on other models."""
    sweep: Sweep | None = None
    """The factor that the study varies; None if it varies no factor."""
    reward_models: tuple[RewardModelResult, ...] = ()
    """The reward models that the study trained."""
    verdict: StudyVerdict
    """The study's answer to its question."""
    tuning: TuningResult = TuningResult()
    """How the settings were chosen."""
    samples: tuple[Sample, ...] = ()
    """Answers for people to read; empty if the data may not be passed on."""
    unrewarded: tuple[str, ...] = ()
    """One sentence for each arm that never saw a reward during training."""
    caveats: tuple[str, ...] = ()
    """What limits the answer, in the reader's words."""
    versions: dict[str, str] = Field(default_factory=dict[str, str])
    """Package, revision and platform versions."""
    command: str = ""
    """The command that repeats the study."""
    unfinished: str = ""
    """Which arms and seeds are missing, and the command that continues the study; '' if the study is finished."""
    timing: tuple[Timing, ...] = ()
    """Seconds and memory of the runs."""

    @model_validator(mode="after")
    def _refers_to_what_exists(self) -> Results:
        known = _unique("arm", (arm.name for arm in self.arms))
        metrics = _unique("metric", (metric.name for metric in self.metrics))
        pairs = [*self.comparisons, *self.verdict.evidence]
        named = [name for pair in pairs for name in (pair.first, pair.second)] + list(self.verdict.tied)
        named += [arm for line in (self.sweep.series.values() if self.sweep else ()) for arm in line if arm is not None]
        named += [arm for row in self.claims if row.outcome != "not measured" for arm in row.claim.contrast]
        named += [timing.arm for timing in self.timing]
        named += [arm for pair in self.pairwise for arm in (pair.first, pair.second)]
        named += [answer.arm for sample in self.samples for answer in sample.answers]
        named += [self.verdict.winner] if self.verdict.winner is not None else []
        _all_known("arm", named, known)
        measured = [measure.metric for arm in self.arms for measure in arm.measures]
        _all_known("metric", [self.headline, *measured, *(pair.metric for pair in pairs)], metrics)
        return self

    def without_samples(self) -> Results:
        """Returns a copy of the results without any text of a prompt or an answer, for data that may not be passed on."""
        return self.model_copy(update={"samples": ()})


def _unique(noun: str, names: Iterable[str]) -> set[str]:
    unique: set[str] = set()
    for name in names:
        if name in unique:
            raise ValueError(f"two {noun}s are called {name!r}")
        unique.add(name)
    return unique


def _all_known(noun: str, names: Iterable[str], known: set[str]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"there is no {noun} {name!r} among {sorted(known)}")


def read_results(path: Path) -> Results:
    """Reads the results from a `results.json`. If the file is missing or wrong, raises `UserError`, which names the file and
    the wrong field."""
    try:
        data = parse_json(path.read_bytes(), f"{path} cannot be read")
    except FileNotFoundError as error:
        raise UserError(f"There is no {path}: the study has not been finished there.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}. Run the study again to rebuild it.") from error
    return parse_spec(Results, data, where=str(path))


def dump_results(results: Results) -> str:
    """Returns the text of `results.json`. The same results give the same bytes."""
    return json.dumps(results.model_dump(mode="json"), indent=1, allow_nan=False) + "\n"
