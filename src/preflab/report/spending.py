"""Computes the budget that each arm used (labels, FLOP, time and memory), and writes a study's budget as text."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean

from preflab.analysis import record
from preflab.analysis.record import ArmResult, Number, Results
from preflab.report import numbers


def average_over_seeds(arm: ArmResult, get: Callable[[record.RunResult], Number]) -> float | None:
    """Applies `get` to each of the arm's runs, and returns the mean of the values. Returns None if the value of any run
    is unknown, because a mean over the other runs could be biased."""
    values = [get(run) for run in arm.runs]
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None


def average_labels(arm: ArmResult) -> float | None:
    """Returns the number of preference labels plus the number of reward calls, as a mean over seeds."""
    return average_over_seeds(arm, lambda run: _total(run.spent.labels, run.spent.reward_calls))


def average_spent(arm: ArmResult, field: str) -> float | None:
    """Returns the amount in one field of `Spent`, as a mean over seeds."""
    return average_over_seeds(arm, lambda run: dict(run.spent)[field])


def _total(*parts: Number) -> float | None:
    """Returns the sum of the parts that are not None. Returns None if all parts are None."""
    known = [part for part in parts if part is not None]
    return sum(known) if known else None


def average_wall_seconds(results: Results, arm: ArmResult) -> float | None:
    times = [timing.wall_seconds for timing in results.timing if timing.arm == arm.name]
    known = [seconds for seconds in times if seconds is not None]
    return fmean(known) if known else None


def find_peak_memory(results: Results, arm: ArmResult) -> float | None:
    known = [timing.peak_memory for timing in results.timing if timing.arm == arm.name]
    return max((value for value in known if value is not None), default=None)


def state_budget(results: Results) -> str:
    """Writes the budget that each arm is allowed to use: 'up to 16,384 labels or reward calls for each arm'."""
    amount = results.budget.amount
    if results.budget.binding == "none":
        return "no limit; every arm ran for its own number of steps"
    if results.budget.binding == "labels":
        most = "the same number of" if amount is None else f"up to {numbers.format_number(amount)}"
        return f"{most} labels or reward calls for each arm"
    return f"{'the same' if amount is None else f'up to {numbers.format_scaled(amount)}'} FLOP for each arm"


def state_spending(results: Results) -> str:
    """Writes the smallest and the largest amount of the budget that arms used: 'Spent: 979G FLOP (best-of-n, sft) to
    1.83T (ppo).' If some arms draw several samples for each answer, also names these arms."""
    get, form = average_labels, numbers.format_number
    if results.budget.binding != "labels":
        get, form = (lambda arm: average_spent(arm, "flops")), numbers.format_scaled
    amounts = {arm.name: amount for arm in results.arms if (amount := get(arm)) is not None}
    if not amounts:
        return ""
    by_words: dict[str, list[str]] = {}
    for name in sorted(amounts, key=lambda name: amounts[name]):
        by_words.setdefault(form(amounts[name]), []).append(name)
    unit = "labels or reward calls" if results.budget.binding == "labels" else "FLOP"
    least, most = next(iter(by_words)), next(reversed(by_words))
    sentence = f"Spent: {least} {unit} ({', '.join(by_words[least])})"
    sentence += "." if most == least else f" to {most} ({', '.join(by_words[most])})."
    several = [
        f"{arm.name} {numbers.format_number(arm.inference_cost)}" for arm in results.arms if arm.inference_cost > 1
    ]
    return sentence + (f" Samples drawn for each answer: {', '.join(several)}; the others 1." if several else "")
