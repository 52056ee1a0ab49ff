"""Claims decided: each one's contrast with its interval, held against 0 and the claim's margin. No torch.

All claims of a study are one family: their intervals hold at once with 95%, whatever their dependence (Bonferroni). So does
what an outcome says of an interval: "confirmed" that the contrast is above 0 (superior) or below the margin (not superior);
"refuted" that it is below the margin (no gain worth having; a smaller one is not excluded), or above 0. The family is
counted as the study has it; what could not be measured stays in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from preflab.analysis.scores import Scores, share_seeds
from preflab.analysis.statistics import Interval, contrast
from preflab.study.claims import Claim, Rule

Outcome = Literal["confirmed", "refuted", "not decided", "not measured"]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A claim and what became of it; `interval` is None where an arm has no finished run, and `reason` says so."""

    claim: Claim
    outcome: Outcome
    interval: Interval | None = None
    reason: str = ""


def outcome_of(rule: Rule, low: float, high: float, margin: float) -> Outcome:
    """The rules, on an interval (low, high) of the contrast and a margin m > 0.

    superior:      confirmed where low > 0;   refuted where high < m (a gain worth having is excluded) and low <= 0.
    not-superior:  confirmed where high < m;  refuted where low > 0 and high >= m.

    "Not superior" is the non-superiority test: to find no gain is not enough, one worth having has to be excluded.
    """
    above, below = low > 0, high < margin
    claimed, against = (above, below) if rule == "superior" else (below, above)
    if claimed:
        return "confirmed"
    return "refuted" if against else "not decided"


def judge_all(
    claims: Sequence[Claim], scores: Mapping[str, Scores], *, confidence: float = 0.95, can_rank: bool = True
) -> list[Judged]:
    """Every claim, in order, by the scores of the arms that have finished runs. Nothing is decided by an evaluator that
    cannot rank."""
    return [_judged(claim, scores, confidence, len(claims), can_rank) for claim in claims]


def _judged(claim: Claim, scores: Mapping[str, Scores], confidence: float, family: int, can_rank: bool) -> Judged:
    absent = [arm for arm in claim.contrast if arm not in scores]
    if absent:
        return Judged(claim=claim, outcome="not measured", reason=f"no finished run of {', '.join(absent)}")
    if not share_seeds(*(scores[arm] for arm in claim.contrast)):
        return Judged(claim=claim, outcome="not measured", reason="no seed has finished runs of all its arms")
    found = contrast(scores, claim.contrast, confidence=confidence, family=family)
    if found.low is None or found.high is None:
        return Judged(claim=claim, outcome="not decided", interval=found, reason=found.reason)
    if not can_rank:
        return Judged(claim=claim, outcome="not decided", interval=found, reason="the evaluator cannot rank")
    return Judged(claim=claim, outcome=outcome_of(claim.rule, found.low, found.high, claim.margin), interval=found)
