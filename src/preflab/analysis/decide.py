"""Decides claims. A claim is a statement about a contrast, which is a weighted sum of arms' mean scores (such as PPO -
SFT). A claim is decided by comparing the interval of its contrast with 0 and with the claim's margin. No torch.

A study decides each claim for each of its decoding settings (such as greedy, or sampling at temperature 1). All claims
for all decoding settings are one family with simultaneous 95% intervals (Bonferroni, valid under any dependence). The
size of the family is the number of declared claims times the number of decoding settings. Claims that were not measured
count too. With at least 95% probability, all outcomes of a study are therefore correct. This probability refers to all
studies. If only the studies in which a claim passed its gate are counted (see `decide_claims`), the probability can be
lower.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from preflab.analysis.record import Claim, ClaimOutcome, ClaimRule, DecidedClaim, DecodingChoice, Interval
from preflab.analysis.scores import Scores, share_seeds
from preflab.analysis.statistics import contrast


def outcome_of(rule: ClaimRule, low: float, high: float, margin: float) -> ClaimOutcome:
    """Returns the outcome of a claim, given an interval (low, high) of the claim's contrast and a margin m > 0.

    superior:      confirmed if low > 0;   refuted if high < m and low <= 0.
    not-superior:  confirmed if high < m;  refuted if low > 0 and high >= m.

    A claim with the rule "superior" is refuted if the interval excludes a gain of m or more, even if a smaller gain is
    possible. The rule "not-superior" is a non-superiority test. A claim with this rule is confirmed only if the interval
    excludes gains of m or more. A gain that is not significant is not enough.
    """
    above, below = low > 0, high < margin
    supported, contradicted = (above, below) if rule == "superior" else (below, above)
    if supported:
        return "confirmed"
    return "refuted" if contradicted else "not decided"


def says_no_gain(rule: ClaimRule, outcome: ClaimOutcome) -> bool:
    """Returns True if the outcome means that the gain is smaller than the claim's margin. Such an outcome is evidence
    only if the study is able to detect a gain as large as the margin."""
    return outcome == ("refuted" if rule == "superior" else "confirmed")


def decide_claims(
    claims: Sequence[Claim],
    scores: Mapping[str, Mapping[DecodingChoice, Mapping[str, Scores]]],
    *,
    unreliable: Collection[str] = (),
    times: float = 1.0,
) -> list[DecidedClaim]:
    """Decides every claim for every decoding setting (such as greedy, or sampling at temperature 1).

    `scores`: for each measure that a claim names and for each decoding setting, the scores of the arms with finished
    runs. `scores['']` contains the scores by the headline measure. `unreliable`: the measures of evaluators that are
    not shown to be better than chance. Claims about these measures stay undecided. `times`: the factor by which the
    family sizes are multiplied. In a study with interim looks, `times` is alpha divided by the part of alpha that the
    current look may use. In a study with only one look, `times` is 1.

    If an outcome means that the gain is smaller than the margin, the outcome must pass a gate. The gate is the claim's
    control contrast, which is known to be positive. If the whole interval of the control contrast is above the margin,
    the outcome is kept. If not, the outcome becomes "not testable here", because the study did not show that it can
    detect a gain of this size. The controls are a separate family. The gate does not change the claims' intervals. All
    outcomes together are therefore still correct with at least 95% probability.
    """
    tests = len(scores[""]) * times
    family = len(claims) * tests
    controls = len({(claim.measure, *sorted(claim.control.items())) for claim in claims if claim.control}) * tests
    decided: list[DecidedClaim] = []
    for claim in claims:
        for decoding, table in scores[claim.measure].items():
            ungated = _decide(claim, table, family, can_rank=claim.measure not in unreliable)
            decided.append(pass_gate(ungated, table, controls).model_copy(update={"decoding": decoding}))
    return decided


def pass_gate(decided: DecidedClaim, scores: Mapping[str, Scores], family: float) -> DecidedClaim:
    """Adds the interval of the claim's control contrast to a decided claim, and applies the gate of `decide_claims`. If
    the outcome means that the gain is smaller than the margin, the whole interval of the control contrast must be above
    the margin. If a part of this interval is not above the margin, the outcome becomes "not testable here". `family`:
    the number of control contrasts, times the number of decoding settings, times the argument `times` of
    `decide_claims`."""
    claim = decided.claim
    decided = decided.model_copy(update={"control": measure_control(claim, scores, family)})
    if not says_no_gain(claim.rule, decided.outcome):
        return decided
    if not claim.control:
        return _untestable(decided, "the claim names no control, so it is not known whether a gain would be detected")
    if decided.control is None:
        return _untestable(decided, "its control was not measured, so it is not known whether a gain would be detected")
    if decided.control.low is None or decided.control.low <= claim.margin:
        return _untestable(
            decided,
            "its control is not above the margin, so it is not known whether a gain would be detected; use more seeds, more "
            "problems or a longer training",
        )
    return decided


def measure_control(claim: Claim, scores: Mapping[str, Scores], family: float) -> Interval | None:
    """Returns the interval of a claim's control contrast. Returns None if the claim has no control contrast, or if no
    seed has runs of all arms in the control contrast."""
    if not claim.control or not all(arm in scores for arm in claim.control):
        return None
    if not share_seeds(*(scores[arm] for arm in claim.control)):
        return None
    return contrast(scores, claim.control, family=family)


def _untestable(decided: DecidedClaim, reason: str) -> DecidedClaim:
    return decided.model_copy(update={"outcome": "not testable here", "reason": reason})


def _decide(claim: Claim, scores: Mapping[str, Scores], family: float, *, can_rank: bool) -> DecidedClaim:
    absent = [arm for arm in claim.contrast if arm not in scores]
    if absent:
        return DecidedClaim(claim=claim, outcome="not measured", reason=f"no finished run of {', '.join(absent)}")
    if not share_seeds(*(scores[arm] for arm in claim.contrast)):
        return DecidedClaim(claim=claim, outcome="not measured", reason="no seed has finished runs of all its arms")
    value = contrast(scores, claim.contrast, family=family)
    if value.low is None or value.high is None:
        return DecidedClaim(claim=claim, outcome="not decided", value=value, reason=value.reason)
    if not can_rank:
        return DecidedClaim(claim=claim, outcome="not decided", value=value, reason="the evaluator cannot rank")
    return DecidedClaim(claim=claim, outcome=outcome_of(claim.rule, value.low, value.high, claim.margin), value=value)
