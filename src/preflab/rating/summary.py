"""Summarises labels: how often the first answer wins, and how well the raters agree with each other and with a
judge."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import fmean, median

import numpy as np
from pydantic import BaseModel, ConfigDict

from preflab.errors import UserError
from preflab.rating.bounds import CHOICES, Bounded, Sums, bound_kappa, bound_share, cohen, fleiss
from preflab.rating.pairs import Label
from preflab.text import brief

COHEN, FLEISS = "Cohen's kappa", "Fleiss' kappa"
Ratings = Mapping[str, Mapping[str, float]]  # pair -> rater -> outcome


class RaterAgreement(BaseModel):
    """The agreement of raters. `between`: the names of the raters. `pairs`: the number of pairs with labels of two or
    more raters. `raw`: how often two raters gave the same label. `kappa`: the agreement, corrected for chance.
    `method`: the kind of kappa (`COHEN` or `FLEISS`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    between: tuple[str, ...]
    pairs: int
    raw: Bounded
    kappa: Bounded
    method: str


class RatingSummary(BaseModel):
    """A summary of labels. `win`, `tie`, `loss`: how often the first answer wins, ties or loses. `win_rate`: the share
    of wins, with a tie counted as half a win. `raters`: the number of labels of each rater. `seconds`: the median time
    for a label. `agreement`: the agreement of all raters. `by_two`: the agreement of each pair of raters, if there are
    more than two raters. `with_other`: the agreement of the raters with another source of outcomes, such as a model
    judge."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    labels: int
    pairs: int
    prompts: int
    raters: dict[str, int]
    seconds: float | None
    win: Bounded
    tie: Bounded
    loss: Bounded
    win_rate: Bounded
    agreement: RaterAgreement | None
    by_two: tuple[RaterAgreement, ...]
    with_other: RaterAgreement | None


def summarise(
    labels: Sequence[Label],
    *,
    prompts: Mapping[str, str] | None = None,
    other: Mapping[str, float] | None = None,
    other_name: str = "judge",
) -> RatingSummary:
    """Summarises labels. The value of a pair is the mean over its raters. The value of a prompt is the mean over its
    pairs. The intervals treat the prompts as a random sample.

    `prompts`: maps each pair to its prompt (see `name_prompts`). If `prompts` is None, each pair counts as a separate
    prompt. `other`: maps pairs to the outcomes of another source, such as a model judge. `other_name`: the name of this
    source in messages. Raises `UserError` for a pair without a prompt, for an invalid outcome, and for two labels of
    one rater for one pair.
    """
    ratings = _collect(labels)
    homes = {pair: pair for pair in ratings} if prompts is None else prompts
    if missing := [pair for pair in ratings if pair not in homes]:
        raise UserError(f"The pair {brief(missing[0])} has a label, but no prompt is known for it.")
    _check_outcomes(other or {}, other_name)
    names = sorted({label.rater for label in labels})
    shares = {choice: {pair: _share(given, choice) for pair, given in ratings.items()} for choice in CHOICES}
    means = {pair: fmean(given.values()) for pair, given in ratings.items()}
    win, tie, loss = (bound_share(_by_prompt(shares[choice], homes)) for choice in CHOICES)
    both = [_agree(ratings, homes, two) for two in combinations(names, 2)]
    everyone = both[0] if len(names) == 2 else _agree_all(ratings, homes, names) if names[2:] else None
    return RatingSummary(
        labels=len(labels),
        pairs=len(ratings),
        prompts=len({homes[pair] for pair in ratings}),
        raters=dict(sorted(Counter(label.rater for label in labels).items())),
        seconds=median(label.seconds for label in labels) if labels else None,
        win=win,
        tie=tie,
        loss=loss,
        win_rate=bound_share(_by_prompt(means, homes)),
        agreement=everyone,
        by_two=tuple(both) if len(names) > 2 else (),
        with_other=None if other is None else _agree_with(ratings, homes, other, other_name),
    )


def _collect(labels: Sequence[Label]) -> dict[str, dict[str, float]]:
    """Returns, for each pair, a mapping from each rater of the pair to the rater's outcome."""
    ratings: dict[str, dict[str, float]] = defaultdict(dict)
    for label in labels:
        if label.rater in ratings[label.pair]:
            raise UserError(f"{label.rater} gave two labels to the pair {brief(label.pair)}. Keep one of them.")
        ratings[label.pair][label.rater] = label.outcome
        _check_outcomes({label.pair: label.outcome}, label.rater)
    return dict(ratings)


def _check_outcomes(outcomes: Mapping[str, float], source: str) -> None:
    for pair, outcome in outcomes.items():
        if outcome not in CHOICES:
            raise UserError(f"{source} gave {outcome!r} to the pair {brief(pair)}. An outcome is one of {CHOICES}.")


def _share(given: Mapping[str, float], choice: float) -> float:
    return fmean(float(outcome == choice) for outcome in given.values())


def _by_prompt(values: Mapping[str, float], homes: Mapping[str, str]) -> list[float]:
    """Returns, for each prompt, the mean value of the prompt's pairs."""
    grouped: dict[str, list[float]] = defaultdict(list)
    for pair, value in values.items():
        grouped[homes[pair]].append(value)
    return [fmean(group) for group in grouped.values()]


def _sum_by_prompt(rows: Mapping[str, Sums], homes: Mapping[str, str]) -> Sums:
    """Returns an array with one row for each prompt: the sum of `rows` over the prompt's pairs."""
    grouped: dict[str, Sums] = {}
    for pair, row in rows.items():
        grouped[homes[pair]] = grouped.get(homes[pair], np.zeros_like(row)) + row
    return np.array([*grouped.values()])


def _table(first: float, second: float) -> Sums:
    """Returns a 3 x 3 table, flattened, with 1 in the cell of the two outcomes and 0 in all other cells."""
    table = np.zeros((len(CHOICES), len(CHOICES)))
    table[CHOICES.index(first), CHOICES.index(second)] = 1.0
    return table.ravel()


def _agree(ratings: Ratings, homes: Mapping[str, str], two: tuple[str, str]) -> RaterAgreement:
    """Returns the agreement of two raters on the pairs that both have labelled."""
    common = {pair: (given[two[0]], given[two[1]]) for pair, given in ratings.items() if {*two} <= {*given}}
    tables = {pair: _table(*outcomes) for pair, outcomes in common.items()}
    return _measure(two, {pair: float(a == b) for pair, (a, b) in common.items()}, tables, homes)


def _agree_with(ratings: Ratings, homes: Mapping[str, str], other: Mapping[str, float], name: str) -> RaterAgreement:
    """Returns the agreement of the raters with another source. A pair with several labels counts once, with the mean
    over its labels as its value."""
    common = {pair: [*given.values()] for pair, given in ratings.items() if pair in other}
    tables = {pair: np.mean([_table(label, other[pair]) for label in given], 0) for pair, given in common.items()}
    same = {pair: fmean(float(label == other[pair]) for label in given) for pair, given in common.items()}
    return _measure(("people", name), same, tables, homes)


def _measure(
    names: tuple[str, ...], same: Mapping[str, float], tables: Mapping[str, Sums], homes: Mapping[str, str]
) -> RaterAgreement:
    raw = bound_share(_by_prompt(same, homes))
    kappa = bound_kappa(_sum_by_prompt(tables, homes), cohen, raw)
    return RaterAgreement(between=names, pairs=len(same), raw=raw, kappa=kappa, method=COHEN)


def _agree_all(ratings: Ratings, homes: Mapping[str, str], names: Sequence[str]) -> RaterAgreement:
    """Returns the agreement of three or more raters, over the pairs with at least two labels."""
    same: dict[str, float] = {}
    rows: dict[str, Sums] = {}
    for pair, given in ratings.items():
        if len(given) < 2:
            continue
        outcomes = [*given.values()]
        same[pair] = fmean(float(a == b) for a, b in combinations(outcomes, 2))
        rows[pair] = np.array([same[pair], *(outcomes.count(choice) / len(outcomes) for choice in CHOICES), 1.0])
    raw = bound_share(_by_prompt(same, homes))
    kappa = bound_kappa(_sum_by_prompt(rows, homes), fleiss, raw)
    return RaterAgreement(between=tuple(names), pairs=len(same), raw=raw, kappa=kappa, method=FLEISS)
