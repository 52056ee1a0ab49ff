"""Defines the record of a contest: the content of `winrate.json`. Imports no torch."""

from __future__ import annotations

from typing import Any, Literal

from preflab.analysis.record import ComparisonVerdict, Interval, LengthControl
from preflab.analysis.record.base import Record
from preflab.analysis.winrates.agreement import Agreement
from preflab.analysis.winrates.bradley_terry import ArmScores
from preflab.analysis.winrates.ppi import Corrected
from preflab.analysis.winrates.rogan_gladen import ByErrorRates
from preflab.rating.summary import RatingSummary


class Correction(Record):
    """A win rate corrected with people's labels of some judged pairs, and the judge's agreement with these labels."""

    agreement: Agreement
    """How well the judge agrees with these labels."""
    corrected: Corrected | None = None
    """The corrected win rate, computed by prediction-powered inference. None if there are too few labels (see
    `reason`)."""
    by_error_rates: ByErrorRates | None = None
    """A sensitivity analysis: the win rate corrected by the judge's error rates on the labelled pairs (Rogan and Gladen).
    A tie counts as half a win. None if there are too few labels."""
    reason: str = ""
    """Why there is no corrected win rate."""


class ContestPair(Record):
    """The judge's comparison of two contestants: the win rate of the first contestant and other statistics."""

    first: str
    """The name of the first contestant."""
    second: str
    """The name of the second contestant."""
    rate: Interval
    """The first contestant's win rate according to the judge. A tie counts as half a win. The intervals of all pairs of
    contestants are simultaneous."""
    shares: dict[str, Interval]
    """The shares of wins, ties, losses and unreadable verdicts."""
    if_unreadable: tuple[float, float]
    """Two win rates: the win rate if every unreadable verdict were a loss, and the win rate if every unreadable verdict
    were a win."""
    equal_answers: int
    """The number of pairs with two equal answers. These pairs count as ties. A model judge is not asked about them."""
    position_bias: Interval | None
    """How often the judge chose the answer that was shown first, as a share of its choices. A judge without a position
    bias has a share of one half. None if the judge was not asked in both orders, or if no pair has two readable
    replies."""
    length: LengthControl
    """The length-controlled win rate."""
    correction: Correction | None = None
    """The win rate corrected with people's labels. None if people labelled no pairs of these contestants."""
    verdict: ComparisonVerdict
    """The verdict on the first contestant, from the interval of the corrected win rate, or of `rate` if there is no
    corrected win rate. 'better': the whole interval is above one half. 'worse': the whole interval is below one half.
    'not decided': the interval contains one half. Without a corrected win rate, the verdict is also 'not decided' if a
    check did not show that the judge is better than a coin."""


class ContestResult(Record):
    """The result of a contest: the win rates of all pairs of contestants by one judge."""

    schema_version: Literal[1] = 1
    """The version of this schema."""
    judge: str
    """The name of the judge."""
    template: str
    """The name of the template of the judge's question; '' if the judge uses no template."""
    contestants: dict[str, tuple[str, ...]]
    """Maps the name of each contestant to the sources of its answers (such as models or files), one for each seed."""
    testbed: str
    """The name of the testbed from which the prompts come."""
    prompts: int
    """The number of prompts."""
    seeds: int
    """The number of seeds of the contestant that has the most seeds."""
    agreement: Agreement | None = None
    """How well the judge agrees with the labels of the pairs from `--agreement`. None if there are no such pairs."""
    pairs: tuple[ContestPair, ...]
    """The comparison of each pair of contestants."""
    scores: ArmScores | None = None
    """The Bradley-Terry scores of all contestants. None if there are only two contestants."""
    people: RatingSummary | None = None
    """If people judged: the numbers of labels, and the raters' agreement with each other and with a model that judged
    the same pairs. None if a model judged."""
    settings: dict[str, Any]
    """The settings of the testbed, of the judge and of the decoding, the number of prompts, and the seed."""
    notes: tuple[str, ...] = ()
    """Sentences about limits of the result, such as prompts that could not be used."""
