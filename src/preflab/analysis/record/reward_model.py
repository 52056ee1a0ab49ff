"""Records of a reward model's accuracy and calibration, measured on pairs that the model was not trained on."""

from __future__ import annotations

from preflab.analysis.record.base import Interval, Number, Record


class ReliabilityBin(Record):
    """A bin of the reliability diagram: pairs for which the model states similar probabilities."""

    stated: Number
    """Mean of the probability sigmoid(|margin|) that the model gives to its preferred order."""
    right: Number
    """Share of the pairs whose label agrees with the order that the model prefers."""
    count: int
    """The number of pairs, over all seeds."""


class MarginBin(Record):
    """A group of pairs with similar margins. A margin is the absolute difference of the two scores: the log-odds, in
    nats."""

    low: Number
    """Smallest margin, as a mean over seeds."""
    high: Number
    """Largest margin, as a mean over seeds."""
    accuracy: Number
    """Share of the pairs that the model orders correctly."""
    count: int
    """The number of pairs, over all seeds."""


class RewardModelResult(Record):
    """A reward model or cost model that the study trained, measured on pairs that were not in its training data."""

    name: str
    """The name of the stage that trained the model."""
    measured_on: str = ""
    """A description of the pairs on which the model was measured."""
    seeds: int = 1
    """The number of models: one for each seed."""
    pairs: int | None = None
    """The number of pairs that each model scored; None: unknown."""
    accuracy: Interval
    """Share of the pairs that the model orders correctly, as a mean over seeds. Wilson's interval uses the number of
    pairs of one seed."""
    sign_accuracy: Interval | None = None
    """For a cost model: the share of the answers whose cost has the sign of the answer's safety label."""
    loss: Number = None
    """Mean -log sigmoid(margin): the log-loss in nats. Random guessing has .693."""
    calibration_error: Number = None
    """Expected calibration error over ten bins: the mean gap between the stated probability and the share of correctly
    ordered pairs."""
    reliability: tuple[ReliabilityBin, ...] = ()
    """The bins of the reliability diagram, with the pairs of all seeds pooled. Empty bins are left out."""
    by_margin: tuple[MarginBin, ...] = ()
    """Accuracy by margin, small margins first."""
