"""Writes the result of a contest as Markdown. The text begins with the judge's agreement with labels. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator

from preflab.analysis.record import Interval
from preflab.analysis.winrates.position import describe_one_side
from preflab.analysis.winrates.words import (
    agreement_words,
    check_words,
    length_words,
    number,
    percent,
    position_words,
    unreadable_words,
)
from preflab.contest.record import ContestPair, ContestResult, Correction
from preflab.rating import RatingSummary
from preflab.rating.bounds import Bounded
from preflab.text import counted, one_line

TOGETHER = (
    ". The intervals of all win rates are simultaneous. The intervals of all corrected win rates are simultaneous too, and "
    "so are the intervals of all length-controlled win rates. Every other interval has a confidence of 95% by itself"
)


def describe_contest(result: ContestResult) -> str:
    """Returns the whole result as Markdown."""
    return "\n".join(_lines(result)) + "\n"


def _lines(result: ContestResult) -> Iterator[str]:
    yield f"# Win rates by {one_line(result.judge)}"
    yield ""
    if result.people is not None:
        yield from describe_people(result.people)
    else:
        yield check_words(result.agreement, "`--agreement FILE`")
    yield ""
    seeds = "" if result.seeds == 1 else f" under {result.seeds} seeds"
    yield (
        f"{result.prompts} prompts of `{result.testbed}`{seeds}. A tie counts as half a win. Brackets: 95% intervals"
        f"{' over seeds and prompts' if result.seeds > 1 else ' over prompts'}"
        f"{TOGETHER if len(result.pairs) > 1 else ''}."
    )
    yield ""
    prefers = "judge prefers" if result.people is None else "raters prefer"
    yield f"| first | second | win rate | win | tie | loss | unreadable | the {prefers} |"
    yield "|---|---|---|--:|--:|--:|--:|---|"
    yield from map(_row, result.pairs)
    for pair in result.pairs:
        yield ""
        yield f"## {_name(pair.first)} against {_name(pair.second)}"
        yield ""
        yield from (f"- {line}" for line in _details(pair))
    if result.scores is not None:
        yield ""
        yield "## Bradley-Terry scores"
        yield ""
        yield from _scores(result)
    yield from ("", *(f"- {note}" for note in result.notes)) if result.notes else ()


def describe_people(people: RatingSummary) -> Iterator[str]:
    """Yields lines about people's labels: the number of labels of each rater, and the agreement of the raters with each
    other and with a model judge."""
    given = ", ".join(f"{one_line(name)} {count}" for name, count in people.raters.items())
    seconds = "" if people.seconds is None else f"; median {people.seconds:.0f} s"
    yield f"{counted(people.labels, 'label')} of {counted(people.pairs, 'pair')} ({given}{seconds})."
    agreements = [each for each in (people.agreement, *people.by_two, people.with_other) if each is not None]
    if agreements:
        yield ""
    for each in agreements:
        names = " and ".join(map(one_line, each.between))
        raw, kappa = _bounded(each.raw, 100, "%"), _bounded(each.kappa)
        yield f"- agreement of {names} on {counted(each.pairs, 'pair')}: {raw}; {each.method} {kappa}"


def _bounded(value: Bounded, scale: float = 1.0, unit: str = "") -> str:
    if value.value is None:
        return f"none ({value.reason})"
    digits = 1 if unit else 2
    ends = ""
    if value.low is not None and value.high is not None:
        ends = f" [{scale * value.low:.{digits}f}, {scale * value.high:.{digits}f}]"
    return f"{scale * value.value:.{digits}f}{unit}{ends or f' ({value.reason})'}"


def _row(pair: ContestPair) -> str:
    shares = " | ".join(f"{pair.shares[name].estimate:.0%}" for name in ("win", "tie", "loss", "unreadable"))
    prefers = {"better": _name(pair.first), "worse": _name(pair.second)}.get(pair.verdict, "not decided")
    prefers += " (corrected)" if _is_corrected(pair) else ""
    return f"| {_name(pair.first)} | {_name(pair.second)} | {percent(pair.rate)} | {shares} | {prefers} |"


def _is_corrected(pair: ContestPair) -> bool:
    return pair.correction is not None and pair.correction.corrected is not None


def _details(pair: ContestPair) -> Iterator[str]:
    yield ", ".join(f"{name} {percent(pair.shares[name])}" for name in ("win", "tie", "loss"))
    if pair.shares["unreadable"].estimate:
        yield unreadable_words(pair.shares["unreadable"], pair.if_unreadable)
    if pair.equal_answers:
        pairs = counted(pair.equal_answers, "pair")
        yield f"equal answers: {pairs}; such pairs count as ties, and a model judge is not asked about them"
    if pair.position_bias is not None:
        yield position_words(pair.position_bias)
        yield from filter(None, [describe_one_side(pair.position_bias)])
    yield length_words(pair.length)
    if pair.correction is not None:
        yield from _describe_correction(pair.correction)
    if _is_corrected(pair):
        yield "the verdict comes from the corrected win rate, not from the judge's uncorrected win rate"
    if pair.rate.reason:
        yield pair.rate.reason


def _describe_correction(correction: Correction) -> Iterator[str]:
    yield f"people's labels: {agreement_words(correction.agreement)}"
    if correction.corrected is None:
        yield f"no corrected win rate: {correction.reason}"
        return
    corrected, rates = correction.corrected, correction.by_error_rates
    yield (
        f"**corrected by {corrected.labels} labels of people: {percent(corrected.rate)}** (weight of the judge "
        f"{corrected.weight:.2f}; the labels alone: {percent(corrected.labels_alone)}). This win rate is right only if the "
        f"labelled prompts were drawn at random{_describe_reason(corrected.rate)}"
    )
    if rates is not None and rates.rate is not None:
        yield f"sensitivity analysis by error rates (Rogan and Gladen), a tie counts as half a win: {percent(rates.rate)}"
    elif rates is not None:
        yield f"no sensitivity analysis by error rates: {rates.reason}"


def _describe_reason(interval: Interval) -> str:
    """Returns the remark on an unusual interval (`Interval.reason`), to be appended to a sentence after a semicolon.
    Returns '' if there is no remark."""
    return f"; {interval.reason}" if interval.reason else ""


def _scores(result: ContestResult) -> Iterator[str]:
    scores = result.scores
    assert scores is not None
    if scores.reason:
        yield f"None: {scores.reason}."
        return
    yield "P(one beats another) = sigmoid of the difference of their scores. The intervals are simultaneous."
    yield ""
    yield "| contestant | score |\n|---|---|"
    yield from (f"| {_name(name)} | {number(score)} |" for name, score in scores.scores.items())


def _name(text: str) -> str:
    return one_line(text).replace("|", "\\|")
