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
    """What people's labels of some judged pairs say about a win rate."""

    agreement: Agreement
    """How well the judge agrees with these labels."""
    corrected: Corrected | None = None
    """The win rate that prediction-powered inference gives. None if there is none; `reason` then says why."""
    by_error_rates: ByErrorRates | None = None
    """A sensitivity analysis: the win rate that the judge's error rates on the labelled pairs give. A tie counts as half
    a win."""
    reason: str = ""
    """Why there is no corrected win rate."""


class ContestPair(Record):
    """Two contestants, compared by the judge."""

    first: str
    """The name of the first contestant."""
    second: str
    """The name of the second contestant."""
    rate: Interval
    """The first contestant's win rate by the judge; a tie counts as half a win. The intervals of all pairs hold
    simultaneously."""
    shares: dict[str, Interval]
    """The shares of wins, ties, losses and unreadable verdicts."""
    if_unreadable: tuple[float, float]
    """The win rate if every unreadable verdict were a loss, and if every one were a win."""
    equal_answers: int
    """The number of pairs with two equal answers. A model judge is not asked about these pairs; they count as ties."""
    position_bias: Interval | None
    """The share of choices for the answer that was shown first; one half without a bias. None if the judge was not
    asked in both orders."""
    length: LengthControl
    """The length-controlled win rate."""
    correction: Correction | None = None
    """What people's labels say about the win rate; None if people labelled no pairs of these contestants."""
    verdict: ComparisonVerdict
    """Whether the first contestant is preferred: 'better' or 'worse' if the interval of the win rate is above or below
    one half. The corrected win rate decides; if there is none, `rate` decides. 'not decided' if the interval contains
    one half, or if there is no corrected win rate and a check does not show that the judge is better than a coin."""


class ContestResult(Record):
    """The result of a contest: the win rates of all pairs of contestants by one judge."""

    schema_version: Literal[1] = 1
    """The version of this schema."""
    judge: str
    """The name of the judge."""
    template: str
    """The name of the template of the judge's question; '' if the judge uses no template."""
    contestants: dict[str, tuple[str, ...]]
    """The sources of each contestant, one for each seed."""
    testbed: str
    """The name of the testbed from which the prompts come."""
    prompts: int
    """The number of prompts."""
    seeds: int
    """The number of seeds of the contestants."""
    agreement: Agreement | None = None
    """How well the judge agrees with the labelled pairs of `--agreement`; None without such pairs."""
    pairs: tuple[ContestPair, ...]
    """All pairs of contestants."""
    scores: ArmScores | None = None
    """The Bradley-Terry scores of all contestants; None for two contestants."""
    people: RatingSummary | None = None
    """A summary of people's labels if people were the judge: the labels of all pairs, and the raters' agreement with
    each other and with a model that judged the same pairs. None if a model was the judge."""
    settings: dict[str, Any]
    """All settings of the contest: of the testbed, the judge and the decoding, and the seed."""
    notes: tuple[str, ...] = ()
    """Sentences about what limits the meaning of the numbers."""
