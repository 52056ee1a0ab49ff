"""One arm of a study: its runs, their curves and budgets, and its measures over all seeds."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from preflab.analysis.record.base import Interval, Number, Record

DecodingChoice = Literal["chosen", "unit"]
"""The temperature that the validation split chose, or temperature 1."""


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
    updates: Number = None
    """Optimizer steps of the policy, the arm's own; None: unknown."""
    flops_an_answer: Number = None
    """FLOP of one answer when the arm is measured: 2N for each token of the prompt and of every sample drawn for it. No
    budget is charged with it."""


class CurvePoint(Record):
    """One point of a training curve."""

    step: int
    """Step of the arm's own training loop; a step of PPO holds several optimizer steps."""
    updates: Number = None
    """Optimizer steps of the policy so far."""
    labels: Number = None
    """Labels or reward calls used so far."""
    flops: Number = None
    """FLOP used so far, shared stages included."""
    tokens: Number = None
    """Trained tokens so far."""
    metrics: dict[str, Number] = Field(default_factory=dict[str, Number])
    """Values at this step by name, e.g. 'validation', 'reward', 'kl', 'loss'."""


class FrontierPoint(Record):
    """How far one checkpoint went from the SFT model, and its score there."""

    step: int
    """Checkpoint step."""
    kl: Number
    """KL to the SFT model, in nats per response."""
    score: Number
    """Headline metric or reward at this checkpoint."""
    bound: bool = False
    """`kl` is an upper bound (best-of-n's closed form), not an estimate."""


class RunResult(Record):
    """One arm under one seed: the run that every number of the arm comes from."""

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
    """At the temperature chosen on validation, or at temperature 1."""


class SettingDifference(Record):
    """A setting that differs from the method's default."""

    field: str
    """Dotted name in the spec."""
    default: JsonValue = None
    """The method's default; None where there is none."""
    value: JsonValue
    """The study's value."""


class ArmResult(Record):
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
    differences: tuple[SettingDifference, ...] = ()
    """The spec as a diff against the defaults."""
    measures: tuple[MeasuredValue, ...] = ()
    """Metrics with intervals: overall and per level, at both decodings."""
    runs: tuple[RunResult, ...] = ()
    """One per seed."""
