"""The record of how far a reward model can be trusted, measured on pairs that the model did not train on."""

from __future__ import annotations

from preflab.analysis.record.base import Interval, Number, Record


class ReliabilityBin(Record):
    """The pairs on which the model is about equally confident."""

    stated: Number
    """Mean probability, sigmoid(|margin|), that the model states for the order that it prefers."""
    right: Number
    """Share of the pairs that have the order that the model prefers."""
    count: int
    """The number of pairs, over all seeds."""


class MarginBin(Record):
    """The pairs whose margins are about equal. A margin is the absolute difference of the two scores, in nats of the stated
    log-odds."""

    low: Number
    """Smallest margin, as a mean over seeds."""
    high: Number
    """Largest margin, as a mean over seeds."""
    accuracy: Number
    """Share of the pairs that the model orders rightly."""
    count: int
    """The number of pairs, over all seeds."""


class RewardModelResult(Record):
    """A reward model that the study trained, measured on pairs that it did not train on."""

    name: str
    """The name of the stage that trained the model."""
    measured_on: str = ""
    """The pairs on which the model was measured."""
    seeds: int = 1
    """The number of models: one for each seed."""
    pairs: int | None = None
    """The number of pairs that each model ordered; None: unknown."""
    accuracy: Interval
    """Share of the pairs ordered rightly, as a mean over seeds. Wilson's interval counts the pairs of one seed."""
    loss: Number = None
    """Mean -log sigmoid(margin): the log-loss in nats. A coin has .693."""
    calibration_error: Number = None
    """Expected gap, over ten bins, between the stated probability and the share of pairs ordered rightly."""
    reliability: tuple[ReliabilityBin, ...] = ()
    """The bins of the reliability diagram. The pairs of all seeds are pooled, and empty bins are left out."""
    by_margin: tuple[MarginBin, ...] = ()
    """Accuracy by margin, small margins first."""
