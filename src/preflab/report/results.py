"""What a study found, as one frozen record: the content of `results.json` and the only input of every report.

The record holds finished numbers (estimates with their intervals), never raw data that a report would have to analyse.
Everything in it except `timing` is a function of specs and seeds, so that the same study gives the same bytes. What may
be absent is optional: None means "unknown" or "does not apply" and is shown as a dash. A number that is not finite (the
loss of a diverged run) is stored as None.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator

from preflab.errors import UserError
from preflab.spec import parse_spec


def _finite(value: Any) -> Any:
    if isinstance(value, (str, bytes, bool)) or not hasattr(value, "__float__"):
        return value
    return value if math.isfinite(value) else None


Number = Annotated[float | None, BeforeValidator(_finite)]
Decoding = Literal["chosen", "unit"]


class Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, protected_namespaces=())


class Interval(Record):
    """An estimate with its confidence interval."""

    estimate: Number = None
    """The point estimate; None where it could not be computed."""
    low: Number = None
    """Lower end; None when there is no interval (a single seed)."""
    high: Number = None
    """Upper end."""
    df: Number = None
    """Degrees of freedom of the t quantile (Satterthwaite); None when there is none."""


class Subject(Record):
    """The model or the testbed of a study, in words."""

    name: str
    """Its name in the study file."""
    description: str = ""
    """One or two sentences for a reader who has not seen it."""
    notices: tuple[str, ...] = ()
    """What a reader must know before believing a number, e.g. 'already preference-tuned, dequantised from 4 bit'."""


class Metric(Record):
    """How a measured quantity is called and read."""

    name: str
    """Key in every `metrics` mapping and in `Measure.metric`, e.g. 'pass@1', 'kl'."""
    label: str
    """What the report calls it."""
    share: bool = False
    """A share of one (shown in percent)."""
    better: Literal["higher", "lower", "neither"] = "neither"
    """Which direction is an improvement."""
    note: str = ""
    """How it is measured: estimator, samples per problem, what it must not be read as."""


class Evaluator(Record):
    """What measured the headline metric."""

    name: str
    """Its name in the study file."""
    description: str = ""
    """What it is and on which data it was trained, if any."""
    accuracy: Interval | None = None
    """A learned evaluator's accuracy on held-out pairs."""
    can_rank: bool = True
    """False where its accuracy interval does not exclude one half: then no arm may be called better by it."""


class Budget(Record):
    """The binding budget of the study, equal for all arms."""

    binding: Literal["labels", "compute"]
    """Which budget was equalised: preference labels or reward calls, or FLOP."""
    amount: Number = None
    """What an arm may use: a count of labels, or FLOP."""
    note: str = ""
    """What is charged and what is shared."""


class Spent(Record):
    """What one arm used under one seed, shared stages included. None: unknown (trained elsewhere)."""

    labels: Number = None
    """Preference labels used, from data or from a reward."""
    reward_calls: Number = None
    """Calls of the reward."""
    flops: Number = None
    """2N per forward or sampled token, 6N per trained token, all models charged."""
    sampled_tokens: Number = None
    """Tokens drawn by the sampler."""
    trained_tokens: Number = None
    """Tokens that went through a backward pass."""


class Point(Record):
    """One point of a training curve."""

    step: int
    """Optimizer step of the arm's own stage."""
    labels: Number = None
    """Labels or reward calls used so far."""
    flops: Number = None
    """FLOP used so far, shared stages included."""
    tokens: Number = None
    """Trained tokens so far."""
    metrics: dict[str, Number] = Field(default_factory=dict[str, Number])
    """Values at this step by name, e.g. 'validation', 'reward', 'kl', 'loss'."""


class FrontierPoint(Record):
    """How far one checkpoint went from the SFT model, and what that bought."""

    step: int
    """Checkpoint step."""
    kl: Number
    """KL to the SFT model, in nats per response."""
    score: Number
    """Headline metric or reward at this checkpoint."""
    bound: bool = False
    """`kl` is an upper bound (best-of-n's closed form), not an estimate."""


class Run(Record):
    """One arm under one seed: where every number of the arm traces to."""

    seed: int
    """The study's seed; runs of the same seed are paired."""
    directory: str
    """Run directory, relative to the study's directory."""
    metrics: dict[str, Number] = Field(default_factory=dict[str, Number])
    """Test metrics at the chosen temperature."""
    metrics_unit: dict[str, Number] = Field(default_factory=dict[str, Number])
    """Test metrics at temperature 1."""
    spent: Spent = Spent()
    """Budget used."""
    temperature: float | None = None
    """Sampling temperature chosen on validation."""
    checkpoint: int | None = None
    """Step of the checkpoint chosen on validation."""
    diverged: bool = False
    """Training diverged: an outcome, counted and not dropped."""
    note: str = ""
    """Anything that happened to this run, e.g. 'killed for memory at step 40'."""
    curve: tuple[Point, ...] = ()
    """Training curve, by step."""
    frontier: tuple[FrontierPoint, ...] = ()
    """Reward-KL frontier, by step."""


class Measure(Record):
    """One metric of one arm over all seeds and problems."""

    metric: str
    """Name of a `Metric`."""
    value: Interval
    """Estimate with interval."""
    level: str = ""
    """Difficulty level, '' for all problems."""
    decoding: Decoding = "chosen"
    """At the temperature chosen on validation, or at temperature 1."""


class Difference(Record):
    """A setting that differs from the method's default."""

    field: str
    """Dotted name in the spec."""
    default: JsonValue = None
    """The method's default; None where there is none."""
    value: JsonValue
    """The study's value."""


class Arm(Record):
    """One contestant."""

    name: str
    """Unique within the study."""
    method: str
    """The method's kind, e.g. 'ppo'; 'policy' for one trained elsewhere."""
    description: str = ""
    """One sentence for the reader."""
    baseline: bool = False
    """A starting point rather than a contestant (the SFT model itself)."""
    origin: str = ""
    """Where a policy trained elsewhere came from; '' when trained by this study."""
    inference_cost: float = 1.0
    """Samples drawn for each answer: n for best-of-n."""
    differences: tuple[Difference, ...] = ()
    """The spec as a diff against the defaults."""
    measures: tuple[Measure, ...] = ()
    """Metrics with intervals: overall and per level, at both decodings."""
    runs: tuple[Run, ...] = ()
    """One per seed."""


class Comparison(Record):
    """Arm `a` minus arm `b`, paired by seed and problem."""

    a: str
    """Name of the first arm."""
    b: str
    """Name of the second arm."""
    metric: str
    """Name of a `Metric`."""
    difference: Interval
    """a minus b, with its (simultaneous) interval."""
    p_value: Number = None
    """Adjusted for the number of comparisons."""
    outcome: Literal["a", "b", "undecided"]
    """Which arm is better; 'undecided' where the interval covers zero."""
    preliminary: bool = False
    """Fewer than five seeds."""
    named: bool = True
    """Named before the study ran; otherwise every pair was compared."""


class Verdict(Record):
    """The answer to the study's question."""

    sentence: str
    """The answer in one sentence, numbers included."""
    winner: str | None = None
    """The winning arm; None when nothing is decided."""
    tied: tuple[str, ...] = ()
    """Arms that cannot be told from the best one (the winner excluded)."""
    preliminary: bool = False
    """Fewer than five seeds."""
    holds_under_other_budget: Literal["yes", "no", "unknown"] = "unknown"
    """Whether the verdict would stand had the other budget been equalised."""
    other_budget: str = ""
    """Why, in one or two sentences."""
    method: str = ""
    """How it was decided: the test, the level, the correction for many comparisons."""


class Trial(Record):
    """One setting tried in the tuning stage."""

    arm: str
    """Name of the arm."""
    settings: dict[str, JsonValue]
    """The tuned fields."""
    seed: int
    """A tuning seed: not among the study's."""
    score: Number = None
    """Validation score; None when the trial diverged."""
    chosen: bool = False
    """The study uses these settings."""
    directory: str = ""
    """Run directory, relative to the study's directory."""


class Tuning(Record):
    """The tuning stage."""

    note: str = ""
    """How it was done, or where the shipped values come from."""
    metric: str = ""
    """What `Trial.score` is."""
    trials: tuple[Trial, ...] = ()
    """All trials, the rejected ones too."""


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
    """What a study found."""

    schema_version: Literal[1] = 1
    """Raised when a field changes its meaning."""
    study: str
    """The study's name."""
    question: str
    """What it asks."""
    model: Subject
    """The model that all arms start from."""
    testbed: Subject
    """The task."""
    evaluators: tuple[Evaluator, ...] = ()
    """What measured the arms; none of them was trained on."""
    budget: Budget
    """What was equal for all arms."""
    seeds: tuple[int, ...]
    """The seeds of the report, none of them used for tuning."""
    metrics: tuple[Metric, ...]
    """All metrics, in the order of the table's columns."""
    headline: str
    """Name of the metric that decides."""
    levels: tuple[str, ...] = ()
    """Difficulty levels, easiest first."""
    arms: tuple[Arm, ...]
    """The contestants, in the order of the tables; an arm's place gives its colour."""
    comparisons: tuple[Comparison, ...] = ()
    """Paired differences, the most important first."""
    verdict: Verdict
    """The answer."""
    tuning: Tuning = Tuning()
    """How the settings were chosen."""
    samples: tuple[Sample, ...] = ()
    """Answers to read; empty where the data may not be passed on."""
    caveats: tuple[str, ...] = ()
    """What limits the answer, in the reader's words."""
    versions: dict[str, str] = Field(default_factory=dict[str, str])
    """Package, revision and platform versions."""
    command: str = ""
    """The command that repeats the study."""
    timing: tuple[Timing, ...] = ()
    """Clocks and memory of the runs."""

    @model_validator(mode="after")
    def _refers_to_what_exists(self) -> Results:
        known = _unique("arm", (arm.name for arm in self.arms))
        metrics = _unique("metric", (metric.name for metric in self.metrics))
        named = [name for pair in self.comparisons for name in (pair.a, pair.b)] + list(self.verdict.tied)
        named += [timing.arm for timing in self.timing]
        named += [answer.arm for sample in self.samples for answer in sample.answers]
        named += [self.verdict.winner] if self.verdict.winner is not None else []
        _all_known("arm", named, known)
        measured = [measure.metric for arm in self.arms for measure in arm.measures]
        _all_known("metric", [self.headline, *measured, *(pair.metric for pair in self.comparisons)], metrics)
        return self

    def without_samples(self) -> Results:
        """The same results with no text of a prompt or an answer, for data that may not be passed on."""
        return self.model_copy(update={"samples": ()})


def _unique(noun: str, names: Iterable[str]) -> set[str]:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"two {noun}s are called {name!r}")
        seen.add(name)
    return seen


def _all_known(noun: str, names: Iterable[str], known: set[str]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"there is no {noun} {name!r} among {sorted(known)}")


KNOWN_METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(name="reward", label="mean reward", better="higher"),
        Metric(name="kl", label="KL to SFT", note="nats per response"),
        Metric(name="length", label="length", note="tokens per response"),
        Metric(name="entropy", label="entropy", note="nats per token"),
        Metric(name="truncated", label="truncated", share=True, better="lower", note="hit the length limit"),
    )
}


def known_metric(name: str, *, note: str = "") -> Metric:
    """The usual label and direction of a metric by its name: 'pass@K', 'distinct-N' and `KNOWN_METRICS`.

    A name that is not known is its own label and has no direction. `note` replaces the usual note.
    """
    if name.startswith("pass@"):
        found = Metric(name=name, label=name, share=True, better="higher")
    elif name.startswith("distinct-"):
        found = Metric(name=name, label=name, share=True, note="share of different n-grams")
    else:
        found = KNOWN_METRICS.get(name, Metric(name=name, label=name))
    return found.model_copy(update={"note": note}) if note else found


def read_results(path: Path) -> Results:
    """The results in a `results.json`. Raises `UserError` naming the file and the field that is wrong."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"There is no {path}: the study has not been finished there.") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}. Run the study again to rebuild it.") from error
    return parse_spec(Results, data, where=str(path))


def dump_results(results: Results) -> str:
    """The text of `results.json`: the same results give the same bytes."""
    return json.dumps(results.model_dump(mode="json"), indent=1, allow_nan=False) + "\n"
