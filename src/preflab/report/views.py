"""Helpers that all forms of the report use: values of metrics, means over seeds, and outcomes in words."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from pydantic import JsonValue

from preflab import text
from preflab.analysis import record
from preflab.analysis.record import DEPENDS, ArmResult, Claim, Interval, Measure, Number, Results, joint_outcome
from preflab.report import numbers

MAIN_MEASURES = 4
"""The number of metrics in the first table. The second table shows the other metrics, which describe behaviour."""


def measure_of(results: Results, name: str) -> Measure:
    """Returns the description of the metric with this name. If the results do not describe the metric, returns the
    default description. 'score' is the mean score, which is a mean reward or pass@1. 'validation' is a metric of the
    training curves: the mean score on validation problems."""
    if name in ("score", "validation"):
        score = measure_of(results, results.score or ("reward" if results.headline == "reward" else "pass@1"))
        validation = {"name": name, "label": f"{score.label} on validation"}
        return score if name == "score" else score.model_copy(update=validation)
    return next((metric for metric in results.metrics if metric.name == name), record.known_measure(name))


def main_measures(results: Results) -> tuple[Measure, ...]:
    """Returns the metrics of the first table: the headline metric, and then the first other metrics of the results."""
    return _ordered(results)[:MAIN_MEASURES]


def measured_twice(results: Results) -> tuple[Measure, ...]:
    """Returns the metrics that the first table shows both at the first decoding and at temperature 1: the headline
    metric and k@n. k@n needs several different samples of a prompt."""
    headline, *others = main_measures(results)
    return (headline, *(metric for metric in others if metric.is_submitted))


def other_measures(results: Results) -> tuple[Measure, ...]:
    return _ordered(results)[MAIN_MEASURES:]


def _ordered(results: Results) -> tuple[Measure, ...]:
    headline = measure_of(results, results.headline)
    return (headline, *(metric for metric in results.metrics if metric.name != results.headline))


def ranked(results: Results) -> list[ArmResult]:
    """Returns the arms in the order of the headline metric at the first decoding, best first. Arms without a value come
    last."""
    metric = measure_of(results, results.headline)

    def place(arm: ArmResult) -> tuple[bool, float]:
        value = measure(arm, metric.name).estimate
        return value is None, (1 if metric.better == "lower" else -1) * (value or 0.0)

    return sorted(results.arms, key=place)


def decides_twice(results: Results) -> bool:
    """Returns True if the study has a verdict for each of two decodings."""
    return len(results.verdicts) > 1


def decoding_words(results: Results, decoding: record.DecodingChoice) -> str:
    """Returns a decoding in words, for use inside a sentence: 'with greedy decoding', 'at temperature 1'."""
    words = results.decodings.get(decoding, "At temperature 1")
    return words[0].lower() + words[1:]


def answers(results: Results) -> list[tuple[str, record.StudyVerdict]]:
    """Returns the study's verdicts, each with the decoding in words. The words are '' if the study has a verdict for
    only one decoding."""
    return [
        (results.decodings[decoding] if decides_twice(results) else "", verdict)
        for decoding, verdict in results.verdicts.items()
    ]


def headline_words(words: str, verdict: record.StudyVerdict) -> str:
    """Returns a verdict as a sentence that begins with its decoding: 'With greedy decoding: ppo won: pass@1 61.4%,
    ahead of the next, dpo, by 3.2 points.'"""
    return f"{words}: {verdict.sentence}" if words else verdict.sentence


def evidence(results: Results) -> list[record.Comparison]:
    """Returns the comparisons that support the verdicts. The comparisons are grouped by decoding. Within a decoding,
    they are ordered by the rank of the first arm, and then by the rank of the second arm."""
    places = {arm.name: place for place, arm in enumerate(ranked(results))}
    return [
        pair
        for verdict in results.verdicts.values()
        for pair in sorted(verdict.evidence, key=lambda pair: (places[pair.first], places[pair.second]))
    ]


def further_comparisons(results: Results) -> list[record.Comparison]:
    """Returns the comparisons that the report shows in addition to the evidence. A comparison is included if the study
    names it, or if the evidence does not compare the same two arms at the same decoding."""
    shown = {(pair.decoding, frozenset((pair.first, pair.second))) for pair in evidence(results)}
    return [
        pair
        for pair in results.comparisons
        if pair.named or (pair.decoding, frozenset((pair.first, pair.second))) not in shown
    ]


def claim_metric(results: Results, claim: Claim) -> Measure:
    """Returns the metric that a claim is about."""
    return measure_of(results, claim.measure or results.headline)


def claim_groups(results: Results) -> list[tuple[Claim, list[record.DecidedClaim]]]:
    """Returns each claim together with its outcomes at all decodings."""
    groups: dict[str, list[record.DecidedClaim]] = {}
    for decided in results.claims:
        groups.setdefault(decided.claim.name, []).append(decided)
    return [(rows[0].claim, rows) for rows in groups.values()]


def joint_words(results: Results, claim: Claim) -> str:
    """Returns 'depends on the decoding' if a claim is confirmed at one decoding and refuted at another. Returns ''
    otherwise."""
    outcomes: list[record.ClaimOutcome] = [
        decided.outcome for decided in results.claims if decided.claim.name == claim.name
    ]
    return DEPENDS if joint_outcome(outcomes) == DEPENDS else ""


def won_words(results: Results, arm: str) -> str:
    """Returns 'won' if the arm won at every decoding, or for example 'won with greedy decoding' if the arm won at one
    of two decodings. Returns '' if the arm did not win."""
    where = [words for words, verdict in answers(results) if verdict.winner == arm]
    if not where:
        return ""
    return "won" if len(where) == len(results.verdicts) else f"won {where[0][0].lower()}{where[0][1:]}"


def test_problems(results: Results) -> int:
    """Returns the number of test problems on which the headline metric was measured. Returns 0 if this number is
    unknown."""
    return max((measure(arm, results.headline).problems for arm in results.arms), default=0)


def temperatures(arm: ArmResult) -> str:
    """Returns the temperatures that the seeds of an arm use at the first decoding: '0.2, 0.6'. 0 means greedy
    decoding."""
    chosen = sorted({run.temperature for run in arm.runs if run.temperature is not None})
    return ", ".join(map(numbers.format_tick, chosen))


def measure(arm: ArmResult, metric: str, *, level: str = "", decoding: record.DecodingChoice = "chosen") -> Interval:
    """Returns an arm's value of a metric. If the metric was not measured, returns an interval without an estimate."""
    for item in arm.measures:
        if (item.metric, item.level, item.decoding) == (metric, level, decoding):
            return item.value
    return Interval()


def reported_value(arm: ArmResult, metric: str) -> Interval:
    """Returns an arm's value of a metric at the first decoding. If the metric was measured only at temperature 1, as KL
    is, returns the value at temperature 1."""
    chosen = measure(arm, metric)
    return measure(arm, metric, decoding="unit") if chosen.estimate is None else chosen


def per_seed(arm: ArmResult, get: Callable[[record.RunResult], Number]) -> float | None:
    """Returns the mean of `get` over the arm's runs. Returns None if the value of any run is unknown, because a mean
    over the other runs could be biased."""
    values = [get(run) for run in arm.runs]
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None


def average_labels(arm: ArmResult) -> float | None:
    """Returns the number of preference labels plus the number of reward calls, as a mean over seeds."""
    return per_seed(arm, lambda run: _total(run.spent.labels, run.spent.reward_calls))


def average_spent(arm: ArmResult, field: str) -> float | None:
    """Returns the amount in one field of `Spent`, as a mean over seeds."""
    return per_seed(arm, lambda run: dict(run.spent)[field])


def _total(*parts: Number) -> float | None:
    """Returns the sum of the parts that are not None. Returns None if all parts are None."""
    known = [part for part in parts if part is not None]
    return sum(known) if known else None


def wall_seconds(results: Results, arm: ArmResult) -> float | None:
    times = [timing.wall_seconds for timing in results.timing if timing.arm == arm.name]
    known = [seconds for seconds in times if seconds is not None]
    return fmean(known) if known else None


def peak_memory(results: Results, arm: ArmResult) -> float | None:
    known = [timing.peak_memory for timing in results.timing if timing.arm == arm.name]
    return max((value for value in known if value is not None), default=None)


def budget_words(results: Results) -> str:
    """Returns the budget of each arm in words: 'up to 16,384 labels or reward calls for each arm'."""
    amount = results.budget.amount
    if results.budget.binding == "none":
        return "no limit; every arm ran for its own number of steps"
    if results.budget.binding == "labels":
        most = "the same number of" if amount is None else f"up to {numbers.format_number(amount)}"
        return f"{most} labels or reward calls for each arm"
    return f"{'the same' if amount is None else f'up to {numbers.format_scaled(amount)}'} FLOP for each arm"


def spent_words(results: Results) -> str:
    """Returns in words how much of the budget the arms used: 'Spent: 979G FLOP (best-of-n, sft) to 1.83T (ppo).' If
    some arms draw several samples for each answer, also names these arms."""
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


def adjustment_words(pairs: Sequence[record.Comparison | record.PairwiseResult]) -> str:
    """Explains how the p-values of the comparisons are adjusted."""
    families = list(dict.fromkeys(pair.family for pair in pairs))
    if families in ([], [1.0]):
        return "The p-values are two-sided. Each is for one comparison alone, so they are not adjusted."
    sizes = " or ".join(numbers.format_tick(family) for family in families)
    return (
        f"The p-values are two-sided and adjusted for {sizes} comparisons (Bonferroni). They agree with the intervals: all "
        "intervals of the family hold simultaneously with 95% confidence."
    )


def other_budget(results: Results) -> str:
    return {"labels": "compute", "compute": "labels", "none": "compute or labels"}[results.budget.binding]


def holds_words(verdict: record.StudyVerdict) -> str:
    """Returns in words whether the verdict would be the same if all arms had an equal amount of the other budget. The
    other budget is compute instead of labels, or labels instead of compute."""
    return {"yes": "Holds", "no": "Does not hold", "unknown": "Not known"}[verdict.holds_under_other_budget]


def certainty_words(results: Results) -> str:
    """Returns in words the number of seeds and whether few seeds make a verdict preliminary. For a study with interim
    looks, also names the look at which the study stopped."""
    seeds = text.counted(len(results.seeds), "seed")
    looks = f"; {results.looks}" if results.looks else ""
    if not any(verdict.preliminary for verdict in results.verdicts.values()):
        return f"{seeds}, paired{looks}"
    few = "fewer than five" if len(results.seeds) < 5 else "but some arms have fewer than five in common"
    return f"Preliminary: {seeds}, {few}{looks}"


def tied_words(verdict: record.StudyVerdict) -> str:
    """Names the arms that do not differ significantly from the best arm. If there is no such arm, returns 'no other
    arm' if an arm won, and a dash otherwise."""
    if verdict.tied:
        return ", ".join(verdict.tied)
    return "no other arm" if verdict.winner is not None else numbers.DASH


def outcome_words(pair: record.Comparison | record.PairwiseResult) -> str:
    """Returns the outcome of a comparison in words: 'ppo is better', or 'not decided'."""
    better = {"better": pair.first, "worse": pair.second}.get(pair.verdict)
    return "not decided" if better is None else f"{better} is better"


def claim_name(claim: Claim) -> str:
    """Returns the name of a claim: 'C6', or 'C6, large batch' if the claim has several parts."""
    return f"{claim.id}, {claim.part}" if claim.part else claim.id


def contrast_words(contrast: Mapping[str, float]) -> str:
    """Returns a contrast as a weighted sum, with the positive weights first: 'a − b', '2 a − b − c'."""
    words = ""
    weights = [(arm, weight) for arm, weight in contrast.items() if weight]
    for arm, weight in sorted(weights, key=lambda row: row[1] < 0):
        sign = " − " if weight < 0 else " + " if words else ""
        words += f"{sign}{'' if abs(weight) == 1 else numbers.format_tick(abs(weight)) + ' '}{arm}"
    return words


def rule_words(claim: Claim, metric: Measure) -> str:
    """Returns in words the condition that a claim sets for its contrast, with the margin: 'above 0 (margin 2
    points)'."""
    margin = numbers.format_tick(100 * claim.margin if metric.share else claim.margin)
    margin += " points" if metric.share else ""
    return f"above 0 (margin {margin})" if claim.rule == "superior" else f"below the margin, {margin}"


def doubt_words(decided: record.DecidedClaim) -> str:
    """Lists the reasons to doubt a claim's outcome: the reason why the claim is undecided, an interval without width,
    few seeds, and diverged runs."""
    doubts, value = [decided.reason] if decided.reason else [], decided.value
    doubts += [value.reason] if value.has_no_spread else []
    doubts += [f"preliminary: {text.counted(value.seeds, 'seed')}"] if value.seeds and value.preliminary else []
    doubts += [f"{text.counted(value.diverged, 'run')} diverged"] if value.diverged else []
    return "; ".join(doubts)


def control_words(decided: record.DecidedClaim, metric: Measure) -> str:
    """Returns the control contrast of a claim with its estimate and interval. Returns '' if the control was not
    measured."""
    if decided.control is None:
        return ""
    difference = numbers.format_difference(metric, decided.control.estimate)
    bounds = numbers.format_bounds(metric, decided.control, sign=True)
    return f"control {contrast_words(decided.claim.control)}: {difference} {bounds}".strip()


def family_words(results: Results) -> str:
    """Explains that the intervals of all claims are simultaneous 95% intervals, and what a refuted claim means."""
    claims, decodings = len(claim_groups(results)), ""
    if decides_twice(results):
        decodings = (
            " Each is decided at both decodings, and opposite outcomes mean that the claim depends on the decoding."
        )
    if len(results.claims) == 1:
        return "One claim, written down before the study ran; its interval holds with 95% confidence."
    return (
        f"{text.counted(claims, 'claim')}, written down before the study ran.{decodings} They are one family: their intervals "
        "hold simultaneously with 95% confidence. If a claim “X improves” is refuted, a gain of the margin or more is "
        "excluded, but a smaller gain is still possible. If a claim “X does not improve” is refuted, there is a gain. A claim "
        "is decided as “no gain” only if its control, a contrast that is known to be a gain, is above the margin here. "
        "Otherwise the claim is not testable here. The 95% hold over all studies; among those "
        "whose controls were above the margin, the rate may be lower."
    )


def collapsed_arms(results: Results) -> list[tuple[ArmResult, record.Collapse]]:
    """Returns the arms of which at least one run collapsed, each with its `Collapse` record."""
    return [(arm, arm.collapse) for arm in ranked(results) if arm.collapse is not None and arm.collapse.seeds]


def collapse_words(results: Results) -> str:
    """Returns the rule by which a run counts as collapsed. If no run collapsed, also gives the upper bound of an arm's
    collapse rate: '... No run collapsed. With 5 seeds the rate of an arm may still be up to 52%.' Returns '' if the
    study trained no arm."""
    known = [(arm.name, arm.collapse) for arm in results.arms if arm.collapse is not None]
    if not results.collapse_rule or not known:
        return ""
    compares = measure_of(results, results.headline).share  # if False, only a diverged run counts as collapsed
    alone = [name for name, collapse in known if compares and not collapse.compared]
    unmeasured = (
        f" For {', '.join(alone)}, no starting policy is measured, so only a diverged run counts." if alone else ""
    )
    rule, rates = results.collapse_rule + unmeasured, [collapse.rate for _, collapse in known]
    if collapsed_arms(results):
        return rule
    most = max(rates, key=lambda rate: rate.high or 0.0)
    return (
        f"{rule} No run collapsed. With {text.counted(most.seeds, 'seed')} the rate of an arm may still be up to "
        f"{most.high:.0%}."
    )


def value_words(value: JsonValue) -> str:
    """Returns the value of a setting in the syntax of a study file."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def settings_words(settings: dict[str, JsonValue]) -> str:
    return ", ".join(f"{key} = {value_words(value)}" for key, value in settings.items())


def count_diverged(arm: ArmResult) -> int:
    return sum(run.diverged for run in arm.runs)
