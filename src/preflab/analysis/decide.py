"""Decides claims: compares the interval of each claim's contrast with 0 and with the claim's margin. No torch.

A study decides each claim at each of the study's decodings. All claims at all decodings are one family with
simultaneous 95% intervals (Bonferroni, valid under any dependence). The size of the family is the number of declared
claims times the number of decodings. Claims that were not measured count too. With at least 95% probability, all
outcomes of a study are therefore correct. This probability is over all studies. Among only those studies in which a
claim passed its gate (see `decide_claims`), the probability can be lower.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from preflab.analysis.record import Claim, ClaimOutcome, ClaimRule, DecidedClaim, DecodingChoice, Interval
from preflab.analysis.scores import Scores, share_seeds
from preflab.analysis.statistics import contrast


def outcome_of(rule: ClaimRule, low: float, high: float, margin: float) -> ClaimOutcome:
    """Returns the outcome of a claim's rule, given an interval (low, high) of the contrast and a margin m > 0.

    superior:      confirmed if low > 0;   refuted if high < m and low <= 0.
    not-superior:  confirmed if high < m;  refuted if low > 0 and high >= m.

    The rule "superior" is refuted if a gain of m is excluded, even if a smaller gain is possible. The rule
    "not-superior" is a non-superiority test. A gain that is not significant does not confirm it. Only an interval that
    excludes gains of m or more confirms it.
    """
    above, below = low > 0, high < margin
    supported, contradicted = (above, below) if rule == "superior" else (below, above)
    if supported:
        return "confirmed"
    return "refuted" if contradicted else "not decided"


def says_no_gain(rule: ClaimRule, outcome: ClaimOutcome) -> bool:
    """Returns True if the outcome means that the gain is smaller than the margin. Such an outcome is informative only
    if the study could have detected a gain as large as the margin."""
    return outcome == ("refuted" if rule == "superior" else "confirmed")


def decide_claims(
    claims: Sequence[Claim],
    scores: Mapping[str, Mapping[DecodingChoice, Mapping[str, Scores]]],
    *,
    unreliable: Collection[str] = (),
    times: float = 1.0,
) -> list[DecidedClaim]:
    """Decides every claim at every decoding. `scores`: maps each measure that a claim names, then each decoding, to the
    scores of the arms with finished runs. The key '' is the headline measure. `unreliable`: the measures of evaluators
    that are not shown to be better than chance. Claims about these measures stay undecided. `times`: alpha divided by
    the part of alpha that this look at the results may use. It is 1 if the study looks at its results once.

    An outcome can mean that the gain is smaller than the margin. Such an outcome must pass a gate: the whole interval
    of the claim's control must be above the margin. If it is not, the outcome becomes "not testable here". The controls
    are a separate family. The claims' intervals do not depend on the gate. All outcomes together are therefore still
    correct with at least 95% probability."""
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
    """Adds the interval of the control to a decided claim, and applies the gate of `decide_claims`. If the outcome
    means that the gain is smaller than the margin, the whole interval of the control must be above the margin. If it is
    not, the outcome becomes "not testable here". `family`: the number of controls, times the number of decodings, times
    the argument `times` of `decide_claims`."""
    claim = decided.claim
    decided = decided.model_copy(update={"control": measure_control(claim, scores, family)})
    if not says_no_gain(claim.rule, decided.outcome):
        return decided
    if not claim.control:
        return _untestable(decided, "the claim names no control, so nothing shows that a gain would have been seen")
    if decided.control is None:
        return _untestable(decided, "its control was not measured, so nothing shows that a gain would have been seen")
    if decided.control.low is None or decided.control.low <= claim.margin:
        return _untestable(
            decided,
            "its control is not above the margin, so nothing shows that a gain would have been seen; more seeds, more "
            "problems or a longer training may show it",
        )
    return decided


def measure_control(claim: Claim, scores: Mapping[str, Scores], family: float) -> Interval | None:
    """Returns the interval of a claim's control. Returns None if the claim has no control, or if no seed has runs of
    all arms that the control names."""
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
