"""What a study measured and decided, as one frozen record: the content of `results.json` and the only input of every report.

The record holds finished numbers (estimates with their intervals), never raw data that a report would have to analyse.
Everything in it except `timing` is a function of specs and seeds, so that the same study gives the same bytes. What may
be absent is optional: None means "unknown" or "does not apply" and is shown as a dash. A number that is not finite (the
loss of a diverged run) is stored as None.
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
    """The model or the testbed of a study, in words."""

    name: str
    """Its name in the study file."""
    description: str = ""
    """One or two sentences for a reader who has not seen it."""
    notices: tuple[str, ...] = ()
    """What a reader must know before believing a number, e.g. 'already preference-tuned, dequantised from 4 bit'."""
    language: str = ""
    """Of a testbed: the programming language of its answers, as Pygments calls it; '' for text."""


class EvaluatorResult(Record):
    """One of what measured the arms."""

    name: str
    """Its name in the study file."""
    description: str = ""
    """What it is and on which data it was trained, if any."""
    accuracy: Interval | None = None
    """A learned evaluator's accuracy on held-out pairs."""
    can_rank: bool = True
    """False where its accuracy interval does not exclude one half: then no arm may be called better by it."""


class SharedBudget(Record):
    """The binding budget of the study, equal for all arms; `none`: every arm ran for its own number of steps."""

    binding: Literal["labels", "compute", "none"]
    """Which budget was equalised: preference labels or reward calls, or FLOP."""
    amount: Number = None
    """What an arm may use: a count of labels, or FLOP."""
    note: str = ""
    """What is charged and what is shared."""


class Comparison(Interval):
    """The difference `first` minus `second`, paired by seed and problem, with its (simultaneous) interval."""

    first: str
    """Name of the first arm."""
    second: str
    """Name of the second arm."""
    metric: str = ""
    """Name of a `Measure`."""
    p_value: Number = None
    """Adjusted for the number of comparisons."""
    verdict: ComparisonVerdict = "not decided"
    """The first arm is better or worse than the second by more than `margin`; 'not decided' where the interval does not say."""
    margin: float = 0.0
    """A difference worth having, 0 or more."""
    family: float = 1.0
    """The number of comparisons that interval and p-value are adjusted for."""
    named: bool = True
    """Named before the study ran; otherwise every pair was compared."""

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
    """What the mean outcome is called."""
    first: str
    """Name of the first arm."""
    second: str
    """Name of the second arm."""
    win_rate: Interval
    """The first arm's mean outcome over seeds and problems: a win 1, a tie one half, a loss 0."""
    ties: Number = None
    """The share of ties."""
    p_value: Number = None
    """Of the difference from one half, adjusted for the evaluator's pairs."""
    family: float = 1.0
    """The pairs that interval and p-value are adjusted for."""
    verdict: ComparisonVerdict = "not decided"
    """The first arm is better where the interval lies above one half, worse where below."""


class StudyVerdict(Record):
    """The answer to the study's question."""

    sentence: str
    """The answer in one sentence, numbers included."""
    winner: str | None = None
    """The winning arm; None when nothing is decided."""
    tied: tuple[str, ...] = ()
    """Arms that cannot be told apart from the best one (the winner excluded)."""
    preliminary: bool = False
    """Fewer than five seeds."""
    holds_under_other_budget: Literal["yes", "no", "unknown"] = "unknown"
    """Whether the verdict would stand had the other budget been equalised."""
    other_budget: str = ""
    """Why, in one or two sentences."""
    method: str = ""
    """How it was decided: the test, the level, the correction for many comparisons."""
    evidence: tuple[Comparison, ...] = ()
    """What the sentence rests on: the leader against each other arm, and arms against the baselines they started from."""


class TuningResult(Record):
    """The tuning stage."""

    note: str = ""
    """How it was done, or where the shipped values come from."""
    metric: str = ""
    """What `TuningTrial.score` is."""
    trials: tuple[TuningTrial, ...] = ()
    """All trials, the rejected ones too."""
    at_edge: tuple[str, ...] = ()
    """Chosen values that are the smallest or the largest of those to try, a sentence each: a better one may lie beyond."""


class Answer(Record):
    """What one arm answered."""

    arm: str
    """Name of the arm."""
    text: str
    """The completion."""
    score: Number = None
    """The evaluator's score."""
    outcome: str = ""
    """'passed', or why not; '' when nothing was run."""
    passed: tuple[bool, ...] = ()
    """Which tests passed, in order."""
    detail: str = ""
    """The first failing test for people to read: input, expected, got."""
    truncated: bool = False
    """Hit the length limit."""


class Sample(Record):
    """One prompt and what each arm answered to it (same seed, same place in the draw)."""

    problem: str
    """Id of the prompt."""
    prompt: str
    """The prompt as people read it."""
    level: str = ""
    """Its difficulty level."""
    seed: int | None = None
    """The study's seed whose models answered."""
    answers: tuple[Answer, ...] = ()
    """One per arm, in the arms' order."""


class Timing(Record):
    """What one run cost on the machine at hand. The only part that differs between identical studies."""

    arm: str
    """Name of the arm."""
    seed: int
    """The study's seed."""
    wall_seconds: Number = None
    """Over all restarts, the run's own stages."""
    peak_memory: Number = None
    """Bytes."""


class Results(Record):
    """What a study measured and decided."""

    schema_version: Literal[2] = 2
    """Raised when a field changes its meaning."""
    study: str
    """The study's name."""
    question: str
    """What it asks."""
    model: Subject
    """The model that all arms start from."""
    testbed: Subject
    """The task."""
    evaluators: tuple[EvaluatorResult, ...] = ()
    """What measured the arms; none of them was trained on."""
    budget: SharedBudget
    """What was equal for all arms."""
    seeds: tuple[int, ...]
    """The seeds of the report, none of them used for tuning."""
    metrics: tuple[Measure, ...]
    """All metrics, in the order of the table's columns."""
    headline: str
    """Name of the metric that decides."""
    score: str = ""
    """Name of what curves and frontier show as score: the first metric of the evaluator that measures the headline."""
    levels: tuple[str, ...] = ()
    """Difficulty levels, easiest first."""
    arms: tuple[ArmResult, ...]
    """The contestants, in the order of the tables; an arm's place gives its colour."""
    comparisons: tuple[Comparison, ...] = ()
    """Paired differences, the most important first."""
    pairwise: tuple[PairwiseResult, ...] = ()
    """Arms whose answers a pairwise evaluator compared."""
    claims: tuple[DecidedClaim, ...] = ()
    """Hypotheses named before the study ran, in its file's order; one family."""
    paper: PaperTable | None = None
    """The paper's figures, on other models."""
    sweep: Sweep | None = None
    """The factor that the study varies, where it varies one."""
    reward_models: tuple[RewardModelResult, ...] = ()
    """The reward models that the study trained."""
    verdict: StudyVerdict
    """The answer."""
    tuning: TuningResult = TuningResult()
    """How the settings were chosen."""
    samples: tuple[Sample, ...] = ()
    """Answers to read; empty where the data may not be passed on."""
    unrewarded: tuple[str, ...] = ()
    """Arms that never saw a reward while training, a sentence each."""
    caveats: tuple[str, ...] = ()
    """What limits the answer, in the reader's words."""
    versions: dict[str, str] = Field(default_factory=dict[str, str])
    """Package, revision and platform versions."""
    command: str = ""
    """The command that repeats the study."""
    unfinished: str = ""
    """Which arms and seeds are missing and the command that goes on; '' for a finished study."""
    timing: tuple[Timing, ...] = ()
    """Clocks and memory of the runs."""

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
        """The same results with no text of a prompt or an answer, for data that may not be passed on."""
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
    """The results in a `results.json`. Raises `UserError` naming the file and the field that is wrong."""
    try:
        data = parse_json(path.read_bytes(), f"{path} cannot be read")
    except FileNotFoundError as error:
        raise UserError(f"There is no {path}: the study has not been finished there.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}. Run the study again to rebuild it.") from error
    return parse_spec(Results, data, where=str(path))


def dump_results(results: Results) -> str:
    """The text of `results.json`: the same results give the same bytes."""
    return json.dumps(results.model_dump(mode="json"), indent=1, allow_nan=False) + "\n"
