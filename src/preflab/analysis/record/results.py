"""The record of a study's measurements and decisions: the content of `results.json` and the only input of every report.

The record contains final numbers (estimates with their intervals) and no raw data. All fields except `timing` depend
only on specs and seeds. Repeating a study therefore gives the same bytes in these fields. A field is None if its value
is unknown or does not apply, and reports show None as a dash. A number that is not finite (such as the loss of a
diverged run) is stored as None.
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
    """The name of the model or of the testbed in the study file."""
    description: str = ""
    """One or two sentences for a reader who does not know the model or the testbed."""
    notices: tuple[str, ...] = ()
    """Properties that limit the validity of the study's results, e.g. 'already preference-tuned, dequantised from 4
    bit'."""
    language: str = ""
    """The Pygments name of the programming language in which the testbed's answers are written; '' if the answers are
    text."""


class EvaluatorResult(Record):
    """A description of one evaluator that measured the arms, and measures of its reliability."""

    name: str
    """The evaluator's name in the study file."""
    description: str = ""
    """A description of the evaluator and, for a trained evaluator, of its training data."""
    accuracy: Interval | None = None
    """The accuracy of a learned evaluator on held-out pairs. If the evaluator consists of a reward model and a cost
    model, this field contains the accuracy of the reward model."""
    cost_accuracy: Interval | None = None
    """The accuracy of the evaluator's cost model on held-out pairs."""
    sign_accuracy: Interval | None = None
    """For a cost model: the share of answers in held-out pairs for which the sign of the cost agrees with the safety
    label."""
    agreement: Interval | None = None
    """How often this evaluator and the study's main evaluator rank two arms in the same order on a problem, at
    temperature 1. Ties by the main evaluator are left out. A tie by this evaluator counts as one half, so random
    guessing gives one half. The interval is over seeds."""
    can_rank: bool = True
    """False if the interval of `accuracy` or of `cost_accuracy` contains values of one half or less. The report then
    decides nothing from the evaluator's scores."""

    @property
    def doubtful(self) -> Interval | None:
        """The first of the intervals `accuracy` and `cost_accuracy` that has a lower end of at most one half. None if
        neither interval has such a lower end."""
        known = (self.accuracy, self.cost_accuracy)
        return next((each for each in known if each is not None and each.low is not None and each.low <= 0.5), None)


class SharedBudget(Record):
    """The budget of the study, which is equal for all arms."""

    binding: Literal["labels", "compute", "none"]
    """The unit of the budget that is equal for all arms: 'labels' (labels or reward calls) or 'compute' (FLOP). 'none'
    means that no budget is equal, because each arm has a fixed number of steps."""
    amount: Number = None
    """The largest amount that each arm is allowed to use: a number of labels or a number of FLOP."""
    note: str = ""
    """A sentence about the costs that are charged to each arm, and the costs that all arms share."""


class Comparison(Interval):
    """The difference of two arms (`first` minus `second`), paired by seed and problem, with its interval. Comparisons
    that belong together, such as the comparisons of all pairs of arms, form a family. The intervals of a family are
    simultaneous."""

    first: str
    """Name of the first arm."""
    second: str
    """Name of the second arm."""
    metric: str = ""
    """Name of a `Measure`."""
    decoding: DecodingChoice = "chosen"
    """The sampling temperature of the answers that were measured: 'chosen' or 'unit' (temperature 1)."""
    p_value: Number = None
    """The p-value of the difference, adjusted for the number of comparisons."""
    verdict: ComparisonVerdict = "not decided"
    """'better': the whole interval is above `margin`. 'worse': the whole interval is below -`margin`. 'not decided': any
    other interval, or no interval."""
    margin: float = 0.0
    """The smallest difference that matters in practice, 0 or more."""
    family: float = 1.0
    """The number of comparisons for which the interval and the p-value are adjusted."""
    named: bool = True
    """True if this comparison was declared before the study ran. False if the study declared no comparisons. All pairs of
    arms are then compared."""

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
    """The record of the pairwise evaluator."""
    measure: Measure
    """The measure whose value is the mean outcome, e.g. the win rate."""
    first: str
    """Name of the first arm."""
    second: str
    """Name of the second arm; 'data:chosen' for the preferred answers of the data."""
    win_rate: Interval
    """The first arm's mean outcome over seeds and problems. A win has the outcome 1, a tie one half, and a loss 0."""
    ties: Number = None
    """The share of ties."""
    shares: dict[str, Interval] = Field(default_factory=dict[str, Interval])
    """The shares of the first arm's wins, ties and losses, with the keys `win`, `tie` and `loss`. If a preference judge
    compared the answers, the key `unreadable` has the share of unreadable verdicts. Each share has a separate 95%
    interval. Empty in results of older preflab versions."""
    length: LengthControl | None = None
    """The length-controlled win rate. The intervals of the length-controlled win rates of all pairs of the evaluator are
    simultaneous. None if the lengths of the answers are unknown, because a run diverged or an older preflab version
    compared the answers."""
    p_value: Number = None
    """The p-value of the difference between `win_rate` and one half, adjusted for the number of pairs (`family`)."""
    family: float = 1.0
    """The number of comparisons for which the interval and the p-value are adjusted: the number of pairs that the
    evaluator compared."""
    verdict: ComparisonVerdict = "not decided"
    """'better': the whole interval of `win_rate` is above one half. 'worse': the whole interval is below one half. 'not
    decided': the interval contains one half, or the evaluator is not shown to be better than chance."""
    notes: tuple[str, ...] = ()
    """Sentences about the judge's replies: unreadable verdicts, disagreements between the two orders of a pair, and the
    position bias."""


class StudyVerdict(Record):
    """The answer to the question that the study asks (`Results.question`), for one decoding setting (such as greedy, or
    sampling at temperature 1)."""

    sentence: str
    """The verdict as one sentence with numbers."""
    winner: str | None = None
    """The winning arm; None if no arm won."""
    tied: tuple[str, ...] = ()
    """The arms and baselines that do not differ significantly from the best arm. Empty if an arm won, if a baseline is
    better than the best arm, or if no arm solved any problem."""
    preliminary: bool = False
    """True if a comparison of the best arm has fewer than five seeds."""
    holds_under_other_budget: Literal["yes", "no", "unknown"] = "unknown"
    """Whether the winner would also win if the other budget were equal for all arms. In a study that gives all arms the
    same number of labels, the other budget is compute. In a study that gives all arms the same compute, the other
    budget is labels. 'unknown': the study did not measure this."""
    other_budget: str = ""
    """An explanation of the value of `holds_under_other_budget`, in one or two sentences."""
    method: str = ""
    """The statistical method behind the verdict: the test, the confidence level and the correction for multiple
    comparisons."""
    evidence: tuple[Comparison, ...] = ()
    """The comparisons that support the verdict. They compare the arm with the highest mean with every other arm and every
    baseline, and each arm with its starting baselines."""


class TuningResult(Record):
    """The trials of the tuning stage, and notes on the chosen settings."""

    note: str = ""
    """A sentence about the way the settings were tuned, or about the source of settings that were not tuned."""
    metric: str = ""
    """The name of the metric in `TuningTrial.score`."""
    trials: tuple[TuningTrial, ...] = ()
    """All trials, including those that were not chosen."""
    within_noise: tuple[str, ...] = ()
    """One phrase for each arm whose choice is uncertain, because other settings scored at most two standard errors below
    the chosen settings."""
    at_edge: tuple[str, ...] = ()
    """One sentence for each chosen value that is the smallest or the largest of the tried values. A better value
    possibly lies outside the tried range."""


class Answer(Record):
    """One arm's answer to a prompt, and the evaluator's judgement of this answer."""

    arm: str
    """Name of the arm."""
    text: str
    """The text of the answer."""
    score: Number = None
    """The evaluator's score."""
    outcome: str = ""
    """'passed', or the reason why the program in the answer did not pass; '' if no program was executed."""
    passed: tuple[bool, ...] = ()
    """One boolean for each test, in the order of the tests: True if the answer passed the test."""
    detail: str = ""
    """The first failing test as readable text: its input, the expected output and the actual output."""
    truncated: bool = False
    """True if the answer reached the length limit."""


class Sample(Record):
    """One prompt, and each arm's answer to the prompt. All answers come from runs with the same seed and have the same
    sample number."""

    problem: str
    """The id of the prompt."""
    prompt: str
    """The prompt as readable text."""
    level: str = ""
    """The difficulty level of the prompt."""
    seed: int | None = None
    """The seed of the runs that answered the prompt."""
    answers: tuple[Answer, ...] = ()
    """One answer for each arm, in the order of the arms."""


class Timing(Record):
    """The time and memory of one run. If a study is repeated, the new results differ from the old results only in these
    records."""

    arm: str
    """Name of the arm."""
    seed: int
    """The study's seed."""
    wall_seconds: Number = None
    """The wall-clock seconds of the run, summed over the first start and all resumptions. The stages that the run needs
    are not included."""
    peak_memory: Number = None
    """The peak memory of the run, in bytes."""


class Results(Record):
    """The measurements and decisions of a study."""

    schema_version: Literal[2] = 2
    """The version of this schema. The version increases when the meaning of a field changes."""
    study: str
    """The study's name."""
    question: str
    """The question that the study asks."""
    model: Subject
    """The model from which all arms start."""
    testbed: Subject
    """The testbed (the task)."""
    evaluators: tuple[EvaluatorResult, ...] = ()
    """The evaluators that measured the arms. No arm was trained on an evaluator."""
    budget: SharedBudget
    """The budget that was equal for all arms."""
    seeds: tuple[int, ...]
    """The seeds of the study's runs. The tuning stage used other seeds."""
    metrics: tuple[Measure, ...]
    """All metrics, in the order of the columns in the report's table."""
    headline: str
    """The name of the metric that decides the study."""
    decodings: dict[DecodingChoice, str] = {"chosen": "At the chosen temperature"}
    """The decoding settings for which the study decides its verdict and claims. Maps each setting to a phrase that can
    begin a sentence, such as 'With greedy decoding'. The numbers in the report's table are measured with the setting
    'chosen'."""
    score: str = ""
    """The name of the metric that the training curves and the reward-KL plot show. It is the first metric of the
    evaluator that measures the headline metric."""
    levels: tuple[str, ...] = ()
    """The difficulty levels of the problems, from the easiest to the hardest."""
    arms: tuple[ArmResult, ...]
    """The arms, in the order of the report's tables. The position of an arm determines its colour in the figures."""
    comparisons: tuple[Comparison, ...] = ()
    """The paired differences between arms, the most important comparison first."""
    pairwise: tuple[PairwiseResult, ...] = ()
    """The pairs of arms whose answers a pairwise evaluator compared."""
    claims: tuple[DecidedClaim, ...] = ()
    """The claims that were declared before the study ran, with their outcomes, in the order of the study file. The
    intervals of all claims are simultaneous."""
    paper: PaperTable | None = None
    """Results from a published paper, measured on other models."""
    collapse_rule: str = ""
    """The definition of a collapsed run, as one sentence; '' if the study does not define collapse."""
    sweep: Sweep | None = None
    """The factor that the study varies; None if it varies no factor."""
    reward_models: tuple[RewardModelResult, ...] = ()
    """The reward models that the study trained."""
    verdict: StudyVerdict
    """The study's answer to its question at the chosen temperature (the first entry of `decodings`)."""
    unit_verdict: StudyVerdict | None = None
    """The study's answer to its question at temperature 1; None if `decodings` has only one entry."""
    tuning: TuningResult = TuningResult()
    """The trials and the notes of the tuning stage."""
    samples: tuple[Sample, ...] = ()
    """Prompts with example answers for readers; empty if the licence of the data forbids redistribution."""
    unrewarded: tuple[str, ...] = ()
    """One sentence for each arm that never received a reward during training."""
    caveats: tuple[str, ...] = ()
    """Sentences about limits of the study's conclusions."""
    versions: dict[str, str] = Field(default_factory=dict[str, str])
    """Versions of the packages and of the platform, and the revision of preflab."""
    command: str = ""
    """The command that repeats the study."""
    looks: str = ""
    """A sentence that names the interim look at which the study stopped; '' if the study looks at its results only
    once."""
    unfinished: str = ""
    """The missing arms and seeds, and the command that continues the study; '' if the study is finished."""
    timing: tuple[Timing, ...] = ()
    """The wall-clock seconds and the peak memory of each run."""

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
        """Maps each decoding setting of the study to the study's verdict for this setting. The settings are 'chosen'
        (the chosen temperature) and 'unit' (temperature 1)."""
        first = next(iter(self.decodings))
        return {first: self.verdict} if self.unit_verdict is None else {first: self.verdict, "unit": self.unit_verdict}

    def without_samples(self) -> Results:
        """Returns a copy of the results without the texts of prompts and answers, for data with a licence that forbids
        redistribution."""
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
    """Reads the results from a `results.json`. Raises `UserError` if the file is missing or invalid. The message names
    the file and, for an invalid file, the faulty field."""
    try:
        data = parse_json(path.read_bytes(), f"{path} cannot be read")
    except FileNotFoundError as error:
        raise UserError(f"There is no {path}. Finish the study in this folder first.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}. Run the study again to rebuild it.") from error
    return parse_spec(Results, data, where=str(path))


def dump_results(results: Results) -> str:
    """Returns the text of `results.json`. Equal results give equal text."""
    return json.dumps(results.model_dump(mode="json"), indent=1, allow_nan=False) + "\n"
