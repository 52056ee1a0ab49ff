"""How far a reward model can be trusted: accuracy, calibration, and accuracy by margin on pairs it did not train on."""

from __future__ import annotations

from preflab.analysis.record.base import Interval, Number, Record


class ReliabilityBin(Record):
    """Pairs of like confidence."""

    stated: Number
    """Mean stated probability, sigmoid(|margin|), of the order that the model prefers."""
    right: Number
    """Share of the pairs that have this order."""
    count: int
    """Pairs, over all seeds."""


class MarginBin(Record):
    """Pairs of like margin: the absolute difference of the two scores, in nats of the stated log-odds."""

    low: Number
    """Smallest margin, mean over seeds."""
    high: Number
    """Largest margin, mean over seeds."""
    accuracy: Number
    """Share of the pairs that the model orders rightly."""
    count: int
    """Pairs, over all seeds."""


class RewardModelResult(Record):
    """A reward model that the study trained, measured on pairs that it did not train on."""

    name: str
    """Its stage."""
    measured_on: str = ""
    """Which pairs."""
    seeds: int = 1
    """Models, one a seed."""
    pairs: int | None = None
    """Pairs that each of them ordered; None: unknown."""
    accuracy: Interval
    """Share of the pairs ordered rightly, mean over seeds, with Wilson's interval at one seed's pairs."""
    loss: Number = None
    """Mean -log sigmoid(margin): log-loss in nats, .693 for a coin."""
    calibration_error: Number = None
    """Expected gap between stated probability and share of right ones, ten bins."""
    reliability: tuple[ReliabilityBin, ...] = ()
    """The bins of the reliability diagram, the seeds' pairs pooled; empty bins left out."""
    by_margin: tuple[MarginBin, ...] = ()
    """Accuracy by margin, small margins first."""
