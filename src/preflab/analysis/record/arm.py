"""One arm of a study: its runs, their curves and budgets, and its measures over all seeds."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from preflab.analysis.record.base import Interval, Number, Record

DecodingChoice = Literal["chosen", "unit"]
"""'chosen': the temperature that was chosen on the validation split. 'unit': temperature 1."""


class Spent(Record):
    """What one arm used under one seed, including the stages that it shares. None: unknown, because it was trained
    elsewhere."""

    labels: Number = None
    """The number of preference labels used, from data or from a reward."""
    reward_calls: Number = None
    """The number of calls of the reward."""
    flops: Number = None
    """FLOP used: 2N per forward or sampled token and 6N per trained token, summed over all models."""
    sampled_tokens: Number = None
    """Tokens drawn by the sampler."""
    trained_tokens: Number = None
    """Tokens that went through a backward pass."""
    updates: Number = None
    """Optimizer steps of the policy in the arm's own training, without the shared stages. None: unknown."""
    flops_an_answer: Number = None
    """FLOP of measuring one answer, charged to no budget: 2N per token of the prompt and of every sample drawn for it."""


class CurvePoint(Record):
    """One point of a training curve."""

    step: int
    """Step of the arm's own training loop. One step of PPO holds several optimizer steps."""
    updates: Number = None
    """Optimizer steps of the policy so far."""
    labels: Number = None
    """Labels or reward calls used so far."""
    flops: Number = None
    """FLOP used so far, including the shared stages."""
    tokens: Number = None
    """Trained tokens so far."""
    metrics: dict[str, Number] = Field(default_factory=dict[str, Number])
    """Values at this step by name, e.g. 'validation', 'reward', 'kl', 'loss'."""


class FrontierPoint(Record):
    """How far one checkpoint is from the SFT model, and the checkpoint's score."""

    step: int
    """Checkpoint step."""
    kl: Number
    """KL to the SFT model, in nats per response."""
    score: Number
    """Headline metric or reward at this checkpoint."""
    bound: bool = False
    """Whether `kl` is an upper bound (the closed form for best-of-n), not an estimate."""


class RunResult(Record):
    """One run: one arm under one seed. Every number of the arm comes from its runs."""

    seed: int
    """The study's seed. Runs of different arms with the same seed are paired."""
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
    """Whether training diverged. A diverged run is an outcome: it is counted, not dropped."""
    note: str = ""
    """What happened to this run that a reader should know, e.g. 'killed for memory at step 40'."""
    curve: tuple[CurvePoint, ...] = ()
    """Training curve, by step."""
    frontier: tuple[FrontierPoint, ...] = ()
    """Reward-KL frontier, by step."""


class MeasuredValue(Record):
    """One metric of one arm over all seeds and problems."""

    metric: str
    """Name of a `Measure`."""
    value: Interval
    """Estimate with interval."""
    level: str = ""
    """Difficulty level, '' for all problems."""
    decoding: DecodingChoice = "chosen"
    """'chosen': at the temperature chosen on validation. 'unit': at temperature 1."""


class SettingDifference(Record):
    """A setting that differs from the method's default."""

    field: str
    """Dotted name in the spec."""
    default: JsonValue = None
    """The method's default; None if there is no default."""
    value: JsonValue
    """The study's value."""


class ArmResult(Record):
    """One arm: a contestant of the study."""

    name: str
    """Unique within the study."""
    method: str
    """The method's kind, e.g. 'ppo'; 'policy' if the arm was trained elsewhere."""
    description: str = ""
    """One sentence for the reader."""
    baseline: bool = False
    """Whether the arm is a starting point (the SFT model itself) and not a contestant."""
    origin: str = ""
    """Where the policy came from if it was trained elsewhere; '' if this study trained it."""
    inference_cost: float = 1.0
    """Samples drawn for each answer: n for best-of-n."""
    differences: tuple[SettingDifference, ...] = ()
    """The settings of the spec that differ from the defaults."""
    measures: tuple[MeasuredValue, ...] = ()
    """Metrics with intervals: overall and per level, at both decodings."""
    runs: tuple[RunResult, ...] = ()
    """The arm's runs, one per seed."""
