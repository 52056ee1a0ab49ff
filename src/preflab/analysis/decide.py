"""Decides claims by comparing the interval of each claim's contrast with 0 and with the claim's margin. No torch.

All claims of a study are one family with simultaneous 95% intervals (Bonferroni, valid under any dependence). So all
outcomes together are correct with at least 95% probability. The rule "superior" is confirmed if the contrast is above
0. It is refuted if the contrast is below the margin, although a gain smaller than the margin may exist. The rule "not
superior" is confirmed if the contrast is below the margin, and refuted if the contrast is above 0. The size of the
family is the number of claims that the study declares, measured or not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from preflab.analysis.record import Claim, ClaimOutcome, ClaimRule, DecidedClaim
from preflab.analysis.scores import Scores, share_seeds
from preflab.analysis.statistics import contrast


def outcome_of(rule: ClaimRule, low: float, high: float, margin: float) -> ClaimOutcome:
    """Applies the claim's rule to an interval (low, high) of the contrast and a margin m > 0.

    superior:      confirmed if low > 0;   refuted if high < m (a gain of m or more is excluded) and low <= 0.
    not-superior:  confirmed if high < m;  refuted if low > 0 and high >= m.

    "Not superior" is a non-superiority test: a non-significant gain does not confirm the claim; the interval must
    exclude gains of m or more.
    """
    above, below = low > 0, high < margin
    supported, contradicted = (above, below) if rule == "superior" else (below, above)
    if supported:
        return "confirmed"
    return "refuted" if contradicted else "not decided"


def decide_claims(
    claims: Sequence[Claim], scores: Mapping[str, Scores], *, can_rank: bool = True
) -> list[DecidedClaim]:
    """Decides every claim from the scores of the arms that have finished runs. If `can_rank` is False (the evaluator
    may be no better than chance), every claim is left undecided."""
    return [_decide(claim, scores, len(claims), can_rank) for claim in claims]


def _decide(claim: Claim, scores: Mapping[str, Scores], family: int, can_rank: bool) -> DecidedClaim:
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
