"""Records of a reward model's accuracy and calibration, measured on pairs that the model was not trained on."""

from __future__ import annotations

from preflab.analysis.record.base import Interval, Number, Record


class ReliabilityBin(Record):
    """One bin of the reliability diagram: pairs for which the model predicts similar probabilities."""

    stated: Number
    """The mean of sigmoid(|margin|), which is the probability that the model gives to its preferred order of the two
    answers."""
    right: Number
    """The share of pairs that the model orders correctly, according to their labels."""
    count: int
    """The number of pairs, over all seeds."""


class MarginBin(Record):
    """A group of pairs with similar margins, and the model's accuracy on these pairs. The margin of a pair is the
    absolute difference between the scores of its two answers, in nats (log-odds)."""

    low: Number
    """The smallest margin in the group, as a mean over seeds."""
    high: Number
    """The largest margin in the group, as a mean over seeds."""
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
    """The number of trained models. Each seed has one model."""
    pairs: int | None = None
    """The number of pairs that each model scored; None if the number is unknown."""
    accuracy: Interval
    """The share of pairs that the models order correctly, as a mean over seeds, with Wilson's interval. The interval
    uses the number of pairs of one seed, because all seeds score the same pairs."""
    sign_accuracy: Interval | None = None
    """For a cost model: the share of answers for which the sign of the cost agrees with the safety label. None for a
    reward model."""
    loss: Number = None
    """The mean log-loss -log sigmoid(score of the preferred answer minus score of the other answer), in nats. Random
    guessing gives .693."""
    calibration_error: Number = None
    """The expected calibration error over ten bins: the mean absolute difference between the predicted probability and
    the share of correctly ordered pairs."""
    reliability: tuple[ReliabilityBin, ...] = ()
    """The bins of the reliability diagram, with the pairs of all seeds pooled. Empty bins are left out."""
    by_margin: tuple[MarginBin, ...] = ()
    """The accuracy for each group of margins, from small to large margins."""
