"""The record of a study's measurements and decisions: the content of `results.json` and the only input of every report.

The record contains final numbers (estimates with their intervals) and no raw data. Everything except `timing` depends
only on specs and seeds, so that repeating a study gives the same bytes. None in a field means "unknown" or "does not
apply"; reports show it as a dash. A number that is not finite (the loss of a diverged run) is stored as None.
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
from preflab.analysis.record.length import LengthControl
from preflab.analysis.record.reward_model import RewardModelResult
from preflab.errors import UserError
from preflab.evaluation.measure import Measure
from preflab.evaluation.pairwise import DATA_CHOSEN
from preflab.evaluation.settings import DecodingChoice
from preflab.plain import parse_json
from preflab.spec import parse_spec

ComparisonVerdict = Literal["better", "worse", "not decided"]


class Subject(Record):
    """A description of the model or the testbed of a study."""

    name: str
    """The name of the model or testbed in the study file."""
    description: str = ""
    """One or two sentences for a reader who does not know the model or the testbed."""
    notices: tuple[str, ...] = ()
    """Properties that limit how far the study's numbers can be trusted, e.g. 'already preference-tuned, dequantised
    from 4 bit'."""
    language: str = ""
    """The programming language of the testbed's answers, as Pygments names it; '' if the answers are text."""


class EvaluatorResult(Record):
    """One evaluator that measured the arms."""

    name: str
    """The evaluator's name in the study file."""
    description: str = ""
    """A description of the evaluator and of its training data, if it was trained."""
    accuracy: Interval | None = None
    """The accuracy of a learned evaluator on held-out pairs. If it has a reward model and a cost model, this is the
    accuracy of the reward model."""
    cost_accuracy: Interval | None = None
    """The accuracy of the evaluator's cost model on held-out pairs."""
    sign_accuracy: Interval | None = None
    """The share of the answers (in held-out pairs) whose cost has the sign of the answer's safety label."""
    agreement: Interval | None = None
    """How often the evaluator orders two arms' answers to a problem as the study's main evaluator does, at temperature
    1, over the pairs of arms and the problems that the main evaluator does not score equally. A tie counts one half,
    so guessing gives one half. The interval is over seeds."""
    can_rank: bool = True
    """False if the interval of `accuracy` or of `cost_accuracy` is not wholly above one half. The report then decides
    nothing by the evaluator's scores."""

    @property
    def doubtful(self) -> Interval | None:
        """The first of `accuracy` and `cost_accuracy` whose interval is not wholly above one half."""
        known = (self.accuracy, self.cost_accuracy)
        return next((each for each in known if each is not None and each.low is not None and each.low <= 0.5), None)


class SharedBudget(Record):
    """The budget of the study, which is equal for all arms."""

    binding: Literal["labels", "compute", "none"]
    """The budget that is equal for all arms: 'labels' (labels or reward calls) or 'compute' (FLOP). 'none': each arm
    ran its own number of steps."""
    amount: Number = None
    """The amount that an arm may use: a number of labels or of FLOP."""
    note: str = ""
    """Which costs are charged to an arm, and which costs are shared."""


class Comparison(Interval):
    """The difference `first` minus `second`, paired by seed and problem, with its interval. The intervals of all
    comparisons of a family are simultaneous."""

    first: str
    """Name of the first arm."""
    second: str
    """Name of the second arm."""
    metric: str = ""
    """Name of a `Measure`."""
    decoding: DecodingChoice = "chosen"
    """The decoding of the answers that were measured."""
    p_value: Number = None
    """The p-value of the difference, adjusted for the number of comparisons."""
    verdict: ComparisonVerdict = "not decided"
    """'better' or 'worse' if the first arm is better or worse than the second by more than `margin`; otherwise 'not
    decided'."""
    margin: float = 0.0
    """The smallest difference that matters in practice, 0 or more."""
    family: float = 1.0
    """The number of comparisons for which the interval and the p-value are adjusted."""
    named: bool = True
    """True if the comparison was declared before the study ran. If False, every pair of arms was compared."""

    @property
    def decided(self) -> bool:
        return self.verdict != "not decided"

    @property
    def difference(self) -> float:
        assert self.estimate is not None
        return self.estimate


class PairwiseResult(Record):
    """The result of a pairwise evaluator that compared the answers of two arms to the same prompts, or the answers of
    an arm with the preferred answers of the data."""

    name: str
    """The evaluator's name in the study file."""
    evaluator: EvaluatorResult
    """The description of the evaluator."""
    measure: Measure
    """The name of the mean outcome, and how to read it."""
    first: str
    """Name of the first arm."""
    second: str
    """Name of the second arm; 'data:chosen' for the preferred answers of the data."""
    win_rate: Interval
    """The first arm's mean outcome over seeds and problems. The outcome of a win is 1, of a tie one half, and of a loss
    0."""
    ties: Number = None
    """The share of ties."""
    shares: dict[str, Interval] = Field(default_factory=dict[str, Interval])
    """The shares of wins, ties and losses of the first arm, under `win`, `tie` and `loss`, and of unreadable verdicts,
    under `unreadable`, if a preference judge replied. Each has its own 95% interval. Empty in the results of an older
    version."""
    length: LengthControl | None = None
    """The length-controlled win rate. The intervals of `rate` of all pairs of the evaluator are simultaneous. None if the
    lengths of the answers are not known: a run diverged, or an older version compared the answers."""
    p_value: Number = None
    """The p-value of the difference from one half, adjusted for the number of the evaluator's pairs."""
    family: float = 1.0
    """The number of pairs for which the interval and the p-value are adjusted."""
    verdict: ComparisonVerdict = "not decided"
    """'better' or 'worse' if the interval of `win_rate` is above or below one half; otherwise 'not decided'."""
    notes: tuple[str, ...] = ()
    """Sentences about the judge's replies: unreadable verdicts, disagreement between the orders, position bias."""


class StudyVerdict(Record):
    """The answer to the study's question at one decoding."""

    sentence: str
    """The verdict as one sentence with numbers."""
    winner: str | None = None
    """The winning arm; None if no arm won."""
    tied: tuple[str, ...] = ()
    """The other arms that do not differ significantly from the best arm."""
    preliminary: bool = False
    """True if the study has fewer than five seeds."""
    holds_under_other_budget: Literal["yes", "no", "unknown"] = "unknown"
    """Whether the verdict would be the same if the other budget had been equal for all arms."""
    other_budget: str = ""
    """The reason for `holds_under_other_budget`, in one or two sentences."""
    method: str = ""
    """How the verdict was decided: the statistical test, the confidence level and the correction for multiple
    comparisons."""
    evidence: tuple[Comparison, ...] = ()
    """The comparisons that support the verdict: the leader against every other arm, and arms against the baselines that
    they started from."""


class TuningResult(Record):
    """The trials and the choices of the tuning stage."""

    note: str = ""
    """How the settings were tuned, or where the given values come from."""
    metric: str = ""
    """The name of the metric in `TuningTrial.score`."""
    trials: tuple[TuningTrial, ...] = ()
    """All trials, including those that were not chosen."""
    within_noise: tuple[str, ...] = ()
    """A phrase for each arm for which other settings scored at most two standard errors below the chosen settings."""
    at_edge: tuple[str, ...] = ()
    """One sentence for each chosen value that is the smallest or largest tried. A better value may exist outside the
    tried range."""


class Answer(Record):
    """One arm's answer to a prompt."""

    arm: str
    """Name of the arm."""
    text: str
    """The text of the answer."""
    score: Number = None
    """The evaluator's score."""
    outcome: str = ""
    """'passed', or the reason why the answer did not pass; '' if no program was executed."""
    passed: tuple[bool, ...] = ()
    """For each test, in order, True if the answer passed."""
    detail: str = ""
    """The first failing test (input, expected, got), in a form for people to read."""
    truncated: bool = False
    """True if the answer reached the length limit."""


class Sample(Record):
    """One prompt and each arm's answer to it. All answers have the same seed and the same sample number."""

    problem: str
    """Id of the prompt."""
    prompt: str
    """The text of the prompt, in a form for people to read."""
    level: str = ""
    """The difficulty level of the prompt."""
    seed: int | None = None
    """The study's seed with which the answering models were trained."""
    answers: tuple[Answer, ...] = ()
    """One answer for each arm, in the order of the arms."""


class Timing(Record):
    """The time and memory of one run. Results of identical studies differ only in their timing."""

    arm: str
    """Name of the arm."""
    seed: int
    """The study's seed."""
    wall_seconds: Number = None
    """Wall-clock seconds of the run without its stages, summed over the first start and all resumptions."""
    peak_memory: Number = None
    """The peak memory of the run, in bytes."""


class Results(Record):
    """The measurements and decisions of a study."""

    schema_version: Literal[2] = 2
    """The version of this schema. It increases when the meaning of a field changes."""
    study: str
    """The study's name."""
    question: str
    """The question that the study asks."""
    model: Subject
    """The model with which all arms start."""
    testbed: Subject
    """The testbed (the task)."""
    evaluators: tuple[EvaluatorResult, ...] = ()
    """The evaluators that measured the arms. No arm was trained on an evaluator."""
    budget: SharedBudget
    """The budget that was equal for all arms."""
    seeds: tuple[int, ...]
    """The seeds of the runs in the report. Tuning used other seeds."""
    metrics: tuple[Measure, ...]
    """All metrics, in the order of the table's columns."""
    headline: str
    """The name of the metric that decides the study."""
    decodings: dict[DecodingChoice, str] = {"chosen": "At the chosen temperature"}
    """The decodings at which the study decides. Maps each decoding to words that can begin a sentence. The numbers in
    the report's table are measured at the first decoding."""
    score: str = ""
    """The name of the metric in the training curves and the reward-KL plot: the first metric of the evaluator that
    measures the headline."""
    levels: tuple[str, ...] = ()
    """The difficulty levels, easiest first."""
    arms: tuple[ArmResult, ...]
    """The arms, in the order of the tables. An arm's position in this order determines its colour."""
    comparisons: tuple[Comparison, ...] = ()
    """Paired differences, the most important first."""
    pairwise: tuple[PairwiseResult, ...] = ()
    """The pairs of arms whose answers a pairwise evaluator compared."""
    claims: tuple[DecidedClaim, ...] = ()
    """The claims declared before the study ran, in the order of the study file. All claims are one family."""
    paper: PaperTable | None = None
    """Results from the paper, measured on other models."""
    collapse_rule: str = ""
    """When a run has collapsed, as one sentence; '' if the study does not say."""
    sweep: Sweep | None = None
    """The factor that the study varies; None if it varies no factor."""
    reward_models: tuple[RewardModelResult, ...] = ()
    """The reward models that the study trained."""
    verdict: StudyVerdict
    """The study's answer to its question at the first decoding."""
    unit_verdict: StudyVerdict | None = None
    """The answer at temperature 1; None if the study decides at one decoding only."""
    tuning: TuningResult = TuningResult()
    """The tuning of the settings."""
    samples: tuple[Sample, ...] = ()
    """Example answers for people to read; empty if the data may not be redistributed."""
    unrewarded: tuple[str, ...] = ()
    """One sentence for each arm that never received a reward during training."""
    caveats: tuple[str, ...] = ()
    """Sentences that say what limits the study's answer."""
    versions: dict[str, str] = Field(default_factory=dict[str, str])
    """Versions of the packages and of the platform, and the revision of preflab."""
    command: str = ""
    """The command that repeats the study."""
    looks: str = ""
    """The look at which the study stopped, in words, if the study looks at its results several times; otherwise ''."""
    unfinished: str = ""
    """The missing arms and seeds, and the command that continues the study; '' if the study is finished."""
    timing: tuple[Timing, ...] = ()
    """Seconds and memory of the runs."""

    @model_validator(mode="after")
    def _refers_to_what_exists(self) -> Results:
        known = _unique("arm", (arm.name for arm in self.arms))
        metrics = _unique("metric", (metric.name for metric in self.metrics))
        verdicts = list(self.verdicts.values())
        pairs = [*self.comparisons, *(pair for verdict in verdicts for pair in verdict.evidence)]
        named = [name for pair in pairs for name in (pair.first, pair.second)]
        named += [name for verdict in verdicts for name in (*verdict.tied, verdict.winner) if name is not None]
        named += [arm for line in (self.sweep.series.values() if self.sweep else ()) for arm in line if arm is not None]
        named += [arm for row in self.claims if row.outcome != "not measured" for arm in row.claim.contrast]
        named += [timing.arm for timing in self.timing]
        named += [arm for pair in self.pairwise for arm in (pair.first, pair.second) if arm != DATA_CHOSEN]
        named += [answer.arm for sample in self.samples for answer in sample.answers]
        _all_known("arm", named, known)
        measured = [measure.metric for arm in self.arms for measure in arm.measures]
        _all_known("metric", [self.headline, *measured, *(pair.metric for pair in pairs)], metrics)
        return self

    @property
    def verdicts(self) -> dict[DecodingChoice, StudyVerdict]:
        """The study's answer at each decoding at which it decides."""
        first = next(iter(self.decodings))
        return {first: self.verdict} if self.unit_verdict is None else {first: self.verdict, "unit": self.unit_verdict}

    def without_samples(self) -> Results:
        """Returns a copy of the results without the texts of prompts and answers, for data that may not be
        redistributed."""
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
    """Reads the results from a `results.json`. Raises `UserError`, which names the file and the faulty field, if the
    file is missing or invalid."""
    try:
        data = parse_json(path.read_bytes(), f"{path} cannot be read")
    except FileNotFoundError as error:
        raise UserError(f"There is no {path}. Finish the study in this folder first.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}. Run the study again to rebuild it.") from error
    return parse_spec(Results, data, where=str(path))


def dump_results(results: Results) -> str:
    """Returns the text of `results.json`. The same results give the same bytes."""
    return json.dumps(results.model_dump(mode="json"), indent=1, allow_nan=False) + "\n"
