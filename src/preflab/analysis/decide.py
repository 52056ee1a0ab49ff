"""Decides claims by comparing the interval of each claim's contrast with 0 and with the claim's margin. No torch.

All claims of a study are one family: their intervals hold at once with 95%, whatever their dependence (Bonferroni). So what
the outcomes say holds with 95% too. For a claim "superior", "confirmed" means that the contrast is above 0. "Refuted" means
that the contrast is below the margin: there is no gain worth having, but a smaller gain is not excluded. For a claim "not
superior", "confirmed" means that the contrast is below the margin, and "refuted" means that the contrast is above 0. The
family counts all claims that the study declares, including the claims that could not be measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from preflab.analysis.record import Claim, ClaimOutcome, ClaimRule, DecidedClaim
from preflab.analysis.scores import Scores, share_seeds
from preflab.analysis.statistics import contrast


def outcome_of(rule: ClaimRule, low: float, high: float, margin: float) -> ClaimOutcome:
    """Applies the claim's rule to an interval (low, high) of the contrast and a margin m > 0.

    superior:      confirmed if low > 0;   refuted if high < m (a gain worth having is excluded) and low <= 0.
    not-superior:  confirmed if high < m;  refuted if low > 0 and high >= m.

    "Not superior" is the non-superiority test: to find no gain is not enough; a gain worth having has to be excluded.
    """
    above, below = low > 0, high < margin
    supported, contradicted = (above, below) if rule == "superior" else (below, above)
    if supported:
        return "confirmed"
    return "refuted" if contradicted else "not decided"


def decide_claims(
    claims: Sequence[Claim], scores: Mapping[str, Scores], *, can_rank: bool = True
) -> list[DecidedClaim]:
    """Decides every claim, in order, by the scores of the arms that have finished runs. If the evaluator cannot rank
    (`can_rank` is False), no claim is decided."""
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
