"""Writes win rates and a judge's agreement with labels as text. Imports no torch."""

from __future__ import annotations

from preflab.analysis.record import Interval, LengthControl
from preflab.analysis.winrates.agreement import Agreement
from preflab.analysis.winrates.cells import has_no_width


def agreement_words(agreement: Agreement) -> str:
    """Returns a sentence about the judge's agreement with labelled pairs: the accuracy, kappa, and whether the judge is
    better than a coin."""
    coin = (
        "better than a coin"
        if agreement.beats_coin
        else "NOT clearly better than a coin, so its own verdicts decide nothing"
    )
    words = (
        f"Judge on {agreement.pairs} labelled pairs: accuracy {percent(agreement.accuracy)} ({coin}), kappa "
        f"{number(agreement.kappa)}, {agreement.ties:.0%} ties, {agreement.unreadable:.0%} unreadable"
    )
    if agreement.sensitivity is not None and agreement.specificity is not None:
        first, second = agreement.sensitivity, agreement.specificity
        words += f"; right on {first:.0%} if the first answer is better, on {second:.0%} if the second answer is better"
    return f"{words}."


def check_words(agreement: Agreement | None, how: str) -> str:
    """Returns a sentence about the judge's agreement with labelled pairs, or a warning if the judge was not checked.
    `how`: the option or setting that gives labelled pairs. The warning names it."""
    if agreement is not None:
        return agreement_words(agreement)
    return (
        "The judge was not checked on labelled pairs. A judge that is no better than a coin gives win rates too. Check the "
        f"judge with {how}."
    )


def unreadable_words(share: Interval, bounds: tuple[float, float]) -> str:
    """Returns a sentence with the share of unreadable verdicts and their largest possible effect on the win rate.
    `bounds`: the two win rates from `unreadable_bounds`."""
    return (
        f"unreadable verdicts: {percent(share)}, counted as half a win; the win rate is {bounds[0]:.1%} if all were losses "
        f"and {bounds[1]:.1%} if all were wins"
    )


def position_words(bias: Interval) -> str:
    """Returns a sentence with the position bias: the share of replies that chose the answer shown first."""
    return f"position bias: the answer shown first was chosen in {percent(bias)} of the replies (50% without a bias)"


def length_words(length: LengthControl) -> str:
    """Returns a sentence with the length-controlled win rate, or with the cause if the rate could not be computed."""
    gap = f"first minus second: {round(length.difference):+d} characters on average"
    if length.rate is None or length.phi is None:
        return f"length-controlled win rate: none, because {length.reason} ({gap})"
    return f"length-controlled win rate: {percent(length.rate)} ({gap}; phi {number(length.phi)})"


def percent(interval: Interval) -> str:
    """Writes a share with its interval: '56.0% [46.1, 65.5]'. If the interval is missing or has no width, writes the
    cause instead of the interval."""
    return _estimate_words(interval, scale=100, digits=1, unit="%")


def number(interval: Interval) -> str:
    """Writes a number with its interval: '0.42 [0.31, 0.53]'. If the interval is missing or has no width, writes the
    cause instead of the interval."""
    return _estimate_words(interval, scale=1, digits=2, unit="")


def _estimate_words(interval: Interval, *, scale: float, digits: int, unit: str) -> str:
    if interval.estimate is None:
        return f"none ({interval.reason})"
    estimate = f"{scale * interval.estimate:.{digits}f}{unit}"
    if interval.low is None or interval.high is None or has_no_width(interval):
        return f"{estimate} (no interval: {interval.reason})" if interval.reason else estimate
    return f"{estimate} [{scale * interval.low:.{digits}f}, {scale * interval.high:.{digits}f}]"
