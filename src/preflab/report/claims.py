"""Writes the claims of a study and their outcomes as text. A claim is a statement about a contrast, which is a weighted sum
of arms' mean scores (such as PPO - SFT)."""

from __future__ import annotations

from collections.abc import Mapping

from preflab import text
from preflab.analysis import record
from preflab.analysis.record import DEPENDS, Claim, Measure, Results, joint_outcome
from preflab.report import numbers
from preflab.report.metrics import find_metric
from preflab.report.verdicts import decides_twice


def metric_of_claim(results: Results, claim: Claim) -> Measure:
    """Returns the metric whose values the claim compares."""
    return find_metric(results, claim.measure or results.headline)


def group_claims(results: Results) -> list[tuple[Claim, list[record.DecidedClaim]]]:
    """Returns each claim with its outcomes, one outcome for each decoding setting of the study (such as greedy, and
    sampling at temperature 1)."""
    groups: dict[str, list[record.DecidedClaim]] = {}
    for decided in results.claims:
        groups.setdefault(decided.claim.name, []).append(decided)
    return [(rows[0].claim, rows) for rows in groups.values()]


def state_joint_outcome(results: Results, claim: Claim) -> str:
    """Returns 'depends on the decoding' if a claim is confirmed with one decoding setting (such as greedy) and refuted
    with another (such as sampling at temperature 1). Returns '' in all other cases."""
    outcomes: list[record.ClaimOutcome] = [
        decided.outcome for decided in results.claims if decided.claim.name == claim.name
    ]
    return DEPENDS if joint_outcome(outcomes) == DEPENDS else ""


def name_claim(claim: Claim) -> str:
    """Returns the name of a claim: 'C6', or 'C6, large batch' if the claim has several parts."""
    return f"{claim.id}, {claim.part}" if claim.part else claim.id


def write_contrast(contrast: Mapping[str, float]) -> str:
    """Writes a contrast as a weighted sum of arms, with the positive weights first: 'a − b', '2 a − b − c'. `contrast`:
    the weight of each arm."""
    words = ""
    weights = [(arm, weight) for arm, weight in contrast.items() if weight]
    for arm, weight in sorted(weights, key=lambda row: row[1] < 0):
        sign = " − " if weight < 0 else " + " if words else ""
        words += f"{sign}{'' if abs(weight) == 1 else numbers.format_tick(abs(weight)) + ' '}{arm}"
    return words


def state_rule(claim: Claim, metric: Measure) -> str:
    """Writes the statement that a claim makes about its contrast, with the margin: 'above 0 (margin 2 points)', or 'below
    the margin, 2 points'."""
    margin = numbers.format_tick(100 * claim.margin if metric.share else claim.margin)
    margin += " points" if metric.share else ""
    return f"above 0 (margin {margin})" if claim.rule == "superior" else f"below the margin, {margin}"


def list_doubts(decided: record.DecidedClaim) -> str:
    """Lists the reasons to doubt a claim's outcome: the reason why the claim is undecided, an interval of width 0, fewer
    than five seeds, and diverged runs. Returns '' if there is no reason to doubt the outcome."""
    doubts, value = [decided.reason] if decided.reason else [], decided.value
    doubts += [value.reason] if value.is_unusual else []
    doubts += [f"preliminary: {text.counted(value.seeds, 'seed')}"] if value.seeds and value.preliminary else []
    doubts += [f"{text.counted(value.diverged, 'run')} diverged"] if value.diverged else []
    return "; ".join(doubts)


def state_control(decided: record.DecidedClaim, metric: Measure) -> str:
    """Writes the control contrast of a claim with its estimate and interval. The control contrast is known to be positive
    and shows whether the study can detect a gain. Returns '' if the control contrast was not measured."""
    if decided.control is None:
        return ""
    difference = numbers.format_difference(metric, decided.control.estimate)
    bounds = numbers.format_bounds(metric, decided.control, sign=True)
    return f"control {write_contrast(decided.claim.control)}: {difference} {bounds}".strip()


def explain_family(results: Results) -> str:
    """Returns sentences which explain that the intervals of all claims are simultaneous 95% intervals. For several
    claims, also explains the meaning of a refuted claim."""
    claims, decodings = len(group_claims(results)), ""
    if decides_twice(results):
        decodings = (
            " Each claim is decided for two decoding settings. If the two outcomes are opposite, the claim depends on the "
            "decoding setting."
        )
    if len(results.claims) == 1:
        return "One claim, written down before the study ran. Its interval has 95% confidence."
    return (
        f"{text.counted(claims, 'claim')}, written down before the study ran.{decodings} The intervals of all claims "
        "are simultaneous 95% intervals. If a claim “X improves” is refuted, a gain of the margin or more is "
        "excluded, but a smaller gain is still possible. If a claim “X does not improve” is refuted, there is a gain. A claim "
        "is decided as “no gain” only if the study can detect a gain. The study shows this with a control, which is another "
        "difference that is known to be a gain: the interval of the control must be above the margin. If it is not, the claim "
        "is not testable here. All outcomes are correct in at least 95% of all studies. Among only the studies with a control "
        "above the margin, this rate can be lower."
    )
