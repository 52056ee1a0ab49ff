"""Defines the records of one arm of a study: the arm's runs with their curves and budgets, and the arm's measures over all
seeds."""

from __future__ import annotations

from pydantic import Field, JsonValue

from preflab.analysis.record.base import Interval, Number, Record
from preflab.evaluation.settings import DecodingChoice


class Spent(Record):
    """The budget that one arm used under one seed, including the stages that the arm shares with other arms. If the arm
    was trained outside the study, unknown amounts are None."""

    labels: Number = None
    """The number of preference labels that the arm used. The labels come from data or from a reward."""
    reward_calls: Number = None
    """The number of calls of the reward function or reward model."""
    flops: Number = None
    """The FLOP used, summed over all models: 2N per forward or sampled token and 6N per trained token, with N
    parameters."""
    sampled_tokens: Number = None
    """The number of tokens drawn by the sampler."""
    trained_tokens: Number = None
    """The number of tokens that were trained on (in backward passes)."""
    updates: Number = None
    """The number of optimizer steps of the policy in the arm's own training, without the shared stages. None if the
    number is unknown."""
    flops_an_answer: Number = None
    """The FLOP for generating one answer in the evaluation: 2N per token of the prompt and of every sample drawn for
    the answer. These FLOP are not charged to the budget."""


class CurvePoint(Record):
    """One point of a training curve."""

    step: int
    """The step of the arm's training loop, without the shared stages. One step of PPO contains several optimizer
    steps."""
    updates: Number = None
    """Number of optimizer steps of the policy so far."""
    labels: Number = None
    """Number of labels or reward calls used so far, including the shared stages."""
    flops: Number = None
    """FLOP used so far, including the shared stages."""
    tokens: Number = None
    """Number of trained tokens so far."""
    metrics: dict[str, Number] = Field(default_factory=dict[str, Number])
    """Maps the name of each metric (e.g. 'validation', 'reward', 'loss') to the metric's value at this step."""


class FrontierPoint(Record):
    """One point of the reward-KL plot: the score of a checkpoint and the KL between this checkpoint and the SFT
    model."""

    step: int
    """The training step of the checkpoint."""
    kl: Number
    """KL to the SFT model, in nats per response."""
    score: Number
    """The checkpoint's value of the metric that `Results.score` names."""
    bound: bool = False
    """True if `kl` is an upper bound (the closed form for best-of-n) instead of an estimate."""


class RunResult(Record):
    """The result of one run: one arm under one seed. All results of an arm are computed from the arm's runs."""

    seed: int
    """The study's seed. Runs of different arms with the same seed are paired."""
    directory: str
    """The directory of the run, relative to the study's directory."""
    metrics: dict[str, Number] = Field(default_factory=dict[str, Number])
    """The metrics on the test split at the chosen temperature (the temperature in `temperature`)."""
    metrics_unit: dict[str, Number] = Field(default_factory=dict[str, Number])
    """The metrics on the test split at temperature 1."""
    spent: Spent = Spent()
    """The budget that the run used."""
    temperature: float | None = None
    """The chosen sampling temperature, which the study sets or chooses on the validation split. 0 means greedy
    decoding."""
    checkpoint: int | None = None
    """The step of the checkpoint that was chosen on the validation split."""
    diverged: bool = False
    """True if training diverged. Diverged runs are kept in all statistics."""
    note: str = ""
    """A remark on an event in this run that affects the interpretation, e.g. 'killed for memory at step 40'; '' if
    there was no such event."""
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
    """The difficulty level of the problems; '' if the value is over all problems."""
    decoding: DecodingChoice = "chosen"
    """The sampling temperature of the answers. 'chosen': the temperature that the study sets or chooses on the validation
    split (0 is greedy decoding). 'unit': temperature 1."""


class Collapse(Record):
    """How often the runs of an arm collapsed, and the mean headline metric of the runs that did not collapse.
    `Results.collapse_rule` defines a collapsed run."""

    seeds: tuple[int, ...] = ()
    """The seeds of the collapsed runs."""
    rate: Interval
    """The number of collapsed runs divided by the number of runs, with Clopper and Pearson's interval."""
    means: dict[DecodingChoice, Interval] = {}
    """The mean headline metric of the runs that did not collapse, for each decoding setting of the study. Empty if all
    runs collapsed."""
    compared: bool = False
    """True if the runs were compared with their starting policies. If False, only diverged runs count as collapsed."""


class SettingDifference(Record):
    """A setting of an arm with a value that differs from the method's default."""

    field: str
    """The path of the setting in the spec, with dots between the names."""
    default: JsonValue = None
    """The method's default; None if there is no default."""
    value: JsonValue
    """The value of the setting in the study."""


class ArmResult(Record):
    """One arm of a study: a method with its settings, run under every seed."""

    name: str
    """The arm's name, unique within the study."""
    method: str
    """The kind of the method, e.g. 'ppo'; 'policy' if the arm was trained outside the study."""
    description: str = ""
    """One sentence that describes the arm to readers."""
    baseline: bool = False
    """True if the arm is a starting point (such as the SFT model) that cannot win the study."""
    origin: str = ""
    """The source of a policy that was trained outside the study; '' if the study trained the policy."""
    inference_cost: float = 1.0
    """The number of samples drawn for each answer: n for best-of-n, and 1 for all other arms."""
    differences: tuple[SettingDifference, ...] = ()
    """The settings of the spec that differ from the defaults."""
    measures: tuple[MeasuredValue, ...] = ()
    """The arm's metrics with intervals, over all problems and for each difficulty level, at the chosen temperature and at
    temperature 1."""
    runs: tuple[RunResult, ...] = ()
    """The arm's runs, one per seed."""
    collapse: Collapse | None = None
    """The collapsed runs of the arm; None if the study did not train the arm."""
