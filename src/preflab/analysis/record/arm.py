"""One arm of a study: its runs, their curves and budgets, and its measures over all seeds."""

from __future__ import annotations

from pydantic import Field, JsonValue

from preflab.analysis.record.base import Interval, Number, Record
from preflab.evaluation.settings import DecodingChoice


class Spent(Record):
    """The budget that one arm used under one seed, including the stages that it shares. None: unknown, because the arm
    was trained elsewhere."""

    labels: Number = None
    """The number of preference labels used, from data or from a reward."""
    reward_calls: Number = None
    """The number of calls of the reward function or reward model."""
    flops: Number = None
    """FLOP used: 2N per forward or sampled token and 6N per trained token, summed over all models."""
    sampled_tokens: Number = None
    """The number of tokens drawn by the sampler."""
    trained_tokens: Number = None
    """The number of tokens in backward passes."""
    updates: Number = None
    """The number of optimizer steps of the policy in the arm's own training, without the shared stages. None:
    unknown."""
    flops_an_answer: Number = None
    """FLOP for generating one answer in the evaluation: 2N per token of the prompt and of every sample drawn for the
    answer. Not charged to the budget."""


class CurvePoint(Record):
    """One point of a training curve."""

    step: int
    """Step of the arm's own training loop. One step of PPO contains several optimizer steps."""
    updates: Number = None
    """Number of optimizer steps of the policy so far."""
    labels: Number = None
    """Number of labels or reward calls used so far."""
    flops: Number = None
    """FLOP used so far, including the shared stages."""
    tokens: Number = None
    """Trained tokens so far."""
    metrics: dict[str, Number] = Field(default_factory=dict[str, Number])
    """The values of the metrics at this step by name, e.g. 'validation', 'reward', 'kl', 'loss'."""


class FrontierPoint(Record):
    """The KL between one checkpoint and the SFT model, and the checkpoint's score."""

    step: int
    """Checkpoint step."""
    kl: Number
    """KL to the SFT model, in nats per response."""
    score: Number
    """The headline metric or the reward at this checkpoint."""
    bound: bool = False
    """True if `kl` is an upper bound (the closed form for best-of-n) instead of an estimate."""


class RunResult(Record):
    """One run: one arm under one seed. Every number of an arm is computed from its runs."""

    seed: int
    """The study's seed. Runs of different arms with the same seed are paired."""
    directory: str
    """The directory of the run, relative to the study's directory."""
    metrics: dict[str, Number] = Field(default_factory=dict[str, Number])
    """The metrics on the test split at the first decoding."""
    metrics_unit: dict[str, Number] = Field(default_factory=dict[str, Number])
    """The metrics on the test split at temperature 1."""
    spent: Spent = Spent()
    """The budget that the run used."""
    temperature: float | None = None
    """The sampling temperature of the first decoding, 0 for greedy decoding."""
    checkpoint: int | None = None
    """The step of the checkpoint that was chosen on the validation split."""
    diverged: bool = False
    """True if training diverged. Diverged runs are kept in all statistics."""
    note: str = ""
    """An event in this run that readers should know, e.g. 'killed for memory at step 40'."""
    curve: tuple[CurvePoint, ...] = ()
    """The points of the training curve, ordered by step."""
    frontier: tuple[FrontierPoint, ...] = ()
    """The points of the reward-KL plot, ordered by step."""


class MeasuredValue(Record):
    """The value of one metric for one arm, over all seeds and problems."""

    metric: str
    """Name of a `Measure`."""
    value: Interval
    """The estimate with its interval."""
    level: str = ""
    """Difficulty level of the problems; '' for all problems."""
    decoding: DecodingChoice = "chosen"
    """'chosen': at the first decoding. 'unit': at temperature 1."""


class Collapse(Record):
    """How often the runs of an arm collapsed, and how good the others are. `Results.collapse_rule` says when a run has
    collapsed."""

    seeds: tuple[int, ...] = ()
    """The seeds whose run collapsed."""
    rate: Interval
    """The share of the runs that collapsed, with Clopper and Pearson's interval."""
    means: dict[DecodingChoice, Interval] = {}
    """The headline metric of the runs that did not collapse, at each decoding; empty if all collapsed."""
    compared: bool = False
    """True if the runs were compared with the policy that they started from. Otherwise only a diverged run has collapsed."""


class SettingDifference(Record):
    """A setting whose value differs from the method's default."""

    field: str
    """The dotted name of the setting in the spec."""
    default: JsonValue = None
    """The method's default; None if there is no default."""
    value: JsonValue
    """The value in the study."""


class ArmResult(Record):
    """One arm of a study: a method with its settings, run under every seed."""

    name: str
    """The arm's name, unique within the study."""
    method: str
    """The method's kind, e.g. 'ppo'; 'policy' if the arm was trained elsewhere."""
    description: str = ""
    """One sentence that describes the arm to readers."""
    baseline: bool = False
    """True if the arm is a starting point (such as the SFT model) that cannot win the study."""
    origin: str = ""
    """The source of a policy that was trained elsewhere; '' if this study trained the policy."""
    inference_cost: float = 1.0
    """The number of samples drawn for each answer: n for best-of-n, otherwise 1."""
    differences: tuple[SettingDifference, ...] = ()
    """The settings of the spec that differ from the defaults."""
    measures: tuple[MeasuredValue, ...] = ()
    """Metrics with intervals, overall and for each difficulty level, at the first decoding and at temperature 1."""
    runs: tuple[RunResult, ...] = ()
    """The arm's runs, one per seed."""
    collapse: Collapse | None = None
    """How often the arm's runs collapsed; None if the study did not train the arm."""
